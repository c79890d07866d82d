//! What a delivery says, or why it says nothing that can be understood.

use std::borrow::Cow;

use untoil_model::{Alarm, Delivery, Source};

use crate::reading::Origin;
use crate::{Decoders, bounds, sources as senders};

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
    Missing(Cow<'static, str>),
    /// A field holds something else than it should.
    #[error("`{field}` is `{found}`, not {wanted}")]
    Wrong {
        /// Its name in the sender's words.
        field: Cow<'static, str>,
        /// What it holds, cut.
        found: String,
        /// What it should hold.
        wanted: Cow<'static, str>,
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
    pub(crate) fn missing(field: &'static str) -> Self {
        Self::Missing(Cow::Borrowed(field))
    }

    pub(crate) fn wrong(field: &'static str, found: &str, wanted: &'static str) -> Self {
        Self::Wrong {
            field: Cow::Borrowed(field),
            found: bounds::quote(found),
            wanted: Cow::Borrowed(wanted),
        }
    }
}

/// The decoders that there are; a source of the same name needs no other word.
#[must_use]
pub fn sources() -> Vec<&'static str> {
    senders::ALL.iter().map(|reader| reader.name).collect()
}

/// What a kept delivery says, where every source is read by its own name: [`Decoders::decode`].
///
/// # Errors
/// As there.
pub fn decode(delivery: &Delivery) -> Result<Decoded, DecodeError> {
    Decoders::default().decode(delivery)
}

/// The same, with where each value of each alarm came from: [`Decoders::explain`].
///
/// # Errors
/// As there.
pub fn explain(delivery: &Delivery) -> Result<(Decoded, Vec<Vec<Origin>>), DecodeError> {
    Decoders::default().explain(delivery)
}
