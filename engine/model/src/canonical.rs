//! Canonical JSON (RFC 8785) in one pass.
//!
//! A value is written as it is visited. Where the members of an object did not come in their order,
//! their finished texts are put in order when it ends; nothing is kept as a tree. Numbers that are
//! not small integers are left to the general canonicaliser, against which everything is tested.

use std::fmt::{self, Display, Write as _};

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq};

/// Above this RFC 8785 writes numbers as the nearest double; only the canonicaliser does that.
pub(crate) const EXACT_MAX: u64 = 1 << 53;

/// The canonical text of a value.
pub(crate) fn canonical<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = String::new();
    append(&mut text, value);
    text
}

/// Appends the canonical text of a value.
pub(crate) fn append<T: Serialize + ?Sized>(text: &mut String, value: &T) {
    let (members, keys) = (Vec::new(), String::new());
    let (unordered, order) = (String::new(), Vec::new());
    let mut writer = Writer { text, members, keys, unordered, order };
    value
        .serialize(&mut writer)
        .expect("our own types have string keys and finite numbers, so they are JSON");
}

/// Appends a JSON string.
pub(crate) fn quote(text: &mut String, value: &str) {
    text.push('"');
    let mut plain = 0;
    for (at, byte) in value.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        text.push_str(&value[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x08 => text.push_str("\\b"),
            0x09 => text.push_str("\\t"),
            0x0a => text.push_str("\\n"),
            0x0c => text.push_str("\\f"),
            0x0d => text.push_str("\\r"),
            control => write!(text, "\\u{control:04x}").expect("a String takes everything"),
        }
    }
    text.push_str(&value[plain..]);
    text.push('"');
}

/// Why something is not JSON.
#[derive(Debug)]
struct NotJson(String);

impl Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotJson {}

impl ser::Error for NotJson {
    fn custom<T: Display>(why: T) -> Self {
        Self(why.to_string())
    }
}

/// A member of an object that is being written.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Where its name begins in `keys`; it ends where the next one begins.
    key: usize,
    /// Where its text begins, name and all; it ends, comma and all, where the next one begins.
    text: usize,
}

struct Writer<'a> {
    text: &'a mut String,
    /// Of all objects that are not ended yet, the outermost first.
    members: Vec<Member>,
    /// The names of those members.
    keys: String,
    /// Room for the members of an object that are put in order.
    unordered: String,
    /// And for their order.
    order: Vec<usize>,
}

impl<'a> Writer<'a> {
    fn exact<T: Display>(&mut self, number: T) {
        write!(self.text, "{number}").expect("a String takes everything");
    }

    fn by_canonicaliser<T: Serialize>(&mut self, value: T) -> Result<(), NotJson> {
        let text = serde_json_canonicalizer::to_string(&value);
        self.text.push_str(&text.map_err(|e| NotJson(e.to_string()))?);
        Ok(())
    }

    /// Writes `{"variant":`.
    fn variant(&mut self, variant: &str) {
        self.text.push('{');
        quote(self.text, variant);
        self.text.push(':');
    }

    fn object(&mut self, close: &'static str) -> Object<'_, 'a> {
        self.text.push('{');
        let (first, start, keys) = (self.members.len(), self.text.len(), self.keys.len());
        Object { writer: self, first, start, keys, is_sorted: true, close }
    }

    fn list(&mut self, close: &'static str) -> List<'_, 'a> {
        self.text.push('[');
        let start = self.text.len();
        List { writer: self, start, close }
    }
}

/// An object that is being written.
struct Object<'w, 'a> {
    writer: &'w mut Writer<'a>,
    /// Its first member's place in `members`.
    first: usize,
    /// Where its text begins, after the brace.
    start: usize,
    /// Where its names begin in `keys`.
    keys: usize,
    is_sorted: bool,
    close: &'static str,
}

impl Object<'_, '_> {
    fn name(&mut self, key: &str) {
        let Writer { text, members, keys, .. } = &mut *self.writer;
        self.is_sorted &= follows(&members[self.first..], keys, key);
        members.push(Member { key: keys.len(), text: text.len() });
        keys.push_str(key);
        quote(text, key);
        text.push(':');
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        value.serialize(&mut *self.writer)?;
        self.writer.text.push(',');
        Ok(())
    }

