//! A PostgreSQL server of a trial's own, on a free port of loopback, and what can happen to it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::disk::Disk;
use crate::engine::{free_port, signal};
use crate::scenario::Blow;

/// How long a start may take on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Room for an empty database, its log, and the journal of a trial.
const DISK: &str = "192m";
/// A real file system's share comes on top.
const REAL_DISK: &str = "256m";

/// What a trial needs of its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server.
    Plain,
    /// One on a small disk of its own.
    Small,
    /// One that a standby follows, without which it commits nothing.
    Followed,
    /// One on a real disk whose power can be cut, and which it tells what to keep.
    Powered,
}

/// An empty database that others are copied from: making one takes seconds.
#[derive(Debug, Default)]
pub(crate) struct Template(OnceCell<TempDir>);

impl Template {
    /// Its folder, made for the first who asks.
    async fn folder(&self) -> Result<PathBuf> {
        let made = self.0.get_or_try_init(async || {
            let folder = TempDir::new()?;
            open_to_all(folder.path())?;
            let (data, programs) = (folder.path().join("data"), programs_here()?);
            let mut init = as_postgres(&programs, "initdb");
            init.args(["-A", "trust", "-U", "untoil", "-E", "UTF8", "--no-sync"]);
            init.args(["--locale=C.UTF-8", "--wal-segsize=1", "-D"]).arg(data);
            run(&mut init)?;
            anyhow::Ok(folder)
        });
        Ok(made.await?.path().join("data"))
    }
}

/// One server process with its folder.
#[derive(Debug)]
struct Server {
    data: PathBuf,
    sockets: PathBuf,
    programs: PathBuf,
    port: u16,
    child: Option<Child>,
    /// Whether it tells its disk what to keep.
    syncs: bool,
}

/// A running database; killed when dropped.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) kind: Kind,
    server: Server,
    standby: Option<Server>,
    // In this order: what lies on it is gone before the disk is, and that before its folder.
    disk: Option<Disk>,
    folder: TempDir,
}

impl Database {
    /// Makes one in a folder of its own and starts it.
    pub(crate) async fn start(kind: Kind, template: &Template) -> Result<Self> {
        let programs = programs_here()?;
        let folder = TempDir::new()?;
        open_to_all(folder.path())?;
        let small = folder.path().join("disk");
        let disk = match kind {
            Kind::Plain | Kind::Followed => None,
            Kind::Small => Some(Disk::mount(&small, DISK)?),
            Kind::Powered => Some(Disk::real(&small, REAL_DISK)?),
        };
        let base = if disk.is_some() { &small } else { folder.path() };
        open_to_all(base)?;
        let mut server = Server::new(base.join("data"), folder.path(), &programs)?;
        server.syncs = kind == Kind::Powered;
        run(Command::new("cp").arg("-a").arg(template.folder().await?).arg(&server.data))?;
        disk.as_ref().filter(|_| server.syncs).map_or(Ok(()), Disk::keep)?;
        server.up()?;
        server.ready().await?;
        let mut database = Self { kind, server, standby: None, disk, folder };
        if kind == Kind::Followed {
            database.follow(&programs).await?;
        }
        Ok(database)
    }

    /// Where it is, and its standby.
    pub(crate) fn url(&self) -> String {
        let servers = [Some(&self.server), self.standby.as_ref()].into_iter().flatten();
        let hosts: Vec<_> = servers.map(|one| format!("127.0.0.1:{}", one.port)).collect();
        format!("postgres://untoil@{}/postgres", hosts.join(","))
    }

    /// Runs a statement as its owner.
    pub(crate) fn sql(&self, statement: &str) -> Result<()> {
        self.server.sql(statement)
    }

    /// Makes a standby, and lets every commit wait for it.
    async fn follow(&mut self, programs: &Path) -> Result<()> {
        let folder = self.folder.path().to_owned();
        let mut standby = Server::new(folder.join("standby"), &folder, programs)?;
        let mut copy = standby.program("pg_basebackup");
        let from = self.server.port.to_string();
        copy.args(["-h", "127.0.0.1", "-p", &from, "-U", "untoil", "-R", "-X", "stream"]);
        copy.args(["--no-sync", "-c", "fast", "-D"]).arg(&standby.data);
        run(&mut copy)?;
        standby.up()?;
        standby.ready().await?;
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.sql("SELECT pg_reload_conf()")?;
        self.standby = Some(standby);
        // Returns when the standby has it.
        self.sql("CREATE TABLE followed (n integer)")
    }

