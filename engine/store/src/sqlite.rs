//! The journal in one SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use untoil_journal::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Sheet, Stream};

use crate::fault::Fault;
use crate::open::{self, OpenError};
use crate::queries;
use crate::readers::{Read, Readers};
use crate::refusal::WAITING_MAX;
use crate::syncer::Syncing;
use crate::threads::{Threads, stopped};
use crate::transaction::{end_of_chain, last};
use crate::wal::{self, Disk};
use crate::writer::{Asked, Copying, Gauges, Job, Pace, Write, Writer};
use crate::writes::{Advance, Append, Receive};

/// How many writes may wait: about a tenth of a second of them, which is how long one that is
/// accepted then waits. Beyond it, senders are asked to come back.
const QUEUE_MAX: usize = 4_096;

/// How many KiB of bodies may wait, so that large deliveries cannot fill the memory.
const QUEUE_KIB_MAX: u32 = 32 * 1024;

/// How many threads read. Readers do not wait for the writer; two keep one slow reader from
/// holding up the others.
const READERS: usize = 2;

/// The journal in one SQLite file, which one process owns.
///
/// Dropping it writes what is queued, closes the file and waits for both.
pub struct SqliteJournal {
    file: Arc<Path>,
    head: watch::Receiver<Seq>,
    written: watch::Receiver<Seq>,
    gauges: Arc<Gauges>,
    syncing: Arc<Syncing>,
    /// KiB of bodies that may still be queued.
    space: Arc<Semaphore>,
    // Dropped in this order: the writer closes last, and folds the write-ahead log into the file.
    readers: Readers,
    /// None when it is open for reading only.
    writer: Option<Threads<Box<dyn Job>>>,
    /// The log that another process may write, when it is open for reading only.
    others: Option<Arc<Path>>,
}

impl std::fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteJournal").field("file", &self.file).finish_non_exhaustive()
    }
}

