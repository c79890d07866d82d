//! How a journal that is well refuses.

use untoil_journal::{AppendError, JournalError};
use untoil_model::{DeliveryId, IncidentId, Seq, Stream};

/// How many deliveries may wait for their decision: some ten seconds of them. Beyond it senders are
/// asked to come back, so that what was accepted is decided soon.
pub(crate) const WAITING_MAX: i64 = 50_000;

/// Why a batch was not written, though the journal is well.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A stream has grown.
    Conflict { stream: Stream, at: Seq },
    /// The delivery is not pending.
    Decided(DeliveryId),
    /// Another instance holds the incident.
    TakenOver(IncidentId),
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict { stream, at } => Self::Conflict { stream, at },
            Refusal::Decided(delivery) => Self::Decided(delivery),
            Refusal::TakenOver(incident) => {
                JournalError::TakenOver(format!("incident `{incident}`")).into()
            }
        }
    }
}
