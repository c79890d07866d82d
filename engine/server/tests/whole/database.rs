//! A PostgreSQL server of a test's own, on a free port of loopback, in a temporary folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::stand_in::{SKIP, free_port};

/// Looks until it must answer: a minute, for busy machines.
const READY_TRIES: u32 = 600;

/// A running server; stopped when this is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Database {
    /// Starts one, or says that the test is skipped.
    pub(crate) async fn start() -> Option<Self> {
        if std::env::var_os(SKIP).is_some() {
            // Not `eprintln!`, which a passing test swallows.
            let said = format!("SKIPPED: {SKIP} is set; nothing was tested on PostgreSQL\n");
            std::io::stderr().write_all(said.as_bytes()).unwrap();
            return None;
        }
        let programs = programs().unwrap_or_else(|| {
            panic!("there is no PostgreSQL here: `apt-get install postgresql`, or set {SKIP}=1")
        });
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let data = folder.path().join("data");
        let mut init = as_postgres(&programs.join("initdb"));
        init.args(["-A", "trust", "-U", "untoil", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"]);
        run(init.arg("-D").arg(&data));
        let mut server = as_postgres(&programs.join("postgres"));
        // Without fsync: processes are killed here, machines are not.
        server.args(["-F", "-h", "127.0.0.1", "-p", &port.to_string(), "-k"]).arg(folder.path());
        server.arg("-D").arg(&data).stdin(Stdio::null());
        let child = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut database = Self { folder, port, child };
        database.is_ready(&programs).await;
        Some(database)
    }

    async fn is_ready(&mut self, programs: &Path) {
        for _ in 0..READY_TRIES {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                let mut ask = Command::new(programs.join("pg_isready"));
                ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
                if ask.status().unwrap().success() {
                    return;
                }
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "PostgreSQL does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("PostgreSQL in {} was not ready within a minute", self.folder.path().display());
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://untoil@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // "Fast": it ends its sessions and stops.
        let mut stop = Command::new("kill");
        drop(stop.args(["-INT", &self.child.id().to_string()]).status());
        drop(self.child.wait());
    }
}

fn programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
    let told = told.ok().map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let packaged = packaged.filter_map(Result::ok).map(|version| version.path().join("bin"));
    told.into_iter().chain(packaged).find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout.starts_with(b"0\n")
}

/// The server refuses to be run by root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
