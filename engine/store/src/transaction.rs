//! What a write may do inside the group's transaction.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use untoil_model::{
    AlarmKey, Body, Delivery, DeliveryId, Draft, Entry, Hash, IncidentId, Seq, Sheet, Stream,
};

use crate::ends::Ends;
use crate::fault::Fault;
use crate::writer::Gauges;

/// An open transaction and the end of the chain as it will be when it commits.
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a Connection,
    kept: Kept<'a>,
    sheet: &'a mut Sheet,
    last: Seq,
    hash: Hash,
    written: usize,
    /// What is known of the file as it was committed before.
    before: &'a Gauges,
    /// What it knows itself, and what it wrote.
    ends: Ends,
    /// Whether it deleted entries: then nothing of `before` holds.
    pruned: Pruned,
    /// By how many more, or fewer, deliveries wait for their decision.
    waiting: i64,
    /// Of texts and bodies that were written.
    bytes: usize,
}

/// The statements that a burst has run again and again: looking one up costs a tenth of what it does.
#[derive(Default)]
struct Kept<'a> {
    entry: Option<CachedStatement<'a>>,
    received: Option<CachedStatement<'a>>,
    delivery: Option<CachedStatement<'a>>,
    pending: Option<CachedStatement<'a>>,
    opened: Option<CachedStatement<'a>>,
}

/// The statement that is kept in a place, from the first time it is needed.
fn kept<'s, 'a>(
    place: &'s mut Option<CachedStatement<'a>>,
    connection: &'a Connection,
    sql: &str,
) -> Result<&'s mut CachedStatement<'a>, Fault> {
    match place {
        Some(statement) => Ok(statement),
        none => Ok(none.insert(connection.prepare_cached(sql)?)),
    }
}

/// Whether entries were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pruned {
    No,
    Yes,
}

impl<'a> Transaction<'a> {
    /// Goes on behind the entry at `last`, and seals on `sheet`.
    pub(crate) fn behind(
        connection: &'a Connection,
        (last, hash): (Seq, Hash),
        before: &'a Gauges,
        sheet: &'a mut Sheet,
    ) -> Self {
        Self {
            connection,
            kept: Kept::default(),
            sheet,
            last,
            hash,
            written: 0,
            before,
            ends: Ends::default(),
            pruned: Pruned::No,
            waiting: 0,
            bytes: 0,
        }
    }

    /// The end of the chain.
    pub(crate) fn end(&self) -> (Seq, Hash) {
        (self.last, self.hash)
    }

    /// By how many more, or fewer, deliveries wait for their decision.
    pub(crate) fn waiting(&self) -> i64 {
        self.waiting
    }

    /// What it knows of streams, and whether that is all that holds.
    pub(crate) fn into_ends(self) -> (Ends, Pruned) {
        (self.ends, self.pruned)
    }

    /// Entries were deleted: streams may end earlier than was known.
    pub(crate) fn prune(&mut self) {
        (self.ends, self.pruned) = (Ends::default(), Pruned::Yes);
    }

    /// How many entries it wrote.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Keeps a delivery whose `received` entry comes next, as one that waits; says whether it is new.
    pub(crate) fn keep(&mut self, delivery: &Delivery, headers: &str) -> Result<bool, Fault> {
        let seq = column(self.next());
        let insert = kept(&mut self.kept.delivery, self.connection, KEEP_DELIVERY)?;
        let rows = insert.execute(params![
            seq,
            delivery.id.source.as_str(),
            delivery.id.message,
            delivery.sender,
            delivery.received_at.as_microsecond(),
            headers,
            delivery.body,
        ])?;
        if rows == 0 {
            return Ok(false);
        }
        kept(&mut self.kept.pending, self.connection, KEEP_PENDING)?.execute([seq])?;
        self.waiting += 1;
        self.wrote(headers.len() + delivery.body.len());
        Ok(true)
    }

