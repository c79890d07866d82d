//! A journal over which others get a word in: right before an entry of a chosen kind is written.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::yield_now;
use untoil_journal::*;
use untoil_model::*;

/// The journal in memory, but each call first lets other tasks run, and the next append of an entry
/// of a kind comes after the words that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    inner: MemoryJournal,
    words: Mutex<Vec<(&'static str, Draft)>>,
    hangs: Mutex<Vec<(&'static str, Duration)>>,
    commits: Mutex<Vec<String>>,
}

impl Busy {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Somebody else writes `word` right before the next entry of `kind`. The first said is the first
    /// written, one for each append of that kind.
    pub(crate) fn before(&self, kind: &'static str, word: Draft) {
        self.words.lock().unwrap().push((kind, word));
    }

    /// The next append of an entry of `kind` takes so long.
    pub(crate) fn hang(&self, kind: &'static str, time: Duration) {
        self.hangs.lock().unwrap().push((kind, time));
    }

    fn hanging(&self, batch: &Batch) -> Option<Duration> {
        let mut hangs = self.hangs.lock().unwrap();
        let has = |kind: &str| batch.drafts.iter().any(|draft| draft.body.kind() == kind);
        let at = hangs.iter().position(|(kind, _)| has(kind))?;
        Some(hangs.remove(at).1)
    }

    /// The kinds of what was written, commit by commit.
    pub(crate) fn commits(&self) -> Vec<String> {
        self.commits.lock().unwrap().clone()
    }

    fn word(&self, batch: &Batch) -> Option<Draft> {
        let mut words = self.words.lock().unwrap();
        let has = |kind: &str| batch.drafts.iter().any(|draft| draft.body.kind() == kind);
        let at = words.iter().position(|(kind, _)| has(kind))?;
        Some(words.remove(at).1)
    }
}

#[async_trait]
impl Journal for Busy {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.inner.receive(delivery).await
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        yield_now().await;
        if let Some(time) = self.hanging(&batch) {
            tokio::time::sleep(time).await;
        }
        if let Some(word) = self.word(&batch) {
            self.inner.append(Batch::of(vec![word])).await?;
        }
        let written = self.inner.append(batch).await?;
        let kinds: Vec<_> = written.iter().map(|entry| entry.body.kind()).collect();
        self.commits.lock().unwrap().push(kinds.join(" "));
        Ok(written)
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
