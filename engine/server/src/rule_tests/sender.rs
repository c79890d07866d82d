//! What a sender would post for an alarm: real bodies, so that reading them is under test, too.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Map, json};
use untoil_model::{AlarmState, Delivery, DeliveryId};
use untoil_world::{AlarmSpec, Transition};

use super::format::{Event, Said, Sender};

/// The topic that simulated alarms come by; the account and Region are the simulated world's.
const TOPIC: &str = "arn:aws:sns:ap-northeast-2:111122223333:simulated-alarms";

impl Said {
    /// This, with what it leaves out taken from what was said before.
    pub(super) fn over(self, before: &Self) -> Self {
        let last = before.clone();
        Self {
            source: self.source.or(last.source),
            name: self.name.or(last.name),
            state: self.state.or(last.state),
            // A time is one word's own.
            changed_at: self.changed_at,
            namespace: self.namespace.or(last.namespace),
            metric: self.metric.or(last.metric),
            dimensions: self.dimensions.or(last.dimensions),
            value: self.value.or(last.value),
            threshold: self.threshold.or(last.threshold),
            // So are the words: they tell of one state.
            reason: self.reason,
            description: self.description.or(last.description),
            key: self.key.or(last.key),
            severity: self.severity.or(last.severity),
            labels: self.labels.or(last.labels),
        }
    }
}

/// The `n`th delivery of a test: this alarm, said now.
///
/// # Errors
/// When the sender could not say it so.
pub(super) fn alarm(
    said: &Said,
    before: Option<AlarmState>,
    now: (Timestamp, usize),
) -> anyhow::Result<Delivery> {
    match said.source.context("the first `alarm` needs a `source`: `cloudwatch` or `generic`")? {
        Sender::Cloudwatch => cloudwatch(said, before, now),
        Sender::Generic => generic(said, now),
    }
}

/// The `n`th delivery of a test: exactly this.
pub(super) fn event(event: &Event, (now, n): (Timestamp, usize)) -> Delivery {
    let text = event.body.as_str().map(str::to_owned);
    let body = text.unwrap_or_else(|| event.body.to_string());
    delivery(event.source.clone(), body, (now, n))
}

fn delivery(source: untoil_model::Source, body: String, (now, n): (Timestamp, usize)) -> Delivery {
    Delivery {
        id: DeliveryId { source, message: format!("rule-test-{n}") },
        sender: "rule test".into(),
        received_at: now,
        headers: BTreeMap::new(),
        body: body.into_bytes(),
    }
}

fn word(state: AlarmState) -> &'static str {
    match state {
        AlarmState::Firing => "ALARM",
        AlarmState::Resolved => "OK",
        AlarmState::NoData => "INSUFFICIENT_DATA",
    }
}

fn cloudwatch(
    said: &Said,
    before: Option<AlarmState>,
    (now, n): (Timestamp, usize),
) -> anyhow::Result<Delivery> {
    if said.key.is_some() || said.severity.is_some() || said.labels.is_some() {
        bail!("a CloudWatch alarm has no `key`, `severity` or `labels` of its own; leave them out");
    }
    let needed = |what: &str| format!("a CloudWatch alarm needs a `{what}`");
    let state = said.state.with_context(|| needed("state"))?;
    let threshold = said.threshold.with_context(|| needed("threshold"))?;
    let spec = AlarmSpec {
        name: said.name.clone().with_context(|| needed("name"))?,
        namespace: said.namespace.clone().with_context(|| needed("namespace"))?,
        metric: said.metric.clone().with_context(|| needed("metric"))?,
        dimensions: said.dimensions.clone().unwrap_or_default(),
        threshold,
        periods: 1,
    };
    let reason = match (&said.reason, said.value) {
        (Some(reason), _) => reason.clone(),
        (None, Some(value)) => {
            let was = if state == AlarmState::Firing { "was" } else { "was not" };
            format!(
                "Threshold Crossed: 1 datapoint [{value:.1} (05/01/26 09:00:00)] {was} greater than the threshold ({threshold:.1})."
            )
        }
        (None, None) => "simulated".to_owned(),
    };
    let at = said.changed_at.unwrap_or(now);
    let from = before.map_or("OK", word);
    let mut message = Transition { alarm: spec, at, from, to: word(state), reason }.message();
    if let Some(description) = &said.description {
        message["AlarmDescription"] = json!(description);
    }
    let envelope = json!({
        "Type": "Notification",
        "MessageId": format!("00000000-0000-4000-8000-{n:012}"),
        "TopicArn": TOPIC,
        "Message": message.to_string(),
        "Timestamp": now.to_string(),
    });
    let sns = "sns".parse().expect("it is a slug");
    Ok(delivery(sns, envelope.to_string(), (now, n)))
}

fn generic(said: &Said, (now, n): (Timestamp, usize)) -> anyhow::Result<Delivery> {
    let name = said.name.clone().context("an alarm needs a `name`")?;
    let mut alarm = Map::new();
    alarm.insert("key".into(), json!(said.key.clone().unwrap_or_else(|| name.clone())));
    alarm.insert("name".into(), json!(name));
    alarm.insert("state".into(), json!(said.state.context("an alarm needs a `state`")?));
    alarm.insert("changed_at".into(), json!(said.changed_at.unwrap_or(now)));
    let filled = [
        ("severity", json!(said.severity)),
        ("reason", json!(said.reason)),
        ("description", json!(said.description)),
        ("namespace", json!(said.namespace)),
        ("metric", json!(said.metric)),
        ("dimensions", json!(said.dimensions)),
        ("labels", json!(said.labels)),
        ("value", json!(said.value)),
        ("threshold", json!(said.threshold)),
    ];
    let filled = filled.into_iter().filter(|(_, value)| !value.is_null());
    alarm.extend(filled.map(|(name, value)| (name.to_owned(), value)));
    let source = "generic".parse().expect("it is a slug");
    Ok(delivery(source, json!({ "alarms": [alarm] }).to_string(), (now, n)))
}
