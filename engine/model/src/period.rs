//! A length of time as operators write it: `90s`, `20m`, `24h`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// A length of time in whole seconds, 0 s to 400 d.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(u64);

/// Longest period: longer than any retention that a limit could look back on.
const SECS_MAX: u64 = 400 * 86_400;

/// A text that is not a period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of time: write a whole number and s, m, h or d, up to 400d")]
pub struct PeriodError(String);

impl Period {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `secs` seconds, cut at 400 days.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Self(if secs > SECS_MAX { SECS_MAX } else { secs })
    }

    /// `mins` minutes, cut at 400 days.
    #[must_use]
    pub const fn mins(mins: u64) -> Self {
        Self::secs(mins.saturating_mul(60))
    }

    /// `hours` hours, cut at 400 days.
    #[must_use]
    pub const fn hours(hours: u64) -> Self {
        Self::secs(hours.saturating_mul(3600))
    }

    /// In seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// As a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let wrong = || PeriodError(text.chars().take(40).collect());
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let n: u64 = digits.parse().map_err(|_| wrong())?;
        n.checked_mul(unit).filter(|secs| *secs <= SECS_MAX).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;
    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0s"),
            n if n % 86_400 == 0 && n > 86_400 => write!(f, "{}d", n / 86_400),
            n if n % 3_600 == 0 => write!(f, "{}h", n / 3_600),
            n if n % 60 == 0 => write!(f, "{}m", n / 60),
            n => write!(f, "{n}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_and_print_as_operators_write_them() {
        for (text, secs, back) in [
            ("90s", 90, "90s"),
            ("20m", 1200, "20m"),
            ("24h", 86_400, "24h"),
            ("7d", 604_800, "7d"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.as_secs(), period.to_string().as_str()), (secs, back));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "5", "m", "-5m", "1.5h", "5 m", "999999999999d", "401d", "５m", "시간"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
