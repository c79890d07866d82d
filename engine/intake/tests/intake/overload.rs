//! More than can be kept at once, and a journal that does not answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures::future::join_all;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use untoil_intake::BODY_BYTES_DEFAULT;
use untoil_journal::{
    AppendError, Batch, Journal, JournalError, MemoryJournal, Put, RawEntry, Receipt,
};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

use crate::http::{Answer, Intake, SECRET, post};

/// What waits in this journal's queue at most; a store's own is longer, and tested there.
const QUEUE_MAX: usize = 64;
/// Longest wait for a journal, as senders see it.
const PROMPT: Duration = Duration::from_secs(4);

/// The journal in memory behind a queue of bounded length, which can stand still.
#[derive(Debug)]
struct Narrow {
    inner: MemoryJournal,
    places: Semaphore,
    moves: watch::Sender<bool>,
}

impl Narrow {
    fn standing_still() -> Arc<Self> {
        let (inner, places) = (MemoryJournal::new(), Semaphore::new(QUEUE_MAX));
        Arc::new(Self { inner, places, moves: watch::Sender::new(false) })
    }

    fn waiting(&self) -> usize {
        QUEUE_MAX - self.places.available_permits()
    }
}

#[async_trait]
impl Journal for Narrow {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let _place = self.places.try_acquire().map_err(|_| JournalError::Overloaded)?;
        self.moves.subscribe().wait_for(|moves| *moves).await.unwrap();
        self.inner.receive(delivery).await
    }
    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.inner.append(batch).await
    }
    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
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
}

/// Sends the `n`th of many different deliveries.
async fn send(intake: &Intake, n: usize, body: impl Into<Body>) -> Answer {
    let (bearer, key) = (format!("Bearer {SECRET}"), format!("m{n}"));
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
    intake.send(post("generic", &headers, body)).await
}

fn of(answers: &[Answer], status: StatusCode) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Each 503 says when to come back, in seconds.
fn retry_after(answers: &[Answer]) -> Vec<&str> {
    let refused = answers.iter().filter(|it| it.status == StatusCode::SERVICE_UNAVAILABLE);
    refused.map(|it| it.headers["retry-after"].to_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_burst_beyond_the_queue_is_answered_promptly_and_taken_when_it_comes_again() {
    let journal = Narrow::standing_still();
    let intake = Intake::over(journal.clone());
    let before = Instant::now();
    let burst = join_all((0..1_000).map(|n| send(&intake, n, "{}")));
    let unblock = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(journal.waiting(), QUEUE_MAX, "no more than these wait");
        journal.moves.send_replace(true);
    };
    let (answers, ()) = tokio::join!(burst, unblock);
    assert!(before.elapsed() <= Duration::from_secs(2), "{:?}", before.elapsed());
    assert_eq!(of(&answers, StatusCode::ACCEPTED), QUEUE_MAX);
    assert_eq!(retry_after(&answers), vec!["1"; 1_000 - QUEUE_MAX]);

    for (n, first) in answers.iter().enumerate() {
        let again = send(&intake, n, "{}").await;
        let was_taken = first.status == StatusCode::ACCEPTED;
        let status = if was_taken { StatusCode::OK } else { StatusCode::ACCEPTED };
        assert_eq!(again.status, status, "{n}: {}", again.body);
    }
    assert_eq!(journal.pending(2_000).await.unwrap().len(), 1_000, "each once");
    assert_eq!(journal.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_hangs_is_503_within_a_bound_and_nothing_waits_for_it_for_ever() {
    let journal = Narrow::standing_still();
    let intake = Intake::over(journal.clone());
    for round in 0..3 {
        let before = Instant::now();
        let answers = join_all((0..2 * QUEUE_MAX).map(|n| send(&intake, n, "{}"))).await;
        assert_eq!(before.elapsed(), PROMPT, "round {round}");
        let mut expected = vec!["10"; QUEUE_MAX];
        expected.extend(vec!["1"; QUEUE_MAX]);
        assert_eq!(retry_after(&answers), expected, "round {round}");
        assert_eq!(journal.waiting(), 0, "who was answered leaves nothing behind");
    }
    journal.moves.send_replace(true);
    assert_eq!(send(&intake, 0, "{}").await.status, StatusCode::ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_before_a_journal_that_hangs_take_a_bounded_memory_and_give_it_back() {
    let journal = Narrow::standing_still();
    let intake = Intake::over(journal.clone());
    let large = Bytes::from(vec![b' '; BODY_BYTES_DEFAULT]);
    for round in 0..2 {
        let answers = join_all((0..60).map(|n| send(&intake, n, large.clone()))).await;
        let waits = retry_after(&answers);
        assert_eq!(waits.len(), 60, "round {round}");
        let held = waits.iter().filter(|after| **after == "10").count();
        assert_eq!(held, 32, "64 MiB of bodies at once, and no more; round {round}");
    }
    journal.moves.send_replace(true);
    assert_eq!(send(&intake, 0, large).await.status, StatusCode::ACCEPTED);
}
