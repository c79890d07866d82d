//! Overload: a storm that is nearly all repeats, and then three times what could be decided of it.
//!
//! Every twentieth request is a new alarm of a host of its own that has to be acted on; the others repeat
//! one alarm. What is new waits for its call among them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use untoil_journal::Journal as _;
use untoil_store::SqliteJournal;

use crate::acting::Acted;
use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::{JOURNAL, Server};
use crate::load::{Make, percentile};
use crate::offer::{Answers, Offer, offer};
use crate::path::{firing, line};
use crate::process::{cpu_micros, resident_kib};
use crate::table::row;

/// Of so many requests one is a new alarm, and all others are repeats: 95 %.
const ONE_IN: usize = 20;
/// The storm: all at once, over so many connections.
const STORM: usize = 100_000;
const STORM_CONNECTIONS: usize = 64;
/// A sender that is asked to come back does so after this time.
const AGAIN: Duration = Duration::from_millis(200);
/// The overload: so many times the storm's rate of decisions, for so long.
const TIMES: u32 = 3;
const TIME: Duration = Duration::from_secs(20);
/// As many as the real program has open at a time.
const CONNECTIONS: usize = 512;
/// Longest wait for the calls and decisions that are still to come.
const CALM_MAX: Duration = Duration::from_mins(5);
/// Idle before, and calm again afterwards.
const SETTLED: Duration = Duration::from_secs(10);
/// The number of the alarm that is sent when all is over; far from the others.
const LAST: usize = usize::MAX / 2;

pub(crate) async fn measure() -> Result<()> {
    let all_at_once = |address| Offer {
        address,
        make: mixed(),
        connections: STORM_CONNECTIONS,
        requests: STORM,
        apart: Duration::ZERO,
        again: Some(AGAIN),
    };
    let storm = run(all_at_once).await?;
    storm.rows("storm", &format!("{STORM} at once, 95 % repeats, {STORM_CONNECTIONS} conn."));
    // What it decides in the long run while deliveries come as fast as they are taken.
    let apart = storm.decided / u32::try_from(storm.answers.taken.max(1))? / TIMES;
    let requests = usize::try_from(TIME.as_nanos() / apart.as_nanos().max(1))?;
    let sustained = |address| Offer {
        address,
        make: mixed(),
        connections: CONNECTIONS,
        requests,
        apart,
        again: None,
    };
    let per_second = 1.0 / apart.as_secs_f64();
    let case = format!("{TIMES} x that, {per_second:.0}/s for {} s", TIME.as_secs());
    run(sustained).await?.rows("overload", &case);
    Ok(())
}

/// Repeats of one alarm, and new ones among them.
fn mixed() -> Make {
    let at = Timestamp::now();
    let again =
        Said { key: "queue/again", state: "firing", at, metric: "queue_depth", instance: "i-0" };
    let again = generic(&again);
    Arc::new(move |n| {
        let body = if is_new(n) { firing(n).1 } else { again.clone() };
        (generic_headers(&spread(n)), body)
    })
}

fn is_new(n: usize) -> bool {
    n.is_multiple_of(ONE_IN)
}

/// What one load did.
struct Outcome {
    answers: Answers,
    /// New alarms that were taken, and of each that was called the time since its POST; ascending microseconds.
    new: usize,
    called: Vec<u64>,
    /// From the first request until every delivery was decided and every call made.
    decided: Duration,
    /// The same from the last answer.
    calm: Duration,
    /// From POST to call of one more alarm when all was over.
    afterwards: Duration,
    cpu_micros: u64,
    /// In MiB.
    idle: u64,
    most: u64,
    after: u64,
}

