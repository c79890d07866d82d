//! A CloudWatch alarm as SNS carries it: metric, metric math, anomaly, composite and contributor.
//!
//! The name is never taken from an SNS subject, which is cut and loses every Korean letter. Shapes:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html>.

use std::collections::BTreeMap;

use untoil_model::{Alarm, AlarmState};

use crate::json::{self, Object, Value, filled, required, text};
use crate::sources::sns::TopicArn;
use crate::{DecodeError, bounds};

/// The alarm in a message of SNS.
///
/// `topic` is where it came by: an alarm older than 2018 does not name its Region, but SNS topics
/// take alarms of their own Region only.
pub(crate) fn alarm(said: &Object<'_>, topic: Option<&TopicArn>) -> Result<Alarm, DecodeError> {
    let known = required(said, "AlarmName")?;
    let arn = filled(said, "AlarmArn");
    let place = arn.and_then(Place::of_arn);
    let account =
        place.as_ref().map(|place| place.account).or_else(|| filled(said, "AWSAccountId"));
    let region = place.as_ref().map(|place| place.region).or_else(|| topic.map(TopicArn::region));
    let contributor = filled(said, "AlarmContributorId");
    let identity = match arn {
        Some(arn) => arn.to_owned(),
        None => {
            let region = region.or_else(|| filled(said, "Region")).unwrap_or("-");
            format!("{}:{region}:{known}", account.unwrap_or("-"))
        }
    };
    let empty = Object::default();
    let trigger = json::object(said, "Trigger").unwrap_or(&empty);
    let measured = measured(trigger)?;
    let mut dimensions = measured.dimensions;
    attributes(&mut dimensions, said.get("AlarmContributorAttributes"))?;
    let mut labels = measured.labels;
    tags(&mut labels, said.get("AlarmTags"))?;
    composite(&mut labels, said)?;
    for (label, value) in [
        ("cloudwatch.contributor", contributor),
        ("cloudwatch.old_state", filled(said, "OldStateValue")),
    ] {
        if let Some(value) = value {
            bounds::label(&mut labels, label, value)?;
        }
    }
    let reason = text(said, "NewStateReason").unwrap_or("");
    Ok(Alarm {
        key: key(&identity, contributor)?,
        source: "cloudwatch".parse().expect("it is a slug"),
        name: bounds::name(known),
        state: state("NewStateValue", required(said, "NewStateValue")?)?,
        changed_at: json::moment("StateChangeTime", required(said, "StateChangeTime")?)?,
        severity: None,
        reason: bounds::prose(reason),
        description: bounds::prose(text(said, "AlarmDescription").unwrap_or("")),
        account: account.map(bounds::name),
        region: region.map(bounds::name),
        namespace: measured.namespace,
        metric: measured.metric,
        dimensions,
        labels,
        value: value_in(reason),
        threshold: json::number(trigger, "Threshold"),
        link: place.and_then(|place| place.console(known)),
        origin: arn.map(bounds::identifier),
    })
}

/// The identity over time: an alarm's ARN, and beside it the contributor that many share one ARN by.
pub(crate) fn key(
    identity: &str,
    contributor: Option<&str>,
) -> Result<untoil_model::AlarmKey, DecodeError> {
    match contributor {
        Some(contributor) => bounds::key(&format!("cloudwatch:{identity}#{contributor}")),
        None => bounds::key(&format!("cloudwatch:{identity}")),
    }
}

/// CloudWatch's three states. Another one is an error: what it means is not for us to guess.
pub(crate) fn state(field: &'static str, word: &str) -> Result<AlarmState, DecodeError> {
    match word {
        "ALARM" => Ok(AlarmState::Firing),
        "OK" => Ok(AlarmState::Resolved),
        "INSUFFICIENT_DATA" => Ok(AlarmState::NoData),
        other => Err(DecodeError::wrong(field, other, "`ALARM`, `OK` or `INSUFFICIENT_DATA`")),
    }
}

/// The newest datapoint in CloudWatch's own prose, the only place where SNS says a value:
/// `1 datapoint [90.0 (14/09/26 11:15:00)] was …`, and until 2017 `1 datapoint (10.0) was …`.
pub(crate) fn value_in(reason: &str) -> Option<f64> {
    let (_, rest) = reason.split_once(" datapoint")?;
    let rest = rest.strip_prefix('s').unwrap_or(rest).strip_prefix(' ')?;
    let list = rest.strip_prefix('[').or_else(|| rest.strip_prefix('('))?;
    let end = list.find([' ', ',', ']', ')'])?;
    list[..end].parse().ok().filter(|value: &f64| value.is_finite())
}

