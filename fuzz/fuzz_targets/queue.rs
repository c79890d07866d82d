//! A message of a queue, taken by the consumer.
#![no_main]

#[expect(dead_code, reason = "one of its entry points is this target's")]
#[path = "../../engine/intake/tests/intake/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::queued(input));
