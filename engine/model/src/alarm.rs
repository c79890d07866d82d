//! What a delivery says, normalised.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{AlarmKey, Source};

/// The state of an alarm as its sender sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmState {
    /// The condition holds.
    Firing,
    /// The condition is over.
    Resolved,
    /// The sender cannot tell. Never a success.
    NoData,
}

impl AlarmState {
    /// The word used in rules and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::NoData => "no_data",
        }
    }
}

/// One alarm at one moment. What a sender did not say is `None` or empty, never a guess.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Its identity over time; contributors of one alarm ARN have keys of their own.
    pub key: AlarmKey,
    /// What kind of alarm it is, whichever path brought it: `cloudwatch` also when SNS carried it.
    pub source: Source,
    /// The name people know it by.
    pub name: String,
    /// Its state now.
    pub state: AlarmState,
    /// When it changed to that state, by the sender's clock. Orders the alarm's history.
    pub changed_at: Timestamp,
    /// Severity in the sender's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Why it is in this state, in the sender's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What its author wrote about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// AWS account or the sender's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// AWS Region code, such as `ap-northeast-2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// CloudWatch namespace, or the policy or job that a condition belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Metric, or the condition's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What the metric is about: `InstanceId`, `QueueName`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// Labels, tags and annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The value that made it change, where the sender says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What the value was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// A page about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The sender's own identifier that its API understands: an alarm's ARN, an issue's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

impl Alarm {
    /// Whether its sender speaks only when the state changes, so that two words of firing with
    /// different times mean a clearing in between that was not heard: CloudWatch sends transitions,
    /// Alertmanager gives each episode a start of its own. Others repeat themselves while they fire.
    #[must_use]
    pub fn tells_changes_only(&self) -> bool {
        matches!(self.source.as_str(), "cloudwatch" | "alertmanager")
    }
}
