//! The append-only record, as the engine sees it.
//!
//! [`Journal`] is all that the engine knows of storage. Three promises carry everything else:
//!
//! - **Accepted is kept.** When [`Journal::receive`], [`Journal::append`] or [`Journal::durable`] returns
//!   `Ok`, the record survives `kill -9` and power loss. What was written [ahead](Journal::append_ahead)
//!   survives `kill -9`, and power loss from then on.
//! - **One order, one chain.** Entries have one place each, without gaps, and each carries the hash
//!   of the one before it. Readers behind a cursor never miss an entry that committed late.
//! - **Conditions are atomic.** A [`Batch`] may say which [`Stream`]s must not have grown; if one has,
//!   nothing is written. Judging and reserving are one step because of it, also across instances.
//!
//! Instances that share a journal share its work by a [`Roster`].
//!
//! [`MemoryJournal`] is for tests and rule tests. The suite in [`conformance`] is what every store
//! must pass.
#![forbid(unsafe_code)]

mod archive;
mod archiver;
mod batch;
pub mod conformance;
mod fold;
mod memory;
mod reckoning;
mod retention;
mod roster;
mod verify;

pub use archive::{Archive, Archived, Checked, Flaw, Segment};
pub use archiver::{ArchiveError, Archiver, Did, Haste, Held, SEGMENT_ENTRIES_MAX};
pub use batch::{AppendError, Batch, Expect, JournalError, Put, Receipt};
pub use fold::{catch_up, load};
pub use memory::{MemoryJournal, received};
pub use retention::{ALARM_KEPT, KEEP_MIN, LEDGER_KEPT, Prune, Retention, Waiting, incident_memo};
pub use roster::{News, Roster, Sole, Tenure};
pub use verify::{Shelf, Verified, segments, verify, verify_archive, verify_files};

use async_trait::async_trait;
use tokio::sync::watch;
use untoil_model::{Delivery, DeliveryId, Entry, Hash, IncidentId, Seq, Stream};

/// The append-only record. All methods are safe to call from many tasks at once.
#[async_trait]
pub trait Journal: Send + Sync + std::fmt::Debug {
    /// Keeps a delivery and its `received` entry, durably, unless its id was kept before.
    ///
    /// Idempotent by [`DeliveryId`]: the second time answers [`Receipt::Seen`] and changes nothing.
    ///
    /// # Errors
    /// [`JournalError::Overloaded`] at once when the queue of writes is full: nothing was kept and
    /// the sender should come back. [`JournalError::Unavailable`] when it is not known to be kept.
    async fn receive(&self, delivery: Delivery) -> Result<Receipt, JournalError>;

    /// Writes all drafts of a batch, in order, or none; returns them in their places.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] when a stream that the batch names has grown: read it and decide
    /// again. [`AppendError::Decided`] when the delivery that it decides is not pending.
    /// [`JournalError::TakenOver`] when another instance holds the incident that it must hold.
    /// [`AppendError::Journal`] otherwise; after `Unavailable` it is not known whether it was
    /// written, so read before writing again.
    async fn append(&self, batch: Batch) -> Result<Vec<Entry>, AppendError>;

    /// As [`Journal::append`], but answers as soon as the entries have their places and can be read:
    /// they may not be on the disk yet.
    ///
    /// They come to the disk before anything that is written after them. So an `append` that returned
    /// later has made them durable too; and should they never get there, every later write fails. Until
    /// then nothing outside may be done or told because of them: see [`Journal::durable`].
    ///
    /// # Errors
    /// As [`Journal::append`].
    async fn append_ahead(&self, batch: Batch) -> Result<Vec<Entry>, AppendError> {
        self.append(batch).await
    }

    /// Waits until everything up to `seq`, the place of an entry that was written or read here, is on
    /// the disk.
    ///
    /// # Errors
    /// [`JournalError::Unavailable`] when it is not known to be.
    async fn durable(&self, seq: Seq) -> Result<(), JournalError> {
        let _ = seq;
        Ok(())
    }

