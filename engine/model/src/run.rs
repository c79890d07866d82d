//! One run of a plan: its parts, its steps' progress and how it ended.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Plan, Reason, RunId, RunKind, Step};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepOutcome {
    /// It took effect and settled.
    Done {
        /// What it answered; at most 8 KiB of JSON.
        evidence: Value,
    },
    /// The world refused it: it proved that nothing happened, or a host's script said no.
    Refused {
        /// The service's or script's own code: `AccessDeniedException`, `not_the_culprit_now`.
        code: String,
        /// In words, with what is missing.
        why: String,
    },
    /// Nobody can tell. Never repeated blindly.
    Unknown {
        /// What is known.
        why: String,
    },
}

/// What a script sees of a finished step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// The step as it was planned.
    pub step: Step,
    /// How it ended.
    pub outcome: StepOutcome,
    /// When it ended.
    pub at: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The alarm cleared and stayed clear.
    Effective,
    /// It did not.
    Ineffective,
    /// It got worse.
    Harmful,
    /// It cannot be told.
    Inconclusive,
}

impl RunOutcome {
    /// The word used in entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Harmful => "harmful",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What verification saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// When it looked.
    pub at: Timestamp,
    /// At what: `alarm`, or a metric's name.
    pub what: String,
    /// What it saw.
    pub saw: String,
}

/// What the guard said, as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// Now. The entry is the reservation.
    Allow {},
    /// Not yet.
    Hold {
        /// Why.
        reason: Reason,
        /// When to look again at the latest.
        until: Timestamp,
    },
    /// No.
    Deny {
        /// Why.
        reason: Reason,
    },
}

/// How far a step has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// The intent is recorded; the call may or may not have gone out.
    Started {
        /// When.
        at: Timestamp,
        /// Which try, from 1.
        attempt: u32,
        /// What the call carries so that it can be found again.
        marker: String,
    },
    /// The call was accepted.
    Sent {
        /// When.
        at: Timestamp,
        /// The service's id for it, with which it can be followed.
        handle: String,
    },
    /// It ended.
    Finished {
        /// When.
        at: Timestamp,
        /// How.
        outcome: StepOutcome,
    },
}

/// One asking of the rule within a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it proposed.
    pub plan: Arc<Plan>,
    /// What the guard said last.
    pub verdict: Option<Verdict>,
}

/// One run: parts judged one by one, steps counted through all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// To heal, or to give back.
    pub kind: RunKind,
    /// What was asked and judged so far.
    pub parts: Vec<Part>,
    /// All steps with their progress.
    pub steps: Vec<(Arc<Step>, Progress)>,
    /// How the rule failed when it was asked what comes next.
    pub failed: Option<String>,
}

impl Run {
    /// The results so far, in order, for the script's `next`.
    #[must_use]
    pub fn results(&self) -> Vec<StepResult> {
        self.steps
            .iter()
            .filter_map(|(step, progress)| match progress {
                Progress::Finished { at, outcome } => {
                    Some(StepResult { step: Step::clone(step), outcome: outcome.clone(), at: *at })
                }
                Progress::Waiting | Progress::Started { .. } | Progress::Sent { .. } => None,
            })
            .collect()
    }

    /// The newest part.
    pub fn part(&self) -> Option<&Part> {
        self.parts.last()
    }

    /// Whether a step that writes may have taken effect.
    #[must_use]
    pub fn has_acted(&self) -> bool {
        self.steps.iter().any(|(step, progress)| {
            step.class.writes()
                && match progress {
                    Progress::Waiting => false,
                    Progress::Started { .. } | Progress::Sent { .. } => true,
                    Progress::Finished { outcome, .. } => {
                        !matches!(outcome, StepOutcome::Refused { .. })
                    }
                }
        })
    }

    /// When the last step finished.
    #[must_use]
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.steps.iter().rev().find_map(|(_, progress)| match progress {
            Progress::Finished { at, .. } => Some(*at),
            Progress::Waiting | Progress::Started { .. } | Progress::Sent { .. } => None,
        })
    }
}
