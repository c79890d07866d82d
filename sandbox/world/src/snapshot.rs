//! How the state is written down: what JSON and `serde` cannot do by themselves.

use serde::{Deserialize as _, Deserializer, de};

/// A fixed word. Behind a name, because the derived reader would borrow a plain `&'static str`.
pub(crate) type Word = &'static str;

/// Every fixed word of the state: APIs, states of alarms, and how commands end.
const WORDS: [&str; 16] = [
    "OK",
    "ALARM",
    "INSUFFICIENT_DATA",
    "Success",
    "Failed",
    "DeliveryTimedOut",
    "ssm:SendCommand",
    "ssm:StartAutomationExecution",
    "ecs:UpdateService",
    "ecs:StopTask",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "slack:say",
    "http:send",
    "Pending",
    "InProgress",
];

fn known<E: de::Error>(text: &str) -> Result<&'static str, E> {
    let known = WORDS.into_iter().find(|word| *word == text);
    known.ok_or_else(|| E::custom(format!("`{text}` is no word of the simulated AWS")))
}

/// A fixed word.
pub(crate) fn word<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    known(&String::deserialize(from)?)
}

/// Maps whose keys are not texts, as lists of pairs.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// How a command ended.
pub(crate) mod end {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};
    use untoil_actions::CommandState;

    type End = (CommandState, &'static str, i32, String);

    #[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(end: &Option<End>, to: S) -> Result<S::Ok, S::Error> {
        let end = end.as_ref().map(|(_, status, exit, stdout)| (*status, *exit, stdout));
        end.serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<End>, D::Error> {
        let Some((status, exit, stdout)) = Option::<(String, i32, String)>::deserialize(from)?
        else {
            return Ok(None);
        };
        let status = super::known(&status)?;
        let state = match status {
            "Success" => CommandState::Success,
            "Failed" => CommandState::Failed,
            _ => CommandState::Unclear,
        };
        Ok(Some((state, status, exit, stdout)))
    }
}

/// Automations by their client tokens. Whether one has ended is computed from its start.
pub(crate) mod automations {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};
    use untoil_actions::Automation;

    type Automations = BTreeMap<String, (String, Timestamp, Automation)>;

    pub(crate) fn serialize<S: Serializer>(all: &Automations, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(all.iter().map(|(token, (marker, at, automation))| {
            (token, (marker, at, &automation.id, &automation.status, &automation.detail))
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Automations, D::Error> {
        type Kept = BTreeMap<String, (String, Timestamp, String, String, String)>;
        let kept = Kept::deserialize(from)?.into_iter();
        let all = kept.map(|(token, (marker, at, id, status, detail))| {
            let automation = Automation { id, ended: false, succeeded: false, status, detail };
            (token, (marker, at, automation))
        });
        Ok(all.collect())
    }
}

/// Requests to other services.
pub(crate) mod requests {
    use serde::{Deserialize, Deserializer, Serializer};
    use untoil_actions::HttpRequest;

    pub(crate) fn serialize<S: Serializer>(all: &[HttpRequest], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(|r| [&r.method, &r.url, &r.body, &r.key]))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<HttpRequest>, D::Error> {
        let all = Vec::<[String; 4]>::deserialize(from)?.into_iter();
        Ok(all.map(|[method, url, body, key]| HttpRequest { method, url, body, key }).collect())
    }
}