impl SqliteJournal {
    /// Opens a journal for writing; makes the file, or brings its schema up to date, if need be.
    ///
    /// Blocks for some milliseconds. Only one process may have a file open in this way.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and the way out. Nothing was changed then, but for a new
    /// file being made or an older schema migrated.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_on(file.as_ref(), Copying::USUAL, |disk| disk)
    }

    /// The same, on what `on` makes of the disk, with the log copied as `copying` says.
    pub(crate) fn open_on(
        file: &Path,
        copying: Copying,
        on: impl FnOnce(Box<dyn Disk>) -> Box<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let file: Arc<Path> = file.into();
        let owned = open::own(&file)?;
        open::make(&file)?;
        wal::renew(&file).map_err(OpenError::io(&file))?;
        let connection = open::writing(&file)?;
        let end = end_of_chain(&connection).map_err(|fault| OpenError::of(&file, fault))?;
        // What is read from here on is on the disk.
        let disk = on(wal::open(&file).map_err(OpenError::io(&file))?);
        let gauges = Arc::new(Gauges::default());
        let waiting = queries::waiting(&connection).map_err(|fault| OpenError::of(&file, fault))?;
        gauges.count(waiting);
        let (sender, head) = watch::channel(end.0);
        let syncing = Syncing::new(&file, sender);
        let (sender, written) = watch::channel(end.0);
        let syncs = Arc::clone(&syncing);
        let syncer = thread::Builder::new().name("journal-syncer".into());
        let writer = Writer {
            connection,
            sheet: Sheet::default(),
            file: PathBuf::from(&*file),
            end: Some(end),
            written: sender,
            gauges: Arc::clone(&gauges),
            uncopied: 0,
            unasked: 0,
            copying,
            syncing: Arc::clone(&syncing),
            syncer: Some(syncer.spawn(move || syncs.run(disk)).map_err(OpenError::io(&file))?),
            _owned: owned,
        };
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let timer = runtime::Builder::new_current_thread().enable_time().build();
        let timer = timer.map_err(OpenError::io(&file))?;
        let mut threads = Threads::new(queue);
        threads
            .start("journal-writer".into(), move || writer.run(jobs, &timer))
            .map_err(OpenError::io(&file))?;
        Ok(Self { written, gauges, ..Self::with(file, (head, syncing), Some(threads))? })
    }

    /// Opens a journal for reading only, also beside a running service.
    ///
    /// All writes answer [`JournalError::Unavailable`], and [`Journal::head`] stays where it was. What is
    /// read is on the disk when it is answered, unless the service's own sync has failed: the system
    /// tells that once, and the service then refuses writes and ends.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and the way out.
    pub fn open_read_only(file: impl AsRef<Path>) -> Result<Self, OpenError> {
        let file: Arc<Path> = file.as_ref().into();
        let connection = open::reading(&file)?;
        let head = last(&connection).map_err(|fault| OpenError::of(&file, fault))?;
        // The sender's end closes the channel; the receiver keeps the value.
        let syncing = Syncing::new(&file, watch::Sender::new(head));
        let (_, head) = watch::channel(head);
        let others = wal::beside(&file).map_err(OpenError::io(&file))?;
        Ok(Self { others: Some(others.into()), ..Self::with(file, (head, syncing), None)? })
    }

    fn with(
        file: Arc<Path>,
        (head, syncing): (watch::Receiver<Seq>, Arc<Syncing>),
        writer: Option<Threads<Box<dyn Job>>>,
    ) -> Result<Self, OpenError> {
        let mut readers = Readers::new();
        for number in 1..=READERS {
            let connection = open::reading(&file)?;
            let name = format!("journal-reader-{number}");
            readers.start(name, connection).map_err(OpenError::io(&file))?;
        }
        let space = Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize));
        let (written, gauges) = (head.clone(), Arc::default());
        let others = None;
        Ok(Self { file, head, written, gauges, syncing, space, readers, writer, others })
    }

    /// Runs a query on a reading thread.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (ack, answer) = oneshot::channel();
        let others = self.others.clone();
        let read: Read = Box::new(move |connection| {
            if ack.is_closed() {
                return;
            }
            let mut answer = query(connection);
            // What leaves this process must not be lost because the one that wrote it was faster than
            // its disk. It can be written ahead of that; what was read cannot change any more.
            if let Some(log) = others
                && let Err(error) = wal::settle(&log)
            {
                let why = format!("its log could not be brought to the disk: {error}");
                answer = Err(Fault::Unreadable(why));
            }
            drop(ack.send(answer));
        });
        self.readers.put(read).await?;
        let answer = answer.await.map_err(|_| stopped())?;
        answer.map_err(|fault| fault.told(&self.file))
    }

    fn writer(&self) -> Result<&Threads<Box<dyn Job>>, JournalError> {
        self.writer.as_ref().ok_or_else(|| {
            let file = self.file.display();
            JournalError::Unavailable(format!("`{file}` is open for reading only"))
        })
    }

    /// How many deliveries wait for their decision.
    pub(crate) fn waiting(&self) -> i64 {
        self.gauges.waiting.load(Ordering::Relaxed)
    }

    /// Whether nothing is behind a place, as its only writer knows without asking the file.
    fn ends_at(&self, stream: &Stream, after: Seq) -> bool {
        self.writer.is_some() && self.gauges.ends_at(stream, after, *self.written.borrow())
    }

    /// Room for a body in the queue, or a refusal at once.
    fn space_for(&self, delivery: &Delivery) -> Result<OwnedSemaphorePermit, JournalError> {
        let kib = u32::try_from(delivery.body.len() / 1024 + 1).unwrap_or(QUEUE_KIB_MAX);
        let space = Arc::clone(&self.space).try_acquire_many_owned(kib.min(QUEUE_KIB_MAX));
        space.map_err(|_| JournalError::Overloaded)
    }

    /// Queues a write as soon as there is a place for it, and waits for its answer.
    pub(crate) async fn write<W: Write>(
        &self,
        write: W,
        pace: Pace,
    ) -> Result<W::Reply, JournalError> {
        let (job, answer) = Asked::job(write, pace, None);
        self.writer()?.put(job).await.map_err(|error| self.why(error))?;
        answer.await.map_err(|_| self.why(stopped()))?
    }

    /// Why nothing is written, if that is known better.
    fn why(&self, error: JournalError) -> JournalError {
        self.syncing.failed().unwrap_or(error)
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let writer = self.writer()?;
        if self.waiting() >= WAITING_MAX {
            return Err(JournalError::Overloaded);
        }
        let space = self.space_for(&delivery)?;
        let (job, answer) = Asked::job(Receive::new(delivery), Pace::Gathered, Some(space));
        writer.offer(job).map_err(|error| self.why(error))?;
        answer.await.map_err(|_| self.why(stopped()))?
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        batch.check_size()?;
        self.write(Append(batch), Pace::Durable).await?.map_err(AppendError::from)
    }

    async fn append_ahead(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        batch.check_size()?;
        let pace = Pace::ahead(&batch);
        self.write(Append(batch), pace).await?.map_err(AppendError::from)
    }

    async fn durable(&self, seq: Seq) -> Result<(), JournalError> {
        if *self.head.borrow() >= seq {
            return Ok(());
        }
        self.writer()?;
        self.syncing.durable(seq).await.map_err(|_| self.why(stopped()))?
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        if self.ends_at(stream, after) {
            return Ok(Vec::new());
        }
        let stream = stream.clone();
        self.ask(move |connection| queries::read(connection, &stream, after, limit)).await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let stream = stream.clone();
        self.ask(move |connection| queries::latest(connection, &stream, limit)).await
    }

    async fn latest_each(
        &self,
        streams: &[Stream],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, JournalError> {
        let streams = streams.to_vec();
        let each = move |connection: &Connection| {
            streams.iter().map(|stream| queries::latest(connection, stream, limit)).collect()
        };
        self.ask(each).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.ask(move |connection| queries::raw(connection, after, limit)).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.ask(move |connection| queries::pending(connection, limit)).await
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        if let Some(fresh) = self.gauges.oldest(limit) {
            return Ok(fresh);
        }
        self.ask(move |connection| queries::to_decide(connection, limit)).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        let id = id.clone();
        self.ask(move |connection| queries::delivery(connection, &id)).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let after = after.cloned();
        self.ask(move |connection| queries::open_incidents(connection, after.as_ref(), limit)).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let before = before.cloned();
        self.ask(move |connection| queries::incidents(connection, before.as_ref(), limit)).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        let reader = reader.to_owned();
        self.ask(move |connection| queries::cursor(connection, &reader)).await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.write(Advance { reader: reader.to_owned(), to, memos }, Pace::Gathered).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        let (reader, key) = (reader.to_owned(), key.to_owned());
        self.ask(move |connection| queries::memo(connection, &reader, &key)).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        let mut head = self.head.clone();
        head.mark_unchanged();
        head
    }

    fn written(&self) -> watch::Receiver<Seq> {
        let mut written = self.written.clone();
        written.mark_unchanged();
        written
    }
}
