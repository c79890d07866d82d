//! The journal in memory: for tests, rule tests and `try`. It keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_clock::Clock;
use untoil_model::{
    Actor, Body, Delivery, DeliveryId, Draft, Entry, Hash, IncidentId, Seq, Stream,
};

use crate::{
    AppendError, Batch, DECIDED_TOGETHER_BYTES, Journal, JournalError, News, Prune, Put, RawEntry,
    Receipt, Retention, Roster, Segment, Tenure, Waiting, incident_memo,
};

/// How long an instance is believed to live without being heard.
const LEASE: Duration = Duration::from_secs(15);
/// How much earlier it stops acting by itself.
const MARGIN: Duration = Duration::from_secs(3);

/// A journal in memory. Atomic by one lock.
///
/// Made by [`MemoryJournal::new`] it has one instance, which lives for ever; made by
/// [`MemoryJournal::join`] each is an instance of its own on the same journal.
#[derive(Debug)]
pub struct MemoryJournal {
    shared: Arc<Shared>,
    me: Member,
    clock: Option<Arc<dyn Clock>>,
    tenure: Tenure,
}

/// An instance's number; 1 is the first.
type Member = u64;

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    head: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<(Entry, String, Member)>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    pending: BTreeMap<Seq, (DeliveryId, Member)>,
    incidents: BTreeSet<IncidentId>,
    open: BTreeSet<IncidentId>,
    /// Who holds each incident; it stays its last holder's when it is closed.
    holders: BTreeMap<IncidentId, Option<Member>>,
    cursors: BTreeMap<String, Seq>,
    memos: BTreeMap<(String, String), String>,
    /// Until when each instance is believed to live, in ticks; `None` for ever.
    living: BTreeMap<Member, Option<Duration>>,
    posts: BTreeMap<String, Member>,
    /// Who has ever taken which.
    had: BTreeSet<(Member, String)>,
    members: Member,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        let kept = Kept { living: BTreeMap::from([(1, None)]), members: 1, ..Kept::default() };
        let head = watch::Sender::new(Seq::START);
        let shared = Arc::new(Shared { kept: Mutex::new(kept), head });
        Self { shared, me: 1, clock: None, tenure: Tenure::forever() }
    }
}

impl MemoryJournal {
    /// An empty one, with one instance that lives for ever.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A further instance on the same journal; it lives as long as it is heard on `clock`, which all
    /// that join must share.
    #[must_use]
    pub fn join(&self, clock: Arc<dyn Clock>) -> Self {
        let mut kept = self.kept();
        kept.members += 1;
        let me = kept.members;
        drop(kept);
        Self { shared: Arc::clone(&self.shared), me, clock: Some(clock), tenure: Tenure::none() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic while the lock was held leaves whole entries behind: nothing is half-written.
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, seq: Seq) {
        self.shared.head.send_if_modified(|head| {
            let newer = seq > *head;
            if newer {
                *head = seq;
            }
            newer
        });
    }

    fn ticks(&self) -> Duration {
        self.clock.as_ref().map_or(Duration::ZERO, |clock| clock.ticks())
    }
}

impl Kept {
    fn last(&self) -> (Seq, Hash) {
        self.entries.last().map_or((Seq::START, Hash::GENESIS), |(e, ..)| (e.seq, e.hash))
    }

    fn write(&mut self, draft: Draft, by: Member) -> Entry {
        let (last, prev) = self.last();
        let (entry, text) = Entry::seal(draft, last.next(), prev);
        if let Some(incident) = &entry.incident {
            if matches!(entry.body, Body::Opened { .. }) {
                self.incidents.insert(incident.clone());
                self.open.insert(incident.clone());
                self.holders.insert(incident.clone(), Some(by));
            } else if matches!(entry.body, Body::Closed { .. }) {
                self.open.remove(incident);
            }
        }
        self.entries.push((entry.clone(), text, by));
        entry
    }

    fn end(&self, stream: &Stream) -> Seq {
        let last = self.entries.iter().rev().find(|(entry, ..)| entry.is_in(stream));
        last.map_or(Seq::START, |(entry, ..)| entry.seq)
    }

    fn lives(&self, member: Member, ticks: Duration) -> bool {
        self.living.get(&member).is_some_and(|until| until.is_none_or(|until| ticks < until))
    }

    /// What a batch's conditions say.
    fn refusal(&self, batch: &Batch, me: Member) -> Option<AppendError> {
        for expect in &batch.expects {
            let at = self.end(&expect.stream);
            if at != expect.at {
                return Some(AppendError::Conflict { stream: expect.stream.clone(), at });
            }
        }
        if let Some(incident) = batch.holding.iter().find(|incident| !self.holds(incident, me)) {
            return Some(JournalError::TakenOver(format!("incident `{incident}`")).into());
        }
        if let Some(decided) = &batch.decides
            && !self.pending.values().any(|(id, _)| id == decided)
        {
            return Some(AppendError::Decided(decided.clone()));
        }
        None
    }

