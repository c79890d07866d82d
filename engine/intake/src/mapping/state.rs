//! A sender's words for the three states.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use untoil_model::AlarmState;

use super::expression::{Expression, Scope};
use crate::DecodeError;
use crate::reading::Said;

/// Words of one state.
const WORDS_MAX: usize = 64;

/// How the state is found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// The sender sends in this one only.
    Always(AlarmState),
    /// A word says it.
    Words(Words),
}

/// Which word means which state, whatever its case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Words {
    from: Expression,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    firing: Vec<Word>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resolved: Vec<Word>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    no_data: Vec<Word>,
    /// Words that mean that nothing is to be done: tests, acknowledgements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ignore: Vec<Word>,
}

/// What a delivery says of the state.
pub(super) enum Meaning<'a> {
    Is(Said<'a, AlarmState>),
    /// A word that is to be ignored.
    Ignored(String),
}

impl State {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self::Words(words) = self else { return Ok(()) };
        if words.firing.is_empty() {
            return Err("no word is `firing`; give those that mean it, such as `[DOWN]`".into());
        }
        let mut seen = BTreeMap::new();
        for (state, word) in words.all() {
            if let Some(other) = seen.insert(word.folded(), state) {
                return Err(format!("`{}` is both `{other}` and `{state}`", word.0));
            }
        }
        let n_most = [&words.firing, &words.resolved, &words.no_data, &words.ignore]
            .map(Vec::len)
            .into_iter()
            .max();
        if n_most > Some(WORDS_MAX) {
            return Err(format!("more than {WORDS_MAX} words for one state"));
        }
        Ok(())
    }

    pub(super) fn of<'a>(&'a self, scope: Scope<'a>) -> Result<Meaning<'a>, DecodeError> {
        let words = match self {
            Self::Always(state) => {
                let said = Said::made(state.as_str(), "always, by the mapping");
                return Ok(Meaning::Is(said.map(|_| *state)));
            }
            Self::Words(words) => words,
        };
        let said = words.from.required(scope)?;
        let folded = fold(said.as_str());
        let has = |words: &[Word]| words.iter().any(|word| word.folded() == folded);
        let state = if has(&words.firing) {
            AlarmState::Firing
        } else if has(&words.resolved) {
            AlarmState::Resolved
        } else if has(&words.no_data) {
            AlarmState::NoData
        } else if has(&words.ignore) {
            return Ok(Meaning::Ignored(said.value.into_owned()));
        } else {
            return Err(said.wrong(words.known()));
        };
        Ok(Meaning::Is(said.map(|_| state)))
    }
}

impl Words {
    fn all(&self) -> impl Iterator<Item = (&'static str, &Word)> {
        let lists = [
            ("firing", &self.firing),
            ("resolved", &self.resolved),
            ("no_data", &self.no_data),
            ("ignore", &self.ignore),
        ];
        lists.into_iter().flat_map(|(state, words)| words.iter().map(move |word| (state, word)))
    }

    fn known(&self) -> Cow<'static, str> {
        let all: Vec<String> = self.all().map(|(_, word)| format!("`{}`", word.0)).collect();
        Cow::Owned(format!("one of the mapping's words {}", all.join(", ")))
    }
}

/// A word as it stands in a body: a text, a number or a truth value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(String);

impl Word {
    fn folded(&self) -> String {
        fold(&self.0)
    }
}

fn fold(word: &str) -> String {
    word.trim().to_lowercase()
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, a number, `true` or `false`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Word, E> {
                Ok(Word(truth.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Always(state) => state.serialize(serializer),
            Self::Words(words) => words.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = State;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ from: /state, firing: […], resolved: […] }`, or always `firing`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<State, E> {
                match text {
                    "firing" => Ok(State::Always(AlarmState::Firing)),
                    "resolved" => Ok(State::Always(AlarmState::Resolved)),
                    "no_data" => Ok(State::Always(AlarmState::NoData)),
                    other => Err(E::custom(format!(
                        "`{other}` is no state; give `{{ from: {other}, firing: […], resolved: […] }}`, \
                         or `firing` for a sender that sends nothing else"
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<State, A::Error> {
                Words::deserialize(de::value::MapAccessDeserializer::new(map)).map(State::Words)
            }
        }
        deserializer.deserialize_any(Read)
    }
}
