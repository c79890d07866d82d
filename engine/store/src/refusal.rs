//! How a batch is refused by a journal that is well.

use untoil_journal::{AppendError, JournalError};
use untoil_model::{DeliveryId, IncidentId, Seq, Stream};

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
