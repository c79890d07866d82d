//! What scripts see of the alarm, the facts and the results: types with getters and nothing else.
//!
//! A Rhai map given to a script can be written to, even as a constant; these cannot. An unknown
//! field is an error with its place, never a silent nothing. Of the
//! alarm and the facts, what a script does not read is not made.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Position};
use serde_json::{Map, Value, json};
use untoil_model::{Alarm, Facts, StepOutcome, StepResult, Target};

use crate::diagnostic::cut;
use crate::meter;

/// Longest text that a script gets; a longer one is cut. Half of what a script's own texts may be,
/// so that a sender's long reason never makes a rule fail.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The alarm as scripts see it.
#[derive(Debug, Clone)]
pub(crate) struct AlarmView(Arc<AlarmFields>);

#[derive(Debug)]
struct AlarmFields {
    alarm: Arc<Alarm>,
    target: Target,
    made: Made,
}

impl AlarmView {
    /// The alarm, and what the rule is about.
    pub(crate) fn new(alarm: &Arc<Alarm>, target: &Target) -> Self {
        let (alarm, target) = (Arc::clone(alarm), target.clone());
        Self(Arc::new(AlarmFields { alarm, target, made: Made::default() }))
    }
}

fn text(text: &str) -> Dynamic {
    let text: ImmutableString =
        if text.len() > TEXT_BYTES_MAX { cut(text, TEXT_BYTES_MAX).into() } else { text.into() };
    Dynamic::from(text)
}

fn maybe(value: Option<&str>) -> Dynamic {
    value.map_or(Dynamic::UNIT, text)
}

fn number(value: Option<f64>) -> Dynamic {
    value.map_or(Dynamic::UNIT, Dynamic::from)
}

/// The fields of the alarm that are one value, each made when it is first read: however often a script
/// reads one, it holds it once, and none of it is counted as the script's own.
macro_rules! fields {
    ($($field:ident: $make:expr),* $(,)?) => {
        #[derive(Debug, Default)]
        struct Made {
            $($field: OnceLock<Dynamic>),*
        }

        fn register_fields(engine: &mut Engine) {
            $(engine.register_get(stringify!($field), |view: &mut AlarmView| -> Dynamic {
                let AlarmFields { alarm, target, made } = &*view.0;
                let make: fn(&Alarm, &Target) -> Dynamic = $make;
                made.$field.get_or_init(|| meter::uncounted(|| make(alarm, target))).clone()
            });)*
        }
    };
}

fields!(
    key: |it, _| text(it.key.as_str()),
    source: |it, _| text(it.source.as_str()),
    name: |it, _| text(&it.name),
    state: |it, _| text(it.state.as_str()),
    severity: |it, _| maybe(it.severity.as_deref()),
    reason: |it, _| text(&it.reason),
    description: |it, _| text(&it.description),
    account: |it, _| maybe(it.account.as_deref()),
    region: |it, _| maybe(it.region.as_deref()),
    namespace: |it, _| maybe(it.namespace.as_deref()),
    metric: |it, _| maybe(it.metric.as_deref()),
    value: |it, _| number(it.value),
    threshold: |it, _| number(it.threshold),
    link: |it, _| maybe(it.link.as_deref()),
    target: |_, target| text(target.as_str()),
);

/// A table or list that can be read only: facts, results, dimensions, labels.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    path: Path,
    held: Held,
}

/// How a script came to it, for messages.
#[derive(Debug, Clone)]
enum Path {
    Root(&'static str),
    Inner(Arc<str>),
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Inner(path) => f.write_str(path),
        }
    }
}

/// What it is a view of.
#[derive(Debug, Clone)]
enum Held {
    Json(Arc<Value>),
    Facts(Arc<Facts>),
    Dimensions(Arc<Alarm>),
    Labels(Arc<Alarm>),
}

