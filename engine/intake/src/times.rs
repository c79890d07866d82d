//! The times that senders write. What is not one of them is refused, never guessed.

use jiff::Timestamp;

/// Milliseconds since 1970 as digits.
pub(crate) fn milliseconds(digits: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(digits.trim().parse().ok()?).ok()
}
