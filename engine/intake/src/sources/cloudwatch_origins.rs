//! Where each value of a CloudWatch alarm stands in its message. It is looked up only when somebody
//! asks: the decoder itself stays as quick as it is.

use crate::json::Value;
use crate::sources::cloudwatch::Place;

/// Where a field's value came from, as a pointer or in words.
pub(crate) fn origin(root: &Value<'_>, field: &str) -> Option<String> {
    let (spelling, carrier) = Spelling::of(root);
    let from = match spelling {
        Spelling::Sns => sns(root, field),
        Spelling::Event => event(root, carrier, field),
    };
    from.or_else(|| (field != "source").then(|| "the message".to_owned()))
}

/// The two ways in which CloudWatch writes an alarm.
enum Spelling {
    Sns,
    Event,
}

impl Spelling {
    fn of(root: &Value<'_>) -> (Self, &'static str) {
        if root.get("alarmData").is_some() {
            (Self::Event, "/alarmData")
        } else if root.get("detail").is_some() {
            (Self::Event, "/detail")
        } else {
            (Self::Sns, "")
        }
    }
}

fn sns(root: &Value<'_>, field: &str) -> Option<String> {
    let math = first(root, &["/Trigger/Metrics"]);
    Some(match field {
        "key" => key(root, ("/AlarmArn", "/AlarmContributorId")).or_else(|| {
            let account = first(root, &["/AWSAccountId"])?;
            Some(format!("{account} + the topic's Region + /AlarmName"))
        })?,
        "name" => "/AlarmName".to_owned(),
        "state" => "/NewStateValue".to_owned(),
        "changed_at" => "/StateChangeTime".to_owned(),
        "reason" | "value" => "/NewStateReason".to_owned(),
        "description" => "/AlarmDescription".to_owned(),
        "account" => place(root, "/AlarmArn").or_else(|| first(root, &["/AWSAccountId"]))?,
        "region" => place(root, "/AlarmArn").unwrap_or_else(|| "the topic's ARN".to_owned()),
        "namespace" => math.or_else(|| first(root, &["/Trigger/Namespace"]))?,
        "metric" => math.or_else(|| first(root, &["/Trigger/MetricName"]))?,
        "threshold" => "/Trigger/Threshold".to_owned(),
        "link" | "origin" => "/AlarmArn".to_owned(),
        "labels.cloudwatch.contributor" => "/AlarmContributorId".to_owned(),
        "labels.cloudwatch.old_state" => "/OldStateValue".to_owned(),
        "labels.cloudwatch.alarm_rule" => "/AlarmRule".to_owned(),
        "labels.cloudwatch.triggering_children" => "/TriggeringChildren".to_owned(),
        "labels.cloudwatch.expression" | "labels.cloudwatch.expression_label" => math?,
        _ => match field.split_once('.')? {
            ("dimensions", name) => {
                let attributes = "/AlarmContributorAttributes";
                holding(root, attributes, name)
                    .or(math)
                    .unwrap_or_else(|| "/Trigger/Dimensions".into())
            }
            ("labels", _) => "/AlarmTags".to_owned(),
            _ => return None,
        },
    })
}

fn event(root: &Value<'_>, data: &str, field: &str) -> Option<String> {
    let arn = if root.get("alarmArn").is_some() { "/alarmArn" } else { "/resources/0" };
    let of = |pointer: &str| format!("{data}{pointer}");
    Some(match field {
        "key" => key(root, (arn, &of("/alarmContributor/id")))?,
        "name" => of("/alarmName"),
        "state" => of("/state/value"),
        "changed_at" => of("/state/timestamp"),
        "reason" | "value" => of("/state/reason"),
        "description" => of("/configuration/description"),
        "account" => place(root, arn).or_else(|| first(root, &["/accountId", "/account"]))?,
        "region" => place(root, arn).or_else(|| first(root, &["/region"]))?,
        "namespace" | "metric" => of("/configuration/metrics"),
        "threshold" => of("/state/reasonData"),
        "link" | "origin" => arn.to_owned(),
        "labels.cloudwatch.contributor" => of("/alarmContributor/id"),
        "labels.cloudwatch.old_state" => of("/previousState/value"),
        "labels.cloudwatch.alarm_rule" => of("/configuration/alarmRule"),
        "labels.cloudwatch.actions_suppressed_by" => of("/state/actionsSuppressedBy"),
        "labels.cloudwatch.expression" | "labels.cloudwatch.expression_label" => {
            of("/configuration/metrics")
        }
        _ => match field.split_once('.')? {
            ("dimensions", name) => holding(root, &of("/alarmContributor/attributes"), name)
                .unwrap_or_else(|| of("/configuration/metrics")),
            ("labels", _) => first(root, &["/alarmTags", &of("/alarmTags")])?,
            _ => return None,
        },
    })
}

/// The ARN, and beside it the contributor where there is one.
fn key(root: &Value<'_>, (arn, contributor): (&str, &str)) -> Option<String> {
    let arn = first(root, &[arn])?;
    Some(match first(root, &[contributor]) {
        Some(contributor) => format!("{arn} + {contributor}"),
        None => arn,
    })
}

/// The ARN, if account and Region can be read from it.
fn place(root: &Value<'_>, arn: &str) -> Option<String> {
    Place::of_arn(root.pointer(arn)?.as_str()?)?;
    Some(arn.to_owned())
}

/// The first pointer that leads to something.
fn first(root: &Value<'_>, pointers: &[&str]) -> Option<String> {
    let is_there = |pointer: &&&str| root.pointer(pointer).is_some_and(|value| !value.is_null());
    pointers.iter().find(is_there).map(|pointer| (*pointer).to_owned())
}

/// The pointer of an object or a list of names and values, if it has this name.
fn holding(root: &Value<'_>, pointer: &str, name: &str) -> Option<String> {
    let has = match root.pointer(pointer)? {
        Value::Object(all) => all.contains_key(name),
        Value::Array(all) => all.iter().any(|pair| {
            ["name", "Name", "key", "Key"]
                .iter()
                .any(|key| pair.get(key).and_then(Value::as_str) == Some(name))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    has.then(|| pointer.to_owned())
}
