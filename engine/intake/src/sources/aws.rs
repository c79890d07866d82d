//! What AWS itself publishes: CloudWatch's alarms, and the events of its services as alarms or notes.
//!
//! One reader for every way it comes: EventBridge's event, a message of SNS with its envelope or
//! without, JSON or text. What fires, what resolves it and what is only a note is decided per kind of
//! event, in one file per group of services; `docs/sources/aws.md` has the same as a table. Nearly no
//! service says that something is over, so what ends an alarm is the next good word about the same
//! thing. An event of another kind is a note.

mod capacity;
mod data;
mod ecs;
mod health;
mod security;
mod text;

use std::borrow::Cow;

use untoil_model::{Alarm, AlarmState, Delivery};

use crate::json::{Object, Text, Value, filled, parse_text};
use crate::reading::{Core, Detail, Place, Read, Reading, Said};
use crate::sources::sns::{Envelope, Kind, TopicArn};
use crate::sources::{cloudwatch, cloudwatch_event, cloudwatch_origins, sns};
use crate::{DecodeError, bounds, times};

/// Outside text shown in a note about a message that is no alarm.
const NOTE_CHARS_MAX: usize = 200;

/// What a delivery of AWS's says: an event, a message of SNS in its envelope, or a bare one.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    if let Some(envelope) = envelope(&delivery.body) {
        return sns::enclosed((delivery, detail), &envelope);
    }
    // Lossy reading looks at every byte, even where there is nothing to lose.
    let text = std::str::from_utf8(&delivery.body)
        .map_or_else(|_| String::from_utf8_lossy(&delivery.body), Cow::Borrowed);
    message((delivery, detail), &Letter { message: &text, envelope: None })
}

/// SNS's own envelope round a message, which queues and functions get too.
pub(crate) fn envelope(body: &[u8]) -> Option<Envelope<'_>> {
    Envelope::parse(body).ok().filter(|envelope| envelope.kind == Kind::Notification)
}

/// A message and what SNS wrote on its envelope.
pub(crate) struct Letter<'a> {
    pub(crate) message: &'a str,
    pub(crate) envelope: Option<&'a Envelope<'a>>,
}

impl Letter<'_> {
    fn topic(&self) -> Option<TopicArn> {
        self.envelope.and_then(|envelope| envelope.topic_arn.parse().ok())
    }
}

/// What a message says, wherever it came from.
pub(crate) fn message(
    (delivery, detail): (&Delivery, Detail),
    letter: &Letter<'_>,
) -> Result<Read, DecodeError> {
    let message = letter.message.trim();
    let outer = match message.chars().next() {
        Some('{') => parse_text(message)?,
        // Prose may begin with a quote or a bracket; only if it is JSON is it more than prose.
        Some('"' | '[') => {
            serde_json::from_str::<serde_json::Value>(message).map_or(Value::Null, Value::from)
        }
        Some(_) | None => Value::Null,
    };
    // Some senders encode twice. Once is undone, no more.
    let inner = outer.as_str().filter(|inner| inner.trim_start().starts_with('{'));
    let inner = inner.map(parse_text).transpose()?;
    let value = inner.as_ref().unwrap_or(&outer);
    let topic = letter.topic();
    let Value::Object(object) = value else {
        let written = text::written(message, letter);
        let event = Event { delivery, detail, root: Place::root(&written), topic: topic.as_ref() };
        return Ok(text::read(&event)?.unwrap_or_else(|| {
            Read::Note(format!("not an alarm but a text: {}", beginning(message)))
        }));
    };
    if ["NewStateValue", "AlarmName", "AlarmArn"].iter().any(|key| object.contains_key(key)) {
        return Ok(cloudwatch(cloudwatch::alarm(object, topic.as_ref())?, value, detail));
    }
    if let Some(alarm) = cloudwatch_event::decode(object)? {
        return Ok(cloudwatch(alarm, value, detail));
    }
    let event = Event { delivery, detail, root: Place::root(value), topic: topic.as_ref() };
    Ok(match event.read()? {
        Some(read) => read,
        None => Read::Note(unknown(object, message)),
    })
}

fn cloudwatch(alarm: Alarm, root: &Value<'_>, detail: Detail) -> Read {
    let origin = |field: &str| cloudwatch_origins::origin(root, field);
    Read::one(Reading::whole(alarm, detail, origin))
}

/// What a message is that no reader knows.
fn unknown(object: &Object<'_>, message: &str) -> String {
    match (filled(object, "source"), filled(object, "detail-type")) {
        (Some(source), Some(kind)) => format!(
            "not an alarm but an event of `{}`: {}",
            bounds::quote(source),
            bounds::quote(kind)
        ),
        _ => format!("not an alarm: {}", beginning(message)),
    }
}

fn beginning(message: &str) -> String {
    if message.is_empty() {
        return "(empty)".to_owned();
    }
    bounds::name(&message.chars().take(NOTE_CHARS_MAX).collect::<String>())
}

/// One event of a service.
pub(super) struct Event<'a> {
    delivery: &'a Delivery,
    detail: Detail,
    root: Place<'a>,
    /// Where it came by; its Region is the event's where the event names none.
    topic: Option<&'a TopicArn>,
}

