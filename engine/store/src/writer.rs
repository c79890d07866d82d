//! The one thread that writes: it commits whatever is waiting as one group.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;
use untoil_journal::JournalError;
use untoil_model::{Hash, Seq, Stream};

use crate::ends::Ends;
use crate::fault::Fault;
use crate::transaction::{Pruned, Transaction, end_of_chain};
use crate::{open, queries};

/// How many writes one commit carries: beyond it, throughput no longer grows and latency does.
pub(crate) const GROUP_MAX: usize = 256;

/// After how many entries a group is committed early: bounds the transaction's memory, whatever
/// the size of the batches.
const GROUP_ENTRIES_MAX: usize = 10_000;

/// When nothing was written for so long, the pages that were kept for the next write are let go.
const REST_AFTER: Duration = Duration::from_secs(2);

/// Something to be written. It may be tried more than once: its group is rolled back whole.
pub(crate) trait Write: Send + 'static {
    /// What the asker is told.
    type Reply: Send + 'static;

    /// Writes it. When it fails, everything it did is rolled back, and it is not tried again.
    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<Self::Reply, Fault>;

    /// Makes it as it was before [`Write::write`] replied this.
    fn take_back(&mut self, reply: Self::Reply);
}

/// Where the outcome of a write comes, once it is committed.
pub(crate) type Answer<R> = oneshot::Receiver<Result<R, JournalError>>;

/// A write with its asker.
pub(crate) struct Asked<W: Write> {
    write: W,
    reply: Option<W::Reply>,
    ack: oneshot::Sender<Result<W::Reply, JournalError>>,
    /// Its share of the queue's bytes, given back when it is settled.
    _space: Option<OwnedSemaphorePermit>,
}

impl<W: Write> Asked<W> {
    /// A write as the queue carries it, and where its answer will come.
    pub(crate) fn job(
        write: W,
        space: Option<OwnedSemaphorePermit>,
    ) -> (Box<dyn Job>, Answer<W::Reply>) {
        let (ack, answer) = oneshot::channel();
        (Box::new(Self { write, reply: None, ack, _space: space }), answer)
    }
}

/// An [`Asked`] of whatever kind, as the queue carries it.
pub(crate) trait Job: Send {
    fn perform(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault>;
    fn take_back(&mut self);
    fn settle(self: Box<Self>, outcome: Result<(), JournalError>);
}

impl<W: Write> Job for Asked<W> {
    fn perform(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault> {
        self.reply = Some(self.write.write(transaction)?);
        Ok(())
    }

    fn take_back(&mut self) {
        if let Some(reply) = self.reply.take() {
            self.write.take_back(reply);
        }
    }

    fn settle(self: Box<Self>, outcome: Result<(), JournalError>) {
        let Self { reply, ack, .. } = *self;
        let answer = outcome.map(|()| reply.expect("what was committed was performed before"));
        // The asker may have gone away; what it asked for is written all the same.
        drop(ack.send(answer));
    }
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

/// The writing thread's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    pub(crate) file: PathBuf,
    /// The end of the chain; `None` after a failure, until it is read again.
    pub(crate) end: Option<(Seq, Hash)>,
    pub(crate) head: watch::Sender<Seq>,
    /// What is known of the committed file; moved before `head`.
    pub(crate) gauges: Arc<Gauges>,
    /// Keeps every other process from writing; released when this thread ends.
    pub(crate) _owned: File,
}

/// What the writer tells of the committed file without its being asked.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    told: Mutex<Told>,
    /// How many deliveries wait for their decision.
    pub(crate) waiting: AtomicI64,
}

#[derive(Debug, Default)]
struct Told {
    ends: Ends,
    /// A write has failed and none has succeeded since: what is in the file is what the file says.
    in_doubt: bool,
}

impl Gauges {
    fn told(&self) -> MutexGuard<'_, Told> {
        // Each change is whole when it is made.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a stream ends; `None` when only the file can tell.
    pub(crate) fn end_of(&self, stream: &Stream) -> Option<Seq> {
        self.told().ends.of(stream)
    }

    /// Whether nothing is behind a place of a stream, in a journal that ends at `head`.
    pub(crate) fn ends_at(&self, stream: &Stream, after: Seq, head: Seq) -> bool {
        let told = self.told();
        !told.in_doubt && after >= told.ends.of(stream).unwrap_or(head)
    }

