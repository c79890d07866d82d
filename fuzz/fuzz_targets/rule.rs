//! A rule's manifest and script: parsed, checked, compiled.
#![no_main]

#[path = "../../sandbox/tests/entries/mod.rs"]
mod entries;

#[global_allocator]
static METERED: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entries::built(input));
