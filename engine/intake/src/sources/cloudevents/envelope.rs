//! What an event is written on: the body (structured), a list in the body (batched), or headers with the
//! data as the body (binary). All three are read into one object, the JSON format's.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use untoil_model::{Delivery, Hash};

use super::CORE;
use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, Object, Value};
use crate::reading::{Place, RECEIPT, Read};
use crate::{DecodeError, times};

/// Before an attribute's name in a header.
const PREFIX: &str = "ce-";
/// Attributes of one event. The specification has eight and asks for few extensions.
const ATTRIBUTES_MAX: usize = 64;
/// Names and values of all of them. Gateways take 8 to 16 KiB of headers, and the specification asks for
/// attributes that indexes and routers can hold.
const ATTRIBUTES_BYTES_MAX: usize = 16 * 1024;

/// Attributes in headers that are not taken, because leaving one out would change the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AttributeError {
    /// More than are kept.
    #[error("more than {ATTRIBUTES_MAX} `ce-` headers, or {ATTRIBUTES_BYTES_MAX} bytes of them")]
    TooMany,
    /// Two headers of one name.
    #[error("`{0}` stands there twice")]
    Twice(String),
    /// It is no text.
    #[error("`{0}` is not UTF-8 text; percent-encode it")]
    NotText(String),
}

/// The attributes of an event in binary mode, by their headers' names in lower case and as they came.
pub(crate) fn attributes(headers: &HeaderMap) -> Result<BTreeMap<String, String>, AttributeError> {
    let mut all = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(PREFIX)) {
        let name = name.as_str().to_owned();
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| AttributeError::NotText(bounds::quote(&name)))?;
        bytes += name.len() + text.len();
        let twice = AttributeError::Twice(bounds::quote(&name));
        if all.insert(name, text.to_owned()).is_some() {
            return Err(twice);
        }
        if all.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
            return Err(AttributeError::TooMany);
        }
    }
    Ok(all)
}

/// Refuses attributes in headers beside a body that is signed: the signature is of the body alone, and
/// under other headers somebody else's bytes would be another event. `events` says that events are all
/// that comes; they must say so too.
pub(crate) fn signed(headers: &HeaderMap, events: bool) -> Result<(), &'static str> {
    if headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        return Err("send structured events without `ce-` headers: headers are not signed");
    }
    let mut kinds = headers.get_all("content-type").iter();
    let kind = match (kinds.next().map(|kind| kind.to_str()), kinds.next()) {
        (Some(Ok(kind)), None) => media_type(kind),
        (None | Some(_), _) => String::new(),
    };
    let is_structured =
        matches!(&*kind, "application/cloudevents+json" | "application/cloudevents-batch+json");
    if events && !is_structured {
        return Err("send structured events, as `application/cloudevents+json` or \
                    `application/cloudevents-batch+json`: headers are not signed");
    }
    Ok(())
}

/// The same of a queue's message, whose attributes have the headers' names. Where they cannot be kept,
/// one without a name says why, so that nothing is read without them.
pub(crate) fn of_attributes(
    attributes: impl Iterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let refused = |error: AttributeError| [(PREFIX.to_owned(), error.to_string())].into();
    let named = attributes.map(|(name, text)| (name.to_ascii_lowercase(), text));
    let mut all = BTreeMap::new();
    let mut bytes = 0;
    for (name, text) in named.filter(|(name, _)| name.starts_with(PREFIX) || name == "content-type")
    {
        bytes += name.len() + text.len();
        let twice = AttributeError::Twice(bounds::quote(&name));
        if all.insert(name, text).is_some() {
            return refused(twice);
        }
        if all.len() > ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
            return refused(AttributeError::TooMany);
        }
    }
    all
}

/// One event: its attributes and, as `data`, what it is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event<'a> {
    value: Value<'a>,
    written: Written,
}

/// Where an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// The body is the event.
    Body,
    /// It is this one of the body's list.
    Batch(usize),
    /// Its attributes are headers, and the body is its data.
    Headers,
}

