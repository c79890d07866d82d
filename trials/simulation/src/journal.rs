//! An instance's journal: the one in memory that all share, reached over a bad line.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_clock::{Clock, VirtualClock};
use untoil_journal::{
    AppendError, Batch, Journal, JournalError, MemoryJournal, News, Put, RawEntry, Receipt, Roster,
    Tenure,
};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

use crate::dice::Dice;
use crate::mutation::Mutation;
use crate::switch::Switch;
use crate::weather::Weather;

/// How long a slow operation takes, in milliseconds.
const SLOW_MILLIS: (u64, u64) = (1, 4_000);
/// How long an operation takes to fail while nobody reaches the store.
const DOWN: Duration = Duration::from_secs(2);
/// How often an operation lets others go first, at most.
const YIELDS_MAX: u64 = 3;

/// Tells every instance that there is more to read. Each has a channel of its own, because one that
/// is shared wakes its receivers in an order that no seed determines.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    heads: Mutex<Vec<watch::Sender<Seq>>>,
    /// Who adopted what, after which entry.
    adoptions: Mutex<Vec<Adoption>>,
}

/// That an instance took an incident over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// The last entry before it.
    pub(crate) after: Seq,
    /// What it took.
    pub(crate) incident: IncidentId,
    /// Who.
    pub(crate) by: String,
}

impl Heads {
    fn subscribe(&self, at: Seq) -> watch::Receiver<Seq> {
        let (sender, receiver) = watch::channel(at);
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Who adopted what, in order.
    pub(crate) fn adoptions(&self) -> Vec<Adoption> {
        self.adoptions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn adopted(&self, after: Seq, incidents: &[IncidentId], by: &str) {
        let taken = incidents.iter().map(|incident| {
            let (incident, by) = (incident.clone(), by.to_owned());
            Adoption { after, incident, by }
        });
        self.adoptions.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
    }

    /// Tells everybody.
    pub(crate) fn tell(&self, seq: Seq) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|head| !head.is_closed());
        for head in heads.iter() {
            head.send_if_modified(|known| {
                let newer = seq > *known;
                *known = seq.max(*known);
                newer
            });
        }
    }
}

/// A journal behind a line that fails, as one instance has it.
#[derive(Debug)]
pub(crate) struct FarJournal {
    near: MemoryJournal,
    switch: Arc<Switch>,
    weather: Arc<Weather>,
    dice: Dice,
    clock: Arc<VirtualClock>,
    heads: Arc<Heads>,
    mutation: Option<Mutation>,
}

/// What an operation meets.
enum Luck {
    Fine,
    Lost,
}

impl FarJournal {
    pub(crate) fn new(
        near: MemoryJournal,
        switch: Arc<Switch>,
        weather: Arc<Weather>,
        (dice, clock, heads): (Dice, Arc<VirtualClock>, Arc<Heads>),
        mutation: Option<Mutation>,
    ) -> Self {
        Self { near, switch, weather, dice, clock, heads, mutation }
    }

    /// The true tenure, whatever is told.
    pub(crate) fn true_tenure(&self) -> Tenure {
        self.near.tenure()
    }

    async fn meet(&self, what: &str) -> Result<Luck, JournalError> {
        self.switch.point(what).await;
        for _ in 0..self.dice.below(YIELDS_MAX + 1) {
            tokio::task::yield_now().await;
        }
        let odd = self.weather.now();
        if odd.journal_down {
            self.clock.sleep(DOWN).await;
            self.switch.pass().await;
            return Err(JournalError::Unavailable("simulated: the store is down".into()));
        }
        if self.dice.chance(odd.journal.slow) {
            self.clock.sleep(self.dice.millis(SLOW_MILLIS.0, SLOW_MILLIS.1)).await;
            self.switch.pass().await;
        }
        if self.dice.chance(odd.journal.fails) {
            self.switch.note(|| format!("{what} fails"));
            return Err(JournalError::Unavailable("simulated: nothing was done".into()));
        }
        Ok(if self.dice.chance(odd.journal.loses) { Luck::Lost } else { Luck::Fine })
    }

