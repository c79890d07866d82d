//! A sender's times, by the name of their format.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::Offset;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::expression::{Expression, Scope};
use crate::reading::Said;
use crate::{DecodeError, times};

/// A time, and how it is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Moment {
    from: Expression,
    format: Format,
}

/// How a sender writes its times.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Format {
    /// RFC 3339, or an epoch whose digits tell its unit.
    #[default]
    Any,
    /// With an offset: `2026-09-14T20:18:44+09:00`.
    Rfc3339,
    /// Since 1970 in s, ms, µs or ns, as the number of digits tells.
    Epoch,
    /// `Mon, 14 Sep 2026 11:18:44 GMT`.
    Rfc2822,
    /// By a pattern, at an offset that the sender does not write.
    Written(Written),
}

/// A time without an offset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Pattern", into = "Pattern")]
struct Written {
    pattern: String,
    offset: Offset,
    /// The offset as it was written.
    offset_text: String,
}

/// The same as it stands in the configuration.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    pattern: String,
    offset: String,
}

impl From<Written> for Pattern {
    fn from(Written { pattern, offset_text, .. }: Written) -> Self {
        Self { pattern, offset: offset_text }
    }
}

impl TryFrom<Pattern> for Written {
    type Error = String;

    fn try_from(Pattern { pattern, offset: offset_text }: Pattern) -> Result<Self, String> {
        let parsed = strtime::parse("%:z", &offset_text).ok().and_then(|time| time.offset());
        let offset = parsed
            .ok_or_else(|| format!("`{offset_text}` is no offset; write such as `+09:00`"))?;
        // A pattern that cannot give back a time that it wrote leaves something of it out.
        let sample: DateTime = jiff::civil::date(2026, 9, 14).at(20, 18, 44, 0);
        let written = strtime::format(&pattern, sample)
            .map_err(|e| format!("the pattern `{pattern}` cannot be used: {e}"))?;
        match DateTime::strptime(&pattern, &written) {
            Ok(read) if read == sample => Ok(Self { pattern, offset, offset_text }),
            Ok(_) => Err(format!(
                "the pattern `{pattern}` leaves out a part of the time; \
                 write such as `%Y-%m-%d %H:%M:%S`"
            )),
            Err(e) => Err(format!("the pattern `{pattern}` cannot be used: {e}")),
        }
    }
}

impl Format {
    fn read(&self, text: &str) -> Option<Timestamp> {
        match self {
            Self::Any => times::any(text),
            Self::Rfc3339 => times::rfc3339(text),
            Self::Epoch => times::epoch(text),
            Self::Rfc2822 => times::rfc2822(text),
            Self::Written(Written { pattern, offset, .. }) => {
                times::at_offset(pattern, *offset, text)
            }
        }
    }

    fn wanted(&self) -> Cow<'static, str> {
        match self {
            Self::Any => "a time in RFC 3339 or an epoch of 10, 13, 16 or 19 digits".into(),
            Self::Rfc3339 => "a time such as `2026-09-14T20:18:44+09:00`".into(),
            Self::Epoch => "an epoch of 10, 13, 16 or 19 digits".into(),
            Self::Rfc2822 => "a time such as `Mon, 14 Sep 2026 11:18:44 GMT`".into(),
            Self::Written(Written { pattern, .. }) => format!("a time as `{pattern}`").into(),
        }
    }
}

impl Moment {
    /// The time, if one is said.
    ///
    /// # Errors
    /// When what is said is no time, or one before 1970: zero dates mean that there is none.
    pub(super) fn of<'a>(
        &'a self,
        scope: Scope<'a>,
    ) -> Result<Option<Said<'a, Timestamp>>, DecodeError> {
        let Some(said) = self.from.text(scope) else { return Ok(None) };
        let at = self.format.read(said.as_str()).filter(|at| *at >= Timestamp::UNIX_EPOCH);
        let at = at.ok_or_else(|| said.wrong(self.format.wanted()))?;
        Ok(Some(said.map(|_| at)))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            from: Expression,
            #[serde(default)]
            format: Format,
        }
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pointer such as `/time`, or `{ from: /time, format: epoch }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                let from = Expression::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(Moment { from, format: Format::Any })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Moment, A::Error> {
                let from = Expression::deserialize(de::value::SeqAccessDeserializer::new(list))?;
                Ok(Moment { from, format: Format::Any })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
                let whole = Whole::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Moment { from: whole.from, format: whole.format })
            }
        }
        deserializer.deserialize_any(Read)
    }
}
