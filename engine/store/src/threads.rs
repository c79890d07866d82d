//! Threads that work off one bounded queue, and end with it.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use untoil_journal::JournalError;

/// How long a task waits for its place in a full queue before it is told to come back: well under
/// the time after which a person or a lease gives up.
pub(crate) const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);

/// A queue and the threads behind it. Dropping it lets them finish what is queued, and waits.
#[derive(Debug)]
pub(crate) struct Threads<T> {
    queue: Option<mpsc::Sender<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Send + 'static> Threads<T> {
    pub(crate) fn new(queue: mpsc::Sender<T>) -> Self {
        Self { queue: Some(queue), threads: Vec::new() }
    }

    /// Starts one more thread; `work` must end when the queue is closed.
    pub(crate) fn start(
        &mut self,
        name: String,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Queues `item`, or refuses it at once.
    pub(crate) fn offer(&self, item: T) -> Result<(), JournalError> {
        self.queue().ok_or_else(stopped)?.try_send(item).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::Overloaded,
            TrySendError::Closed(_) => stopped(),
        })
    }

    /// Queues `item` as soon as there is a place for it.
    pub(crate) async fn put(&self, item: T) -> Result<(), JournalError> {
        let queue = self.queue().ok_or_else(stopped)?;
        match queue.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(stopped()),
            Err(TrySendError::Full(item)) => {
                queue.send_timeout(item, PLACE_WAIT_MAX).await.map_err(|error| match error {
                    SendTimeoutError::Timeout(_) => JournalError::Overloaded,
                    SendTimeoutError::Closed(_) => stopped(),
                })
            }
        }
    }

    fn queue(&self) -> Option<&mpsc::Sender<T>> {
        self.queue.as_ref()
    }
}

impl<T> Drop for Threads<T> {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal had panicked");
            }
        }
    }
}

/// What is said when a thread is gone: it panicked, and has said so on its own.
pub(crate) fn stopped() -> JournalError {
    JournalError::Unavailable("its thread has stopped; restart the service".into())
}
