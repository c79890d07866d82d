//! What a group's transaction reads and writes: a few statements, however large the group.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{BoxFuture, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use untoil_journal::Receipt;
use untoil_model::{Seq, Stream};

use super::chain::{self, Ending};
use super::fault::Fault;
use super::group::{Arriving, Job, Judge, Known, Questions, column, place};
use super::nul;
use super::receives::KEEP_RECEIVED;
use super::sharing::{self, Member};

/// The statements of a writing connection, prepared once.
pub(crate) struct Statements(BTreeMap<&'static str, Statement>);

impl Statements {
    pub(crate) async fn prepare(client: &Client) -> Result<Self, Fault> {
        chain::prepare(client).await?;
        let mut prepared = BTreeMap::new();
        for sql in ALL {
            prepared.insert(*sql, client.prepare(sql).await?);
        }
        Ok(Self(prepared))
    }

    pub(crate) fn get(&self, sql: &'static str) -> &Statement {
        self.0.get(sql).expect("every statement is in `ALL`")
    }
}

/// Begins a transaction, locks the end of the chain and reads what the group asks about: one round
/// trip, and one for each request about who holds what. Each statement sees what was committed
/// before it began, so those behind the lock see all that was written under it.
///
/// That is the fence, too. Who holds an incident changes only under this lock, in a transaction that
/// has committed before the next one gets it. A group of who held it before is either ahead of that
/// change, then its entries are read by who adopts; or behind it, then it finds that it is no longer
/// the holder and writes nothing. No lease and no clock has a part in it.
pub(crate) async fn begin(
    (client, statements): (&Client, &Statements),
    me: &Member,
    jobs: &mut [Job],
    ending: Ending,
) -> Result<Judge, Fault> {
    // In every group, however well it is heard: by whose clock a row was removed does not matter then.
    let there = async {
        let me: [&(dyn ToSql + Sync); 3] = [&me.number, &me.name, &me.version];
        Ok(client.execute(statements.get(BE_THERE), &me).await?)
    };
    // `biased`: they are sent in this order.
    let locked = async { tokio::try_join!(biased; chain::lock(client, ending), there) };
    let questions = Questions::of(jobs);
    let ((end, _), known) = if jobs.iter().any(Job::is_about_sharing) {
        let locked = locked.await?;
        for job in &mut *jobs {
            sharing::settle(client, me, job).await?;
        }
        (locked, Box::pin(read(client, statements, me, &questions)).await?)
    } else {
        let read = Box::pin(read(client, statements, me, &questions));
        tokio::try_join!(biased; locked, read)?
    };
    Ok(Judge::new(end, known))
}

/// Reads what a group asks about.
async fn read(
    client: &Client,
    statements: &Statements,
    me: &Member,
    questions: &Questions,
) -> Result<Known, Fault> {
    let (sources, messages): (Vec<&str>, Vec<&str>) =
        questions.deliveries.iter().map(|(source, message)| (&**source, &**message)).unzip();
    let mut incidents = Vec::new();
    let mut alarms = Vec::new();
    for stream in &questions.streams {
        match stream {
            Stream::Incident(id) => incidents.push(id.as_str()),
            Stream::Alarm(key) => alarms.push(key.as_str()),
            Stream::All | Stream::Ledger | Stream::Archive => {}
        }
    }
    let asks_ledger = questions.streams.contains(&Stream::Ledger);
    let asks_archive = questions.streams.contains(&Stream::Archive);
    let kept = async {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        client.query(statements.get(KEPT), &[&sources, &messages]).await
    };
    let of_incidents = ends(client, statements.get(INCIDENT_ENDS), &incidents);
    let of_alarms = ends(client, statements.get(ALARM_ENDS), &alarms);
    let of_ledger = async {
        if !asks_ledger {
            return Ok(None);
        }
        client.query_one(statements.get(LEDGER_END), &[]).await.map(Some)
    };
    let of_archive = async {
        if !asks_archive {
            return Ok(None);
        }
        client.query_one(statements.get(ARCHIVE_END), &[]).await.map(Some)
    };
    let held = held(client, statements.get(HELD), me, &questions.holding);
    let taken = taken(client, statements.get(HOLDERS), me, &questions.readers);
    let (kept, of_incidents, of_alarms, of_ledger, of_archive, held, taken) = tokio::try_join!(
        biased; kept, of_incidents, of_alarms, of_ledger, of_archive, held, taken
    )?;
    let mut known = Known { held, taken, ..Known::default() };
    for row in kept {
        let seq = row.get(2);
        known.kept.insert((row.get(0), row.get(1)), seq);
        if row.get(3) {
            known.waiting.insert(seq);
        }
    }
    for stream in &questions.streams {
        let end = match stream {
            Stream::All => None,
            Stream::Incident(id) => of_incidents.get(id.as_str()).copied(),
            Stream::Alarm(key) => of_alarms.get(key.as_str()).copied(),
            Stream::Ledger => of_ledger.as_ref().and_then(|row| row.get::<_, Option<i64>>(0)),
            Stream::Archive => of_archive.as_ref().and_then(|row| row.get::<_, Option<i64>>(0)),
        };
        known.ends.insert(stream.clone(), end.map_or(Seq::START, place));
    }
    Ok(known)
}

/// Those of `incidents` that this instance holds.
async fn held(
    client: &Client,
    statement: &Statement,
    me: &Member,
    incidents: &BTreeSet<String>,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    if incidents.is_empty() {
        return Ok(BTreeSet::new());
    }
    let incidents: Vec<&str> = incidents.iter().map(String::as_str).collect();
    let rows = client.query(statement, &[&incidents, &me.number]).await?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

/// Those of `readers` whose cursors this instance may not move.
///
/// Who has had a reader's post moves its cursor only while it has it: another may have had it since,
/// and gone, and what this one notes may be older than what that one did. Who never had it moves the
/// cursor unless somebody living has it: so readers without a post move, and those out of service are
/// moved on.
async fn taken(
    client: &Client,
    statement: &Statement,
    me: &Member,
    readers: &BTreeSet<String>,
) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    if readers.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names: Vec<&str> = readers.iter().map(String::as_str).collect();
    let rows = client.query(statement, &[&names, &me.number]).await?;
    let holders: BTreeMap<&str, (bool, bool)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    let is_taken = |reader: &&String| match holders.get(reader.as_str()) {
        Some((true, _)) => false,
        Some((false, lives)) => *lives || me.has_had(reader),
        None => me.has_had(reader),
    };
    Ok(readers.iter().filter(is_taken).cloned().collect())
}

async fn ends(
    client: &Client,
    statement: &Statement,
    keys: &[&str],
) -> Result<BTreeMap<String, i64>, tokio_postgres::Error> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = client.query(statement, &[&keys]).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.get(0), row.get::<_, Option<i64>>(1)?)))
        .collect())
}

