//! The team's own words: severity, service, environment and owner, derived by declarative rules from
//! what a sender said. Written as `enrich` in `policy.yaml`, documented in `docs/enrichment.md`.
//!
//! Every rule looks at what the sender said, never at what another rule derived, and the first that
//! says something for a field counts. So the order of the rules is all that has to be read.

mod pattern;
mod value;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use untoil_model::Alarm;

use self::pattern::{Captured, Pattern};
use self::value::Value;
use crate::bounds;
use crate::reading::Reading;

/// Rules that are applied to every alarm: a hundred regular expressions take well under a millisecond.
const RULES_MAX: usize = 100;

/// What is derived, in the order of the rules.
#[derive(Debug, Clone, Default)]
pub struct Enrichment {
    rules: Vec<EnrichRule>,
}

/// One rule: when it speaks, and what it then says.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct EnrichRule {
    when: When,
    set: Set,
    overrides: bool,
}

/// A rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    when: When,
    set: Set,
    /// Whether it counts over what the sender said.
    #[serde(default, rename = "override")]
    overrides: bool,
}

impl TryFrom<Written> for EnrichRule {
    type Error = String;

    fn try_from(Written { when, set, overrides }: Written) -> Result<Self, String> {
        let values = set.all();
        if values.iter().all(|(_, value)| value.is_none()) {
            let fields = values.map(|(field, _)| format!("`{field}`")).join(", ");
            return Err(format!("`set` sets nothing; give one of {fields}"));
        }
        for (field, value) in values {
            if let Some(value) = value {
                value.check(&when).map_err(|why| format!("in `set.{field}`: {why}"))?;
            }
        }
        Ok(Self { when, set, overrides })
    }
}

/// All of these must be found in the alarm's fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct When {
    name: Option<Pattern>,
    source: Option<Pattern>,
    severity: Option<Pattern>,
    description: Option<Pattern>,
    account: Option<Pattern>,
    region: Option<Pattern>,
    namespace: Option<Pattern>,
    metric: Option<Pattern>,
    dimensions: BTreeMap<String, Pattern>,
    labels: BTreeMap<String, Pattern>,
}

/// What is derived.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Set {
    severity: Option<Value>,
    service: Option<Value>,
    environment: Option<Value>,
    owner: Option<Value>,
}

impl Set {
    fn all(&self) -> [(&'static str, Option<&Value>); 4] {
        [
            ("severity", self.severity.as_ref()),
            ("service", self.service.as_ref()),
            ("environment", self.environment.as_ref()),
            ("owner", self.owner.as_ref()),
        ]
    }
}

impl When {
    /// The conditions, each with the field that it is about.
    fn all(&self) -> impl Iterator<Item = (Field<'_>, &Pattern)> {
        let plain = [
            (Field::Name, self.name.as_ref()),
            (Field::Source, self.source.as_ref()),
            (Field::Severity, self.severity.as_ref()),
            (Field::Description, self.description.as_ref()),
            (Field::Account, self.account.as_ref()),
            (Field::Region, self.region.as_ref()),
            (Field::Namespace, self.namespace.as_ref()),
            (Field::Metric, self.metric.as_ref()),
        ];
        let plain = plain.into_iter().filter_map(|(field, pattern)| Some((field, pattern?)));
        let dimensions = self.dimensions.iter();
        let labels = self.labels.iter();
        plain
            .chain(dimensions.map(|(key, pattern)| (Field::Dimension(key), pattern)))
            .chain(labels.map(|(key, pattern)| (Field::Label(key), pattern)))
    }

    /// What the patterns caught, if all of them are found.
    fn caught<'a>(&'a self, alarm: &'a Alarm) -> Option<Captured<'a>> {
        let mut captured = Captured::default();
        for (field, pattern) in self.all() {
            captured.add(pattern.find(field.of(alarm)?)?);
        }
        Some(captured)
    }
}

/// A field of an alarm that rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field<'a> {
    Name,
    Source,
    Severity,
    Description,
    Account,
    Region,
    Namespace,
    Metric,
    Dimension(&'a str),
    Label(&'a str),
}

impl<'a> Field<'a> {
    /// By its name in rules; `None` if there is no such field.
    fn named(name: &'a str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "source" => Self::Source,
            "severity" => Self::Severity,
            "description" => Self::Description,
            "account" => Self::Account,
            "region" => Self::Region,
            "namespace" => Self::Namespace,
            "metric" => Self::Metric,
            _ => match name.split_once('.')? {
                ("dimensions", key) if !key.is_empty() => Self::Dimension(key),
                ("labels", key) if !key.is_empty() => Self::Label(key),
                _ => return None,
            },
        })
    }

    /// What it says, if anything.
    fn of(self, alarm: &Alarm) -> Option<&str> {
        let text = match self {
            Self::Name => alarm.name.as_str(),
            Self::Source => alarm.source.as_str(),
            Self::Severity => alarm.severity.as_deref()?,
            Self::Description => &alarm.description,
            Self::Account => alarm.account.as_deref()?,
            Self::Region => alarm.region.as_deref()?,
            Self::Namespace => alarm.namespace.as_deref()?,
            Self::Metric => alarm.metric.as_deref()?,
            Self::Dimension(key) => alarm.dimensions.get(key)?,
            Self::Label(key) => alarm.labels.get(key)?,
        };
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

impl Enrichment {
    /// Of rules in their order.
    fn of(rules: Vec<EnrichRule>) -> Result<Self, String> {
        if rules.len() > RULES_MAX {
            return Err(format!("{} rules; at most {RULES_MAX} are applied", rules.len()));
        }
        Ok(Self { rules })
    }

    /// Derives what the rules say and the sender did not; or did, where a rule overrides it.
    pub(crate) fn apply(&self, reading: &mut Reading) {
        if self.rules.is_empty() {
            return;
        }
        let alarm = &reading.alarm;
        let mut derived: BTreeMap<&'static str, (usize, String)> = BTreeMap::new();
        for (n, rule) in (1..).zip(&self.rules) {
            let wanted: Vec<_> = rule
                .set
                .all()
                .into_iter()
                .filter_map(|(field, value)| Some((field, value?)))
                .filter(|(field, _)| !derived.contains_key(field))
                .filter(|(field, _)| rule.overrides || !is_said(alarm, field))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            let Some(captured) = rule.when.caught(alarm) else { continue };
            for (field, value) in wanted {
                if let Some(text) = value.of(alarm, &captured) {
                    derived.insert(field, (n, text));
                }
            }
        }
        for (field, (n, text)) in derived {
            put(reading, field, n, &text);
        }
    }
}

fn is_said(alarm: &Alarm, field: &str) -> bool {
    let said = match field {
        "severity" => alarm.severity.as_deref(),
        label => alarm.labels.get(label).map(String::as_str),
    };
    said.is_some_and(|said| !said.trim().is_empty())
}

/// Severity is a field of the alarm; the other words are labels.
fn put(reading: &mut Reading, field: &'static str, n: usize, text: &str) {
    let text = bounds::name(text);
    let from = format!("`enrich` rule {n} in `policy.yaml`");
    if field == "severity" {
        reading.derive("severity", &from, &text);
        reading.alarm.severity = Some(text);
    } else {
        reading.derive(&format!("labels.{field}"), &from, &text);
        reading.alarm.labels.insert(field.to_owned(), text);
    }
}

impl<'de> Deserialize<'de> for Enrichment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = Vec::<EnrichRule>::deserialize(deserializer)?;
        Self::of(rules).map_err(serde::de::Error::custom)
    }
}
