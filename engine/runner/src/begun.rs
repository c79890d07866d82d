//! When the calls whose outcome is unknown were begun, as this process's even clock counted it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Marker → ticks. A call is here from its beginning until its outcome is known or somebody begins to
/// look for it; so there are at most as many as calls under way. All clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Begun(Arc<Mutex<BTreeMap<String, Duration>>>);

impl Begun {
    /// A call begins.
    pub(crate) fn note(&self, marker: &str, ticks: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(marker.to_owned(), ticks);
    }

    /// When it began, if it was begun by this process.
    pub(crate) fn take(&self, marker: &str) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(marker)
    }
}
