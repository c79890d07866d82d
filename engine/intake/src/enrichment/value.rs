//! What a rule sets: a text with holes, or a word looked up in a table.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use untoil_model::Alarm;

use super::pattern::Captured;
use super::{Field, When};

/// Entries of one table: a team has some dozens of accounts.
const WORDS_MAX: usize = 256;
/// Holes and texts between them.
const PARTS_MAX: usize = 16;

/// A text for a field.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// `critical`, `{1}`, `{labels.team}-{service}`.
    Text(Vec<Part>),
    /// A word for each of a field's texts; for others nothing.
    Table {
        /// The field.
        of: String,
        /// Its texts and their words.
        words: BTreeMap<String, String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    Hole(String),
}

impl Value {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((fixed, after)) = rest.split_once('{') {
            let (hole, after) = after.split_once('}').ok_or_else(|| {
                format!("a `{{` in `{text}` is not closed; write such as `{{1}}`")
            })?;
            if !fixed.is_empty() {
                parts.push(Part::Text(fixed.to_owned()));
            }
            parts.push(Part::Hole(hole.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if text.trim().is_empty() || parts.len() > PARTS_MAX {
            return Err(format!("`{text}` must have 1 to {PARTS_MAX} parts"));
        }
        Ok(Self::Text(parts))
    }

    /// Whether everything that it uses can be there.
    pub(super) fn check(&self, when: &When) -> Result<(), String> {
        match self {
            Self::Text(parts) => parts.iter().try_for_each(|part| match part {
                Part::Text(_) => Ok(()),
                Part::Hole(hole) => check_hole(hole, when),
            }),
            Self::Table { of, words } => {
                if Field::named(of).is_none() {
                    return Err(format!("`{of}` is no field; {FIELDS}"));
                }
                if words.is_empty() || words.len() > WORDS_MAX {
                    return Err(format!("{} words; give 1 to {WORDS_MAX}", words.len()));
                }
                Ok(())
            }
        }
    }

    /// The text, if everything that it uses is there.
    pub(super) fn of(&self, alarm: &Alarm, captured: &Captured<'_>) -> Option<String> {
        let text = match self {
            Self::Table { of, words } => words.get(Field::named(of)?.of(alarm)?)?.clone(),
            Self::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(match part {
                        Part::Text(fixed) => fixed,
                        Part::Hole(hole) => fill(hole, alarm, captured)?,
                    });
                }
                text
            }
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

const FIELDS: &str = "there are name, source, severity, description, account, region, namespace, \
    metric, labels.… and dimensions.…";

fn check_hole(hole: &str, when: &When) -> Result<(), String> {
    if let Ok(n) = hole.parse::<usize>() {
        let counts: Vec<usize> = when.all().map(|(_, pattern)| pattern.n_groups()).collect();
        let with: Vec<&usize> = counts.iter().filter(|count| **count > 0).collect();
        return match with[..] {
            [count] if (1..=*count).contains(&n) => Ok(()),
            [] => Err(format!("`{{{n}}}` has no group: put brackets into a pattern of `when`")),
            [count] => Err(format!("`{{{n}}}` is none of the pattern's {count} group(s)")),
            _ => Err(format!(
                "`{{{n}}}` may be a group of several patterns; name it, such as `(?<service>…)`"
            )),
        };
    }
    let named = when.all().filter(|(_, pattern)| pattern.names().any(|name| name == hole)).count();
    match named {
        0 if Field::named(hole).is_some() => Ok(()),
        0 => Err(format!("`{{{hole}}}` is neither a group of a pattern nor a field; {FIELDS}")),
        1 => Ok(()),
        _ => Err(format!("`{{{hole}}}` is a group of several patterns; name one otherwise")),
    }
}

fn fill<'a>(hole: &'a str, alarm: &'a Alarm, captured: &Captured<'a>) -> Option<&'a str> {
    if let Ok(n) = hole.parse() {
        return captured.numbered(n);
    }
    captured.named(hole).or_else(|| Field::named(hole)?.of(alarm))
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            of: String,
            words: BTreeMap<String, String>,
        }
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text such as `critical`, or `{ of: account, words: {…} }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Value::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                let Table { of, words } =
                    Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Value::Table { of, words })
            }
        }
        deserializer.deserialize_any(Read)
    }
}
