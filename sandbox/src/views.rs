//! What scripts see of the alarm, the facts and the results: types with getters and nothing else.
//!
//! A Rhai map given to a script can be written to, even as a constant; these cannot. An unknown
//! field is an error with its place, never a silent nothing.

use std::sync::Arc;

use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Position};
use serde_json::{Map, Value, json};
use untoil_model::{Alarm, Facts, StepOutcome, StepResult, Target};

use crate::diagnostic::cut;

/// Longest text that a script gets; a longer one is cut. Half of what a script's own texts may be,
/// so that a sender's long reason never makes a rule fail.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The alarm as scripts see it.
#[derive(Debug, Clone)]
pub(crate) struct AlarmView(Arc<AlarmFields>);

#[derive(Debug)]
struct AlarmFields {
    key: Dynamic,
    source: Dynamic,
    name: Dynamic,
    state: Dynamic,
    severity: Dynamic,
    reason: Dynamic,
    description: Dynamic,
    account: Dynamic,
    region: Dynamic,
    namespace: Dynamic,
    metric: Dynamic,
    dimensions: Record,
    labels: Record,
    value: Dynamic,
    threshold: Dynamic,
    link: Dynamic,
    target: Dynamic,
}

fn text(text: &str) -> Dynamic {
    Dynamic::from(ImmutableString::from(cut(text, TEXT_BYTES_MAX)))
}

fn maybe(value: Option<&str>) -> Dynamic {
    value.map_or(Dynamic::UNIT, text)
}

impl AlarmView {
    /// The alarm, and what the rule is about.
    pub(crate) fn new(alarm: &Alarm, target: &Target) -> Self {
        let table = |entries: &std::collections::BTreeMap<String, String>, what| {
            let entries = entries.iter().map(|(key, value)| (key.clone(), value.clone().into()));
            Record::new(what, Value::Object(entries.collect()))
        };
        Self(Arc::new(AlarmFields {
            key: text(alarm.key.as_str()),
            source: text(alarm.source.as_str()),
            name: text(&alarm.name),
            state: text(alarm.state.as_str()),
            severity: maybe(alarm.severity.as_deref()),
            reason: text(&alarm.reason),
            description: text(&alarm.description),
            account: maybe(alarm.account.as_deref()),
            region: maybe(alarm.region.as_deref()),
            namespace: maybe(alarm.namespace.as_deref()),
            metric: maybe(alarm.metric.as_deref()),
            dimensions: table(&alarm.dimensions, "alarm.dimensions"),
            labels: table(&alarm.labels, "alarm.labels"),
            value: alarm.value.map_or(Dynamic::UNIT, Dynamic::from),
            threshold: alarm.threshold.map_or(Dynamic::UNIT, Dynamic::from),
            link: maybe(alarm.link.as_deref()),
            target: text(target.as_str()),
        }))
    }
}

/// A table or list that can be read only: facts, results, dimensions, labels.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    path: Arc<str>,
    value: Arc<Value>,
}

type Answer = Result<Dynamic, Box<EvalAltResult>>;

impl Record {
    fn new(path: &str, value: Value) -> Self {
        Self { path: path.into(), value: Arc::new(value) }
    }

    /// The facts by name.
    pub(crate) fn of_facts(facts: &Facts) -> Self {
        let facts = facts.iter().map(|(name, fact)| (name.clone(), fact.value.clone()));
        Self::new("facts", Value::Object(facts.collect()))
    }

    /// The results so far, in order.
    pub(crate) fn of_results(results: &[StepResult]) -> Self {
        let results = results.iter().map(|result| {
            let (outcome, evidence) = match &result.outcome {
                StepOutcome::Done { evidence } => ("done", evidence.clone()),
                StepOutcome::Refused { code, why } => {
                    ("refused", json!({"code": code, "why": why}))
                }
                StepOutcome::Unknown { why } => ("unknown", json!({"why": why})),
            };
            json!({
                "action": result.step.action.as_str(),
                "target": result.step.target.as_str(),
                "ok": outcome == "done",
                "outcome": outcome,
                "evidence": evidence,
            })
        });
        Self::new("results", results.collect::<Vec<_>>().into())
    }

    /// What it holds, for a parameter of a step.
    pub(crate) fn json(&self) -> &Value {
        &self.value
    }

