//! Ids of traces and spans, made from the incident's own: every instance makes the same.

use std::fmt;

use sha2::{Digest as _, Sha256};
use untoil_model::IncidentId;

/// The id of an incident's trace: the 128 bits of its ULID, so that either can be told from the
/// other. 16 bytes, as W3C Trace Context and OTLP have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of an incident.
    #[must_use]
    pub fn of(incident: &IncidentId) -> Self {
        let text = incident.as_str();
        let id = ulid(text).filter(|id| *id != 0).unwrap_or_else(|| {
            let hash = Sha256::digest(text.as_bytes());
            u128::from_be_bytes(std::array::from_fn(|n| hash[n])) | 1
        });
        Self(id)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The id of a span: its trace and what it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(u64);

impl SpanId {
    /// The span of a trace that `what` names.
    #[must_use]
    pub fn of(trace: TraceId, what: &str) -> Self {
        let hash = Sha256::new().chain_update(trace.bytes()).chain_update(what).finalize();
        // Zero means: no span.
        Self(u64::from_be_bytes(std::array::from_fn(|n| hash[n])) | 1)
    }

    /// The 8 bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// Crockford's base 32.
fn ulid(text: &str) -> Option<u128> {
    let mut id: u128 = 0;
    if text.len() != 26 || text.as_bytes()[0] > b'7' {
        return None;
    }
    for letter in text.bytes() {
        let digit = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|d| *d == letter)?;
        id = (id << 5) | u128::try_from(digit).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_its_incident_in_hexadecimal() {
        let id = |text: &str| TraceId::of(&text.parse().unwrap());
        // Reckoned apart, in Python.
        let wanted = "019ac9435c00efbfdf7fbeff7dfefbfd";
        assert_eq!(id("01KB4M6Q00XYZXYZXYZXYZXYZX").to_string(), wanted);
        assert_eq!(id("00000000000000000000000001").to_string(), format!("{:032x}", 1));
        assert_ne!(id("UUUUUUUUUUUUUUUUUUUUUUUUUU"), id("UUUUUUUUUUUUUUUUUUUUUUUUUV"));
        assert_ne!(id("00000000000000000000000000").bytes(), [0; 16]);
    }

    #[test]
    fn spans_of_one_trace_differ_and_repeat() {
        let trace = TraceId::of(&"01KB4M6Q00XYZXYZXYZXYZXYZX".parse().unwrap());
        assert_ne!(SpanId::of(trace, "a"), SpanId::of(trace, "b"));
        assert_eq!(SpanId::of(trace, "a"), SpanId::of(trace, "a"));
    }
}
