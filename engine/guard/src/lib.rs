//! Whether now.
//!
//! [`judge`] is a pure function of a plan, the [`Ledger`], the [`Policy`] and the time. [`Guard`]
//! makes it one atomic step with its record: it judges, appends the `judged` entry on condition that
//! neither the ledger nor the incident has grown, and judges again when one has. Only then is there a
//! [`Permit`], and nobody else can make one. Right before each call [`Guard::clear`] looks again and
//! turns a permit into a [`Clearance`], without which no port can write.
//! [`Guard::judge_at_once`] does both, and what comes before them, in one commit.
#![forbid(unsafe_code)]

mod ahead;
mod answer;
mod at_once;
mod clear;
mod gates;
mod guard;
mod held;
mod ledger;
mod limits;
mod moments;
mod pause;
mod permit;
mod policy;
mod session;
mod targets;

pub use answer::{Answer, AnswerError, Say};
pub use at_once::{Docket, First, Foreseen, Recorded};
pub use gates::{GATES, Gate, Opinion, RUN_GATE, RUN_RETURN, Request, judge};
pub use guard::{Guard, GuardError, Judged};
pub use ledger::{Ledger, Reservation};
pub use pause::{PauseError, Scope};
pub use permit::{Clearance, Judgement, Permit};
pub use policy::Policy;
