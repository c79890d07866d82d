//! A PostgreSQL server of a trial's own, on a free port of loopback, and what can happen to it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use untoil_postgres::{Programs, Server};

use crate::disk::Disk;
use crate::scenario::Blow;

/// Room for an empty database, its log, and the journal of a trial.
const DISK: &str = "192m";
/// A real file system's share comes on top.
const REAL_DISK: &str = "256m";

/// Small, so that many run beside each other.
const SETTINGS: [&str; 4] =
    ["max_connections=100", "shared_buffers=16MB", "max_wal_size=32MB", "min_wal_size=2MB"];

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
            Programs::hand_over(folder.path())?;
            let data = folder.path().join("data");
            Programs::here()?.init(&data, &["--no-sync", "--wal-segsize=1"])?;
            anyhow::Ok(folder)
        });
        Ok(made.await?.path().join("data"))
    }
}

/// A running database; stopped when dropped.
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
        let programs = Programs::here()?;
        let folder = TempDir::new()?;
        Programs::hand_over(folder.path())?;
        let small = folder.path().join("disk");
        let disk = match kind {
            Kind::Plain | Kind::Followed => None,
            Kind::Small => Some(Disk::mount(&small, DISK)?),
            Kind::Powered => Some(Disk::real(&small, REAL_DISK)?),
        };
        let base = if disk.is_some() { &small } else { folder.path() };
        Programs::hand_over(base)?;
        let data = base.join("data");
        let copied = Command::new("cp").arg("-a").arg(template.folder().await?).arg(&data).status();
        copied?.success().then_some(()).context("a database cannot be copied")?;
        let syncs = kind == Kind::Powered;
        disk.as_ref().filter(|_| syncs).map_or(Ok(()), Disk::keep)?;
        // Processes are killed here; machines only where they have a disk to lose something from.
        let keeps = if syncs { "fsync=on" } else { "fsync=off" };
        let settings = [&[keeps], &SETTINGS[..]].concat();
        let mut server = Server::new(&programs, &data, folder.path(), &settings)?;
        server.ready().await?;
        let mut database = Self { kind, server, standby: None, disk, folder };
        if kind == Kind::Followed {
            database.follow().await?;
        }
        Ok(database)
    }

    /// Where it is, and its standby.
    pub(crate) fn url(&self) -> String {
        let servers = [Some(&self.server), self.standby.as_ref()].into_iter().flatten();
        let hosts: Vec<_> = servers.map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("postgres://untoil@{}/postgres", hosts.join(","))
    }

    /// Runs a statement as its owner.
    pub(crate) fn sql(&self, statement: &str) -> Result<()> {
        self.server.sql(statement)
    }

    /// Makes a standby, and lets every commit wait for it.
    async fn follow(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let mut standby = self.server.copied(&folder.join("standby"), folder)?;
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
            Blow::Killed | Blow::FailedOver => self.server.kill(),
            Blow::Restarted => self.server.stop(),
            Blow::Frozen => self.server.freeze(),
            Blow::ReadOnly => self.read_only("on")?,
            Blow::Full => self.disk.as_ref().map_or(Ok(()), Disk::fill)?,
            Blow::PowerCut => {
                // First its disk: a backend that is left for a moment acknowledges nothing more.
                self.disk.as_ref().map_or(Ok(()), Disk::shut)?;
                self.server.kill_all();
                if let Some(disk) = &self.disk {
                    disk.cut().await?;
                }
            }
        }
        Ok(())
    }

    /// Undoes it, as far as people or a cloud would; what the engine does about it is its own.
    pub(crate) async fn mend(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Killed | Blow::Restarted | Blow::PowerCut => self.server.ready().await,
            Blow::Frozen => {
                self.server.thaw();
                Ok(())
            }
            Blow::ReadOnly => self.read_only("off"),
            Blow::Full => {
                self.disk.as_ref().map_or(Ok(()), Disk::free)?;
                // It may have ended for want of room.
                self.server.ready().await
            }
            Blow::FailedOver => {
                let standby = self.standby.take().context("there is a standby to promote")?;
                self.server = standby;
                self.server.promote()?;
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