/// The same, to be looked into.
#[derive(Clone, Copy)]
enum Seen<'a> {
    Table(Table<'a>),
    List(&'a [Value]),
    Other,
}

#[derive(Clone, Copy)]
enum Table<'a> {
    Json(&'a Map<String, Value>),
    Facts(&'a Facts),
    Texts(&'a BTreeMap<String, String>),
}

/// A value in a table.
#[derive(Clone, Copy)]
enum Cell<'a> {
    Json(&'a Value),
    Text(&'a str),
}

impl<'a> Table<'a> {
    fn get(self, name: &str) -> Option<Cell<'a>> {
        match self {
            Self::Json(fields) => fields.get(name).map(Cell::Json),
            Self::Facts(facts) => facts.get(name).map(|fact| Cell::Json(&fact.value)),
            Self::Texts(texts) => texts.get(name).map(|text| Cell::Text(text)),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Json(fields) => fields.len(),
            Self::Facts(facts) => facts.len(),
            Self::Texts(texts) => texts.len(),
        }
    }

    fn names(self) -> Vec<&'a str> {
        match self {
            Self::Json(fields) => fields.keys().map(String::as_str).collect(),
            Self::Facts(facts) => facts.keys().map(String::as_str).collect(),
            Self::Texts(texts) => texts.keys().map(String::as_str).collect(),
        }
    }

    fn json(self) -> Value {
        match self {
            Self::Json(fields) => Value::Object(fields.clone()),
            Self::Facts(facts) => {
                facts.iter().map(|(name, fact)| (name.clone(), fact.value.clone())).collect()
            }
            Self::Texts(texts) => texts
                .iter()
                .map(|(name, text)| (name.clone(), Value::from(text.as_str())))
                .collect(),
        }
    }
}

type Answer = Result<Dynamic, Box<EvalAltResult>>;

impl Record {
    /// The facts by name.
    pub(crate) fn of_facts(facts: &Arc<Facts>) -> Self {
        Self { path: Path::Root("facts"), held: Held::Facts(Arc::clone(facts)) }
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
        let held = Held::Json(Arc::new(results.collect::<Vec<_>>().into()));
        Self { path: Path::Root("results"), held }
    }

    fn seen(&self) -> Seen<'_> {
        match &self.held {
            Held::Facts(facts) => Seen::Table(Table::Facts(facts)),
            Held::Dimensions(alarm) => Seen::Table(Table::Texts(&alarm.dimensions)),
            Held::Labels(alarm) => Seen::Table(Table::Texts(&alarm.labels)),
            Held::Json(value) => match &**value {
                Value::Object(fields) => Seen::Table(Table::Json(fields)),
                Value::Array(items) => Seen::List(items),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Seen::Other,
            },
        }
    }

    /// What it holds, for a parameter of a step.
    pub(crate) fn json(&self) -> Cow<'_, Value> {
        match &self.held {
            Held::Json(value) => Cow::Borrowed(value),
            Held::Facts(facts) => Cow::Owned(Table::Facts(facts).json()),
            Held::Dimensions(alarm) => Cow::Owned(Table::Texts(&alarm.dimensions).json()),
            Held::Labels(alarm) => Cow::Owned(Table::Texts(&alarm.labels).json()),
        }
    }

    fn inner(path: impl FnOnce() -> String, value: &Value) -> Dynamic {
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
                let path = Path::Inner(path().into());
                Dynamic::from(Self { path, held: Held::Json(Arc::new(value.clone())) })
            }
        }
    }

    /// The value of this name.
    fn named(&self, name: &str, cell: Cell<'_>) -> Dynamic {
        match cell {
            Cell::Json(value) => Self::inner(|| format!("{}.{}", self.path, cut(name, 64)), value),
            Cell::Text(string) => text(string),
        }
    }

    fn field(&mut self, name: &str) -> Answer {
        let Seen::Table(table) = self.seen() else {
            return Err(runtime(format!("`{}` is a list: write `{}[0]`", self.path, self.path)));
        };
        match table.get(name) {
            Some(cell) => Ok(self.named(name, cell)),
            None => Err(runtime(no_field(&self.path, name, &table.names()))),
        }
    }

    fn item(&mut self, index: i64) -> Answer {
        let Seen::List(items) = self.seen() else {
            return Err(runtime(format!("`{}` is not a list", self.path)));
        };
        // Negative counts from the end, as in Rhai's own arrays.
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let at = if index < 0 { index.saturating_add(length) } else { index };
        match usize::try_from(at).ok().and_then(|at| items.get(at)) {
            Some(value) => Ok(Self::inner(|| format!("{}[{index}]", self.path), value)),
            None => Err(runtime(format!("`{}` has {length} items, none at {index}", self.path))),
        }
    }

    fn get(&mut self, name: &str) -> Dynamic {
        match self.seen() {
            Seen::Table(table) => {
                table.get(name).map_or(Dynamic::UNIT, |cell| self.named(name, cell))
            }
            Seen::List(_) | Seen::Other => Dynamic::UNIT,
        }
    }

    fn contains(&mut self, name: &str) -> bool {
        match self.seen() {
            Seen::Table(table) => table.get(name).is_some(),
            Seen::List(items) => items.iter().any(|item| item.as_str() == Some(name)),
            Seen::Other => false,
        }
    }

    fn len(&mut self) -> i64 {
        let length = match self.seen() {
            Seen::Table(table) => table.len(),
            Seen::List(items) => items.len(),
            Seen::Other => 0,
        };
        i64::try_from(length).unwrap_or(i64::MAX)
    }

    fn keys(&mut self) -> rhai::Array {
        match self.seen() {
            Seen::Table(table) => table.names().into_iter().map(text).collect(),
            Seen::List(_) | Seen::Other => rhai::Array::new(),
        }
    }

    fn show(&mut self) -> ImmutableString {
        cut(&self.json().to_string(), TEXT_BYTES_MAX).into()
    }
}

