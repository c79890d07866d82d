//! The reference on PostgreSQL: axum with the same durable insert, committed in groups.
//!
//! It keeps what untoil's delivery keeps: source, message id, unique together, sender, moment, headers and
//! body, each in a place of its own, and answers 202 after the commit. A group is one statement, which
//! is one transaction and one round trip, in the form that costs the server least. It has no chain, nobody
//! decides what it keeps, and it authenticates nobody.

use anyhow::Result;
use axum::Router;
use axum::routing::post;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::reference::{GROUP_MAX, Insert, QUEUE_MAX, insert};

/// What is the same for every delivery of the benchmark, in the length that it has in untoil.
const SOURCE: &str = "generic";
const SENDER: &str = "bench";
const HEADERS: &str = r#"{"content-type":"application/json"}"#;

/// Answers after the commit.
pub(crate) async fn inserting(url: &str) -> Result<Router> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Both end with the process, which is a server of the benchmark's own.
    std::mem::drop(tokio::task::spawn(connection));
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS reference (seq BIGSERIAL PRIMARY KEY, \
            source TEXT COLLATE \"C\" NOT NULL, message TEXT COLLATE \"C\" NOT NULL, \
            sender TEXT COLLATE \"C\" NOT NULL, received_at BIGINT NOT NULL, \
            headers TEXT COLLATE \"C\" NOT NULL, body BYTEA NOT NULL, UNIQUE (source, message))",
        )
        .await?;
    let keep = client
        .prepare(
            "INSERT INTO reference (source, message, sender, received_at, headers, body) \
            SELECT $1, unnest($2::text[]), $3, unnest($4::bigint[]), $5, unnest($6::bytea[]) \
            ON CONFLICT (source, message) DO NOTHING",
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
        let at = Timestamp::now().as_microsecond();
        let ats = vec![at; group.len()];
        let values: [&(dyn ToSql + Sync); 6] = [&SOURCE, &ids, &SENDER, &ats, &HEADERS, &bodies];
        if client.execute(&keep, &values).await.is_err() {
            group.clear();
        }
        for (_, _, ack) in group.drain(..) {
            // Its asker may have gone; it is kept all the same.
            ack.send(()).ok();
        }
    }
}
