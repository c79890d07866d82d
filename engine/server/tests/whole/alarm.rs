//! Alarms as CloudWatch tells them, dated now: what is stale is not acted on.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Where alarms come from.
const ACCOUNT: &str = "123456789012";

/// The backlog of business cards, through `EventBridge`.
pub(crate) fn backlog(state: &str, value: f64) -> Value {
    let metric =
        json!({ "namespace": "Remember/ContactSync", "name": "PendingContacts", "dimensions": {} });
    event("contact-sync-backlog", &metric, state, value)
}

/// A host's disk, through `EventBridge`.
pub(crate) fn disk(instance: &str, state: &str, value: f64) -> Value {
    let dimensions = json!({ "InstanceId": instance, "path": "/var/log" });
    let metric =
        json!({ "namespace": "CWAgent", "name": "disk_used_percent", "dimensions": dimensions });
    event("web-disk", &metric, state, value)
}

fn event(name: &str, metric: &Value, state: &str, value: f64) -> Value {
    let arn = format!("arn:aws:cloudwatch:ap-northeast-2:{ACCOUNT}:alarm:{name}");
    let mut event = json!({ "version": "0", "id": "x", "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch", "account": ACCOUNT, "region": "ap-northeast-2",
        "resources": [arn], "time": now() });
    event["detail"] = detail(name, metric, state, value);
    event
}

/// The part of such an event that CloudWatch writes.
fn detail(name: &str, metric: &Value, state: &str, value: f64) -> Value {
    let stat = json!({ "metric": metric, "period": 60, "stat": "Maximum" });
    let reason = format!("Threshold Crossed: 1 datapoint [{value}] against the threshold (85.0).");
    let data = json!({ "version": "1.0", "recentDatapoints": [value], "threshold": 85.0 });
    json!({
        "alarmName": name,
        "configuration": { "metrics": [{ "id": "m", "metricStat": stat, "returnData": true }] },
        "previousState": { "value": if state == "ALARM" { "OK" } else { "ALARM" }, "timestamp": now() },
        "state": { "value": state, "reason": reason, "reasonData": data.to_string(), "timestamp": now() },
    })
}

/// The backlog as CloudWatch posts it through SNS.
pub(crate) fn message(state: &str) -> String {
    let name = "contact-sync-backlog";
    json!({
        "AlarmName": name,
        "AlarmDescription": null,
        "AWSAccountId": ACCOUNT,
        "NewStateValue": state,
        "NewStateReason": "Threshold Crossed: 1 datapoint [9120.0 (22/11/26 03:03:00)] was greater than the threshold (5000.0).",
        "StateChangeTime": now().replace('Z', "+0000"),
        "Region": "Asia Pacific (Seoul)",
        "AlarmArn": format!("arn:aws:cloudwatch:ap-northeast-2:{ACCOUNT}:alarm:{name}"),
        "OldStateValue": if state == "ALARM" { "OK" } else { "ALARM" },
        "Trigger": { "MetricName": "PendingContacts", "Namespace": "Remember/ContactSync",
            "StatisticType": "Statistic", "Statistic": "MAXIMUM", "Unit": null, "Dimensions": [],
            "Period": 60, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 5000.0, "TreatMissingData": "missing" },
    })
    .to_string()
}

/// Now, as CloudWatch writes times.
pub(crate) fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