    /// Forgets everything.
    fn doubt(&self) {
        *self.told() = Told { in_doubt: true, ..Told::default() };
    }

    /// Notes what a committed transaction knew.
    fn committed(&self, ends: Ends, pruned: Pruned) {
        let mut told = self.told();
        match pruned {
            Pruned::No => told.ends.merge(ends),
            Pruned::Yes => told.ends = ends,
        }
    }

    /// The end of the journal is known again.
    fn trust(&self) {
        self.told().in_doubt = false;
    }
}

/// A group that was committed.
struct Done {
    /// How many of the jobs were in it.
    jobs: usize,
    end: (Seq, Hash),
    ends: Ends,
    pruned: Pruned,
    waiting: i64,
}

/// Where in a group it failed.
struct Failed {
    /// The write that met it; `None` for beginning and committing.
    index: Option<usize>,
    fault: Fault,
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { index: None, fault }
    }
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>, timer: &Runtime) {
        let mut jobs = Vec::with_capacity(GROUP_MAX);
        loop {
            let taken = timer.block_on(async {
                timeout(REST_AFTER, queue.recv_many(&mut jobs, GROUP_MAX)).await
            });
            let taken = taken.unwrap_or_else(|_| {
                open::let_go(&self.connection);
                queue.blocking_recv_many(&mut jobs, GROUP_MAX)
            });
            if taken == 0 {
                return;
            }
            while !jobs.is_empty() {
                self.some(&mut jobs);
            }
        }
    }

    /// Commits and settles at least one of `jobs`.
    fn some(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let group = self.group(jobs);
        if group.is_err() {
            // Before anybody is told that it is not known: who was told reads the file itself.
            self.gauges.doubt();
        }
        match group {
            Ok(Done { jobs: done, end: (last, _), ends, pruned, waiting }) => {
                // Before anybody is told: who was told reads what it was told of.
                self.gauges.committed(ends, pruned);
                self.gauges.waiting.fetch_add(waiting, Ordering::Relaxed);
                self.head.send_if_modified(|head| std::mem::replace(head, last) != last);
                self.gauges.trust();
                for job in jobs.drain(..done) {
                    job.settle(Ok(()));
                }
            }
            Err(Failed { index: Some(index), fault }) if fault.is_of_one_write() => {
                tracing::error!(error = %fault, "the journal could not write one request");
                jobs.remove(index).settle(Err(fault.told(&self.file)));
                for job in jobs {
                    job.take_back();
                }
            }
            Err(Failed { fault, .. }) => {
                tracing::error!(error = %fault, requests = jobs.len(), "the journal could not write");
                let error = fault.told(&self.file);
                for job in jobs.drain(..) {
                    job.settle(Err(error.clone()));
                }
            }
        }
    }

    /// One transaction: as many of `jobs` as fit, and the end of the journal behind them.
    fn group(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Done, Failed> {
        let end = match self.end.take() {
            Some(end) => end,
            None => {
                let waiting = queries::waiting(&self.connection)?;
                self.gauges.waiting.store(waiting, Ordering::Relaxed);
                end_of_chain(&self.connection)?
            }
        };
        self.say("BEGIN IMMEDIATE")?;
        let outcome = self.perform(jobs, end);
        if outcome.is_err() && !self.connection.is_autocommit() {
            // Some failures have rolled back already; then there is nothing to undo.
            if let Err(fault) = self.say("ROLLBACK") {
                tracing::error!(error = %fault, "the journal could not roll back");
            }
        }
        let done = outcome?;
        self.end = Some(done.end);
        Ok(done)
    }

    fn perform(&self, jobs: &mut [Box<dyn Job>], end: (Seq, Hash)) -> Result<Done, Failed> {
        let mut transaction = Transaction::behind(&self.connection, end, &self.gauges);
        let mut done = 0;
        for (index, job) in jobs.iter_mut().enumerate() {
            job.perform(&mut transaction).map_err(|fault| Failed { index: Some(index), fault })?;
            done += 1;
            if transaction.written() >= GROUP_ENTRIES_MAX {
                break;
            }
        }
        self.say("COMMIT")?;
        let (end, waiting) = (transaction.end(), transaction.waiting);
        let (ends, pruned) = transaction.into_ends();
        Ok(Done { jobs: done, end, ends, pruned, waiting })
    }

    fn say(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