/// Where an alarm lives, as its ARN says.
pub(crate) struct Place<'a> {
    partition: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
}

impl<'a> Place<'a> {
    /// `arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:any name, with colons too`.
    pub(crate) fn of_arn(arn: &'a str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(7, ':').collect();
        let ["arn", partition, "cloudwatch", region, account, "alarm", _] = parts[..] else {
            return None;
        };
        let is_code = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_plain = !region.is_empty() && region.chars().all(is_code);
        let is_account = !account.is_empty() && account.chars().all(is_code);
        (is_plain && is_account).then_some(Self { partition, region, account })
    }

    /// The alarm's page in the console.
    pub(crate) fn console(&self, alarm: &str) -> Option<String> {
        let host = match self.partition {
            "aws" => format!("{}.console.aws.amazon.com", self.region),
            "aws-cn" => format!("{}.console.amazonaws.cn", self.region),
            "aws-us-gov" => format!("{}.console.amazonaws-us-gov.com", self.region),
            _ => return None,
        };
        let mut name = String::new();
        for byte in alarm.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    name.push(char::from(byte));
                }
                _ => {
                    name.push('%');
                    for digit in [byte >> 4, byte & 15] {
                        name.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                    }
                }
            }
        }
        let region = self.region;
        bounds::link(&format!(
            "https://{host}/cloudwatch/home?region={region}#alarmsV2:alarm/{name}"
        ))
    }
}

/// What an alarm measures.
#[derive(Default)]
pub(crate) struct Measured {
    pub(crate) namespace: Option<String>,
    pub(crate) metric: Option<String>,
    pub(crate) dimensions: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
}

fn measured(trigger: &Object<'_>) -> Result<Measured, DecodeError> {
    if let Some(metrics) = trigger.get("Metrics").and_then(Value::as_array) {
        return measured_by_math(metrics, &SNS_WORDS);
    }
    Ok(Measured {
        namespace: filled(trigger, "Namespace").map(bounds::name),
        metric: filled(trigger, "MetricName").map(bounds::name),
        dimensions: pairs(trigger.get("Dimensions"))?,
        labels: BTreeMap::new(),
    })
}

/// How one of CloudWatch's two spellings calls the parts of a metric query.
pub(crate) struct Words {
    stat: &'static str,
    metric: &'static str,
    namespace: &'static str,
    name: &'static str,
    dimensions: &'static str,
    expression: &'static str,
    label: &'static str,
}

const SNS_WORDS: Words = Words {
    stat: "MetricStat",
    metric: "Metric",
    namespace: "Namespace",
    name: "MetricName",
    dimensions: "Dimensions",
    expression: "Expression",
    label: "Label",
};

/// The spelling of `EventBridge` and of the direct Lambda action.
pub(crate) const EVENT_WORDS: Words = Words {
    stat: "metricStat",
    metric: "metric",
    namespace: "namespace",
    name: "name",
    dimensions: "dimensions",
    expression: "expression",
    label: "label",
};

