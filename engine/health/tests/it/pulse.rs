//! What the pulse makes of a store that fails, of deliveries that wait, and of words that come late.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;
use untoil_health::{Part, Pulse, State, Telling};
use untoil_journal::{
    AppendError, Batch, Journal, JournalError, MemoryJournal, Put, RawEntry, Receipt,
};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

use crate::openmetrics::Scrape;
use crate::story::{Scene, Story};

const FINE: u8 = 0;
/// It can be read and not written, as a full disk.
const FULL: u8 = 1;
/// Nothing gets an answer.
const SILENT: u8 = 2;

/// A journal in memory that fails on demand.
#[derive(Debug, Default)]
struct Failing {
    journal: MemoryJournal,
    how: Arc<AtomicU8>,
}

impl Failing {
    async fn reads(&self) {
        if self.how.load(Ordering::SeqCst) == SILENT {
            std::future::pending::<()>().await;
        }
    }

    async fn writes(&self) -> Result<(), JournalError> {
        self.reads().await;
        match self.how.load(Ordering::SeqCst) {
            FULL => Err(JournalError::Unavailable("database or disk is full".into())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Journal for Failing {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.writes().await?;
        self.journal.receive(delivery).await
    }
    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.writes().await?;
        self.journal.append(batch).await
    }
    async fn read(&self, of: &Stream, after: Seq, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.reads().await;
        self.journal.read(of, after, n).await
    }
    async fn latest(&self, of: &Stream, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.reads().await;
        self.journal.latest(of, n).await
    }
    async fn raw(&self, after: Seq, n: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.journal.raw(after, n).await
    }
    async fn pending(&self, n: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.journal.pending(n).await
    }
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.journal.delivery(id).await
    }
    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        n: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.journal.open_incidents(after, n).await
    }
    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        n: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.journal.incidents(before, n).await
    }
    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.journal.cursor(reader).await
    }
    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.writes().await?;
        self.journal.advance(reader, to, memos).await
    }
    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.journal.memo(reader, key).await
    }
    fn head(&self) -> watch::Receiver<Seq> {
        self.journal.head()
    }
}

