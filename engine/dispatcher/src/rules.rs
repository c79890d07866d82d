//! The rule book as the dispatcher sees it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use untoil_actions::{Bounds, FactRequest, Proposal};
use untoil_model::{
    ActionKind, Alarm, Facts, Limits, Mode, Period, RuleName, RuleVersion, StepResult, Target,
    Verify,
};

/// A rule that answers an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: RuleName,
    /// Its text.
    pub version: RuleVersion,
    /// Its mode.
    pub mode: Mode,
}

/// A rule made ready for one alarm: templates filled in.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Which one, as it is now.
    pub rule: Candidate,
    /// What it is about.
    pub target: Target,
    /// The facts it needs.
    pub facts: Vec<FactRequest>,
    /// What it may do, by action.
    pub may: Arc<BTreeMap<ActionKind, Vec<Bounds>>>,
    /// Its limits.
    pub limits: Limits,
    /// The oldest alarm it acts on.
    pub max_age: Period,
    /// How it tells success.
    pub verify: Verify,
    /// Whom it calls.
    pub mention: Option<String>,
}

/// What a rule is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The alarm.
    pub alarm: &'a Arc<Alarm>,
    /// The rule's target, filled in.
    pub target: &'a Target,
    /// The facts.
    pub facts: &'a Arc<Facts>,
    /// What the steps so far came to; `None` asks for the first plan.
    pub results: Option<&'a [StepResult]>,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its proposals, or how it failed.
    pub proposals: Result<Vec<Proposal>, String>,
    /// What it printed; bounded.
    pub printed: Vec<String>,
    /// Whether it wants to be asked again when these are done.
    pub more: bool,
}

/// The loaded rules. Always the last good version of each.
#[async_trait]
pub trait Rules: Send + Sync + Debug {
    /// The rules that answer an alarm, best first. Cheap: an index, no scripts.
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate>;

    /// Makes a rule ready for an alarm.
    ///
    /// # Errors
    /// In words: the rule is gone, or a template cannot be filled from this alarm.
    fn prepare(&self, rule: &RuleName, alarm: &Alarm) -> Result<Prepared, String>;

    /// Whether the rule still has the text that this was made ready from.
    fn is_current(&self, prepared: &Candidate) -> bool;

    /// Runs its script. Never hangs, and never takes others down.
    async fn ask(&self, rule: &RuleName, question: Question<'_>) -> Answer;
}
