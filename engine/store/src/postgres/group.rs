//! A group of requests, judged in order in memory on what the transaction has read.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use untoil_journal::{Batch, JournalError, Put, Receipt, received};
use untoil_model::{Body, Delivery, DeliveryId, Draft, Entry, Hash, Seq, Stream};

use crate::refusal::Refusal;

/// Where the outcome of a request goes, once it is committed.
pub(crate) type Ack<T> = oneshot::Sender<Result<T, JournalError>>;

/// What became of a batch: its entries, or why it was not written though the journal is well.
pub(crate) type Appended = Result<Vec<Entry>, Refusal>;

/// A request with its asker.
pub(crate) enum Job {
    /// A delivery to be kept.
    Receive {
        delivery: Box<Delivery>,
        outcome: Option<Receipt>,
        ack: Ack<Receipt>,
        /// Its share of the queue's bytes, given back when it is settled.
        _space: OwnedSemaphorePermit,
    },
    /// A batch to be written.
    Append { batch: Box<Batch>, outcome: Option<Appended>, ack: Ack<Appended> },
    /// A reader's step.
    Advance { reader: String, to: Seq, memos: Vec<Put>, ack: Ack<()> },
}

impl Job {
    /// Makes it as it was before it was judged.
    pub(crate) fn take_back(&mut self) {
        match self {
            Self::Receive { outcome, .. } => *outcome = None,
            Self::Append { batch, outcome, .. } => {
                if let Some(Ok(entries)) = outcome.take() {
                    batch.drafts = entries.into_iter().map(unsealed).collect();
                }
            }
            Self::Advance { .. } => {}
        }
    }

    /// Tells the asker. One that has gone away is not missed: what it asked for is written.
    pub(crate) fn settle(self, result: Result<(), JournalError>) {
        let judged = "what was committed was judged before";
        match self {
            Self::Receive { outcome, ack, .. } => {
                drop(ack.send(result.map(|()| outcome.expect(judged))));
            }
            Self::Append { outcome, ack, .. } => {
                drop(ack.send(result.map(|()| outcome.expect(judged))));
            }
            Self::Advance { ack, .. } => drop(ack.send(result)),
        }
    }

    /// Whether its answer holds only when the group's transaction has committed, in a group that
    /// writes no entry.
    pub(crate) fn is_step(&self) -> bool {
        matches!(self, Self::Advance { .. })
    }
}

fn unsealed(entry: Entry) -> Draft {
    let Entry { seq: _, at, actor, incident, alarm, body, prev: _, hash: _ } = entry;
    Draft { at, actor, incident, alarm, body }
}

/// A delivery's key.
pub(crate) type Key = (String, String);

pub(crate) fn key(id: &DeliveryId) -> Key {
    (id.source.as_str().to_owned(), id.message.clone())
}

/// What a group's requests ask about, to be read before they are judged.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) deliveries: BTreeSet<Key>,
    pub(crate) streams: BTreeSet<Stream>,
}

impl Questions {
    pub(crate) fn of(jobs: &[Job]) -> Self {
        let mut questions = Self::default();
        for job in jobs {
            match job {
                Job::Receive { delivery, .. } => {
                    questions.deliveries.insert(key(&delivery.id));
                }
                Job::Append { batch, .. } => {
                    questions.deliveries.extend(batch.decides.as_ref().map(key));
                    questions.streams.extend(batch.expects.iter().map(|e| e.stream.clone()));
                }
                Job::Advance { .. } => {}
            }
        }
        questions
    }
}

/// An incident's row as the group leaves it.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// By which alarm it was opened, and where.
    pub(crate) opened: Option<(String, i64)>,
    pub(crate) closed: Option<i64>,
}

/// A sealed entry with its text.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) at: i64,
    pub(crate) kind: &'static str,
    pub(crate) incident: Option<String>,
    pub(crate) alarm: Option<String>,
    pub(crate) is_ledger: bool,
    pub(crate) text: String,
    pub(crate) prev: Hash,
    pub(crate) hash: Hash,
    pub(crate) seq: i64,
}

