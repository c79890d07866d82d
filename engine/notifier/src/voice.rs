//! The language, time zone and people that a channel's words are made for.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};
use untoil_model::Period;

use crate::Mention;

/// The language of what people read. Names of AWS stay in English in both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Korean.
    #[default]
    Ko,
    /// English.
    En,
}

impl Language {
    /// One of two texts.
    pub(crate) fn pick(self, ko: &'static str, en: &'static str) -> &'static str {
        match self {
            Self::Ko => ko,
            Self::En => en,
        }
    }
}

/// One of two texts with values in them: `say!(language, "{n}회", "{n} times")`.
macro_rules! say {
    ($language:expr, $ko:literal, $en:literal) => {
        match $language {
            $crate::Language::Ko => format!($ko),
            $crate::Language::En => format!($en),
        }
    };
}
pub(crate) use say;

/// How to speak in a channel.
#[derive(Debug, Clone)]
pub struct Voice {
    /// The language.
    pub language: Language,
    /// The zone of the times shown; the record has UTC.
    pub zone: TimeZone,
    /// The Slack ids of the names that rules use in `escalate.mention`.
    pub mentions: BTreeMap<String, Mention>,
}

impl Voice {
    /// A language in its own time zone: Asia/Seoul for Korean, UTC for English.
    #[must_use]
    pub fn of(language: Language) -> Self {
        let zone = match language {
            // A container may have no zone files. Korea has had +09:00 without exception since 1988.
            Language::Ko => {
                TimeZone::get("Asia/Seoul").unwrap_or_else(|_| TimeZone::fixed(Offset::constant(9)))
            }
            Language::En => TimeZone::UTC,
        };
        Self { language, zone, mentions: BTreeMap::new() }
    }

    /// The time of day in the channel's zone: `11-22 14:20 KST`.
    pub(crate) fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%m-%d %H:%M %Z").to_string()
    }

    /// For the small print: to the second, with UTC where the zone is another.
    pub(crate) fn stamp(&self, at: Timestamp) -> String {
        let local = at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
        if self.zone == TimeZone::UTC {
            return local;
        }
        let utc = at.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string();
        format!("{local} ({utc})")
    }

    /// A length of time: `20분`, `20m`; of mixed units the two largest.
    pub(crate) fn span(&self, secs: u64) -> String {
        let units = match self.language {
            Language::Ko => [("일", 86_400), ("시간", 3_600), ("분", 60), ("초", 1)],
            Language::En => [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)],
        };
        // An hour is never said as a day is: `24h` is how limits are written.
        let first = match secs {
            86_401.. => 0,
            3_600.. => 1,
            60.. => 2,
            _ => 3,
        };
        let (name, size) = units[first];
        let out = format!("{}{name}", secs / size);
        if let Some((name, small)) = units.get(first + 1) {
            let rest = secs % size / small;
            if rest > 0 {
                return format!("{out} {rest}{name}");
            }
        }
        out
    }

    pub(crate) fn period(&self, period: Period) -> String {
        self.span(period.as_secs())
    }

    /// From one moment to another; nothing when the clock went back.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp) -> String {
        self.span(u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_said_in_two_units_at_most() {
        for (secs, ko, en) in [
            (0, "0초", "0s"),
            (90, "1분 30초", "1m 30s"),
            (1_200, "20분", "20m"),
            (3_780, "1시간 3분", "1h 3m"),
            (86_400, "24시간", "24h"),
            (93_600, "1일 2시간", "1d 2h"),
        ] {
            assert_eq!(Voice::of(Language::Ko).span(secs), ko);
            assert_eq!(Voice::of(Language::En).span(secs), en);
        }
    }

    #[test]
    fn korean_times_are_seouls_with_utc_beside_them() {
        let at: Timestamp = "2026-11-22T05:20:07Z".parse().unwrap();
        let ko = Voice { zone: TimeZone::fixed(Offset::constant(9)), ..Voice::of(Language::Ko) };
        assert_eq!(ko.stamp(at), "2026-11-22 14:20:07 +09 (05:20:07 UTC)");
        assert_eq!(Voice::of(Language::En).stamp(at), "2026-11-22 05:20:07 UTC");
        assert!(Voice::of(Language::Ko).time(at).starts_with("11-22 14:20 "));
    }
}
