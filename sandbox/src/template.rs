//! Texts with `{alarm.…}` in them: targets and the arguments of facts.

use std::borrow::Cow;
use std::fmt;

use untoil_model::Alarm;

/// The fields that a template or a script may read of an alarm; all but `target` in a template.
pub const ALARM_FIELDS: &[&str] = &[
    "key",
    "source",
    "name",
    "state",
    "severity",
    "reason",
    "description",
    "account",
    "region",
    "namespace",
    "metric",
    "dimensions",
    "labels",
    "value",
    "threshold",
    "link",
    "target",
];

/// Longest text that a template gives.
const RENDERED_BYTES_MAX: usize = 1024;

/// A text with holes for fields of the alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// A field of the alarm, as a template names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Plain(String),
    Dimension(String),
    Label(String),
}

/// What is wrong with a template's text, and at which byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateFault {
    /// Braces that do not pair, or something else than a field between them.
    Broken { at: usize, len: usize, why: &'static str },
    /// A field that alarms do not have.
    UnknownField { at: usize, len: usize, field: String },
}

/// Why a template could not be filled in for an alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The alarm does not say it.
    #[error("the alarm has no `{0}`, which `{1}` needs")]
    Missing(String, String),
    /// The alarm says something that would change the meaning of the text round it.
    #[error("the alarm's `{0}` holds `/`, a space or a control character, which a target cannot")]
    Unfit(String),
    /// The result is too long.
    #[error("`{0}` gives more than 1024 bytes")]
    TooLong(String),
}

impl Template {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find(['{', '}']).map(|found| at + found) {
            if text[open..].starts_with('}') {
                return Err(TemplateFault::Broken { at: open, len: 1, why: "`}` without `{`" });
            }
            let Some(close) = text[open..].find('}').map(|found| open + found) else {
                return Err(TemplateFault::Broken { at: open, len: 1, why: "`{` without `}`" });
            };
            if open > at {
                parts.push(Part::Text(text[at..open].to_owned()));
            }
            parts.push(Part::Field(parse_field(&text[open + 1..close], open + 1)?));
            at = close + 1;
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(Self { parts })
    }

    /// Fills it in; `target` is the rule's own, where it is known already.
    ///
    /// # Errors
    /// When the alarm does not say what it needs.
    pub fn fill(&self, alarm: &Alarm, target: Option<&str>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field(field) => match field.of(alarm, target) {
                    Some(value) => text.push_str(&value),
                    None => {
                        return Err(TemplateError::Missing(field.to_string(), self.to_string()));
                    }
                },
            }
            if text.len() > RENDERED_BYTES_MAX {
                return Err(TemplateError::TooLong(self.to_string()));
            }
        }
        Ok(text)
    }

    /// Fills it in as a target: a value must not bring separators of its own.
    ///
    /// # Errors
    /// When the alarm does not say what it needs, or says something that no name can be.
    pub fn fill_target(&self, alarm: &Alarm) -> Result<String, TemplateError> {
        for part in &self.parts {
            let Part::Field(field) = part else { continue };
            let value = field.of(alarm, None).unwrap_or_default();
            if value.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
                return Err(TemplateError::Unfit(field.to_string()));
            }
        }
        self.fill(alarm, None)
    }

    /// Whether it gives the same text for every alarm.
    pub fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Field(field) => write!(f, "{{{field}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => write!(f, "alarm.{name}"),
            Self::Dimension(name) => write!(f, "alarm.dimensions.{name}"),
            Self::Label(name) => write!(f, "alarm.labels.{name}"),
        }
    }
}

impl Field {
    /// Its value; empty counts as not said.
    fn of<'a>(&self, alarm: &'a Alarm, target: Option<&'a str>) -> Option<Cow<'a, str>> {
        let number = |value: Option<f64>| value.map(|value| Cow::Owned(value.to_string()));
        let value = match self {
            Self::Dimension(name) => alarm.dimensions.get(name).map(|text| text.as_str().into()),
            Self::Label(name) => alarm.labels.get(name).map(|text| text.as_str().into()),
            Self::Plain(name) => match name.as_str() {
                "key" => Some(alarm.key.as_str().into()),
                "source" => Some(alarm.source.as_str().into()),
                "name" => Some(alarm.name.as_str().into()),
                "state" => Some(alarm.state.as_str().into()),
                "severity" => alarm.severity.as_deref().map(Cow::Borrowed),
                "reason" => Some(alarm.reason.as_str().into()),
                "description" => Some(alarm.description.as_str().into()),
                "account" => alarm.account.as_deref().map(Cow::Borrowed),
                "region" => alarm.region.as_deref().map(Cow::Borrowed),
                "namespace" => alarm.namespace.as_deref().map(Cow::Borrowed),
                "metric" => alarm.metric.as_deref().map(Cow::Borrowed),
                "value" => number(alarm.value),
                "threshold" => number(alarm.threshold),
                "link" => alarm.link.as_deref().map(Cow::Borrowed),
                "target" => target.map(Cow::Borrowed),
                _ => None,
            },
        };
        value.filter(|value| !value.is_empty())
    }
}

