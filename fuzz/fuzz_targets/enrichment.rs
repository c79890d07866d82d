//! Rules of enrichment, and what they derive from a body of any source.
#![no_main]

#[expect(dead_code, reason = "one of its entry points is this target's")]
#[path = "../../engine/intake/tests/intake/entries.rs"]
mod entries;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::enriched(input));