/// Sends a statement with its columns, each an array of the rows' values.
type Sent<'a> = BoxFuture<'a, Result<u64, tokio_postgres::Error>>;

fn send<'a>(
    client: &'a Client,
    statement: &'a Statement,
    columns: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
) -> Sent<'a> {
    Box::pin(async move {
        let columns: Vec<&(dyn ToSql + Sync)> =
            columns.iter().map(|column| &**column as &(dyn ToSql + Sync)).collect();
        client.execute(statement, &columns).await
    })
}

/// One column of rows.
fn of<'a, R, T>(rows: &'a [R], pick: impl Fn(&'a R) -> T) -> Box<dyn ToSql + Sync + Send + 'a>
where
    T: ToSql + Sync + Send + 'a,
{
    Box::new(rows.iter().map(pick).collect::<Vec<T>>())
}

/// Writes what was judged, behind what is set `before`: one round trip.
pub(crate) async fn write(
    (client, statements): (&Client, &Statements),
    me: &Member,
    judge: &Judge,
    jobs: &[Job],
    before: Option<&'static str>,
) -> Result<(), Fault> {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    let mut put = |sql, columns| sent.push(send(client, statements.get(sql), columns));
    entries(judge, me, &mut put);
    deliveries(jobs, &mut put);
    let pending: Vec<i64> = judge.pending.iter().copied().collect();
    if !pending.is_empty() {
        put(KEEP_PENDING, vec![Box::new(pending), Box::new(me.number)]);
    }
    let decided: Vec<i64> = judge.decided.iter().copied().collect();
    if !decided.is_empty() {
        put(DECIDE, vec![Box::new(decided)]);
    }
    incidents(judge, me, &mut put);
    steps(judge, &mut put);
    let before = async {
        match before {
            Some(sql) => client.batch_execute(sql).await,
            None => Ok(()),
        }
    };
    tokio::try_join!(biased; before, try_join_all(sent))?;
    Ok(())
}

/// Takes one statement with its columns.
type Put<'a, 'b> = &'b mut dyn FnMut(&'static str, Vec<Box<dyn ToSql + Sync + Send + 'a>>);

fn entries<'a>(judge: &'a Judge, me: &'a Member, put: Put<'a, '_>) {
    let rows = judge.entries.as_slice();
    if rows.is_empty() {
        return;
    }
    let columns = vec![
        of(rows, |row| row.seq),
        of(rows, |row| row.at),
        of(rows, |row| row.kind),
        of(rows, |row| row.incident.as_deref()),
        of(rows, |row| row.alarm.as_deref()),
        of(rows, |row| row.is_ledger),
        of(rows, |row| row.text.as_str()),
        of(rows, |row| row.prev.as_bytes().as_slice()),
        of(rows, |row| row.hash.as_bytes().as_slice()),
        Box::new(me.number),
    ];
    put(KEEP_ENTRIES, columns);
    let (seq, hash) = judge.end;
    if !judge.segments.is_empty() {
        let segments = judge.segments.as_slice();
        put(KEEP_SEGMENTS, vec![of(segments, |row| row.0), of(segments, |row| row.1)]);
    }
    put(MOVE_HEAD, vec![Box::new(column(seq)), Box::new(hash.as_bytes().to_vec())]);
}