fn parse_field(text: &str, at: usize) -> Result<Field, TemplateFault> {
    let broken = |why| TemplateFault::Broken { at, len: text.len(), why };
    let Some(field) = text.strip_prefix("alarm.") else {
        return Err(broken("only fields of the alarm can stand between braces: `{alarm.name}`"));
    };
    let (name, inner) = match field.split_once('.') {
        Some((name, inner)) => (name, Some(inner)),
        None => (field, None),
    };
    if !ALARM_FIELDS.contains(&name) {
        let at = at + "alarm.".len();
        return Err(TemplateFault::UnknownField { at, len: name.len(), field: name.to_owned() });
    }
    match (name, inner) {
        ("dimensions", Some(inner)) if !inner.is_empty() => Ok(Field::Dimension(inner.to_owned())),
        ("labels", Some(inner)) if !inner.is_empty() => Ok(Field::Label(inner.to_owned())),
        ("dimensions" | "labels", _) => {
            Err(broken("name one of them, such as `{alarm.dimensions.InstanceId}`"))
        }
        (_, Some(_)) => Err(broken("only `alarm.dimensions` and `alarm.labels` have fields")),
        (_, None) => Ok(Field::Plain(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alarm(dimensions: &[(&str, &str)]) -> Alarm {
        Alarm {
            key: "cloudwatch:x".parse().unwrap(),
            source: "cloudwatch".parse().unwrap(),
            name: "disk".into(),
            state: untoil_model::AlarmState::Firing,
            changed_at: jiff::Timestamp::UNIX_EPOCH,
            severity: None,
            reason: String::new(),
            description: String::new(),
            account: None,
            region: None,
            namespace: None,
            metric: None,
            dimensions: dimensions.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            labels: std::collections::BTreeMap::new(),
            value: Some(91.5),
            threshold: None,
            link: None,
            origin: None,
        }
    }

    #[test]
    fn templates_are_filled_from_the_alarm() {
        let alarm = alarm(&[("InstanceId", "i-0a1b2c3d"), ("path", "/var")]);
        let fill = |text: &str| Template::parse(text).unwrap().fill(&alarm, Some("ec2/i-0a1b2c3d"));
        assert_eq!(fill("plain").unwrap(), "plain");
        assert_eq!(fill("ec2/{alarm.dimensions.InstanceId}").unwrap(), "ec2/i-0a1b2c3d");
        assert_eq!(fill("{alarm.name}: {alarm.value}").unwrap(), "disk: 91.5");
        assert_eq!(fill("{alarm.target}").unwrap(), "ec2/i-0a1b2c3d");
        let error = fill("{alarm.severity}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the alarm has no `alarm.severity`, which `{alarm.severity}` needs"
        );
    }

    #[test]
    fn a_value_cannot_bring_separators_into_a_target() {
        let template = Template::parse("ecs/{alarm.dimensions.Cluster}/web").unwrap();
        for (value, ok) in [("main", true), ("main/other", false), ("a b", false), ("a\nb", false)]
        {
            assert_eq!(
                template.fill_target(&alarm(&[("Cluster", value)])).is_ok(),
                ok,
                "{value:?}"
            );
        }
    }

    #[test]
    fn broken_templates_say_where() {
        for (text, at) in [
            ("a{b", 1),
            ("a}b", 1),
            ("{x}", 1),
            ("{alarm.nmae}", 7),
            ("{alarm.labels}", 1),
            ("{alarm.name.x}", 1),
        ] {
            let place = match Template::parse(text).unwrap_err() {
                TemplateFault::Broken { at, .. } | TemplateFault::UnknownField { at, .. } => at,
            };
            assert_eq!(place, at, "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_template(text in "([a-z/{}]|\\{alarm\\.name\\}|\\{alarm\\.labels\\.x\\}){0,6}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
