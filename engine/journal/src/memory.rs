//! The journal in memory: for tests, rule tests and `try`. It keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_model::{
    Actor, Body, Delivery, DeliveryId, Draft, Entry, Hash, IncidentId, Seq, Stream,
};

use crate::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};

/// A journal in memory. Atomic by one lock.
#[derive(Debug)]
pub struct MemoryJournal {
    kept: Mutex<Kept>,
    head: watch::Sender<Seq>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<(Entry, String)>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    pending: BTreeMap<Seq, DeliveryId>,
    incidents: BTreeSet<IncidentId>,
    open: BTreeSet<IncidentId>,
    cursors: BTreeMap<String, Seq>,
    memos: BTreeMap<(String, String), String>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self { kept: Mutex::default(), head: watch::Sender::new(Seq::START) }
    }
}

impl MemoryJournal {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic while the lock was held leaves whole entries behind: nothing is half-written.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, seq: Seq) {
        self.head.send_if_modified(|head| {
            let newer = seq > *head;
            if newer {
                *head = seq;
            }
            newer
        });
    }
}

impl Kept {
    fn last(&self) -> (Seq, Hash) {
        self.entries.last().map_or((Seq::START, Hash::GENESIS), |(e, _)| (e.seq, e.hash))
    }

    fn write(&mut self, draft: Draft) -> Entry {
        let (last, prev) = self.last();
        let (entry, text) = Entry::seal(draft, last.next(), prev);
        if let Some(incident) = &entry.incident {
            if matches!(entry.body, Body::Opened { .. }) {
                self.incidents.insert(incident.clone());
                self.open.insert(incident.clone());
            } else if matches!(entry.body, Body::Closed { .. }) {
                self.open.remove(incident);
            }
        }
        self.entries.push((entry.clone(), text));
        entry
    }

    fn end(&self, stream: &Stream) -> Seq {
        let last = self.entries.iter().rev().find(|(entry, _)| entry.is_in(stream));
        last.map_or(Seq::START, |(entry, _)| entry.seq)
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
            let entry = kept.write(received(&delivery));
            kept.pending.insert(entry.seq, delivery.id.clone());
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
            for expect in &batch.expects {
                let at = kept.end(&expect.stream);
                if at != expect.at {
                    return Err(AppendError::Conflict { stream: expect.stream.clone(), at });
                }
            }
            if let Some(decided) = &batch.decides {
                kept.pending.retain(|_, id| id != decided);
            }
            batch.drafts.into_iter().map(|draft| kept.write(draft)).collect::<Vec<_>>()
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
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(kept.entries.len());
        let entries = kept.entries[start..].iter().map(|(entry, _)| entry);
        Ok(entries.filter(|entry| entry.is_in(stream)).take(limit).cloned().collect())
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let kept = self.kept();
        let entries = kept.entries.iter().rev().map(|(entry, _)| entry);
        Ok(entries.filter(|entry| entry.is_in(stream)).take(limit).cloned().collect())
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        let kept = self.kept();
        let start = usize::try_from(after.0).unwrap_or(usize::MAX).min(kept.entries.len());
        let raw = kept.entries[start..].iter().take(limit).map(|(entry, text)| RawEntry {
            seq: entry.seq,
            text: text.clone(),
            prev: entry.prev,
            hash: entry.hash,
        });
        Ok(raw.collect())
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        Ok(self.kept().pending.values().take(limit).cloned().collect())
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
        self.head.subscribe()
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