/// What an alarm of a service is about: `("ecs", "deployment")`.
type About = (&'static str, &'static str);

impl<'a> Event<'a> {
    /// What it says; `None` when its kind is not known.
    fn read(&self) -> Result<Option<Read>, DecodeError> {
        // GuardDuty's and Health's are known by what is in them: their senders are passed on.
        let readers = [health::read, ecs::read, capacity::read, data::read, security::read];
        for reader in readers {
            if let Some(read) = reader(self)? {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }

    fn at(&self, pointer: &'static str) -> Place<'a> {
        self.root.at(pointer)
    }

    /// The kind of an event of EventBridge.
    fn kind(&self) -> Option<Said<'a>> {
        self.at("/detail-type").text()
    }

    /// That it was understood, and says nothing that ends or begins an alarm.
    fn note(&self, said: &Said<'_>) -> Read {
        let source = self.at("/source").text();
        let source = source.as_ref().map_or("AWS", Said::as_str);
        Read::Note(format!(
            "not an alarm but an event of `{}`: {}",
            bounds::quote(source),
            bounds::quote(said.as_str())
        ))
    }

    /// The account, Region and another text: what identifies things that have no ARN.
    fn here(&self, said: Said<'a>) -> Vec<Said<'a>> {
        let or_none = |place: Option<Said<'a>>| place.unwrap_or_else(|| said.map(|_| "-".into()));
        vec![or_none(self.account(&said)), or_none(self.region(&said)), said]
    }

    /// The account that the event names, or the topic's.
    fn account(&self, anchor: &Said<'a>) -> Option<Said<'a>> {
        let account = self.root.first(&["/account", "/AccountId"]).scalar();
        let of_topic = || {
            let account = self.topic?.as_str().split(':').nth(4)?.to_owned();
            Some(anchor.map(|_| account.into()))
        };
        account.or_else(of_topic)
    }

    /// The Region that the event names, or that of its group, or the topic's.
    fn region(&self, anchor: &Said<'a>) -> Option<Said<'a>> {
        let arn = self.at("/AutoScalingGroupARN").text();
        let of_arn = arn.and_then(|arn| {
            let region = arn.as_str().split(':').nth(3)?.to_owned();
            Some(arn.map(|_| region.into()))
        });
        let of_topic = || -> Option<Said<'a>> {
            let region = self.topic?.region().to_owned();
            Some(anchor.map(|_| region.into()))
        };
        self.at("/region").text().or(of_arn).or_else(of_topic)
    }

    /// An alarm in the state that `word` tells, with what all events have.
    fn alarm(
        &self,
        (service, what): About,
        (word, state): (&Said<'a>, AlarmState),
        identity: Vec<Said<'a>>,
        changed_at: Place<'a>,
    ) -> Result<Reading, DecodeError> {
        let mut identity = identity;
        if let Some(first) = identity.first_mut() {
            *first = first.map(|text| format!("{service}/{what}/{text}").into());
        }
        let core = Core {
            source: "aws",
            identity: &identity,
            state: word.map(|_| state),
            changed_at: times::at(changed_at, moment)?,
        };
        let mut reading = Reading::of(self.delivery, self.detail, &core)?;
        reading.account(self.account(word));
        reading.region(self.region(word));
        reading.namespace(Some(word.map(|_| format!("aws.{service}").into())));
        reading.metric(Some(word.map(|_| what.into())));
        reading.label("event", Some(word.clone()))?;
        Ok(reading)
    }
}

/// The times of AWS's services: RFC 3339, RFC 1123 with whatever weekday, and a date and time in UTC.
fn moment(text: &str) -> Option<jiff::Timestamp> {
    times::rfc3339(text)
        .or_else(|| times::rfc2822(text))
        .or_else(|| times::utc("%Y-%m-%d %H:%M:%S%.f", text))
        .or_else(|| {
            // Elastic Beanstalk's, without its weekday.
            let (_, rest) = text.trim().split_once(' ')?;
            times::utc("%b %d %H:%M:%S UTC %Y", rest)
        })
}

/// The last part of an ARN, behind its type: `cluster/service` of a service's.
fn last_of(arn: &str) -> String {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    resource.split_once(['/', ':']).map_or(resource, |(_, rest)| rest).to_owned()
}

/// What SNS wrote on an envelope, beside its message: a value to read from like any other.
fn envelope_of<'a>(letter: &Letter<'a>, lines: Object<'a>) -> Value<'a> {
    let envelope = letter.envelope;
    let text = |text: &'a Text<'a>| Value::from(&**text);
    let attributes = envelope.and_then(|envelope| envelope.message_attributes.clone());
    let all = [
        ("Subject", envelope.and_then(|envelope| envelope.subject.as_ref()).map(text)),
        ("Timestamp", envelope.map(|envelope| text(&envelope.timestamp))),
        ("TopicArn", envelope.map(|envelope| text(&envelope.topic_arn))),
        ("MessageAttributes", attributes.map(Value::from)),
        ("Message", Some(letter.message.into())),
        ("Lines", Some(Value::Object(lines))),
    ];
    Value::Object(all.into_iter().map(|(key, value)| (key, value.into())).collect())
}
