//! A PostgreSQL server of the tests' own, on a free port of loopback, in a temporary folder.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use untoil_store::postgres::{PostgresConfig, migrate};

/// How long a start may take on a busy machine.
const STARTS_MAX: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; stopped when dropped.
pub(crate) struct Server {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    child: Mutex<Option<Child>>,
    schemas: AtomicU32,
    /// Whether its data is on a small disk of its own, to be taken away again.
    is_mounted: bool,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// The server that tests share while they run; none, and a loud line, when stand-ins are to be
    /// skipped.
    pub(crate) async fn shared() -> Option<Arc<Self>> {
        let server = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            match shared.upgrade() {
                Some(server) => server,
                None => {
                    let server = Arc::new(Self::make(Disk::Shared)?);
                    *shared = Arc::downgrade(&server);
                    server
                }
            }
        };
        drop(server.ready().await);
        Some(server)
    }

    /// A server of one test's own, to be killed and reconfigured.
    pub(crate) async fn own() -> Option<Self> {
        let server = Self::make(Disk::Shared)?;
        drop(server.ready().await);
        Some(server)
    }

    /// A server whose data is on a disk of so many MiB; none, and a loud line, where a disk cannot
    /// be mounted.
    pub(crate) async fn on_small_disk(mib: u32) -> Option<Self> {
        let server = Self::make(Disk::Small { mib })?;
        drop(server.ready().await);
        Some(server)
    }

    /// A standby of this one that follows it; every commit waits for it from now on.
    pub(crate) async fn standby(&self) -> Self {
        let folder = folder();
        let mut copy = as_postgres(&self.programs.join("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", "untoil", "-R", "-X", "stream", "-c", "fast"]);
        copy.args(["-p", &self.port.to_string(), "-D"]).arg(folder.path().join("data"));
        run(copy.stdout(Stdio::null()));
        let standby = Self::with(folder, self.programs.clone(), false);
        standby.start();
        drop(standby.ready().await);
        let client = self.ready().await;
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let follows = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
        for _ in 0..STARTS_MAX {
            if client.query_opt(follows, &[]).await.unwrap().is_some() {
                return standby;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the standby does not follow");
    }

    /// Makes a standby take writes.
    pub(crate) fn promote(&self) {
        let mut promote = as_postgres(&self.programs.join("pg_ctl"));
        run(promote.arg("promote").arg("-D").arg(self.data()).stdout(Stdio::null()));
    }

    fn with(folder: TempDir, programs: PathBuf, is_mounted: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Mutex::new(None);
        Self { folder, programs, port, child, schemas: AtomicU32::new(0), is_mounted }
    }

    fn make(disk: Disk) -> Option<Self> {
        if std::env::var_os("UNTOIL_SKIP_STAND_INS").is_some() {
            eprintln!("SKIPPED: UNTOIL_SKIP_STAND_INS is set, so nothing was run on PostgreSQL");
            return None;
        }
        let programs = programs().expect(
            "there is no PostgreSQL server here: install it (`apt-get install postgresql`), \
             or set UNTOIL_SKIP_STAND_INS to go without",
        );
        let folder = folder();
        let data = folder.path().join("data");
        let is_mounted = match disk {
            Disk::Shared => false,
            Disk::Small { mib } => {
                if !mounts(&data, mib) {
                    eprintln!("SKIPPED: a small disk cannot be mounted, so none was filled");
                    return None;
                }
                true
            }
        };
        // A language whose order is not that of the bytes.
        let mut init = as_postgres(&programs.join("initdb"));
        init.args(["-A", "trust", "-U", "untoil", "-E", "UTF8", "--no-sync", "--wal-segsize=1"])
            .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "-D"]);
        run(init.arg(&data).stdout(Stdio::null()).stderr(Stdio::null()));
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(data.join("server.crt"), made.cert.pem()).unwrap();
        std::fs::write(data.join("server.key"), made.signing_key.serialize_pem()).unwrap();
        let key = data.join("server.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&key));
        }
        let server = Self::with(folder, programs, is_mounted);
        server.start();
        Some(server)
    }

    /// Starts it, also after a kill.
    pub(crate) fn start(&self) {
        let mut command = as_postgres(&self.programs.join("postgres"));
        // Without fsync: processes are killed here, machines are not.
        command
            .args(["-F", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-c", "ssl=on", "-c", "max_connections=200", "-k"])
            .arg(self.folder.path())
            .arg("-D")
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        *self.child() = Some(command.spawn().unwrap());
    }

    /// Starts it again and again until it answers: after a kill, the backends that were left keep
    /// its memory for a moment.
    pub(crate) async fn ready(&self) -> Client {
        for _ in 0..STARTS_MAX {
            if let Some(client) = self.try_client().await {
                return client;
            }
            let ended = self.child().as_mut().is_none_or(|c| c.try_wait().unwrap().is_some());
            if ended {
                self.start();
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("the PostgreSQL server does not start");
    }

    async fn try_client(&self) -> Option<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.ok()?;
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            drop(runtime.unwrap().block_on(connection));
        });
        client.batch_execute("SELECT 1").await.ok()?;
        Some(client)
    }

    /// SIGKILL to all of its processes: nothing is written any more.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            // Stopped first, so that no process is added or has time to say goodbye.
            signal("-STOP", &[child.id()]);
            let mut all = children(child.id());
            all.push(child.id());
            signal("-KILL", &all);
            child.wait().unwrap();
        }
    }

    /// Stops it as an operator does, and waits for its end: sessions are told that it goes.
    pub(crate) fn stop(&self) {
        if let Some(mut child) = self.child().take() {
            signal("-INT", &[child.id()]);
            child.wait().unwrap();
        }
    }

    /// Freezes all of its processes; connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        let first = self.child().as_ref().unwrap().id();
        signal("-STOP", &[first]);
        signal("-STOP", &children(first));
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        let first = self.child().as_ref().unwrap().id();
        signal("-CONT", &children(first));
        signal("-CONT", &[first]);
    }

    /// Fills its disk to the last byte; says with what.
    pub(crate) fn fill(&self) -> PathBuf {
        let ballast = self.data().join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        for size in [1 << 20, 1 << 10, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        ballast
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://untoil@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, which nobody has signed.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data().join("server.crt")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A schema that nobody else uses, not yet migrated.
    pub(crate) fn empty(&self) -> PostgresConfig {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        PostgresConfig {
            schema: format!("test_{number}"),
            pool: 4,
            ..PostgresConfig::new(self.url())
        }
    }

    /// The same, migrated.
    pub(crate) async fn fresh(&self) -> PostgresConfig {
        let config = self.empty();
        migrate(&config).await.unwrap();
        config
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child().take() {
            // "Fast": it ends its sessions and stops.
            signal("-INT", &[child.id()]);
            drop(child.wait());
        }
        if self.is_mounted {
            run(Command::new("umount").arg(self.data()));
        }
    }
}

/// What the data is on.
#[derive(Clone, Copy)]
enum Disk {
    /// The disk of the temporary folder.
    Shared,
    /// One of its own.
    Small { mib: u32 },
}

/// A folder that the server may use.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(folder.path()));
    }
    folder
}

/// Mounts a disk of so many MiB, if that is allowed here.
fn mounts(at: &Path, mib: u32) -> bool {
    if !is_root() {
        return false;
    }
    std::fs::create_dir(at).unwrap();
    let options = format!("size={mib}m,mode=700");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &options, "untoil-test"]).arg(at).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        return false;
    }
    run(Command::new("chown").arg("postgres").arg(at));
    true
}

/// The processes that a process has started.
fn children(of: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &of.to_string()]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Sends a signal to processes that this test has started; some may have ended meanwhile.
fn signal(name: &str, to: &[u32]) {
    let mut kill = Command::new("kill");
    drop(kill.arg(name).args(to.iter().map(u32::to_string)).stderr(Stdio::null()).status());
}

fn programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
    let told = told.ok().map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let packaged = packaged.filter_map(Result::ok).map(|version| version.path().join("bin"));
    told.into_iter().chain(packaged).find(|bin| bin.join("initdb").exists())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.starts_with(b"0\n")
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
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
