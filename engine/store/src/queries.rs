//! What is read, each on a reading thread's own connection.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use untoil_journal::{DECIDED_TOGETHER_BYTES, RawEntry};
use untoil_model::{Delivery, DeliveryId, Entry, Hash, IncidentId, Seq, Stream};

use crate::fault::Fault;
use crate::transaction::{column, place};

/// Entries of a stream behind a place, oldest first.
pub(crate) fn read(
    connection: &Connection,
    stream: &Stream,
    after: Seq,
    limit: usize,
) -> Result<Vec<Entry>, Fault> {
    let (after, limit) = (column(after), rows(limit));
    match stream {
        Stream::All => entries(connection, READ, params![after, limit]),
        Stream::Incident(id) => {
            entries(connection, READ_INCIDENT, params![after, limit, id.as_str()])
        }
        Stream::Alarm(key) => entries(connection, READ_ALARM, params![after, limit, key.as_str()]),
        Stream::Ledger => entries(connection, READ_LEDGER, params![after, limit]),
        Stream::Archive => entries(connection, READ_ARCHIVE, params![after, limit]),
    }
}

/// The newest entries of a stream, newest first.
pub(crate) fn latest(
    connection: &Connection,
    stream: &Stream,
    limit: usize,
) -> Result<Vec<Entry>, Fault> {
    let limit = rows(limit);
    match stream {
        Stream::All => entries(connection, LATEST, params![limit]),
        Stream::Incident(id) => entries(connection, LATEST_INCIDENT, params![limit, id.as_str()]),
        Stream::Alarm(key) => entries(connection, LATEST_ALARM, params![limit, key.as_str()]),
        Stream::Ledger => entries(connection, LATEST_LEDGER, params![limit]),
        Stream::Archive => entries(connection, LATEST_ARCHIVE, params![limit]),
    }
}

fn entries(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Entry>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut entries = Vec::new();
    while let Some(row) = found.next()? {
        let (seq, prev, hash) = sealed(row)?;
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        entries.push(Entry::open(seq, text, prev, hash)?);
    }
    Ok(entries)
}

/// Entries as they are kept.
pub(crate) fn raw(
    connection: &Connection,
    after: Seq,
    limit: usize,
) -> Result<Vec<RawEntry>, Fault> {
    let mut statement = connection.prepare_cached(READ)?;
    let mut found = statement.query(params![column(after), rows(limit)])?;
    let mut entries = Vec::new();
    while let Some(row) = found.next()? {
        let (seq, prev, hash) = sealed(row)?;
        entries.push(RawEntry { seq, text: row.get(1)?, prev, hash });
    }
    Ok(entries)
}

fn sealed(row: &Row<'_>) -> Result<(Seq, Hash, Hash), Fault> {
    Ok((place(row.get(0)?), Hash::from_bytes(row.get(2)?), Hash::from_bytes(row.get(3)?)))
}

/// Deliveries that wait for their decision.
pub(crate) fn pending(connection: &Connection, limit: usize) -> Result<Vec<DeliveryId>, Fault> {
    let mut statement = connection.prepare_cached(PENDING)?;
    let mut found = statement.query([rows(limit)])?;
    let mut pending = Vec::new();
    while let Some(row) = found.next()? {
        let source: String = row.get(0)?;
        let source = source.parse().map_err(|error| unreadable("a delivery", &error))?;
        pending.push(DeliveryId { source, message: row.get(1)? });
    }
    Ok(pending)
}

/// The oldest deliveries that wait for their decision, whole; at least one if there is any.
pub(crate) fn to_decide(connection: &Connection, limit: usize) -> Result<Vec<Delivery>, Fault> {
    let mut statement = connection.prepare_cached(TO_DECIDE)?;
    let mut found = statement.query([rows(limit)])?;
    let (mut deliveries, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let source: String = row.get(4)?;
        let source = source.parse().map_err(|error| unreadable("a delivery", &error))?;
        let delivery = whole(DeliveryId { source, message: row.get(5)? }, row)?;
        bytes += delivery.body.len();
        if bytes > DECIDED_TOGETHER_BYTES && !deliveries.is_empty() {
            break;
        }
        deliveries.push(delivery);
    }
    Ok(deliveries)
}

/// One delivery.
pub(crate) fn delivery(
    connection: &Connection,
    id: &DeliveryId,
) -> Result<Option<Delivery>, Fault> {
    let mut statement = connection.prepare_cached(DELIVERY)?;
    let mut found = statement.query(params![id.source.as_str(), id.message])?;
    found.next()?.map(|row| whole(id.clone(), row)).transpose()
}

/// A delivery out of the first four columns.
fn whole(id: DeliveryId, row: &Row<'_>) -> Result<Delivery, Fault> {
    let received_at = Timestamp::from_microsecond(row.get(1)?)
        .map_err(|error| unreadable("a delivery's time", &error))?;
    let headers = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
    let headers = serde_json::from_str(headers)
        .map_err(|error| unreadable("a delivery's headers", &error))?;
    Ok(Delivery { id, sender: row.get(0)?, received_at, headers, body: row.get(3)? })
}

