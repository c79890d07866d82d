//! The journal on a database; the only crate that names the database client.
//!
//! [`SqliteJournal`] is one file on a local disk, owned by one process. One thread writes, and
//! commits whatever is waiting as one group with `synchronous=FULL`, so that what is acknowledged
//! survives `kill -9` and power loss; a few threads read.
#![forbid(unsafe_code)]

mod ends;
mod fault;
mod open;
pub mod postgres;
mod prune;
mod queries;
mod readers;
mod refusal;
mod sqlite;
mod threads;
mod transaction;
mod writer;
mod writes;

pub use open::OpenError;
pub use sqlite::SqliteJournal;

#[cfg(test)]
mod tests;
