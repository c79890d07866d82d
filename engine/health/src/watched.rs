//! The journal with somebody standing at its door.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use untoil_clock::Clock;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Put, RawEntry, Receipt};
use untoil_model::{Delivery, DeliveryId, Entry, IncidentId, Seq, Stream};

use crate::{Metrics, Part, Readiness};

/// Sees what this instance wrote, after it was written. It must not wait: writers wait for it.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// A new delivery is kept; its `received` entry has this place.
    fn received(&self, delivery: &DeliveryId, at: Timestamp, seq: Seq);

    /// Entries were written together.
    fn wrote(&self, entries: &[Entry]);
}

/// A journal that shows what was written through it, and how long writing took.
///
/// It answers as the journal beneath does, in every case. What another instance writes does not come
/// by here, and neither does a write of which the store could not say that it happened.
#[derive(Debug)]
pub struct Watched {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    observers: Vec<Arc<dyn Observer>>,
}

impl Watched {
    /// Stands at the door of `journal`. The store's [readiness](Part::Store) follows its writes.
    #[must_use]
    pub fn new(
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        metrics: Arc<Metrics>,
        readiness: Readiness,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Self {
        Self { journal, clock, metrics, readiness, observers }
    }

    fn wrote(&self, operation: &str, began: Duration, failed: Option<&JournalError>) {
        let result = failed.map_or("ok", word);
        self.note((operation, result), began);
        match failed {
            None => self.readiness.ok(Part::Store),
            Some(error @ (JournalError::Unavailable(_) | JournalError::Damaged(_))) => {
                self.readiness.failed(Part::Store, &error.to_string());
            }
            Some(
                JournalError::Overloaded | JournalError::Newer(_) | JournalError::TakenOver(_),
            ) => {}
        }
    }

    /// Shows a batch that was written, or why it was not. Not all that is written is durable when it is.
    fn appended(
        &self,
        (operation, proves_store): (&str, bool),
        began: Duration,
        appended: &Result<Vec<Entry>, AppendError>,
    ) {
        match appended {
            Ok(entries) => {
                // Without an entry nothing need have come to the disk: it proves nothing of the store.
                if proves_store && !entries.is_empty() {
                    self.wrote(operation, began, None);
                } else {
                    self.note((operation, "ok"), began);
                }
                if !entries.is_empty() {
                    self.metrics.wrote(entries);
                    self.observers.iter().for_each(|observer| observer.wrote(entries));
                }
            }
            Err(AppendError::Conflict { .. }) => self.note((operation, "conflict"), began),
            Err(AppendError::Decided(_)) => self.note((operation, "decided"), began),
            Err(AppendError::Journal(error)) => self.wrote(operation, began, Some(error)),
        }
    }

    fn note(&self, (operation, result): (&str, &str), began: Duration) {
        let journal = &self.metrics.journal;
        journal.writes.add([operation, result]);
        journal.write_time.took([operation], self.clock.ticks().saturating_sub(began));
    }
}

fn word(error: &JournalError) -> &'static str {
    match error {
        JournalError::Overloaded => "overloaded",
        JournalError::Unavailable(_) => "unavailable",
        JournalError::Damaged(_) => "damaged",
        JournalError::Newer(_) => "newer",
        JournalError::TakenOver(_) => "taken_over",
    }
}

/// A delivery that is timed from before it is kept. If it is not kept that ends with this, also when
/// whoever sent it goes away meanwhile: the next copy is timed from its own arrival.
struct Timed<'a> {
    metrics: &'a Metrics,
    /// `None` once it is kept.
    delivery: Option<&'a DeliveryId>,
}

impl<'a> Timed<'a> {
    /// Nothing for a copy of one that is timed already, whatever becomes of this copy.
    fn of(metrics: &'a Metrics, delivery: &'a DeliveryId, at: Timestamp) -> Option<Self> {
        metrics.arrives(delivery, at).then_some(Self { metrics, delivery: Some(delivery) })
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery {
            self.metrics.stays_out(delivery);
        }
    }
}

#[async_trait]
impl Journal for Watched {
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError> {
        let (id, at) = (delivery.id.clone(), delivery.received_at);
        let began = self.clock.ticks();
        let mut timed = Timed::of(&self.metrics, &id, at);
        let received = self.journal.receive(delivery).await;
        if let (Some(timed), Ok(Receipt::Stored(_))) = (&mut timed, &received) {
            timed.delivery = None;
        }
        drop(timed);
        self.wrote("receive", began, received.as_ref().err());
        match received {
            Ok(Receipt::Stored(seq)) => {
                self.metrics.received(&id, true);
                self.observers.iter().for_each(|observer| observer.received(&id, at, seq));
            }
            Ok(Receipt::Seen) => self.metrics.received(&id, false),
            Err(_) => {}
        }
        received
    }

    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        let began = self.clock.ticks();
        let appended = self.journal.append(batch).await;
        self.appended(("append", true), began, &appended);
        appended
    }

    async fn append_ahead(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        let began = self.clock.ticks();
        let appended = self.journal.append_ahead(batch).await;
        self.appended(("append_ahead", false), began, &appended);
        appended
    }

    async fn durable(&self, seq: Seq) -> Result<(), JournalError> {
        let began = self.clock.ticks();
        let durable = self.journal.durable(seq).await;
        self.wrote("durable", began, durable.as_ref().err());
        durable
    }

    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError> {
        let began = self.clock.ticks();
        let advanced = self.journal.advance(reader, to, memos).await;
        self.wrote("advance", began, advanced.as_ref().err());
        advanced
    }

    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError> {
        self.journal.read(stream, after, limit).await
    }

    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.journal.latest(stream, limit).await
    }

    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError> {
        self.journal.raw(after, limit).await
    }

    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError> {
        self.journal.pending(limit).await
    }

    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        self.journal.to_decide(limit).await
    }

    async fn latest_each(
        &self,
        streams: &[Stream],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, JournalError> {
        self.journal.latest_each(streams, limit).await
    }

    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError> {
        self.journal.delivery(id).await
    }

    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.journal.open_incidents(after, limit).await
    }

    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.journal.incidents(before, limit).await
    }

    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError> {
        self.journal.cursor(reader).await
    }

    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError> {
        self.journal.memo(reader, key).await
    }

    fn head(&self) -> watch::Receiver<Seq> {
        self.journal.head()
    }

    fn written(&self) -> watch::Receiver<Seq> {
        self.journal.written()
    }
}
