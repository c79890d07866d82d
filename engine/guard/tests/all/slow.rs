//! A journal over which others get a word in: between a guard's reading and its writing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;
use untoil_journal::*;
use untoil_model::*;

/// The journal in memory, but each call first lets other tasks run, and each append of a judgement
/// first writes the next of `between`.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    pub(crate) inner: Mutex<Arc<MemoryJournal>>,
    pub(crate) between: Mutex<Vec<Draft>>,
    /// Incidents that another instance has taken over.
    pub(crate) taken: Mutex<BTreeSet<IncidentId>>,
    /// Once told, the next append comes to no end; it tells when it is there.
    pub(crate) stuck: Notify,
    pub(crate) is_stuck: Notify,
    pub(crate) not_durable: AtomicBool,
    pub(crate) appended: AtomicUsize,
}

impl Slow {
    pub(crate) fn over(journal: Arc<MemoryJournal>) -> Self {
        Self { inner: Mutex::new(journal), ..Self::default() }
    }

    /// Has another journal beneath from now on: a database that came back without its last entries.
    pub(crate) fn is_now(&self, journal: Arc<MemoryJournal>) {
        *self.inner.lock().unwrap() = journal;
    }

    fn inner(&self) -> Arc<MemoryJournal> {
        Arc::clone(&self.inner.lock().unwrap())
    }

    /// Whether nothing comes to the disk from now on.
    pub(crate) fn fail_durable(&self, fails: bool) {
        self.not_durable.store(fails, Ordering::Relaxed);
    }

    /// How many batches it was given.
    pub(crate) fn appended(&self) -> usize {
        self.appended.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Journal for Slow {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.inner().receive(delivery).await
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        yield_now().await;
        self.appended.fetch_add(1, Ordering::Relaxed);
        if self.stuck.notified().now_or_never().is_some() {
            self.is_stuck.notify_one();
            std::future::pending::<()>().await;
        }
        let taken = batch.holding.iter().find(|id| self.taken.lock().unwrap().contains(*id));
        if let Some(taken) = taken {
            return Err(JournalError::TakenOver(format!("incident `{taken}`")).into());
        }
        let word = self.between.lock().unwrap().pop();
        if let Some(word) = word {
            self.inner().append(Batch::of(vec![word])).await?;
        }
        self.inner().append(batch).await
    }

    async fn durable(&self, _: Seq) -> Result<(), JournalError> {
        if self.not_durable.load(Ordering::Relaxed) {
            return Err(JournalError::Unavailable("the disk is gone".into()));
        }
        Ok(())
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        yield_now().await;
        self.inner().read(stream, after, limit).await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.inner().latest(stream, limit).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.inner().raw(after, limit).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.inner().pending(limit).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.inner().delivery(id).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.inner().open_incidents(after, limit).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.inner().incidents(before, limit).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.inner().cursor(reader).await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.inner().advance(reader, to, memos).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.inner().memo(reader, key).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.inner().head()
    }

    fn written(&self) -> watch::Receiver<Seq> {
        self.inner().written()
    }
}
