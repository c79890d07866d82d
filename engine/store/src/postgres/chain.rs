//! The end of the chain: the one `head` row, locked before a group is judged, and given up with its commit.
//!
//! What is the same each time is one message and not three: each is answered by a packet of its own,
//! which wakes somebody here, and all other writers wait meanwhile. So the statements that go with
//! `BEGIN` and `COMMIT` are prepared in SQL, to be run by their names.

use std::pin::pin;

use futures::StreamExt as _;
use tokio_postgres::{Client, SimpleQueryMessage};
use untoil_model::{Hash, Seq};

use super::fault::Fault;
use super::group::{column, place};
use super::migrate;
use super::receives::End;
use super::sharing::Member;

/// How a group's commit comes to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The commit waits for it, with the `head` row's lock.
    Synced,
    /// Others want the lock: it is given up before, and a [sync] follows. What was committed
    /// can be read meanwhile; nobody is told of it.
    Behind,
}

/// How writing and committing ended otherwise than well.
pub(crate) enum Unsettled {
    /// The server says that nothing of it was written.
    Refused(Fault),
    /// Nobody knows.
    Lost(Fault),
}

/// Prepares on a connection what is run by its name.
pub(crate) async fn prepare(client: &Client) -> Result<(), Fault> {
    let lock = format!("PREPARE untoil_lock AS {LOCK_HEAD}");
    let sync = format!("PREPARE untoil_sync (bigint, bigint) AS {SYNC}");
    Ok(client.batch_execute(&format!("{lock}; {sync}")).await?)
}

/// Begins a transaction that is to end in this way, and locks the end of the chain; says where it is.
pub(crate) async fn lock(client: &Client, ending: Ending) -> Result<End, Fault> {
    let sql = match ending {
        Ending::Synced => LOCK,
        Ending::Behind => LOCK_BEHIND,
    };
    let answers = client.simple_query(sql).await?;
    let row = answers.iter().find_map(|answer| {
        let SimpleQueryMessage::Row(row) = answer else { return None };
        Some(row)
    });
    let row = row.ok_or_else(|| Fault::Refused("the end of its chain is missing".into()))?;
    let bad = || Fault::Refused("the end of its chain cannot be read".into());
    let number = |column| row.get(column).and_then(|text| text.parse::<i64>().ok()).ok_or_else(bad);
    migrate::check_running(number(2)?)?;
    let hash = row.get(1).and_then(|text| text.parse().ok()).ok_or_else(bad)?;
    Ok((place(number(0)?), hash))
}

/// Sends the commit behind what is written, without waiting for it; waits until the disk has it.
///
/// Where a statement fails the server makes a rollback of the commit, so what it has refused was not
/// written; but a connection that is lost in the middle of writing may have committed. What was
/// committed and is not known to be on the disk is lost, too, until it is looked for.
pub(crate) async fn committed(
    client: &Client,
    me: &Member,
    (end, ending): (Seq, Ending),
    write: impl Future<Output = Result<(), Fault>>,
) -> Result<(), Unsettled> {
    let write = async { write.await.map_err(unsettled) };
    let sql = match ending {
        Ending::Synced => "COMMIT".to_owned(),
        Ending::Behind => {
            format!("COMMIT; EXECUTE untoil_sync ({}, {})", me.number, column(end))
        }
    };
    // `biased`: they are sent, and answered, in this order.
    tokio::try_join!(biased; write, commit(client, &sql))?;
    Ok(())
}

async fn commit(client: &Client, sql: &str) -> Result<(), Unsettled> {
    let lost = |error| Unsettled::Lost(Fault::from(error));
    let mut answers = pin!(client.simple_query_raw(sql).await.map_err(lost)?);
    let mut is_committed = false;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(SimpleQueryMessage::CommandComplete(_)) => is_committed = true,
            Ok(_) => {}
            // It is written, and only what was to follow went wrong.
            Err(error) if is_committed => return Err(lost(error)),
            Err(error) => {
                return Err(match Fault::from(error) {
                    // The server says that it rolled back.
                    fault @ Fault::Again(_) => Unsettled::Refused(fault),
                    fault @ (Fault::Unreachable(_)
                    | Fault::Lost(_)
                    | Fault::OfOne(_)
                    | Fault::Refused(_)
                    | Fault::Broken(_)) => Unsettled::Lost(fault),
                });
            }
        }
    }
    Ok(())
}

/// What a statement's failure says of what it was to write.
pub(crate) fn unsettled(fault: Fault) -> Unsettled {
    match fault {
        Fault::Again(_) | Fault::OfOne(_) | Fault::Refused(_) => Unsettled::Refused(fault),
        Fault::Unreachable(_) | Fault::Lost(_) | Fault::Broken(_) => Unsettled::Lost(fault),
    }
}

/// Brings to the disk everything that anybody has committed and that this connection could see when it
/// began: a commit of its own, of a row that nobody else changes, that waits as the server is set to.
/// The server's log is one sequence, so what stands before that commit is there when it is; that holds
/// for synchronous standbys, too.
///
/// It is for an instance's connections but the one that writes, whose row is another: that one waits for none of them.
pub(crate) async fn sync(
    client: &Client,
    sql: &(impl tokio_postgres::ToStatement + ?Sized),
    me: &Member,
    seq: Seq,
) -> Result<(), Fault> {
    client.execute(sql, &[&-me.number, &column(seq)]).await?;
    Ok(())
}

/// Whether the chain has our entry in its place, durably. Waits for whoever holds the end of the chain.
pub(crate) async fn has(
    client: &Client,
    me: &Member,
    (seq, ours): (Seq, Hash),
) -> Result<bool, Fault> {
    client.batch_execute(BEGIN).await?;
    client.query_one(LOCK_HEAD, &[]).await?;
    let row = client.query_opt(HASH_AT, &[&column(seq)]).await?;
    // It may have been committed ahead of the disk.
    sync(client, SYNC, me, seq).await?;
    client.batch_execute("COMMIT").await?;
    row.map_or(Ok(false), |row| Ok(hash(row.get(0))? == ours))
}

/// A hash as it is kept.
pub(crate) fn hash(bytes: &[u8]) -> Result<Hash, Fault> {
    let bytes: [u8; 32] = bytes
        .try_into()
        .map_err(|_| Fault::Refused("a hash that it keeps has a wrong length".into()))?;
    Ok(Hash::from_bytes(bytes))
}

pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
pub(crate) const LOCK_HEAD: &str =
    "SELECT seq, encode(hash, 'hex'), oldest FROM head WHERE id = 1 FOR UPDATE";
const LOCK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; EXECUTE untoil_lock";
const LOCK_BEHIND: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
    SET LOCAL synchronous_commit = off; EXECUTE untoil_lock";
/// Has this transaction's commit not wait for the disk.
pub(crate) const BEHIND: &str = "SET LOCAL synchronous_commit = off";
pub(crate) const SYNC: &str = "INSERT INTO synced (instance, seq) VALUES ($1, $2) \
    ON CONFLICT (instance) DO UPDATE SET seq = greatest(synced.seq, excluded.seq)";
const HASH_AT: &str = "SELECT hash FROM entry WHERE seq = $1";
