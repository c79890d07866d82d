//! Opening the file: its owner, its settings, its schema.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use untoil_model::Broken;

use crate::fault::Fault;
use crate::wal;

/// The schema's versions in order; the file's `user_version` says how many of them it has had.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Marks the file as ours (SQLite's `application_id`): "utjl".
const APPLICATION_ID: i64 = 0x7574_6a6c;

/// How long we wait for somebody else's lock on the file, such as a backup's, before we give up.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(5);

/// How many statements stay prepared: more than there are.
const STATEMENTS_MAX: usize = 40;

/// Why a journal's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("`{}` is in use by another untoil; stop that one, or give this one a file of its own", .0.display())]
    InUse(PathBuf),
    /// A newer untoil has migrated it.
    #[error(
        "`{}` has schema version {found}, and this untoil knows versions up to {known}; \
        run the newer untoil that wrote it", file.display()
    )]
    TooNew {
        /// The file.
        file: PathBuf,
        /// The version it has.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It is read only, and cannot be migrated to this version's schema.
    #[error("`{}` has schema version {found}; start `untoil serve` once to bring it up to date", file.display())]
    TooOld {
        /// The file.
        file: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// It is a database, but not a journal.
    #[error("`{}` is not a journal of untoil; name another file", .0.display())]
    NotAJournal(PathBuf),
    /// Its last entry is not what was written. Nothing may be chained to it.
    #[error("`{}` is damaged: {broken}; run `untoil audit verify`, then restore a backup", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// How its last entry fails the check.
        broken: Broken,
    },
    /// It cannot be read where it is: SQLite has to write beside it, and may not.
    #[error(
        "`{}` has a write-ahead log beside it and nothing can be written there; copy both to a folder \
        that can be written, and name that", .0.display()
    )]
    ReadOnly(PathBuf),
    /// The file system said no.
    #[error("`{}` could not be opened: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("`{}` could not be opened: {why}", file.display())]
    Database {
        /// The file.
        file: PathBuf,
        /// What it said.
        why: String,
    },
}

impl OpenError {
    pub(crate) fn of(file: &Path, fault: Fault) -> Self {
        let file = file.to_owned();
        match fault {
            Fault::Broken(broken) => Self::Damaged { file, broken },
            Fault::Database(error) => Self::Database { file, why: error.to_string() },
            Fault::Unreadable(why) => Self::Database { file, why },
        }
    }

    pub(crate) fn io(file: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { file: file.to_owned(), source }
    }
}

/// Becomes the file's only writer, until the returned lock is dropped or the process ends.
///
/// The lock is on a file beside it: closing the database file itself would drop SQLite's own locks.
pub(crate) fn own(file: &Path) -> Result<File, OpenError> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let lock = private().create(true).truncate(false).write(true).open(&beside);
    let lock = lock.map_err(OpenError::io(&beside))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(file.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&beside)(error)),
    }
}

/// Makes the file, readable by its owner only: deliveries may hold what others should not see.
/// SQLite gives its companions (`-wal`, `-shm`) the same permissions.
pub(crate) fn make(file: &Path) -> Result<(), OpenError> {
    match private().create_new(true).write(true).open(file) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(OpenError::io(file)(error)),
    }
}

#[cfg(unix)]
fn private() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private() -> OpenOptions {
    OpenOptions::new()
}

/// The connection that writes, on a file with the newest schema.
pub(crate) fn writing(file: &Path) -> Result<Connection, OpenError> {
    let open = || -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        settle(&connection)?;
        Ok(connection)
    };
    let mut connection = open().map_err(|fault| OpenError::of(file, fault))?;
    let version = version(file, &connection)?;
    let mut migrate = || -> Result<(), Fault> {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL: commits do not wait for the disk, and nothing is told of them before a sync of our
        // own. With no copying but the writer's, that promises what FULL does: see `crate::wal`.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        for (number, sql) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(sql)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.commit()?;
        }
        Ok(())
    };
    migrate().map_err(|fault| OpenError::of(file, fault))?;
    Ok(connection)
}

