//! Acting through Systems Manager: fixed documents on one host, and runbooks.

mod answer;
mod automate;
mod document;

pub(crate) use automate::Automate;
pub(crate) use document::Document;

use std::time::Duration;

use crate::Order;

/// A command shows up in `ListCommands` within this time, or never was: SSM is eventually consistent.
const SEEN_WITHIN: Duration = Duration::from_mins(1);

/// How long ago the intent was recorded.
fn age(order: &Order<'_>) -> Duration {
    Duration::try_from(order.now.duration_since(order.started_at)).unwrap_or(Duration::ZERO)
}

/// When to look again: soon at first, seldom later. SSM's own reads are limited per Region.
fn next_look(order: &Order<'_>) -> Duration {
    match age(order).as_secs() {
        0..10 => Duration::from_secs(1),
        10..60 => Duration::from_secs(3),
        _ => Duration::from_secs(10),
    }
}