/// A scene whose store fails on demand, its pulse, and what is known of the telling.
fn living() -> (Scene, Pulse, Arc<AtomicU8>, Arc<Mutex<Telling>>) {
    let failing = Failing::default();
    let how = Arc::clone(&failing.how);
    let scene = Scene::over(Arc::new(failing), |_| Vec::new());
    let telling: Arc<Mutex<Telling>> = Arc::default();
    let asked = Arc::clone(&telling);
    let pulse = Pulse::new(
        (Arc::clone(&scene.journal), Arc::clone(&scene.clock) as _),
        Arc::clone(&scene.metrics),
        scene.readiness.clone(),
        Box::new(move || asked.lock().unwrap().clone()),
    );
    for part in Part::ALL {
        scene.readiness.ok(part);
    }
    (scene, pulse, how, telling)
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_written_is_tried_until_it_can() {
    for how in [FULL, SILENT] {
        let (scene, mut pulse, fails, _) = living();
        pulse.look().await;
        assert!(scene.readiness.is_ready());
        fails.store(how, Ordering::SeqCst);
        if how == FULL {
            // Reading works, so it takes a write to see it.
            let batch = Batch::default();
            assert!(scene.journal.append(batch).await.is_err());
        }
        pulse.look().await;
        assert_eq!(scene.readiness.state(Part::Store), State::Failed);
        assert!(!scene.readiness.is_ready());
        let scrape = Scrape::read(&scene.metrics.text());
        assert_eq!(scrape.value("untoil_part_ok", &[("part", "store")]), Some(0.0));
        fails.store(FINE, Ordering::SeqCst);
        scene.journal.append(Batch::default()).await.unwrap();
        assert!(!scene.readiness.is_ready(), "what writes nothing proves nothing");
        pulse.look().await;
        assert!(scene.readiness.is_ready(), "without anybody else having written");
        let head = *scene.journal.head().borrow();
        assert_eq!(head, Seq::START, "the try adds no entry");
        let cursor = scene.journal.cursor("readiness").await.unwrap();
        assert_eq!(cursor, Seq(u64::MAX), "archiving never waits for it");
    }
}

#[tokio::test(start_paused = true)]
async fn deliveries_that_wait_are_late_and_then_nothing_is_decided() {
    let (scene, mut pulse, _, _) = living();
    let delivery = scene.receive("generic", "m-1").await;
    pulse.look().await;
    assert_eq!(scene.readiness.state(Part::Decisions), State::Ok);
    scene.pass(31).await;
    pulse.look().await;
    assert_eq!(scene.readiness.state(Part::Decisions), State::Degraded);
    let scrape = Scrape::read(&scene.metrics.text());
    assert_eq!(scrape.value("untoil_deliveries_pending", &[]), Some(1.0));
    let oldest = scrape.value("untoil_delivery_pending_oldest_seconds", &[]);
    assert!(oldest.is_some_and(|secs| secs >= 31.0), "{oldest:?}");
    scene.pass(120).await;
    pulse.look().await;
    assert_eq!(scene.readiness.state(Part::Decisions), State::Failed);
    assert!(scene.readiness.is_ready(), "what is kept is decided later, so more may come");
    let batch = untoil_journal::Batch::default().deciding(delivery);
    scene.journal.append(batch).await.unwrap();
    pulse.look().await;
    assert_eq!(scene.readiness.state(Part::Decisions), State::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_comes_again_after_the_store_hung_is_timed_from_then() {
    let (scene, _, fails, _) = living();
    fails.store(SILENT, Ordering::SeqCst);
    let waits = tokio::time::timeout(Duration::from_secs(4), scene.receive("generic", "m-1"));
    assert!(waits.await.is_err(), "its sender goes away");
    scene.pass(600).await;
    fails.store(FINE, Ordering::SeqCst);
    let delivery = scene.receive("generic", "m-1").await;
    scene.pass(2).await;
    let decoded = json!({ "decoded": { "delivery": delivery, "alarms": 0 } });
    scene.write(None, &[decoded]).await;
    let scrape = Scrape::read(&scene.metrics.text());
    let took = scrape.value("untoil_delivery_decided_seconds_sum", &[("source", "generic")]);
    assert_eq!(took, Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn slack_being_down_is_told_and_stops_nothing() {
    let (scene, mut pulse, _, telling) = living();
    let story = Story::opens(&scene).await;
    story.plans().await;
    let head = scene.journal.head().borrow().0;
    *telling.lock().unwrap() = Telling {
        is_off: false,
        cursor: Seq(1),
        is_degraded: true,
        last_error: Some("token_revoked".into()),
        delivered: 7,
        passed_over: 2,
    };
    pulse.look().await;
    pulse.look().await;
    let report = scene.readiness.report();
    let slack = json!(report.parts[&Part::Slack]);
    assert_eq!(
        (&slack["state"], &slack["last_error"]),
        (&"degraded".into(), &"token_revoked".into())
    );
    assert!(report.ready && slack["way_out"].is_string());
    let scrape = Scrape::read(&scene.metrics.text());
    let lag = scrape.value("untoil_notifier_lag_entries", &[]).unwrap();
    assert_eq!(lag.to_string(), (head - 1).to_string());
    for (result, n) in [("delivered", 7.0), ("passed_over", 2.0)] {
        let told = scrape.value("untoil_notifier_messages_total", &[("result", result)]);
        assert_eq!(told, Some(n), "two looks count once");
    }
    assert_eq!(scrape.value("untoil_incidents_open", &[]), Some(1.0));
    assert!(scrape.value("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    *telling.lock().unwrap() = Telling { is_off: true, ..Telling::default() };
    pulse.look().await;
    assert_eq!(scene.readiness.state(Part::Slack), State::Off);
}
