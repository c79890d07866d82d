//! A CloudWatch alarm as `EventBridge` and the direct Lambda action carry it.
//!
//! Both say the same with other spellings. Other events of `EventBridge` are read in `aws.rs`.

use std::collections::BTreeMap;

use untoil_model::Alarm;

use crate::json::{self, Object, Value, filled, required, text};
use crate::sources::cloudwatch::{self, EVENT_WORDS, Measured, Place};
use crate::{DecodeError, bounds};

/// What an event says; `None` when it is no state change of an alarm.
pub(crate) fn decode(event: &Object<'_>) -> Result<Option<Alarm>, DecodeError> {
    if filled(event, "source").is_none() {
        return Ok(None);
    }
    let kind = filled(event, "detail-type");
    if let Some(data) = json::object(event, "alarmData") {
        return alarm(event, data).map(Some);
    }
    let (Some(kind), Some(detail)) = (kind, json::object(event, "detail")) else {
        return Ok(None);
    };
    match kind {
        "CloudWatch Alarm State Change" | "CloudWatch Alarm Contributor State Change" => {
            alarm(event, detail).map(Some)
        }
        _ => Ok(None),
    }
}

fn alarm(event: &Object<'_>, data: &Object<'_>) -> Result<Alarm, DecodeError> {
    let known = required(data, "alarmName")?;
    let state = json::object(data, "state").ok_or_else(|| DecodeError::missing("state"))?;
    let arn = match filled(event, "alarmArn") {
        Some(arn) => arn,
        None => *json::texts(event, "resources")
            .first()
            .ok_or_else(|| DecodeError::missing("alarmArn"))?,
    };
    let place = Place::of_arn(arn);
    let account = place.as_ref().map(|place| place.account);
    let region = place.as_ref().map(|place| place.region).or_else(|| filled(event, "region"));
    let empty = Object::default();
    let contributor = json::object(data, "alarmContributor").unwrap_or(&empty);
    let contributor_id = filled(contributor, "id");
    let settings = json::object(data, "configuration").unwrap_or(&empty);
    let measured = match settings.get("metrics").and_then(Value::as_array) {
        Some(metrics) => cloudwatch::measured_by_math(metrics, &EVENT_WORDS)?,
        None => Measured::default(),
    };
    let mut dimensions = measured.dimensions;
    cloudwatch::attributes(&mut dimensions, contributor.get("attributes"))?;
    let reason = text(state, "reason").unwrap_or("");
    Ok(Alarm {
        key: cloudwatch::key(arn, contributor_id)?,
        source: "cloudwatch".parse().expect("it is a slug"),
        name: bounds::name(known),
        state: cloudwatch::state("state.value", required(state, "value")?)?,
        changed_at: json::moment("state.timestamp", required(state, "timestamp")?)?,
        severity: None,
        reason: bounds::prose(reason),
        description: bounds::prose(text(settings, "description").unwrap_or("")),
        account: account
            .or_else(|| filled(event, "accountId"))
            .or_else(|| filled(event, "account"))
            .map(bounds::name),
        region: region.map(bounds::name),
        namespace: measured.namespace,
        metric: measured.metric,
        dimensions,
        labels: labels(measured.labels, event, data)?,
        value: cloudwatch::value_in(reason),
        threshold: threshold(state),
        link: place.and_then(|place| place.console(known)),
        origin: Some(bounds::identifier(arn)),
    })
}

fn labels(
    mut labels: BTreeMap<String, String>,
    event: &Object<'_>,
    data: &Object<'_>,
) -> Result<BTreeMap<String, String>, DecodeError> {
    cloudwatch::tags(&mut labels, event.get("alarmTags").or_else(|| data.get("alarmTags")))?;
    let settings = json::object(data, "configuration");
    let found = [
        ("cloudwatch.alarm_rule", settings.and_then(|settings| filled(settings, "alarmRule"))),
        (
            "cloudwatch.contributor",
            json::object(data, "alarmContributor")
                .and_then(|contributor| filled(contributor, "id")),
        ),
        (
            "cloudwatch.old_state",
            json::object(data, "previousState").and_then(|state| filled(state, "value")),
        ),
        (
            "cloudwatch.actions_suppressed_by",
            json::object(data, "state").and_then(|state| filled(state, "actionsSuppressedBy")),
        ),
    ];
    for (label, value) in found {
        if let Some(value) = value {
            bounds::label(&mut labels, label, value)?;
        }
    }
    Ok(labels)
}

/// `reasonData` is JSON in a text.
fn threshold(state: &Object<'_>) -> Option<f64> {
    let data: serde_json::Value = serde_json::from_str(text(state, "reasonData")?).ok()?;
    data.get("threshold")?.as_f64().filter(|number| number.is_finite())
}
