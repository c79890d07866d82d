//! A gate before everything that an instance does outside of itself: it can be stopped there, as a
//! process is by SIGSTOP, for a while or for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_actions::{
    AsgWrites, CallError, ChatWrites, EcsWrites, Hands, HttpReply, HttpRequest, HttpWrites,
    SendCommand, SsmWrites, StartAutomation,
};
use untoil_guard::Clearance;
use untoil_journal::{
    AppendError, Batch, Journal, JournalError, MemoryJournal, News, Put, RawEntry, Receipt, Roster,
    Tenure,
};
use untoil_model::{Broken, Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

/// Where an instance can be stopped: before and after each write and each call.
#[derive(Debug)]
pub(crate) struct Gate {
    passed: AtomicU64,
    closes_at: AtomicU64,
    is_open: watch::Sender<bool>,
    /// Where it closed by itself.
    closed_at: watch::Sender<String>,
    calls: AtomicU64,
}

impl Gate {
    /// An open one, which closes at its `closes_at`th point; 0 is never reached.
    pub(crate) fn closing_at(closes_at: u64) -> Arc<Self> {
        Arc::new(Self {
            passed: AtomicU64::new(0),
            closes_at: AtomicU64::new(closes_at),
            is_open: watch::Sender::new(true),
            closed_at: watch::Sender::default(),
            calls: AtomicU64::new(0),
        })
    }

    pub(crate) fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Where it closed by itself; empty when it did not.
    pub(crate) fn closed_at(&self) -> String {
        self.closed_at.borrow().clone()
    }

    /// How many calls its instance has begun.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.around("the call", call).await
    }

    /// Waits while it is closed.
    async fn pass(&self) {
        let mut is_open = self.is_open.subscribe();
        is_open.wait_for(|is_open| *is_open).await.unwrap();
    }

    async fn point(&self, what: impl FnOnce() -> String) {
        let n = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if n == self.closes_at.load(Ordering::SeqCst) {
            self.closed_at.send_replace(what());
            self.close();
        }
        self.pass().await;
    }

    async fn around<T>(&self, what: &str, doing: impl Future<Output = T>) -> T {
        self.point(|| format!("before {what}")).await;
        let done = doing.await;
        self.point(|| format!("after {what}")).await;
        done
    }
}

/// A journal, and a share in it, behind a gate.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) kept: MemoryJournal,
    pub(crate) gate: Arc<Gate>,
    /// Streams in which a newer program has written.
    pub(crate) newer: Mutex<Vec<Stream>>,
    /// How long the answer of a read is under way, in milliseconds.
    pub(crate) answers_late: AtomicU64,
    /// A write whose answer is lost, and which happens later.
    pub(crate) late: Mutex<Late>,
}

/// A write that happens right before the next one, after its writer was told that nobody can say.
#[derive(Debug, Default)]
pub(crate) enum Late {
    /// There is none.
    #[default]
    Never,
    /// The next one that decides a delivery.
    Next,
    /// This one.
    Under(Box<Batch>),
}

impl Gated {
    fn readable(&self, of: &Stream) -> Result<(), JournalError> {
        let is_newer = self.newer.lock().unwrap().contains(of);
        let newer = || Broken::Newer { seq: Seq(1), why: "simulated".into() };
        if is_newer { Err(newer().into()) } else { Ok(()) }
    }

    /// The late write that now happens, before `batch`; an error when `batch` is to be late.
    fn passed_by(&self, batch: &Batch) -> Result<Option<Batch>, JournalError> {
        let mut late = self.late.lock().unwrap();
        match std::mem::take(&mut *late) {
            Late::Next if batch.decides.is_some() => {
                *late = Late::Under(Box::new(batch.clone()));
                Err(JournalError::Unavailable("simulated".into()))
            }
            Late::Next => {
                *late = Late::Next;
                Ok(None)
            }
            Late::Under(batch) => Ok(Some(*batch)),
            Late::Never => Ok(None),
        }
    }
}

fn kinds(batch: &Batch) -> String {
    batch.drafts.iter().map(|draft| draft.body.kind()).collect::<Vec<_>>().join(", ")
}