    /// Up to `limit` entries of a stream after a place, in order.
    ///
    /// # Errors
    /// [`JournalError`] when the store cannot be read or holds something that is not an entry.
    async fn read(
        &self,
        stream: &Stream,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Entry>, JournalError>;

    /// The newest `limit` entries of a stream, newest first.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn latest(&self, stream: &Stream, limit: usize) -> Result<Vec<Entry>, JournalError>;

    /// Entries after a place with their kept text and hashes, unchecked: what `audit verify` reads.
    ///
    /// # Errors
    /// [`JournalError`] when the store cannot be read.
    async fn raw(&self, after: Seq, limit: usize) -> Result<Vec<RawEntry>, JournalError>;

    /// Deliveries that were kept and not yet decided, oldest first.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn pending(&self, limit: usize) -> Result<Vec<DeliveryId>, JournalError>;

    /// The oldest pending deliveries that this instance is to decide, whole: those that it received,
    /// and those whose receiver is gone. At most `limit`, and as many as fit into
    /// [`DECIDED_TOGETHER_BYTES`], but at least one.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn to_decide(&self, limit: usize) -> Result<Vec<Delivery>, JournalError> {
        let mut deliveries = Vec::new();
        let mut bytes = 0;
        for id in self.pending(limit).await? {
            let Some(delivery) = self.delivery(&id).await? else { continue };
            bytes += delivery.body.len();
            if bytes > DECIDED_TOGETHER_BYTES && !deliveries.is_empty() {
                break;
            }
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    /// [`Journal::latest`] of several streams, in their order.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn latest_each(
        &self,
        streams: &[Stream],
        limit: usize,
    ) -> Result<Vec<Vec<Entry>>, JournalError> {
        let mut found = Vec::with_capacity(streams.len());
        for stream in streams {
            found.push(self.latest(stream, limit).await?);
        }
        Ok(found)
    }

    /// A kept delivery, byte for byte.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn delivery(&self, id: &DeliveryId) -> Result<Option<Delivery>, JournalError>;

    /// Incidents that were opened and not closed, oldest first, after `after` in that order.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn open_incidents(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError>;

    /// Incidents of any state, newest first, before `before`.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn incidents(
        &self,
        before: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError>;

    /// How far a reader has come; [`Seq::START`] for a new one.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn cursor(&self, reader: &str) -> Result<Seq, JournalError>;

    /// Moves a reader's cursor and its memos in one atomic step. It never moves backwards.
    ///
    /// # Errors
    /// [`JournalError`] when it is not known to be kept; [`JournalError::TakenOver`] when another
    /// living instance has taken the reader's post ([`Roster::take`]), or this one has had it and lost
    /// or left it.
    async fn advance(&self, reader: &str, to: Seq, memos: Vec<Put>) -> Result<(), JournalError>;

    /// What a reader noted under a key.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn memo(&self, reader: &str, key: &str) -> Result<Option<String>, JournalError>;

    /// The place of the last entry that is on the disk, kept up to date: what readers wait on who act
    /// outside. What they read behind it must wait for it.
    fn head(&self) -> watch::Receiver<Seq>;

    /// The place of the last entry that can be read, kept up to date; never before
    /// [`Journal::head`], and behind it by what was written [ahead](Journal::append_ahead).
    fn written(&self) -> watch::Receiver<Seq> {
        self.head()
    }
}

/// How many bytes of bodies are decided together: bounds the memory of a decision, and holds a
/// hundred of the usual 2 KiB many times over.
pub const DECIDED_TOGETHER_BYTES: usize = 8 * 1024 * 1024;

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEntry {
    /// Where it is kept.
    pub seq: Seq,
    /// Its canonical JSON.
    pub text: String,
    /// The hash it is chained to.
    pub prev: Hash,
    /// Its own hash.
    pub hash: Hash,
}

impl RawEntry {
    /// The entry, if it is what its hashes say.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when it is not, [`JournalError::Newer`] when a newer program wrote it.
    pub fn open(&self) -> Result<Entry, JournalError> {
        Ok(Entry::open(self.seq, &self.text, self.prev, self.hash)?)
    }
}
