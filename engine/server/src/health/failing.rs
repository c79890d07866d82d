//! What fails at the moment, of all that is tried again and again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What went wrong is forgotten after so long without its being tried again.
const FORGET: Duration = Duration::from_hours(1);

/// What failed when it was last tried: when, in ticks, and why.
#[derive(Debug)]
pub(super) struct Failing<K>(Mutex<BTreeMap<K, (Duration, String)>>);

/// The first of what fails, and all of it.
pub(super) struct Fails<'a, K> {
    pub(super) first: &'a K,
    pub(super) why: &'a str,
    all: &'a BTreeMap<K, (Duration, String)>,
}

impl<K> Default for Failing<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Failing<K> {
    /// Something was tried; says `why` it failed, if it did. `tell` hears what fails now, if anything
    /// does: one after the other, so that what it was told last is how it is.
    pub(super) fn tried(
        &self,
        (what, now): (K, Duration),
        why: Option<String>,
        tell: impl FnOnce(Option<Fails<'_, K>>),
    ) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.retain(|_, (at, _)| now.saturating_sub(*at) < FORGET);
        match why {
            Some(why) => failing.insert(what, (now, why)),
            None => failing.remove(&what),
        };
        let first = failing.first_key_value();
        tell(first.map(|(first, (_, why))| Fails { first, why, all: &failing }));
    }
}

impl<K> Fails<'_, K> {
    /// In words, how many more there are than the first.
    pub(super) fn more(&self) -> String {
        match self.all.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        }
    }

    /// All that fails, in order.
    pub(super) fn whats(&self) -> impl Iterator<Item = &K> {
        self.all.keys()
    }
}
