//! The write-ahead log's way to the disk, which is ours and not SQLite's.
//!
//! With `synchronous=FULL` SQLite waits for the disk inside `COMMIT`, and nothing else can be written
//! meanwhile. The writing connection has `synchronous=NORMAL` instead, under which `COMMIT` does not
//! wait, and another thread ([`crate::syncer`]) brings what was committed to the disk.
//!
//! What FULL does beyond NORMAL, and who does it here (`sqlite3.c` 3.54.1, the names are its own):
//!
//! - *The sync of the log behind each commit* (`walFrames`, under `WAL_SYNC_FLAGS`): [`Disk::sync`], once
//!   for all commits before it. SQLite has it done on its own descriptor; `fdatasync` is about the file,
//!   whichever descriptor of it is named, and includes its length. Nobody is told that a write is durable
//!   before a sync that began after its `COMMIT` has ended well.
//! - *Padding to the sector*, under the same flags: FULL has it only where a disk may spoil what stands
//!   beside what it writes. `SQLITE_POWERSAFE_OVERWRITE` says 1 in this build, so FULL has none either.
//! - Nothing else (`sqlite3PagerSetFlags`: the two differ in `WAL_SYNC_FLAGS` alone). The log's header is
//!   synced when the log begins anew, before a frame follows it; a checkpoint syncs the log before it
//!   copies, and the file before the log may begin anew (`CKPT_SYNC_FLAGS`, in both).
//!
//! What is lost with the power is therefore a tail of commits, as with FULL: each frame's checksum goes
//! on from the one before it, and recovery stops at the first that is wrong. The tail is longer than
//! with FULL by what nobody was told of.
//!
//! Three things follow that FULL need not care for:
//!
//! - An earlier process may have been killed between a commit and its sync. What is read from its log is
//!   in memory, not surely on the disk: [`renew`] brings it there before anything is built on it.
//! - After a sync that failed, Linux counts the pages as written and may forget them: a second sync that
//!   succeeds says nothing. So nothing is written any more, nothing of the log may be copied into the
//!   file (no checkpoint, not even at the end), and the next process writes the log's bytes once more.
//! - A checkpoint's own sync of the log could fail unheard (`sqlite3WalDefaultHook` drops the error). So
//!   SQLite begins none by itself: the writer does, when all that was written has been synced.
//!
//! The log is one file while a connection lives: SQLite opens it once, and shortens it, but neither
//! replaces nor removes it before the last connection closes. It takes no locks on it (`UNIXFILE_NOLOCK`),
//! so a descriptor of our own can be closed without dropping any.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What brings the log to the disk: a port, so that tests can have a disk that fails, hangs or loses
/// its power.
pub(crate) trait Disk: Send + std::fmt::Debug {
    /// Returns when everything that was written to the log before is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// The log's file.
#[derive(Debug)]
struct Log(File);

impl Disk for Log {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// How much of the log is written again at a time.
const PIECE_BYTES: usize = 256 * 1024;

/// Where SQLite has the log of a database file; it follows links first, as SQLite does.
pub(crate) fn beside(file: &Path) -> io::Result<PathBuf> {
    let mut log = file.canonicalize()?.into_os_string();
    log.push("-wal");
    Ok(log.into())
}

/// Opens the log, which a connection has made, and brings it to the disk with its name.
///
/// It stays open: an error of the disk is told to every descriptor that was open when it happened.
pub(crate) fn open(file: &Path) -> io::Result<Box<dyn Disk>> {
    let log = beside(file)?;
    let mut disk = Log(OpenOptions::new().write(true).open(&log)?);
    disk.sync()?;
    // SQLite does so as well, but only if it has made the log itself, and with the first commit.
    if let Some(folder) = log.parent()
        && let Err(error) = File::open(folder).and_then(|folder| folder.sync_all())
    {
        // Not every system can; those that cannot do not need it.
        tracing::debug!(%error, "the journal's folder could not be synced");
    }
    Ok(Box::new(disk))
}

/// Brings to the disk what another process has written to the log so far, if there is one, and if it may
/// be opened here: then whoever reads the journal reads nothing that a power loss takes back.
pub(crate) fn settle(log: &Path) -> io::Result<()> {
    match File::open(log) {
        Ok(log) => log.sync_data(),
        Err(error) if NO_LOG.contains(&error.kind()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What opening the log says when there is none that this process could read. A file whose name with
/// `-wal` is too long has none.
const NO_LOG: [ErrorKind; 3] =
    [ErrorKind::NotFound, ErrorKind::InvalidFilename, ErrorKind::PermissionDenied];

/// Writes the log that an earlier process has left once more, byte for byte, and brings it to the disk.
/// To be called by the file's only writer, before it opens the file.
///
/// That process may have ended because of a sync that failed: what is in memory then is not written
/// again unless it is changed, and never gets to the disk by a sync alone.
pub(crate) fn renew(file: &Path) -> io::Result<()> {
    let mut log = match OpenOptions::new().read(true).write(true).open(beside(file)?) {
        Ok(log) => log,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        log.seek(SeekFrom::Start(at))?;
        let read = log.read(&mut piece)?;
        if read == 0 {
            break;
        }
        log.seek(SeekFrom::Start(at))?;
        match log.write_all(&piece[..read]) {
            Ok(()) => at += u64::try_from(read).expect("a piece is small"),
            // A file system that never writes in place needs room for it. A full disk is no reason not
            // to start: it is waited for. What is there is synced as it is.
            Err(error) if is_full(&error) => break,
            Err(error) => return Err(error),
        }
    }
    log.sync_all()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_left_is_written_again_as_it_is() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("journal.db");
        std::fs::write(&file, "").unwrap();
        renew(&file).unwrap();
        assert!(!beside(&file).unwrap().exists(), "there was none");
        for bytes in [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 7] {
            let left: Vec<u8> = (0..bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
            std::fs::write(beside(&file).unwrap(), &left).unwrap();
            renew(&file).unwrap();
            assert!(std::fs::read(beside(&file).unwrap()).unwrap() == left, "{bytes} bytes");
        }
    }
}
