//! Resident memory of the whole engine: idle, and after many alarms.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};
use untoil_journal::Journal as _;
use untoil_store::SqliteJournal;

use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::{JOURNAL, Server};
use crate::load::{Load, Make, send};
use crate::process::{cpu_micros, resident_kib};
use crate::table::row;

/// Alarms in all.
const ALARMS: usize = 100_000;
/// Different ones: what the team that this is for has. They fire and clear in turn.
const DIFFERENT: usize = 411;
/// Sends as fast as so many connections can.
const CONNECTIONS: usize = 64;
/// A sender that is asked to come back does so after this time.
const AGAIN: Duration = Duration::from_millis(200);
/// An engine is idle so long after its start, and again after its last decision: by then the journal
/// lets go of its pages, and the engine gives back what is free.
const SETTLED: Duration = Duration::from_secs(12);
/// Longest wait for all decisions.
const DECIDED_MAX: Duration = Duration::from_mins(10);

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start("engine", folder.path()).await?;
    tokio::time::sleep(SETTLED).await;
    let (idle, _) = resident_kib(server.pid)?;
    let start = Timestamp::now() - SignedDuration::from_hours(1);
    let make: Make = Arc::new(move |n| {
        let (alarm, turn) = (n % DIFFERENT, n / DIFFERENT);
        let key = format!("queue/{alarm}");
        let state = if turn.is_multiple_of(2) { "firing" } else { "resolved" };
        let at = start + SignedDuration::from_secs(i64::try_from(turn).unwrap_or(0));
        let said = Said { key: &key, state, at, metric: "queue_depth", instance: "i-0" };
        (generic_headers(&spread(n)), generic(&said))
    });
    let load = Load {
        address: server.address,
        path: "/v1/events/generic".to_owned(),
        make,
        connections: CONNECTIONS,
        requests: ALARMS,
        time: DECIDED_MAX,
        again: Some(AGAIN),
    };
    let before = cpu_micros(server.pid)?;
    let outcome = send(&load).await?;
    let seconds = decided(folder.path()).await? + outcome.seconds;
    let cpu = cpu_micros(server.pid)? - before;
    tokio::time::sleep(SETTLED).await;
    let (after, most) = resident_kib(server.pid)?;
    server.stop().await?;
    let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
    row("memory", "whole engine, idle", &mib(idle), "<= 20 MB");
    let case = format!("after {} alarms of {DIFFERENT} kinds", outcome.accepted);
    let line = format!("{} (most {}), {} came back", mib(after), mib(most), outcome.others);
    row("memory", &case, &line, "<= 100 MB, after it <= 1.2 x idle");
    let each = cpu / u64::try_from(outcome.accepted.max(1))?;
    row("memory", "the same", &format!("decided within {seconds:.1} s, {each} us CPU each"), "");
    Ok(())
}

/// Waits until every delivery is decided; answers the seconds.
async fn decided(folder: &Path) -> Result<f64> {
    let journal = SqliteJournal::open_read_only(folder.join(JOURNAL))?;
    let began = Instant::now();
    while !journal.pending(1).await?.is_empty() {
        if began.elapsed() > DECIDED_MAX {
            bail!("not everything was decided");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(began.elapsed().as_secs_f64())
}