/// To what size the write-ahead log is cut back after a burst.
const WAL_BYTES_KEPT: i64 = 16 * 1024 * 1024;

/// How many KiB of pages the writer keeps: the index by message id is written all over, and what of
/// it is not kept is read again. Allocated as it is used.
const CACHE_KIB: i64 = 8 * 1024;

/// What each thread of a journal does when it has come to rest, if anything.
static AT_REST: OnceLock<fn()> = OnceLock::new();

/// Lets each thread of every journal do something whenever it has had nothing to do for 2 s, such as
/// giving back the memory that is kept for it. The first one stays; it must not wait.
pub fn when_threads_rest(then: fn()) {
    AT_REST.get_or_init(|| then);
}

/// Frees the pages that a connection keeps and does not use: it reads them again when it needs them.
pub(crate) fn let_go(connection: &Connection) {
    if let Err(error) = connection.execute_batch("PRAGMA shrink_memory") {
        tracing::debug!(%error, "a connection keeps its pages");
    }
    rest();
}

/// What the calling thread does when it has come to rest.
pub(crate) fn rest() {
    if let Some(then) = AT_REST.get() {
        then();
    }
}

/// A connection that only reads.
pub(crate) fn reading(file: &Path) -> Result<Connection, OpenError> {
    let open = |name: &Path| -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_with_flags(name, flags)?;
        settle(&connection)?;
        Ok(connection)
    };
    let mut connection = open(&uri(file, "")).map_err(|fault| OpenError::of(file, fault))?;
    if needs_to_write(&connection) {
        let log = wal::beside(file).map_err(OpenError::io(file))?;
        let none = [ErrorKind::NotFound, ErrorKind::InvalidFilename];
        if !log.symlink_metadata().is_err_and(|error| none.contains(&error.kind())) {
            return Err(OpenError::ReadOnly(file.to_owned()));
        }
        // Everything is in the file, and nobody has it open: with a log SQLite would have to see it.
        let immutable = uri(file, "?immutable=1");
        connection = open(&immutable).map_err(|fault| OpenError::of(file, fault))?;
    }
    let found = version(file, &connection)?;
    if found < known() {
        return Err(OpenError::TooOld { file: file.to_owned(), found });
    }
    Ok(connection)
}

/// Whether the file can be opened, but read only with what SQLite may not make beside it.
fn needs_to_write(connection: &Connection) -> bool {
    let looked = connection.query_one("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let code = looked.err().and_then(|error| error.sqlite_error_code());
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// A file's name as an URI (SQLite, "Uniform Resource Identifiers"), with what is to be asked of it.
fn uri(file: &Path, query: &str) -> PathBuf {
    let path = file.as_os_str().as_encoded_bytes();
    let mut uri = String::from(if path.starts_with(b"/") { "file://" } else { "file:" });
    for byte in path {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                uri.push(char::from(*byte));
            }
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    PathBuf::from(uri + query)
}

fn settle(connection: &Connection) -> Result<(), Fault> {
    connection.busy_timeout(BUSY_WAIT_MAX)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "trusted_schema", false)?;
    // A plan that peeks at what is bound is made anew for each value: a statement that finds its
    // rows by a partial index would be compiled again each time it runs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// The schema's version, of a file that is ours or empty.
fn version(file: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let number = |sql| -> Result<i64, OpenError> {
        let found = connection.query_one(sql, [], |row| row.get(0));
        found.map_err(|error| OpenError::of(file, error.into()))
    };
    let found = number("PRAGMA user_version")?;
    let is_empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    if number("PRAGMA application_id")? != APPLICATION_ID && !(is_empty && found == 0) {
        return Err(OpenError::NotAJournal(file.to_owned()));
    }
    if found > known() {
        return Err(OpenError::TooNew { file: file.to_owned(), found, known: known() });
    }
    Ok(found)
}
