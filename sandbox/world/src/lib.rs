//! A simulated AWS behind the engine's ports, for tests, rule tests and the demo.
//!
//! Nothing here talks to a network, and nothing here proves anything about AWS itself: it is a model,
//! with faults, of what `domain.md` says AWS does. It runs on any [`untoil_clock::Clock`], usually a
//! virtual one, and moves on whenever it is looked at. Every call that was accepted is in
//! [`World::calls`] and every effect in [`World::effects`], with the marker that it carried, so that
//! a test can count them.

#![forbid(unsafe_code)]

mod alarms;
mod clearance;
mod document;
mod ecs;
mod fault;
mod fleet;
mod metrics;
mod people;
mod snapshot;
mod ssm;
mod state;
mod world;

pub use alarms::{AlarmSpec, Transition};
pub use clearance::{cleared, cleared_at};
pub use fault::Fault;
pub use state::{Call, Effect, QueueSpec};
pub use world::World;
