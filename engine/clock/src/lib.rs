//! Where time comes from.
//!
//! [`Clock`] is the only door to the time of day and to waiting. The engine takes it as an argument,
//! so that tests and the demo run on [`VirtualClock`] and every decision can be repeated. Nothing
//! else in the workspace may name `SystemTime`, `Instant` or `sleep`; a lint enforces it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Reads the time of day and waits.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time of day, to the microsecond.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment. It goes on evenly: nobody can set it. On Linux it also counts
    /// while the machine is suspended, since the leases that others see run out meanwhile.
    fn ticks(&self) -> Duration;

    /// Waits for `duration` of this clock's time. Cancel-safe: dropping the future has no effect.
    async fn sleep(&self, duration: Duration);

    /// Waits until `at`; returns at once when it has passed.
    async fn sleep_until(&self, at: Timestamp) {
        let left = at.duration_since(self.now());
        if let Ok(left) = Duration::try_from(left) {
            self.sleep(left).await;
        }
    }
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        truncated(Timestamp::now())
    }

    #[cfg(target_os = "linux")]
    fn ticks(&self) -> Duration {
        // `CLOCK_MONOTONIC`, which `Instant` reads, stands still in a suspended machine: clock_gettime(2).
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(at).expect("the time since the machine was started is not negative")
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn ticks(&self) -> Duration {
        static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        BEGAN.get_or_init(std::time::Instant::now).elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that follows tokio's timer from a chosen start, optionally faster than the wall.
///
/// Under `tokio::time::pause` it is fully virtual: waiting costs no real time. Unpaused with a
/// `speed` above one it is what the demo runs on: twenty minutes of verification pass in seconds.
#[derive(Debug)]
pub struct VirtualClock {
    start: Timestamp,
    began: tokio::time::Instant,
    speed: u32,
    skew_micros: AtomicI64,
}

impl VirtualClock {
    /// A clock that reads `start` now and runs at the pace of tokio's timer.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self::faster(start, 1)
    }

    /// A clock that reads `start` now and runs `speed` times as fast as tokio's timer; 0 counts as 1.
    #[must_use]
    pub fn faster(start: Timestamp, speed: u32) -> Self {
        Self {
            start,
            began: tokio::time::Instant::now(),
            speed: speed.max(1),
            skew_micros: AtomicI64::new(0),
        }
    }

    /// Moves the time of day, as an operator or NTP would; waiting is not affected.
    pub fn step_by(&self, micros: i64) {
        self.skew_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = self.began.elapsed().saturating_mul(self.speed);
        let micros = i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        let skew = self.skew_micros.load(Ordering::SeqCst);
        let at = self.start.as_microsecond().saturating_add(micros).saturating_add(skew);
        Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX)
    }

    fn ticks(&self) -> Duration {
        self.began.elapsed().saturating_mul(self.speed)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / self.speed).await;
    }
}

/// Microseconds are what every store keeps exactly.
fn truncated(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn virtual_time_passes_only_by_waiting() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = VirtualClock::starting_at(start);
        assert_eq!(clock.now(), start);
        clock.sleep(Duration::from_hours(1)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_faster_clock_waits_less() {
        let clock = VirtualClock::faster(Timestamp::UNIX_EPOCH, 60);
        let before = tokio::time::Instant::now();
        clock.sleep(Duration::from_mins(1)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(1));
        assert_eq!(clock.now().as_second(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn setting_the_time_of_day_leaves_the_ticks_alone() {
        let clock = VirtualClock::starting_at(Timestamp::UNIX_EPOCH);
        clock.step_by(3_600_000_000);
        clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(clock.now().as_second(), 3_602);
        assert_eq!(clock.ticks(), Duration::from_secs(2));
    }

    #[test]
    fn the_machines_ticks_never_go_back() {
        let mut before = SystemClock.ticks();
        assert!(before > Duration::ZERO);
        for _ in 0..1_000 {
            let after = SystemClock.ticks();
            assert!(after >= before, "{after:?} comes after {before:?}");
            before = after;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_until_the_past_returns_at_once() {
        let clock = VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        clock.sleep_until(Timestamp::UNIX_EPOCH).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:00Z");
    }
}
