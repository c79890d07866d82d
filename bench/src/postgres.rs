//! Durable intake on PostgreSQL, with one and with three instances on one database. The server is
//! started here, with its defaults (`fsync` and `synchronous_commit` on), on a free port of loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use untoil_store::postgres::{PostgresConfig, migrate};

use crate::bodies::{Said, generic, generic_headers, spread};
use crate::child::Server;
use crate::load::{Load, Make, send};
use crate::process::cpu_micros;
use crate::table::row;

/// How long each number of instances is under load.
const TIME: Duration = Duration::from_secs(5);
/// Connections in all.
const CONNECTIONS: usize = 66;
/// How many instances there are.
const INSTANCES: [usize; 2] = [1, 3];
/// How long the server may take to start.
const STARTS_MAX: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);

/// A PostgreSQL server of the benchmark's own.
struct Postgres {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Postgres {
    async fn start() -> Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path())).await?;
        }
        let data = folder.path().join("data");
        let mut init = as_postgres(&programs.join("initdb"));
        init.args(["-A", "trust", "-U", "untoil", "-E", "UTF8", "--locale=C.UTF-8", "-D"]);
        run(init.arg(&data).stdout(Stdio::null())).await?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = as_postgres(&programs.join("postgres"));
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(folder.path());
        command.arg("-D").arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn()?;
        Ok(Some(Self { folder, port, child }))
    }

    fn url(&self) -> String {
        format!("postgres://untoil@127.0.0.1:{}/postgres", self.port)
    }

    async fn ready(&self) -> Result<()> {
        let config = PostgresConfig::new(self.url());
        for _ in 0..STARTS_MAX {
            if migrate(&config).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("PostgreSQL in `{}` did not start", self.folder.path().display())
    }

    /// Ends it in order.
    async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("PostgreSQL ended")?;
        run(Command::new("kill").args(["-INT", &id.to_string()])).await?;
        self.child.wait().await?;
        Ok(())
    }
}

pub(crate) async fn measure() -> Result<()> {
    let Some(postgres) = Postgres::start().await? else {
        row("postgres", "no PostgreSQL server is installed here", "not measured", "");
        return Ok(());
    };
    postgres.ready().await?;
    for (round, n) in INSTANCES.into_iter().enumerate() {
        intake(&postgres, n, round).await?;
    }
    postgres.stop().await
}

async fn intake(postgres: &Postgres, n: usize, round: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut servers = Vec::new();
    for _ in 0..n {
        servers.push(Server::start_on("postgres", folder.path(), &postgres.url()).await?);
    }
    let body = generic(&Said {
        key: "disk/i-0a1b2c3d4e5f67890",
        state: "firing",
        at: Timestamp::now(),
        metric: "disk_used_percent",
        instance: "i-0a1b2c3d4e5f67890",
    });
    let before = cpu(&servers)?;
    let loads: Vec<Load> = servers
        .iter()
        .enumerate()
        .map(|(instance, server)| {
            // No id comes twice on one database.
            let (body, from) = (body.clone(), (round * 16 + instance) << 40);
            let make: Make = Arc::new(move |n| (generic_headers(&spread(from + n)), body.clone()));
            Load {
                address: server.address,
                path: "/v1/events/generic".to_owned(),
                make,
                connections: CONNECTIONS / n,
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
    let each = (cpu(&servers)? - before) / u64::try_from(accepted.max(1))?;
    for server in servers {
        server.stop().await?;
    }
    let refused = if others == 0 { String::new() } else { format!(", {others} not accepted") };
    let line = format!("{per_second:.0}/s, {each} us CPU each, p50 {p50} p99 {p99} us{refused}");
    row("postgres", &format!("{CONNECTIONS} conn.: untoil, {n} instance(s)"), &line, "");
    Ok(())
}

/// Of untoil's processes alone.
fn cpu(servers: &[Server]) -> Result<u64> {
    servers.iter().map(|server| cpu_micros(server.pid)).sum()
}

/// Where distributions keep the server's programs; the newest first.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|folder| folder.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")))
}

async fn run(command: &mut Command) -> Result<()> {
    let status = command.status().await?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
