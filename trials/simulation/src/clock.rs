//! An instance's own clock: the time that all share, and how wrong this one is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use untoil_clock::{Clock, VirtualClock};

use crate::switch::Switch;

/// A clock that can be set wrong, of an instance that can be stopped.
#[derive(Debug)]
pub(crate) struct LocalClock {
    shared: Arc<VirtualClock>,
    switch: Arc<Switch>,
    ahead_millis: AtomicI64,
}

impl LocalClock {
    pub(crate) fn new(shared: Arc<VirtualClock>, switch: Arc<Switch>) -> Self {
        Self { shared, switch, ahead_millis: AtomicI64::new(0) }
    }

    /// Sets it so far ahead of the time that all share; behind it when negative.
    pub(crate) fn set_ahead(&self, by: SignedDuration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(0);
        self.ahead_millis.store(millis, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for LocalClock {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_millis.load(Ordering::SeqCst));
        let now = self.shared.now();
        now.saturating_add(ahead).unwrap_or(now)
    }

    fn ticks(&self) -> Duration {
        self.shared.ticks()
    }

    async fn sleep(&self, duration: Duration) {
        self.shared.sleep(duration).await;
        self.switch.pass().await;
    }
}
