//! The threads that read, each on a connection of its own.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use untoil_journal::JournalError;

use crate::threads::{PLACE_WAIT_MAX, stopped};

/// How many reads may wait.
const READS_MAX: usize = 256;

/// A thread that has had nothing to read for so long lets go of the pages that it keeps.
const REST_AFTER: Duration = Duration::from_secs(2);

/// A query.
pub(crate) type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Threads that answer queries. Dropping it lets them answer what is queued, and waits.
///
/// One read wakes one thread. With a channel that the threads share behind a lock it would wake two:
/// the second to wait in the place of the first.
#[derive(Debug)]
pub(crate) struct Readers {
    queue: Arc<Queue>,
    places: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<(Read, OwnedSemaphorePermit)>,
    ended: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Readers {
    pub(crate) fn new() -> Self {
        let places = Arc::new(Semaphore::new(READS_MAX));
        Self { queue: Arc::default(), places, threads: Vec::new() }
    }

    /// Starts one more thread.
    pub(crate) fn start(&mut self, name: String, connection: Connection) -> io::Result<()> {
        let queue = Arc::clone(&self.queue);
        let work = move || {
            while let Some(read) = queue.next(|| crate::open::let_go(&connection)) {
                // What asked is told that there is no answer; others are still to be answered.
                if catch_unwind(AssertUnwindSafe(|| read(&connection))).is_err() {
                    tracing::error!("a query of the journal had panicked");
                }
            }
        };
        self.threads.push(thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Queues a read as soon as there is a place for it.
    pub(crate) async fn put(&self, read: Read) -> Result<(), JournalError> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => timeout(PLACE_WAIT_MAX, Arc::clone(&self.places).acquire_owned())
                .await
                .map_err(|_| JournalError::Overloaded)?
                .map_err(|_| stopped())?,
        };
        self.queue.waiting().reads.push_back((read, place));
        self.queue.ready.notify_one();
        Ok(())
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next read; `None` when it has ended and is empty. Does `rest` once while there is none.
    fn next(&self, rest: impl Fn()) -> Option<Read> {
        let mut rested = false;
        let mut waiting = self.waiting();
        loop {
            if let Some((read, _place)) = waiting.reads.pop_front() {
                return Some(read);
            }
            if waiting.ended {
                return None;
            }
            if rested {
                waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (after, waited) = self
                .ready
                .wait_timeout(waiting, REST_AFTER)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = after;
            if waited.timed_out() && waiting.reads.is_empty() && !waiting.ended {
                // Others may be given reads meanwhile.
                drop(waiting);
                rest();
                rested = true;
                waiting = self.waiting();
            }
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.waiting().ended = true;
        self.queue.ready.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the journal had panicked");
            }
        }
    }
}
