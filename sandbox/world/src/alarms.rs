//! Simulated CloudWatch alarms, and the messages that CloudWatch would send about them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::metrics::Series;
use crate::snapshot::Word;
use crate::state::State;

/// The account that every ARN of the simulation names; AWS uses it in its own examples.
pub(crate) const ACCOUNT: &str = "111122223333";
/// The Region of the simulation.
pub(crate) const REGION: &str = "ap-northeast-2";

/// A threshold over one metric: above it for some minutes means `ALARM`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmSpec {
    /// Its name.
    pub name: String,
    /// Namespace of its metric.
    pub namespace: String,
    /// Its metric.
    pub metric: String,
    /// The metric's dimensions, exactly.
    pub dimensions: BTreeMap<String, String>,
    /// Above this is a breach.
    pub threshold: f64,
    /// So many datapoints in a row, of a minute each.
    pub periods: usize,
}

/// A change of an alarm's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Which alarm.
    pub alarm: AlarmSpec,
    /// When.
    pub at: Timestamp,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA` before.
    #[serde(deserialize_with = "crate::snapshot::word")]
    pub from: Word,
    /// The same, now.
    #[serde(deserialize_with = "crate::snapshot::word")]
    pub to: Word,
    /// Why, as CloudWatch words it.
    pub reason: String,
}

impl AlarmSpec {
    /// Its ARN in the simulated account.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{}", self.name)
    }
}

impl Transition {
    /// What CloudWatch publishes to SNS about it: the `Message` of a notification.
    #[must_use]
    pub fn message(&self) -> Value {
        let alarm = &self.alarm;
        let dimensions: Vec<Value> = alarm
            .dimensions
            .iter()
            .map(|(name, value)| json!({ "value": value, "name": name }))
            .collect();
        json!({
            "AlarmName": alarm.name,
            "AlarmDescription": "simulated",
            "AWSAccountId": ACCOUNT,
            "AlarmConfigurationUpdatedTimestamp": "2026-01-01T00:00:00.000+0000",
            "NewStateValue": self.to,
            "NewStateReason": self.reason,
            "StateChangeTime": self.at.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
            "Region": "Asia Pacific (Seoul)",
            "AlarmArn": alarm.arn(),
            "OldStateValue": self.from,
            "OKActions": [],
            "AlarmActions": [],
            "InsufficientDataActions": [],
            "Trigger": {
                "MetricName": alarm.metric,
                "Namespace": alarm.namespace,
                "StatisticType": "Statistic",
                "Statistic": "AVERAGE",
                "Unit": null,
                "Dimensions": dimensions,
                "Period": 60,
                "EvaluationPeriods": alarm.periods,
                "DatapointsToAlarm": alarm.periods,
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": alarm.threshold,
                "TreatMissingData": "missing",
                "EvaluateLowSampleCountPercentile": "",
            },
        })
    }
}

impl State {
    /// Judges every alarm by its newest datapoints.
    pub(crate) fn judge_alarms(&mut self) {
        for alarm in self.alarms.values_mut() {
            let spec = &alarm.spec;
            let series = Series {
                namespace: spec.namespace.clone(),
                metric: spec.metric.clone(),
                dimensions: spec.dimensions.clone(),
            };
            let points = self.series.get(&series).map_or(&[][..], Vec::as_slice);
            let newest: Vec<f64> =
                points.iter().rev().take(spec.periods.max(1)).map(|(_, value)| *value).collect();
            let to = match newest.as_slice() {
                [] => "INSUFFICIENT_DATA",
                all if all.len() < spec.periods => alarm.state,
                all if all.iter().all(|value| *value > spec.threshold) => "ALARM",
                // One datapoint below the threshold is enough to be well again.
                _ => "OK",
            };
            if to == alarm.state {
                continue;
            }
            let value = newest.first().copied().unwrap_or_default();
            let word = if to == "ALARM" { "was" } else { "was not" };
            let reason = format!(
                "Threshold Crossed: 1 datapoint [{value:.1}] {word} greater than the threshold ({:.1}).",
                spec.threshold
            );
            let change =
                Transition { alarm: spec.clone(), at: self.now, from: alarm.state, to, reason };
            alarm.state = to;
            alarm.changed_at = self.now;
            alarm.reason.clone_from(&change.reason);
            self.transitions.push(change);
        }
    }
}
