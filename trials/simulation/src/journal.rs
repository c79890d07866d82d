//! An instance's journal: the one in memory that all share, reached over a bad line.

use std::future::Future;
use std::sync::Arc;
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
use crate::disk::{Disk, Mark, Write};
use crate::mutation::Mutation;
use crate::switch::Switch;
use crate::weather::Weather;

/// How long a slow operation takes, in milliseconds.
const SLOW_MILLIS: (u64, u64) = (1, 4_000);
/// How long an operation takes to fail while nobody reaches the store.
const DOWN: Duration = Duration::from_secs(2);
/// How long it takes until what was written is on the disk, in milliseconds: mostly, and when the disk
/// is busy.
const SYNC_MILLIS: (u64, u64) = (0, 8);
const BUSY_MILLIS: (u64, u64) = (10, 2_000);
/// Of a thousand times so many meet a busy disk.
const BUSY: u64 = 30;
/// How often an operation lets others go first, at most.
const YIELDS_MAX: u64 = 3;

/// A journal behind a line that fails, as one instance has it.
#[derive(Debug)]
pub(crate) struct FarJournal {
    near: MemoryJournal,
    /// Its number on the disk.
    me: usize,
    switch: Arc<Switch>,
    weather: Arc<Weather>,
    dice: Dice,
    clock: Arc<VirtualClock>,
    disk: Arc<Disk>,
    mutation: Option<Mutation>,
}

/// What an operation meets.
#[derive(Debug, Clone, Copy)]
enum Luck {
    Fine,
    Lost,
}

impl FarJournal {
    pub(crate) fn new(
        disk: Arc<Disk>,
        switch: Arc<Switch>,
        weather: Arc<Weather>,
        (dice, clock): (Dice, Arc<VirtualClock>),
        mutation: Option<Mutation>,
    ) -> Self {
        let (near, me) = disk.join();
        Self { near, me, switch, weather, dice, clock, disk, mutation }
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
        let luck = if self.dice.chance(odd.journal.loses) { Luck::Lost } else { Luck::Fine };
        // Others went first: the power may be gone, and what is done now would come after that.
        self.switch.pass().await;
        Ok(luck)
    }

    async fn through<T, E: From<JournalError>>(
        &self,
        what: &str,
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let luck = self.meet(what).await?;
        let answer = done.await;
        self.switch.point(what).await;
        self.told(what, luck, answer)
    }

    fn told<T, E: From<JournalError>>(
        &self,
        what: &str,
        luck: Luck,
        answer: Result<T, E>,
    ) -> Result<T, E> {
        match luck {
            Luck::Fine => answer,
            Luck::Lost => {
                self.switch.note(|| format!("{what} is done, and its answer lost"));
                Err(JournalError::Unavailable("simulated: the answer was lost".into()).into())
            }
        }
    }

    /// A write: it can be read at once, and is on the disk a little later, with all before it.
    async fn write<T, E: From<JournalError>>(
        &self,
        (what, write, waits): (&str, Write, Waits),
        done: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let luck = self.meet(what).await?;
        let answer = done.await;
        if answer.is_ok() {
            self.disk.wrote(self.me, write);
        }
        // Also what was refused rests on what was written.
        self.sync(what, waits).await;
        self.told(what, luck, answer)
    }

    /// Brings what was written so far to the disk, and may wait for it.
    async fn sync(&self, what: &str, waits: Waits) {
        let mark = self.disk.mark();
        if !self.disk.has(mark) {
            let takes = if self.dice.chance(BUSY) { BUSY_MILLIS } else { SYNC_MILLIS };
            let takes = self.dice.millis(takes.0, takes.1);
            match waits {
                Waits::ForDisk if self.mutation != Some(Mutation::TrustsMemory) => {
                    self.switch.point(what).await;
                    self.clock.sleep(takes).await;
                    self.switch.pass().await;
                    self.disk.keep(mark);
                }
                Waits::ForDisk | Waits::ForNothing => self.sync_behind(mark, takes),
            }
        }
        self.switch.point(what).await;
    }

    async fn append_and(&self, mut batch: Batch, waits: Waits) -> Result<Vec<Entry>, AppendError> {
        if let Some(mutation) = self.mutation {
            mutation.change(&mut batch);
        }
        let kinds = batch.drafts.iter().map(|draft| draft.body.kind()).collect::<Vec<_>>();
        let about = batch.drafts.iter().rev().find_map(|draft| draft.incident.clone());
        let kinds = match about {
            Some(incident) => format!("{} of {incident}", kinds.join(" ")),
            None => kinds.join(" "),
        };
        let write = Write::Appended(batch.clone());
        let appended = self.write(("append", write, waits), self.near.append(batch)).await;
        self.switch.note(|| match &appended {
            Ok(entries) => {
                let last = entries.last().map_or(Seq::START, |entry| entry.seq);
                format!("writes {kinds} up to {last}")
            }
            Err(error) => format!("does not write {kinds}: {error}"),
        });
        appended
    }

    fn sync_behind(&self, mark: Mark, takes: Duration) {
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        let switch = Arc::clone(&self.switch);
        self.disk.behind(async move {
            clock.sleep(takes).await;
            // It is a thread of the instance's own.
            switch.pass().await;
            disk.keep(mark);
        });
    }
}

/// What a write waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    ForDisk,
    ForNothing,
}

#[async_trait]
impl Journal for FarJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        if self.mutation == Some(Mutation::ForgetsDeliveries) && self.dice.chance(100) {
            return Ok(Receipt::Stored(*self.near.head().borrow()));
        }
        let write = Write::Received(Box::new(delivery.clone()));
        self.write(("receive", write, Waits::ForDisk), self.near.receive(delivery)).await
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.append_and(batch, Waits::ForDisk).await
    }

    async fn append_ahead(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.append_and(batch, Waits::ForNothing).await
    }

    async fn durable(&self, seq: Seq) -> Result<(), JournalError> {
        let luck = self.meet("durable").await?;
        if self.disk.kept() < seq {
            self.sync("durable", Waits::ForDisk).await;
        }
        self.told("durable", luck, Ok(()))
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
        let write = Write::Advanced(reader.to_owned(), to, memos.clone());
        let done = self.near.advance(reader, to, memos);
        self.write(("advance", write, Waits::ForDisk), done).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.through("memo", self.near.memo(reader, key)).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.disk.head()
    }

    fn written(&self) -> watch::Receiver<Seq> {
        self.disk.written()
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
            self.disk.adopted(&incidents, self.switch.name());
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
