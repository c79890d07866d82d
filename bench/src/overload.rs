//! Overload: one alarm is repeated as fast as many connections can, which is more than can be decided,
//! and every twentieth word or so is a new alarm that has to be acted on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use crate::acting::Acted;
use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::Server;
use crate::load::{Connection, Load, Make, send};
use crate::path::{firing, line};
use crate::process::{cpu_micros, resident_kib};
use crate::table::row;

/// How long it lasts.
const TIME: Duration = Duration::from_secs(30);
const CONNECTIONS: usize = 64;
/// A new alarm comes this often.
const EVERY: Duration = Duration::from_millis(100);
/// How long an alarm may wait for its call afterwards, and a refused sender in all.
const CALL_MAX: Duration = Duration::from_mins(3);
/// Idle before, and calm again afterwards.
const SETTLED: Duration = Duration::from_secs(3);
/// The new alarms' ids are far from the repeats'.
const APART: usize = usize::MAX / 2;

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut acted = Acted::start().await?;
    let server = Server::start_on("engine", folder.path(), &acted.address.to_string()).await?;
    tokio::time::sleep(SETTLED).await;
    let (idle, _) = resident_kib(server.pid)?;
    let at = Timestamp::now();
    let make: Make = Arc::new(move |n| {
        let said = Said {
            key: "queue/again",
            state: "firing",
            at,
            metric: "queue_depth",
            instance: "i-0",
        };
        (generic_headers(&spread(n)), generic(&said))
    });
    let load = Load {
        address: server.address,
        path: "/v1/events/generic".to_owned(),
        make,
        connections: CONNECTIONS,
        requests: usize::MAX,
        time: TIME,
        again: None,
    };
    let before = cpu_micros(server.pid)?;
    let (outcome, posted) = tokio::join!(send(&load), distinct(server.address));
    let (outcome, posted) = (outcome?, posted?);
    let ended = Instant::now();
    let mut waited = Vec::new();
    while waited.len() < posted.len() {
        let Ok(Some((host, at))) = tokio::time::timeout(CALL_MAX, acted.calls.recv()).await else {
            break;
        };
        if let Some(posted) = posted.get(&host) {
            waited.push(u64::try_from((at - *posted).as_micros())?);
        }
    }
    let recovered = ended.elapsed().as_secs_f64();
    let cpu = cpu_micros(server.pid)? - before;
    tokio::time::sleep(SETTLED).await;
    let (after, most) = resident_kib(server.pid)?;
    server.stop().await?;
    waited.sort_unstable();
    let n = outcome.accepted + outcome.others;
    let answers = format!(
        "{} taken, {} asked to come back, answered p50 {} p99 {} us",
        outcome.accepted,
        outcome.others,
        outcome.within(50),
        outcome.within(99)
    );
    let seconds = TIME.as_secs();
    row("overload", &format!("{n} repeats in {seconds} s, {CONNECTIONS} conn."), &answers, "");
    let new = format!("{} of {} called, {}", waited.len(), posted.len(), line(&waited));
    row("overload", "new alarms meanwhile, POST to the call", &new, "");
    let mib = |kib: u64| kib / 1024;
    let memory = format!("{} MiB idle, most {}, {} after", mib(idle), mib(most), mib(after));
    row("overload", "memory", &memory, "<= 100");
    let each = cpu / u64::try_from(outcome.accepted.max(1))?;
    let end = format!("calm {recovered:.1} s after the end, {each} us CPU a taken delivery");
    row("overload", "recovery without a restart", &end, "");
    Ok(())
}

/// Posts new alarms one after the other; answers when each was posted first. One that is asked to come
/// back comes back.
async fn distinct(address: std::net::SocketAddr) -> Result<BTreeMap<String, Instant>> {
    let mut connection = Connection::open(address).await?;
    let (mut posted, began) = (BTreeMap::new(), Instant::now());
    let mut n = 0;
    while began.elapsed() < TIME {
        let (instance, body) = firing(n);
        let headers = generic_headers(&spread(APART + n));
        posted.insert(instance, Instant::now());
        while connection.post("/v1/events/generic", &headers, &body).await? != 202 {
            tokio::time::sleep(EVERY).await;
        }
        tokio::time::sleep(EVERY).await;
        n += 1;
    }
    Ok(posted)
}
