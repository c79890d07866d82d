//! Why something was not done, or why a person is needed. Each reason carries the number that caused it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ActionKind, Period, Rate, RuleName, RunId, Target};

/// A reason code of the product with its numbers. The code is the variant's name in snake case
/// and never changes once released; the words people read are made from it in their language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "fields are named for what they are; each variant says what it means"
)]
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
        !matches!(
            self,
            Self::ResolvedBeforeAct {}
                | Self::DryRun {}
                | Self::Shadow {}
                | Self::RuleOff {}
                | Self::ApprovalMissing { .. }
                | Self::ApprovalRejected { .. }
        )
    }
}

/// One plain English line, with the numbers. Notifiers have words of their own.
impl fmt::Display for Reason {
    #[expect(clippy::too_many_lines, reason = "one line for each reason, and none can be missing")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { age, max_age } => {
                write!(f, "the alarm is {age} old; alarms older than {max_age} are not acted on")
            }
            Self::ResolvedBeforeAct {} => f.write_str("the alarm cleared before anything was done"),
            Self::KillSwitch { scope, by, reason } => {
                write!(f, "`{scope}` is paused by {by}: {reason}")
            }
            Self::DryRun {} => f.write_str("the engine runs dry and cannot write"),
            Self::Shadow {} => f.write_str("the rule is in shadow: it only shows what it would do"),
            Self::RuleOff {} => f.write_str("the rule is off"),
            Self::ProtectedTarget { target } => write!(f, "`{target}` is protected"),
            Self::SelfTarget { target } => write!(f, "`{target}` is, or hosts, the engine itself"),
            Self::EmptyTargets {} => f.write_str("the plan acts on nothing"),
            Self::TooManyTargets { n, max } => {
                write!(f, "the plan acts on {n} targets; {max} are allowed at once")
            }
            Self::Cooldown { target, until, last } => {
                write!(f, "`{target}` rests until {until} after run {last}")
            }
            Self::LimitRule { limit, used, next_at, .. } => {
                write!(f, "the rule's limit of {limit} is used up ({used}); next at {next_at}")
            }
            Self::LimitTarget { target, limit, used, next_at, .. } => {
                write!(
                    f,
                    "the limit of {limit} on `{target}` is used up ({used}); next at {next_at}"
                )
            }
            Self::LimitGlobal { limit, used, next_at, .. } => {
                write!(
                    f,
                    "the limit of {limit} over all rules is used up ({used}); next at {next_at}"
                )
            }
            Self::TargetBusy { target, holder } => write!(f, "`{target}` is held by run {holder}"),
            Self::ApprovalMissing { plan, until } => {
                write!(f, "plan {} waits for a person until {until}", short(plan))
            }
            Self::ApprovalExpired { after } => write!(f, "nobody answered within {after}"),
            Self::ApprovalRejected { by } => write!(f, "{by} refused it"),
            Self::StalePlan { approved, now } => {
                write!(f, "plan {} was approved, but it is now {}", short(approved), short(now))
            }
            Self::PrecheckFailed { check, detail } => write!(f, "{check}: {detail}"),
            Self::FactUnavailable { fact, why } => write!(f, "`{fact}` could not be read: {why}"),
            Self::ParamInvalid { param, why } => write!(f, "`{param}`: {why}"),
            Self::UnknownOutcome { action, target, why } => {
                write!(f, "nobody can tell whether `{action}` on `{target}` took effect: {why}")
            }
            Self::StepRefused { action, target, code, why } => {
                write!(f, "`{action}` on `{target}` was refused with `{code}`: {why}")
            }
            Self::RuleFailed { rule, error } => write!(f, "rule `{rule}` failed: {error}"),
            Self::Ineffective { waited } => write!(f, "the alarm did not clear within {waited}"),
            Self::Harmful { detail } => write!(f, "it got worse: {detail}"),
            Self::Inconclusive { detail } => {
                write!(f, "it cannot be told whether it helped: {detail}")
            }
            Self::LeaseOver { target, before, after } => {
                write!(f, "`{target}` is still at {after}, was {before}, and its lease is over")
            }
            Self::LeaseChanged { target, expected, found } => {
                write!(
                    f,
                    "`{target}` is at {found}, not at {expected} as we left it; it is left alone"
                )
            }
            Self::Unreadable { why } => write!(f, "a delivery could not be read: {why}"),
            Self::Other { code, detail } => write!(f, "{code}: {detail}"),
        }
    }
}

fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
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