/// What all metrics of an expression agree on: one namespace, one metric, the dimensions they share.
pub(crate) fn measured_by_math(
    queries: &[Value<'_>],
    words: &Words,
) -> Result<Measured, DecodeError> {
    let mut all: Vec<Measured> = Vec::new();
    let mut labels = BTreeMap::new();
    for query in queries.iter().filter_map(Value::as_object).take(bounds::PAIRS_MAX) {
        if let Some(expression) = filled(query, words.expression) {
            labels
                .entry("cloudwatch.expression".to_owned())
                .or_insert_with(|| bounds::prose(expression));
            if let Some(label) = filled(query, words.label) {
                labels
                    .entry("cloudwatch.expression_label".to_owned())
                    .or_insert_with(|| bounds::prose(label));
            }
        }
        let metric =
            json::object(query, words.stat).and_then(|stat| json::object(stat, words.metric));
        if let Some(metric) = metric {
            all.push(Measured {
                namespace: filled(metric, words.namespace).map(bounds::name),
                metric: filled(metric, words.name).map(bounds::name),
                dimensions: pairs(metric.get(words.dimensions))?,
                labels: BTreeMap::new(),
            });
        }
    }
    let mut agreed = all.pop().unwrap_or_default();
    for other in &all {
        agreed.namespace = agreed.namespace.filter(|own| other.namespace.as_ref() == Some(own));
        agreed.metric = agreed.metric.filter(|own| other.metric.as_ref() == Some(own));
        agreed.dimensions.retain(|name, value| other.dimensions.get(name) == Some(value));
    }
    agreed.labels = labels;
    Ok(agreed)
}

/// Names and values, as a list of objects (`name` or `Name`) or as a map.
fn pairs(said: Option<&Value<'_>>) -> Result<BTreeMap<String, String>, DecodeError> {
    let mut all = BTreeMap::new();
    each_pair(said, |key, value| bounds::dimension(&mut all, key, value))?;
    Ok(all)
}

/// The attributes that tell one contributor from the others are what the alarm is about.
pub(crate) fn attributes(
    dimensions: &mut BTreeMap<String, String>,
    said: Option<&Value<'_>>,
) -> Result<(), DecodeError> {
    each_pair(said, |key, value| bounds::dimension(dimensions, key, value))
}

/// The alarm's tags, when the alarm is set up to send them.
pub(crate) fn tags(
    labels: &mut BTreeMap<String, String>,
    said: Option<&Value<'_>>,
) -> Result<(), DecodeError> {
    each_pair(said, |key, value| bounds::label(labels, key, value))
}

fn each_pair(
    said: Option<&Value<'_>>,
    mut add: impl FnMut(&str, &str) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    match said {
        Some(Value::Object(map)) => {
            for (key, value) in map.iter() {
                if let Some(value) = json::scalar(value) {
                    add(key, &value)?;
                }
            }
        }
        Some(Value::Array(list)) => {
            for pair in list.iter().filter_map(Value::as_object) {
                let any = |keys: [&str; 4]| keys.iter().find_map(|key| text(pair, key));
                if let (Some(key), Some(value)) =
                    (any(["name", "Name", "key", "Key"]), any(["value", "Value", "value", "Value"]))
                {
                    add(key, value)?;
                }
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
    }
    Ok(())
}

/// A composite's rule and the children that made it change.
fn composite(labels: &mut BTreeMap<String, String>, said: &Object<'_>) -> Result<(), DecodeError> {
    if let Some(rule) = filled(said, "AlarmRule") {
        bounds::label(labels, "cloudwatch.alarm_rule", rule)?;
    }
    if let Some(children) = said.get("TriggeringChildren").and_then(Value::as_array) {
        let arns: Vec<&str> =
            children.iter().filter_map(|child| child.get("Arn")?.as_str()).collect();
        if !arns.is_empty() {
            bounds::label(labels, "cloudwatch.triggering_children", &arns.join("\n"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_read_from_cloudwatchs_own_prose_only() {
        for (reason, expected) in [
            ("Threshold Crossed: 1 datapoint [90.0 (14/09/26 11:15:00)] was greater", Some(90.0)),
            (
                "Threshold Crossed: 2 out of the last 3 datapoints [93.41 (14/09/26 11:15:00), 92.9 (14/09/26 11:10:00)] were",
                Some(93.41),
            ),
            ("Threshold Crossed: 1 datapoint (10.0) was greater than", Some(10.0)),
            (
                "Threshold Crossed: 1 datapoint [-1.5E-4 (14/09/26 11:15:00)] was less",
                Some(-1.5e-4),
            ),
            (
                "Threshold Crossed: no datapoints were received for 2 periods and 2 missing datapoints were treated as [Breaching].",
                None,
            ),
            ("Insufficient Data: 10 datapoints were unknown.", None),
            ("1 datapoint [NaN (x)] was", None),
            ("testing [5.0]", None),
            (" datapoint [", None),
            ("", None),
        ] {
            assert_eq!(value_in(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_place_is_read_from_an_arn_whose_name_holds_anything() {
        let place =
            Place::of_arn("arn:aws:cloudwatch:ap-northeast-2:123456789012:alarm:a:b c").unwrap();
        assert_eq!((place.region, place.account), ("ap-northeast-2", "123456789012"));
        for arn in ["", "EXAMPLE", "arn:aws:cloudwatch:us-east-1: 4:alarm:x", "arn:aws:sns:a:b:c"] {
            assert!(Place::of_arn(arn).is_none(), "{arn}");
        }
    }
}