    /// Takes a delivery out of those that wait; says whether it was one of them.
    pub(crate) fn decide(&mut self, id: &DeliveryId) -> Result<bool, Fault> {
        let rows = match self.before.place_of(id) {
            // Where it is known to wait it need not be looked for by its name.
            Some(seq) => self.connection.prepare_cached(DECIDE_AT)?.execute([column(seq)])?,
            None => {
                let id = params![id.source.as_str(), id.message];
                self.connection.prepare_cached(DECIDE)?.execute(id)?
            }
        };
        self.waiting -= i64::from(rows > 0);
        Ok(rows > 0)
    }

    /// Notes what was written that is not an entry's text.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// How many bytes of texts and bodies it wrote.
    pub(crate) fn bytes(&self) -> i64 {
        i64::try_from(self.bytes).unwrap_or(i64::MAX)
    }

    /// The place that the next entry will have.
    pub(crate) fn next(&self) -> Seq {
        self.last.next()
    }

    /// Seals a draft and writes it, with what is found by it.
    pub(crate) fn write(&mut self, draft: Draft) -> Result<Entry, Fault> {
        let entry = Entry::seal_on(self.sheet, draft, self.last.next(), self.hash);
        let seq = column(entry.seq);
        let insert = kept(&mut self.kept.entry, self.connection, INSERT_ENTRY)?;
        insert.execute(params![
            seq,
            entry.at.as_microsecond(),
            entry.body.kind(),
            entry.incident.as_ref().map(IncidentId::as_str),
            entry.alarm.as_ref().map(AlarmKey::as_str),
            entry.body.is_ledger(),
            self.sheet.text(),
            entry.prev.as_bytes(),
            entry.hash.as_bytes(),
        ])?;
        if let Some(incident) = &entry.incident {
            if let Body::Opened { alarm, .. } = &entry.body {
                let row = params![incident.as_str(), alarm.key.as_str(), seq];
                kept(&mut self.kept.opened, self.connection, OPEN_INCIDENT)?.execute(row)?;
            } else if matches!(entry.body, Body::Closed { .. }) {
                let row = params![incident.as_str(), seq];
                self.connection.prepare_cached(CLOSE_INCIDENT)?.execute(row)?;
            }
        }
        if let Body::Archived { last, .. } = &entry.body {
            self.connection.prepare_cached(KEEP_SEGMENT)?.execute([seq, column(*last)])?;
        }
        self.ends.grow(&entry);
        (self.last, self.hash) = (entry.seq, entry.hash);
        self.written += 1;
        self.bytes += self.sheet.text().len();
        Ok(entry)
    }

    /// Writes the `received` entry with this head ([`Draft::head`]) and time. It is in no stream.
    pub(crate) fn write_received(&mut self, at: Timestamp, head: &str) -> Result<Seq, Fault> {
        let seq = self.last.next();
        let hash = Entry::seal_head_on(self.sheet, head, seq, self.hash);
        let insert = kept(&mut self.kept.received, self.connection, INSERT_RECEIVED)?;
        insert.execute(params![
            column(seq),
            at.as_microsecond(),
            self.sheet.text(),
            self.hash.as_bytes(),
            hash.as_bytes(),
        ])?;
        (self.last, self.hash) = (seq, hash);
        self.written += 1;
        self.bytes += self.sheet.text().len();
        Ok(seq)
    }

    /// Where a stream ends, entries of this transaction included.
    pub(crate) fn end_of(&mut self, stream: &Stream) -> Result<Seq, Fault> {
        // What was known before is only good for what this transaction has not touched and forgotten.
        let before = || match self.pruned {
            Pruned::No if !self.ends.has_forgotten() => self.before.end_of(stream),
            Pruned::No | Pruned::Yes => None,
        };
        if let Some(end) = self.ends.of(stream).or_else(before) {
            debug_assert_eq!(Ok(end), self.asked_end_of(stream).map_err(|_| ()), "{stream:?}");
            return Ok(end);
        }
        let end = self.asked_end_of(stream)?;
        self.ends.learn(stream, end);
        Ok(end)
    }

