//! One server process with its data, and what can happen to it.

use std::net::TcpListener;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::programs::{Programs, run};

/// How long a start may take on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks whether it takes connections.
const PAUSE: Duration = Duration::from_millis(50);

/// A server process; it is stopped when this is dropped.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    data: PathBuf,
    sockets: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// A server that does not run yet, on data that [`Programs::init`] has made. `sockets` is a folder
    /// that it may use; `settings` are those of its configuration, as `max_connections=100`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(
        programs: &Programs,
        data: &Path,
        sockets: &Path,
        settings: &[&str],
    ) -> Result<Self> {
        Ok(Self {
            programs: programs.clone(),
            data: data.to_owned(),
            sockets: sockets.to_owned(),
            port: free_port()?,
            settings: settings.iter().map(ToString::to_string).collect(),
            child: None,
        })
    }

    /// Makes a database in a folder, starts a server on it and waits until that is ready. It does not
    /// wait for a disk: what uses it is killed, machines are not.
    ///
    /// # Errors
    /// When it cannot be made or does not start.
    pub async fn quick(programs: &Programs, folder: &Path, settings: &[&str]) -> Result<Self> {
        let data = folder.join("data");
        Programs::hand_over(folder)?;
        programs.init(&data, &["--no-sync"])?;
        let settings: Vec<_> = ["fsync=off"].iter().chain(settings).copied().collect();
        let mut server = Self::new(programs, &data, folder, &settings)?;
        server.ready().await?;
        Ok(server)
    }

    /// Starts it, also after a kill.
    ///
    /// # Errors
    /// When its program cannot be run.
    fn start(&mut self) -> Result<()> {
        let mut command = self.programs.server_side("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-k"]).arg(&self.sockets);
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        command.arg("-D").arg(&self.data).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().context("PostgreSQL cannot be started")?);
        Ok(())
    }

    /// Waits until it takes connections, starting it again and again while it does not run: after a
    /// kill, the backends that were left keep its memory for a moment.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub async fn ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < STARTS_WITHIN {
            self.start_where_ended()?;
            if self.is_ready() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the PostgreSQL server in `{}` does not start", self.data.display())
    }

    /// Starts it unless it runs.
    ///
    /// # Errors
    /// When its program cannot be run.
    pub fn start_where_ended(&mut self) -> Result<()> {
        let runs = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if runs { Ok(()) } else { self.start() }
    }

    /// Whether it takes connections.
    pub fn is_ready(&self) -> bool {
        let mut ask = self.programs.client("pg_isready");
        run(ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])).is_ok()
    }

    /// Runs a statement as its owner, also where it is read-only for others.
    ///
    /// # Errors
    /// When it does not answer, or refuses it.
    pub fn sql(&self, statement: &str) -> Result<()> {
        run(&mut self.asks(statement))
    }

    /// Makes a standby take writes, and waits until it does.
    ///
    /// # Errors
    /// When it does not.
    pub fn promote(&self) -> Result<()> {
        // What it answers is no error where it fails.
        self.sql("DO $$ BEGIN IF NOT pg_promote() THEN RAISE 'it was not promoted'; END IF; END $$")
    }

    /// A program that runs such a statement and ends.
    pub fn asks(&self, statement: &str) -> Command {
        let mut psql = self.programs.client("psql");
        psql.env("PGOPTIONS", "-c default_transaction_read_only=off");
        psql.env("PGCONNECT_TIMEOUT", "3");
        psql.args(["-X", "-q", "-d", &self.url(), "-c", statement]);
        psql
    }

    /// Copies it into a folder, as a standby that follows it; that does not run yet.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copied(&self, data: &Path, sockets: &Path) -> Result<Self> {
        let mut copy = self.programs.server_side("pg_basebackup");
        copy.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "untoil", "-R"]);
        run(copy.args(["-X", "stream", "--no-sync", "-c", "fast", "-D"]).arg(data))?;
        let settings: Vec<_> = self.settings.iter().map(String::as_str).collect();
        Self::new(&self.programs, data, sockets, &settings)
    }

    /// SIGKILL to its first process: every backend ends, nothing is written any more.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// SIGKILL to all of its processes at once: none has time to say goodbye.
    pub fn kill_all(&mut self) {
        if let Some(first) = self.pid() {
            // Stopped first, so that no process is added meanwhile.
            signal("STOP", &[first]);
            signal("KILL", &children(first));
        }
        self.kill();
    }

    /// Stops it as an operator does, and waits for its end: sessions are told that it goes.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Freezes all of its processes; connections stay open and nobody answers.
    pub fn freeze(&self) {
        if let Some(first) = self.pid() {
            signal("STOP", &[first]);
            signal("STOP", &children(first));
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        if let Some(first) = self.pid() {
            signal("CONT", &children(first));
            signal("CONT", &[first]);
        }
    }

    /// The id of its first process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it listens, on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where its owner finds it.
    pub fn url(&self) -> String {
        format!("postgres://untoil@127.0.0.1:{}/postgres", self.port)
    }

    fn end(&mut self, by: &str) {
        if let Some(mut child) = self.child.take() {
            signal(by, &[child.id()]);
            drop(child.wait());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.thaw();
        // "Immediate": nothing of it is needed any more, and its disk may be full or gone.
        self.end("QUIT");
    }
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let listed = Command::new("pgrep").arg("-P").arg(of.to_string()).output();
    let listed = listed.map(|listed| String::from_utf8_lossy(&listed.stdout).into_owned());
    listed.unwrap_or_default().lines().filter_map(|one| one.parse().ok()).collect()
}

/// A signal to processes that this program has started; some may have ended meanwhile.
fn signal(name: &str, to: &[u32]) {
    let mut kill = Command::new("kill");
    kill.arg(format!("-{name}")).args(to.iter().map(u32::to_string));
    drop(kill.stderr(Stdio::null()).status());
}

/// Ports that systems give to nobody by themselves (Linux from 32,768, others from 49,152), so that who is
/// killed and started again finds its port free.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of loopback that nobody listens on just now, and that this program has not been given before.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Programs that run at the same time look in places of their own.
    let place = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let n = place.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let n = n % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(n).expect("it is less than there are ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("every port from {} to {} is taken", PORTS.start, PORTS.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice_and_none_that_is_taken() {
        let taken: Vec<_> = (0..50)
            .map(|_| TcpListener::bind(("127.0.0.1", free_port().unwrap())).unwrap())
            .collect();
        let mut given: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        given.extend(taken.iter().map(|one| one.local_addr().unwrap().port()));
        assert!(given.iter().all(|port| PORTS.contains(port)));
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 100);
    }
}
