//! Every gate, the last look, people's answers, and what holds for any sequence of requests.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

mod again;
mod at_once;
mod docs;
mod gates;
mod guard;
mod limits;
mod people;
mod properties;
mod retention;
mod scene;
mod slow;
mod together;
