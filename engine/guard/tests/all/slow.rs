//! A journal over which others get a word in: between a guard's reading and its writing.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::yield_now;
use untoil_journal::*;
use untoil_model::*;

/// The journal in memory, but each call first lets other tasks run, and each append of a judgement
/// first writes the next of `between`.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) inner: Arc<MemoryJournal>,
    pub(crate) between: Mutex<Vec<Draft>>,
}

#[async_trait]
impl Journal for Slow {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.inner.receive(delivery).await
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        yield_now().await;
        let word = self.between.lock().unwrap().pop();
        if let Some(word) = word {
            self.inner.append(Batch::of(vec![word])).await?;
        }
        self.inner.append(batch).await
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        yield_now().await;
        self.inner.read(stream, after, limit).await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.inner.latest(stream, limit).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.inner.raw(after, limit).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.inner.pending(limit).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.inner.delivery(id).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.inner.open_incidents(after, limit).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.inner.incidents(before, limit).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.inner.cursor(reader).await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.inner.advance(reader, to, memos).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.inner.memo(reader, key).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.inner.head()
    }

    fn written(&self) -> watch::Receiver<Seq> {
        self.inner.written()
    }
}
