//! The one thread that writes: it commits whatever is waiting as one group, and hands it on to the
//! thread that brings it to the disk ([`crate::syncer`]).

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::timeout;
use untoil_journal::{Batch, JournalError};
use untoil_model::{Body, Delivery, DeliveryId, Draft, Hash, Seq, Sheet, Stream};

use crate::ends::Ends;
use crate::fault::Fault;
use crate::fresh::Fresh;
use crate::syncer::{Group, Syncing, settle};
use crate::transaction::{Pruned, Transaction, end_of_chain};
use crate::{open, queries};

/// How many writes one commit carries: beyond it, throughput no longer grows and latency does.
pub(crate) const GROUP_MAX: usize = 256;

/// After how many entries a group is committed early: bounds the transaction's memory, whatever
/// the size of the batches.
const GROUP_ENTRIES_MAX: usize = 10_000;

/// When nothing was written for so long, the pages that were kept for the next write are let go.
const REST_AFTER: Duration = Duration::from_secs(2);

/// When the log is copied into the file, by how many pages it holds that are not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copying {
    /// From so many on, as soon as nothing comes in for [`QUIET`].
    pub(crate) when_quiet: i64,
    /// From so many on, at once.
    pub(crate) at_once: i64,
}

impl Copying {
    /// SQLite's own measure, below which copying costs more than it frees; and the 16 MiB that the log
    /// keeps on the disk.
    pub(crate) const USUAL: Self = Self { when_quiet: 1_000, at_once: 4_000 };
}

/// What part of a log that is worth copying is written before its length is asked for again: asking costs
/// as much as writing a page does.
const LOOKS: i64 = 8;

/// How many pages a commit adds to the log whatever it carries: the ends of tables and indexes.
const COMMIT_PAGES: i64 = 8;

/// How much is written on a page, which is of 4 KiB and seldom full.
const PAGE_BYTES: i64 = 2 * 1024;

/// How long nothing comes in before the log is copied: no burst has such a pause.
const QUIET: Duration = Duration::from_millis(5);

/// When the asker of a write is answered, and what the write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// When it is on the disk. While another is on the way there it waits for company.
    Gathered,
    /// When it is on the disk; somebody is in a hurry.
    Durable,
    /// When it is written.
    Ahead,
    /// When it is written, and its asker then waits for the disk: an intent, whose call follows.
    Intent,
}

impl Pace {
    /// Of a batch whose asker is answered when it is written.
    pub(crate) fn ahead(batch: &Batch) -> Self {
        let is_intent = |draft: &Draft| matches!(draft.body, Body::Started { .. });
        if batch.drafts.iter().any(is_intent) { Self::Intent } else { Self::Ahead }
    }

    /// Whether its asker is answered before the disk.
    fn is_ahead(self) -> bool {
        match self {
            Self::Gathered | Self::Durable => false,
            Self::Ahead | Self::Intent => true,
        }
    }
}

/// Something to be written. It may be tried more than once: its group is rolled back whole.
pub(crate) trait Write: Send + 'static {
    /// What the asker is told.
    type Reply: Send + 'static;

    /// Writes it. When it fails, everything it did is rolled back, and it is not tried again.
    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<Self::Reply, Fault>;

    /// Makes it as it was before [`Write::write`] replied this.
    fn take_back(&mut self, reply: Self::Reply);

    /// Notes which deliveries wait now that it is committed.
    fn committed(&mut self, reply: &Self::Reply, fresh: &mut Fresh) {
        let _ = (reply, fresh);
    }
}

/// Where the outcome of a write comes, once it is committed.
pub(crate) type Answer<R> = oneshot::Receiver<Result<R, JournalError>>;

/// A write with its asker.
pub(crate) struct Asked<W: Write> {
    write: W,
    reply: Option<W::Reply>,
    ack: oneshot::Sender<Result<W::Reply, JournalError>>,
    pace: Pace,
    /// Its share of the queue's bytes, given back when it is settled.
    _space: Option<OwnedSemaphorePermit>,
}

