//! What is written in one atomic step, and how that can fail.

use untoil_model::{Broken, DeliveryId, Draft, IncidentId, Seq, Stream};

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is kept; its `received` entry has this place.
    Stored(Seq),
    /// It was kept before.
    Seen,
}

/// A stream that must not have grown beyond a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// Which one; not [`Stream::All`].
    pub stream: Stream,
    /// The place of its last entry as the writer knows it; [`Seq::START`] for an empty one.
    pub at: Seq,
}

/// Drafts that are written together or not at all.
///
/// One instance's batches are written in the order in which they were given: when an empty one is
/// answered, no earlier one that was given up can still be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The entries, in order; at most [`Batch::DRAFTS_MAX`].
    pub drafts: Vec<untoil_model::Draft>,
    /// The conditions.
    pub expects: Vec<Expect>,
    /// The delivery that these entries decide; it stops being pending. One that is not pending
    /// refuses the batch.
    pub decides: Option<DeliveryId>,
    /// The incidents that the writer must hold: who was taken for dead writes nothing more about them.
    pub holding: Vec<IncidentId>,
}

impl Batch {
    /// A delivery carries at most 2,000 alarms, and each needs at most three entries.
    pub const DRAFTS_MAX: usize = 8_000;

    /// Refuses a batch of more than [`Batch::DRAFTS_MAX`] drafts; every store asks this first.
    ///
    /// # Errors
    /// [`JournalError::Unavailable`]: it was not written, and will not be when it is tried again.
    pub fn check_size(&self) -> Result<(), JournalError> {
        let (drafts, max) = (self.drafts.len(), Self::DRAFTS_MAX);
        if drafts <= max {
            return Ok(());
        }
        Err(JournalError::Unavailable(format!(
            "a batch of {drafts} entries was refused, {max} are the most that are written together"
        )))
    }

    /// Drafts without conditions.
    #[must_use]
    pub fn of(drafts: Vec<Draft>) -> Self {
        Self { drafts, ..Self::default() }
    }

    /// The same batch, on condition that `stream` ends at `at`.
    #[must_use]
    pub fn expect(mut self, stream: Stream, at: Seq) -> Self {
        self.expects.push(Expect { stream, at });
        self
    }

    /// The same batch, on condition that this instance holds `incident`, too (see [`crate::Roster`]).
    #[must_use]
    pub fn holding(mut self, incident: IncidentId) -> Self {
        self.holding.push(incident);
        self
    }

    /// The same batch, deciding a delivery.
    #[must_use]
    pub fn deciding(mut self, delivery: DeliveryId) -> Self {
        self.decides = Some(delivery);
        self
    }
}

/// A reader's note: kept with its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Its name.
    pub key: String,
    /// Its text; `None` takes it away.
    pub value: Option<String>,
}

/// Why the journal could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The queue of writes is full. Nothing was written.
    #[error("the journal takes no more writes at the moment; come back in a second")]
    Overloaded,
    /// The store does not answer, or not in time. A write may or may not have happened.
    #[error("the journal's store failed: {0}")]
    Unavailable(String),
    /// What is kept is not what was written.
    #[error("the journal is damaged: {0}; run `untoil audit verify`")]
    Damaged(Broken),
    /// A newer program has written what this one cannot read. Nothing is damaged, and nothing can be
    /// decided on it here: an instance that knows it, or this one once it is updated, goes on.
    #[error(transparent)]
    Newer(Broken),
    /// Another instance holds it now. Nothing was written.
    #[error("another instance has taken over {0}; it goes on there")]
    TakenOver(String),
}

impl From<Broken> for JournalError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Newer { .. } => Self::Newer(broken),
            Broken::Unreadable { .. }
            | Broken::Gap { .. }
            | Broken::Unchained { .. }
            | Broken::Changed { .. } => Self::Damaged(broken),
        }
    }
}

/// Why a batch was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A stream has grown since the writer read it. Nothing was written.
    #[error("{stream:?} has moved on to entry {at}")]
    Conflict {
        /// Which one.
        stream: Stream,
        /// Where it ends now.
        at: Seq,
    },
    /// The delivery that the batch decides was decided before, or never kept. Nothing was written.
    #[error("delivery `{0}` is not waiting for a decision")]
    Decided(DeliveryId),
    /// The journal itself failed, or [`JournalError::TakenOver`].
    #[error(transparent)]
    Journal(#[from] JournalError),
}
