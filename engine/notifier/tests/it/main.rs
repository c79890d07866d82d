//! What people read, and that they read it once: whole threads, the loop over crashes, Slack's API.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod ahead;
mod handover;
mod http;
mod life;
mod loops;
mod safe;
mod threads;
