//! Queues: nothing lost and nothing twice, whatever the queue, the journal and the process do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_intake::{
    Consumer, Decoders, HIDDEN, MESSAGES_MAX, Queue, QueueError, QueueMessage, WAIT,
};
use untoil_journal::{Journal, JournalError, MemoryJournal, Receipt};
use untoil_model::{Body, Delivery, DeliveryId, Entry, Seq, Stream};

use crate::receiving::{OnlyReceives, Receives};
use crate::stand_in::NOW;

/// A simulated queue: visibility, receive counts, duplicates, lost deletes, outages.
#[derive(Debug)]
struct Simulated {
    clock: Arc<VirtualClock>,
    messages: Mutex<BTreeMap<String, (String, Duration, u32)>>,
    /// How many of the next deletes are lost: answered with an error and not done.
    deletes_lost: AtomicU32,
    /// How many of the next receipts fail.
    receipts_lost: AtomicU32,
    /// How often it was asked.
    asked: AtomicU32,
}

impl Simulated {
    fn new(clock: &Arc<VirtualClock>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            messages: Mutex::default(),
            deletes_lost: AtomicU32::new(0),
            receipts_lost: AtomicU32::new(0),
            asked: AtomicU32::new(0),
        })
    }

    fn put(&self, id: &str, body: &str) {
        let message = (body.to_owned(), Duration::ZERO, 0);
        self.messages.lock().unwrap().insert(id.to_owned(), message);
    }

    fn left(&self) -> usize {
        self.messages.lock().unwrap().len()
    }

    /// How often a message was received.
    fn receipts(&self, id: &str) -> u32 {
        self.messages.lock().unwrap()[id].2
    }

    fn visible(&self) -> Vec<QueueMessage> {
        let now = self.clock.ticks();
        let mut messages = self.messages.lock().unwrap();
        let seen = messages.iter_mut().filter(|(_, (_, until, _))| *until <= now);
        seen.take(MESSAGES_MAX)
            .map(|(id, (body, until, receipts))| {
                *until = now + HIDDEN;
                *receipts += 1;
                let (id, receipt) = (id.clone(), id.clone());
                QueueMessage {
                    id,
                    receipt,
                    body: body.clone(),
                    receipts: *receipts,
                    attributes: BTreeMap::new(),
                }
            })
            .collect()
    }
}

fn lost(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Queue for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if lost(&self.receipts_lost) {
            return Err(QueueError("simulated outage".to_owned()));
        }
        let until = self.clock.ticks() + WAIT;
        loop {
            let messages = self.visible();
            if !messages.is_empty() || self.clock.ticks() >= until {
                return Ok(messages);
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), QueueError> {
        if lost(&self.deletes_lost) {
            return Err(QueueError("simulated lost answer".to_owned()));
        }
        let mut messages = self.messages.lock().unwrap();
        messages.retain(|id, _| !receipts.contains(id));
        Ok(())
    }

    async fn hide(&self, receipts: &[String], how_long: Duration) -> Result<(), QueueError> {
        let now = self.clock.ticks();
        let mut messages = self.messages.lock().unwrap();
        for (_, (_, until, _)) in messages.iter_mut().filter(|(id, _)| receipts.contains(id)) {
            *until = now + how_long;
        }
        Ok(())
    }
}

struct Stage {
    clock: Arc<VirtualClock>,
    queue: Arc<Simulated>,
    journal: Arc<dyn Journal>,
    running: JoinSet<()>,
    stop: CancellationToken,
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::starting_at(NOW.parse().unwrap()));
        let queue = Simulated::new(&clock);
        let journal = Arc::new(MemoryJournal::new());
        let (running, stop) = (JoinSet::new(), CancellationToken::new());
        Self { clock, queue, journal, running, stop }
    }

    /// Starts a consumer over a journal.
    fn over(&mut self, source: &str, journal: Arc<dyn Journal>) {
        let consumer = Consumer {
            queue: Arc::clone(&self.queue) as _,
            source: source.parse().unwrap(),
            decoders: Arc::new(Decoders::default()),
            journal,
            clock: Arc::clone(&self.clock) as _,
        };
        self.running.spawn(consumer.run(self.stop.clone()));
    }

    fn run(&mut self, source: &str) {
        self.over(source, Arc::clone(&self.journal));
    }

    async fn after(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }

    /// The deliveries of the journal, in order.
    async fn kept(&self) -> Vec<DeliveryId> {
        let entries = self.journal.read(&Stream::All, Seq(0), 10_000).await.unwrap();
        let id = |entry: Entry| {
            let Body::Received { delivery, .. } = entry.body else { return None };
            Some(delivery)
        };
        entries.into_iter().filter_map(id).collect()
    }
}