    fn end(self) {
        let Writer { text, members, keys, unordered, order } = self.writer;
        if !self.is_sorted {
            unordered.clear();
            unordered.push_str(&text[self.start..]);
            text.truncate(self.start);
            let mine = &members[self.first..];
            let of = |n: usize, at: fn(&Member) -> usize, end: usize| {
                at(&mine[n])..mine.get(n + 1).map_or(end, at)
            };
            let key = |n: &usize| &keys[of(*n, |member| member.key, keys.len())];
            order.clear();
            order.extend(0..mine.len());
            order.sort_by(|a, b| in_order(key(a), key(b)));
            let end = self.start + unordered.len();
            for n in &*order {
                let range = of(*n, |member| member.text, end);
                text.push_str(&unordered[range.start - self.start..range.end - self.start]);
            }
        }
        members.truncate(self.first);
        keys.truncate(self.keys);
        close(text, self.start, self.close);
    }
}

/// A list that is being written.
struct List<'w, 'a> {
    writer: &'w mut Writer<'a>,
    start: usize,
    close: &'static str,
}

impl List<'_, '_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        value.serialize(&mut *self.writer)?;
        self.writer.text.push(',');
        Ok(())
    }

    fn end(self) {
        close(self.writer.text, self.start, self.close);
    }
}

/// Puts the closing bracket in the place of the last comma.
fn close(text: &mut String, start: usize, close: &str) {
    if text.len() > start {
        text.pop();
    }
    text.push_str(close);
}

/// Whether a name comes behind those of these members, whose names end `keys`.
fn follows(members: &[Member], keys: &str, key: &str) -> bool {
    members.last().is_none_or(|last| in_order(&keys[last.key..], key).is_lt())
}

/// What a JSON string says, where nothing in it is escaped.
fn plain(written: &str) -> Option<&str> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

/// The order of RFC 8785: by UTF-16 code units.
fn in_order(a: &str, b: &str) -> std::cmp::Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = NotJson;
    type SerializeSeq = List<'w, 'a>;
    type SerializeTuple = List<'w, 'a>;
    type SerializeTupleStruct = List<'w, 'a>;
    type SerializeTupleVariant = List<'w, 'a>;
    type SerializeMap = Object<'w, 'a>;
    type SerializeStruct = Object<'w, 'a>;
    type SerializeStructVariant = Object<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<(), NotJson> {
        self.text.push_str(if value { "true" } else { "false" });
        Ok(())
    }
    fn serialize_i8(self, value: i8) -> Result<(), NotJson> {
        self.serialize_i64(value.into())
    }
    fn serialize_i16(self, value: i16) -> Result<(), NotJson> {
        self.serialize_i64(value.into())
    }
    fn serialize_i32(self, value: i32) -> Result<(), NotJson> {
        self.serialize_i64(value.into())
    }
    fn serialize_i64(self, value: i64) -> Result<(), NotJson> {
        if value.unsigned_abs() > EXACT_MAX {
            return self.by_canonicaliser(value);
        }
        self.exact(value);
        Ok(())
    }
    fn serialize_u8(self, value: u8) -> Result<(), NotJson> {
        self.serialize_u64(value.into())
    }
    fn serialize_u16(self, value: u16) -> Result<(), NotJson> {
        self.serialize_u64(value.into())
    }
    fn serialize_u32(self, value: u32) -> Result<(), NotJson> {
        self.serialize_u64(value.into())
    }
    fn serialize_u64(self, value: u64) -> Result<(), NotJson> {
        if value > EXACT_MAX {
            return self.by_canonicaliser(value);
        }
        self.exact(value);
        Ok(())
    }
    fn serialize_f32(self, value: f32) -> Result<(), NotJson> {
        self.by_canonicaliser(value)
    }
    fn serialize_f64(self, value: f64) -> Result<(), NotJson> {
        self.by_canonicaliser(value)
    }
    fn serialize_char(self, value: char) -> Result<(), NotJson> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, value: &str) -> Result<(), NotJson> {
        quote(self.text, value);
        Ok(())
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), NotJson> {
        let at = self.text.len();
        write!(self.text, "\"{value}\"").expect("a String takes everything");
        let escapes = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let inner = at + 1..self.text.len() - 1;
        if self.text[inner.clone()].bytes().any(escapes) {
            let value = self.text[inner].to_owned();
            self.text.truncate(at);
            quote(self.text, &value);
        }
        Ok(())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<(), NotJson> {
        let mut list = self.list("]");
        for byte in value {
            list.element(byte)?;
        }
        list.end();
        Ok(())
    }
    fn serialize_none(self) -> Result<(), NotJson> {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotJson> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), NotJson> {
        self.text.push_str("null");
        Ok(())
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), NotJson> {
        self.serialize_unit()
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), NotJson> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.text.push('}');
        Ok(())
    }
    fn serialize_seq(self, _len: Option<usize>) -> Result<List<'w, 'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple(self, _len: usize) -> Result<List<'w, 'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<List<'w, 'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<List<'w, 'a>, NotJson> {
        self.variant(variant);
        Ok(self.list("]}"))
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'w, 'a>, NotJson> {
        Ok(self.object("}"))
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Object<'w, 'a>, NotJson> {
        Ok(self.object("}"))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'w, 'a>, NotJson> {
        self.variant(variant);
        Ok(self.object("}}"))
    }
}

impl SerializeSeq for List<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.element(value)
    }
    fn end(self) -> Result<(), NotJson> {
        List::end(self);
        Ok(())
    }
}

