//! The reference: an axum handler with nothing behind it, or with the same durable insert.
//!
//! The insert keeps what any durable intake must: the message's id, unique, and its body, committed by
//! one writing thread in groups with `synchronous=FULL` before 202 is answered. It authenticates nobody
//! and seals nothing. Its SQLite has the same page cache as untoil's.

use std::path::Path;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};

/// As in untoil's store.
pub(crate) const GROUP_MAX: usize = 256;
/// As in untoil's store.
pub(crate) const QUEUE_MAX: usize = 4_096;

pub(crate) type Insert = (String, Bytes, oneshot::Sender<()>);

/// Answers at once.
pub(crate) fn bare() -> Router {
    Router::new().route("/v1/events/{source}", post(async |_: Bytes| StatusCode::ACCEPTED))
}

/// Answers after the commit.
pub(crate) fn inserting(folder: &Path) -> Result<Router> {
    let queue = inserts(folder)?;
    Ok(Router::new().route("/v1/events/{source}", post(insert)).with_state(queue))
}

/// The queue of what is to be inserted, and its writing thread.
pub(crate) fn inserts(folder: &Path) -> Result<mpsc::Sender<Insert>> {
    let connection = Connection::open(folder.join("reference.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.execute_batch(
        "CREATE TABLE delivery (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL)",
    )?;
    let (queue, mut inserts) = mpsc::channel(QUEUE_MAX);
    std::thread::Builder::new()
        .name("reference-writer".to_owned())
        .spawn(move || write(&connection, &mut inserts))?;
    Ok(queue)
}

/// Keeps a body; answers after the commit.
pub(crate) async fn insert(
    State(queue): State<mpsc::Sender<Insert>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let id = headers.get("idempotency-key").and_then(|id| id.to_str().ok());
    let Some(id) = id else { return StatusCode::BAD_REQUEST };
    let (ack, committed) = oneshot::channel();
    if queue.try_send((id.to_owned(), body, ack)).is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    match committed.await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Commits what is waiting; a failure drops the acknowledgements, which answers 503.
fn write(connection: &Connection, inserts: &mut mpsc::Receiver<Insert>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while inserts.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        if commit(connection, &group).is_err() {
            group.clear();
        }
        for (_, _, ack) in group.drain(..) {
            // Its asker may have gone; it is kept all the same.
            ack.send(()).ok();
        }
    }
}

fn commit(connection: &Connection, group: &[Insert]) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    for (id, body, _) in group {
        connection
            .prepare_cached(
                "INSERT INTO delivery (id, body) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![id, &body[..]])?;
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}