fn deliveries<'a>(jobs: &'a [Job], put: Put<'a, '_>) {
    let rows: Vec<(Seq, &Arriving)> = kept(jobs).collect();
    if rows.is_empty() {
        return;
    }
    let columns: Vec<Box<dyn ToSql + Sync + Send + 'a>> = vec![
        Box::new(rows.iter().map(|row| column(row.0)).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| row.1.key.0.as_str()).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| row.1.key.1.as_str()).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| nul::kept(&row.1.delivery.sender)).collect::<Vec<_>>()),
        Box::new(
            rows.iter().map(|row| row.1.delivery.received_at.as_microsecond()).collect::<Vec<_>>(),
        ),
        Box::new(rows.iter().map(|row| &row.1.delivery.body[..]).collect::<Vec<_>>()),
        Box::new(rows.iter().map(|row| row.1.headers.as_str()).collect::<Vec<_>>()),
    ];
    put(KEEP_DELIVERIES, columns);
}

/// The deliveries that were judged new, with their places.
pub(crate) fn kept(jobs: &[Job]) -> impl Iterator<Item = (Seq, &Arriving)> {
    jobs.iter().filter_map(|job| match job {
        Job::Receive { delivery, outcome: Some(Receipt::Stored(seq)), .. } => {
            Some((*seq, &**delivery))
        }
        Job::Receive { .. } | Job::Append { .. } | Job::Advance { .. } => None,
        Job::Adopt { .. } | Job::Take { .. } | Job::Leave { .. } => None,
    })
}

fn incidents<'a>(judge: &'a Judge, me: &Member, put: Put<'a, '_>) {
    let mut opened = Vec::new();
    let mut closed = Vec::new();
    for (id, change) in &judge.incidents {
        match (&change.opened, change.closed) {
            (Some((alarm, seq)), ended) => opened.push((id.as_str(), alarm.as_str(), *seq, ended)),
            (None, Some(seq)) => closed.push((id.as_str(), seq)),
            (None, None) => {}
        }
    }
    if !opened.is_empty() {
        let columns: Vec<Box<dyn ToSql + Sync + Send + 'a>> = vec![
            Box::new(opened.iter().map(|row| row.0).collect::<Vec<_>>()),
            Box::new(opened.iter().map(|row| row.1).collect::<Vec<_>>()),
            Box::new(opened.iter().map(|row| row.2).collect::<Vec<_>>()),
            Box::new(opened.iter().map(|row| row.3).collect::<Vec<_>>()),
            Box::new(me.number),
        ];
        put(OPEN_INCIDENTS, columns);
    }
    if !closed.is_empty() {
        let (ids, seqs): (Vec<&str>, Vec<i64>) = closed.into_iter().unzip();
        put(CLOSE_INCIDENTS, vec![Box::new(ids), Box::new(seqs)]);
    }
}

fn steps<'a>(judge: &'a Judge, put: Put<'a, '_>) {
    if !judge.readers.is_empty() {
        let names: Vec<&str> = judge.readers.keys().map(String::as_str).collect();
        let places: Vec<i64> = judge.readers.values().copied().collect();
        put(ADVANCE, vec![Box::new(names), Box::new(places)]);
    }
    let mut kept = (Vec::new(), Vec::new(), Vec::new());
    let mut dropped = (Vec::new(), Vec::new());
    for ((reader, key), value) in &judge.memos {
        match value {
            Some(value) => {
                kept.0.push(reader.as_str());
                kept.1.push(key.as_str());
                kept.2.push(value.as_str());
            }
            None => {
                dropped.0.push(reader.as_str());
                dropped.1.push(key.as_str());
            }
        }
    }
    if !kept.0.is_empty() {
        put(KEEP_MEMOS, vec![Box::new(kept.0), Box::new(kept.1), Box::new(kept.2)]);
    }
    if !dropped.0.is_empty() {
        put(DROP_MEMOS, vec![Box::new(dropped.0), Box::new(dropped.1)]);
    }
}

