//! Reading outside JSON: what is not there is an error or `None`, never a default.

#[cfg(test)]
mod agreement;
mod value;

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserializer, MapAccess, Visitor};
use untoil_model::Delivery;

use self::value::Keys;
pub(crate) use self::value::{Object, Text, Value};
use crate::{DecodeError, bounds};

/// What some programs on Windows write before UTF-8. RFC 8259 lets a reader pass over it.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Parses a body. `serde_json` refuses more than 128 levels, bare `NaN` and anything after the end;
/// a key that stands twice in one object is refused too.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value<'_>, DecodeError> {
    serde_json::from_str(utf8(bytes)?).map_err(not_json)
}

/// Parses what stands in a text, as [`parse`] does, but for looking again whether it is one.
pub(crate) fn parse_text(text: &str) -> Result<Value<'_>, DecodeError> {
    let text = match text.as_bytes() {
        // Read as a byte order mark or as UTF-16.
        [0xef | 0, ..] | [_, 0, ..] => return parse(text.as_bytes()),
        _ => text,
    };
    serde_json::from_str(text).map_err(not_json)
}

/// A body as the UTF-8 that JSON is written in, without a byte order mark. Another encoding is named
/// and never guessed: bytes of EUC-KR are also legal in other encodings, as other names.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let why = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{' | b'[', 0, ..] | [0, b'{' | b'[', ..] => {
            "it is UTF-16; send UTF-8".to_owned()
        }
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(error) => {
                format!(
                    "byte {} is not UTF-8; send UTF-8, not EUC-KR or Latin-1",
                    error.valid_up_to()
                )
            }
        },
    };
    Err(DecodeError::NotJson(why))
}

/// The pairs of an object of texts, in which no key stands twice.
pub(crate) fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Pair<'de>>, D::Error> {
    from.deserialize_map(Pairs)
}

/// A key and its text.
pub(crate) type Pair<'a> = (Cow<'a, str>, Text<'a>);

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<Pair<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let (mut keys, mut all) = (Keys::default(), Vec::new());
        while let Some((Text(key), value)) = from.next_entry()? {
            keys.add(&key, &all)?;
            all.push((key, value));
        }
        Ok(all)
    }
}

/// A body that may also be a form, as its `content-type` says: each field is a text.
pub(crate) fn body(delivery: &Delivery) -> Result<Value<'_>, DecodeError> {
    let kind = delivery.headers.get("content-type").map_or("", String::as_str);
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return parse(&delivery.body);
    }
    let pairs: Vec<_> =
        form_urlencoded::parse(&delivery.body).take(bounds::PAIRS_MAX + 1).collect();
    if pairs.len() > bounds::PAIRS_MAX {
        return Err(DecodeError::TooMany { what: "fields of a form", max: bounds::PAIRS_MAX });
    }
    let mut all = Object::default();
    for (key, value) in pairs {
        if all.contains_key(&key) {
            return Err(DecodeError::Shape(format!(
                "`{}` stands there twice",
                bounds::quote(&key)
            )));
        }
        all.insert(key, value.into());
    }
    Ok(Value::Object(all))
}

/// The error of a body that is not the JSON it should be.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn not_json(error: serde_json::Error) -> DecodeError {
    let why = bounds::remark(&error.to_string());
    if error.is_data() { DecodeError::Shape(why) } else { DecodeError::NotJson(why) }
}

/// An object's text, unless it is null, something else, or not there.
pub(crate) fn text<'a>(object: &'a Object<'_>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// An object's text that is not blank.
pub(crate) fn filled<'a>(object: &'a Object<'_>, key: &str) -> Option<&'a str> {
    text(object, key).filter(|text| !text.trim().is_empty())
}

/// An object's text that must be there and not blank.
pub(crate) fn required<'a>(
    object: &'a Object<'_>,
    key: &'static str,
) -> Result<&'a str, DecodeError> {
    match object.get(key) {
        None | Some(Value::Null) => Err(DecodeError::missing(key)),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(other) => Err(DecodeError::wrong(key, &other.to_string(), "a text")),
    }
}

