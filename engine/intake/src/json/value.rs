//! JSON as it was read: texts are borrowed from the body wherever nothing in them is escaped.
//!
//! The grammar is `serde_json`'s, whose parser reads it; only what is kept of it is our own. An object
//! is a short list in the order of its keys, because senders' objects have ten keys and not ten thousand:
//! a tree of its own for each costs more than everything else.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Number;

use crate::bounds;

/// Up to so many keys are looked through one by one; more are searched as sorted.
const FEW_KEYS: usize = 16;

/// Any JSON in which no object has a key twice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// As `serde_json` reads and writes numbers.
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// An object's pairs in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// A text that is borrowed where it can be, also within an `Option`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> Value<'a> {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    pub(crate) fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self { number.as_f64() } else { None }
    }

    pub(crate) fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(list) = self { Some(list) } else { None }
    }

    pub(crate) fn as_object(&self) -> Option<&Object<'a>> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// What stands under a key, if this is an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.get(key)
    }

    /// What a JSON pointer (RFC 6901) leads to. A key that needs no unescaping costs no copy.
    pub(crate) fn pointer(&self, pointer: &str) -> Option<&Self> {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return None;
        }
        let (mut at, mut rest) = (self, pointer.strip_prefix('/'));
        while let Some(text) = rest {
            // Pointers are short: a search made for long texts costs more than it saves.
            let end = text.bytes().position(|byte| byte == b'/');
            let part = &text[..end.unwrap_or(text.len())];
            rest = end.map(|end| &text[end + 1..]);
            at = match at {
                Self::Object(object) if part.bytes().any(|byte| byte == b'~') => {
                    object.get(&part.replace("~1", "/").replace("~0", "~"))?
                }
                Self::Object(object) => object.get(part)?,
                Self::Array(list) => list.get(index(part)?)?,
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => return None,
            };
        }
        Some(at)
    }

    /// The same, borrowed from nowhere.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(it) => Value::Bool(it),
            Self::Number(number) => Value::Number(number),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Self::Array(list) => Value::Array(list.into_iter().map(Self::into_owned).collect()),
            Self::Object(Object(all)) => {
                let owned = |(key, value): (Cow<'_, str>, Self)| {
                    (Cow::Owned(key.into_owned()), value.into_owned())
                };
                Value::Object(Object(all.into_iter().map(owned).collect()))
            }
        }
    }
}

/// A list's index as RFC 6901 writes it: digits without a zero or a sign before them.
fn index(part: &str) -> Option<usize> {
    let is_padded = part.len() > 1 && part.starts_with('0');
    if part.starts_with('+') || is_padded { None } else { part.parse().ok() }
}

impl<'a> Object<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        if self.0.len() <= FEW_KEYS {
            return self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        }
        let n = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        Some(&self.0[n].1)
    }

    pub(crate) fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The pairs, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// Puts a value under a key, in the place of what stood there.
    pub(crate) fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let key = key.into();
        match self.0.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(n) => self.0[n].1 = value,
            Err(n) => self.0.insert(n, (key, value)),
        }
    }

    /// Keeps those values only.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Value<'a>) -> bool) {
        self.0.retain(|(_, value)| keep(value));
    }

    /// Takes out what stands under a key.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        let n = self.0.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        Some(self.0.remove(n).1)
    }
}

impl<'a, K: Into<Cow<'a, str>>> FromIterator<(K, Value<'a>)> for Object<'a> {
    fn from_iter<I: IntoIterator<Item = (K, Value<'a>)>>(pairs: I) -> Self {
        let mut object = Self::default();
        for (key, value) in pairs {
            object.insert(key, value);
        }
        object
    }
}

impl<'a> From<Cow<'a, str>> for Value<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::String(text)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Cow::Owned(text))
    }
}

impl<'a, V: Into<Value<'a>>> From<Option<V>> for Value<'a> {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<serde_json::Value> for Value<'_> {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(it) => Self::Bool(it),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => text.into(),
            serde_json::Value::Array(list) => {
                Self::Array(list.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(map) => {
                Self::Object(map.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

impl From<Value<'_>> for serde_json::Value {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(it) => Self::Bool(it),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::String(text.into_owned()),
            Value::Array(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            Value::Object(Object(all)) => {
                let pair = |(key, value): (Cow<'_, str>, _)| (key.into_owned(), Self::from(value));
                Self::Object(all.into_iter().map(pair).collect())
            }
        }
    }
}

/// As JSON without spaces.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(it) => to.serialize_bool(*it),
            Self::Number(number) => number.serialize(to),
            Self::String(text) => to.serialize_str(text),
            Self::Array(list) => to.collect_seq(list),
            Self::Object(object) => {
                let mut map = to.serialize_map(Some(object.0.len()))?;
                for (key, value) in object.iter() {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(AnyText).map(Self)
    }
}

struct AnyText;

impl<'de> Visitor<'de> for AnyText {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As serde calls it where it reads a `String`.
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(it))
    }

    fn visit_str<E>(self, it: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(it.to_owned()))
    }

    fn visit_string<E>(self, it: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(it))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Self::Value, E> {
        Ok(Value::Number(it.into()))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Self::Value, E> {
        Ok(Value::Number(it.into()))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(it).map_or(Value::Null, Value::Number))
    }

    fn visit_borrowed_str<E>(self, it: &'de str) -> Result<Self::Value, E> {
        Ok(Value::String(Cow::Borrowed(it)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Self::Value, E> {
        Ok(Value::String(Cow::Owned(it.to_owned())))
    }

    fn visit_string<E>(self, it: String) -> Result<Self::Value, E> {
        Ok(Value::String(Cow::Owned(it)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = from.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut keys = Keys::default();
        let mut all: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some(Text(key)) = from.next_key()? {
            keys.add(&key, &all)?;
            all.push((key, from.next_value()?));
        }
        // No two are equal, so an unstable sort has one outcome.
        all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Value::Object(Object(all)))
    }
}

/// The keys of an object that is being read. None may stand there twice: which of the two counts differs
/// from reader to reader, and a template that splices a name into JSON can be made to write a second
/// `state`.
#[derive(Default)]
pub(super) struct Keys<'a> {
    /// Filled only when there are too many to be looked through.
    many: BTreeSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// Adds a key beside those that were read.
    #[expect(clippy::ptr_arg, reason = "a key that is borrowed from the body stays so when kept")]
    pub(super) fn add<T, E: serde::de::Error>(
        &mut self,
        key: &Cow<'a, str>,
        read: &[(Cow<'a, str>, T)],
    ) -> Result<(), E> {
        let is_new = if read.len() < FEW_KEYS {
            read.iter().all(|(known, _)| known != key)
        } else {
            if self.many.is_empty() {
                self.many.extend(read.iter().map(|(known, _)| known.clone()));
            }
            self.many.insert(key.clone())
        };
        if is_new { Ok(()) } else { Err(twice(key)) }
    }
}

pub(super) fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format_args!("`{}` stands there twice", bounds::quote(key)))
}