impl IntoIterator for Record {
    type Item = Dynamic;
    type IntoIter = std::vec::IntoIter<Dynamic>;

    /// The items of a list; the keys of a table.
    fn into_iter(mut self) -> Self::IntoIter {
        let items: Vec<Dynamic> = match self.seen() {
            Seen::List(items) => items
                .iter()
                .enumerate()
                .map(|(at, item)| Self::inner(|| format!("{}[{at}]", self.path), item))
                .collect(),
            Seen::Table(_) | Seen::Other => self.keys(),
        };
        items.into_iter()
    }
}

fn no_field(path: &Path, name: &str, known: &[&str]) -> String {
    let name = cut(name, 64);
    match crate::diagnostic::nearest(&name, known.iter().copied()) {
        Some(near) => format!("`{path}` has no `{name}` (did you mean `{near}`?)"),
        None if known.len() <= 12 => {
            format!("`{path}` has no `{name}`; it has {}", crate::diagnostic::list(known))
        }
        None => format!("`{path}` has no `{name}`"),
    }
}

/// An error of a script at the place that the engine fills in.
#[expect(clippy::unnecessary_box_returns, reason = "Rhai's functions fail with boxed errors")]
pub(crate) fn runtime(message: impl Into<String>) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(message.into().into(), Position::NONE))
}

