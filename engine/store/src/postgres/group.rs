//! A group of requests, judged in order in memory on what the transaction has read.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use untoil_journal::{Batch, JournalError, Put, Receipt, received};
use untoil_model::{Body, Delivery, DeliveryId, Draft, Entry, Hash, IncidentId, Seq, Stream};

use super::nul;
use crate::refusal::Refusal;

/// Where the outcome of a request goes, once it is committed.
pub(crate) type Ack<T> = oneshot::Sender<Result<T, JournalError>>;

/// What became of a batch: its entries, or why it was not written though the journal is well.
pub(crate) type Appended = Result<Vec<Entry>, Refusal>;

/// A delivery with all that can be made of it before it reaches the task that writes.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) delivery: Delivery,
    pub(crate) key: Key,
    /// Its headers as they are kept.
    pub(crate) headers: String,
    /// Of its `received` entry: all of the text that does not depend on the place.
    head: String,
}

impl Arriving {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let key = key(&delivery.id);
        let headers = serde_json::to_string(&delivery.headers).expect("texts by text are JSON");
        let head = received(&delivery).head();
        Self { delivery, key, headers, head }
    }
}

/// A request with its asker.
pub(crate) enum Job {
    /// A delivery to be kept.
    Receive {
        delivery: Box<Arriving>,
        outcome: Option<Receipt>,
        ack: Ack<Receipt>,
        /// Its share of the queue's bytes, given back when it is settled.
        _space: OwnedSemaphorePermit,
    },
    /// A batch to be written.
    Append { batch: Box<Batch>, outcome: Option<Appended>, ack: Ack<Appended> },
    /// A reader's step.
    Advance {
        reader: String,
        to: Seq,
        memos: Vec<Put>,
        outcome: Option<Result<(), JournalError>>,
        ack: Ack<()>,
    },
    /// Incidents that nobody living holds, to be held by this instance from now on.
    Adopt { limit: usize, outcome: Option<Vec<IncidentId>>, ack: Ack<Vec<IncidentId>> },
    /// A post to be taken.
    Take { post: String, outcome: Option<bool>, ack: Ack<bool> },
    /// Everything that this instance holds, to be given up.
    Leave { ack: Ack<()> },
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
            Self::Advance { outcome, .. } => *outcome = None,
            Self::Adopt { outcome, .. } => *outcome = None,
            Self::Take { outcome, .. } => *outcome = None,
            Self::Leave { .. } => {}
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
            Self::Advance { outcome, ack, .. } => {
                drop(ack.send(result.and_then(|()| outcome.expect(judged))));
            }
            Self::Adopt { outcome, ack, .. } => {
                drop(ack.send(result.map(|()| outcome.expect(judged))));
            }
            Self::Take { outcome, ack, .. } => {
                drop(ack.send(result.map(|()| outcome.expect(judged))));
            }
            Self::Leave { ack } => drop(ack.send(result)),
        }
    }

    /// Whether it is a delivery.
    pub(crate) fn is_receive(&self) -> bool {
        match self {
            Self::Receive { .. } => true,
            Self::Append { .. } | Self::Advance { .. } => false,
            Self::Adopt { .. } | Self::Take { .. } | Self::Leave { .. } => false,
        }
    }

    /// Whether it was judged to be a delivery that was kept before.
    pub(crate) fn is_seen(&self) -> bool {
        match self {
            Self::Receive { outcome, .. } => *outcome == Some(Receipt::Seen),
            Self::Append { .. } | Self::Advance { .. } => false,
            Self::Adopt { .. } | Self::Take { .. } | Self::Leave { .. } => false,
        }
    }

    /// Whether it is about who holds what. Of a group these are settled first.
    pub(crate) fn is_about_sharing(&self) -> bool {
        match self {
            Self::Receive { .. } | Self::Append { .. } | Self::Advance { .. } => false,
            Self::Adopt { .. } | Self::Take { .. } | Self::Leave { .. } => true,
        }
    }
}

fn unsealed(entry: Entry) -> Draft {
    let Entry { seq: _, at, actor, incident, alarm, body, prev: _, hash: _ } = entry;
    Draft { at, actor, incident, alarm, body }
}

/// A delivery's key, as it is kept.
pub(crate) type Key = (String, String);

pub(crate) fn key(id: &DeliveryId) -> Key {
    (id.source.as_str().to_owned(), nul::kept(&id.message).into_owned())
}

/// What a group's requests ask about, to be read before they are judged.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) deliveries: BTreeSet<Key>,
    pub(crate) streams: BTreeSet<Stream>,
    /// Incidents that the writer must hold.
    pub(crate) holding: BTreeSet<String>,
    /// Readers whose posts others may have.
    pub(crate) readers: BTreeSet<String>,
}