fn event(n: usize) -> String {
    json!({
        "id": format!("e{n}"), "source": "aws.ec2", "time": "2026-12-02T03:04:05Z",
        "detail-type": "EC2 Instance State-change Notification",
        "detail": { "instance-id": format!("i-{n}"), "state": "stopped" },
    })
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn what_comes_is_kept_once_and_then_deleted() {
    let mut stage = Stage::new();
    for n in 0..25 {
        stage.queue.put(&format!("m{n:02}"), &event(n));
    }
    stage.run("aws");
    stage.after(5).await;
    assert_eq!(stage.queue.left(), 0);
    assert_eq!(stage.kept().await.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_lost_keeps_nothing_twice() {
    let mut stage = Stage::new();
    stage.queue.deletes_lost.store(2, Ordering::SeqCst);
    stage.queue.put("m", &event(1));
    stage.run("aws");
    stage.after(10).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (1, 1));
    stage.after(200).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (0, 1));
}

/// How the journal is just now.
#[derive(Debug, Clone, Copy)]
enum Health {
    Well,
    Failing,
    /// Keeps and never answers: as if the process were killed in between.
    Mute,
}

/// The journal in memory, which can fail.
#[derive(Debug)]
struct Shaky {
    inner: Arc<dyn Journal>,
    health: Mutex<Health>,
}

#[async_trait]
impl Receives for Shaky {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let health = *self.health.lock().unwrap();
        match health {
            Health::Well => self.inner.receive(delivery).await,
            Health::Failing => Err(JournalError::Unavailable("simulated".to_owned())),
            Health::Mute => {
                self.inner.receive(delivery).await?;
                std::future::pending().await
            }
        }
    }
}

impl Stage {
    fn shaky(&mut self, health: Health) -> Arc<OnlyReceives<Shaky>> {
        let inner = Arc::clone(&self.journal);
        let shaky = Arc::new(OnlyReceives(Shaky { inner, health: Mutex::new(health) }));
        self.over("aws", Arc::clone(&shaky) as _);
        shaky
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_journal_fails_messages_are_held_and_not_counted_against() {
    let mut stage = Stage::new();
    for n in 0..10 {
        stage.queue.put(&format!("m{n}"), &event(n));
    }
    let journal = stage.shaky(Health::Failing);
    stage.after(3_600).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (10, 0));
    assert_eq!(stage.queue.receipts("m0"), 1, "a redrive policy would have taken them");
    *journal.0.health.lock().unwrap() = Health::Well;
    stage.after(30).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_the_commit_and_the_delete_keeps_nothing_twice() {
    let mut stage = Stage::new();
    stage.queue.put("m", &event(1));
    stage.shaky(Health::Mute);
    stage.after(2).await;
    stage.running.shutdown().await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (1, 1));
    stage.run("aws");
    stage.after(HIDDEN.as_secs() + 1).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_back_at_once_what_the_journal_did_not_take() {
    let mut stage = Stage::new();
    stage.queue.put("m", &event(1));
    stage.shaky(Health::Failing);
    stage.after(2).await;
    stage.stop.cancel();
    stage.after(6).await;
    assert!(stage.running.try_join_next().is_some(), "it has ended");
    assert_eq!(stage.queue.visible().len(), 1, "another may have it");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_long_wait() {
    let mut stage = Stage::new();
    stage.run("aws");
    stage.after(5).await;
    stage.stop.cancel();
    stage.after(1).await;
    assert!(stage.running.try_join_next().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_kept_once_and_left_to_the_redrive_policy() {
    let mut stage = Stage::new();
    stage.queue.put("bad", r#"{"NewStateValue": 1}"#);
    stage.queue.put("good", &event(1));
    stage.run("aws");
    stage.after(HIDDEN.as_secs() * 5).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (1, 2));
    assert!(stage.queue.receipts("bad") >= 4, "it is seen again, and counted");
    // Without a redrive policy it ends some time, since it is in the journal.
    stage.after(HIDDEN.as_secs() * 100).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fails_is_asked_ever_less_often() {
    let mut stage = Stage::new();
    stage.queue.receipts_lost.store(u32::MAX, Ordering::SeqCst);
    stage.run("aws");
    stage.after(600).await;
    let asked = stage.queue.asked.load(Ordering::SeqCst);
    assert!((30..60).contains(&asked), "{asked}");
    stage.queue.receipts_lost.store(0, Ordering::SeqCst);
    stage.queue.put("m", &event(1));
    stage.after(20).await;
    assert_eq!(stage.queue.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn several_consumers_of_one_queue_keep_each_message_once() {
    let mut stage = Stage::new();
    for n in 0..200 {
        stage.queue.put(&format!("m{n:03}"), &event(n));
    }
    stage.queue.deletes_lost.store(5, Ordering::SeqCst);
    for _ in 0..3 {
        stage.run("aws");
    }
    stage.after(HIDDEN.as_secs() * 3).await;
    assert_eq!((stage.queue.left(), stage.kept().await.len()), (0, 200));
}

#[tokio::test(start_paused = true)]
async fn messages_are_known_by_snss_id_and_senders_are_read_without_the_wrapping() {
    let wrapped = |message: &str| {
        json!({
            "Type": "Notification", "MessageId": "4b0e", "Message": message,
            "TopicArn": "arn:aws:sns:ap-northeast-2:210987654321:untoil",
            "Timestamp": "2026-12-02T03:04:05Z",
        })
        .to_string()
    };
    let alert = r#"{"version":"4","alerts":[]}"#;
    for (source, body, id, kept) in [
        ("aws", event(1), "aws/sqs:m", event(1)),
        ("aws", wrapped(&event(1)), "aws/sns:4b0e", wrapped(&event(1))),
        ("sns", wrapped(&event(1)), "sns/4b0e", wrapped(&event(1))),
        ("alertmanager", wrapped(alert), "alertmanager/sns:4b0e", alert.to_owned()),
        ("alertmanager", alert.to_owned(), "alertmanager/sqs:m", alert.to_owned()),
    ] {
        let mut stage = Stage::new();
        stage.queue.put("m", &body);
        stage.run(source);
        stage.after(2).await;
        let ids = stage.kept().await;
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), [id]);
        let delivery = stage.journal.delivery(&ids[0]).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(delivery.body).unwrap(), kept);
        assert_eq!(delivery.sender, "simulated");
    }
}
