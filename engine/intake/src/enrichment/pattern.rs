//! A regular expression in a rule, and what it caught.

use std::collections::BTreeMap;
use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

/// A pattern longer than this is a program.
const PATTERN_BYTES_MAX: usize = 512;
/// What one compiled pattern may take: enough for some Unicode classes, and a hundredth of what a
/// repetition of a repetition asks for.
const COMPILED_BYTES_MAX: usize = 256 << 10;
/// Brackets within brackets.
const NEST_MAX: u32 = 16;

/// A regular expression of bounded size. It takes time linear in the text, whatever it says.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NEST_MAX)
            .build()
            .map(Self)
            .map_err(|error| {
                // The last line says what is wrong; those before it draw a caret of their own.
                let error = error.to_string();
                let why = error.lines().last().unwrap_or("").trim_start_matches("error: ");
                format!("`{text}` is no regular expression: {why}")
            })
    }

    /// Its groups that have names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }

    /// How many groups it has.
    pub(super) fn n_groups(&self) -> usize {
        self.0.captures_len() - 1
    }

    /// What it catches in a text, if it is found there.
    pub(super) fn find<'a>(&'a self, text: &'a str) -> Option<(&'a Self, regex::Captures<'a>)> {
        Some((self, self.0.captures(text)?))
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl de::Visitor<'_> for Read {
            type Value = Pattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a regular expression as a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Pattern, E> {
                Pattern::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Read)
    }
}

/// What the groups of a rule's patterns caught.
#[derive(Debug, Default)]
pub(super) struct Captured<'a> {
    numbered: Vec<Option<&'a str>>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Captured<'a> {
    /// Numbers are those of the one pattern that has groups; a rule with two is refused if it uses
    /// numbers.
    pub(super) fn add(&mut self, (pattern, captures): (&'a Pattern, regex::Captures<'a>)) {
        for name in pattern.names() {
            if let Some(caught) = captures.name(name) {
                self.named.insert(name, caught.as_str());
            }
        }
        if pattern.n_groups() > 0 && self.numbered.is_empty() {
            self.numbered = captures.iter().skip(1).map(|caught| Some(caught?.as_str())).collect();
        }
    }

    pub(super) fn numbered(&self, n: usize) -> Option<&'a str> {
        self.numbered.get(n.checked_sub(1)?).copied().flatten()
    }

    pub(super) fn named(&self, name: &str) -> Option<&'a str> {
        self.named.get(name).copied()
    }
}
