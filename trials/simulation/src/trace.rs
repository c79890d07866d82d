//! What happened, in words, for a person who looks into a failing seed.

use std::sync::{Arc, Mutex, PoisonError};

use untoil_clock::{Clock, VirtualClock};

/// Most lines kept: an hour of a busy seed has a tenth of it.
const LINES_MAX: usize = 100_000;

/// The lines so far, when they are wanted at all.
#[derive(Debug)]
pub(crate) struct Trace {
    clock: Arc<VirtualClock>,
    lines: Option<Mutex<Vec<String>>>,
}

impl Trace {
    /// One that keeps lines, or none.
    pub(crate) fn new(clock: Arc<VirtualClock>, wanted: Wanted) -> Self {
        let lines = match wanted {
            Wanted::Nothing => None,
            Wanted::Everything => Some(Mutex::default()),
        };
        Self { clock, lines }
    }

    /// Notes what `who` does; `what` is asked only when lines are kept.
    pub(crate) fn note(&self, who: &str, what: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            let at = self.clock.ticks();
            lines.push(format!("{:>9.3} {who:<6} {}", at.as_secs_f64(), what()));
        }
    }

    /// Takes the lines.
    pub(crate) fn take(&self) -> Vec<String> {
        let lines = self.lines.as_ref();
        lines
            .map(|lines| std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner)))
            .unwrap_or_default()
    }
}

/// How much of a seed is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Only what fails.
    Nothing,
    /// Every step.
    Everything,
}