    /// Whether `me` may not move a reader's cursor: another that lives has the reader's post; or `me`
    /// had it once and has it no more, so that another may have moved it since.
    fn is_taken(&self, reader: &str, me: Member, ticks: Duration) -> bool {
        match self.posts.get(reader) {
            Some(holder) if *holder == me => false,
            holder => {
                let other_lives = holder.is_some_and(|holder| self.lives(*holder, ticks));
                other_lives || self.had.contains(&(me, reader.to_owned()))
            }
        }
    }

    fn holds(&self, incident: &IncidentId, me: Member) -> bool {
        self.holders.get(incident).copied().flatten() == Some(me)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let seq = {
            let mut kept = self.kept();
            if kept.deliveries.contains_key(&delivery.id) {
                return Ok(Receipt::Seen);
            }
            let entry = kept.write(received(&delivery), self.me);
            kept.pending.insert(entry.seq, (delivery.id.clone(), self.me));
            kept.deliveries.insert(delivery.id.clone(), delivery);
            entry.seq
        };
        self.announce(seq);
        Ok(Receipt::Stored(seq))
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        batch.check_size()?;
        let entries = {
            let mut kept = self.kept();
            if let Some(refusal) = kept.refusal(&batch, self.me) {
                return Err(refusal);
            }
            if let Some(decided) = &batch.decides {
                kept.pending.retain(|_, (id, _)| id != decided);
            }
            let drafts = batch.drafts.into_iter();
            drafts.map(|draft| kept.write(draft, self.me)).collect::<Vec<_>>()
        };
        if let Some(last) = entries.last() {
            self.announce(last.seq);
        }
        Ok(entries)
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        let kept = self.kept();
        let entries = behind(&kept, after).iter().map(|(entry, ..)| entry);
        Ok(entries.filter(|entry| entry.is_in(stream)).take(limit).cloned().collect())
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let kept = self.kept();
        let entries = kept.entries.iter().rev().map(|(entry, ..)| entry);
        Ok(entries.filter(|entry| entry.is_in(stream)).take(limit).cloned().collect())
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        let kept = self.kept();
        let raw = behind(&kept, after).iter().take(limit).map(|(entry, text, _)| RawEntry {
            seq: entry.seq,
            text: text.clone(),
            prev: entry.prev,
            hash: entry.hash,
        });
        Ok(raw.collect())
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        Ok(self.kept().pending.values().take(limit).map(|(id, _)| id.clone()).collect())
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        let (kept, ticks) = (self.kept(), self.ticks());
        let mine = kept
            .pending
            .values()
            .filter(|(_, receiver)| *receiver == self.me || !kept.lives(*receiver, ticks));
        let mut bytes = 0;
        let whole = mine.filter_map(|(id, _)| kept.deliveries.get(id)).take(limit);
        let fitting = whole.take_while(|delivery| {
            let is_first = bytes == 0;
            bytes += delivery.body.len().max(1);
            is_first || bytes <= DECIDED_TOGETHER_BYTES
        });
        Ok(fitting.cloned().collect())
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        Ok(self.kept().deliveries.get(id).cloned())
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let kept = self.kept();
        let later = kept.open.iter().filter(|id| after.is_none_or(|after| *id > after));
        Ok(later.take(limit).cloned().collect())
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let kept = self.kept();
        let newest = kept.incidents.iter().rev();
        let earlier = newest.filter(|id| before.is_none_or(|before| *id < before));
        Ok(earlier.take(limit).cloned().collect())
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        Ok(self.kept().cursors.get(reader).copied().unwrap_or(Seq::START))
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        let mut kept = self.kept();
        if kept.is_taken(reader, self.me, self.ticks()) {
            return Err(JournalError::TakenOver(format!("the reader `{reader}`")));
        }
        let cursor = kept.cursors.entry(reader.to_owned()).or_default();
        *cursor = to.max(*cursor);
        for Put { key, value } in memos {
            let key = (reader.to_owned(), key);
            match value {
                Some(value) => kept.memos.insert(key, value),
                None => kept.memos.remove(&key),
            };
        }
        Ok(())
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        Ok(self.kept().memos.get(&(reader.to_owned(), key.to_owned())).cloned())
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.shared.head.subscribe()
    }
}

fn behind(kept: &Kept, after: Seq) -> &[(Entry, String, Member)] {
    let start = kept.entries.partition_point(|(entry, ..)| entry.seq <= after);
    &kept.entries[start..]
}

#[async_trait]
impl Roster for MemoryJournal {
    async fn beat(&self) -> Result<(), JournalError> {
        let Some(clock) = &self.clock else { return Ok(()) };
        let ticks = clock.ticks();
        self.kept().living.insert(self.me, Some(ticks + LEASE));
        self.tenure.extend(ticks + LEASE.saturating_sub(MARGIN));
        Ok(())
    }

    fn tenure(&self) -> Tenure {
        self.tenure.clone()
    }