/// Makes the views known to `engine`.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<AlarmView>("Alarm");
    register_fields(engine);
    engine
        .register_get("dimensions", |view: &mut AlarmView| -> Record {
            let held = Held::Dimensions(Arc::clone(&view.0.alarm));
            Record { path: Path::Root("alarm.dimensions"), held }
        })
        .register_get("labels", |view: &mut AlarmView| -> Record {
            let held = Held::Labels(Arc::clone(&view.0.alarm));
            Record { path: Path::Root("alarm.labels"), held }
        });
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use untoil_model::FactValue;

    use super::*;

    fn alarm(texts: &BTreeMap<String, String>) -> Arc<Alarm> {
        let alarm = json!({
            "key": "k", "source": "cloudwatch", "name": "n".repeat(9_000), "state": "firing",
            "changed_at": "2026-01-01T00:00:00Z", "severity": "high", "reason": "r".repeat(9_000), "description": "d".repeat(9_000),
            "value": 1.5, "dimensions": texts, "labels": texts,
        });
        Arc::new(serde_json::from_value(alarm).unwrap())
    }

    /// A value that a script can hold, with all that can be told of it.
    fn told(value: &Dynamic) -> String {
        match value.clone().try_cast::<Record>() {
            Some(record) => format!("{} {}", record.path, record.json()),
            None => format!("{} {value}", value.type_name()),
        }
    }

    /// Everything that a script can ask of a record.
    fn all(record: &Record, names: &[&str]) -> Vec<String> {
        let error = |answer: Answer| match answer {
            Ok(value) => told(&value),
            Err(error) => format!("error: {error}"),
        };
        let mut all = vec![
            record.clone().len().to_string(),
            record.clone().show().to_string(),
            format!("{:?}", record.clone().keys()),
            format!("{:?}", record.clone().into_iter().map(|item| told(&item)).collect::<Vec<_>>()),
            record.json().to_string(),
        ];
        for name in names {
            all.push(error(record.clone().field(name)));
            all.push(told(&record.clone().get(name)));
            all.push(record.clone().contains(name).to_string());
        }
        all.extend([0, 1, -1, 99].map(|index| error(record.clone().item(index))));
        all
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "[a-z가]{0,30}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn facts_dimensions_and_labels_tell_what_their_json_tells(
            texts in prop::collection::btree_map("[a-c]{1,2}", "[a-z가]{0,30}", 0..15),
            values in prop::collection::btree_map("[a-c]{1,2}", values(), 0..15),
        ) {
            let alarm = alarm(&texts);
            let facts: Facts = values.clone().into_iter().map(|(name, value)| {
                let (kind, source) = ("k".to_owned(), "s".to_owned());
                (name, FactValue { kind, source, read_at: jiff::Timestamp::UNIX_EPOCH, value })
            }).collect();
            let texts: Value = texts.into_iter().map(|(k, v)| (k, Value::from(v))).collect();
            let table = [
                ("facts", Held::Facts(Arc::new(facts)), values.into_iter().collect::<Value>()),
                ("alarm.dimensions", Held::Dimensions(alarm.clone()), texts.clone()),
                ("alarm.labels", Held::Labels(alarm), texts),
            ];
            for (path, held, json) in table {
                let names = ["a", "b", "ab", "zz", ""];
                let path = Path::Root(path);
                let plain = Record { path: path.clone(), held: Held::Json(Arc::new(json)) };
                assert_eq!(all(&Record { path, held }, &names), all(&plain, &names));
            }
        }
    }

    #[test]
    fn what_a_script_reads_of_the_alarm_is_made_once_and_is_not_its_own() {
        let view = AlarmView::new(&alarm(&BTreeMap::new()), &"asg/web".parse().unwrap());
        let mut engine = Engine::new();
        register(&mut engine);
        let mut scope = rhai::Scope::new();
        scope.push("alarm", view);
        meter::begin();
        let script = "let all = []; for i in 0..900 { all.push(alarm.name); } all";
        let read = engine.eval_with_scope::<rhai::Array>(&mut scope, script).unwrap();
        assert_eq!(read.len(), 900);
        let name = read[0].clone().into_string().unwrap();
        assert!(name.len() <= TEXT_BYTES_MAX && name.ends_with('…'));
        // As much as the list itself and the parsed script take, and not 8 KiB for each.
        assert!(meter::used() < 900 * 256, "{}", meter::used());
        meter::begin();
        let lengths = "alarm.reason.len + alarm.description.len";
        let length = engine.eval_with_scope::<i64>(&mut scope, lengths).unwrap();
        assert!(length > 9_000, "{length}");
        assert!(meter::used() < 8_000, "{}", meter::used());
        let fields =
            "`${alarm.severity} ${alarm.value} ${alarm.link} ${alarm.target} ${alarm.state}`";
        let shown = engine.eval_with_scope::<String>(&mut scope, fields).unwrap();
        assert_eq!(shown, "high 1.5  asg/web firing");
    }
}
