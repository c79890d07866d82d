//! The journal in one schema of a PostgreSQL database.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Pool, PoolError, TimeoutType};
use futures::future::BoxFuture;
use tokio::sync::mpsc::error::{SendTimeoutError, TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

use super::chain;
use super::config::PostgresConfig;
use super::connect::Target;
use super::fault::{Fault, PostgresError};
use super::follower::{self, Told};
use super::group::{Arriving, Job};
use super::queries::{self, Reader};
use super::roster::Pulse;
use super::sharing::Member;
use super::writer::Writer;
use super::{migrate, nul};
use crate::refusal::WAITING_MAX;

/// How many writes may wait: about a tenth of a second of them, which is how long one that is
/// accepted then waits. Beyond it, senders are asked to come back.
const QUEUE_MAX: usize = 4_096;

/// How many KiB of bodies may wait, so that large deliveries cannot fill the memory.
const QUEUE_KIB_MAX: u32 = 32 * 1024;

/// How long a task waits for its place in a full queue before it is told to come back.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How often a read is tried: more often than a pool can hand out connections that a restart of
/// the server has broken would only hide that it is gone.
const READS_MAX: u32 = 3;

/// The journal in one schema of a PostgreSQL database.
///
/// When the server goes away, reads and writes answer [`JournalError::Unavailable`] until it is
/// back; nothing has to be restarted. Dropping it drops what is queued and not acknowledged.
pub struct PostgresJournal {
    pub(super) target: Target,
    pool: Pool,
    head: watch::Receiver<Seq>,
    /// None when it is open for reading only.
    writing: Option<Writing>,
    pub(super) me: Arc<Member>,
    /// For how long it may act; see [`untoil_journal::Roster`].
    pub(super) pulse: Pulse,
}

/// What it writes by.
pub(super) struct Writing {
    queue: mpsc::Sender<Job>,
    /// KiB of bodies that may still be queued.
    space: Arc<Semaphore>,
    told: Told,
    /// The writer and the follower; they end with it.
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresJournal")
            .field("schema", &self.target.schema)
            .finish_non_exhaustive()
    }
}

