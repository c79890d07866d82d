//! How a batch is refused by a journal that is well.

use untoil_journal::AppendError;
use untoil_model::{DeliveryId, Seq, Stream};

/// Why a batch was not written, though the journal is well.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A stream has grown.
    Conflict { stream: Stream, at: Seq },
    /// The delivery is not pending.
    Decided(DeliveryId),
}

impl From<Refusal> for AppendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict { stream, at } => Self::Conflict { stream, at },
            Refusal::Decided(delivery) => Self::Decided(delivery),
        }
    }
}
