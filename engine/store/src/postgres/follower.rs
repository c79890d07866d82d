//! Keeps what is known of the journal up to date with what other instances write: where it ends, and
//! how many deliveries wait; and tells them what this one has written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::poll_fn;
use tokio::sync::watch;
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use untoil_model::Seq;

use super::chain;
use super::connect::{Purpose, Target};
use super::fault::Fault;
use super::group::place;
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

/// How long nobody is told of more, after they were told: bounds what is woken under load, which with
/// three instances that tell every 10 ms is a thirtieth of all processor time. What is written while all is
/// quiet is told at once, and what an instance wrote itself it need not be told.
const PACE: Duration = Duration::from_millis(50);

/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(250);

/// What is notified when an instance gives up what it holds.
pub(crate) const LEFT: &str = "left";

/// The channel that a schema's commits are notified on.
pub(crate) fn channel(schema: &str) -> String {
    format!("untoil_{schema}")
}

/// What is known of the journal's end.
#[derive(Clone)]
pub(crate) struct Told {
    /// The last place that is known to be on the disk.
    pub(crate) head: watch::Sender<Seq>,
    /// The same, of what this instance has written: it tells the others.
    mine: watch::Sender<Seq>,
    /// About how many deliveries wait for their decision, all instances' together.
    pub(crate) waiting: Arc<AtomicI64>,
}

impl Told {
    pub(crate) fn new(end: Seq) -> Self {
        let (head, mine) = (watch::Sender::new(end), watch::Sender::new(end));
        Self { head, mine, waiting: Arc::default() }
    }

    /// Has everybody here and elsewhere hear that the disk has what this instance wrote up to there.
    pub(crate) fn raise(&self, to: Seq) {
        raise(&self.head, to);
        raise(&self.mine, to);
    }

    /// The same, of what any instance wrote: its writer tells the others.
    pub(crate) fn raise_here(&self, to: Seq) {
        raise(&self.head, to);
    }
}

/// Moves a known end forward, never back.
fn raise(head: &watch::Sender<Seq>, to: Seq) {
    head.send_if_modified(|head| {
        let is_later = *head < to;
        *head = to.max(*head);
        is_later
    });
}

/// Follows until its task is ended; connects again and again.
pub(crate) async fn run(target: Target, me: Arc<Member>, told: Told) {
    let mut mine = told.mine.subscribe();
    loop {
        if let Err(fault) = follow(&target, &me, &told, &mut mine).await {
            tracing::debug!(error = %fault, "the journal's end is not followed at the moment");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(
    target: &Target,
    me: &Member,
    told: &Told,
    mine: &mut watch::Receiver<Seq>,
) -> Result<(), Fault> {
    let (client, connection) = target.dial(Purpose::Read).await?;
    let with = (&client, me);
    let poll_and_tell = async {
        target.within(async { Ok(client.batch_execute(&target.settings()).await?) }).await?;
        tokio::try_join!(poll(with, target, told), tell(with, target, mine))
    };
    tokio::select! {
        lost = notified(connection, &told.head) => lost,
        failed = poll_and_tell => failed.map(drop),
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

/// Tells the others what this instance has written, apart from the writing: each notification wakes all of
/// them, and the server sends one at a time.
async fn tell(
    (client, me): (&Client, &Member),
    target: &Target,
    mine: &mut watch::Receiver<Seq>,
) -> Result<(), Fault> {
    let notify = match client.prepare(NOTIFY).await.map_err(Fault::from) {
        Ok(notify) => notify,
        Err(lost @ Fault::Lost(_)) => return Err(lost),
        Err(fault) => {
            tracing::debug!(error = %fault, "the server does not notify; the others poll");
            return Ok(());
        }
    };
    while mine.changed().await.is_ok() {
        let end = mine.borrow_and_update().0.to_string();
        let told = async { Ok(client.execute(&notify, &[&me.channel, &end]).await?) };
        target.within(told).await?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

async fn poll(
    (client, me): (&Client, &Member),
    target: &Target,
    Told { head, waiting, .. }: &Told,
) -> Result<(), Fault> {
    let listen = format!("LISTEN {}", channel(&target.schema));
    if let Err(error) = client.batch_execute(&listen).await {
        tracing::debug!(error = %error, "the server does not notify; the journal's end is polled");
    }
    let look = target.within(async { Ok(client.prepare(END).await?) }).await?;
    let count = target.within(async { Ok(client.prepare(WAITING).await?) }).await?;
    let sync = target.within(async { Ok(client.prepare(chain::SYNC).await?) }).await?;
    for n in (0..COUNTED_EVERY).cycle() {
        let known = *head.borrow();
        let row = target.within(async { Ok(client.query_one(&look, &[]).await?) }).await?;
        let end = place(row.get(0));
        if end < known {
            // What is written in the places that it lost would not be heard of here.
            tracing::error!(
                ends = %end, %known,
                "the journal has lost entries that were on its disk, as in a failover to an asynchronous \
                standby; restart every instance"
            );
        }
        // What is committed can be read before it is on the disk; the head is what is.
        if end > *head.borrow() {
            target.within(chain::sync(client, &sync, me, end)).await?;
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

/// Heard by the other instances. Nothing is to be kept, so nothing waits for the disk.
const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
const END: &str = "SELECT seq FROM head WHERE id = 1";
/// Not further than the bound: what is beyond it makes no difference, and costs.
const WAITING: &str = "SELECT count(*) FROM (SELECT 1 FROM pending LIMIT $1) AS waiting";