/// The events of a delivery, of which each has what the specification requires.
pub(crate) fn events(delivery: &Delivery) -> Result<Vec<Event<'_>>, DecodeError> {
    let header = delivery.headers.get("content-type").map_or("", String::as_str);
    let kind = media_type(header);
    if let Some(why) = delivery.headers.get(PREFIX) {
        return Err(DecodeError::Shape(bounds::remark(why)));
    }
    let has_attributes = || delivery.headers.keys().any(|name| name.starts_with(PREFIX));
    match kind.strip_prefix("application/cloudevents") {
        Some("" | "+json") => Ok(vec![structured(json::parse(&delivery.body)?, Written::Body)?]),
        Some("-batch+json") => batch(json::parse(&delivery.body)?),
        Some(_) => Err(DecodeError::Unsupported(
            "only the JSON format of CloudEvents is read: `application/cloudevents+json`, or \
             `application/cloudevents-batch+json`",
        )),
        None if has_attributes() => Ok(vec![binary(delivery, &kind)?]),
        // A queue has no content type: a list is a batch, an object an event.
        None => {
            let body = json::parse(&delivery.body)?;
            if body.is_array() { batch(body) } else { Ok(vec![structured(body, Written::Body)?]) }
        }
    }
}

/// What makes a delivery of events the same delivery: all that each of them says, in whatever mode. Not
/// the source and id alone: who counts ids from 1 again, or says firing and resolved under one, would
/// lose what comes second. `None` where the events cannot be read.
pub(crate) fn message(delivery: &Delivery) -> Option<String> {
    let events = events(delivery).ok().filter(|events| !events.is_empty())?;
    let said: Vec<_> = events.iter().map(Event::content).collect();
    Some(format!("ce:{}", Hash::of_json(&said)))
}

/// `Application/JSON; charset=utf-8` as `application/json`.
fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn is_json(kind: &str) -> bool {
    kind.ends_with("/json") || kind.ends_with("+json")
}

fn wrong(name: &str, found: &str, wanted: &'static str) -> DecodeError {
    DecodeError::Wrong {
        field: format!("/{name}").into(),
        found: bounds::quote(found),
        wanted: wanted.into(),
    }
}

fn batch(list: Value<'_>) -> Result<Vec<Event<'_>>, DecodeError> {
    let Value::Array(list) = list else {
        return Err(DecodeError::Shape("a batch is a list of events".to_owned()));
    };
    if list.len() > ALARMS_MAX {
        return Err(DecodeError::TooMany { what: "events in one batch", max: ALARMS_MAX });
    }
    let events = list.into_iter().enumerate();
    events.map(|(n, event)| structured(event, Written::Batch(n))).collect()
}

fn structured(event: Value<'_>, written: Written) -> Result<Event<'_>, DecodeError> {
    let Value::Object(mut event) = event else {
        return Err(DecodeError::Shape("an event is an object".to_owned()));
    };
    // An attribute that is null is one that is not set.
    event.retain(|value| !value.is_null());
    check(&event)?;
    if event.contains_key("data") && event.contains_key("data_base64") {
        return Err(DecodeError::Shape("`data` and `data_base64` stand there both".to_owned()));
    }
    let kind = media_type(json::text(&event, "datacontenttype").unwrap_or("application/json"));
    let encoded = event.get("data_base64").map(|data| match data.as_str() {
        Some(text) => STANDARD.decode(text).map_err(|_| wrong("data_base64", text, "base64")),
        None => Err(wrong("data_base64", &data.to_string(), "base64")),
    });
    // Of another kind it is left as it is: the attributes may say enough.
    let data = match encoded {
        Some(bytes) if is_json(&kind) => Some(json::parse(&bytes?)?.into_owned()),
        Some(Ok(bytes)) if kind.starts_with("text/") => {
            String::from_utf8(bytes).ok().map(Value::from)
        }
        Some(_) | None => None,
    };
    if let Some(data) = data {
        event.remove("data_base64");
        event.insert("data", data);
    }
    Ok(Event { value: Value::Object(event), written })
}

fn binary<'a>(delivery: &'a Delivery, kind: &str) -> Result<Event<'a>, DecodeError> {
    let mut event = Object::default();
    for (header, value) in &delivery.headers {
        let Some(name) = header.strip_prefix(PREFIX) else { continue };
        if matches!(name, "data" | "data_base64" | "datacontenttype") {
            return Err(DecodeError::Shape(format!("`ce-{name}` is no header of an event")));
        }
        let value = unescaped(value).ok_or_else(|| wrong(name, value, "percent-encoded UTF-8"))?;
        event.insert(name, value.into());
    }
    check(&event)?;
    if let Some(header) = delivery.headers.get("content-type") {
        event.insert("datacontenttype", header.as_str().into());
    }
    let is_form = kind == "application/x-www-form-urlencoded";
    let data = if delivery.body.is_empty() {
        None
    } else if kind.is_empty() || is_json(kind) || is_form {
        Some(json::body(delivery)?)
    } else {
        std::str::from_utf8(&delivery.body).ok().map(Value::from)
    };
    match data {
        Some(data) => event.insert("data", data),
        None if delivery.body.is_empty() => {}
        // As it stands in a structured event.
        None => event.insert("data_base64", STANDARD.encode(&delivery.body).into()),
    }
    Ok(Event { value: Value::Object(event), written: Written::Headers })
}