    async fn adopt(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        let (mut kept, ticks) = (self.kept(), self.ticks());
        if !kept.lives(self.me, ticks) {
            return Ok(Vec::new());
        }
        let is_orphan = |id: &&IncidentId| {
            let holder = kept.holders.get(*id).copied().flatten();
            holder.is_none_or(|holder| !kept.lives(holder, ticks))
        };
        let orphans: Vec<_> = kept.open.iter().filter(is_orphan).take(limit).cloned().collect();
        for id in &orphans {
            kept.holders.insert(id.clone(), Some(self.me));
        }
        Ok(orphans)
    }

    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        let kept = self.kept();
        let mine = kept.open.iter().filter(|id| kept.holds(id, self.me));
        Ok(mine.filter(|id| after.is_none_or(|after| *id > after)).take(limit).cloned().collect())
    }

    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError> {
        let kept = self.kept();
        Ok(incidents.iter().filter(|id| kept.holds(id, self.me)).cloned().collect())
    }

    async fn news(&self, after: Seq, limit: usize) -> Result<News, JournalError> {
        let kept = self.kept();
        let mut news = News { upto: after, ..News::default() };
        for (entry, _, by) in behind(&kept, after).iter().take(limit) {
            news.upto = entry.seq;
            if *by == self.me {
                continue;
            }
            news.target_free |= matches!(entry.body, Body::Concluded { .. });
            let incident = entry.incident.as_ref();
            news.incidents.extend(incident.filter(|id| kept.holds(id, self.me)).cloned());
        }
        news.incidents.sort();
        news.incidents.dedup();
        Ok(news)
    }

    async fn take(&self, post: &str) -> Result<bool, JournalError> {
        let (mut kept, ticks) = (self.kept(), self.ticks());
        let holder = kept.posts.get(post).copied().filter(|holder| kept.lives(*holder, ticks));
        let mine = kept.lives(self.me, ticks) && holder.is_none_or(|holder| holder == self.me);
        if mine {
            kept.posts.insert(post.to_owned(), self.me);
            kept.had.insert((self.me, post.to_owned()));
        }
        Ok(mine)
    }

    async fn leave(&self) -> Result<(), JournalError> {
        let mut kept = self.kept();
        if self.clock.is_some() {
            self.tenure.end();
            kept.living.remove(&self.me);
            kept.posts.retain(|_, holder| *holder != self.me);
            for holder in kept.holders.values_mut().filter(|holder| **holder == Some(self.me)) {
                *holder = None;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Retention for MemoryJournal {
    async fn waiting(&self) -> Result<Waiting, JournalError> {
        let kept = self.kept();
        let pending = kept.pending.keys().next().copied();
        let reader = kept.cursors.iter().min_by_key(|(_, at)| **at);
        Ok(Waiting { pending, reader: reader.map(|(name, at)| (name.clone(), *at)) })
    }

    async fn prune(&self, prune: Prune) -> Result<u64, JournalError> {
        let mut kept = self.kept();
        let last = |entry: &Entry| Segment::of(&entry.body).map(|segment| segment.last);
        let floor = kept.entries.iter().filter_map(|(entry, ..)| last(entry)).max();
        let before = kept.entries.len();
        let wanted: BTreeSet<Seq> = prune.entries.into_iter().collect();
        let (mut entries, mut gone) = (Vec::new(), Vec::new());
        for kept_entry in std::mem::take(&mut kept.entries) {
            if wanted.contains(&kept_entry.0.seq) {
                gone.push(kept_entry);
            } else {
                entries.push(kept_entry);
            }
        }
        let refused = gone.iter().any(|(entry, ..)| {
            let is_open = entry.incident.as_ref().is_some_and(|id| kept.open.contains(id));
            Some(entry.seq) > floor || last(entry).is_some() || is_open
        });
        if refused {
            entries.extend(gone);
            entries.sort_by_key(|(entry, ..)| entry.seq);
            kept.entries = entries;
            return Err(JournalError::Unavailable("the journal is append-only".into()));
        }
        kept.entries = entries;
        for (entry, ..) in gone {
            if let Body::Received { delivery, .. } = &entry.body {
                kept.deliveries.remove(delivery);
            }
        }
        for id in prune.incidents {
            let has_entries = kept.entries.iter().any(|(e, ..)| e.incident.as_ref() == Some(&id));
            if !has_entries && !kept.open.contains(&id) {
                kept.incidents.remove(&id);
                kept.holders.remove(&id);
                let memo = incident_memo(&id);
                kept.memos.retain(|(_, key), _| *key != memo);
            }
        }
        Ok(u64::try_from(before - kept.entries.len()).unwrap_or(u64::MAX))
    }
}

/// The `received` entry of a delivery. Every store writes this one.
pub fn received(delivery: &Delivery) -> Draft {
    let body = Body::Received {
        delivery: delivery.id.clone(),
        bytes: u64::try_from(delivery.body.len()).unwrap_or(u64::MAX),
        sha256: Hash::of(&delivery.body),
    };
    Draft::new(delivery.received_at, Actor::Sender(delivery.sender.clone()), body)
}
