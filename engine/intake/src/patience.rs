//! How long the journal is waited for while a sender waits for us.

use std::time::Duration;

use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError, Receipt};
use untoil_model::Delivery;

/// A journal that has not kept a delivery by then is told to the sender as one that does not answer.
/// SNS gives up after 15 s, of which reading a body may take 10. A commit takes some milliseconds,
/// and a store's queue is worked off in a second, so this is a disk that hangs or a database that
/// fails over: the sender is better off coming back than holding a connection that others need.
pub(crate) const RECEIVE_MAX: Duration = Duration::from_secs(4);

/// Keeps a delivery, or gives up waiting. It may be kept all the same then; nothing was promised, and
/// when its sender comes back it has been seen.
///
/// # Errors
/// As [`Journal::receive`], and [`JournalError::Unavailable`] after [`RECEIVE_MAX`].
pub(crate) async fn receive(
    (journal, clock): (&dyn Journal, &dyn Clock),
    delivery: Delivery,
) -> Result<Receipt, JournalError> {
    tokio::select! {
        biased;
        receipt = journal.receive(delivery) => receipt,
        () = clock.sleep(RECEIVE_MAX) => {
            let secs = RECEIVE_MAX.as_secs();
            Err(JournalError::Unavailable(format!("no answer within {secs} s")))
        }
    }
}
