//! The journal on PostgreSQL.
//!
//! One writing task per instance commits whatever is waiting as one group. All writers of a schema
//! meet at its one `head` row, which a group locks before it looks at anything and holds until it
//! has committed: conditions are therefore judged on the newest state, places have no gaps, and
//! entries become visible in their order. No reader can pass over an entry that commits late.
//!
//! An instance that is alone with its schema lets its commit wait for the disk. Where several write, the
//! row is given up first and the disk waited for afterwards, so that they wait for it together
//! ([`chain::Ending`]); nobody is answered, and no head moves, before the disk has it.
//!
//! What is not known is not claimed. When the connection is lost during a commit, the writer takes
//! the `head` row's lock on a new connection, which waits for the old transaction's end, and looks
//! whether its last entry's hash is in its place. Only when it cannot look is the answer
//! [`Unavailable`](untoil_journal::JournalError::Unavailable).
//!
//! Instances share the work by the same row's lock ([`sharing`]): who holds what changes only under
//! it, so a group that must hold something finds out whether it does in the transaction that writes.

mod chain;
mod config;
mod connect;
mod fault;
mod follower;
mod group;
mod journal;
mod migrate;
mod nul;
mod prune;
mod queries;
mod receives;
mod roster;
mod rows;
mod sharing;
mod tls;
mod writer;

pub use config::{PostgresConfig, Tls};
pub use fault::PostgresError;
pub use journal::PostgresJournal;
pub use migrate::migrate;
