//! One message as it was received.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Source;

/// What makes a delivery the same delivery: its source and the sender's own id for the message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeliveryId {
    /// The path it came in by: `sns`, `alertmanager`, …
    pub source: Source,
    /// The sender's id, or the SHA-256 of the body where a sender gives none. At most 200 bytes.
    pub message: String,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.message)
    }
}

/// A delivery from an authenticated sender, exactly as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which one it is.
    pub id: DeliveryId,
    /// Who sent it, as authentication told: a topic's ARN, a secret's name.
    pub sender: String,
    /// When the whole body was here.
    pub received_at: Timestamp,
    /// The few headers that decoding needs, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}
