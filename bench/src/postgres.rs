//! Durable intake on PostgreSQL against a reference, and the way from a POST to the call, with one and
//! with three instances on one database. The server is started here, with its defaults (`fsync` and `synchronous_commit` on), on a free port of loopback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use untoil_postgres::Programs;
use untoil_store::postgres::{PostgresConfig, migrate};

use crate::acting::Acted;
use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::Server;
use crate::load::{Connection, Load, Make, send};
use crate::path::{firing, line};
use crate::process::cpu_micros;
use crate::table::row;

/// How long each number of instances is under load: longer, and as many would wait for their decision as may.
const TIME: Duration = Duration::from_millis(1_500);
/// Servers take turns, so that a noisy moment of the machine does not fall on one of them only.
const ROUNDS: usize = 3;
/// Who takes in, how many of them there are, and over how many connections in all.
const KINDS: [Kind; 6] = [
    (REFERENCE, 1, CONNECTIONS),
    (UNTOIL, 1, CONNECTIONS),
    (REFERENCE, 3, CONNECTIONS),
    (UNTOIL, 3, CONNECTIONS),
    (REFERENCE, 1, 3 * CONNECTIONS),
    (UNTOIL, 3, 3 * CONNECTIONS),
];
type Kind = (&'static str, usize, usize);
const REFERENCE: &str = "postgres-insert";
const UNTOIL: &str = "postgres";
/// Alarms that are measured one at a time, after some that warm up, and the time between two.
const ALARMS: usize = 200;
const WARM: usize = 10;
const BETWEEN: Duration = Duration::from_millis(10);
/// Alarms under load, each of a host of its own.
const MANY: usize = 1_500;
/// A call that did not come by then never does.
const CALL_MAX: Duration = Duration::from_mins(2);
/// Connections of one instance, or of all.
const CONNECTIONS: usize = 66;
/// How many instances there are.
const INSTANCES: [usize; 2] = [1, 3];

/// A PostgreSQL server of the benchmark's own.
struct Postgres {
    server: untoil_postgres::Server,
    _folder: TempDir,
}

impl Postgres {
    async fn start() -> Result<Option<Self>> {
        let Ok(programs) = Programs::here() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        Programs::hand_over(folder.path())?;
        let data = folder.path().join("data");
        programs.init(&data, &[])?;
        let mut server = untoil_postgres::Server::new(&programs, &data, folder.path(), &[])?;
        server.ready().await?;
        migrate(&PostgresConfig::new(server.url())).await?;
        Ok(Some(Self { server, _folder: folder }))
    }

    fn url(&self) -> String {
        self.server.url()
    }

    /// The processor time of all that it runs, in microseconds.
    fn cpu(&self) -> Result<u64> {
        let server = self.server.pid().context("PostgreSQL ended")?;
        let tasks = format!("/proc/{server}/task/{server}/children");
        let children = std::fs::read_to_string(tasks)?;
        // One that has just ended counts for nothing.
        Ok(children
            .split_whitespace()
            .filter_map(|child| cpu_micros(child.parse().ok()?).ok())
            .sum())
    }

    /// Empty tables in the place of those that were.
    async fn afresh(&self) -> Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        let drop = "DROP SCHEMA untoil CASCADE; DROP TABLE IF EXISTS reference";
        let dropped = async move { client.batch_execute(drop).await };
        // The connection ends when the client does.
        let (dropped, driven) = tokio::join!(dropped, connection);
        dropped?;
        driven?;
        migrate(&PostgresConfig::new(self.url())).await?;
        Ok(())
    }
}

pub(crate) async fn measure() -> Result<()> {
    let Some(postgres) = Postgres::start().await? else {
        row("postgres", "no PostgreSQL server is installed here", "not measured", "");
        return Ok(());
    };
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        for kind in KINDS {
            rates.push((kind, intake(&postgres, kind, round).await?));
        }
    }
    let best = |of: Kind| {
        let rates = rates.iter().filter(|(kind, _)| *kind == of);
        rates.map(|(_, rate)| *rate).fold(0.0, f64::max)
    };
    // What one reference takes in is the limit; as many references as there are instances have as many
    // writers, each with as few connections.
    let same = CONNECTIONS;
    for (n, of, connections) in [(1, 1, same), (3, 1, same), (3, 3, same), (3, 1, 3 * same)] {
        let share = best((UNTOIL, n, connections)) / best((REFERENCE, of, connections)) * 100.0;
        let line = format!("{share:.0} % of {of} reference(s), best of {ROUNDS} rounds");
        row("postgres", &format!("{connections} conn.: share, {n} instance(s)"), &line, ">= 70 %");
    }
    for n in INSTANCES {
        acting(&postgres, n).await?;
    }
    Ok(())
}

