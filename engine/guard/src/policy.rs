//! What holds for all rules: `rules/policy.yaml`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use untoil_model::{Period, Rate, Target};

/// The limits and exceptions over all rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Limits over all rules together; every one must pass.
    pub global: Vec<Rate>,
    /// Limits over all runs that only read or tell; every one must pass.
    pub diagnoses: Vec<Rate>,
    /// Targets that are never touched, nor anything that belongs to them.
    pub protected: Vec<Target>,
    /// The engine's own targets: denied like protected ones, under their own reason.
    pub itself: Vec<Target>,
    /// Most distinct targets of one automatic plan.
    pub targets_max: u32,
    /// Most distinct targets of a plan that a person approved.
    pub targets_max_approved: u32,
    /// Rest on a target after any rule's run.
    pub rest: Period,
    /// How long a plan waits for a busy target before it is denied.
    pub busy_wait: Period,
    /// How long an approval of a plan up to class C may take, and how long it is good for.
    pub approval: Period,
    /// The same for class D.
    pub approval_d: Period,
    /// How long after it was allowed a call may still begin.
    pub call_within: Period,
    /// What the intake derives from alarms. It is read there and means nothing here.
    #[serde(skip_serializing)]
    pub enrich: IgnoredAny,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            global: vec![
                Rate { n: 30, per: Period::hours(1) },
                Rate { n: 5, per: Period::mins(1) },
            ],
            diagnoses: vec![
                Rate { n: 60, per: Period::hours(1) },
                Rate { n: 10, per: Period::mins(1) },
            ],
            protected: Vec::new(),
            itself: Vec::new(),
            targets_max: 1,
            targets_max_approved: 5,
            rest: Period::mins(5),
            busy_wait: Period::mins(5),
            approval: Period::mins(15),
            approval_d: Period::mins(60),
            call_within: Period::mins(2),
            enrich: IgnoredAny,
        }
    }
}