impl Questions {
    pub(crate) fn of(jobs: &[Job]) -> Self {
        let mut questions = Self::default();
        for job in jobs {
            match job {
                Job::Receive { delivery, .. } => {
                    questions.deliveries.insert(delivery.key.clone());
                }
                Job::Append { batch, .. } => {
                    questions.deliveries.extend(batch.decides.as_ref().map(key));
                    questions.streams.extend(batch.expects.iter().map(|e| e.stream.clone()));
                    let holding = batch.holding.iter().map(|id| id.as_str().to_owned());
                    questions.holding.extend(holding);
                }
                Job::Advance { reader, .. } => {
                    questions.readers.insert(reader.clone());
                }
                Job::Adopt { .. } | Job::Take { .. } | Job::Leave { .. } => {}
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

/// What a group's transaction has read of what its requests ask about.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Where the streams end.
    pub(crate) ends: BTreeMap<Stream, Seq>,
    /// The deliveries that are kept.
    pub(crate) kept: BTreeMap<Key, i64>,
    /// Those of them that wait for their decision.
    pub(crate) waiting: BTreeSet<i64>,
    /// The incidents that are this instance's.
    pub(crate) held: BTreeSet<String>,
    /// The readers whose posts others have.
    pub(crate) taken: BTreeSet<String>,
}

/// The state that requests are judged on, and what they have it write.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The end of the chain.
    pub(crate) end: (Seq, Hash),
    pub(crate) known: Known,
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
    pub(crate) fn new(end: (Seq, Hash), known: Known) -> Self {
        Self {
            end,
            known,
            entries: Vec::new(),
            segments: Vec::new(),
            pending: BTreeSet::new(),
            decided: BTreeSet::new(),
            incidents: BTreeMap::new(),
            readers: BTreeMap::new(),
            memos: BTreeMap::new(),
        }
    }

    /// By how many more, or fewer, deliveries wait for their decision.
    pub(crate) fn waiting(&self) -> i64 {
        let count = |set: &BTreeSet<i64>| i64::try_from(set.len()).unwrap_or(i64::MAX);
        count(&self.pending) - count(&self.decided)
    }

    /// Judges one request on the state that the ones before it left.
    pub(crate) fn judge(&mut self, job: &mut Job) {
        match job {
            Job::Receive { delivery, outcome, .. } => *outcome = Some(self.receive(delivery)),
            Job::Append { batch, outcome, .. } => *outcome = Some(self.append(batch)),
            Job::Advance { reader, to, memos, outcome, .. } => {
                if self.known.taken.contains(reader) {
                    let whose = format!("the reader `{reader}`");
                    *outcome = Some(Err(JournalError::TakenOver(whose)));
                    return;
                }
                *outcome = Some(Ok(()));
                let at = self.readers.entry(reader.clone()).or_insert(0);
                *at = (*at).max(column(*to));
                for Put { key, value } in memos.iter() {
                    self.memos.insert((reader.clone(), key.clone()), value.clone());
                }
            }
            // Settled before anything is judged.
            Job::Adopt { .. } | Job::Take { .. } | Job::Leave { .. } => {}
        }
    }

    fn receive(&mut self, arriving: &Arriving) -> Receipt {
        if self.known.kept.contains_key(&arriving.key) {
            return Receipt::Seen;
        }
        let (seq, prev) = (self.end.0.next(), self.end.1);
        let (text, hash) = Entry::seal_text(&arriving.head, seq, prev);
        let place = column(seq);
        self.entries.push(Sealed {
            at: arriving.delivery.received_at.as_microsecond(),
            kind: RECEIVED,
            // It is in no stream but the one of all.
            incident: None,
            alarm: None,
            is_ledger: false,
            text,
            prev,
            hash,
            seq: place,
        });
        self.end = (seq, hash);
        self.known.kept.insert(arriving.key.clone(), place);
        self.pending.insert(place);
        Receipt::Stored(seq)
    }

    fn append(&mut self, batch: &mut Batch) -> Appended {
        for expect in &batch.expects {
            let at = match &expect.stream {
                Stream::All => self.end.0,
                stream @ (Stream::Incident(_)
                | Stream::Alarm(_)
                | Stream::Ledger
                | Stream::Archive) => self.known.ends.get(stream).copied().unwrap_or(Seq::START),
            };
            if at != expect.at {
                return Err(Refusal::Conflict { stream: expect.stream.clone(), at });
            }
        }
        let held = |incident: &&IncidentId| self.known.held.contains(incident.as_str());
        if let Some(incident) = batch.holding.iter().find(|incident| !held(incident)) {
            return Err(Refusal::TakenOver(incident.clone()));
        }
        if let Some(decides) = &batch.decides {
            match self.known.kept.get(&key(decides)) {
                // Received in this very group: never written as pending.
                Some(seq) if self.pending.remove(seq) => {}
                Some(seq) if self.known.waiting.remove(seq) => {
                    self.decided.insert(*seq);
                }
                Some(_) | None => return Err(Refusal::Decided(decides.clone())),
            }
        }
        Ok(batch.drafts.drain(..).map(|draft| self.write(draft)).collect())
    }

    fn write(&mut self, draft: Draft) -> Entry {
        let (entry, text) = Entry::seal(draft, self.end.0.next(), self.end.1);
        let seq = column(entry.seq);
        for (stream, at) in &mut self.known.ends {
            if entry.is_in(stream) {
                *at = entry.seq;
            }
        }
        if let Some(incident) = &entry.incident {
            if let Body::Opened { alarm, .. } = &entry.body {
                let opened = Some((alarm.key.as_str().to_owned(), seq));
                let change = Change { opened, closed: None };
                self.incidents.insert(incident.as_str().to_owned(), change);
                self.known.held.insert(incident.as_str().to_owned());
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

/// The kind of a `received` entry.
pub(crate) const RECEIVED: &str = "received";

/// A place as it is kept. A place beyond 2^63 is behind every entry there can be.
pub(crate) fn column(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A place as it was kept.
pub(crate) fn place(column: i64) -> Seq {
    Seq(u64::try_from(column).unwrap_or(0))
}
