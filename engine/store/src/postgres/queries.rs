//! What is read, each on a connection of the pool.

use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use untoil_journal::{DECIDED_TOGETHER_BYTES, RawEntry};
use untoil_model::{Broken, Delivery, DeliveryId, Entry, Hash, IncidentId, Seq, Stream};

use super::chain::hash;
use super::fault::Fault;
use super::group::{column, place};
use super::nul;

/// A connection of the pool.
pub(crate) type Reader = deadpool_postgres::Client;

pub(crate) async fn rows(
    reader: &Reader,
    sql: &str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Fault> {
    let statement = reader.prepare_cached(sql).await?;
    Ok(reader.query(&statement, values).await?)
}

/// Whether the server takes no writes: it is a standby, or set so.
pub(crate) async fn is_read_only(reader: &Reader) -> Result<bool, Fault> {
    let found = rows(reader, IS_READ_ONLY, &[]).await?;
    Ok(found.first().is_some_and(|row| row.get(0)))
}

/// Entries of a stream behind a place, oldest first.
pub(crate) async fn read(
    reader: &Reader,
    stream: &Stream,
    after: Seq,
    limit: usize,
) -> Result<Vec<Entry>, Fault> {
    let (after, limit) = (column(after), most(limit));
    let found = match stream {
        Stream::All => rows(reader, READ, &[&after, &limit]).await,
        Stream::Incident(id) => rows(reader, READ_INCIDENT, &[&after, &limit, &id.as_str()]).await,
        Stream::Alarm(key) => rows(reader, READ_ALARM, &[&after, &limit, &key.as_str()]).await,
        Stream::Ledger => rows(reader, READ_LEDGER, &[&after, &limit]).await,
        Stream::Archive => rows(reader, READ_ARCHIVE, &[&after, &limit]).await,
    };
    entries(&found?)
}

/// The newest entries of a stream, newest first.
pub(crate) async fn latest(
    reader: &Reader,
    stream: &Stream,
    limit: usize,
) -> Result<Vec<Entry>, Fault> {
    let limit = most(limit);
    let found = match stream {
        Stream::All => rows(reader, LATEST, &[&limit]).await,
        Stream::Incident(id) => rows(reader, LATEST_INCIDENT, &[&limit, &id.as_str()]).await,
        Stream::Alarm(key) => rows(reader, LATEST_ALARM, &[&limit, &key.as_str()]).await,
        Stream::Ledger => rows(reader, LATEST_LEDGER, &[&limit]).await,
        Stream::Archive => rows(reader, LATEST_ARCHIVE, &[&limit]).await,
    };
    entries(&found?)
}

/// [`latest`] of several streams, in their order: one query.
pub(crate) async fn latest_each(
    reader: &Reader,
    streams: &[Stream],
    limit: usize,
) -> Result<Vec<Vec<Entry>>, Fault> {
    let (kinds, keys): (Vec<&str>, Vec<&str>) = streams
        .iter()
        .map(|stream| match stream {
            Stream::All => ("all", ""),
            Stream::Incident(id) => ("incident", id.as_str()),
            Stream::Alarm(key) => ("alarm", key.as_str()),
            Stream::Ledger => ("ledger", ""),
            Stream::Archive => ("archive", ""),
        })
        .unzip();
    let found = rows(reader, LATEST_EACH, &[&kinds, &keys, &most(limit)]).await?;
    let mut each = vec![Vec::new(); streams.len()];
    for row in &found {
        // Counted from 1.
        let number = usize::try_from(row.get::<_, i64>(4) - 1).unwrap_or(usize::MAX);
        if let Some(stream) = each.get_mut(number) {
            stream.push(opened(row)?);
        }
    }
    Ok(each)
}

fn entries(found: &[Row]) -> Result<Vec<Entry>, Fault> {
    found.iter().map(opened).collect()
}

fn opened(row: &Row) -> Result<Entry, Fault> {
    let (seq, prev, hash) = sealed(row)?;
    Ok(Entry::open(seq, row.get(1), prev, hash)?)
}

/// Entries as they are kept.
pub(crate) async fn raw(reader: &Reader, after: Seq, limit: usize) -> Result<Vec<RawEntry>, Fault> {
    let found = rows(reader, READ, &[&column(after), &most(limit)]).await?;
    let open = |row: &Row| {
        let (seq, prev, hash) = sealed(row)?;
        Ok(RawEntry { seq, text: row.get(1), prev, hash })
    };
    found.iter().map(open).collect()
}

fn sealed(row: &Row) -> Result<(Seq, Hash, Hash), Fault> {
    Ok((place(row.get(0)), hash(row.get(2))?, hash(row.get(3))?))
}

/// Deliveries that wait for their decision.
pub(crate) async fn pending(reader: &Reader, limit: usize) -> Result<Vec<DeliveryId>, Fault> {
    let found = rows(reader, PENDING, &[&most(limit)]).await?;
    found.iter().map(delivery_id).collect()
}

/// One delivery.
pub(crate) async fn delivery(reader: &Reader, id: &DeliveryId) -> Result<Option<Delivery>, Fault> {
    let message = nul::kept(&id.message);
    let found = rows(reader, DELIVERY, &[&id.source.as_str(), &message]).await?;
    found.first().map(delivered).transpose()
}

/// The oldest deliveries that `me` is to decide, as many as fit into [`DECIDED_TOGETHER_BYTES`].
pub(crate) async fn to_decide(
    reader: &Reader,
    me: i64,
    limit: usize,
) -> Result<Vec<Delivery>, Fault> {
    let fitting = most(DECIDED_TOGETHER_BYTES);
    let found = rows(reader, TO_DECIDE, &[&me, &most(limit), &fitting]).await?;
    found.iter().map(delivered).collect()
}

fn delivered(row: &Row) -> Result<Delivery, Fault> {
    let received_at = Timestamp::from_microsecond(row.get(3))
        .map_err(|error| unreadable("a delivery's time", &error))?;
    let headers = serde_json::from_str(row.get(4))
        .map_err(|error| unreadable("a delivery's headers", &error))?;
    let id = delivery_id(row)?;
    let sender = nul::told(row.get(2));
    Ok(Delivery { id, sender, received_at, headers, body: row.get(5) })
}

fn delivery_id(row: &Row) -> Result<DeliveryId, Fault> {
    let source: &str = row.get(0);
    let source = source.parse().map_err(|error| unreadable("a delivery", &error))?;
    Ok(DeliveryId { source, message: nul::told(row.get(1)) })
}

/// Open incidents behind one, oldest first.
pub(crate) async fn open_incidents(
    reader: &Reader,
    after: Option<&IncidentId>,
    limit: usize,
) -> Result<Vec<IncidentId>, Fault> {
    let after = after.map_or("", IncidentId::as_str);
    incidents_of(&rows(reader, OPEN_INCIDENTS, &[&after, &most(limit)]).await?)
}

/// Incidents before one, newest first.
pub(crate) async fn incidents(
    reader: &Reader,
    before: Option<&IncidentId>,
    limit: usize,
) -> Result<Vec<IncidentId>, Fault> {
    // An id is of capital letters and digits, so `~` sorts behind every one of them.
    let before = before.map_or("~", IncidentId::as_str);
    incidents_of(&rows(reader, INCIDENTS, &[&before, &most(limit)]).await?)
}

pub(crate) fn incidents_of(found: &[Row]) -> Result<Vec<IncidentId>, Fault> {
    let open = |row: &Row| {
        let id: &str = row.get(0);
        id.parse().map_err(|error| unreadable("an incident", &error))
    };
    found.iter().map(open).collect()
}

/// How far a reader has come.
pub(crate) async fn cursor(reader: &Reader, name: &str) -> Result<Seq, Fault> {
    let found = rows(reader, CURSOR, &[&nul::kept(name)]).await?;
    Ok(found.first().map_or(Seq::START, |row| place(row.get(0))))
}

/// What a reader noted.
pub(crate) async fn memo(reader: &Reader, name: &str, key: &str) -> Result<Option<String>, Fault> {
    let found = rows(reader, MEMO, &[&nul::kept(name), &nul::kept(key)]).await?;
    Ok(found.first().map(|row| nul::told(row.get(0))))
}

/// The end of the chain, checked: the last entry against the one before it, and the `head` row
/// against both.
pub(crate) async fn end_of_chain(reader: &Reader) -> Result<Seq, Fault> {
    let found = rows(reader, LAST_TWO, &[]).await?;
    let Some(head) = found.first() else {
        return Err(Fault::Refused("its `head` row is missing; restore the last backup".into()));
    };
    let (end, end_hash) = (place(head.get(0)), hash(head.get(1))?);
    let last = match head.get::<_, Option<i64>>(2) {
        None => (Seq::START, Hash::GENESIS),
        Some(seq) => {
            let before = match found.get(1) {
                Some(row) => (place(row.get(2)), hash(row.get(5))?),
                None => (Seq::START, Hash::GENESIS),
            };
            let kept = (hash(head.get(4))?, hash(head.get(5))?);
            match Entry::check(before, place(seq), head.get(3), kept) {
                Ok(entry) => (entry.seq, entry.hash),
                // Whole, though only a newer program can read it.
                Err(Broken::Newer { seq, .. }) => (seq, kept.1),
                Err(broken) => return Err(broken.into()),
            }
        }
    };
    if last != (end, end_hash) {
        let last = last.0;
        return Err(Fault::Refused(format!(
            "its `head` row says that entry {end} is the last, and entry {last} is; \
             stop, keep a copy, and restore the last backup"
        )));
    }
    Ok(end)
}

fn unreadable(what: &str, error: &dyn std::fmt::Display) -> Fault {
    Fault::Refused(format!("{what} that it keeps cannot be read back: {error}"))
}

/// A limit as the server takes it.
pub(crate) fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

const IS_READ_ONLY: &str = "SELECT current_setting('transaction_read_only') = 'on'";
const READ: &str = "SELECT seq, text, prev, hash FROM entry WHERE seq > $1 ORDER BY seq LIMIT $2";
const READ_INCIDENT: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE incident = $3 AND seq > $1 ORDER BY seq LIMIT $2";
const READ_ALARM: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE alarm = $3 AND seq > $1 ORDER BY seq LIMIT $2";
const READ_LEDGER: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE ledger AND seq > $1 ORDER BY seq LIMIT $2";
const READ_ARCHIVE: &str = "SELECT entry.seq, text, prev, hash \
    FROM segment JOIN entry ON entry.seq = segment.record \
    WHERE segment.record > $1 ORDER BY segment.record LIMIT $2";
const LATEST: &str = "SELECT seq, text, prev, hash FROM entry ORDER BY seq DESC LIMIT $1";
const LATEST_INCIDENT: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE incident = $2 ORDER BY seq DESC LIMIT $1";
const LATEST_ALARM: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE alarm = $2 ORDER BY seq DESC LIMIT $1";
const LATEST_LEDGER: &str = "SELECT seq, text, prev, hash FROM entry \
    WHERE ledger ORDER BY seq DESC LIMIT $1";
const LATEST_ARCHIVE: &str = "SELECT entry.seq, text, prev, hash \
    FROM segment JOIN entry ON entry.seq = segment.record ORDER BY segment.record DESC LIMIT $1";
const LATEST_EACH: &str = "SELECT e.seq, e.text, e.prev, e.hash, k.n \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (kind, key, n) CROSS JOIN LATERAL ( \
    (SELECT seq, text, prev, hash FROM entry WHERE k.kind = 'all' ORDER BY seq DESC LIMIT $3) \
    UNION ALL (SELECT seq, text, prev, hash FROM entry \
        WHERE k.kind = 'incident' AND incident = k.key ORDER BY seq DESC LIMIT $3) \
    UNION ALL (SELECT seq, text, prev, hash FROM entry \
        WHERE k.kind = 'alarm' AND alarm = k.key ORDER BY seq DESC LIMIT $3) \
    UNION ALL (SELECT seq, text, prev, hash FROM entry \
        WHERE k.kind = 'ledger' AND ledger ORDER BY seq DESC LIMIT $3) \
    UNION ALL (SELECT entry.seq, text, prev, hash FROM segment JOIN entry ON entry.seq = segment.record \
        WHERE k.kind = 'archive' ORDER BY segment.record DESC LIMIT $3)) AS e \
    ORDER BY k.n, e.seq DESC";
const PENDING: &str = "SELECT source, message FROM pending JOIN delivery USING (seq) \
    ORDER BY pending.seq LIMIT $1";
const DELIVERY: &str = "SELECT source, message, sender, received_at, headers, body FROM delivery \
    WHERE source = $1 AND message = $2";
/// The receivers that count are few, and of each the oldest are found by an index: what waits for
/// others is not looked at. A body's length is known without reading it.
const TO_DECIDE: &str = "WITH page AS (SELECT oldest.seq FROM instance \
    CROSS JOIN LATERAL (SELECT seq FROM pending WHERE receiver = instance.number \
        ORDER BY seq LIMIT $2) AS oldest \
    WHERE instance.number = $1 OR instance.until <= clock_timestamp() \
    ORDER BY oldest.seq LIMIT $2), \
    sized AS (SELECT seq, row_number() OVER w AS n, sum(octet_length(body)) OVER w AS bytes \
    FROM page JOIN delivery USING (seq) WINDOW w AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) \
    SELECT source, message, sender, received_at, headers, body \
    FROM sized JOIN delivery USING (seq) WHERE bytes <= $3 OR n = 1 ORDER BY seq";
const OPEN_INCIDENTS: &str = "SELECT id FROM incident WHERE closed_seq IS NULL AND id > $1 \
    ORDER BY id LIMIT $2";
const INCIDENTS: &str = "SELECT id FROM incident WHERE id < $1 ORDER BY id DESC LIMIT $2";
const CURSOR: &str = "SELECT at FROM reader WHERE name = $1";
const MEMO: &str = "SELECT value FROM memo WHERE reader = $1 AND key = $2";
/// One statement, so that both parts are of one moment.
const LAST_TWO: &str = "SELECT head.seq, head.hash, last.seq, last.text, last.prev, last.hash \
    FROM head LEFT JOIN (SELECT seq, text, prev, hash FROM entry ORDER BY seq DESC LIMIT 2) \
    AS last ON true ORDER BY last.seq DESC";
