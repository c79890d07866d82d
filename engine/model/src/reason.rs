//! Why something was not done, or why a person is needed. Each reason carries the number that caused it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ActionKind, Period, Rate, RuleName, RunId, Target};

/// A reason code of the product with its numbers. The code is the variant's name in snake case
/// and never changes once released; the words people read are made from it in their language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "fields are named for what they are; each variant says what it means")]
pub enum Reason {
    /// The alarm changed state too long ago to act on.
    Stale { age: Period, max_age: Period },
    /// The alarm cleared before anything was done.
    ResolvedBeforeAct {},
    /// Somebody pressed the kill switch.
    KillSwitch { scope: String, by: String, reason: String },
    /// The engine has no port that writes.
    DryRun {},
    /// The rule only shows what it would do.
    Shadow {},
    /// The rule is switched off.
    RuleOff {},
    /// The target is on the list of what is never touched.
    ProtectedTarget { target: Target },
    /// The target is, or contains, the engine itself.
    SelfTarget { target: Target },
    /// The plan acts on nothing: an empty list is never "all".
    EmptyTargets {},
    /// The plan acts on more targets than one run may.
    TooManyTargets { n: u32, max: u32 },
    /// The last run on this target has not rested yet.
    Cooldown { target: Target, until: Timestamp, last: RunId },
    /// The rule's limit for all targets is used up.
    LimitRule { limit: Rate, used: u32, runs: Vec<RunId>, next_at: Timestamp },
    /// The rule's limit for this target is used up.
    LimitTarget { target: Target, limit: Rate, used: u32, runs: Vec<RunId>, next_at: Timestamp },
    /// The limit over all rules is used up.
    LimitGlobal { limit: Rate, used: u32, runs: Vec<RunId>, next_at: Timestamp },
    /// Another run holds the target or something it belongs to.
    TargetBusy { target: Target, holder: RunId },
    /// A person must say yes first.
    ApprovalMissing { plan: String, until: Timestamp },
    /// Nobody answered in time.
    ApprovalExpired { after: Period },
    /// A person said no.
    ApprovalRejected { by: String },
    /// What was approved is not what would run now.
    StalePlan { approved: String, now: String },
    /// A check right before the call failed.
    PrecheckFailed { check: String, detail: String },
    /// A fact could not be read, so nothing is written.
    FactUnavailable { fact: String, why: String },
    /// A parameter is outside what the rule or the action allows.
    ParamInvalid { param: String, why: String },
    /// Nobody can tell whether a call took effect.
    UnknownOutcome { action: ActionKind, target: Target, why: String },
    /// AWS, or another service, refused a call.
    StepRefused { action: ActionKind, target: Target, code: String, why: String },
    /// The rule's script failed.
    RuleFailed { rule: RuleName, error: String },
    /// The alarm did not clear in time.
    Ineffective { waited: Period },
    /// It got worse.
    Harmful { detail: String },
    /// The alarm's state could not be learnt.
    Inconclusive { detail: String },
    /// A lease is over while the alarm still fires.
    LeaseOver { target: Target, before: i64, after: i64 },
    /// A leased value was changed by somebody else; it is left alone.
    LeaseChanged { target: Target, expected: i64, found: i64 },
    /// A delivery could not be read.
    Unreadable { why: String },
    /// A gate of the guard that a later version adds; kept readable for older binaries.
    Other { code: String, detail: String },
}

impl Reason {
    /// The stable code, as it stands in the journal.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Stale { .. } => "stale",
            Self::ResolvedBeforeAct {} => "resolved_before_act",
            Self::KillSwitch { .. } => "kill_switch",
            Self::DryRun {} => "dry_run",
            Self::Shadow {} => "shadow",
            Self::RuleOff {} => "rule_off",
            Self::ProtectedTarget { .. } => "protected_target",
            Self::SelfTarget { .. } => "self_target",
            Self::EmptyTargets {} => "empty_targets",
            Self::TooManyTargets { .. } => "too_many_targets",
            Self::Cooldown { .. } => "cooldown",
            Self::LimitRule { .. } => "limit_rule",
            Self::LimitTarget { .. } => "limit_target",
            Self::LimitGlobal { .. } => "limit_global",
            Self::TargetBusy { .. } => "target_busy",
            Self::ApprovalMissing { .. } => "approval_missing",
            Self::ApprovalExpired { .. } => "approval_expired",
            Self::ApprovalRejected { .. } => "approval_rejected",
            Self::StalePlan { .. } => "stale_plan",
            Self::PrecheckFailed { .. } => "precheck_failed",
            Self::FactUnavailable { .. } => "fact_unavailable",
            Self::ParamInvalid { .. } => "param_invalid",
            Self::UnknownOutcome { .. } => "unknown_outcome",
            Self::StepRefused { .. } => "step_refused",
            Self::RuleFailed { .. } => "rule_failed",
            Self::Ineffective { .. } => "ineffective",
            Self::Harmful { .. } => "harmful",
            Self::Inconclusive { .. } => "inconclusive",
            Self::LeaseOver { .. } => "lease_over",
            Self::LeaseChanged { .. } => "lease_changed",
            Self::Unreadable { .. } => "unreadable",
            Self::Other { code, .. } => code,
        }
    }

    /// Whether a person must hear of it. Quiet reasons are the engine doing as it was told.
    #[must_use]
    pub fn escalates(&self) -> bool {
        match self {
            Self::ResolvedBeforeAct {}
            | Self::DryRun {}
            | Self::Shadow {}
            | Self::RuleOff {}
            | Self::ApprovalMissing { .. }
            | Self::ApprovalRejected { .. } => false,
            Self::Stale { .. }
            | Self::KillSwitch { .. }
            | Self::ProtectedTarget { .. }
            | Self::SelfTarget { .. }
            | Self::EmptyTargets {}
            | Self::TooManyTargets { .. }
            | Self::Cooldown { .. }
            | Self::LimitRule { .. }
            | Self::LimitTarget { .. }
            | Self::LimitGlobal { .. }
            | Self::TargetBusy { .. }
            | Self::ApprovalExpired { .. }
            | Self::StalePlan { .. }
            | Self::PrecheckFailed { .. }
            | Self::FactUnavailable { .. }
            | Self::ParamInvalid { .. }
            | Self::UnknownOutcome { .. }
            | Self::StepRefused { .. }
            | Self::RuleFailed { .. }
            | Self::Ineffective { .. }
            | Self::Harmful { .. }
            | Self::Inconclusive { .. }
            | Self::LeaseOver { .. }
            | Self::LeaseChanged { .. }
            | Self::Unreadable { .. }
            | Self::Other { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reasons_code_is_its_name_in_the_journal() {
        let reasons = [
            Reason::DryRun {},
            Reason::Stale { age: Period::mins(43), max_age: Period::mins(10) },
            Reason::ApprovalRejected { by: "kim".into() },
            Reason::Ineffective { waited: Period::mins(20) },
        ];
        for reason in reasons {
            let json = serde_json::to_value(&reason).unwrap();
            let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
            assert_eq!(names, [reason.code()]);
        }
    }
}
