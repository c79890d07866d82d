//! Identifiers. Each is a newtype with one `parse`; inside the engine no string is an id. The short ones
//! hold their text themselves: what is kept of one incident of a storm must not keep a page of memory.
//! Copies of the others share it.

use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A text that is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}: {why}")]
pub struct IdError {
    kind: &'static str,
    text: String,
    why: &'static str,
}

impl IdError {
    fn new(kind: &'static str, text: &str, why: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), why }
    }
}

/// A text of at most `N` bytes of ASCII without zeros, in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Short<const N: usize> {
    /// Zeros behind the text: so it is ordered as texts are.
    text: [u8; N],
    len: u8,
}

impl<const N: usize> std::ops::Deref for Short<N> {
    type Target = str;
    fn deref(&self) -> &str {
        str::from_utf8(&self.text[..usize::from(self.len)]).expect("only ASCII is written to it")
    }
}

impl<const N: usize> fmt::Write for Short<N> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let begin = usize::from(self.len);
        let end = begin + more.len();
        let room = self.text.get_mut(begin..end).filter(|_| more.is_ascii()).ok_or(fmt::Error)?;
        room.copy_from_slice(more.as_bytes());
        self.len = u8::try_from(end).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

impl<const N: usize> From<&str> for Short<N> {
    fn from(text: &str) -> Self {
        let mut short = Self { text: [0; N], len: 0 };
        short.write_str(text).expect("its length and its letters were looked at");
        short
    }
}

impl<const N: usize> fmt::Debug for Short<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Reads an id from a text that need not be owned.
struct Reads<T>(PhantomData<T>);

impl<T: FromStr<Err = IdError>> Visitor<'_> for Reads<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident($text:ty), $kind:literal, $max:literal, $ok:expr, $why:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($text);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let ok: fn(char) -> bool = $ok;
                if text.is_empty() || text.len() > $max || !text.chars().all(ok) {
                    return Err(IdError::new($kind, text, $why));
                }
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Reads(PhantomData))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_slug(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}

text_id!(
    /// A kind of sender: `sns`, `cloudwatch`, `newrelic`, `alertmanager`, `generic`.
    Source(Arc<str>), "source", 40, is_slug, "use 1 to 40 of a-z, 0-9, `-`, `_`"
);
text_id!(
    /// The folder name of a rule.
    RuleName(Arc<str>), "rule name", 60, is_slug, "use 1 to 60 of a-z, 0-9, `-`, `_`"
);
text_id!(
    /// The first 16 hexadecimal digits of the SHA-256 of a rule's manifest and script.
    RuleVersion(Short<16>), "rule version", 16, |c| c.is_ascii_hexdigit(), "it is up to 16 hexadecimal digits"
);
text_id!(
    /// A kind of thing to do: `ecs.scale`, `ssm.document`.
    ActionKind(Arc<str>), "action", 40, |c| is_slug(c) || c == '.', "use 1 to 40 of a-z, 0-9, `.`, `-`, `_`"
);
text_id!(
    /// The identity of an alarm over time, led by its source: `cloudwatch:arn:aws:…`.
    ///
    /// At most 2,048 bytes, any printable text: an alarm's ARN may hold spaces and Korean.
    AlarmKey(Arc<str>), "alarm key", 2048, |c| !c.is_control(), "use 1 to 2,048 bytes without control characters"
);
text_id!(
    /// One episode of an alarm key: a ULID, so that ids sort by the time of opening.
    IncidentId(Short<26>), "incident", 26, |c| c.is_ascii_uppercase() || c.is_ascii_digit(), "it is a ULID of 26 characters"
);
text_id!(
    /// One run of one plan: the incident's id and a number, `01J…-1`. Fits an SSM parameter.
    RunId(Short<40>), "run", 40, |c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-', "it is an incident's id, `-` and a number"
);

impl AlarmKey {
    /// A copy that shares nothing with this one, for who keeps it: it lies where there is room now.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self(self.as_str().into())
    }
}

