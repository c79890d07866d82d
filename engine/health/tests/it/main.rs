//! Health as others see it: what is scraped, what a collector receives, who is told.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

mod deadman;
mod door;
mod openmetrics;
mod page;
mod pulse;
mod scrape;
mod stand_in;
mod story;
mod traces;
