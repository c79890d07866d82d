//! New Relic's workflow webhook with its default template.
//!
//! The template is the user's to edit, so every key may be missing: without `id` and `state` nothing
//! can be said. An acknowledgement looks like any firing (`state` stays `ACTIVATED`), and is one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};
use untoil_model::{Alarm, AlarmState, Delivery};

use crate::bounds;
use crate::json::{self, filled, required, text, texts};
use crate::{DecodeError, Decoded};

/// What a delivery of New Relic's says.
pub(crate) fn decode(delivery: &Delivery) -> Result<Decoded, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let issue = body.as_object().ok_or(DecodeError::Missing("id"))?;
    if issue.contains_key("current_state") || issue.contains_key("incident_id") {
        return Err(DecodeError::Unsupported(
            "New Relic's classic webhook is not read; send with a workflow and its default template",
        ));
    }
    Ok(Decoded::Alarms(vec![alarm(delivery, issue)?]))
}

fn alarm(delivery: &Delivery, issue: &Map<String, Value>) -> Result<Alarm, DecodeError> {
    let id = required(issue, "id")?;
    if id.contains("{{") || id.starts_with('$') {
        return Err(DecodeError::wrong("id", id, "an issue's id; the template was not filled in"));
    }
    let state = match required(issue, "state")? {
        "CREATED" | "ACTIVATED" | "ACKNOWLEDGED" => AlarmState::Firing,
        "CLOSED" => AlarmState::Resolved,
        other => {
            return Err(DecodeError::wrong(
                "state",
                other,
                "`CREATED`, `ACTIVATED`, `ACKNOWLEDGED` or `CLOSED`",
            ));
        }
    };
    let conditions = texts(issue, "alertConditionNames");
    let title = text(issue, "title").unwrap_or("");
    let known = conditions.first().copied().filter(|name| !name.trim().is_empty());
    Ok(Alarm {
        key: bounds::key(&format!("newrelic:{id}"))?,
        source: delivery.id.source.clone(),
        name: bounds::name(known.or_else(|| filled(issue, "title")).unwrap_or(id)),
        state,
        changed_at: changed_at(delivery, issue)?,
        severity: filled(issue, "priority").map(bounds::name),
        reason: bounds::prose(title),
        description: String::new(),
        account: None,
        region: None,
        namespace: texts(issue, "alertPolicyNames").first().map(|policy| bounds::name(policy)),
        metric: known.map(bounds::name),
        dimensions: dimensions(issue)?,
        labels: labels(issue)?,
        value: None,
        threshold: None,
        link: text(issue, "issueUrl").and_then(bounds::link),
        origin: Some(bounds::identifier(id)),
    })
}

/// `updatedAt` in milliseconds, as a number or a text of digits. A template without it says nothing
/// of time, and then the time of receipt orders the issue's history.
fn changed_at(delivery: &Delivery, issue: &Map<String, Value>) -> Result<Timestamp, DecodeError> {
    let Some(updated) = issue.get("updatedAt").filter(|value| !value.is_null()) else {
        return Ok(delivery.received_at);
    };
    let millis = match updated {
        Value::Number(number) => number.as_i64(),
        Value::String(digits) => digits.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    millis
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .ok_or_else(|| DecodeError::wrong("updatedAt", &updated.to_string(), "milliseconds"))
}

/// The impacted entity, when there is just one.
fn dimensions(issue: &Map<String, Value>) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut all = BTreeMap::new();
    if let [entity] = texts(issue, "impactedEntities")[..] {
        bounds::dimension(&mut all, "entity", entity)?;
    }
    Ok(all)
}

fn labels(issue: &Map<String, Value>) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut all = BTreeMap::new();
    for key in ["workflowName", "trigger", "totalIncidents", "isCorrelated"] {
        if let Some(value) = issue.get(key).and_then(json::scalar) {
            bounds::label(&mut all, key, &value)?;
        }
    }
    for key in ["impactedEntities", "alertConditionNames", "alertPolicyNames", "sources"] {
        let values = texts(issue, key);
        if !values.is_empty() {
            bounds::label(&mut all, key, &values.join(", "))?;
        }
    }
    Ok(all)
}