/// Holds the attributes to what the specification says of them.
fn check(event: &Object<'_>) -> Result<(), DecodeError> {
    for (name, value) in event.iter().filter(|(name, _)| !matches!(*name, "data" | "data_base64")) {
        let is_text = value.as_str().is_some();
        if CORE.contains(&name) && !is_text {
            return Err(wrong(name, &value.to_string(), "a text"));
        }
        if matches!(value, Value::Array(_) | Value::Object(_)) {
            return Err(wrong(name, &value.to_string(), "a text, number or truth value"));
        }
    }
    for name in ["/specversion", "/id", "/source", "/type"] {
        json::filled(event, &name[1..]).ok_or_else(|| DecodeError::Missing(name.into()))?;
    }
    let text = |name: &str| json::text(event, name).unwrap_or("");
    if text("specversion") != "1.0" {
        return Err(wrong("specversion", text("specversion"), "`1.0`"));
    }
    if text("source").contains(char::is_whitespace) {
        return Err(wrong("source", text("source"), "a URI, which has no spaces"));
    }
    Ok(())
}

/// A header's value without the quotes of older senders and percent-decoded once, as section 3.1.3.2
/// says; `None` when that is no UTF-8. A `%` that begins no code stands for itself.
fn unescaped(value: &str) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => text.push_str(value),
        Some(quoted) => {
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
            }
        }
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match code {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn digit(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

impl<'a> Event<'a> {
    /// The event in the JSON format.
    pub(crate) fn value(&self) -> &Value<'a> {
        &self.value
    }

    /// Its attributes by their names.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        let all = self.value.as_object().into_iter().flat_map(Object::iter);
        all.filter(|(name, _)| !matches!(*name, "data" | "data_base64"))
    }

    /// What it says, the same in all modes: in headers all attributes are texts and what is no JSON is
    /// bytes, and a content type that is left out is JSON's.
    fn content(&self) -> BTreeMap<&str, Value<'_>> {
        let mut all = BTreeMap::new();
        for (name, value) in self.attributes() {
            let text = json::scalar(value).unwrap_or_default();
            let text = match name {
                "datacontenttype" => media_type(&text).into(),
                _ => text,
            };
            if name != "datacontenttype" || !matches!(&*text, "" | "application/json") {
                all.insert(name, Value::String(text));
            }
        }
        if let Some(data) = self.value.get("data").filter(|data| !data.is_null()) {
            all.insert("data", data.clone());
        } else if let Some(encoded) = self.value.get("data_base64").and_then(Value::as_str) {
            let text = STANDARD.decode(encoded).ok().and_then(|it| String::from_utf8(it).ok());
            match text {
                Some(text) => all.insert("data", text.into()),
                None => all.insert("data_base64", Value::String(encoded.into())),
            };
        }
        all
    }

    /// When it says that it was so, else when it came.
    pub(crate) fn told_at(&self, delivery: &Delivery) -> Result<Timestamp, DecodeError> {
        let time = times::at(Place::root(&self.value).at("/time"), times::rfc3339)?;
        Ok(time.map_or(delivery.received_at, |time| time.value))
    }

    /// Where a pointer of the event leads to in what was received.
    pub(crate) fn place(&self, pointer: &str) -> String {
        match self.written {
            Written::Body => pointer.to_owned(),
            Written::Batch(n) => format!("/{n}{pointer}"),
            Written::Headers => match pointer.strip_prefix("/data") {
                Some("") => "the body".to_owned(),
                Some(inner) if inner.starts_with('/') => inner.to_owned(),
                Some("_base64") => "the body".to_owned(),
                Some("contenttype") => "header `content-type`".to_owned(),
                Some(_) | None => format!("header `ce-{}`", pointer.trim_start_matches('/')),
            },
        }
    }

    /// The data as a delivery of its own, as its sender would have sent it without the event, received
    /// when the event says that it was so: data without a time of its own has that one.
    pub(crate) fn inner(&self, delivery: &Delivery) -> Result<Delivery, DecodeError> {
        let body = match (self.written, self.value.get("data")) {
            (Written::Headers, _) => delivery.body.clone(),
            (Written::Body | Written::Batch(_), Some(Value::String(text))) => {
                text.as_bytes().to_vec()
            }
            (Written::Body | Written::Batch(_), Some(data)) => data.to_string().into_bytes(),
            (Written::Body | Written::Batch(_), None) => {
                let encoded = self.value.get("data_base64").and_then(Value::as_str);
                let encoded = encoded.ok_or_else(|| DecodeError::Missing("/data".into()))?;
                STANDARD.decode(encoded).map_err(|_| wrong("data_base64", encoded, "base64"))?
            }
        };
        let kind = self.value.get("datacontenttype").and_then(Value::as_str);
        let kind = kind.map(|kind| ("content-type".to_owned(), kind.to_owned()));
        let received_at = self.told_at(delivery)?;
        let id = delivery.id.clone();
        let headers = kind.into_iter().collect();
        Ok(Delivery { id, sender: delivery.sender.clone(), received_at, headers, body })
    }

    /// What was read at a place of the event, with places in what was received.
    pub(crate) fn told(&self, mut read: Read, at: &str) -> Read {
        let is_text = at == "/data"
            && self.written != Written::Headers
            && !self
                .value
                .get("data")
                .is_some_and(|data| matches!(data, Value::Array(_) | Value::Object(_)));
        let Read::Alarms(all) = &mut read else { return read };
        let has_time = Place::root(&self.value).at("/time").is_filled();
        for origin in all.iter_mut().flat_map(|reading| &mut reading.origins) {
            if has_time && origin.from == RECEIPT {
                origin.from = self.place("/time");
            } else if is_text && origin.from.starts_with('/') {
                origin.from.insert_str(0, &format!("{} → ", self.place(at)));
            } else if origin.from.starts_with('/') {
                origin.from = self.place(&format!("{at}{}", origin.from));
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_unescaped_once_or_refused() {
        for (value, expected) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            ("%eb%94%94%ec%8a%a4%ed%81%ac", Some("디스크")),
            ("디스크", Some("디스크")),
            ("\"a \\\"b\\\" \\\\ c\"", Some("a \"b\" \\ c")),
            ("95% full", Some("95% full")),
            ("%", Some("%")),
            ("%2", Some("%2")),
            ("%+1", Some("%+1")),
            ("%2541", Some("%41")),
            ("", Some("")),
            ("\"", Some("\"")),
            ("%C0%A0", None),
            ("%ff", None),
        ] {
            assert_eq!(unescaped(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn attributes_in_headers_are_kept_whole_or_refused() {
        let headers = |pairs: &[(&'static str, &[u8])]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, axum::http::HeaderValue::from_bytes(value).unwrap());
            }
            headers
        };
        let kept = attributes(&headers(&[("ce-id", b"1"), ("x-other", b"2")])).unwrap();
        assert_eq!(kept, [("ce-id".to_owned(), "1".to_owned())].into());
        let twice = attributes(&headers(&[("ce-id", b"1"), ("ce-id", b"1")]));
        assert_eq!(twice, Err(AttributeError::Twice("ce-id".to_owned())));
        let latin = attributes(&headers(&[("ce-subject", b"caf\xe9")]));
        assert_eq!(latin, Err(AttributeError::NotText("ce-subject".to_owned())));
        let long = "x".repeat(ATTRIBUTES_BYTES_MAX);
        let long = attributes(&headers(&[("ce-subject", long.as_bytes())]));
        assert_eq!(long, Err(AttributeError::TooMany));
    }
}
