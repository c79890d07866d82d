//! `rule.yaml`: what a rule answers, what it acts on, and how much it may do.

use std::collections::BTreeMap;
use std::sync::Arc;

use untoil_actions::{Bounds, FactKind, FactRequest};
use untoil_model::{ActionKind, Alarm, Limits, Mode, Period, Target, Verify};

use crate::glob::Glob;
use crate::template::{Template, TemplateError};

/// A rule's manifest, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// One line for people.
    pub summary: String,
    /// The team that looks after it.
    pub owner: String,
    /// The alarms it answers: any of these.
    pub on: Vec<Matcher>,
    /// What it is about; limits and locks are keyed on it.
    pub target: Template,
    /// The facts it needs, by the names its script knows them by.
    pub facts: BTreeMap<String, FactWish>,
    /// The only authority its script has.
    pub may: Arc<BTreeMap<ActionKind, Vec<Bounds>>>,
    /// How much it may do by itself.
    pub mode: Mode,
    /// How often it may act.
    pub limits: Limits,
    /// Older alarms are not acted on. 10 minutes by default.
    pub max_age: Period,
    /// How success is told. Clears within 20 minutes and holds for 5 by default.
    pub verify: Verify,
    /// Who is called when it does not work.
    pub mention: Option<String>,
    /// A person's time that an effective run saves.
    pub saves: Period,
}

/// Which alarms a rule answers: all of the patterns must match. What is left out matches anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Kind of sender.
    pub source: Option<Glob>,
    /// CloudWatch namespace, or policy or job.
    pub namespace: Option<Glob>,
    /// Metric or condition.
    pub metric: Option<Glob>,
    /// The alarm's name.
    pub name: Option<Glob>,
    /// Severity in the sender's own word.
    pub severity: Option<Glob>,
    /// Dimensions that must be there.
    pub dimensions: BTreeMap<String, Glob>,
    /// Labels that must be there.
    pub labels: BTreeMap<String, Glob>,
}

/// A fact that the manifest declares, its arguments not yet filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactWish {
    /// Its kind.
    pub kind: FactKind,
    /// Its arguments. A table `{ QueueName: contacts }` is the text `QueueName=contacts`.
    pub args: BTreeMap<String, Template>,
}

/// Why a rule cannot be asked about an alarm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A template cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The text is not a target.
    #[error(transparent)]
    Target(#[from] untoil_model::TargetError),
}

impl Manifest {
    /// What the rule is about, for this alarm.
    ///
    /// # Errors
    /// When the alarm does not say it, or what it says is not a target.
    pub fn target_of(&self, alarm: &Alarm) -> Result<Target, AddressError> {
        Ok(self.target.fill_target(alarm)?.parse()?)
    }

    /// The facts to read before the rule is asked about this alarm.
    ///
    /// # Errors
    /// When the alarm does not say what an argument needs.
    pub fn facts_of(
        &self,
        alarm: &Alarm,
        target: &Target,
    ) -> Result<Vec<FactRequest>, TemplateError> {
        self.facts
            .iter()
            .map(|(name, wish)| {
                let args = wish
                    .args
                    .iter()
                    .map(|(arg, text)| Ok((arg.clone(), text.fill(alarm, Some(target.as_str()))?)))
                    .collect::<Result<_, TemplateError>>()?;
                Ok(FactRequest { name: name.clone(), kind: wish.kind, args })
            })
            .collect()
    }

    /// What `may:` says of an action; empty when it is not granted.
    pub fn bounds_of(&self, action: &ActionKind) -> &[Bounds] {
        self.may.get(action).map_or(&[], Vec::as_slice)
    }
}

impl Matcher {
    /// Whether it matches.
    pub fn matches(&self, alarm: &Alarm) -> bool {
        let plain = [
            (&self.source, Some(alarm.source.as_str())),
            (&self.namespace, alarm.namespace.as_deref()),
            (&self.metric, alarm.metric.as_deref()),
            (&self.name, Some(alarm.name.as_str())),
            (&self.severity, alarm.severity.as_deref()),
        ];
        let tables = [(&self.dimensions, &alarm.dimensions), (&self.labels, &alarm.labels)];
        plain.iter().all(|(glob, value)| fits(glob.as_ref(), *value))
            && tables.iter().all(|(globs, values)| {
                globs
                    .iter()
                    .all(|(key, glob)| fits(Some(glob), values.get(key).map(String::as_str)))
            })
    }

    /// How particular it is: first by exact texts, then by patterns.
    pub(crate) fn specificity(&self) -> (usize, usize) {
        let plain = [&self.source, &self.namespace, &self.metric, &self.name, &self.severity];
        let globs =
            plain.into_iter().flatten().chain(self.dimensions.values()).chain(self.labels.values());
        globs.fold((0, 0), |(exact, open), glob| match glob.exact() {
            Some(_) => (exact + 1, open),
            None if glob.is_any() => (exact, open),
            None => (exact, open + 1),
        })
    }

    /// Whether it would match every alarm of every source.
    pub(crate) fn is_everything(&self) -> bool {
        self.specificity() == (0, 0) && self.dimensions.is_empty() && self.labels.is_empty()
    }
}

/// A pattern matches only what is there; no pattern matches everything.
fn fits(glob: Option<&Glob>, value: Option<&str>) -> bool {
    match (glob, value) {
        (None, _) => true,
        (Some(glob), Some(value)) => glob.matches(value),
        (Some(_), None) => false,
    }
}
