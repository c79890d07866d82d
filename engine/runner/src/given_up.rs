//! When calls of unknown outcome were given up, as this process's even clock counted it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// As many as are remembered: more than AWS's limits let be under way. One that is forgotten is only
/// looked for longer.
const CALLS_MAX: usize = 1_000;

/// Marker → ticks. A call is here from when it was given up, after which nothing of it is sent any
/// more, until somebody begins to look for it. All clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenUp(Arc<Mutex<BTreeMap<String, Duration>>>);

impl GivenUp {
    /// A call was given up.
    pub(crate) fn note(&self, marker: &str, ticks: Duration) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= CALLS_MAX {
            // Those of incidents that another instance has taken over; nobody asks for them here.
            calls.pop_first();
        }
        calls.insert(marker.to_owned(), ticks);
    }

    /// When it was, if it was this process's call.
    pub(crate) fn take(&self, marker: &str) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(marker)
    }
}
