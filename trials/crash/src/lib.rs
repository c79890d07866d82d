//! The crash matrix: the real `untoil serve`, in live mode, against a stand-in for AWS that keeps its
//! own record, under a sender that keeps its own, while processes, databases, disks and clocks fail.
//!
//! Nothing of the engine is linked in here. What was promised is counted from outside: what the sender
//! was told, what the journal says, what was done at AWS.
//!
//! - [`Scenario`]: what goes wrong and when, from a name and a seed.
//! - [`Trial`]: one play of it, and the [`Counts`] of what it came to.
#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "it starts and kills processes, and measures the machine's own time"
)]

mod aws;
mod binary;
mod chance;
mod checks;
mod disk;
mod engine;
mod http;
mod postgres;
mod queue;
mod ready;
mod scenario;
mod sender;
mod stage;
mod surroundings;
mod table;
mod traps;
mod trial;
mod upgrade;

pub use binary::{built, folder};
pub use checks::Counts;
pub use scenario::{Cluster, SCENARIOS, Scenario, Store, Upgrade};
pub use table::Table;
pub use trial::{Keep, Trial, Verdict, play_all};
pub use upgrade::WORKS;