    fn asked_end_of(&self, stream: &Stream) -> Result<Seq, Fault> {
        let one = |sql, of: &str| -> Result<Option<i64>, Fault> {
            Ok(self.connection.prepare_cached(sql)?.query_one([of], |row| row.get(0))?)
        };
        let seq = match stream {
            Stream::All => return Ok(self.last),
            Stream::Incident(id) => one(END_OF_INCIDENT, id.as_str())?,
            Stream::Alarm(key) => one(END_OF_ALARM, key.as_str())?,
            Stream::Ledger => {
                self.connection.prepare_cached(END_OF_LEDGER)?.query_one([], |row| row.get(0))?
            }
            Stream::Archive => {
                self.connection.prepare_cached(END_OF_ARCHIVE)?.query_one([], |row| row.get(0))?
            }
        };
        Ok(seq.map_or(Seq::START, place))
    }
}

/// The last entry and its hash, checked against the one before it.
pub(crate) fn end_of_chain(connection: &Connection) -> Result<(Seq, Hash), Fault> {
    type Row = (i64, String, [u8; 32], [u8; 32]);
    let mut last = connection.prepare(LAST_TWO)?;
    let mut rows = last
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<Vec<Row>, _>>()?
        .into_iter();
    let Some((seq, text, prev, hash)) = rows.next() else {
        return Ok((Seq::START, Hash::GENESIS));
    };
    let before = rows.next().map_or((Seq::START, Hash::GENESIS), |(seq, _, _, hash)| {
        (place(seq), Hash::from_bytes(hash))
    });
    let kept = (Hash::from_bytes(prev), Hash::from_bytes(hash));
    let entry = Entry::check(before, place(seq), &text, kept)?;
    Ok((entry.seq, entry.hash))
}

/// The place of the last entry.
pub(crate) fn last(connection: &Connection) -> Result<Seq, Fault> {
    let seq: Option<Value> = connection.query_one(END, [], |row| row.get(0)).optional()?;
    Ok(if let Some(Value::Integer(seq)) = seq { place(seq) } else { Seq::START })
}

/// A place as SQLite keeps it. A place beyond 2^63 is behind every entry there can be.
pub(crate) fn column(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// A place as SQLite kept it.
pub(crate) fn place(column: i64) -> Seq {
    Seq(u64::try_from(column).unwrap_or(0))
}

const INSERT_ENTRY: &str = "INSERT INTO entry \
    (seq, at, kind, incident, alarm, ledger, text, prev, hash) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)";
const INSERT_RECEIVED: &str = "INSERT INTO entry (seq, at, kind, ledger, text, prev, hash) \
    VALUES (?1,?2,'received',0,?3,?4,?5)";
const KEEP_DELIVERY: &str = "INSERT INTO delivery \
    (seq, source, message, sender, received_at, headers, body) VALUES (?1,?2,?3,?4,?5,?6,?7) \
    ON CONFLICT (source, message) DO NOTHING";
const KEEP_PENDING: &str = "INSERT INTO pending (seq) VALUES (?1)";
pub(crate) const DECIDE: &str = "DELETE FROM pending \
    WHERE seq = (SELECT seq FROM delivery WHERE source = ?1 AND message = ?2)";
const DECIDE_AT: &str = "DELETE FROM pending WHERE seq = ?1";
const OPEN_INCIDENT: &str = "INSERT INTO incident (id, alarm, opened_seq) VALUES (?1,?2,?3) \
    ON CONFLICT (id) DO UPDATE SET closed_seq = NULL";
const CLOSE_INCIDENT: &str = "UPDATE incident SET closed_seq = ?2 WHERE id = ?1";
const KEEP_SEGMENT: &str = "INSERT INTO segment (record, last) VALUES (?1, ?2)";
pub(crate) const END_OF_ARCHIVE: &str = "SELECT max(record) FROM segment";
const LAST_TWO: &str = "SELECT seq, text, prev, hash FROM entry ORDER BY seq DESC LIMIT 2";
const END: &str = "SELECT max(seq) FROM entry";
pub(crate) const END_OF_INCIDENT: &str = "SELECT max(seq) FROM entry WHERE incident = ?1";
pub(crate) const END_OF_ALARM: &str = "SELECT max(seq) FROM entry WHERE alarm = ?1";
pub(crate) const END_OF_LEDGER: &str = "SELECT max(seq) FROM entry WHERE ledger = 1";
