//! CloudEvents 1.0 in the JSON format, in all three of its modes.
//!
//! An event says who tells of what and when, and hardly ever whether that is an alarm. So its `data` is
//! read as one alarm in our own words ([`generic`]) or, where the configuration says so, by another
//! sender's decoder or by a mapping of the whole event. What states nothing is unreadable.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>

mod envelope;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize as _;
use untoil_model::Delivery;

use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, Object, Value};
use crate::reading::{self, Detail, Place, Read, Reading};
use crate::sources::generic;
use crate::{DecodeError, Mapping, times};

pub(crate) use envelope::{
    AttributeError, Event, attributes, events, message, of_attributes, signed,
};

/// The attributes that have a meaning of their own; every other one is an extension.
const CORE: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];
/// Says how much was stated, and the way out.
const NO_STATE: &str = "the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read \
                        it with `envelope: cloudevents` and a `mapping` or another `decoder`";

/// What the events of a delivery say, each with one alarm in our own words as its `data`.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    each(delivery, |event| Ok(Read::one(alarm(delivery, detail, event)?)))
}

/// What another sender's decoder reads in the data of each event.
pub(crate) fn carried(
    delivery: &Delivery,
    read: impl Fn(&Delivery) -> Result<Read, DecodeError>,
) -> Result<Read, DecodeError> {
    each(delivery, |event| {
        let inner = event.inner(delivery)?;
        Ok(event.told(read(&inner)?, "/data"))
    })
}

/// What a mapping reads in each event as a whole: `/type`, `/subject`, `/data/…`.
pub(crate) fn mapped(
    delivery: &Delivery,
    detail: Detail,
    mapping: &Mapping,
) -> Result<Read, DecodeError> {
    let source = &delivery.id.source;
    each(delivery, |event| {
        // Everything it says stands in the event.
        let (headers, body) = (BTreeMap::new(), Vec::new());
        let dated = Delivery {
            id: delivery.id.clone(),
            sender: delivery.sender.clone(),
            received_at: event.told_at(delivery)?,
            headers,
            body,
        };
        let read = mapping.read_value(source, (&dated, detail), event.value())?;
        Ok(event.told(read, ""))
    })
}

/// All of the alarms of all events; without any, the last note.
fn each(
    delivery: &Delivery,
    read: impl Fn(&Event<'_>) -> Result<Read, DecodeError>,
) -> Result<Read, DecodeError> {
    let (mut alarms, mut last) = (Vec::new(), "a batch without events".to_owned());
    for event in events(delivery)? {
        match read(&event)? {
            Read::Alarms(more) => alarms.extend(more),
            Read::Note(note) => last = note,
        }
        if alarms.len() > ALARMS_MAX {
            return Err(DecodeError::TooMany { what: "alarms in one delivery", max: ALARMS_MAX });
        }
    }
    Ok(if alarms.is_empty() { Read::Note(last) } else { Read::Alarms(alarms) })
}

/// One alarm in our own words; what its data leaves out, the attributes say.
fn alarm(delivery: &Delivery, detail: Detail, event: &Event<'_>) -> Result<Reading, DecodeError> {
    let data = event.value().get("data").and_then(Value::as_object);
    let data = data
        .filter(|data| data.get("state").is_some_and(|state| !state.is_null()))
        .ok_or(DecodeError::Unsupported(NO_STATE))?;
    let root = Place::root(event.value());
    let subject = root.at("/subject").text();
    if subject.is_none() && !data.contains_key("key") {
        return Err(DecodeError::Missing("/subject` or `/data/key".into()));
    }
    let source = root.at("/source").required()?;
    let time = times::at(root.at("/time"), times::rfc3339)?;
    let changed_at = time.as_ref().map_or(delivery.received_at, |time| time.value);
    let words = serde_json::Value::from(words(data, root, changed_at));
    let mut said = generic::Said::deserialize(&words).map_err(json::not_json)?;
    // A source has no spaces, so that no two pairs make one key.
    said.key = json::Text(format!("{} {}", source.as_str(), &*said.key).into());
    let mut alarm = generic::alarm(delivery, said, "cloudevents")?;
    if let Some(subject) = &subject
        && !alarm.dimensions.contains_key("subject")
    {
        bounds::dimension(&mut alarm.dimensions, "subject", subject.as_str())?;
    }
    for (name, value) in event.attributes() {
        let is_told = CORE.contains(&name) && name != "id";
        if let Some(value) = json::scalar(value).filter(|_| !is_told) {
            bounds::label(&mut alarm.labels, &label(name), &value)?;
        }
    }
    let origin = |field: &str| origin(event, (data, time.is_some()), field);
    Ok(Reading::whole(alarm, detail, origin))
}

/// The data with what it leaves out.
fn words<'a>(data: &Object<'a>, root: Place<'a>, changed_at: Timestamp) -> Value<'a> {
    let mut words = data.clone();
    for (field, pointers) in STAND_INS {
        let said = root.first(pointers).text();
        if let Some(said) = said
            && data.get(field).is_none_or(Value::is_null)
        {
            words.insert(*field, said.value.into());
        }
    }
    if data.get("changed_at").is_none_or(Value::is_null) {
        words.insert("changed_at", changed_at.to_string().into());
    }
    Value::Object(words)
}

/// The attributes that say what the data leaves out.
const STAND_INS: &[(&str, &[&str])] = &[
    ("key", &["/subject"]),
    ("name", &["/subject", "/type"]),
    ("namespace", &["/source"]),
    ("metric", &["/type"]),
    // The documented extension for severity.
    ("severity", &["/severitytext"]),
];

/// Under which label an attribute stands.
fn label(name: &str) -> String {
    match name {
        "id" => "cloudevents.id".to_owned(),
        extension => format!("extension.{extension}"),
    }
}

/// Where a field of an alarm in our own words came from.
fn origin(event: &Event<'_>, (data, has_time): (&Object<'_>, bool), field: &str) -> Option<String> {
    let in_data = |field: &str| data.get(field).is_some_and(|value| !value.is_null());
    let of_data = |field: &str| event.place(&format!("/data{}", reading::pointer_of(field)));
    let attribute = |name: &str| event.place(&format!("/{name}"));
    let stand_in = |field: &str| {
        let (_, pointers) = STAND_INS.iter().find(|(named, _)| *named == field)?;
        let root = Place::root(event.value());
        let said = pointers.iter().find(|pointer| root.at(pointer).is_filled())?;
        Some(event.place(said))
    };
    match field {
        "source" => None,
        "key" => {
            let key = if in_data("key") { of_data("key") } else { attribute("subject") };
            Some(format!("{} + {key}", attribute("source")))
        }
        "changed_at" if !in_data(field) => {
            let said = if has_time { attribute("time") } else { reading::RECEIPT.to_owned() };
            Some(said)
        }
        "dimensions.subject"
            if data
                .get("dimensions")
                .and_then(|all| all.get("subject"))
                .is_none_or(Value::is_null) =>
        {
            Some(attribute("subject"))
        }
        "labels.cloudevents.id" => Some(attribute("id")),
        _ => match field.strip_prefix("labels.extension.") {
            Some(name) if event.attributes().any(|(known, _)| known == name) => {
                Some(attribute(name))
            }
            Some(_) | None if field.contains('.') || in_data(field) => Some(of_data(field)),
            Some(_) | None => stand_in(field),
        },
    }
}
