//! What is written ahead of the disk is not told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_journal::{
    AppendError, Batch, Journal, JournalError, MemoryJournal, Put, RawEntry, Receipt,
};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};
use untoil_notifier::{Language, Notifier, NotifierConfig};

use crate::life::{Life, start};
use crate::loops::{FakeChat, HEALED};
use crate::threads::voice;

/// A journal whose disk is as far as the test says.
#[derive(Debug)]
struct Lagging {
    kept: MemoryJournal,
    disk: watch::Sender<Seq>,
}

#[async_trait]
impl Journal for Lagging {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.kept.receive(delivery).await
    }
    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.kept.append(batch).await
    }
    async fn read(&self, of: &Stream, after: Seq, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.kept.read(of, after, n).await
    }
    async fn latest(&self, of: &Stream, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.kept.latest(of, n).await
    }
    async fn raw(&self, after: Seq, n: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.kept.raw(after, n).await
    }
    async fn pending(&self, n: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.kept.pending(n).await
    }
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.kept.delivery(id).await
    }
    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        n: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.kept.open_incidents(after, n).await
    }
    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        n: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.kept.incidents(before, n).await
    }
    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.kept.cursor(reader).await
    }
    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.kept.advance(reader, to, memos).await
    }
    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.kept.memo(reader, key).await
    }
    fn head(&self) -> watch::Receiver<Seq> {
        self.disk.subscribe()
    }
    fn written(&self) -> watch::Receiver<Seq> {
        self.kept.written()
    }
}

#[tokio::test(start_paused = true)]
async fn people_are_told_of_nothing_that_could_still_be_lost() {
    let clock = Arc::new(VirtualClock::starting_at(start()));
    let lagging = Lagging { kept: MemoryJournal::new(), disk: watch::Sender::new(Seq::START) };
    let journal = Arc::new(lagging);
    let written = journal.append(Batch::of(Life::healed("disk").drafts)).await.unwrap();
    let chat = FakeChat::new(clock.clone());
    let config = NotifierConfig::new("C1", voice(Language::En));
    let notifier = Notifier::new(journal.clone(), chat.clone(), clock.clone(), config);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(notifier.run(stop.clone()));
    let mut lines_before = 0;
    for Entry { seq, .. } in &written {
        clock.sleep(Duration::from_mins(1)).await;
        assert!(journal.cursor("slack").await.unwrap() < *seq, "entry {seq} is not on the disk");
        assert!(chat.tells_of().iter().flatten().all(|told| told < seq));
        assert!(chat.lines().len() >= lines_before);
        lines_before = chat.lines().len();
        journal.disk.send_replace(*seq);
    }
    clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(chat.lines(), HEALED);
    assert_eq!(Some(journal.cursor("slack").await.unwrap()), written.last().map(|last| last.seq));
    stop.cancel();
    tasks.join_all().await;
}