/// The state that requests are judged on, and what they have it write.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The end of the chain.
    pub(crate) end: (Seq, Hash),
    /// Where the streams that were asked about end.
    pub(crate) ends: BTreeMap<Stream, Seq>,
    /// The deliveries that were asked about and are kept.
    pub(crate) kept: BTreeMap<Key, i64>,
    pub(crate) entries: Vec<Sealed>,
    /// Where `archived` entries are, and the last places that they tell of.
    pub(crate) segments: Vec<(i64, i64)>,
    pub(crate) pending: BTreeSet<i64>,
    pub(crate) decided: BTreeSet<i64>,
    pub(crate) incidents: BTreeMap<String, Change>,
    pub(crate) readers: BTreeMap<String, i64>,
    pub(crate) memos: BTreeMap<Key, Option<String>>,
}

impl Judge {
    pub(crate) fn new(end: (Seq, Hash)) -> Self {
        Self {
            end,
            ends: BTreeMap::new(),
            kept: BTreeMap::new(),
            entries: Vec::new(),
            segments: Vec::new(),
            pending: BTreeSet::new(),
            decided: BTreeSet::new(),
            incidents: BTreeMap::new(),
            readers: BTreeMap::new(),
            memos: BTreeMap::new(),
        }
    }

    /// Judges one request on the state that the ones before it left.
    pub(crate) fn judge(&mut self, job: &mut Job) {
        match job {
            Job::Receive { delivery, outcome, .. } => *outcome = Some(self.receive(delivery)),
            Job::Append { batch, outcome, .. } => *outcome = Some(self.append(batch)),
            Job::Advance { reader, to, memos, .. } => {
                let at = self.readers.entry(reader.clone()).or_insert(0);
                *at = (*at).max(column(*to));
                for Put { key, value } in memos.iter() {
                    self.memos.insert((reader.clone(), key.clone()), value.clone());
                }
            }
        }
    }

    fn receive(&mut self, delivery: &Delivery) -> Receipt {
        let key = key(&delivery.id);
        if self.kept.contains_key(&key) {
            return Receipt::Seen;
        }
        let seq = self.write(received(delivery)).seq;
        self.kept.insert(key, column(seq));
        self.pending.insert(column(seq));
        Receipt::Stored(seq)
    }

    fn append(&mut self, batch: &mut Batch) -> Appended {
        for expect in &batch.expects {
            let at = match &expect.stream {
                Stream::All => self.end.0,
                stream @ (Stream::Incident(_)
                | Stream::Alarm(_)
                | Stream::Ledger
                | Stream::Archive) => self.ends.get(stream).copied().unwrap_or(Seq::START),
            };
            if at != expect.at {
                return Err(Refusal::Conflict { stream: expect.stream.clone(), at });
            }
        }
        let decided = batch.decides.as_ref().and_then(|id| self.kept.get(&key(id)));
        if let Some(seq) = decided
            && !self.pending.remove(seq)
        {
            self.decided.insert(*seq);
        }
        Ok(batch.drafts.drain(..).map(|draft| self.write(draft)).collect())
    }

    fn write(&mut self, draft: Draft) -> Entry {
        let (entry, text) = Entry::seal(draft, self.end.0.next(), self.end.1);
        let seq = column(entry.seq);
        for (stream, at) in &mut self.ends {
            if entry.is_in(stream) {
                *at = entry.seq;
            }
        }
        if let Some(incident) = &entry.incident {
            if let Body::Opened { alarm, .. } = &entry.body {
                let opened = Some((alarm.key.as_str().to_owned(), seq));
                let change = Change { opened, closed: None };
                self.incidents.insert(incident.as_str().to_owned(), change);
            } else if matches!(entry.body, Body::Closed { .. }) {
                let change = self.incidents.entry(incident.as_str().to_owned());
                change.or_default().closed = Some(seq);
            }
        }
        if let Body::Archived { last, .. } = &entry.body {
            self.segments.push((seq, column(*last)));
        }
        self.entries.push(Sealed {
            at: entry.at.as_microsecond(),
            kind: entry.body.kind(),
            incident: entry.incident.as_ref().map(|id| id.as_str().to_owned()),
            alarm: entry.alarm.as_ref().map(|key| key.as_str().to_owned()),
            is_ledger: entry.body.is_ledger(),
            text,
            prev: entry.prev,
            hash: entry.hash,
            seq,
        });
        self.end = (entry.seq, entry.hash);
        entry
    }
}

/// A place as it is kept. A place beyond 2^63 is behind every entry there can be.
pub(crate) fn column(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A place as it was kept.
pub(crate) fn place(column: i64) -> Seq {
    Seq(u64::try_from(column).unwrap_or(0))
}