impl PostgresJournal {
    /// Connects for writing as a new instance, to a schema that [`migrate`](super::migrate()) has
    /// made. It is not believed to live before its first [`untoil_journal::Roster::beat`].
    ///
    /// # Errors
    /// [`PostgresError`], which names what is wrong and the way out. Nothing was changed.
    pub async fn connect(config: &PostgresConfig) -> Result<Self, PostgresError> {
        let (target, pool, (reader, end)) = open(config).await?;
        let told = Told::new(end);
        let head = told.head.subscribe();
        let writer = Writer::start(target.clone(), config, told.clone()).await;
        let writer = writer.map_err(|fault| fault.at_open(&config.schema))?;
        let me = writer.me();
        // Where it ends may not have been on the disk yet.
        let settled = target.within(chain::sync(&reader, chain::SYNC, &me, end)).await;
        settled.map_err(|fault| fault.at_open(&config.schema))?;
        drop(reader);
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(writer.run(jobs));
        tasks.spawn(follower::run(target.clone(), Arc::clone(&me), told.clone()));
        let space = Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize));
        let writing = Some(Writing { queue, space, told, _tasks: tasks });
        Ok(Self { target, pool, head, writing, me, pulse: Pulse::new(config) })
    }

    /// Connects for reading only, also beside a running service.
    ///
    /// All writes answer [`JournalError::Unavailable`], and [`Journal::head`] stays where it was.
    ///
    /// # Errors
    /// As [`PostgresJournal::connect`].
    pub async fn connect_read_only(config: &PostgresConfig) -> Result<Self, PostgresError> {
        let target = Target::of(config)?;
        let pool = target.pool(config.pool)?;
        let reader = reader(&pool).await.map_err(|fault| fault.at_open(&config.schema))?;
        let found = migrate::version(&reader, &config.schema).await;
        migrate::check(&config.schema, found.map_err(|fault| fault.at_open(&config.schema))?)?;
        drop(reader);
        // Unchecked: `audit verify` must be able to open a damaged one.
        let (_, head) = watch::channel(Seq::START);
        let me = Arc::new(Member::nobody(config));
        Ok(Self { target, pool, head, writing: None, me, pulse: Pulse::new(config) })
    }

    /// Runs a query on a connection of the pool, again when that connection turns out to be gone.
    pub(super) async fn ask<'a, T: Send + 'a>(
        &'a self,
        query: impl Fn(Arc<Reader>) -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T, JournalError> {
        let mut tries = 1;
        loop {
            let answer = match reader(&self.pool).await.map(Arc::new) {
                Ok(reader) => {
                    let answer = self.target.within(query(Arc::clone(&reader))).await;
                    if answer.as_ref().is_err_and(|fault| !fault.leaves_session()) {
                        // Nobody shall be given it again.
                        drop(Arc::into_inner(reader).map(Reader::take));
                    }
                    answer
                }
                Err(fault) => Err(fault),
            };
            match answer {
                Err(fault) if fault.may_pass() && tries < READS_MAX => tries += 1,
                answer => return answer.map_err(|fault| fault.told(&self.target.schema)),
            }
        }
    }

    /// Waits until the disk has what was read: others commit ahead of it, and what is read is
    /// kept in mind where a server that crashed would have taken it back.
    ///
    /// On the connection that has read them: when the server has crashed since, that is gone, too, and
    /// they are read anew.
    async fn settle(
        &self,
        reader: &Reader,
        read: impl Iterator<Item = &Entry>,
    ) -> Result<(), Fault> {
        match read.map(|entry| entry.seq).max() {
            // Who only reads has no row to change, and does nothing because of what it reads.
            Some(last) if last > *self.head.borrow() && self.writing.is_some() => {
                match self.sync(reader, last).await {
                    // What stood before it took no more writes comes to the disk within a second, by
                    // itself; and nothing can be done meanwhile because of what is read.
                    Err(Fault::Refused(_)) if queries::is_read_only(reader).await? => Ok(()),
                    settled => settled,
                }
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Has the disk have everything up to an entry, and nobody here wait for it again.
    async fn sync(&self, reader: &Reader, seq: Seq) -> Result<(), Fault> {
        let sync = reader.prepare_cached(chain::SYNC).await?;
        chain::sync(reader, &sync, &self.me, seq).await?;
        if let Some(writing) = &self.writing {
            writing.told.raise_here(seq);
        }
        Ok(())
    }

    /// What it writes by; a refusal when it is open for reading only.
    pub(super) fn writing(&self) -> Result<&Writing, JournalError> {
        self.writing.as_ref().ok_or_else(|| {
            let schema = &self.target.schema;
            JournalError::Unavailable(format!("the schema `{schema}` is open for reading only"))
        })
    }

    /// Queues a write as soon as there is a place for it.
    pub(super) async fn put(&self, job: Job) -> Result<(), JournalError> {
        let queue = &self.writing()?.queue;
        queue.send_timeout(job, PLACE_WAIT_MAX).await.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => JournalError::Overloaded,
            SendTimeoutError::Closed(_) => stopped(),
        })
    }
}

impl Writing {
    /// Room for a body in the queue, or a refusal at once.
    fn space_for(&self, delivery: &Delivery) -> Result<OwnedSemaphorePermit, JournalError> {
        let kib = u32::try_from(delivery.body.len() / 1024 + 1).unwrap_or(QUEUE_KIB_MAX);
        let space = Arc::clone(&self.space).try_acquire_many_owned(kib.min(QUEUE_KIB_MAX));
        space.map_err(|_| JournalError::Overloaded)
    }
}

async fn open(config: &PostgresConfig) -> Result<(Target, Pool, (Reader, Seq)), PostgresError> {
    let target = Target::of(config)?;
    let pool = target.pool(config.pool)?;
    let at_open = |fault: Fault| fault.at_open(&config.schema);
    let reader = reader(&pool).await.map_err(at_open)?;
    let found = target.within(migrate::version(&reader, &config.schema)).await.map_err(at_open)?;
    migrate::check(&config.schema, found)?;
    let end = target.within(queries::end_of_chain(&reader)).await.map_err(at_open)?;
    Ok((target, pool, (reader, end)))
}

/// A connection of the pool.
async fn reader(pool: &Pool) -> Result<Reader, Fault> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => Fault::Unreachable(Fault::from(error).to_string()),
        PoolError::PostCreateHook(error) => Fault::Unreachable(error.to_string()),
        PoolError::Timeout(TimeoutType::Wait) => {
            Fault::Unreachable("every connection of the pool is busy; raise `pool`".into())
        }
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            Fault::Unreachable("it does not answer".into())
        }
        PoolError::Closed | PoolError::NoRuntimeSpecified => Fault::Unreachable(error.to_string()),
    })
}

