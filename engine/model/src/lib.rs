//! The nouns of untoil.
//!
//! Everything here is a value: no I/O, no clock, no async. The two things to know are
//! [`Entry`], one self-contained line of the journal, and [`Incident::apply`], the only function
//! that turns entries into the state of an incident: running, recovery, tests and the console all
//! fold the same entries through it.
#![forbid(unsafe_code)]

mod alarm;
mod canonical;
mod delivery;
mod entry;
mod hash;
mod ids;
mod incident;
mod member;
mod mode;
mod period;
mod plan;
mod reason;
mod run;
mod shared;
mod target;
mod text;

pub use alarm::{Alarm, AlarmState};
pub use delivery::{Delivery, DeliveryId};
pub use entry::{Actor, Body, Broken, Draft, Entry, Standing, Stream};
pub use hash::Hash;
pub use ids::{
    ActionKind, AlarmKey, IdError, IncidentId, RuleName, RuleVersion, RunId, Seq, Source,
};
pub use incident::{Ending, Incident, Work};
pub use mode::{EngineMode, Mode};
pub use period::{Period, PeriodError};
pub use plan::{
    Class, FactValue, Facts, Lease, Limits, Plan, Rate, RunKind, Step, StepRef, Verify,
};
pub use reason::Reason;
pub use run::{Part, Progress, Run, RunOutcome, Sample, StepOutcome, StepResult, Verdict};
pub use target::{Target, TargetError};
pub use text::Sheet;