    fn inner(path: String, value: &Value) -> Dynamic {
        match value {
            Value::Null => Dynamic::UNIT,
            Value::Bool(flag) => (*flag).into(),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => whole.into(),
                (None, Some(decimal)) => decimal.into(),
                (None, None) => Dynamic::UNIT,
            },
            Value::String(string) => text(string),
            Value::Array(_) | Value::Object(_) => {
                Dynamic::from(Self { path: path.into(), value: Arc::new(value.clone()) })
            }
        }
    }

    fn field(&mut self, name: &str) -> Answer {
        let Value::Object(fields) = &*self.value else {
            return Err(runtime(format!("`{}` is a list: write `{}[0]`", self.path, self.path)));
        };
        match fields.get(name) {
            Some(value) => Ok(Self::inner(format!("{}.{}", self.path, cut(name, 64)), value)),
            None => Err(runtime(no_field(&self.path, name, fields))),
        }
    }

    fn item(&mut self, index: i64) -> Answer {
        let Value::Array(items) = &*self.value else {
            return Err(runtime(format!("`{}` is not a list", self.path)));
        };
        // Negative counts from the end, as in Rhai's own arrays.
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = if index < 0 { index.saturating_add(length) } else { index };
        match usize::try_from(at).ok().and_then(|at| items.get(at)) {
            Some(value) => Ok(Self::inner(format!("{}[{index}]", self.path), value)),
            None => Err(runtime(format!("`{}` has {length} items, none at {index}", self.path))),
        }
    }

    fn get(&mut self, name: &str) -> Dynamic {
        match &*self.value {
            Value::Object(fields) => fields.get(name).map_or(Dynamic::UNIT, |value| {
                Self::inner(format!("{}.{}", self.path, cut(name, 64)), value)
            }),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Dynamic::UNIT,
        }
    }

    fn contains(&mut self, name: &str) -> bool {
        match &*self.value {
            Value::Object(fields) => fields.contains_key(name),
            Value::Array(items) => items.iter().any(|item| item.as_str() == Some(name)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    fn len(&mut self) -> i64 {
        let length = match &*self.value {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        };
        i64::try_from(length).unwrap_or(i64::MAX)
    }

    fn keys(&mut self) -> rhai::Array {
        match &*self.value {
            Value::Object(fields) => fields.keys().map(|key| text(key)).collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => rhai::Array::new(),
        }
    }

    fn show(&mut self) -> ImmutableString {
        cut(&self.value.to_string(), TEXT_BYTES_MAX).into()
    }
}

impl IntoIterator for Record {
    type Item = Dynamic;
    type IntoIter = std::vec::IntoIter<Dynamic>;

    /// The items of a list; the keys of a table.
    fn into_iter(mut self) -> Self::IntoIter {
        let items: Vec<Dynamic> = match &*self.value {
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| Self::inner(format!("{}[{at}]", self.path), item))
                .collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => self.keys(),
        };
        items.into_iter()
    }
}

fn no_field(path: &str, name: &str, fields: &Map<String, Value>) -> String {
    let name = cut(name, 64);
    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
    match crate::diagnostic::nearest(&name, known.iter().copied()) {
        Some(near) => format!("`{path}` has no `{name}` (did you mean `{near}`?)"),
        None if known.len() <= 12 => {
            format!("`{path}` has no `{name}`; it has {}", crate::diagnostic::list(&known))
        }
        None => format!("`{path}` has no `{name}`"),
    }
}

/// An error of a script at the place that the engine fills in.
#[expect(clippy::unnecessary_box_returns, reason = "Rhai's functions fail with boxed errors")]
pub(crate) fn runtime(message: impl Into<String>) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(message.into().into(), Position::NONE))
}

macro_rules! getters {
    ($engine:ident, $($field:ident),*) => {
        $($engine.register_get(stringify!($field), |alarm: &mut AlarmView| alarm.0.$field.clone());)*
    };
}

/// Makes the views known to `engine`.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<AlarmView>("Alarm");
    getters!(
        engine,
        key,
        source,
        name,
        state,
        severity,
        reason,
        description,
        account,
        region,
        namespace,
        metric,
        dimensions,
        labels,
        value,
        threshold,
        link,
        target
    );
    engine
        .register_type_with_name::<Record>("Record")
        .register_indexer_get(|record: &mut Record, name: &str| record.field(name))
        .register_indexer_get(|record: &mut Record, index: i64| record.item(index))
        .register_fn("get", |record: &mut Record, name: &str| record.get(name))
        .register_fn("contains", |record: &mut Record, name: &str| record.contains(name))
        .register_fn("len", |record: &mut Record| record.len())
        .register_get("len", |record: &mut Record| record.len())
        .register_fn("is_empty", |record: &mut Record| record.len() == 0)
        .register_fn("keys", |record: &mut Record| record.keys())
        .register_fn("to_string", |record: &mut Record| record.show())
        .register_fn("to_debug", |record: &mut Record| record.show())
        .register_iterator::<Record>();
}
