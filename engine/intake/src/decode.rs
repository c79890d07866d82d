//! A kept delivery to alarms. Pure: the same bytes say the same every time.

use untoil_model::{Alarm, Delivery, Source};

use crate::{alertmanager, bounds, cloudwatch, generic, newrelic, sns};

/// What a delivery says.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// These alarms, at least one and at most 2,000, in the order they came.
    Alarms(Vec<Alarm>),
    /// It was understood and there is nothing to do; in words, at most about 300 characters.
    Note(String),
}

/// Why a delivery says nothing that can be understood. It is kept and shown to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Its source has no decoder.
    #[error("no decoder for source `{0}`; there are {list}", list = sources().join(", "))]
    NoDecoder(Source),
    /// It is not JSON, or is nested too deeply.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but not of the documented shape.
    #[error("not as documented: {0}")]
    Shape(String),
    /// A field without which nothing can be said is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field holds something else than it should.
    #[error("`{field}` is `{found}`, not {wanted}")]
    Wrong {
        /// Its name in the sender's words.
        field: &'static str,
        /// What it holds, cut.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// More of something than is taken.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are taken.
        max: usize,
    },
    /// Something that identifies is longer than is taken, and must not be cut.
    #[error("the {what} is longer than {max} bytes")]
    TooLong {
        /// What.
        what: &'static str,
        /// How many bytes are taken.
        max: usize,
    },
    /// It is a message of the sender's, but not one that is read here.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl DecodeError {
    pub(crate) fn wrong(field: &'static str, found: &str, wanted: &'static str) -> Self {
        Self::Wrong { field, found: bounds::quote(found), wanted }
    }
}

/// The sources that can be decoded, as they stand in the path `/v1/events/{source}`.
#[must_use]
pub fn sources() -> &'static [&'static str] {
    &["alertmanager", "cloudwatch", "generic", "newrelic", "sns"]
}

/// What a kept delivery says. Needs nothing but the delivery, and repeats.
///
/// # Errors
/// [`DecodeError`] when it cannot be understood. It may be a whole body for one field of one alarm:
/// half a delivery is never acted on.
pub fn decode(delivery: &Delivery) -> Result<Decoded, DecodeError> {
    match delivery.id.source.as_str() {
        "alertmanager" => alertmanager::decode(delivery),
        "cloudwatch" => cloudwatch::decode(&String::from_utf8_lossy(&delivery.body), None),
        "generic" => generic::decode(delivery),
        "newrelic" => newrelic::decode(delivery),
        "sns" => sns::decode(delivery),
        _ => Err(DecodeError::NoDecoder(delivery.id.source.clone())),
    }
}
