//! How long it takes from the POST of an alarm to the action's call, one at a time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use untoil_model::{Seq, Stream};

use crate::bodies::{Said, generic, generic_headers, spread};
use crate::engine::Engine;
use crate::load::{Connection, percentile};
use crate::table::row;

/// Alarms that are measured, after some that warm up.
const ALARMS: usize = 500;
const WARM: usize = 20;
/// Between two: the machine is idle, and what the last one left is done.
const PAUSE: Duration = Duration::from_millis(10);
/// A call that did not come by then never does.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Measures it on the whole engine with a stand-in for Systems Manager.
pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut engine = Engine::start(folder.path(), None).await?;
    let mut connection = Connection::open(engine.address).await?;
    let (mut answered, mut called) = (Vec::new(), Vec::new());
    for n in 0..WARM + ALARMS {
        let instance = format!("i-{n:017x}");
        let key = format!("disk/{instance}");
        let (metric, at) = ("disk_used_percent", Timestamp::now());
        let body = generic(&Said { key: &key, state: "firing", at, metric, instance: &instance });
        let headers = generic_headers(&spread(n));
        let posted = Instant::now();
        let status = connection.post("/v1/events/generic", &headers, &body).await?;
        let acknowledged = posted.elapsed();
        if status != 202 {
            bail!("alarm {n} was answered with {status}");
        }
        let call = tokio::time::timeout(CALL_MAX, engine.sent.recv()).await;
        let (host, at) = match call {
            Ok(call) => call.context("the engine stopped")?,
            Err(_) => bail!("alarm {n} led to no call:\n{}", newest(&engine).await?),
        };
        if host != instance {
            bail!("alarm {n} led to a call on `{host}` instead of `{instance}`");
        }
        if n >= WARM {
            answered.push(u64::try_from(acknowledged.as_micros())?);
            called.push(u64::try_from((at - posted).as_micros())?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    engine.stop().await?;
    answered.sort_unstable();
    called.sort_unstable();
    let line = |sorted: &[u64]| {
        let ms = |per_cent| format!("{:.2}", micros_to_ms(percentile(sorted, per_cent)));
        format!("p50 {} p99 {} max {} ms", ms(50), ms(99), ms(100))
    };
    row("latency", "POST to 202 (1 commit)", &line(&answered), "");
    row("latency", "POST to the action's call (3 commits)", &line(&called), "< 25 ms");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn micros_to_ms(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// The newest entries, for whoever asks why nothing happened.
async fn newest(engine: &Engine) -> Result<String> {
    let entries = engine.journal.latest(&Stream::All, 10).await?;
    debug_assert!(entries.iter().all(|entry| entry.seq > Seq::START), "places begin at 1");
    Ok(entries.iter().rev().map(|entry| entry.text() + "\n").collect())
}
