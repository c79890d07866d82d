//! PostgreSQL servers for tests, trials and benchmarks: made, started, struck and stopped.
//!
//! Nothing of the engine is linked in here, and nothing here is part of it. Servers run on free ports of
//! loopback and are stopped when they are dropped.
//!
//! - [`Programs`]: PostgreSQL as it is installed here.
//! - [`Server`]: one server process with its data.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "it starts processes, and measures the machine's own time"
)]

mod programs;
mod server;

pub use programs::{Programs, SKIP};
pub use server::{Server, free_port};
