//! What every action must tell of itself, and do.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use untoil_guard::Clearance;
use untoil_model::{
    ActionKind, Class, Facts, Lease, Period, Reason, Step, StepOutcome, StepRef, Target,
};

use crate::{CallError, Eyes, Hands, ReadError};

/// What a rule's script asks for, before bounds are checked and relative values are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The kind of thing to do.
    pub action: ActionKind,
    /// What it is done to, as the script wrote it.
    pub target: String,
    /// Its parameters as the script wrote them.
    pub params: BTreeMap<String, Value>,
    /// How long to wait before it.
    pub after: Period,
}

/// What the manifest's `may:` allows of one action: its arguments as written.
pub type Bounds = BTreeMap<String, Value>;

/// Everything that turning a proposal into a step may look at.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What the script asks for.
    pub proposal: &'a Proposal,
    /// Every `may:` entry for this action; one of them must allow it.
    pub may: &'a [Bounds],
    /// The facts that were read.
    pub facts: &'a Facts,
    /// The rule's own target, filled in.
    pub target: &'a Target,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// A text with at most this many characters.
    Text(usize),
    /// A whole number in this range.
    Whole(i64, i64),
    /// A table of short texts.
    Table,
    /// A length of time.
    Time,
    /// Yes or no.
    Flag,
}

/// One parameter of an action, or one bound of its `may:` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Its type and range.
    pub kind: ParamKind,
    /// Whether it must be there.
    pub required: bool,
    /// One line for authors.
    pub doc: &'static str,
}

/// Whether a call may be made again when its outcome is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It sets an absolute value, or the service or host recognises a repeat.
    Safe,
    /// Each call is a new effect: look, and if that does not tell, ask a person.
    Never,
}

/// A permission that is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// `ssm:SendCommand`.
    pub action: String,
    /// The resource's ARN, or `*`.
    pub resource: String,
}

/// A permission that an action needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// `ssm:SendCommand`.
    pub action: &'static str,
    /// A pattern of resources, with `${account}` and `${region}` left open.
    pub resource: String,
}

/// An example that is documentation and test at once.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// The `may:` entry, as JSON.
    pub may: &'static str,
    /// The facts by name, as JSON of `{name: {kind, value}}`.
    pub facts: &'static str,
    /// The proposal, as JSON.
    pub proposal: &'static str,
    /// The step's `says`, or `refused: <reason code>`.
    pub gives: &'static str,
}

/// What is fixed about an action.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name: `ecs.scale`.
    pub kind: &'static str,
    /// One line for authors.
    pub summary: &'static str,
    /// Its parameters.
    pub params: &'static [Param],
    /// What a `may:` entry can say.
    pub bounds: &'static [Param],
    /// Whether an unknown outcome may be tried again.
    pub repeat: Repeat,
    /// Examples; every one is run by a test.
    pub examples: &'static [Example],
}

/// One attempt at one step, as the runner orders it. The `started` entry is already written.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// What to do.
    pub step: &'a Step,
    /// Which step of which run.
    pub at: &'a StepRef,
    /// What the call carries so that it can be found again.
    pub marker: &'a str,
    /// When the intent was recorded.
    pub started_at: Timestamp,
    /// How long ago the intent was recorded, at least. Who looks for a call must be sure of it, and the
    /// times of day of two machines differ: see [`Order::LANDS_WITHIN`].
    pub age: Duration,
}

impl Order<'_> {
    /// A call whose answer was lost takes effect within this time, or never; and SSM's lists, which
    /// are eventually consistent, show it. Before that nothing proves that it did not go through: a
    /// repeat would find its own effect and take it for somebody else's.
    pub const LANDS_WITHIN: Duration = Duration::from_mins(1);

    /// What it means that no trace of the call is there.
    #[must_use]
    pub fn no_trace(&self) -> Found {
        if self.age < Self::LANDS_WITHIN { Found::NotSeen } else { Found::NotSent }
    }
}

/// Where a call stands that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Following {
    /// Not at its end; look again after this time.
    Going(Duration),
    /// At its end.
    Ended(StepOutcome),
}

/// What looking for a call of unknown outcome found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It went through; follow it by this handle.
    Sent(String),
    /// It had already its full effect.
    Ended(StepOutcome),
    /// It certainly did not go through.
    NotSent,
    /// It cannot be looked up, and this use of it may be made again.
    Repeatable,
    /// It cannot be seen, at least not yet.
    NotSeen,
}

/// A kind of thing to do. Implementations are stateless.
#[async_trait]
pub trait Action: Send + Sync + Debug {
    /// What is fixed about it.
    fn spec(&self) -> &'static Spec;

    /// Checks a `may:` entry when a rule is loaded.
    ///
    /// # Errors
    /// In words for the rule's author, with the way out.
    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String>;

    /// Turns a proposal into a step with absolute values, or says why it is not allowed.
    ///
    /// # Errors
    /// [`Reason::ParamInvalid`] or [`Reason::FactUnavailable`], with the number that caused it.
    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason>;

    /// The permissions that a `may:` entry needs.
    fn needs(&self, bounds: &Bounds) -> Vec<Need>;

    /// Makes the call. Answers the handle to follow it by.
    ///
    /// # Errors
    /// [`CallError`]; only `Unknown` leaves open whether it took effect.
    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError>;

    /// Looks where an accepted call stands.
    ///
    /// # Errors
    /// [`ReadError`]: look again later.
    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError>;

    /// Looks for a call of which only the intent is known.
    ///
    /// # Errors
    /// [`ReadError`]: look again later.
    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError>;

    /// Checks right before the call that the world is still what the plan saw.
    ///
    /// # Errors
    /// The reason not to call: `precheck_failed`, or `fact_unavailable` when it cannot be read.
    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let _ = (eyes, step);
        Ok(())
    }

    /// The steps that give a lease back, given the value found now.
    ///
    /// # Errors
    /// [`Reason::LeaseChanged`] when somebody else changed the value.
    fn give_back(&self, lease: &Lease, found: i64) -> Result<Vec<Step>, Reason> {
        let _ = found;
        Err(Reason::Other {
            code: "no_return".into(),
            detail: format!("`{}` has no way back", lease.action),
        })
    }

    /// Reads the value that a lease is about.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be read.
    async fn leased_value(&self, eyes: &Eyes, lease: &Lease) -> Result<i64, ReadError> {
        let _ = eyes;
        Err(ReadError::NotFound { what: format!("a value leased by `{}`", lease.action) })
    }

    /// The class of a step of this kind; used by docs. Steps carry their own, exact one.
    fn class(&self) -> Class;
}
