//! A sender without a decoder of its own, read by a mapping in the configuration: which place of its
//! body is which field of the alarm. Documented in `docs/sources/mapping.md`.

mod expression;
mod state;
mod time;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use untoil_model::{AlarmState, Delivery, Source};

use self::expression::{Expression, Identity, Scope, Whole};
use self::state::State;
use self::time::Moment;
use crate::DecodeError;
use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, Value};
use crate::reading::{Core, Detail, Place, Read, Reading, Said};

/// Labels or dimensions that a mapping names; an alarm has at most twice as many.
const NAMED_MAX: usize = 64;
/// The name under which all pairs of an object are taken.
const ALL: &str = "*";

/// How a sender's body is read. Where it stands in the configuration, unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// A text in the body that is JSON itself; what follows is read in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json_in: Option<Whole>,
    /// The list of alarms; without it the body is one alarm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alarms: Option<Whole>,
    /// What identifies an alarm over time: all of these.
    key: Identity,
    /// Its state.
    state: State,
    /// When it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed_at: Option<Moment>,
    /// When it was over, where that stands elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    severity: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    namespace: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metric: Option<Expression>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dimensions: BTreeMap<String, Expression>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    threshold: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<Expression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Expression>,
}

/// A mapping that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("in `{key}`: {why}")]
pub struct MappingError {
    /// The key beneath `mapping`.
    pub key: &'static str,
    /// What is wrong, and the way out.
    pub why: String,
}

impl MappingError {
    fn new(key: &'static str, why: impl Into<String>) -> Self {
        Self { key, why: why.into() }
    }
}

impl Mapping {
    /// What no single key shows to be wrong.
    ///
    /// # Errors
    /// [`MappingError`] names the key and the way out.
    pub fn check(&self) -> Result<(), MappingError> {
        if self.key.is_constant() {
            let why = "all alarms would be one: name a place that tells them apart, such as `/id`";
            return Err(MappingError::new("key", why));
        }
        self.state.check().map_err(|why| MappingError::new("state", why))?;
        if self.resolved_at.is_some() && self.changed_at.is_none() {
            return Err(MappingError::new("resolved_at", "give `changed_at` with it"));
        }
        for (key, pairs) in [("dimensions", &self.dimensions), ("labels", &self.labels)] {
            if pairs.len() > NAMED_MAX {
                return Err(MappingError::new(key, format!("more than {NAMED_MAX} names")));
            }
            if pairs.get(ALL).is_some_and(|all| all.places().is_none()) {
                let why = "`*` takes all pairs of an object: give its pointer, such as `/tags`";
                return Err(MappingError::new(key, why));
            }
        }
        Ok(())
    }

    /// What a delivery says by this mapping.
    pub(crate) fn read(
        &self,
        source: &Source,
        delivery: &Delivery,
        detail: Detail,
    ) -> Result<Read, DecodeError> {
        self.read_value(source, (delivery, detail), &json::body(delivery)?)
    }

    /// What a delivery says by this mapping, of whose body this was made.
    pub(crate) fn read_value(
        &self,
        source: &Source,
        (delivery, detail): (&Delivery, Detail),
        outer: &Value<'_>,
    ) -> Result<Read, DecodeError> {
        let said = match &self.json_in {
            Some(at) => Some(Place::root(outer).at(at.as_str()).required()?),
            None => None,
        };
        let inner = match &said {
            Some(said) => Some(json::parse_text(said.as_str())?),
            None => None,
        };
        let body = Place::root(inner.as_ref().unwrap_or(outer));
        let items = self.items(body)?;
        if items.len() > ALARMS_MAX {
            return Err(DecodeError::TooMany { what: "alarms in one delivery", max: ALARMS_MAX });
        }
        let (mut readings, mut ignored) = (Vec::new(), None);
        for item in items {
            match self.alarm((source, delivery, detail), Scope { item, body })? {
                Told::Alarm(reading) => readings.push(*reading),
                Told::Ignored(word) => ignored = Some(word),
            }
        }
        let read = match (readings.is_empty(), ignored) {
            (false, _) => Read::Alarms(readings),
            (true, Some(word)) => {
                Read::Note(format!("its state is `{word}`, which the mapping ignores"))
            }
            (true, None) => Read::Note("a delivery without alarms".to_owned()),
        };
        Ok(match &self.json_in {
            Some(outer) => read.within(outer.as_str()),
            None => read,
        })
    }

