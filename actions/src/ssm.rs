//! Acting through Systems Manager: fixed documents on one host, and runbooks.

mod answer;
mod automate;
mod document;

pub(crate) use automate::Automate;
pub(crate) use document::Document;

use std::time::Duration;

use crate::Order;

/// When to look again: soon at first, seldom later. SSM's own reads are limited per Region.
fn next_look(order: &Order<'_>) -> Duration {
    match order.age.as_secs() {
        0..10 => Duration::from_secs(1),
        10..60 => Duration::from_secs(3),
        _ => Duration::from_secs(10),
    }
}
