//! The three things that are written: a delivery, a batch of entries, a reader's step.

use rusqlite::params;
use untoil_journal::{Batch, Put, Receipt, received};
use untoil_model::{Delivery, Draft, Entry, Seq};

use crate::fault::Fault;
use crate::fresh::Fresh;
use crate::refusal::Refusal;
use crate::transaction::{Transaction, column};
use crate::writer::Write;

/// A delivery to be kept, with all that can be made of it before it reaches the writing thread.
#[derive(Debug)]
pub(crate) struct Receive {
    /// `None` once it is kept.
    delivery: Option<Delivery>,
    headers: String,
    /// Of its `received` entry.
    head: String,
}

impl Receive {
    pub(crate) fn new(delivery: Delivery) -> Self {
        let headers = serde_json::to_string(&delivery.headers).expect("texts by text are JSON");
        let head = received(&delivery).head();
        Self { delivery: Some(delivery), headers, head }
    }
}

impl Write for Receive {
    type Reply = Receipt;

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<Receipt, Fault> {
        let delivery = self.delivery.as_ref().expect("what is kept is not written again");
        if !transaction.keep(delivery, &self.headers)? {
            return Ok(Receipt::Seen);
        }
        Ok(Receipt::Stored(transaction.write_received(delivery.received_at, &self.head)?))
    }

    fn take_back(&mut self, _reply: Receipt) {}

    fn committed(&mut self, reply: &Receipt, fresh: &mut Fresh) {
        if let (Receipt::Stored(seq), Some(delivery)) = (reply, self.delivery.take()) {
            fresh.keep(*seq, delivery);
        }
    }
}

/// A batch to be written.
#[derive(Debug)]
pub(crate) struct Append(pub(crate) Batch);

impl Write for Append {
    type Reply = Result<Vec<Entry>, Refusal>;

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<Self::Reply, Fault> {
        // The file has one writer, which holds every incident.
        let Batch { drafts, expects, decides, holding: _ } = &mut self.0;
        for expect in &*expects {
            let at = transaction.end_of(&expect.stream)?;
            if at != expect.at {
                return Ok(Err(Refusal::Conflict { stream: expect.stream.clone(), at }));
            }
        }
        if let Some(delivery) = &*decides
            && !transaction.decide(delivery)?
        {
            return Ok(Err(Refusal::Decided(delivery.clone())));
        }
        let mut entries = Vec::with_capacity(drafts.len());
        for draft in drafts.drain(..) {
            entries.push(transaction.write(draft)?);
        }
        Ok(Ok(entries))
    }

    fn take_back(&mut self, reply: Self::Reply) {
        if let Ok(entries) = reply {
            self.0.drafts = entries.into_iter().map(unsealed).collect();
        }
    }

    fn committed(&mut self, reply: &Self::Reply, fresh: &mut Fresh) {
        if let (Ok(_), Some(id)) = (reply, &self.0.decides) {
            fresh.decided(id);
        }
    }
}

fn unsealed(entry: Entry) -> Draft {
    let Entry { seq: _, at, actor, incident, alarm, body, prev: _, hash: _ } = entry;
    Draft { at, actor, incident, alarm, body }
}

/// A reader's step.
#[derive(Debug)]
pub(crate) struct Advance {
    pub(crate) reader: String,
    pub(crate) to: Seq,
    pub(crate) memos: Vec<Put>,
}

impl Write for Advance {
    type Reply = ();

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault> {
        let step = params![self.reader, column(self.to)];
        transaction.connection.prepare_cached(ADVANCE)?.execute(step)?;
        for Put { key, value } in &self.memos {
            match value {
                Some(value) => {
                    let memo = params![self.reader, key, value];
                    transaction.wrote(value.len());
                    transaction.connection.prepare_cached(KEEP_MEMO)?.execute(memo)?
                }
                None => {
                    let memo = params![self.reader, key];
                    transaction.connection.prepare_cached(DROP_MEMO)?.execute(memo)?
                }
            };
        }
        Ok(())
    }

    fn take_back(&mut self, (): ()) {}
}

const ADVANCE: &str = "INSERT INTO reader (name, at) VALUES (?1, ?2) \
    ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)";
const KEEP_MEMO: &str = "INSERT INTO memo (reader, key, value) VALUES (?1, ?2, ?3) \
    ON CONFLICT (reader, key) DO UPDATE SET value = excluded.value";
const DROP_MEMO: &str = "DELETE FROM memo WHERE reader = ?1 AND key = ?2";
