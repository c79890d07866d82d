//! Real senders in front of the real `untoil` binary: other people's programs, not files of theirs.
//!
//! Each is set up with what its page in `docs/sources` says to paste, read from the page itself
//! ([`page`]), so that a page that no longer works fails here. Everything is on loopback, in a folder
//! of the test, on free ports, and ends with it.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]
#![expect(clippy::disallowed_methods, reason = "these tests start processes and wait for them")]

#[path = "../whole/cloud.rs"]
#[expect(dead_code, reason = "shared with the tests against stand-ins of AWS")]
mod cloud;
#[path = "../whole/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests against stand-ins of AWS")]
mod proxy;
#[path = "../whole/service.rs"]
#[expect(dead_code, reason = "shared with the tests against stand-ins of AWS")]
mod service;
#[path = "../whole/stand_in.rs"]
#[expect(dead_code, reason = "shared with the tests against stand-ins of AWS")]
mod stand_in;

mod cloudevents;
mod collectd;
mod icinga;
mod monit;
mod nagios;
mod page;
mod plugin;
mod process;
mod prometheus;
mod signed;
