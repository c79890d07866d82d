//! `untoil.yaml` and the variables that override it: the server's own parser and checks.
#![no_main]
#![expect(
    dead_code,
    unused_imports,
    reason = "the server's files are here for one of their functions"
)]

// The configuration lives in the binary. Its files are taken as they are, with the one type that it
// needs of the crate that knows AWS, so that no SDK is built with coverage.
extern crate self as untoil_aws;

#[path = "../../engine/server/tests/entries/config.rs"]
mod entries;
#[path = "../../engine/server/src"]
mod server {
    pub(crate) mod config;
    pub(crate) mod health {
        pub(crate) mod log;
    }
}
#[path = "../../actions/aws/src/sqs_address.rs"]
mod sqs_address;

use server::{config, health};
use sqs_address::QueueAddress;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::configured(input));