/// What is said when a task is gone: it panicked, and has said so on its own.
pub(super) fn stopped() -> JournalError {
    JournalError::Unavailable("its task has stopped; restart the service".into())
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let writing = self.writing()?;
        if writing.told.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(JournalError::Overloaded);
        }
        let space = writing.space_for(&delivery)?;
        let (ack, answer) = oneshot::channel();
        let delivery = Box::new(Arriving::new(delivery));
        let job = Job::Receive { delivery, outcome: None, ack, _space: space };
        writing.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::Overloaded,
            TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.map_err(|_| stopped())?
    }

    /// Also what may be written ahead. Were a database that fails over to take that back, this process
    /// would go on with what it keeps in mind; on SQLite, no later write would succeed.
    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        batch.check_size()?;
        let (ack, answer) = oneshot::channel();
        self.put(Job::Append { batch: Box::new(batch), outcome: None, ack }).await?;
        let appended = answer.await.map_err(|_| stopped())??;
        appended.map_err(AppendError::from)
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.ask(|reader| {
            Box::pin(async move {
                let entries = queries::read(&reader, stream, after, limit).await?;
                self.settle(&reader, entries.iter()).await?;
                Ok(entries)
            })
        })
        .await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.ask(|reader| {
            Box::pin(async move {
                let entries = queries::latest(&reader, stream, limit).await?;
                self.settle(&reader, entries.iter()).await?;
                Ok(entries)
            })
        })
        .await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.ask(|reader| Box::pin(async move { queries::raw(&reader, after, limit).await })).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.ask(|reader| Box::pin(async move { queries::pending(&reader, limit).await })).await
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        let me = self.me.number;
        self.ask(|reader| Box::pin(async move { queries::to_decide(&reader, me, limit).await }))
            .await
    }

    async fn latest_each(
        &self,
        streams: &[Stream],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, JournalError> {
        self.ask(|reader| {
            Box::pin(async move {
                let each = queries::latest_each(&reader, streams, limit).await?;
                self.settle(&reader, each.iter().flatten()).await?;
                Ok(each)
            })
        })
        .await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.ask(|reader| Box::pin(async move { queries::delivery(&reader, id).await })).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.ask(|reader| {
            Box::pin(async move { queries::open_incidents(&reader, after, limit).await })
        })
        .await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.ask(|reader| Box::pin(async move { queries::incidents(&reader, before, limit).await }))
            .await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.ask(|connection| Box::pin(async move { queries::cursor(&connection, reader).await }))
            .await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        let reader = nul::kept(reader).into_owned();
        let as_kept = |put: Put| Put {
            key: nul::kept(&put.key).into_owned(),
            value: put.value.map(|value| nul::kept(&value).into_owned()),
        };
        let memos = memos.into_iter().map(as_kept).collect();
        let (ack, answer) = oneshot::channel();
        self.put(Job::Advance { reader, to, memos, outcome: None, ack }).await?;
        answer.await.map_err(|_| stopped())?
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.ask(|connection| {
            Box::pin(async move { queries::memo(&connection, reader, key).await })
        })
        .await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        let mut head = self.head.clone();
        head.mark_unchanged();
        head
    }

    async fn durable(&self, seq: Seq) -> Result<(), JournalError> {
        // Who only reads has no row to change, and nothing to do outside because of what it reads.
        if *self.head.borrow() >= seq || self.writing.is_none() {
            return Ok(());
        }
        self.ask(|reader| Box::pin(async move { self.sync(&reader, seq).await })).await
    }
}
