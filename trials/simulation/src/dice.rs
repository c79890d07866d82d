//! All chance there is: one seeded generator, split into streams.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Seeded dice. The same seed rolls the same, as long as they are rolled in the same order; so every
/// part of the simulation that rolls by itself has a fork of its own.
#[derive(Debug)]
pub(crate) struct Dice(Mutex<fastrand::Rng>);

impl Dice {
    /// Dice that roll what the seed says.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(fastrand::Rng::with_seed(seed)))
    }

    /// Dice of their own, which the seed of these determines.
    pub(crate) fn fork(&self) -> Self {
        Self(Mutex::new(self.rng().fork()))
    }

    fn rng(&self) -> MutexGuard<'_, fastrand::Rng> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the numbers below `n`; 0 when there is none.
    pub(crate) fn below(&self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.rng().u64(..n) }
    }

    /// One of the numbers from `low` to `high`.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Yes so many times in a thousand.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        per_mille > 0 && self.below(1_000) < per_mille
    }

    /// A time between two, in milliseconds.
    pub(crate) fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// A time between two, in seconds.
    pub(crate) fn secs(&self, low: u64, high: u64) -> Duration {
        Duration::from_secs(self.between(low, high))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&self, all: &'a [T]) -> &'a T {
        let n = u64::try_from(all.len()).expect("a list fits into memory");
        let at = usize::try_from(self.below(n)).expect("it is below a length");
        all.get(at).expect("there is something to pick from")
    }
}
