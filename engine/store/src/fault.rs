//! What goes wrong between us and the file, and what the engine is told about it.

use std::path::Path;

use rusqlite::ErrorCode;
use untoil_journal::JournalError;
use untoil_model::Broken;

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// SQLite said no.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// A kept entry is not an entry.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Something else that is kept cannot be read back.
    #[error("{0}")]
    Unreadable(String),
}

impl Fault {
    /// What the engine is told, with the file and the way out.
    pub(crate) fn told(&self, file: &Path) -> JournalError {
        let file = file.display();
        match self {
            Self::Broken(broken) => broken.clone().into(),
            Self::Unreadable(why) => JournalError::Unavailable(format!("`{file}`: {why}")),
            Self::Database(error) => {
                let wayout = error.sqlite_error_code().map_or("", way_out);
                JournalError::Unavailable(format!("`{file}`: {error}{wayout}"))
            }
        }
    }

    /// Whether only the one write is to blame that met it; its neighbours would succeed without it.
    pub(crate) fn is_of_one_write(&self) -> bool {
        let Self::Database(error) = self else { return true };
        match error.sqlite_error_code() {
            None => true,
            Some(code) => matches!(
                code,
                ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig
            ),
        }
    }
}

/// What a person can do about it, to be put behind the message.
fn way_out(code: ErrorCode) -> &'static str {
    // SQLite's enum, not ours: new codes may come, and have no advice.
    if code == ErrorCode::DiskFull {
        "; nothing of this was written: free space on its disk, the journal then goes on by itself"
    } else if matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) {
        "; another program holds the file: end it"
    } else if matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) {
        "; stop, keep a copy of the file, and restore the last backup"
    } else if matches!(code, ErrorCode::ReadOnly | ErrorCode::PermissionDenied) {
        "; let the service's user write it and its folder"
    } else if code == ErrorCode::SystemIoFailure {
        "; see the system's log for its disk"
    } else {
        ""
    }
}
