//! Keeps what is known of the journal up to date with what other instances write: where it ends, and
//! how many deliveries wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use untoil_model::Seq;

use super::connect::{Purpose, Target};
use super::fault::Fault;
use super::group::place;
use super::rows;
use super::sharing::Member;
use super::tls::Stream;
use crate::refusal::WAITING_MAX;

/// How often the end is read though nothing was notified: bounds how late a reader is when a
/// notification is lost, or the server has none.
const POLL: Duration = Duration::from_millis(500);

/// After how many of these looks the deliveries that wait are counted: every two seconds. Between two
/// counts an instance knows what it took in and decided itself, so the bound on what waits is passed
/// by what the other instances take in within that time, at most.
const COUNTED_EVERY: u32 = 4;

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// What is notified when an instance gives up what it holds.
pub(crate) const LEFT: &str = "left";

/// The channel that a schema's commits are notified on.
pub(crate) fn channel(schema: &str) -> String {
    format!("untoil_{schema}")
}

/// Moves the known end forward, never back.
pub(crate) fn raise(head: &watch::Sender<Seq>, to: Seq) {
    head.send_if_modified(|head| {
        let is_later = *head < to;
        *head = to.max(*head);
        is_later
    });
}

/// Follows until its task is ended; connects again and again.
pub(crate) async fn run(
    target: Target,
    me: Arc<Member>,
    head: watch::Sender<Seq>,
    waiting: Arc<AtomicI64>,
) {
    loop {
        if let Err(fault) = follow(&target, &me, &head, &waiting).await {
            tracing::debug!(error = %fault, "the journal's end is not followed at the moment");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(
    target: &Target,
    me: &Member,
    head: &watch::Sender<Seq>,
    waiting: &AtomicI64,
) -> Result<(), Fault> {
    let (client, connection) = target.dial(Purpose::Read).await?;
    tokio::select! {
        lost = notified(connection, head) => lost,
        failed = poll((&client, me), target, head, waiting) => failed,
    }
}

/// Drives the connection; each notification carries the end, or [`LEFT`].
async fn notified(
    mut connection: Connection<Socket, Stream>,
    head: &watch::Sender<Seq>,
) -> Result<(), Fault> {
    while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
        let AsyncMessage::Notification(said) = message? else { continue };
        match said.payload().parse() {
            Ok(seq) => raise(head, Seq(seq)),
            // An instance has left: there may be something to adopt, though nothing was written.
            Err(_) => head.send_modify(|_| {}),
        }
    }
    Ok(())
}

async fn poll(
    (client, me): (&Client, &Member),
    target: &Target,
    head: &watch::Sender<Seq>,
    waiting: &AtomicI64,
) -> Result<(), Fault> {
    target.within(async { Ok(client.batch_execute(&target.settings()).await?) }).await?;
    let listen = format!("LISTEN {}", channel(&target.schema));
    if let Err(error) = client.batch_execute(&listen).await {
        tracing::debug!(error = %error, "the server does not notify; the journal's end is polled");
    }
    let look = target.within(async { Ok(client.prepare(END).await?) }).await?;
    let count = target.within(async { Ok(client.prepare(WAITING).await?) }).await?;
    for n in (0..COUNTED_EVERY).cycle() {
        let row = target.within(async { Ok(client.query_one(&look, &[]).await?) }).await?;
        let end = place(row.get(0));
        // What is committed can be read before it is on the disk; the head is what is.
        if end > *head.borrow() {
            target.within(rows::sync(client, rows::SYNC_ASIDE, me, end)).await?;
            raise(head, end);
        }
        if n == 0 {
            let counted = async { Ok(client.query_one(&count, &[&WAITING_MAX]).await?) };
            waiting.store(target.within(counted).await?.get(0), Ordering::Relaxed);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

const END: &str = "SELECT seq FROM head WHERE id = 1";
/// Not further than the bound: what is beyond it makes no difference, and costs.
const WAITING: &str = "SELECT count(*) FROM (SELECT 1 FROM pending LIMIT $1) AS waiting";