    /// Strikes it.
    pub(crate) async fn strike(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Killed => self.server.kill(),
            Blow::Restarted => {
                if let Some(mut child) = self.server.child.take() {
                    signal(child.id(), "INT")?;
                    child.wait()?;
                }
                Ok(())
            }
            Blow::Frozen => self.server.all("STOP"),
            Blow::ReadOnly => self.read_only("on"),
            Blow::FailedOver => self.server.kill(),
            Blow::Full => self.disk.as_ref().map_or(Ok(()), Disk::fill),
            Blow::PowerCut => {
                // First its disk: a backend that is left for a moment acknowledges nothing more.
                self.disk.as_ref().map_or(Ok(()), Disk::shut)?;
                self.server.all("KILL")?;
                self.server.kill()?;
                match &self.disk {
                    Some(disk) => disk.cut().await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Undoes it, as far as people or a cloud would; what the engine does about it is its own.
    pub(crate) async fn mend(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Killed | Blow::Restarted | Blow::PowerCut => self.server.ready().await,
            Blow::Frozen => self.server.all("CONT"),
            Blow::ReadOnly => self.read_only("off"),
            Blow::Full => {
                self.disk.as_ref().map_or(Ok(()), Disk::free)?;
                // It may have ended for want of room.
                self.server.ready().await
            }
            Blow::FailedOver => {
                let standby = self.standby.take().context("there is a standby to promote")?;
                self.server = standby;
                self.sql("SELECT pg_promote()")?;
                // The copied setting, by which it would now wait for a standby of its own.
                self.sql("ALTER SYSTEM RESET synchronous_standby_names")?;
                self.sql("SELECT pg_reload_conf()")
            }
        }
    }

    fn read_only(&self, on: &str) -> Result<()> {
        self.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {on}"))?;
        self.sql("SELECT pg_reload_conf()")
    }
}

impl Server {
    fn new(data: PathBuf, sockets: &Path, programs: &Path) -> Result<Self> {
        let (sockets, programs) = (sockets.to_owned(), programs.to_owned());
        Ok(Self { data, sockets, programs, port: free_port()?, child: None, syncs: false })
    }

    /// Waits until it takes connections, starting it again while it does not.
    async fn ready(&mut self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < STARTS_WITHIN {
            if self.sql("SELECT 1").is_ok() {
                return Ok(());
            }
            // After a kill, backends that were left keep its memory for a moment.
            if self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                self.up()?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("the PostgreSQL server does not start")
    }

    fn up(&mut self) -> Result<()> {
        let mut command = self.program("postgres");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        // Processes are killed here; machines only where they have a disk to lose something from.
        command.args(["-c", if self.syncs { "fsync=on" } else { "fsync=off" }]);
        command.args(["-c", "max_connections=100", "-c", "shared_buffers=16MB"]);
        command.args(["-c", "max_wal_size=32MB", "-c", "min_wal_size=2MB", "-k"]);
        command.arg(&self.sockets).arg("-D").arg(&self.data);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().context("PostgreSQL cannot be started")?);
        Ok(())
    }

    /// A signal to its first process and all backends.
    fn all(&self, name: &str) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let children = Command::new("pgrep").arg("-P").arg(child.id().to_string()).output()?;
        signal(child.id(), name)?;
        for one in String::from_utf8_lossy(&children.stdout).lines() {
            // A backend may have ended meanwhile.
            drop(signal(one.parse()?, name));
        }
        Ok(())
    }

    /// SIGKILL to its first process: every backend ends, nothing is written any more.
    fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn sql(&self, statement: &str) -> Result<()> {
        let mut psql = Command::new(self.programs.join("psql"));
        // The session may write even while that is switched off for all.
        psql.env("PGOPTIONS", "-c default_transaction_read_only=off");
        psql.env("PGCONNECT_TIMEOUT", "3");
        let url = format!("postgres://untoil@127.0.0.1:{}/postgres", self.port);
        psql.args(["-X", "-q", "-d", &url, "-c", statement]);
        run(&mut psql)
    }

    fn program(&self, name: &str) -> Command {
        as_postgres(&self.programs, name)
    }
}

/// A program of the server's, as somebody whom it lets run it.
fn as_postgres(programs: &Path, name: &str) -> Command {
    let program = programs.join(name);
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        return Command::new(program);
    }
    // The server refuses to be run by root.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.all("CONT"));
        drop(self.kill());
    }
}

fn open_to_all(folder: &Path) -> Result<()> {
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))?)
}

fn programs_here() -> Result<PathBuf> {
    programs()
        .context("there is no PostgreSQL server here: install it (`apt-get install postgresql`)")
}

fn programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
    let told = told.ok().map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let packaged = packaged.filter_map(Result::ok).map(|version| version.path().join("bin"));
    told.into_iter().chain(packaged).find(|bin| bin.join("initdb").exists())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    status.success().then_some(()).with_context(|| format!("{command:?}: {status}"))
}
