//! The runner of rule tests: `tests.yaml` beside a rule, played through the real engine.
//!
//! What is simulated is AWS, the time and the sender's network; everything between a stored delivery
//! and a closed incident is what `serve` runs. It must never read the real time or touch a network.

mod format;
mod look;
mod sender;
mod setting;
mod stage;
mod suite;

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]
mod tests;

pub(crate) use suite::{Report, RuleReport, TestReport, run};
