//! The journal on a database; the only crate that names the database client.
//!
//! [`SqliteJournal`] is one file on a local disk, owned by one process. One thread writes, and
//! commits whatever is waiting as one group; another brings groups to the disk, and only then is
//! acknowledged what must survive `kill -9` and power loss. A few threads read.
#![forbid(unsafe_code)]

mod ends;
mod fault;
mod fresh;
mod open;
pub mod postgres;
mod prune;
mod queries;
mod readers;
mod refusal;
mod sqlite;
mod syncer;
mod threads;
mod transaction;
mod wal;
mod writer;
mod writes;

pub use open::{OpenError, when_threads_rest};
pub use sqlite::SqliteJournal;

#[cfg(test)]
mod tests;