impl ser::SerializeTuple for List<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.element(value)
    }
    fn end(self) -> Result<(), NotJson> {
        List::end(self);
        Ok(())
    }
}

impl ser::SerializeTupleStruct for List<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.element(value)
    }
    fn end(self) -> Result<(), NotJson> {
        List::end(self);
        Ok(())
    }
}

impl ser::SerializeTupleVariant for List<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.element(value)
    }
    fn end(self) -> Result<(), NotJson> {
        List::end(self);
        Ok(())
    }
}

impl SerializeMap for Object<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotJson> {
        let at = self.writer.text.len();
        key.serialize(&mut *self.writer)?;
        let Writer { text, members, keys, .. } = &mut *self.writer;
        if let Some(key) = plain(&text[at..]) {
            self.is_sorted &= follows(&members[self.first..], keys, key);
            members.push(Member { key: keys.len(), text: at });
            keys.push_str(key);
            text.push(':');
            return Ok(());
        }
        let written = text.split_off(at);
        // A name is a string, or a number or truth value that is quoted.
        if written.starts_with('"') {
            let name: String =
                serde_json::from_str(&written).map_err(|e| NotJson(e.to_string()))?;
            self.name(&name);
        } else if written.starts_with(['{', '[', 'n']) {
            return Err(NotJson("a name must be a string".to_owned()));
        } else {
            self.name(&written);
        }
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        self.value(value)
    }
    fn end(self) -> Result<(), NotJson> {
        Object::end(self);
        Ok(())
    }
}

impl ser::SerializeStruct for Object<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        self.name(key);
        self.value(value)
    }
    fn end(self) -> Result<(), NotJson> {
        Object::end(self);
        Ok(())
    }
}

impl ser::SerializeStructVariant for Object<'_, '_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), NotJson> {
        self.name(key);
        self.value(value)
    }
    fn end(self) -> Result<(), NotJson> {
        Object::end(self);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn check<T: Serialize>(value: &T) {
        let expected = serde_json_canonicalizer::to_string(value).unwrap();
        assert_eq!(canonical(value), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| if n.is_finite() { json!(n) } else { Value::Null }),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let members = proptest::collection::vec(("\\PC{0,3}|[a-d]", inner.clone()), 0..6);
            prop_oneof![
                proptest::collection::vec(inner, 0..6).prop_map(Value::from),
                members.prop_map(|members| Value::from(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_is_written_as_the_canonicaliser_writes_it(value in values()) {
            check(&value);
        }
    }

    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Unit,
        New(u8),
        Pair(i32, Option<char>),
        Fields { zebra: (), apple: &'static [u8], middle: Option<Box<Kind>>, 한: f32 },
    }

    #[test]
    fn every_shape_of_a_type_is_written_as_the_canonicaliser_writes_it() {
        let inner = Kind::Fields { zebra: (), apple: &[1, 2], middle: None, 한: 1.5 };
        let outer =
            Kind::Fields { zebra: (), apple: &[], middle: Some(Box::new(inner)), 한: -0.0 };
        check(&[Kind::Unit, Kind::New(7), Kind::Pair(-3, Some('"')), Kind::Pair(0, None), outer]);
        check(&std::collections::BTreeMap::from([(10, "ten"), (9, "nine"), (-1, "less")]));
        check(&std::collections::BTreeMap::from([("\u{1f600}", 1), ("\u{e000}", 2), ("é\n", 3)]));
    }
}
