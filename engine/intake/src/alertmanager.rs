//! Prometheus Alertmanager's webhook, version 4. The state is each alert's own, never the group's.
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use untoil_model::{Alarm, AlarmState, Delivery};

use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, filled, required, text};
use crate::{DecodeError, Decoded};

/// What a delivery of Alertmanager's says.
pub(crate) fn decode(delivery: &Delivery) -> Result<Decoded, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let group = body.as_object().ok_or(DecodeError::Missing("alerts"))?;
    let version = group.get("version").ok_or(DecodeError::Missing("version"))?;
    if version.as_str() != Some("4") {
        return Err(DecodeError::wrong("version", &version.to_string(), "`\"4\"`"));
    }
    let alerts =
        group.get("alerts").and_then(Value::as_array).ok_or(DecodeError::Missing("alerts"))?;
    if alerts.is_empty() {
        return Ok(Decoded::Note("a group without alerts".to_owned()));
    }
    if alerts.len() > ALARMS_MAX {
        return Err(DecodeError::TooMany { what: "alerts in one delivery", max: ALARMS_MAX });
    }
    let alarms = alerts.iter().map(|alert| alarm(delivery, group, alert));
    Ok(Decoded::Alarms(alarms.collect::<Result<_, _>>()?))
}

fn alarm(
    delivery: &Delivery,
    group: &Map<String, Value>,
    alert: &Value,
) -> Result<Alarm, DecodeError> {
    let alert = alert
        .as_object()
        .ok_or_else(|| DecodeError::wrong("alerts[]", &alert.to_string(), "an object"))?;
    let fingerprint = required(alert, "fingerprint")?;
    let (state, at) = match required(alert, "status")? {
        "firing" => (AlarmState::Firing, "startsAt"),
        "resolved" => (AlarmState::Resolved, "endsAt"),
        other => return Err(DecodeError::wrong("status", other, "`firing` or `resolved`")),
    };
    let empty = Map::new();
    let labels = json::object(alert, "labels").unwrap_or(&empty);
    let notes = json::object(alert, "annotations").unwrap_or(&empty);
    let changed_at = json::moment(at, required(alert, at)?)?;
    if changed_at < Timestamp::UNIX_EPOCH {
        // The zero date is how Alertmanager writes that an alert has not ended.
        return Err(DecodeError::wrong(at, &changed_at.to_string(), "when its state changed"));
    }
    let known = filled(labels, "alertname").unwrap_or(fingerprint);
    Ok(Alarm {
        key: bounds::key(&format!("alertmanager:{fingerprint}"))?,
        source: delivery.id.source.clone(),
        name: bounds::name(known),
        state,
        changed_at,
        severity: filled(labels, "severity").map(bounds::name),
        reason: bounds::prose(
            text(notes, "summary").or_else(|| text(notes, "message")).unwrap_or(""),
        ),
        description: bounds::prose(text(notes, "description").unwrap_or("")),
        account: None,
        region: None,
        namespace: filled(labels, "job").map(bounds::name),
        metric: filled(labels, "alertname").map(bounds::name),
        dimensions: BTreeMap::new(),
        labels: all_labels(group, labels, notes)?,
        value: None,
        threshold: None,
        link: text(alert, "generatorURL").and_then(bounds::link),
        origin: Some(bounds::identifier(fingerprint)),
    })
}

/// The labels as they are, and beside them the annotations and the group's own words with a `.` in
/// their names, which a label's name cannot have.
fn all_labels(
    group: &Map<String, Value>,
    labels: &Map<String, Value>,
    notes: &Map<String, Value>,
) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut all = BTreeMap::new();
    for (key, value) in labels {
        if let Some(value) = json::scalar(value) {
            bounds::label(&mut all, key, &value)?;
        }
    }
    for (key, value) in notes {
        if let Some(value) = json::scalar(value) {
            bounds::label(&mut all, &format!("annotation.{key}"), &value)?;
        }
    }
    if let Some(receiver) = filled(group, "receiver") {
        bounds::label(&mut all, "alertmanager.receiver", receiver)?;
    }
    let truncated = group.get("truncatedAlerts").and_then(Value::as_u64).unwrap_or(0);
    if truncated > 0 {
        bounds::label(&mut all, "alertmanager.truncated", &truncated.to_string())?;
    }
    Ok(all)
}
