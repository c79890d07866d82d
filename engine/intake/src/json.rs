//! Reading outside JSON: what is not there is an error or `None`, never a default.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};
use untoil_model::Delivery;

use crate::{DecodeError, bounds};

/// Parses a body. `serde_json` refuses more than 128 levels, bare `NaN` and anything after the end.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    serde_json::from_slice(bytes).map_err(not_json)
}

/// A body that may also be a form, as its `content-type` says: each field is a text.
pub(crate) fn body(delivery: &Delivery) -> Result<Value, DecodeError> {
    let kind = delivery.headers.get("content-type").map_or("", String::as_str);
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return parse(&delivery.body);
    }
    let pairs: Vec<_> =
        form_urlencoded::parse(&delivery.body).take(bounds::PAIRS_MAX + 1).collect();
    if pairs.len() > bounds::PAIRS_MAX {
        return Err(DecodeError::TooMany { what: "fields of a form", max: bounds::PAIRS_MAX });
    }
    let field = |(key, value): (Cow<'_, str>, Cow<'_, str>)| {
        (key.into_owned(), Value::String(value.into_owned()))
    };
    Ok(Value::Object(pairs.into_iter().map(field).collect()))
}

/// The error of a body that is not the JSON it should be.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn not_json(error: serde_json::Error) -> DecodeError {
    let why = bounds::remark(&error.to_string());
    if error.is_data() { DecodeError::Shape(why) } else { DecodeError::NotJson(why) }
}

/// An object's text, unless it is null, something else, or not there.
pub(crate) fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// An object's text that is not blank.
pub(crate) fn filled<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    text(object, key).filter(|text| !text.trim().is_empty())
}

/// An object's text that must be there and not blank.
pub(crate) fn required<'a>(
    object: &'a Map<String, Value>,
    key: &'static str,
) -> Result<&'a str, DecodeError> {
    match object.get(key) {
        None | Some(Value::Null) => Err(DecodeError::missing(key)),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        Some(other) => Err(DecodeError::wrong(key, &other.to_string(), "a text")),
    }
}

/// An object's number.
pub(crate) fn number(object: &Map<String, Value>, key: &str) -> Option<f64> {
    object.get(key).and_then(Value::as_f64).filter(|number| number.is_finite())
}

/// An object within an object.
pub(crate) fn object<'a>(
    outer: &'a Map<String, Value>,
    key: &str,
) -> Option<&'a Map<String, Value>> {
    outer.get(key).and_then(Value::as_object)
}

/// The texts of a list; what is no text in it is passed over.
pub(crate) fn texts<'a>(outer: &'a Map<String, Value>, key: &str) -> Vec<&'a str> {
    let list = outer.get(key).and_then(Value::as_array);
    list.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// A scalar as people would write it: texts bare, numbers and truth values as they are.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
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
