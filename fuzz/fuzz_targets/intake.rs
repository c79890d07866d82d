//! A whole request: authentication of every kind, reading, keeping.
#![no_main]

#[expect(dead_code, reason = "one of its entry points is this target's")]
#[path = "../../engine/intake/tests/intake/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::taken(input));
