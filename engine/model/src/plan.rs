//! What a rule proposes: steps in order, with nothing left to choose.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{ActionKind, Hash, Mode, Period, RuleName, RuleVersion, RunId, Target};

/// How far an action may be left alone (autonomy class). A property of the action, never of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// Tells people; changes nothing they run.
    N,
    /// Reads or diagnoses; changes nothing.
    A,
    /// Writes, bounded, reversible or free of loss, on one target.
    B,
    /// Writes, and users may notice for a moment.
    C,
    /// Irreversible, costly, or touches data: a person's approval, for ever.
    D,
}

impl Class {
    /// Whether it changes something that runs in production.
    pub fn writes(self) -> bool {
        match self {
            Self::N | Self::A => false,
            Self::B | Self::C | Self::D => true,
        }
    }
}

/// A use of one action on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The kind of thing to do.
    pub action: ActionKind,
    /// What it is done to.
    pub target: Target,
    /// Its autonomy class, from the catalogue.
    pub class: Class,
    /// Its parameters as the action's schema names them; absolute values only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// One line for people: `desired count 4 → 8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
    /// How long to wait before it, after the step before has finished.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: Period,
    /// How long it may take to settle once it was sent; then its outcome is unknown.
    pub settle: Period,
    /// What must be given back when the incident is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(period: &Period) -> bool {
    *period == Period::ZERO
}

/// A temporary change: the value before, the value the engine sets, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The action that made the change and that gives it back.
    pub action: ActionKind,
    /// What was changed.
    pub target: Target,
    /// The value found.
    pub before: i64,
    /// The value set. Anything else found later is a person's doing and is left alone.
    pub after: i64,
    /// The largest change of one step on the way back.
    pub step: i64,
    /// After this a person is asked, if the alarm still fires.
    pub term: Period,
}

/// Names a step of a run. Steps are counted from 0 through all parts of the run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepRef {
    /// The run.
    pub run: RunId,
    /// Which step.
    pub step: u32,
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.run, self.step)
    }
}

/// So many per so long: `3 per 24h`. A sliding window, never a fixed bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    /// How many, 1 to 10,000.
    pub n: u32,
    /// In any span of this length.
    pub per: Period,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a limit: write it as `3 per 24h`");
        let (n, per) = text.split_once(" per ").ok_or_else(wrong)?;
        let n: u32 = n.trim().parse().map_err(|_| wrong())?;
        let per: Period = per.trim().parse().map_err(|_| wrong())?;
        if n == 0 || n > 10_000 || per == Period::ZERO {
            return Err(format!(
                "`{text}` allows nothing or everything: use 1 to 10000, and a time above 0"
            ));
        }
        Ok(Self { n, per })
    }
}

impl TryFrom<String> for Rate {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.n, self.per)
    }
}

/// A rule's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Runs that write, of this rule on one target.
    pub target: Rate,
    /// Runs that write, of this rule on all targets.
    pub rule: Rate,
    /// Rest after the end of a run of this rule on the target; doubles after each ineffective one.
    pub cooldown: Period,
}

impl Default for Limits {
    /// The defaults of the domain: 3 per 24 h on a target, 6 per 1 h in all, 30 min of rest.
    fn default() -> Self {
        Self {
            target: Rate { n: 3, per: Period::hours(24) },
            rule: Rate { n: 6, per: Period::hours(1) },
            cooldown: Period::mins(30),
        }
    }
}

/// When a run counts as effective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The alarm must clear within this time after the last step.
    pub clears_within: Period,
    /// And stay clear for this long.
    pub holds_for: Period,
}

/// Why a run exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// To heal the incident.
    Remedy,
    /// To give a lease back once it is over.
    Return,
}

/// What one asking of a rule proposes; the whole of what the guard judges and the runner runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// To heal, or to give back.
    pub kind: RunKind,
    /// The rule that proposes it.
    pub rule: RuleName,
    /// Which text of the rule: the reviewed version is the authority of an automatic run.
    pub version: RuleVersion,
    /// The rule's mode when it was asked.
    pub mode: Mode,
    /// What the rule is about: its limits and locks are keyed on this.
    pub target: Target,
    /// What the target belongs to: an instance's group, a service's cluster. Locked with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<Target>,
    /// The steps, in order. None: the rule has nothing (more) to do.
    pub steps: Vec<Step>,
    /// Whether the rule wants to be asked again when these steps are done.
    pub more: bool,
    /// The rule's limits.
    pub limits: Limits,
    /// Older alarms than this are not acted on.
    pub max_age: Period,
    /// How success is told.
    pub verify: Verify,
    /// Who is called when it does not work; a Slack group or person, as the rule names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mention: Option<String>,
}

impl Plan {
    /// What an approval is bound to: the SHA-256 of the plan's canonical JSON.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of_json(self)
    }

    /// Whether any step changes something that runs in production.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.steps.iter().any(|step| step.class.writes())
    }

    /// The highest class among its steps.
    #[must_use]
    pub fn class(&self) -> Class {
        self.steps.iter().map(|step| step.class).max().unwrap_or(Class::N)
    }
}

/// Facts by the names that the manifest gives them.
pub type Facts = BTreeMap<String, FactValue>;

/// Something read before planning, with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactValue {
    /// Its kind: `ecs.service`.
    pub kind: String,
    /// Where it was read: `ecs:DescribeServices`.
    pub source: String,
    /// When.
    pub read_at: Timestamp,
    /// What was read.
    pub value: Value,
}
