//! A manifest as a tree with places, read strictly: no duplicate keys, anchors, merges or loose booleans.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{MergeKeyPolicy, Spanned};

use crate::diagnostic::{Code, Finding};

/// Nodes in one manifest: the shipped ones have fewer than 60.
const NODES_MAX: usize = 2_000;
/// Nesting in one manifest.
const DEPTH_MAX: usize = 16;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) span: Range<usize>,
}

/// A key of a mapping and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) span: Range<usize>,
}

/// What YAML can say.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Flag(bool),
    Whole(i64),
    Decimal(f64),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Table(Vec<(Key<'a>, Node<'a>)>),
}

impl Value<'_> {
    /// In words, for "expected a text, found …".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Flag(_) => "true or false",
            Self::Whole(_) | Self::Decimal(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads one document.
pub(crate) fn parse(source: &str) -> Result<Node<'static>, Finding> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        merge_keys: MergeKeyPolicy::Error,
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_nodes: NODES_MAX,
            max_events: NODES_MAX * 4,
            max_depth: DEPTH_MAX,
            max_aliases: 0,
            max_anchors: 0,
            max_documents: 1,
            max_merge_keys: 0,
        },
    };
    serde_yaml::from_str_with_options::<Node<'static>>(source, options).map_err(|error| {
        let span = error.location().map_or(0..0, |location| {
            let line = usize::try_from(location.line()).unwrap_or(1);
            let column = usize::try_from(location.column()).unwrap_or(1);
            let at = crate::diagnostic::offset(source, line, column);
            at..at
        });
        Finding::error(Code::R101, widen(source, &span), in_words(&error.to_string()))
    })
}

/// The library's message, or ours where a rule of this file's own was broken.
fn in_words(text: &str) -> String {
    let ours = [
        ("Anchors", "manifests have no anchors; put a text that begins with `&` in quotes"),
        ("alias", "manifests have no aliases; put a text that begins with `*` in quotes"),
        ("Aliases", "manifests have no aliases; put a text that begins with `*` in quotes"),
        ("merge key", "manifests have no merge keys `<<`; write the keys out"),
        ("budget breached", "the manifest is too large or nested too deep"),
    ];
    match ours.iter().find(|(word, _)| text.contains(word)) {
        Some((_, message)) => (*message).to_owned(),
        // The place is shown by the caret; the library repeats it in words at the end.
        None => text.split(" at line ").next().unwrap_or_default().trim().to_owned(),
    }
}

/// The word that begins at the span, so that the caret covers all of it.
fn widen(source: &str, span: &Range<usize>) -> Range<usize> {
    let length = source[span.start..]
        .find(|c: char| c.is_whitespace() || matches!(c, ':' | ',' | '}' | ']'))
        .unwrap_or(source.len() - span.start);
    span.start..span.start + length
}

fn span_of<T>(spanned: &Spanned<T>) -> Range<usize> {
    let span = spanned.referenced.span();
    let start = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
    start..start + usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0)
}

impl<'de> Deserialize<'de> for Node<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value<'static>>::deserialize(deserializer)?;
        let span = span_of(&spanned);
        Ok(Self { value: spanned.value, span })
    }
}

impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'static>, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value<'static>, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'static>, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value<'static>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, whole: i64) -> Result<Value<'static>, E> {
        Ok(Value::Whole(whole))
    }

    fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Value<'static>, E> {
        i64::try_from(whole).map(Value::Whole).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, decimal: f64) -> Result<Value<'static>, E> {
        Ok(Value::Decimal(decimal))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'static>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'static>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'static>, A::Error> {
        let mut table = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let span = span_of(&key);
            table.push((Key { text: Cow::Owned(key.value), span }, entries.next_value()?));
        }
        Ok(Value::Table(table))
    }
}
