//! The reference on PostgreSQL: axum with the same durable insert, committed in groups.
//!
//! As the one on SQLite it keeps the message's id, unique, and its body, and answers 202 after the
//! commit. A group is one statement, which is one transaction and one round trip: less is not possible.

use anyhow::Result;
use axum::Router;
use axum::routing::post;
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls, Statement};

use crate::reference::{GROUP_MAX, Insert, QUEUE_MAX, insert};

/// Answers after the commit.
pub(crate) async fn inserting(url: &str) -> Result<Router> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Both end with the process, which is a server of the benchmark's own.
    std::mem::drop(tokio::task::spawn(connection));
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS reference \
            (seq BIGSERIAL PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BYTEA NOT NULL)",
        )
        .await?;
    let keep = client
        .prepare(
            "INSERT INTO reference (id, body) SELECT * FROM unnest($1::text[], $2::bytea[]) \
            ON CONFLICT (id) DO NOTHING",
        )
        .await?;
    let (queue, inserts) = mpsc::channel(QUEUE_MAX);
    std::mem::drop(tokio::task::spawn(write(client, keep, inserts)));
    Ok(Router::new().route("/v1/events/{source}", post(insert)).with_state(queue))
}

/// Commits what is waiting; a failure drops the acknowledgements, which answers 503.
async fn write(client: Client, keep: Statement, mut inserts: mpsc::Receiver<Insert>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while inserts.recv_many(&mut group, GROUP_MAX).await > 0 {
        let ids: Vec<&str> = group.iter().map(|(id, ..)| id.as_str()).collect();
        let bodies: Vec<&[u8]> = group.iter().map(|(_, body, _)| &body[..]).collect();
        if client.execute(&keep, &[&ids, &bodies]).await.is_err() {
            group.clear();
        }
        for (_, _, ack) in group.drain(..) {
            // Its asker may have gone; it is kept all the same.
            ack.send(()).ok();
        }
    }
}
