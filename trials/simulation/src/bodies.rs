//! What senders post: bodies as SNS, Alertmanager, New Relic and a generic sender write them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use untoil_model::{Delivery, DeliveryId};
use untoil_world::Transition;

/// The topic that simulated alarms come by.
const TOPIC: &str = "arn:aws:sns:ap-northeast-2:111122223333:simulated-alarms";

/// A message before anybody took it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    source: &'static str,
    message: String,
    body: String,
}

impl Letter {
    /// The delivery that it is when it arrives.
    pub(crate) fn delivery(&self, received_at: Timestamp) -> Delivery {
        Delivery {
            id: self.id(),
            sender: "simulated".into(),
            received_at,
            headers: BTreeMap::new(),
            body: self.body.clone().into_bytes(),
        }
    }

    /// What it is known by.
    pub(crate) fn id(&self) -> DeliveryId {
        let source = self.source.parse().expect("it is a slug");
        DeliveryId { source, message: self.message.clone() }
    }
}

/// Firing or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Fires,
    Clears,
}

/// An alarm that is not CloudWatch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Voice {
    /// The front end answers with errors; one of several alarms about the same service.
    Front(u8),
    /// The pool of instances is too small.
    Pool(u8),
    /// The cache is stale.
    Cache(u8),
    /// An alarm that no rule answers.
    Nobody(u8),
}

impl Voice {
    /// What it posts: `at` is when its state changed, `n` makes the message one of its own.
    pub(crate) fn letter(self, says: Says, at: Timestamp, n: u64) -> Letter {
        match self {
            Self::Front(which) => generic(("Sim/Front", &format!("front-{which}")), says, at, n),
            Self::Nobody(which) => generic(("Sim/Nobody", &format!("nobody-{which}")), says, at, n),
            Self::Pool(which) => alertmanager(which, says, at, n),
            Self::Cache(which) => newrelic(which, says, at, n),
        }
    }
}

fn generic((namespace, name): (&str, &str), says: Says, at: Timestamp, n: u64) -> Letter {
    let state = match says {
        Says::Fires => "firing",
        Says::Clears => "resolved",
    };
    let body = json!({ "alarms": [{
        "key": name, "name": name, "state": state, "changed_at": at, "severity": "high",
        "reason": format!("simulated word {n}"), "namespace": namespace, "metric": "Errors",
        "value": 12.0, "threshold": 5.0,
    }]});
    Letter { source: "generic", message: format!("key:{n}"), body: body.to_string() }
}

fn alertmanager(which: u8, says: Says, at: Timestamp, n: u64) -> Letter {
    // Alertmanager tells when an alert began, also when it tells that it has ended.
    let (status, starts, ends) = match says {
        Says::Fires => ("firing", at, "0001-01-01T00:00:00Z".to_owned()),
        Says::Clears => ("resolved", Timestamp::UNIX_EPOCH, at.to_string()),
    };
    let body = json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": status,
        "receiver": "untoil", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example.com",
        "alerts": [{
            "status": status,
            "labels": { "alertname": "PoolTooSmall", "job": "pool", "severity": "warning", "n": n.to_string() },
            "annotations": { "summary": "the pool is too small" },
            "startsAt": starts, "endsAt": ends,
            "generatorURL": "http://prometheus.example.com/graph",
            "fingerprint": format!("{which:016x}"),
        }],
    });
    Letter { source: "alertmanager", message: format!("simulated-{n}"), body: body.to_string() }
}

fn newrelic(which: u8, says: Says, at: Timestamp, n: u64) -> Letter {
    let state = match says {
        Says::Fires => "ACTIVATED",
        Says::Clears => "CLOSED",
    };
    let body = json!({
        "id": format!("issue-{which}"), "issueUrl": "https://one.newrelic.com/issue",
        "title": format!("the cache is stale ({n})"), "priority": "CRITICAL",
        "impactedEntities": ["cache"], "totalIncidents": 1, "state": state, "trigger": "STATE_CHANGE",
        "isCorrelated": false, "createdAt": at.as_millisecond(), "updatedAt": at.as_millisecond(),
        "sources": ["newrelic"], "alertPolicyNames": ["cache"], "alertConditionNames": ["stale"],
        "workflowName": "untoil",
    });
    Letter { source: "newrelic", message: format!("simulated-{n}"), body: body.to_string() }
}

/// What SNS posts about a change of a CloudWatch alarm.
pub(crate) fn cloudwatch(change: &Transition, now: Timestamp, n: u64) -> Letter {
    let body = json!({
        "Type": "Notification",
        "MessageId": format!("00000000-0000-4000-8000-{n:012}"),
        "TopicArn": TOPIC,
        "Message": change.message().to_string(),
        "Timestamp": now.to_string(),
    });
    Letter { source: "sns", message: format!("simulated-{n}"), body: body.to_string() }
}

/// A body that nobody can read.
pub(crate) fn garbage(n: u64) -> Letter {
    Letter { source: "generic", message: format!("key:{n}"), body: format!("{{ not json {n}") }
}
