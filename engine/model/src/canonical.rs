//! Canonical JSON (RFC 8785) in one pass.
//!
//! A value is written as it is visited. Where the members of an object did not come in their order,
//! their finished texts are put in order when it ends; nothing is kept as a tree. Numbers that are
//! not small integers are left to the general canonicaliser, against which everything is tested.

use std::fmt::{self, Display, Write as _};
use std::ops::Range;

use serde::Serialize;
use serde::ser::{self, SerializeMap, SerializeSeq};

use crate::member::{Member, join};

/// Above this RFC 8785 writes numbers as the nearest double; only the canonicaliser does that.
pub(crate) const EXACT_MAX: u64 = 1 << 53;

/// The canonical text of a value.
pub(crate) fn canonical<T: Serialize + ?Sized>(value: &T) -> String {
    let mut page = Page::default();
    page.append(value);
    page.text
}

/// What canonical text is written on.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) text: String,
    /// Of all objects that are not ended yet, the outermost first.
    members: Vec<Member>,
    /// The names of those members.
    keys: String,
    /// Room for the members of an object that are put in order.
    unordered: String,
}

impl Page {
    /// Appends the canonical text of a value.
    pub(crate) fn append<T: Serialize + ?Sized>(&mut self, value: &T) {
        // Nothing is left of one that panicked.
        self.members.clear();
        self.keys.clear();
        value
            .serialize(self)
            .expect("our own types have string keys and finite numbers, so they are JSON");
    }

    /// Appends a JSON string.
    pub(crate) fn quote(&mut self, value: &str) {
        quote(&mut self.text, value);
    }
}

/// Appends a JSON string.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    let mut rest = value;
    while let Some(at) = first_escaped(rest.as_bytes()) {
        text.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x08 => text.push_str("\\b"),
            0x09 => text.push_str("\\t"),
            0x0a => text.push_str("\\n"),
            0x0c => text.push_str("\\f"),
            0x0d => text.push_str("\\r"),
            control => write!(text, "\\u{control:04x}").expect("a String takes everything"),
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

/// Where the first byte is that JSON escapes.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    // A block is looked at without a branch, so that the processor does it at once.
    let is_plain =
        |block: &&[u8; 16]| !block.iter().fold(false, |any, byte| any | is_escaped(*byte));
    let plain = bytes.as_chunks().0.iter().take_while(is_plain).count() * 16;
    bytes[plain..].iter().position(|byte| is_escaped(*byte)).map(|at| plain + at)
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends a number in digits.
fn digits(text: &mut String, mut number: u64) {
    // 2^64 has twenty.
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] += u8::try_from(number % 10).expect("a digit is less than ten");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"));
}

/// Why something is not JSON.
#[derive(Debug)]
pub(crate) struct NotJson(String);

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

impl Page {
    fn by_canonicaliser<T: Serialize>(&mut self, value: T) -> Result<(), NotJson> {
        let text = serde_json_canonicalizer::to_string(&value);
        self.text.push_str(&text.map_err(|e| NotJson(e.to_string()))?);
        Ok(())
    }

    /// Writes `{"variant":`.
    fn variant(&mut self, variant: &str) {
        self.text.push('{');
        self.quote(variant);
        self.text.push(':');
    }

    fn object(&mut self, close: &'static str) -> Object<'_> {
        self.text.push('{');
        let (first, start, keys) = (self.members.len(), self.text.len(), self.keys.len());
        Object { page: self, first, start, keys, is_sorted: true, close }
    }

    fn list(&mut self, close: &'static str) -> List<'_> {
        self.text.push('[');
        let start = self.text.len();
        List { page: self, start, close }
    }
}

/// An object that is being written.
pub(crate) struct Object<'a> {
    page: &'a mut Page,
    /// Its first member's place in `members`.
    first: usize,
    /// Where its text begins, after the brace.
    start: usize,
    /// Where its names begin in `keys`.
    keys: usize,
    is_sorted: bool,
    close: &'static str,
}

impl Object<'_> {
    fn name(&mut self, key: &str) {
        let Page { text, members, keys, .. } = &mut *self.page;
        self.is_sorted &= join((members, self.first), keys, (key, text.len()));
        quote(text, key);
        text.push(':');
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        value.serialize(&mut *self.page)?;
        let Page { text, members, .. } = &mut *self.page;
        text.push(',');
        members.last_mut().expect("a value follows its name").text.end = text.len();
        Ok(())
    }

    fn end(self) {
        let Page { text, members, keys, unordered } = self.page;
        if !self.is_sorted {
            unordered.clear();
            unordered.push_str(&text[self.start..]);
            text.truncate(self.start);
            let mine = &mut members[self.first..];
            mine.sort_by(|a, b| a.order(b, keys));
            for Member { text: Range { start, end }, .. } in mine {
                text.push_str(&unordered[*start - self.start..*end - self.start]);
            }
        }
        members.truncate(self.first);
        keys.truncate(self.keys);
        close(text, self.start, self.close);
    }
}

/// A list that is being written.
pub(crate) struct List<'a> {
    page: &'a mut Page,
    start: usize,
    close: &'static str,
}

impl List<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotJson> {
        value.serialize(&mut *self.page)?;
        self.page.text.push(',');
        Ok(())
    }

    fn end(self) {
        close(&mut self.page.text, self.start, self.close);
    }
}

/// Puts the closing bracket in the place of the last comma.
fn close(text: &mut String, start: usize, close: &str) {
    if text.len() > start {
        text.pop();
    }
    text.push_str(close);
}

/// What a JSON string says, where nothing in it is escaped.
fn plain(written: &str) -> Option<&str> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

impl<'a> ser::Serializer for &'a mut Page {
    type Ok = ();
    type Error = NotJson;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

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
        if value < 0 {
            self.text.push('-');
        }
        digits(&mut self.text, value.unsigned_abs());
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
        digits(&mut self.text, value);
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
        self.quote(value);
        Ok(())
    }
    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), NotJson> {
        let at = self.text.len();
        write!(self.text, "\"{value}\"").expect("a String takes everything");
        let inner = at + 1..self.text.len() - 1;
        if first_escaped(&self.text.as_bytes()[inner.clone()]).is_some() {
            let value = self.text[inner].to_owned();
            self.text.truncate(at);
            self.quote(&value);
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
    fn serialize_seq(self, _len: Option<usize>) -> Result<List<'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple(self, _len: usize) -> Result<List<'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<List<'a>, NotJson> {
        Ok(self.list("]"))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<List<'a>, NotJson> {
        self.variant(variant);
        Ok(self.list("]}"))
    }
    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'a>, NotJson> {
        Ok(self.object("}"))
    }
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Object<'a>, NotJson> {
        Ok(self.object("}"))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'a>, NotJson> {
        self.variant(variant);
        Ok(self.object("}}"))
    }
}

impl SerializeSeq for List<'_> {
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

impl ser::SerializeTuple for List<'_> {
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

impl ser::SerializeTupleStruct for List<'_> {
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

impl ser::SerializeTupleVariant for List<'_> {
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

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = NotJson;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotJson> {
        let at = self.page.text.len();
        key.serialize(&mut *self.page)?;
        let Page { text, members, keys, .. } = &mut *self.page;
        if let Some(key) = plain(&text[at..]) {
            let follows = join((members, self.first), keys, (key, at));
            self.is_sorted &= follows;
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

impl ser::SerializeStruct for Object<'_> {
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

impl ser::SerializeStructVariant for Object<'_> {
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
mod tests;
