//! A load that is offered at a rate, however slow the answers are; or all at once, without one.
//!
//! Requests are numbered and each has its moment. One that finds no free connection is sent late, and its
//! time counts from its moment, so a server that is slow hides nothing by it. One that is too late is not
//! sent any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use crate::load::{Connection, Make};

/// What finds no free connection for so long is not sent any more.
const LATE_MAX: Duration = Duration::from_secs(1);
/// Longest that who is asked to come back goes on doing so.
const AGAIN_MAX: Duration = Duration::from_mins(5);

/// What is offered.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) address: SocketAddr,
    pub(crate) make: Make,
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// Between the moments of two requests; zero for all at once.
    pub(crate) apart: Duration,
    /// After what time one who is told to come back does; `None` for never.
    pub(crate) again: Option<Duration>,
}

/// One request's end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    /// Its number.
    pub(crate) n: usize,
    /// When it was first sent.
    pub(crate) sent: Instant,
    /// Whether it was taken in the end.
    pub(crate) taken: bool,
}

/// What came of it all.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Those that were sent.
    pub(crate) told: Vec<Told>,
    /// How often 202 was the answer.
    pub(crate) taken: usize,
    /// How often 503 was, with `Retry-After`.
    pub(crate) sent_back: usize,
    /// How often anything else was.
    pub(crate) others: usize,
    /// Those that were too late to be sent.
    pub(crate) late: usize,
    /// Of each answer, from the moment its request was sent; microseconds, ascending.
    pub(crate) took: Vec<u64>,
    /// The same from the moment that it was to be sent.
    pub(crate) waited: Vec<u64>,
}

/// Offers it all and waits for the answers.
pub(crate) async fn offer(offer: &Offer) -> Result<Answers> {
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..offer.connections {
        connections.spawn(connection(offer.clone(), Arc::clone(&next), began));
    }
    let mut all = Answers::default();
    while let Some(ended) = connections.join_next().await {
        let one = ended??;
        all.told.extend(one.told);
        all.took.extend(one.took);
        all.waited.extend(one.waited);
        all.taken += one.taken;
        all.sent_back += one.sent_back;
        all.others += one.others;
        all.late += one.late;
    }
    all.took.sort_unstable();
    all.waited.sort_unstable();
    Ok(all)
}

async fn connection(offer: Offer, next: Arc<AtomicUsize>, began: Instant) -> Result<Answers> {
    let mut connection = Connection::open(offer.address).await?;
    let mut all = Answers::default();
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= offer.requests {
            return Ok(all);
        }
        let due = match offer.apart {
            Duration::ZERO => Instant::now(),
            apart => began + apart * u32::try_from(n)?,
        };
        tokio::time::sleep_until(due.into()).await;
        if due.elapsed() > LATE_MAX {
            all.late += 1;
            continue;
        }
        let (headers, body) = (offer.make)(n);
        let first = Instant::now();
        let taken = loop {
            let sent = Instant::now();
            let status = connection.post("/v1/events/generic", &headers, &body).await?;
            all.took.push(u64::try_from(sent.elapsed().as_micros())?);
            match status {
                202 => all.taken += 1,
                503 if connection.retry_after().is_some() => all.sent_back += 1,
                _ => all.others += 1,
            }
            match offer.again {
                Some(wait) if status == 503 && first.elapsed() < AGAIN_MAX => {
                    tokio::time::sleep(wait).await;
                }
                Some(_) | None => break status == 202,
            }
        };
        all.waited.push(u64::try_from(due.elapsed().as_micros())?);
        all.told.push(Told { n, sent: first, taken });
    }
}
