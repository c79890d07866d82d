//! How bad things are: how many of a thousand operations meet which fault.

use std::sync::{Mutex, PoisonError};

/// So many of a thousand.
pub(crate) type PerMille = u64;

/// What the operations of one kind meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Odds {
    /// It fails and nothing happened.
    pub(crate) fails: PerMille,
    /// It happened, and its answer is lost.
    pub(crate) loses: PerMille,
    /// It takes its time.
    pub(crate) slow: PerMille,
}

/// The faults of everything that is outside of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Odd {
    /// Of the journal's reads and writes.
    pub(crate) journal: Odds,
    /// Of AWS; its own storm comes on top.
    pub(crate) aws: Odds,
    /// Of the chat.
    pub(crate) chat: Odds,
    /// An instance is killed before or after an operation.
    pub(crate) killed: PerMille,
    /// An instance is stopped before or after an operation, and goes on later.
    pub(crate) stopped: PerMille,
    /// The power of all machines is cut before or after an operation.
    pub(crate) cut: PerMille,
    /// Nobody reaches the journal.
    pub(crate) journal_down: bool,
    /// Nobody reaches the chat.
    pub(crate) chat_down: bool,
}

/// The weather now; shared by all.
#[derive(Debug, Default)]
pub(crate) struct Weather(Mutex<Odd>);

impl Weather {
    /// What it is.
    pub(crate) fn now(&self) -> Odd {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it.
    pub(crate) fn change(&self, how: impl FnOnce(&mut Odd)) {
        how(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
