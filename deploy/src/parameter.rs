//! Parameters of a document: what they accept, checked here, by SSM and again by the script.

/// Who gives a parameter its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filler {
    /// The engine, for every document alike. A rule that names it is in error.
    Engine,
    /// The rule, within the bounds of its `may:`.
    Rule,
}

/// The values that a parameter accepts. None can hold shell syntax, a space or a newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// A whole number without leading zeros, from `least` (1 or more) to `most`.
    Number {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// 8 to 48 letters, digits, `_` and `-`, not led by `-`.
    Id,
    /// An absolute path without `.`-led or `-`-led parts, at most eight deep.
    Mount,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// Longest part of a mount point's path.
const PART_MAX: usize = 64;
/// Most parts of a mount point's path.
const PARTS_MAX: usize = 8;
/// Longest mount point.
const MOUNT_MAX: usize = 200;

impl Accepts {
    /// The document's `allowedPattern`. A number's pattern bounds its digits only.
    #[must_use]
    pub fn pattern(&self) -> Option<String> {
        match self {
            Self::Number { least, most } => {
                let (low, high) = (digits(*least) - 1, digits(*most) - 1);
                Some(format!("^[1-9][0-9]{{{low},{high}}}$"))
            }
            Self::Id => Some("^[A-Za-z0-9_][A-Za-z0-9_-]{7,47}$".to_owned()),
            Self::Mount => {
                let part = format!("[A-Za-z0-9_][A-Za-z0-9._-]{{0,{}}}", PART_MAX - 1);
                Some(format!("^/({part}(/{part}){{0,{}}})?$", PARTS_MAX - 1))
            }
            Self::OneOf(_) => None,
        }
    }

    /// The document's `allowedValues`.
    #[must_use]
    pub fn values(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::OneOf(values) => Some(values),
            Self::Number { .. } | Self::Id | Self::Mount => None,
        }
    }

    /// In words, for an error message.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Number { least, most } => format!("a whole number from {least} to {most}"),
            Self::Id => "8 to 48 letters, digits, `_` and `-`".to_owned(),
            Self::Mount => "a mount point such as `/` or `/var/log`".to_owned(),
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                format!("one of {}", values.join(", "))
            }
        }
    }

    fn admits(&self, value: &str) -> bool {
        let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        match self {
            Self::Number { least, most } => {
                let plain = value.bytes().all(|c| c.is_ascii_digit()) && !value.starts_with('0');
                plain && value.parse::<u64>().is_ok_and(|n| (*least..=*most).contains(&n))
            }
            Self::Id => {
                (8..=48).contains(&value.len())
                    && value.bytes().all(|c| word(c) || c == b'-')
                    && !value.starts_with('-')
            }
            Self::Mount => {
                let Some(path) = value.strip_prefix('/') else { return false };
                let part = |part: &str| {
                    part.len() <= PART_MAX
                        && part.bytes().next().is_some_and(word)
                        && part.bytes().all(|c| word(c) || c == b'.' || c == b'-')
                };
                let parts = || path.split('/');
                path.is_empty()
                    || value.len() <= MOUNT_MAX && parts().count() <= PARTS_MAX && parts().all(part)
            }
            Self::OneOf(values) => values.contains(&value),
        }
    }
}

fn digits(n: u64) -> usize {
    n.to_string().len()
}

/// A parameter of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the document; the script sees it as `SSM_<name>`.
    pub name: &'static str,
    /// What it is, in one sentence.
    pub about: &'static str,
    /// What it accepts.
    pub accepts: Accepts,
    /// Its value when none is given.
    pub default: Option<&'static str>,
    /// Who gives it a value.
    pub filler: Filler,
}

/// A value that a parameter does not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a `{parameter}`: use {accepts}")]
pub struct BadParameter {
    /// The parameter.
    pub parameter: &'static str,
    /// The value, cut at 80 characters.
    pub value: String,
    /// What would be accepted.
    pub accepts: String,
}

impl Parameter {
    /// Checks a value before a call; stricter than, or as strict as, SSM's own check.
    ///
    /// # Errors
    ///
    /// When the value is not accepted.
    pub fn check(&self, value: &str) -> Result<(), BadParameter> {
        if self.accepts.admits(value) {
            return Ok(());
        }
        Err(BadParameter {
            parameter: self.name,
            value: value.chars().take(80).collect(),
            accepts: self.accepts.in_words(),
        })
    }
}