/// Deliveries a second.
async fn intake(postgres: &Postgres, (kind, n, connections): Kind, round: usize) -> Result<f64> {
    // Nobody decides here: what waits from one round must not be refused in the next.
    postgres.afresh().await?;
    let folder = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(Server::start_on(kind, folder.path(), &postgres.url()).await?);
    }
    let body = generic(&Said {
        key: "disk/i-0a1b2c3d4e5f67890",
        state: "firing",
        at: Timestamp::now(),
        metric: "disk_used_percent",
        instance: "i-0a1b2c3d4e5f67890",
    });
    let before = (cpu(&servers)?, postgres.cpu()?);
    let loads: Vec<Load> = servers
        .iter()
        .enumerate()
        .map(|(instance, server)| {
            // No id comes twice on one database.
            let (body, from) = (body.clone(), (round * 64 + n * 16 + instance) << 40);
            let make: Make = Arc::new(move |n| (generic_headers(&spread(from + n)), body.clone()));
            Load {
                address: server.address,
                path: "/v1/events/generic".to_owned(),
                make,
                connections: connections / n,
                requests: usize::MAX,
                time: TIME,
                again: None,
            }
        })
        .collect();
    let mut sending = tokio::task::JoinSet::new();
    for load in loads {
        sending.spawn(async move { send(&load).await });
    }
    let (mut per_second, mut accepted, mut others, mut p50, mut p99) = (0.0, 0, 0, 0, 0);
    while let Some(outcome) = sending.join_next().await {
        let outcome = outcome??;
        per_second += outcome.per_second();
        accepted += outcome.accepted;
        others += outcome.others;
        p50 = p50.max(outcome.within(50));
        p99 = p99.max(outcome.within(99));
    }
    let accepted = u64::try_from(accepted.max(1))?;
    let each = (cpu(&servers)? - before.0) / accepted;
    let database = (postgres.cpu()? - before.1) / accepted;
    for server in servers {
        server.stop().await?;
    }
    let refused = if others == 0 { String::new() } else { format!(", {others} not accepted") };
    let line = format!(
        "{per_second:.0}/s, {each} us CPU each, {database} us PostgreSQL's, p50 {p50} p99 {p99} us{refused}"
    );
    let who = match kind {
        UNTOIL => format!("untoil, {n} instance(s)"),
        _ => format!("axum + durable insert (reference), {n} of them"),
    };
    row("postgres", &format!("{connections} conn.: {who}"), &line, "");
    Ok(per_second)
}

/// From the POST to the call, on an engine of so many instances: one at a time, and under load.
async fn acting(postgres: &Postgres, n: usize) -> Result<()> {
    postgres.afresh().await?;
    let folder = tempfile::tempdir()?;
    let mut acted = Acted::start().await?;
    let reach = format!("{} {}", acted.address, postgres.url());
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(Server::start_on("postgres-engine", folder.path(), &reach).await?);
    }
    let mut connections = Vec::new();
    for server in &servers {
        connections.push(Connection::open(server.address).await?);
    }
    let mut called = Vec::new();
    for alarm in 0..WARM + ALARMS {
        let (instance, body) = firing(alarm);
        let headers = generic_headers(&spread(alarm));
        let posted = Instant::now();
        let connection = &mut connections[alarm % n];
        let status = connection.post("/v1/events/generic", &headers, &body).await?;
        let call = tokio::time::timeout(CALL_MAX, acted.calls.recv()).await;
        let (host, at) = call.context("an alarm led to no call")?.context("the stand-in ended")?;
        if (status, &host) != (202, &instance) {
            bail!("alarm {alarm} was answered with {status} and led to a call on `{host}`");
        }
        if alarm >= WARM {
            called.push(u64::try_from((at - posted).as_micros())?);
        }
        tokio::time::sleep(BETWEEN).await;
    }
    called.sort_unstable();
    let name = format!("POST to the call over HTTP, {n} instance(s)");
    row("postgres", &name, &line(&called), "");
    drop(connections);
    let before = cpu(&servers)?;
    let began = Instant::now();
    let mut sending = tokio::task::JoinSet::new();
    for (instance, server) in servers.iter().enumerate() {
        let from = (instance + 1) << 20;
        let make: Make =
            Arc::new(move |n| (generic_headers(&spread(from + n)), firing(from + n).1));
        let (address, path) = (server.address, "/v1/events/generic".to_owned());
        let (connections, requests) = (CONNECTIONS / n, MANY / n);
        let load = Load { address, path, make, connections, requests, time: CALL_MAX, again: None };
        sending.spawn(async move { send(&load).await });
    }
    while let Some(outcome) = sending.join_next().await {
        if outcome??.others > 0 {
            bail!("not every alarm was accepted");
        }
    }
    let many = MANY / n * n;
    for called in 0..many {
        let call = tokio::time::timeout(CALL_MAX, acted.calls.recv()).await;
        call.with_context(|| format!("only {called} of {many} alarms were acted on"))?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let each = (cpu(&servers)? - before) / u64::try_from(many)?;
    for server in servers {
        server.stop().await?;
    }
    let line = format!("{each} us CPU an alarm, all acted on within {seconds:.1} s");
    row("postgres", &format!("{many} alarms, {CONNECTIONS} conn.: {n} instance(s)"), &line, "");
    Ok(())
}

/// Of untoil's processes alone.
fn cpu(servers: &[Server]) -> Result<u64> {
    servers.iter().map(|server| cpu_micros(server.pid)).sum()
}