impl IncidentId {
    /// The id of the incident that `alarm` opens at `at`.
    ///
    /// Made from its arguments alone (48 bits of time, 80 bits of hash), so that a replay of the
    /// same delivery names the same incident.
    #[must_use]
    pub fn derive(at: Timestamp, alarm: &AlarmKey, delivery: &str) -> Self {
        const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let mut hash = Sha256::new();
        hash.update(alarm.as_str().as_bytes());
        hash.update([0]);
        hash.update(delivery.as_bytes());
        let hash = hash.finalize();
        let mut bits = u128::from(u64::try_from(at.as_millisecond()).unwrap_or(0)) << 80;
        for (i, byte) in hash.iter().take(10).enumerate() {
            bits |= u128::from(*byte) << (8 * (9 - i));
        }
        let mut text = [0; 26];
        for (i, letter) in text.iter_mut().rev().enumerate() {
            let digit = usize::try_from((bits >> (5 * i)) & 31).unwrap_or(0);
            *letter = CROCKFORD[digit];
        }
        Self(Short { text, len: 26 })
    }

    /// The id of the `n`th run of this incident, counted from 1.
    #[must_use]
    pub fn run(&self, n: u32) -> RunId {
        let mut run = Short::from(self.as_str());
        write!(run, "-{n}").expect("14 bytes are left, and a number has at most 10");
        RunId(run)
    }
}

impl RunId {
    /// What a call of this run carries so that it can be found again: `untoil:<run>:<step>:<attempt>`.
    ///
    /// At most 46 characters; SSM's `Comment` takes 100, ECS's `startedBy` 128.
    #[must_use]
    pub fn marker(&self, step: u32, attempt: u32) -> String {
        format!("untoil:{self}:{step}:{attempt}")
    }
}

/// The position of an entry in the journal, counted from 1. Zero stands before the first entry.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first entry.
    pub const START: Self = Self(0);

    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_id_is_a_ulid_that_sorts_by_time_and_repeats() {
        let key: AlarmKey = "cloudwatch:arn".parse().unwrap();
        let early = IncidentId::derive("2026-01-01T00:00:00Z".parse().unwrap(), &key, "sns/a");
        let late = IncidentId::derive("2026-01-01T00:00:01Z".parse().unwrap(), &key, "sns/a");
        assert!(early < late);
        assert_eq!(early.as_str().len(), 26);
        assert_eq!(early.as_str().parse::<IncidentId>().unwrap(), early);
        let again = IncidentId::derive("2026-01-01T00:00:00Z".parse().unwrap(), &key, "sns/a");
        assert_eq!(early, again);
    }

    #[test]
    fn a_marker_fits_an_ssm_comment_and_names_its_run() {
        let key: AlarmKey = "k".parse().unwrap();
        let run = IncidentId::derive(Timestamp::UNIX_EPOCH, &key, "d").run(12);
        assert!(run.marker(3, 2).len() <= 46);
        assert_eq!(run.marker(3, 2), format!("untoil:{run}:3:2"));
    }

    #[test]
    fn a_short_id_is_written_read_shown_and_ordered_as_its_text() {
        let ids = ["0", "01J", "01J0", "01K", "Z", "ZZ", &"Z".repeat(26)];
        for a in ids {
            let id: IncidentId = a.parse().unwrap();
            assert_eq!((id.as_str(), id.to_string().as_str()), (a, a));
            assert_eq!(format!("{id:?}"), format!("IncidentId({a:?})"));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, format!("{a:?}"));
            assert_eq!(serde_json::from_str::<IncidentId>(&json).unwrap(), id);
            for b in ids {
                assert_eq!(id.cmp(&b.parse().unwrap()), a.cmp(b), "{a} {b}");
            }
        }
        assert!("Z".repeat(27).parse::<IncidentId>().is_err());
        let error = serde_json::from_str::<RunId>("\"01j\"").unwrap_err().to_string();
        assert!(error.starts_with("`01j` is no run: "), "{error}");
        let error = serde_json::from_str::<RunId>("1").unwrap_err().to_string();
        assert!(error.starts_with("invalid type: integer `1`, expected a string"), "{error}");
    }

    #[test]
    fn the_longest_incident_s_last_run_has_its_text() {
        let longest: IncidentId = "Z".repeat(26).parse().unwrap();
        assert_eq!(longest.run(u32::MAX).as_str(), format!("{longest}-4294967295"));
    }

    #[test]
    fn ids_refuse_what_they_are_not() {
        assert!("".parse::<Source>().is_err());
        assert!("Sns".parse::<Source>().is_err());
        assert!("a\u{0}b".parse::<AlarmKey>().is_err());
        assert!("../x".parse::<RuleName>().is_err());
    }
}