impl<W: Write> Asked<W> {
    /// A write as the queue carries it, and where its answer will come.
    pub(crate) fn job(
        write: W,
        pace: Pace,
        space: Option<OwnedSemaphorePermit>,
    ) -> (Box<dyn Job>, Answer<W::Reply>) {
        let (ack, answer) = oneshot::channel();
        (Box::new(Self { write, reply: None, ack, pace, _space: space }), answer)
    }
}

/// An [`Asked`] of whatever kind, as the queue carries it.
pub(crate) trait Job: Send {
    fn perform(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault>;
    fn take_back(&mut self);
    fn committed(&mut self, fresh: &mut Fresh);
    fn pace(&self) -> Pace;
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

    fn committed(&mut self, fresh: &mut Fresh) {
        if let Some(reply) = &self.reply {
            self.write.committed(reply, fresh);
        }
    }

    fn pace(&self) -> Pace {
        self.pace
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
    /// What entries are sealed on.
    pub(crate) sheet: Sheet,
    pub(crate) file: PathBuf,
    /// The end of the chain; `None` after a failure, until it is read again.
    pub(crate) end: Option<(Seq, Hash)>,
    pub(crate) written: watch::Sender<Seq>,
    /// What is known of the committed file; moved before `written`.
    pub(crate) gauges: Arc<Gauges>,
    /// Pages of the log that are not in the file yet, as of when it was asked.
    pub(crate) uncopied: i64,
    /// About how many were added since.
    pub(crate) unasked: i64,
    pub(crate) copying: Copying,
    pub(crate) syncing: Arc<Syncing>,
    /// `None` once it was waited for.
    pub(crate) syncer: Option<JoinHandle<()>>,
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
    fresh: Fresh,
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

    /// Whether nothing is behind a place of a stream, in a journal whose last entry is at `written`.
    pub(crate) fn ends_at(&self, stream: &Stream, after: Seq, written: Seq) -> bool {
        let told = self.told();
        !told.in_doubt && after >= told.ends.of(stream).unwrap_or(written)
    }

    /// The oldest deliveries that wait for their decision; `None` when only the file can tell.
    pub(crate) fn oldest(&self, limit: usize) -> Option<Vec<Delivery>> {
        self.told().fresh.oldest(limit)
    }

    /// Where a delivery is that waits for its decision; `None` when only the file can tell.
    pub(crate) fn place_of(&self, delivery: &DeliveryId) -> Option<Seq> {
        self.told().fresh.place_of(delivery)
    }

    /// So many deliveries wait in the file.
    pub(crate) fn count(&self, waiting: i64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.told().fresh.reckon(waiting);
    }

    /// Forgets where streams end: most of those that were worked on are not asked for again.
    fn rest(&self) {
        self.told().ends = Ends::default();
    }

    /// Forgets everything.
    fn doubt(&self) {
        *self.told() = Told { in_doubt: true, ..Told::default() };
    }

    /// Notes what was committed: what the transaction knew, and what its `jobs` did.
    fn committed(&self, done: Committed, jobs: &mut [Box<dyn Job>]) {
        let mut told = self.told();
        match done.pruned {
            Pruned::No => told.ends.merge(done.ends),
            Pruned::Yes => told.ends = done.ends,
        }
        for job in jobs {
            job.committed(&mut told.fresh);
        }
        let waiting = self.waiting.fetch_add(done.waiting, Ordering::Relaxed) + done.waiting;
        told.fresh.reckon(waiting);
    }

    /// The end of the journal is known again.
    fn trust(&self) {
        self.told().in_doubt = false;
    }
}

/// What a committed transaction knew.
struct Committed {
    ends: Ends,
    pruned: Pruned,
    /// By how many more, or fewer, deliveries wait for their decision.
    waiting: i64,
}

/// A group that was committed.
struct Done {
    /// How many of the jobs were in it.
    jobs: usize,
    end: (Seq, Hash),
    /// Of texts and bodies that were written.
    bytes: i64,
    knew: Committed,
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
    /// Writes until the queue is closed and empty, and waits until all of it is on the disk. Ends earlier
    /// when something cannot be brought there: nothing more may be written then, and whoever follows
    /// what is written sees that it ends.
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>, timer: &Runtime) {
        let mut jobs = Vec::with_capacity(GROUP_MAX);
        while self.syncing.failed().is_none() {
            if jobs.is_empty() && self.first(&mut jobs, &mut queue, timer) == 0 {
                break;
            }
            if self.syncing.has_room(pace(&jobs)) {
                self.some(&mut jobs);
                if self.uncopied >= self.copying.at_once {
                    self.checkpoint(timer);
                }
            } else {
                let room = GROUP_MAX - jobs.len();
                timer.block_on(async {
                    tokio::select! {
                        biased;
                        () = self.syncing.ended() => {}
                        // A closed queue is seen by whoever finds nothing left to write.
                        more = queue.recv_many(&mut jobs, room), if room > 0 => if more == 0 {
                            self.syncing.ended().await;
                        },
                    }
                });
            }
        }
        if let Some(error) = self.syncing.failed() {
            queue.close();
            settle(jobs, &Err(error.clone()));
            settle(std::iter::from_fn(|| queue.try_recv().ok()), &Err(error));
        }
    }

    /// Waits for the next writes, and uses the time; none come when the queue is closed, or nothing may
    /// be written any more.
    fn first(
        &mut self,
        jobs: &mut Vec<Box<dyn Job>>,
        queue: &mut mpsc::Receiver<Box<dyn Job>>,
        timer: &Runtime,
    ) -> usize {
        // The timeouts are made inside: each asks for the runtime that it is made on.
        if self.uncopied >= self.copying.when_quiet {
            let taken = async { timeout(QUIET, self.take(jobs, queue)).await };
            if let Ok(taken) = timer.block_on(taken) {
                return taken;
            }
            self.checkpoint(timer);
        }
        let taken = async { timeout(REST_AFTER, self.take(jobs, queue)).await };
        if let Ok(taken) = timer.block_on(taken) {
            return taken;
        }
        open::let_go(&self.connection);
        self.sheet = Sheet::default();
        self.gauges.rest();
        timer.block_on(self.take(jobs, queue))
    }

    async fn take(
        &self,
        jobs: &mut Vec<Box<dyn Job>>,
        queue: &mut mpsc::Receiver<Box<dyn Job>>,
    ) -> usize {
        loop {
            tokio::select! {
                biased;
                taken = queue.recv_many(jobs, GROUP_MAX) => return taken,
                () = self.syncing.ended() => if self.syncing.failed().is_some() {
                    return 0;
                },
            }
        }
    }

    /// Copies the log into the file, so that it begins anew: all of it, when no reader is on an older
    /// part. Nothing is copied that is not on the disk ([`crate::wal`] says why).
    fn checkpoint(&mut self, timer: &Runtime) {
        if !self.syncing.settle_all(|| timer.block_on(self.syncing.ended())) {
            return;
        }
        match self.log("PRAGMA wal_checkpoint(PASSIVE)") {
            Ok(uncopied) => (self.uncopied, self.unasked) = (uncopied, 0),
            Err(fault) if self.end_with_the_disk(&fault) => {}
            Err(error) => {
                // The log grows meanwhile. The next commit asks for its length, and it is tried again.
                tracing::warn!(%error, "the journal's log could not be copied into its file");
                (self.uncopied, self.unasked) = (0, self.copying.when_quiet);
            }
        }
    }

    /// Ends all writing when SQLite has waited for the disk in vain, as it does when the log begins anew
    /// and when it is copied: a second try could succeed and say nothing of what the first has lost.
    fn end_with_the_disk(&self, fault: &Fault) -> bool {
        let Fault::Database(error) = fault else { return false };
        if !is_of_sync(error) {
            return false;
        }
        tracing::error!(%error, "the journal could not be brought to the disk, and refuses writes");
        let error = self.syncing.fail(&error.to_string());
        self.syncing.give_up(&error);
        true
    }

    /// How many pages of the log are not in the file after this.
    fn log(&self, sql: &str) -> Result<i64, Fault> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_one([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))?)
    }

    /// Commits at least one of `jobs`, and settles those that need not wait for the disk.
    fn some(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let group = self.group(jobs);
        if let Err(Failed { fault, .. }) = &group {
            // Before anybody is told that it is not known: who was told reads the file itself.
            self.gauges.doubt();
            self.end_with_the_disk(fault);
        }
        match group {
            Ok(Done { jobs: done, end: (last, _), bytes: _, knew }) => {
                // Before anybody is told: who was told reads what it was told of.
                self.gauges.committed(knew, &mut jobs[..done]);
                let mut has_grown = false;
                self.written.send_if_modified(|written| {
                    has_grown = std::mem::replace(written, last) != last;
                    false
                });
                self.gauges.trust();
                let done = jobs.drain(..done);
                let (ahead, jobs): (Vec<_>, _) = done.partition(|job| job.pace().is_ahead());
                let is_intent = ahead.iter().any(|job| job.pace() == Pace::Intent);
                // The disk first: it takes longest.
                self.syncing.give(Group { jobs, last, is_intent });
                self.written.send_if_modified(|_| has_grown);
                settle(ahead, &Ok(()));
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
                settle(jobs.drain(..), &Err(error));
            }
        }
    }

    /// One transaction: as many of `jobs` as fit, and the end of the journal behind them.
    fn group(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Done, Failed> {
        let end = match self.end.take() {
            Some(end) => end,
            None => {
                self.gauges.count(queries::waiting(&self.connection)?);
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
        self.unasked += COMMIT_PAGES + done.bytes / PAGE_BYTES;
        if self.unasked >= self.copying.when_quiet / LOOKS || done.knew.pruned == Pruned::Yes {
            self.ask_log();
        }
        Ok(done)
    }

    /// Asks how long the log is.
    fn ask_log(&mut self) {
        self.unasked = 0;
        match self.log("PRAGMA wal_checkpoint(NOOP)") {
            Ok(uncopied) => self.uncopied = uncopied,
            Err(error) => tracing::debug!(%error, "the length of the journal's log is not known"),
        }
    }

    fn perform(&mut self, jobs: &mut [Box<dyn Job>], end: (Seq, Hash)) -> Result<Done, Failed> {
        let Self { connection, gauges, sheet, .. } = self;
        let mut transaction = Transaction::behind(connection, end, gauges, sheet);
        let mut done = 0;
        for (index, job) in jobs.iter_mut().enumerate() {
            job.perform(&mut transaction).map_err(|fault| Failed { index: Some(index), fault })?;
            done += 1;
            if transaction.written() >= GROUP_ENTRIES_MAX {
                break;
            }
        }
        let (end, bytes, waiting) = (transaction.end(), transaction.bytes(), transaction.waiting());
        let (ends, pruned) = transaction.into_ends();
        self.say("COMMIT")?;
        Ok(Done { jobs: done, end, bytes, knew: Committed { ends, pruned, waiting } })
    }

    fn say(&self, sql: &str) -> Result<(), Fault> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

impl Drop for Writer {
    /// Waits until all is on the disk; the connection closes after that, and copies the log.
    fn drop(&mut self) {
        self.syncing.end();
        if self.syncer.take().is_some_and(|syncer| syncer.join().is_err()) {
            self.syncing.fail("its thread had panicked");
        }
        if self.syncing.failed().is_some()
            && let Err(error) =
                self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::error!(%error, "the journal's log may be copied though it is not on the disk");
        }
    }
}

/// The pace of a group: that of its hastiest. A full one waits for nobody.
fn pace(jobs: &[Box<dyn Job>]) -> Pace {
    let pace = jobs.iter().map(|job| job.pace()).max().unwrap_or(Pace::Gathered);
    if jobs.len() >= GROUP_MAX { pace.max(Pace::Durable) } else { pace }
}

/// Whether SQLite waited for the disk in vain.
fn is_of_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}
