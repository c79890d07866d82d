//! How many deliveries a second are kept durably, against the reference in the same run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use jiff::Timestamp;

use crate::bodies::{Said, Signer, generic, generic_headers, spread};
use crate::child::{CERTIFICATE, Server};
use crate::load::{Load, Make, Outcome, send};
use crate::process::cpu_micros;
use crate::table::row;

/// How long each server is under load in each round. Nothing is decided here, and after 50,000 deliveries
/// that wait for it the intake asks senders to come back.
const TIME: Duration = Duration::from_millis(1_200);
/// Before that, unmeasured.
const WARM: Duration = Duration::from_millis(300);
/// Servers take turns, so that a noisy moment of the machine does not fall on one of them only.
const ROUNDS: usize = 3;
/// How many connections there are, each with one request at a time.
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// Messages that are signed beforehand: as many as can be waited for.
const SIGNED: usize = 12_000;

/// One measurement.
struct Measured {
    outcome: Outcome,
    cpu_micros: u64,
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    fn cpu_each(&self) -> f64 {
        self.cpu_micros as f64 / self.outcome.accepted.max(1) as f64
    }
}

/// The generic source with a shared secret.
pub(crate) async fn measure() -> Result<()> {
    let body = generic(&Said {
        key: "disk/i-0a1b2c3d4e5f67890",
        state: "firing",
        at: Timestamp::now(),
        metric: "disk_used_percent",
        instance: "i-0a1b2c3d4e5f67890",
    });
    for connections in CONNECTIONS {
        let mut rounds: [Vec<Measured>; 3] = Default::default();
        for round in 0..ROUNDS {
            for (kind, measured) in ["bare", "insert", "untoil"].into_iter().zip(&mut rounds) {
                if kind == "bare" && (round > 0 || connections != 64) {
                    continue;
                }
                let body = body.clone();
                let make: Make = Arc::new(move |n| (generic_headers(&spread(n)), body.clone()));
                let load = |requests, time| (make.clone(), connections, requests, time);
                measured.push(timed(kind, "generic", &load).await?);
            }
        }
        tell("intake", connections, rounds);
    }
    Ok(())
}

type Wanted = (Make, usize, usize, Duration);

async fn timed(
    kind: &str,
    source: &str,
    load: &dyn Fn(usize, Duration) -> Wanted,
) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    one(kind, (source, folder.path()), load(usize::MAX, TIME)).await
}

/// Starts a server, warms it up, and measures.
async fn one(
    kind: &str,
    (source, folder): (&str, &Path),
    (make, connections, requests, time): Wanted,
) -> Result<Measured> {
    let server = Server::start(kind, folder).await?;
    let (address, path) = (server.address, format!("/v1/events/{source}"));
    // Far from the numbers of the measurement itself, so that no id comes twice.
    let cold = Arc::clone(&make);
    let warm = Load {
        address,
        path: path.clone(),
        make: Arc::new(move |n| cold(usize::MAX / 2 + n)),
        connections,
        requests: usize::MAX,
        time: WARM,
        again: None,
    };
    if requests == usize::MAX {
        send(&warm).await?;
    }
    let before = cpu_micros(server.pid)?;
    let outcome =
        send(&Load { address, path, make, connections, requests, time, again: None }).await?;
    let cpu_micros = cpu_micros(server.pid)? - before;
    server.stop().await?;
    if outcome.accepted == 0 {
        bail!("the server `{kind}` accepted nothing");
    }
    Ok(Measured { outcome, cpu_micros })
}

/// Signed SNS messages.
pub(crate) async fn measure_sns() -> Result<()> {
    let signer = Signer::new()?;
    let now = Timestamp::now();
    let message = include_str!("../../engine/intake/fixtures/cloudwatch/metric-korean.json");
    let bodies: Result<Vec<Vec<u8>>> =
        (0..SIGNED).map(|n| signer.notification(&spread(n), message, now)).collect();
    let bodies = Arc::new(bodies?);
    for connections in [64] {
        let mut rounds: [Vec<Measured>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (kind, measured) in [("insert", 1), ("untoil", 2)] {
                let folder = tempfile::tempdir()?;
                std::fs::write(folder.path().join(CERTIFICATE), &signer.pem)?;
                let bodies = Arc::clone(&bodies);
                let make: Make = Arc::new(move |n| {
                    let id = spread(n);
                    (format!("idempotency-key: {id}\r\n"), bodies[n % SIGNED].clone())
                });
                let wanted = (make, connections, SIGNED, Duration::from_mins(1));
                rounds[measured].push(one(kind, ("sns", folder.path()), wanted).await?);
            }
        }
        tell("sns", connections, rounds);
    }
    Ok(())
}

/// Prints a line for each server, from its median round.
fn tell(part: &str, connections: usize, [bare, insert, untoil]: [Vec<Measured>; 3]) {
    let bare = median(bare);
    let (insert, untoil) = (median(insert), median(untoil));
    for (name, measured) in
        [("bare axum", &bare), ("axum + durable insert (reference)", &insert), ("untoil", &untoil)]
    {
        let Some(measured) = measured else { continue };
        let Measured { outcome, .. } = measured;
        let refused = match outcome.others {
            0 => String::new(),
            n => format!(", {n} not accepted"),
        };
        let line = format!(
            "{:.0}/s, {:.0} us CPU each, p50 {} p99 {} us{refused}",
            outcome.per_second(),
            measured.cpu_each(),
            outcome.within(50),
            outcome.within(99)
        );
        row(part, &format!("{connections:>3} conn.: {name}"), &line, "");
    }
    if let (Some(insert), Some(untoil)) = (insert, untoil) {
        let share = untoil.outcome.per_second() / insert.outcome.per_second() * 100.0;
        let cpu = untoil.cpu_each() / insert.cpu_each();
        let line = format!("{share:.0} % of the reference, {cpu:.1} x its CPU");
        row(
            part,
            &format!("{connections:>3} conn.: share"),
            &line,
            if part == "intake" { ">= 70 %" } else { "" },
        );
    }
}

fn median(mut rounds: Vec<Measured>) -> Option<Measured> {
    rounds.sort_by(|a, b| a.outcome.per_second().total_cmp(&b.outcome.per_second()));
    let middle = rounds.len() / 2;
    rounds.into_iter().nth(middle)
}