/// An object's number.
pub(crate) fn number(object: &Object<'_>, key: &str) -> Option<f64> {
    object.get(key).and_then(Value::as_f64).filter(|number| number.is_finite())
}

/// An object within an object.
pub(crate) fn object<'a, 'b>(outer: &'a Object<'b>, key: &str) -> Option<&'a Object<'b>> {
    outer.get(key).and_then(Value::as_object)
}

/// The texts of a list; what is no text in it is passed over.
pub(crate) fn texts<'a>(outer: &'a Object<'_>, key: &str) -> Vec<&'a str> {
    let list = outer.get(key).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// A scalar as people would write it: texts bare, numbers and truth values as they are.
pub(crate) fn scalar<'a>(value: &'a Value<'_>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A moment with its offset, with or without a colon in it, cut to the microsecond that stores keep.
pub(crate) fn moment(field: &'static str, text: &str) -> Result<Timestamp, DecodeError> {
    let wrong = || DecodeError::wrong(field, text, "a time such as `2026-09-14T11:18:44.351+0000`");
    let at: Timestamp = text.parse().map_err(|_| wrong())?;
    Timestamp::from_microsecond(at.as_microsecond()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_serde_json_reads_it_but_for_keys_that_stand_there_twice() {
        for text in [
            "null",
            " [true, false, -0, -0.0, 1e300, 18446744073709551615, -9223372036854775808] ",
            r#"{"b":{"a":[{"a":"\u0000🔥"}]},"a":""}"#,
            "184467440737095516150",
        ] {
            let read = serde_json::Value::from(parse(text.as_bytes()).unwrap());
            assert_eq!(read, serde_json::from_str::<serde_json::Value>(text).unwrap());
        }
        for text in
            ["", "1e400", "NaN", "Infinity", "01", "{} {}", "[1,]", r#""\ud83d""#, "\"\u{0}\""]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        for (text, says) in [
            (r#"{"a":1,"a":1}"#, "not as documented: `a` stands there twice at line 1 column 10"),
            (
                r#"[{"b":{"\u0061":1,"a":2}}]"#,
                "not as documented: `a` stands there twice at line 1 column 21",
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_other_encodings_are_named() {
        assert_eq!(parse(b"\xef\xbb\xbf{}").unwrap(), Value::Object(Object::default()));
        let utf16 = "not JSON: it is UTF-16; send UTF-8";
        let other =
            |at| format!("not JSON: byte {at} is not UTF-8; send UTF-8, not EUC-KR or Latin-1");
        for (bytes, says) in [
            (&b"\xff\xfe{\0}\0"[..], utf16.to_owned()),
            (b"\xfe\xff\0{\0}", utf16.to_owned()),
            (b"{\0}\0", utf16.to_owned()),
            (b"\0{\0}", utf16.to_owned()),
            (b"{\"a\":\"\xb5\xf0\xbd\xba\xc5\xa9\"}", other(6)),
            (b"\"caf\xe9\"", other(4)),
        ] {
            assert_eq!(parse(bytes).unwrap_err().to_string(), says);
        }
    }

    #[test]
    fn moments_are_read_with_and_without_a_colon_in_the_offset() {
        for (text, expected) in [
            ("2015-06-03T17:43:27.123+0000", "2015-06-03T17:43:27.123Z"),
            ("2026-09-14T20:18:44.351+0900", "2026-09-14T11:18:44.351Z"),
            ("2026-11-22T11:06:19.659963Z", "2026-11-22T11:06:19.659963Z"),
            ("2026-11-22T11:06:19.123456789+00:00", "2026-11-22T11:06:19.123456Z"),
        ] {
            assert_eq!(moment("t", text).unwrap().to_string(), expected);
        }
        for text in ["", "yesterday", "2023-08-04T12: 36: 15.490+0000", "2015-06-03T17:43:27"] {
            assert!(moment("t", text).is_err(), "{text}");
        }
    }
}
