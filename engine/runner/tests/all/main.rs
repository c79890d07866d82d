//! The runner against a journal into which others get a word, on a simulated AWS and virtual time.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

mod begins;
mod busy;
mod calls;
mod ends;
mod lab;
mod stopped;