    async fn through<T, E: From<JournalError>>(
        &self,
        what: &str,
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let luck = self.meet(what).await?;
        let answer = done.await;
        self.heads.tell(*self.near.head().borrow());
        self.switch.point(what).await;
        match luck {
            Luck::Fine => answer,
            Luck::Lost => {
                self.switch.note(|| format!("{what} is done, and its answer lost"));
                Err(JournalError::Unavailable("simulated: the answer was lost".into()).into())
            }
        }
    }
}

#[async_trait]
impl Journal for FarJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        if self.mutation == Some(Mutation::ForgetsDeliveries) && self.dice.chance(100) {
            return Ok(Receipt::Stored(*self.near.head().borrow()));
        }
        self.through("receive", self.near.receive(delivery)).await
    }

    async fn append(&self, mut batch: Batch) -> Result<Vec<Entry>, AppendError> {
        if let Some(mutation) = self.mutation {
            mutation.change(&mut batch);
        }
        let kinds = batch.drafts.iter().map(|draft| draft.body.kind()).collect::<Vec<_>>();
        let about = batch.drafts.iter().rev().find_map(|draft| draft.incident.clone());
        let kinds = match about {
            Some(incident) => format!("{} of {incident}", kinds.join(" ")),
            None => kinds.join(" "),
        };
        let appended = self.through("append", self.near.append(batch)).await;
        self.switch.note(|| match &appended {
            Ok(entries) => {
                let last = entries.last().map_or(Seq::START, |entry| entry.seq);
                format!("writes {kinds} up to {last}")
            }
            Err(error) => format!("does not write {kinds}: {error}"),
        });
        appended
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.through("read", self.near.read(stream, after, limit)).await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.through("latest", self.near.latest(stream, limit)).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.through("raw", self.near.raw(after, limit)).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.through("pending", self.near.pending(limit)).await
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        self.through("to_decide", self.near.to_decide(limit)).await
    }

    async fn latest_each(
        &self,
        streams: &[Stream],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, JournalError> {
        self.through("latest_each", self.near.latest_each(streams, limit)).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.through("delivery", self.near.delivery(id)).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.through("open_incidents", self.near.open_incidents(after, limit)).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.through("incidents", self.near.incidents(before, limit)).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.through("cursor", self.near.cursor(reader)).await
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        self.through("advance", self.near.advance(reader, to, memos)).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.through("memo", self.near.memo(reader, key)).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.heads.subscribe(*self.near.head().borrow())
    }
}

#[async_trait]
impl Roster for FarJournal {
    async fn beat(&self) -> Result<(), JournalError> {
        self.through("beat", self.near.beat()).await
    }

    fn tenure(&self) -> Tenure {
        if self.mutation == Some(Mutation::EndlessTenure) {
            return Tenure::forever();
        }
        self.near.tenure()
    }

    async fn adopt(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        let adopting = async {
            let incidents = self.near.adopt(limit).await?;
            let after = *self.near.head().borrow();
            self.heads.adopted(after, &incidents, self.switch.name());
            if !incidents.is_empty() {
                self.switch.note(|| format!("adopts {incidents:?}"));
            }
            Ok(incidents)
        };
        self.through("adopt", adopting).await
    }

    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.through("mine", self.near.mine(after, limit)).await
    }

    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError> {
        self.through("held", self.near.held(incidents)).await
    }

    async fn news(&self, after: Seq, limit: usize) -> Result<News, JournalError> {
        self.through("news", self.near.news(after, limit)).await
    }

    async fn take(&self, post: &str) -> Result<bool, JournalError> {
        self.through("take", self.near.take(post)).await
    }

    async fn leave(&self) -> Result<(), JournalError> {
        self.switch.note(|| "leaves".into());
        self.through("leave", self.near.leave()).await
    }
}