/// An instance that was away for so long that its row was cleaned up, and still writes: others must
/// be able to tell that it is gone.
const BE_THERE: &str = "INSERT INTO instance (number, name, version, since, until) \
    VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp()) ON CONFLICT (number) DO NOTHING";
/// One probe of an index for each, whatever the statistics say: `LIMIT` keeps it from becoming a join.
const KEPT: &str = "SELECT k.source, k.message, d.seq, \
    EXISTS (SELECT 1 FROM pending p WHERE p.seq = d.seq) \
    FROM unnest($1::text[], $2::text[]) AS k (source, message) CROSS JOIN LATERAL \
    (SELECT seq FROM delivery WHERE source = k.source AND message = k.message LIMIT 1) AS d";
const HELD: &str = "SELECT id FROM incident WHERE id = ANY($1::text[]) AND holder = $2";
/// Who has posts: whether it is this instance, and whether it lives.
const HOLDERS: &str = "SELECT post.name, holder = $2, coalesce(until > clock_timestamp(), false) \
    FROM post LEFT JOIN instance ON number = holder WHERE post.name = ANY($1::text[])";
const INCIDENT_ENDS: &str = "SELECT k, (SELECT max(seq) FROM entry WHERE incident = k) \
    FROM unnest($1::text[]) AS k";
const ALARM_ENDS: &str = "SELECT k, (SELECT max(seq) FROM entry WHERE alarm = k) \
    FROM unnest($1::text[]) AS k";
const LEDGER_END: &str = "SELECT max(seq) FROM entry WHERE ledger";
const ARCHIVE_END: &str = "SELECT max(record) FROM segment";
const KEEP_SEGMENTS: &str = "INSERT INTO segment (record, last) \
    SELECT * FROM unnest($1::bigint[], $2::bigint[])";
/// `unnest` in the list, here and below: the server makes no second copy of bodies and texts then.
const KEEP_ENTRIES: &str = "INSERT INTO entry \
    (seq, at, kind, incident, alarm, ledger, text, prev, hash, writer) \
    SELECT unnest($1::bigint[]), unnest($2::bigint[]), unnest($3::text[]), unnest($4::text[]), \
    unnest($5::text[]), unnest($6::boolean[]), unnest($7::text[]), unnest($8::bytea[]), \
    unnest($9::bytea[]), $10::bigint";
const MOVE_HEAD: &str = "UPDATE head SET seq = $1, hash = $2 WHERE id = 1";
const KEEP_DELIVERIES: &str = "INSERT INTO delivery \
    (seq, source, message, sender, received_at, body, headers) \
    SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::text[]), unnest($4::text[]), \
    unnest($5::bigint[]), unnest($6::bytea[]), unnest($7::text[])";
const KEEP_PENDING: &str = "INSERT INTO pending (seq, receiver) \
    SELECT unnest($1::bigint[]), $2::bigint";
const DECIDE: &str = "DELETE FROM pending WHERE seq = ANY($1::bigint[])";
const OPEN_INCIDENTS: &str = "INSERT INTO incident (id, alarm, opened_seq, closed_seq, holder) \
    SELECT k.*, $5 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS k \
    ON CONFLICT (id) DO UPDATE SET closed_seq = excluded.closed_seq, holder = excluded.holder";
const CLOSE_INCIDENTS: &str = "UPDATE incident SET closed_seq = k.seq \
    FROM unnest($1::text[], $2::bigint[]) AS k (id, seq) WHERE incident.id = k.id";
const ADVANCE: &str = "INSERT INTO reader (name, at) \
    SELECT * FROM unnest($1::text[], $2::bigint[]) \
    ON CONFLICT (name) DO UPDATE SET at = greatest(reader.at, excluded.at)";
const KEEP_MEMOS: &str = "INSERT INTO memo (reader, key, value) \
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) \
    ON CONFLICT (reader, key) DO UPDATE SET value = excluded.value";
const DROP_MEMOS: &str = "DELETE FROM memo USING unnest($1::text[], $2::text[]) AS k (reader, key) \
    WHERE memo.reader = k.reader AND memo.key = k.key";

/// All that a writing connection prepares.
const ALL: &[&str] = &[
    BE_THERE,
    KEPT,
    HELD,
    HOLDERS,
    INCIDENT_ENDS,
    ALARM_ENDS,
    LEDGER_END,
    ARCHIVE_END,
    KEEP_SEGMENTS,
    KEEP_ENTRIES,
    MOVE_HEAD,
    KEEP_RECEIVED,
    KEEP_DELIVERIES,
    KEEP_PENDING,
    DECIDE,
    OPEN_INCIDENTS,
    CLOSE_INCIDENTS,
    ADVANCE,
    KEEP_MEMOS,
    DROP_MEMOS,
];
