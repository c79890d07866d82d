//! Deliveries alone, which is most of what is written: one statement for a group of them.
//!
//! It moves the end of the chain from where the group was chained to, and writes nothing when the end
//! is elsewhere. So nothing has to be read before: the end is known from the last group, and a
//! delivery that was kept before is refused by its index. Where either fails, the group is judged
//! as any other is (see [`rows::begin`](super::rows::begin)).
//!
//! It is safe to be sent without the lock, and to arrive late: whoever has written meanwhile has moved
//! the end.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use untoil_model::{Hash, Seq};

use super::fault::Fault;
use super::group::{Job, Judge, RECEIVED, column};
use super::migrate::known;
use super::nul;
use super::rows::kept;
use super::sharing::Member;

/// Where a group is chained to.
pub(crate) type End = (Seq, Hash);

/// Writes what was judged, all of them deliveries, behind `from`; false when the end is elsewhere, or
/// the schema is for newer programs: nothing was written then. It waits for who holds the end.
pub(crate) async fn keep(
    (client, statement): (&Client, &Statement),
    me: &Member,
    from: End,
    judge: &Judge,
    jobs: &[Job],
) -> Result<bool, Fault> {
    let rows: Vec<_> =
        kept(jobs).zip(&judge.entries).map(|((_, row), entry)| (row, entry)).collect();
    let seqs: Vec<i64> = rows.iter().map(|row| row.1.seq).collect();
    let ats: Vec<i64> = rows.iter().map(|row| row.1.at).collect();
    let texts: Vec<&str> = rows.iter().map(|row| row.1.text.as_str()).collect();
    let prevs: Vec<&[u8]> = rows.iter().map(|row| row.1.prev.as_bytes().as_slice()).collect();
    let hashes: Vec<&[u8]> = rows.iter().map(|row| row.1.hash.as_bytes().as_slice()).collect();
    let sources: Vec<&str> = rows.iter().map(|row| row.0.key.0.as_str()).collect();
    let messages: Vec<&str> = rows.iter().map(|row| row.0.key.1.as_str()).collect();
    let senders: Vec<_> = rows.iter().map(|row| nul::kept(&row.0.delivery.sender)).collect();
    let bodies: Vec<&[u8]> = rows.iter().map(|row| &row.0.delivery.body[..]).collect();
    let headers: Vec<&str> = rows.iter().map(|row| row.0.headers.as_str()).collect();
    let (seq, hash) = judge.end;
    let (to, to_hash) = (column(seq), hash.as_bytes().as_slice());
    let (at, at_hash) = (column(from.0), from.1.as_bytes().as_slice());
    let knows = known();
    let values: [&(dyn ToSql + Sync); 19] = [
        &to,
        &to_hash,
        &at,
        &at_hash,
        &knows,
        &seqs,
        &ats,
        &RECEIVED,
        &texts,
        &prevs,
        &hashes,
        &me.number,
        &sources,
        &messages,
        &senders,
        &bodies,
        &headers,
        &me.name,
        &me.version,
    ];
    Ok(!client.query(statement, &values).await?.is_empty())
}

/// What is behind `moved` happens only when it has found the end, and after it: so `instance` is looked
/// at under the lock. An instance that was away for so long that its row was cleaned up, and still
/// writes, must be found to be gone by others.
pub(crate) const KEEP_RECEIVED: &str = "WITH moved AS (UPDATE head SET seq = $1, hash = $2 \
    WHERE id = 1 AND seq = $3 AND hash = $4 AND oldest <= $5 RETURNING 1), \
    there AS (INSERT INTO instance (number, name, version, since, until) \
    SELECT $12, $18, $19, clock_timestamp(), clock_timestamp() FROM moved \
    ON CONFLICT (number) DO NOTHING), \
    deliveries AS (INSERT INTO delivery \
    (seq, source, message, sender, received_at, body, headers) \
    SELECT unnest($6::bigint[]), unnest($13::text[]), unnest($14::text[]), unnest($15::text[]), \
    unnest($7::bigint[]), unnest($16::bytea[]), unnest($17::text[]) FROM moved), \
    waiting AS (INSERT INTO pending (seq, receiver) \
    SELECT unnest($6::bigint[]), $12::bigint FROM moved), \
    entries AS (INSERT INTO entry (seq, at, kind, ledger, text, prev, hash, writer) \
    SELECT unnest($6::bigint[]), unnest($7::bigint[]), $8, false, unnest($9::text[]), \
    unnest($10::bytea[]), unnest($11::bytea[]), $12 FROM moved) \
    SELECT 1 FROM moved";
