//! Where each value came from: told of every value, and true.
#![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use untoil_intake::{Decoded, decode, explain, sources};
use untoil_model::Alarm;

use crate::goldens::{delivery, fixtures};

/// The alarm's fields that have a value, but for those that no body says.
fn fields(alarm: &Alarm) -> BTreeSet<String> {
    let Value::Object(all) = serde_json::to_value(alarm).unwrap() else { panic!("{alarm:?}") };
    let mut fields = BTreeSet::new();
    for (field, value) in all {
        match value {
            Value::Object(pairs) => {
                fields.extend(pairs.into_iter().map(|(key, _)| format!("{field}.{key}")));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => drop(fields.insert(field)),
        }
    }
    fields.remove("source");
    // Without one of its own an alarm has its key as its name.
    fields.remove("name");
    fields
}

/// Whether a pointer, or several with `+` between, or one into a text, leads to something.
fn leads(body: &Value, from: &str) -> bool {
    if let Some((outer, inner)) = from.split_once(" → ") {
        let text = body.pointer(outer).and_then(Value::as_str).unwrap_or_default();
        return match serde_json::from_str(text) {
            Ok(within) => leads(&within, inner),
            Err(_) => !text.is_empty(),
        };
    }
    let mut parts = from.split(" + ").filter(|part| part.starts_with('/'));
    parts.all(|pointer| body.pointer(pointer).is_some_and(|value| !value.is_null()))
}

#[test]
fn every_value_of_every_fixture_tells_where_it_stands_and_it_stands_there() {
    let mut looked_at = 0;
    for source in sources().into_iter().filter(|source| *source != "sns") {
        for path in fixtures(source) {
            let bytes = std::fs::read(&path).unwrap();
            let delivery = delivery(source, bytes.clone());
            let Ok((decoded, origins)) = explain(&delivery) else { continue };
            assert_eq!(decode(&delivery), Ok(decoded.clone()));
            let Decoded::Alarms(alarms) = decoded else { continue };
            // Some bodies are text, base64 or JSON in JSON: their places are not in the body itself.
            let body: Option<Value> = serde_json::from_slice(&bytes).ok();
            let body = body.filter(|body| body.is_object() && source != "gcp");
            for (alarm, origins) in alarms.iter().zip(&origins) {
                let told: BTreeSet<_> = origins.iter().map(|origin| origin.field.clone()).collect();
                let untold: Vec<_> = fields(alarm).difference(&told).cloned().collect();
                assert_eq!(untold, Vec::<String>::new(), "{}", path.display());
                for origin in origins {
                    let is_there = body.as_ref().is_none_or(|body| leads(body, &origin.from));
                    assert!(is_there, "{}: {origin:?}", path.display());
                    looked_at += 1;
                }
            }
        }
    }
    assert!(looked_at > 500, "{looked_at}");
}

#[test]
fn what_sns_carries_is_within_its_message() {
    let message = json!({
        "AlarmName": "명함 disk", "AlarmArn": "arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:명함 disk",
        "NewStateValue": "ALARM", "StateChangeTime": "2026-11-02T03:04:05.000+0000",
        "NewStateReason": "Threshold Crossed: 1 datapoint [90.0 (02/11/26 03:00:00)] was greater",
        "AlarmTags": [{"key": "team", "value": "cards"}],
        "Trigger": {"MetricName": "disk_used_percent", "Namespace": "CWAgent", "Threshold": 85.0,
            "Dimensions": [{"name": "host", "value": "web-1"}]}
    });
    let envelope = json!({
        "Type": "Notification", "MessageId": "m", "Timestamp": "2026-11-02T03:04:06Z",
        "TopicArn": "arn:aws:sns:ap-northeast-2:123456789012:alarms", "Message": message.to_string()
    });
    let (_, origins) = explain(&delivery("sns", envelope.to_string().into_bytes())).unwrap();
    let lines: Vec<String> =
        origins[0].iter().map(|origin| format!("{}: {}\n", origin.field, origin.from)).collect();
    expect_test::expect![[r#"
        account: /Message → /AlarmArn
        changed_at: /Message → /StateChangeTime
        dimensions.host: /Message → /Trigger/Dimensions
        key: /Message → /AlarmArn
        labels.team: /Message → /AlarmTags
        link: /Message → /AlarmArn
        metric: /Message → /Trigger/MetricName
        name: /Message → /AlarmName
        namespace: /Message → /Trigger/Namespace
        origin: /Message → /AlarmArn
        reason: /Message → /NewStateReason
        region: /Message → /AlarmArn
        state: /Message → /NewStateValue
        threshold: /Message → /Trigger/Threshold
        value: /Message → /NewStateReason
    "#]]
    .assert_eq(&lines.concat());
}
