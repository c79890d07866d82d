//! Deterministic simulation of the whole engine.
//!
//! One seed makes everything: how many instances there are, which alarms fire, what people do, and
//! what goes wrong. Several instances of the real engine (dispatcher, guard, runner, notifier, and
//! the decoders of the intake) share a journal in memory and a simulated AWS, all on virtual time in
//! one thread, so that the same seed gives the same journal, byte for byte. After each seed the
//! record of the simulated AWS is compared with the journal ([`play()`]).
#![forbid(unsafe_code)]

mod dice;
mod mutation;
mod trace;
mod weather;

mod chat;
mod clock;
mod disk;
mod journal;
mod network;
mod ports;
mod rules;
mod switch;

mod bodies;
mod instance;
mod plot;
mod scenery;
mod street;

mod checks;
mod many;
mod play;

pub use many::{Tally, many};
pub use mutation::Mutation;
pub use play::{Report, play};
pub use trace::Wanted;

/// Scripts are metered, so whoever runs them must count what they take.
#[global_allocator]
static METERED: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;
