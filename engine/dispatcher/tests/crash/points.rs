//! Points at which the victim can die: before and after each write of the journal and each call.
//!
//! They are wrappers around the ports, so nothing of this is in the engine.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use untoil_actions::{
    AsgWrites, CallError, ChatWrites, EcsWrites, Hands, HttpReply, HttpRequest, HttpWrites,
    SendCommand, SsmWrites, StartAutomation,
};
use untoil_clock::Clock;
use untoil_guard::Clearance;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};
use untoil_store::SqliteJournal;
use untoil_world::World;

/// What the victim says when it has come to the point at which it is to be killed.
pub(crate) const READY_TO_DIE: &str = "ready to die:";

/// What a sender has not been told to be kept: its id and its body. SNS would send it again, too.
pub(crate) type Letter = (String, String);

/// Everything outside of the engine that outlives it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outside {
    pub(crate) now: Timestamp,
    /// The simulated AWS.
    pub(crate) world: String,
    pub(crate) outbox: VecDeque<Letter>,
    pub(crate) posted: u32,
    /// Letters that were acknowledged.
    pub(crate) accepted: Vec<String>,
    /// What the guard said to a second alarm on the same target, once the story was over.
    pub(crate) probe: Option<String>,
    /// The last entry of the story, before that.
    pub(crate) end: Option<Seq>,
}

/// Counts the points, and stops at one of them.
#[derive(Debug)]
pub(crate) struct Points {
    pub(crate) die_at: u64,
    pub(crate) reached: AtomicU64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) world: World,
    pub(crate) outside: Mutex<Outside>,
    pub(crate) file: PathBuf,
}

impl Points {
    /// Stops here for good if this is the point: the parent then kills the process.
    ///
    /// The one thread of the runtime stands still, and no write is on its way to the journal's own,
    /// so nothing of the engine goes on between this and the kill.
    #[expect(clippy::print_stderr, reason = "the parent reads it")]
    fn reach(&self, what: &str) {
        if self.reached.fetch_add(1, Ordering::SeqCst) + 1 != self.die_at {
            return;
        }
        self.save();
        eprintln!("{READY_TO_DIE} {what}");
        loop {
            std::thread::park();
        }
    }

    pub(crate) fn save(&self) {
        let mut outside = self.outside.lock().unwrap();
        outside.world = self.world.snapshot();
        outside.now = self.clock.now();
        std::fs::write(&self.file, serde_json::to_vec(&*outside).unwrap()).unwrap();
    }
}

/// Waits for a future that another thread carries on, on this thread.
///
/// Tokio would have a task give way after so many polls; here nothing else may go on meanwhile.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(tokio::task::unconstrained(future));
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

/// A journal on a disk. It blocks the runtime's one thread while it writes, so that virtual time
/// stands still meanwhile and every run meets the same points.
#[derive(Debug)]
pub(crate) struct MortalJournal {
    pub(crate) kept: SqliteJournal,
    pub(crate) points: Arc<Points>,
}

fn kinds(batch: &Batch) -> String {
    batch.drafts.iter().map(|draft| draft.body.kind()).collect::<Vec<_>>().join("+")
}

#[async_trait]
impl Journal for MortalJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.points.reach("before received");
        let answer = block_on(self.kept.receive(delivery));
        self.points.reach("after received");
        answer
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        let kinds = kinds(&batch);
        self.points.reach(&format!("before {kinds}"));
        let answer = block_on(self.kept.append(batch));
        self.points.reach(&format!("after {kinds}"));
        answer
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        block_on(self.kept.read(stream, after, limit))
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        block_on(self.kept.latest(stream, limit))
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        block_on(self.kept.raw(after, limit))
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        block_on(self.kept.pending(limit))
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        block_on(self.kept.delivery(id))
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        block_on(self.kept.open_incidents(after, limit))
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        block_on(self.kept.incidents(before, limit))
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        block_on(self.kept.cursor(reader))
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        block_on(self.kept.advance(reader, to, memos))
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        block_on(self.kept.memo(reader, key))
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.kept.head()
    }
}

/// Hands whose owner may die before a call reaches the world, and after it took effect.
#[derive(Debug)]
pub(crate) struct MortalHands {
    hands: Hands,
    points: Arc<Points>,
}

impl MortalHands {
    pub(crate) fn over(hands: Hands, points: &Arc<Points>) -> Hands {
        let port = Arc::new(Self { hands, points: Arc::clone(points) });
        Hands {
            ssm: port.clone(),
            ecs: port.clone(),
            asg: port.clone(),
            chat: port.clone(),
            http: port,
        }
    }

    async fn call<T>(&self, what: &str, call: impl Future<Output = T>) -> T {
        self.points.reach(&format!("before the call {what}"));
        let answer = call.await;
        self.points.reach(&format!("after the call {what}"));
        answer
    }
}

#[async_trait]
impl SsmWrites for MortalHands {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        self.call("ssm:SendCommand", self.hands.ssm.send_command(may, what)).await
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        self.call("ssm:StartAutomationExecution", self.hands.ssm.start_automation(may, what)).await
    }
}

#[async_trait]
impl EcsWrites for MortalHands {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        self.call("ecs:UpdateService", self.hands.ecs.set_desired(may, cluster, service, n)).await
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        self.call("ecs:UpdateService", self.hands.ecs.redeploy(may, cluster, service)).await
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        self.call("ecs:StopTask", self.hands.ecs.stop_task(may, cluster, task, reason)).await
    }
}

#[async_trait]
impl AsgWrites for MortalHands {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        self.call("autoscaling:SetDesiredCapacity", self.hands.asg.set_desired(may, group, n)).await
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        self.call("autoscaling:Terminate", self.hands.asg.replace_instance(may, instance)).await
    }
}

#[async_trait]
impl ChatWrites for MortalHands {
    async fn say(&self, may: Clearance, text: &str) -> Result<String, CallError> {
        self.call("slack:say", self.hands.chat.say(may, text)).await
    }
}

#[async_trait]
impl HttpWrites for MortalHands {
    async fn send(&self, may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError> {
        self.call("http:send", self.hands.http.send(may, what)).await
    }
}