/// Open incidents behind an id, oldest first.
pub(crate) fn open_incidents(
    connection: &Connection,
    after: Option<&IncidentId>,
    limit: usize,
) -> Result<Vec<IncidentId>, Fault> {
    let after = after.map_or("", IncidentId::as_str);
    incidents_by(connection, OPEN_INCIDENTS, params![after, rows(limit)])
}

/// Incidents before an id, newest first.
pub(crate) fn incidents(
    connection: &Connection,
    before: Option<&IncidentId>,
    limit: usize,
) -> Result<Vec<IncidentId>, Fault> {
    // An id is of capital letters and digits, so `~` sorts behind every one of them.
    let before = before.map_or("~", IncidentId::as_str);
    incidents_by(connection, INCIDENTS, params![before, rows(limit)])
}

fn incidents_by(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<IncidentId>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map(params, |row| row.get(0))?;
    ids.map(|id: Result<String, _>| id?.parse().map_err(|error| unreadable("an incident", &error)))
        .collect()
}

/// How many deliveries wait for their decision.
pub(crate) fn waiting(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached(WAITING)?.query_one([], |row| row.get(0))?)
}

/// How far a reader has come.
pub(crate) fn cursor(connection: &Connection, reader: &str) -> Result<Seq, Fault> {
    let mut statement = connection.prepare_cached(CURSOR)?;
    let at = statement.query_one([reader], |row| row.get(0)).optional()?;
    Ok(at.map_or(Seq::START, place))
}

/// What a reader noted.
pub(crate) fn memo(
    connection: &Connection,
    reader: &str,
    key: &str,
) -> Result<Option<String>, Fault> {
    let mut statement = connection.prepare_cached(MEMO)?;
    Ok(statement.query_one([reader, key], |row| row.get(0)).optional()?)
}

fn unreadable(what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::Unreadable(format!("{what} that it keeps cannot be read back: {error}"))
}

/// A limit as SQLite takes it.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const READ: &str = "SELECT seq, text, prev, hash FROM entry WHERE seq > ?1 ORDER BY seq LIMIT ?2";
const READ_INCIDENT: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE incident = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2";
const READ_ALARM: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE alarm = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2";
const READ_LEDGER: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE ledger = 1 AND seq > ?1 ORDER BY seq LIMIT ?2";
const READ_ARCHIVE: &str = "SELECT entry.seq, text, prev, hash \
    FROM segment JOIN entry ON entry.seq = segment.record \
    WHERE segment.record > ?1 ORDER BY segment.record LIMIT ?2";
const LATEST: &str = "SELECT seq, text, prev, hash FROM entry ORDER BY seq DESC LIMIT ?1";
const LATEST_INCIDENT: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE incident = ?2 ORDER BY seq DESC LIMIT ?1";
const LATEST_ALARM: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE alarm = ?2 ORDER BY seq DESC LIMIT ?1";
const LATEST_LEDGER: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE ledger = 1 ORDER BY seq DESC LIMIT ?1";
const LATEST_ARCHIVE: &str = "SELECT entry.seq, text, prev, hash \
    FROM segment JOIN entry ON entry.seq = segment.record ORDER BY segment.record DESC LIMIT ?1";
const PENDING: &str = "SELECT source, message FROM pending JOIN delivery USING (seq) \
    ORDER BY pending.seq LIMIT ?1";
const TO_DECIDE: &str = "SELECT sender, received_at, headers, body, source, message \
    FROM pending JOIN delivery USING (seq) ORDER BY pending.seq LIMIT ?1";
const WAITING: &str = "SELECT count(*) FROM pending";
const DELIVERY: &str = "SELECT sender, received_at, headers, body FROM delivery \
    WHERE source = ?1 AND message = ?2";
const OPEN_INCIDENTS: &str = "SELECT id FROM incident WHERE closed_seq IS NULL AND id > ?1 \
    ORDER BY id LIMIT ?2";
const INCIDENTS: &str = "SELECT id FROM incident WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
const CURSOR: &str = "SELECT at FROM reader WHERE name = ?1";
const MEMO: &str = "SELECT value FROM memo WHERE reader = ?1 AND key = ?2";

/// Every statement that is run again and again on a table that only grows: each must find its rows
/// by an index, and in order.
#[cfg(test)]
pub(crate) const INDEXED: &[&str] = &[
    READ,
    READ_INCIDENT,
    READ_ALARM,
    READ_LEDGER,
    LATEST_INCIDENT,
    LATEST_ALARM,
    LATEST_LEDGER,
    READ_ARCHIVE,
    DELIVERY,
    OPEN_INCIDENTS,
    INCIDENTS,
    CURSOR,
    MEMO,
];