#[async_trait]
impl Journal for Gated {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        self.gate.around("the receiving", self.kept.receive(delivery)).await
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        if let Some(late) = self.passed_by(&batch)? {
            self.kept.append(late).await?;
        }
        self.gate.around(&kinds(&batch), self.kept.append(batch)).await
    }

    async fn read(&self, of: &Stream, after: Seq, n: usize) -> Result<Vec<Entry>, JournalError> {
        self.gate.pass().await;
        self.readable(of)?;
        let answer = self.kept.read(of, after, n).await;
        let late = self.answers_late.load(Ordering::SeqCst);
        if late > 0 {
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
        answer
    }

    async fn latest(&self, of: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.gate.pass().await;
        self.readable(of)?;
        self.kept.latest(of, limit).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.kept.raw(after, limit).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.gate.pass().await;
        self.kept.pending(limit).await
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        self.gate.pass().await;
        self.kept.to_decide(limit).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.gate.pass().await;
        self.kept.delivery(id).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.gate.pass().await;
        self.kept.open_incidents(after, limit).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.gate.pass().await;
        self.kept.incidents(before, limit).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.gate.pass().await;
        self.kept.cursor(reader).await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.gate.around("advance", self.kept.advance(reader, to, memos)).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.gate.pass().await;
        self.kept.memo(reader, key).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.kept.head()
    }
}

#[async_trait]
impl Roster for Gated {
    async fn beat(&self) -> Result<(), JournalError> {
        self.gate.pass().await;
        self.kept.beat().await
    }

    fn tenure(&self) -> Tenure {
        self.kept.tenure()
    }

    async fn adopt(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        self.gate.pass().await;
        let adopted = self.kept.adopt(limit).await;
        if adopted.as_ref().is_ok_and(|adopted| !adopted.is_empty()) {
            self.gate.point(|| "after adopting".into()).await;
        }
        adopted
    }

    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.gate.pass().await;
        self.kept.mine(after, limit).await
    }

    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError> {
        self.gate.pass().await;
        self.kept.held(incidents).await
    }

    async fn news(&self, after: Seq, limit: usize) -> Result<News, JournalError> {
        self.gate.pass().await;
        self.kept.news(after, limit).await
    }

    async fn take(&self, post: &str) -> Result<bool, JournalError> {
        self.gate.around("take", self.kept.take(post)).await
    }

    async fn leave(&self) -> Result<(), JournalError> {
        self.gate.around("leave", self.kept.leave()).await
    }
}

/// Hands behind a gate.
#[derive(Debug)]
pub(crate) struct GatedHands {
    hands: Hands,
    gate: Arc<Gate>,
}

impl GatedHands {
    pub(crate) fn over(hands: Hands, gate: &Arc<Gate>) -> Hands {
        let port = Arc::new(Self { hands, gate: Arc::clone(gate) });
        Hands {
            ssm: port.clone(),
            ecs: port.clone(),
            asg: port.clone(),
            chat: port.clone(),
            http: port,
        }
    }
}

#[async_trait]
impl SsmWrites for GatedHands {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        self.gate.call(self.hands.ssm.send_command(may, what)).await
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        self.gate.call(self.hands.ssm.start_automation(may, what)).await
    }
}

#[async_trait]
impl EcsWrites for GatedHands {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        self.gate.call(self.hands.ecs.set_desired(may, cluster, service, n)).await
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        self.gate.call(self.hands.ecs.redeploy(may, cluster, service)).await
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        self.gate.call(self.hands.ecs.stop_task(may, cluster, task, reason)).await
    }
}

#[async_trait]
impl AsgWrites for GatedHands {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        self.gate.call(self.hands.asg.set_desired(may, group, n)).await
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        self.gate.call(self.hands.asg.replace_instance(may, instance)).await
    }
}

#[async_trait]
impl ChatWrites for GatedHands {
    async fn say(&self, may: Clearance, text: &str) -> Result<String, CallError> {
        self.gate.call(self.hands.chat.say(may, text)).await
    }
}

#[async_trait]
impl HttpWrites for GatedHands {
    async fn send(&self, may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError> {
        self.gate.call(self.hands.http.send(may, what)).await
    }
}
