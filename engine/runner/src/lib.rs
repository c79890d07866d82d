//! Permit to calls to entries.
//!
//! Each step: look again → clearance → `started` → call, without SDK retries → `sent` → follow →
//! `finished`. The first of a plan is looked at, judged and begun with it in one commit, where it can be. A crash anywhere in between leaves an intent without an end; the runner then looks
//! for the call by its marker and never makes it again blindly. Verification waits for the alarm to
//! clear and to stay clear.
//!
//! The runner decides nothing: it does what [`untoil_model::Incident::work`] says is next.
#![forbid(unsafe_code)]

mod given_up;
mod lease;
mod record;
mod runner;
mod step;
mod verify;

pub use record::RunnerError;
pub use runner::Runner;
pub use verify::{Leaves, Watched};
