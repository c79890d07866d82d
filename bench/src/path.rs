//! The whole way of an alarm, from the POST to the call that acts over HTTP: how long it takes one at a
//! time, and what it costs under load, against a minimal reference that does the same in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use crate::acting::Acted;
use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::Server;
use crate::load::{Connection, Load, Make, percentile, send};
use crate::process::cpu_micros;
use crate::table::row;

/// Alarms that are measured one at a time, after some that warm up.
const ALARMS: usize = 500;
const WARM: usize = 20;
/// Between two: the machine is idle, and what the last one left is done.
const PAUSE: Duration = Duration::from_millis(10);
/// Alarms under load, each of a host of its own.
const MANY: usize = 5_000;
const CONNECTIONS: usize = 64;
/// A call that did not come by then never does.
const CALL_MAX: Duration = Duration::from_mins(2);

/// Who is measured: the reference first.
const KINDS: [(&str, &str); 2] = [("minimal", "minimal reference"), ("engine", "untoil")];

pub(crate) async fn measure() -> Result<()> {
    let mut p50s = Vec::new();
    for (kind, name) in KINDS {
        let (answered, called) = one_at_a_time(kind).await?;
        row("path", &format!("POST to 202, {name}"), &line(&answered), "");
        row("path", &format!("POST to the call over HTTP, {name}"), &line(&called), "");
        p50s.push(percentile(&called, 50));
    }
    let times = ratio(p50s[1], p50s[0]);
    row(
        "path",
        "POST to the call: share",
        &format!("{times:.1} x the reference's p50"),
        "<= 1.5 x",
    );
    let mut costs = Vec::new();
    for (kind, name) in KINDS {
        let (cpu, seconds) = many(kind).await?;
        let each = cpu / u64::try_from(MANY)?;
        let line = format!("{each} us CPU an alarm, all acted on within {seconds:.1} s");
        let goal = if kind == "engine" { "<= 150 us" } else { "" };
        row("path", &format!("{MANY} alarms, {CONNECTIONS} conn.: {name}"), &line, goal);
        costs.push(cpu);
    }
    let times = ratio(costs[1], costs[0]);
    row("path", "the same: share", &format!("{times:.1} x the reference's CPU"), "<= 2 x");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

/// Percentiles of ascending microseconds.
pub(crate) fn line(sorted: &[u64]) -> String {
    let ms = |per_cent| ratio(percentile(sorted, per_cent), 1_000);
    format!("p50 {:.2} p99 {:.2} max {:.2} ms", ms(50), ms(99), ms(100))
}

/// The body of an alarm of the `n`th host.
pub(crate) fn firing(n: usize) -> (String, Vec<u8>) {
    let instance = format!("i-{n:017x}");
    let key = format!("disk/{instance}");
    let (metric, at) = ("disk_used_percent", Timestamp::now());
    let body = generic(&Said { key: &key, state: "firing", at, metric, instance: &instance });
    (instance, body)
}

/// Microseconds from the POST to its answer, and to the call; both ascending.
async fn one_at_a_time(kind: &str) -> Result<(Vec<u64>, Vec<u64>)> {
    let folder = tempfile::tempdir()?;
    let mut acted = Acted::start().await?;
    let server = Server::start_on(kind, folder.path(), &acted.address.to_string()).await?;
    let mut connection = Connection::open(server.address).await?;
    let (mut answered, mut called) = (Vec::new(), Vec::new());
    for n in 0..WARM + ALARMS {
        let (instance, body) = firing(n);
        let headers = generic_headers(&spread(n));
        let posted = Instant::now();
        let status = connection.post("/v1/events/generic", &headers, &body).await?;
        let acknowledged = posted.elapsed();
        if status != 202 {
            bail!("alarm {n} was answered with {status}");
        }
        let call = tokio::time::timeout(CALL_MAX, acted.calls.recv()).await;
        let (host, at) = call.context("an alarm led to no call")?.context("the stand-in ended")?;
        if host != instance {
            bail!("alarm {n} led to a call on `{host}` instead of `{instance}`");
        }
        if n >= WARM {
            answered.push(u64::try_from(acknowledged.as_micros())?);
            called.push(u64::try_from((at - posted).as_micros())?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    server.stop().await?;
    answered.sort_unstable();
    called.sort_unstable();
    Ok((answered, called))
}

/// Processor time of the server in microseconds, and the seconds until everything was acted on.
async fn many(kind: &str) -> Result<(u64, f64)> {
    let folder = tempfile::tempdir()?;
    let mut acted = Acted::start().await?;
    let server = Server::start_on(kind, folder.path(), &acted.address.to_string()).await?;
    let make: Make = Arc::new(|n| (generic_headers(&spread(n)), firing(n).1));
    let load = Load {
        address: server.address,
        path: "/v1/events/generic".to_owned(),
        make,
        connections: CONNECTIONS,
        requests: MANY,
        time: CALL_MAX,
        again: None,
    };
    let before = cpu_micros(server.pid)?;
    let began = Instant::now();
    let outcome = send(&load).await?;
    if outcome.accepted != MANY {
        bail!("only {} of {MANY} alarms were accepted", outcome.accepted);
    }
    for n in 0..MANY {
        let call = tokio::time::timeout(CALL_MAX, acted.calls.recv()).await;
        call.with_context(|| format!("only {n} of {MANY} alarms were acted on"))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_micros(server.pid)? - before;
    server.stop().await?;
    Ok((cpu, seconds))
}