/// Lets one load loose on a server of its own.
async fn run(load: impl FnOnce(SocketAddr) -> Offer) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let mut acted = Acted::start().await?;
    let server = Server::start_on("engine", folder.path(), &acted.address.to_string()).await?;
    tokio::time::sleep(SETTLED).await;
    let (idle, _) = resident_kib(server.pid)?;
    let (before, began) = (cpu_micros(server.pid)?, Instant::now());
    let load = load(server.address);
    let mut answers = offer(&load).await?;
    let ended = Instant::now();
    answers.told.retain(|told| told.taken && is_new(told.n));
    answers.told.sort_unstable_by_key(|told| told.n);
    let (new, mut called) = (answers.told.len(), Vec::new());
    while called.len() < new {
        let Ok(call) = tokio::time::timeout(CALM_MAX, acted.calls.recv()).await else { break };
        let (host, at) = call.context("the stand-in ended")?;
        let n = usize::from_str_radix(host.trim_start_matches("i-"), 16)?;
        if let Ok(place) = answers.told.binary_search_by_key(&n, |told| told.n) {
            called.push(u64::try_from((at - answers.told[place].sent).as_micros())?);
        }
    }
    called.sort_unstable();
    nothing_waits(folder.path()).await?;
    let (decided, calm) = (began.elapsed(), ended.elapsed());
    let cpu_micros = cpu_micros(server.pid)? - before;
    let afterwards = one_more(&load, &mut acted).await?;
    tokio::time::sleep(SETTLED).await;
    let (after, most) = resident_kib(server.pid)?;
    server.stop().await?;
    let [idle, most, after] = [idle, most, after].map(|kib| kib / 1024);
    Ok(Outcome { answers, new, called, decided, calm, afterwards, cpu_micros, idle, most, after })
}

/// Waits until every delivery is decided.
async fn nothing_waits(folder: &Path) -> Result<()> {
    let journal = SqliteJournal::open_read_only(folder.join(JOURNAL))?;
    let began = Instant::now();
    while !journal.pending(1).await?.is_empty() {
        if began.elapsed() > CALM_MAX {
            bail!("not everything was decided");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The time from the POST of one more new alarm to its call.
async fn one_more(load: &Offer, acted: &mut Acted) -> Result<Duration> {
    let make: Make = Arc::new(|n| (generic_headers(&spread(LAST + n)), firing(LAST + n).1));
    let one = Offer { make, connections: 1, requests: 1, ..load.clone() };
    let sent = Instant::now();
    let answers = offer(&one).await?;
    if answers.taken != 1 {
        bail!("an alarm was not taken when all was over");
    }
    let call = tokio::time::timeout(CALM_MAX, acted.calls.recv()).await;
    let (_, at) = call.context("an alarm led to no call when all was over")?.context("no calls")?;
    Ok(at - sent)
}

impl Outcome {
    fn rows(&self, part: &str, case: &str) {
        let of = |sorted: &[u64]| {
            let ms = |per_cent| percentile(sorted, per_cent) / 1_000;
            format!("p50 {} p99 {} ms", ms(50), ms(99))
        };
        let Self { answers, new, called, idle, most, after, .. } = self;
        let Answers { taken, sent_back, others, late, .. } = answers;
        let told = format!("{taken} x 202, {sent_back} x 503 + Retry-After, {others} other");
        row(part, case, &format!("{told}, {late} found no connection for 1 s"), "");
        let sent = format!("{}; since due {}", of(&answers.took), of(&answers.waited));
        row(part, "answers, from sending", &sent, "");
        let line = format!("{} of {new} called, {}", called.len(), line(called));
        row(part, "new alarms that were taken, POST to the call", &line, "");
        let memory = format!("{idle} MiB idle, most {most}, {after} after");
        row(part, "memory", &memory, "<= 100");
        let each = self.cpu_micros / u64::try_from((*taken).max(1)).unwrap_or(u64::MAX);
        let calm = format!(
            "nothing waits {:.1} s after the last answer, {:.1} s in all, {each} us CPU each taken",
            self.calm.as_secs_f64(),
            self.decided.as_secs_f64()
        );
        row(part, "recovery without a restart", &calm, "");
        let micros = self.afterwards.as_micros();
        row(part, "one more new alarm then, POST to the call", &format!("{micros} us"), "");
    }
}