    fn items<'a>(&'a self, body: Place<'a>) -> Result<Vec<Place<'a>>, DecodeError> {
        let Some(list) = &self.alarms else { return Ok(vec![body]) };
        let name = || Cow::Owned(list.as_str().to_owned());
        match body.at(list.as_str()).value() {
            Some(Value::Array(_)) => Ok(body.items(list.as_str())),
            None => Err(DecodeError::Missing(name())),
            Some(other) => Err(DecodeError::Wrong {
                field: name(),
                found: bounds::quote(&other.to_string()),
                wanted: Cow::Borrowed("a list"),
            }),
        }
    }

    fn alarm<'a>(
        &'a self,
        (source, delivery, detail): (&Source, &Delivery, Detail),
        scope: Scope<'a>,
    ) -> Result<Told, DecodeError> {
        let state = match self.state.of(scope)? {
            state::Meaning::Is(state) => state,
            state::Meaning::Ignored(word) => return Ok(Told::Ignored(bounds::quote(&word))),
        };
        let resolved_at = match state.value {
            AlarmState::Resolved => self.resolved_at.as_ref(),
            AlarmState::Firing | AlarmState::NoData => None,
        };
        let mut changed_at = None;
        for moment in [resolved_at, self.changed_at.as_ref()].into_iter().flatten() {
            if changed_at.is_none() {
                changed_at = moment.of(scope)?;
            }
        }
        let identity = self.key.of(scope)?;
        let core = Core { source: source.as_str(), identity: &identity, state, changed_at };
        let mut reading = Reading::of(delivery, detail, &core)?;
        self.texts(&mut reading, scope);
        for (key, said) in pairs(&self.dimensions, scope) {
            reading.dimension(&key, said)?;
        }
        for (key, said) in pairs(&self.labels, scope) {
            reading.label(&key, said)?;
        }
        Ok(Told::Alarm(Box::new(reading)))
    }

    fn texts<'a>(&'a self, reading: &mut Reading, scope: Scope<'a>) {
        let text = |expression: &'a Option<Expression>| expression.as_ref()?.text(scope);
        let number = |expression: &'a Option<Expression>| expression.as_ref()?.number(scope);
        reading.name(text(&self.name));
        reading.severity(text(&self.severity));
        reading.reason(text(&self.reason));
        reading.description(text(&self.description));
        reading.account(text(&self.account));
        reading.region(text(&self.region));
        reading.namespace(text(&self.namespace));
        reading.metric(text(&self.metric));
        reading.value(number(&self.value));
        reading.threshold(number(&self.threshold));
        reading.link(text(&self.link));
        reading.origin(text(&self.origin));
    }
}

/// What one item says.
enum Told {
    Alarm(Box<Reading>),
    /// Its state is a word that means nothing is to be done.
    Ignored(String),
}

/// The pairs of whole objects, and over them those that are named.
fn pairs<'a>(
    named: &'a BTreeMap<String, Expression>,
    scope: Scope<'a>,
) -> Vec<(Cow<'a, str>, Option<Said<'a>>)> {
    let mut all = Vec::new();
    for place in named.get(ALL).and_then(Expression::places).into_iter().flatten() {
        let (from, pointer) = scope.of(place);
        let pairs = from.pairs(pointer).into_iter().chain(from.named_items(pointer));
        all.extend(pairs.map(|(key, value)| (Cow::Borrowed(key), value.joined())));
    }
    for (key, expression) in named.iter().filter(|(key, _)| *key != ALL) {
        all.push((Cow::Borrowed(key.as_str()), expression.text(scope)));
    }
    all
}
