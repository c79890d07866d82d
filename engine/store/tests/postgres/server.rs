//! A PostgreSQL server of the tests' own, on a free port of loopback, in a temporary folder.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};
use untoil_postgres::Programs;
use untoil_store::postgres::{PostgresConfig, migrate};

/// How long a start may take on a busy machine.
const STARTS_MAX: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// A running server; stopped when dropped.
pub(crate) struct Server {
    // In this order: it ends before its disk is taken away, and that before its folder.
    running: Mutex<untoil_postgres::Server>,
    programs: Programs,
    _mount: Option<Mount>,
    folder: TempDir,
    schemas: AtomicU32,
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
        let copy = self.running().copied(&folder.path().join("data"), folder.path()).unwrap();
        let standby = Self::with(copy, self.programs.clone(), folder, None);
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
        self.running().promote().unwrap();
    }

    fn with(
        server: untoil_postgres::Server,
        programs: Programs,
        folder: TempDir,
        mount: Option<Mount>,
    ) -> Self {
        let running = Mutex::new(server);
        Self { running, programs, _mount: mount, folder, schemas: AtomicU32::new(0) }
    }

    fn make(disk: Disk) -> Option<Self> {
        let programs = Programs::for_a_test()?;
        let folder = folder();
        let data = folder.path().join("data");
        let mount = match disk {
            Disk::Shared => None,
            Disk::Small { mib } => match Mount::at(&data, mib) {
                Some(mount) => Some(mount),
                None => {
                    eprintln!("SKIPPED: a small disk cannot be mounted, so none was filled");
                    return None;
                }
            },
        };
        // A language whose order is not that of the bytes.
        let order = ["--locale-provider=icu", "--icu-locale=en-US"];
        let init = [&["--no-sync", "--wal-segsize=1"], &order[..]].concat();
        programs.init(&data, &init).unwrap();
        certify(&data, |_| ());
        // Without fsync: processes are killed here, machines are not.
        let settings = ["fsync=off", "ssl=on", "max_connections=200"];
        let server = untoil_postgres::Server::new(&programs, &data, folder.path(), &settings);
        Some(Self::with(server.unwrap(), programs, folder, mount))
    }

    /// Starts it again and again until it answers: after a kill, the backends that were left keep
    /// its memory for a moment.
    pub(crate) async fn ready(&self) -> Client {
        for _ in 0..STARTS_MAX {
            self.running().start_where_ended().unwrap();
            if let Some(client) = self.try_client().await {
                return client;
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
        self.running().kill_all();
    }

    /// Stops it as an operator does, and waits for its end: sessions are told that it goes.
    pub(crate) fn stop(&self) {
        self.running().stop();
    }

    /// Freezes all of its processes; connections stay open and nobody answers.
    pub(crate) fn freeze(&self) {
        self.running().freeze();
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.running().thaw();
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
        self.running().url()
    }

    pub(crate) fn port(&self) -> u16 {
        self.running().port()
    }

    /// Its certificate, which nobody has signed.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data().join("server.crt")
    }

    /// Gives it another certificate, which it reads when it is told to.
    pub(crate) fn certify(&self, change: impl FnOnce(&mut CertificateParams)) {
        certify(&self.data(), change);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn running(&self) -> MutexGuard<'_, untoil_postgres::Server> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Writes a certificate that nobody has signed, and its key.
fn certify(data: &Path, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    change(&mut params);
    let made = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&made).unwrap();
    std::fs::write(data.join("server.crt"), certificate.pem()).unwrap();
    let key = data.join("server.key");
    std::fs::write(&key, made.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Programs::hand_over(&key).unwrap();
}

/// What the data is on.
#[derive(Clone, Copy)]
enum Disk {
    /// The disk of the temporary folder.
    Shared,
    /// One of its own.
    Small { mib: u32 },
}

/// A disk in memory; taken away when dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts one of so many MiB, if that is allowed here.
    fn at(place: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir(place).unwrap();
        let options = format!("size={mib}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "untoil-test"]).arg(place);
        if !mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return None;
        }
        let mount = Self(place.to_owned());
        Programs::hand_over(place).unwrap();
        Some(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "a disk stays mounted");
    }
}

/// A folder that the server may use.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    Programs::hand_over(folder.path()).unwrap();
    folder
}
