//! The switch of an instance: running, stopped for a while, or killed.
//!
//! The engine spawns tasks of its own, so they cannot be kept from being polled. But all they do
//! goes through a clock, a journal, ports and a chat, and each of these passes here before and after:
//! a stopped instance does nothing, and a killed one never does anything again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use untoil_clock::{Clock, VirtualClock};

use crate::dice::Dice;
use crate::trace::Trace;
use crate::weather::Weather;

/// How long an instance may be stopped at an operation: from less than its lease to many of them.
const STOPPED_SECS: (u64, u64) = (2, 300);

/// Most operations of one instance: five quiet hours are about fifty thousand. One that needs more
/// goes round in a circle in which no time passes, and would for ever.
const OPERATIONS_MAX: u64 = 400_000;

/// The power of all machines. Once it is cut, nobody does anything until new instances are started.
#[derive(Debug, Default)]
pub(crate) struct Power {
    cuts: AtomicU64,
    is_off: AtomicBool,
}

impl Power {
    /// Cuts it: every instance is dead at once.
    pub(crate) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.is_off.store(true, Ordering::SeqCst);
    }

    /// Whether it was cut and nobody has looked after that yet.
    pub(crate) fn is_off(&self) -> bool {
        self.is_off.load(Ordering::SeqCst)
    }

    /// It comes back. Who was there before stays dead.
    pub(crate) fn comes_back(&self) {
        self.is_off.store(false, Ordering::SeqCst);
    }
}

/// One instance's switch.
#[derive(Debug)]
pub(crate) struct Switch {
    name: String,
    dice: Dice,
    weather: Arc<Weather>,
    trace: Arc<Trace>,
    clock: Arc<VirtualClock>,
    is_dead: AtomicBool,
    power: Arc<Power>,
    /// How often the power had been cut when it was started.
    born: u64,
    operations: AtomicU64,
    /// Until when it is stopped, in ticks.
    stopped_until: Mutex<Duration>,
    /// Rung when any instance is killed at an operation.
    deaths: Arc<Notify>,
}

impl Switch {
    pub(crate) fn new(
        name: &str,
        dice: Dice,
        (weather, trace): (Arc<Weather>, Arc<Trace>),
        clock: Arc<VirtualClock>,
        (deaths, power): (Arc<Notify>, Arc<Power>),
    ) -> Self {
        let stopped_until = Mutex::new(Duration::ZERO);
        let is_dead = AtomicBool::new(false);
        let name = name.to_owned();
        Self {
            name,
            dice,
            weather,
            trace,
            clock,
            is_dead,
            born: power.cuts.load(Ordering::SeqCst),
            power,
            operations: AtomicU64::new(0),
            stopped_until,
            deaths,
        }
    }

    /// Its instance's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Notes what the instance does.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        self.trace.note(&self.name, what);
    }

    /// Kills it: it does nothing any more.
    pub(crate) fn kill(&self) {
        self.is_dead.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::SeqCst) || self.power.cuts.load(Ordering::SeqCst) > self.born
    }

    /// Whether it went round in a circle.
    pub(crate) fn is_runaway(&self) -> bool {
        self.operations.load(Ordering::SeqCst) > OPERATIONS_MAX
    }

    /// Stops it for a while, as SIGSTOP and SIGCONT do.
    pub(crate) fn stop_for(&self, time: Duration) {
        let until = self.clock.ticks() + time;
        let mut stopped = self.stopped_until.lock().unwrap_or_else(PoisonError::into_inner);
        *stopped = until.max(*stopped);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        *self.stopped_until.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
    }

    fn left(&self) -> Duration {
        let until = *self.stopped_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.saturating_sub(self.clock.ticks())
    }

    /// Goes on while it is running; waits while it is stopped; never returns once it is killed.
    pub(crate) async fn pass(&self) {
        loop {
            if self.is_dead() {
                return std::future::pending().await;
            }
            let left = self.left();
            if left.is_zero() {
                return;
            }
            // Looked at again soon: it may be let go on earlier.
            self.clock.sleep(left.min(Duration::from_secs(5))).await;
        }
    }

    /// A point at which it may be killed or stopped: before and after every operation.
    pub(crate) async fn point(&self, at: &str) {
        if self.operations.fetch_add(1, Ordering::SeqCst) == OPERATIONS_MAX {
            self.note(|| format!("goes round in a circle {at}"));
            self.kill();
            self.deaths.notify_one();
        }
        self.pass().await;
        let odd = self.weather.now();
        if self.dice.chance(odd.killed) {
            self.note(|| format!("is killed {at}"));
            self.kill();
            self.deaths.notify_one();
        } else if self.dice.chance(odd.cut) {
            self.note(|| format!("loses its power {at}, as all do"));
            self.power.cut();
            self.deaths.notify_one();
        } else if self.dice.chance(odd.stopped) {
            let time = self.dice.secs(STOPPED_SECS.0, STOPPED_SECS.1);
            self.note(|| format!("is stopped {at} for {} s", time.as_secs()));
            self.stop_for(time);
        }
        self.pass().await;
    }
}
