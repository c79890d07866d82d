//! Reading a sender's JSON into alarms, and telling where each value came from.
//!
//! A [`Place`] is a value with the pointer that leads to it; what is read from one is [`Said`], and a
//! [`Reading`] puts it into an alarm. With [`Detail::Origins`] the reading notes each pointer, which is
//! what `untoil try` shows; without it nothing is kept and pointers cost nothing.
#![expect(clippy::needless_pass_by_value, reason = "what was read is handed over to the alarm")]

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use untoil_model::{Alarm, AlarmState, Delivery, Source};

use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, Value};
use crate::{DecodeError, Decoded};

/// Whether it is to be told where each value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The alarms only.
    Alarms,
    /// And where each of their values came from.
    Origins,
}

/// Where a value of an alarm came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The alarm's field, such as `severity` or `labels.team`.
    pub field: String,
    /// The place in the body as a JSON pointer, or in words.
    pub from: String,
    /// What stood there, cut to 80 characters.
    pub said: String,
}

/// Where a time stands that nobody said.
pub(crate) const RECEIPT: &str = "the time of receipt";

/// What was read from a delivery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// These alarms.
    Alarms(Vec<Reading>),
    /// It was understood and there is nothing to do; in words.
    Note(String),
}

impl Read {
    /// One alarm.
    pub(crate) fn one(reading: Reading) -> Self {
        Self::Alarms(vec![reading])
    }

    /// Reads each of a list; refuses more than [`ALARMS_MAX`].
    ///
    /// # Errors
    /// What `read` says of the first that cannot be read: half a delivery is never acted on.
    pub(crate) fn each<'a>(
        places: Vec<Place<'a>>,
        read: impl Fn(Place<'a>) -> Result<Reading, DecodeError>,
    ) -> Result<Self, DecodeError> {
        if places.len() > ALARMS_MAX {
            return Err(DecodeError::TooMany { what: "alarms in one delivery", max: ALARMS_MAX });
        }
        Ok(Self::Alarms(places.into_iter().map(read).collect::<Result<_, _>>()?))
    }

    /// What was read in a text of the body: its places are within that one.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        if let Self::Alarms(all) = &mut self {
            let origins = all.iter_mut().flat_map(|reading| &mut reading.origins);
            for origin in origins.filter(|origin| origin.from.starts_with('/')) {
                origin.from.insert_str(0, &format!("{outer} → "));
            }
        }
        self
    }

    /// Without where things came from.
    pub(crate) fn decoded(self) -> Decoded {
        match self {
            Self::Alarms(all) => Decoded::Alarms(all.into_iter().map(|one| one.alarm).collect()),
            Self::Note(note) => Decoded::Note(note),
        }
    }
}

/// The pointer to a value: at most one list with an index, a fixed pointer, and one free key. What
/// no single place says is told by words in the pointer's place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pointer<'a> {
    list: Option<(&'a str, usize)>,
    fixed: &'a str,
    key: Option<&'a str>,
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((list, n)) = self.list {
            write!(f, "{list}/{n}")?;
        }
        f.write_str(self.fixed)?;
        if let Some(key) = self.key {
            write!(f, "/{}", key.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

/// A value in a body, or that there is none, with its pointer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    value: Option<&'a Value<'a>>,
    from: Pointer<'a>,
}

/// What a place says: a text, a number or a time, with its pointer.
#[derive(Debug, Clone)]
pub(crate) struct Said<'a, T = Cow<'a, str>> {
    /// It.
    pub(crate) value: T,
    from: Pointer<'a>,
}

impl<'a> Said<'a> {
    /// What no single place says, with the words that tell how it came about.
    pub(crate) fn made(value: impl Into<Cow<'a, str>>, words: &'a str) -> Self {
        Said { value: value.into(), from: Pointer { fixed: words, ..Pointer::default() } }
    }

    /// As a text.
    pub(crate) fn as_str(&self) -> &str {
        &self.value
    }

    /// The same place, read as something else.
    pub(crate) fn map<T>(&self, read: impl FnOnce(&str) -> T) -> Said<'a, T> {
        Said { value: read(&self.value), from: self.from }
    }

    /// That this text is not what it should be.
    pub(crate) fn wrong(&self, wanted: impl Into<Cow<'static, str>>) -> DecodeError {
        DecodeError::Wrong {
            field: self.from.to_string().into(),
            found: bounds::quote(&self.value),
            wanted: wanted.into(),
        }
    }
}

impl<'a> Place<'a> {
    /// A whole body.
    pub(crate) fn root(value: &'a Value<'a>) -> Self {
        Self { value: Some(value), from: Pointer::default() }
    }

    /// What a pointer leads to, from a root or from an item of a list.
    pub(crate) fn at(&self, pointer: &'a str) -> Self {
        let value = self.value.and_then(|value| value.pointer(pointer));
        Self { value, from: Pointer { fixed: pointer, key: None, ..self.from } }
    }

    /// The first of several pointers that leads to something that is not null or blank; senders
    /// rename their keys over time.
    pub(crate) fn first(&self, pointers: &[&'a str]) -> Self {
        let mut places = pointers.iter().map(|pointer| self.at(pointer));
        let none = Self { value: None, from: self.from };
        let first = places.clone().next().unwrap_or(none);
        places.find(Place::is_filled).unwrap_or(first)
    }

    /// The items of the list at a pointer of the root.
    pub(crate) fn items(&self, list: &'a str) -> Vec<Self> {
        let items = self.value.and_then(|value| value.pointer(list)).and_then(Value::as_array);
        let place = |(n, value)| {
            let from = Pointer { list: Some((list, n)), ..Pointer::default() };
            Self { value: Some(value), from }
        };
        items.map(|items| items.iter().enumerate().map(place).collect()).unwrap_or_default()
    }

    /// The pairs of the object at a pointer.
    pub(crate) fn pairs(&self, pointer: &'a str) -> Vec<(&'a str, Self)> {
        let place = self.at(pointer);
        let object = place.value.and_then(Value::as_object);
        let pair = |(key, value): (&'a str, &'a Value<'a>)| {
            let from = Pointer { key: Some(key), ..place.from };
            (key, Self { value: Some(value), from })
        };
        object.map(|object| object.iter().map(pair).collect()).unwrap_or_default()
    }

    /// The pairs of a list of objects that each have a name (or key) and a value.
    pub(crate) fn named_items(&self, pointer: &'a str) -> Vec<(&'a str, Self)> {
        let place = self.at(pointer);
        let items = place.value.and_then(Value::as_array).unwrap_or_default();
        let any = |item: &'a Value<'a>, keys: [&str; 4]| {
            keys.iter().find_map(|key| item.get(key)).filter(|value| !value.is_null())
        };
        let pair = |item: &'a Value<'a>| {
            let key = any(item, ["name", "key", "Name", "Key"])?.as_str()?;
            let value = any(item, ["value", "Value", "val", "content"])?;
            Some((key, Self { value: Some(value), from: place.from }))
        };
        items.iter().filter_map(pair).collect()
    }

    /// What is there, if anything is.
    pub(crate) fn value(&self) -> Option<&'a Value<'a>> {
        self.value.filter(|value| !value.is_null())
    }

    /// Whether something is there that is not null and not blank.
    pub(crate) fn is_filled(&self) -> bool {
        match self.value {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        }
    }

    /// A text that is not blank.
    pub(crate) fn text(&self) -> Option<Said<'a>> {
        let text = self.value.and_then(Value::as_str).filter(|text| !text.trim().is_empty())?;
        Some(Said { value: Cow::Borrowed(text), from: self.from })
    }

    /// A text, number or truth value, as people would write it; not blank.
    pub(crate) fn scalar(&self) -> Option<Said<'a>> {
        let value = match self.value? {
            Value::String(text) if text.trim().is_empty() => return None,
            Value::String(text) => Cow::Borrowed(text.as_ref()),
            other @ (Value::Number(_) | Value::Bool(_)) => Cow::Owned(other.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some(Said { value, from: self.from })
    }

    /// The same, where an empty text says something too: a label that is set to nothing.
    pub(crate) fn scalar_or_blank(&self) -> Option<Said<'a>> {
        match self.value {
            Some(Value::String(text)) => {
                Some(Said { value: Cow::Borrowed(text.as_ref()), from: self.from })
            }
            _ => self.scalar(),
        }
    }

    /// A text or number that must be there.
    pub(crate) fn required(&self) -> Result<Said<'a>, DecodeError> {
        match self.value {
            None | Some(Value::Null) => Err(DecodeError::Missing(self.from.to_string().into())),
            Some(other) => self.scalar().ok_or_else(|| DecodeError::Wrong {
                field: self.from.to_string().into(),
                found: bounds::quote(&other.to_string()),
                wanted: Cow::Borrowed("a text"),
            }),
        }
    }

    /// A number, or a text that is one. What is no number, or not finite, is none.
    pub(crate) fn number(&self) -> Option<Said<'a, f64>> {
        let value = match self.value? {
            Value::Number(number) => number.as_f64()?,
            Value::String(text) => text.trim().parse().ok()?,
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        value.is_finite().then_some(Said { value, from: self.from })
    }

    /// The texts of a list, joined by `, `; or the text itself.
    pub(crate) fn joined(&self) -> Option<Said<'a>> {
        let Some(Value::Array(list)) = self.value else { return self.scalar() };
        let texts: Vec<_> = list.iter().filter_map(json::scalar).collect();
        (!texts.is_empty()).then(|| Said { value: Cow::Owned(texts.join(", ")), from: self.from })
    }
}

/// An alarm being read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    pub(crate) alarm: Alarm,
    pub(crate) origins: Vec<Origin>,
    detail: Detail,
}

/// Without which there is no alarm.
pub(crate) struct Core<'a, 'b> {
    /// What kind of sender it is, such as `grafana`; the key begins with it.
    pub(crate) source: &'b str,
    /// What identifies the alarm over time, in this order.
    pub(crate) identity: &'b [Said<'a>],
    /// Its state, and where that is said.
    pub(crate) state: Said<'a, AlarmState>,
    /// When it changed; without one the time of receipt orders its history.
    pub(crate) changed_at: Option<Said<'a, Timestamp>>,
}

impl Reading {
    /// An alarm with what it cannot do without; its name is its identity until it has one.
    pub(crate) fn of(
        delivery: &Delivery,
        detail: Detail,
        core: &Core<'_, '_>,
    ) -> Result<Self, DecodeError> {
        let parts: Vec<&str> = core.identity.iter().map(Said::as_str).collect();
        let identity = parts.join("/");
        let source: Source = core.source.parse().expect("the readers' names are sources");
        let alarm = Alarm {
            key: bounds::key(&format!("{}:{identity}", core.source))?,
            source,
            name: bounds::name(&identity),
            state: core.state.value,
            changed_at: delivery.received_at,
            severity: None,
            reason: String::new(),
            description: String::new(),
            account: None,
            region: None,
            namespace: None,
            metric: None,
            dimensions: std::collections::BTreeMap::new(),
            labels: std::collections::BTreeMap::new(),
            value: None,
            threshold: None,
            link: None,
            origin: None,
        };
        let mut reading = Self { alarm, origins: Vec::new(), detail };
        for said in core.identity {
            reading.note("key", said.from, &said.value);
        }
        reading.note("state", core.state.from, core.state.value.as_str());
        match &core.changed_at {
            Some(said) => {
                reading.alarm.changed_at = said.value;
                reading.note("changed_at", said.from, &said.value);
            }
            None => reading.remark("changed_at", RECEIPT),
        }
        Ok(reading)
    }

    /// An alarm that was read without the kit. Where each of its values stands is told afterwards,
    /// by field, and only when it is asked for.
    pub(crate) fn whole(
        alarm: Alarm,
        detail: Detail,
        origin: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let mut reading = Self { alarm, origins: Vec::new(), detail };
        if detail == Detail::Origins {
            for (field, said) in fields(&reading.alarm) {
                if let Some(from) = origin(&field) {
                    reading.origins.push(Origin { field, from, said: bounds::quote(&said) });
                }
            }
        }
        reading
    }

    /// Notes something that no place of the body says.
    pub(crate) fn remark(&mut self, field: &str, from: &str) {
        if self.detail == Detail::Origins {
            let said = String::new();
            self.origins.push(Origin { field: field.to_owned(), from: from.to_owned(), said });
        }
    }

    /// Notes a word that was derived; it takes the place of what the sender said.
    pub(crate) fn derive(&mut self, field: &str, from: &str, said: &str) {
        if self.detail == Detail::Origins {
            self.origins.retain(|origin| origin.field != field);
            let (field, from, said) = (field.to_owned(), from.to_owned(), bounds::quote(said));
            self.origins.push(Origin { field, from, said });
        }
    }

    fn note(
        &mut self,
        field: impl fmt::Display,
        from: Pointer<'_>,
        said: &(impl fmt::Display + ?Sized),
    ) {
        if self.detail == Detail::Origins {
            let said = bounds::quote(&said.to_string());
            let from = from.to_string();
            self.origins.push(Origin { field: field.to_string(), from, said });
        }
    }

    fn named(&mut self, field: &str, said: Option<&Said<'_>>) -> Option<String> {
        let said = said?;
        self.note(field, said.from, &said.value);
        Some(bounds::name(&said.value))
    }

    pub(crate) fn name(&mut self, said: Option<Said<'_>>) {
        if let Some(name) = self.named("name", said.as_ref()) {
            self.alarm.name = name;
        }
    }

    pub(crate) fn severity(&mut self, said: Option<Said<'_>>) {
        self.alarm.severity = self.named("severity", said.as_ref());
    }

    pub(crate) fn account(&mut self, said: Option<Said<'_>>) {
        self.alarm.account = self.named("account", said.as_ref());
    }

    pub(crate) fn region(&mut self, said: Option<Said<'_>>) {
        self.alarm.region = self.named("region", said.as_ref());
    }

    pub(crate) fn namespace(&mut self, said: Option<Said<'_>>) {
        self.alarm.namespace = self.named("namespace", said.as_ref());
    }

    pub(crate) fn metric(&mut self, said: Option<Said<'_>>) {
        self.alarm.metric = self.named("metric", said.as_ref());
    }

    pub(crate) fn reason(&mut self, said: Option<Said<'_>>) {
        if let Some(said) = said {
            self.note("reason", said.from, &said.value);
            self.alarm.reason = bounds::prose(&said.value);
        }
    }

    pub(crate) fn description(&mut self, said: Option<Said<'_>>) {
        if let Some(said) = said {
            self.note("description", said.from, &said.value);
            self.alarm.description = bounds::prose(&said.value);
        }
    }

    pub(crate) fn value(&mut self, said: Option<Said<'_, f64>>) {
        if let Some(said) = said {
            self.note("value", said.from, &said.value);
            self.alarm.value = Some(said.value);
        }
    }

    pub(crate) fn threshold(&mut self, said: Option<Said<'_, f64>>) {
        if let Some(said) = said {
            self.note("threshold", said.from, &said.value);
            self.alarm.threshold = Some(said.value);
        }
    }

    /// A page about it; what is no web address is left out.
    pub(crate) fn link(&mut self, said: Option<Said<'_>>) {
        if let Some(said) = said
            && let Some(link) = bounds::link(&said.value)
        {
            self.note("link", said.from, &said.value);
            self.alarm.link = Some(link);
        }
    }

    /// The sender's own identifier that its API understands.
    pub(crate) fn origin(&mut self, said: Option<Said<'_>>) {
        if let Some(said) = said {
            self.note("origin", said.from, &said.value);
            self.alarm.origin = Some(bounds::identifier(&said.value));
        }
    }

    /// What the metric is about; never cut.
    pub(crate) fn dimension(
        &mut self,
        key: &str,
        said: Option<Said<'_>>,
    ) -> Result<(), DecodeError> {
        if let Some(said) = said {
            bounds::dimension(&mut self.alarm.dimensions, key, &said.value)?;
            self.note(format_args!("dimensions.{key}"), said.from, &said.value);
        }
        Ok(())
    }

    /// A label, tag or annotation.
    pub(crate) fn label(&mut self, key: &str, said: Option<Said<'_>>) -> Result<(), DecodeError> {
        if let Some(said) = said {
            bounds::label(&mut self.alarm.labels, key, &said.value)?;
            self.note(format_args!("labels.{key}"), said.from, &said.value);
        }
        Ok(())
    }

    /// Tags in one text, `env:prod, disk`: each is a label, split at its first colon.
    pub(crate) fn tags(&mut self, said: Option<Said<'_>>) -> Result<(), DecodeError> {
        let Some(tags) = said else { return Ok(()) };
        for tag in tags.as_str().split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
            self.label(key, Some(tags.map(|_| value.to_owned().into())))?;
        }
        Ok(())
    }
}

/// The fields of an alarm that have a value: `name`, `labels.team`, ….
fn fields(alarm: &Alarm) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let Ok(serde_json::Value::Object(all)) = serde_json::to_value(alarm) else { return fields };
    for (field, value) in all {
        let value = Value::from(value);
        match &value {
            Value::Object(pairs) => {
                let pair =
                    |(key, value)| Some((format!("{field}.{key}"), json::scalar(value)?.into()));
                fields.extend(pairs.iter().filter_map(pair));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                fields.extend(json::scalar(&value).map(|said| (field, said.into_owned())));
            }
        }
    }
    fields
}

/// A field's name, such as `labels.a/b`, as the pointer to it.
pub(crate) fn pointer_of(field: &str) -> String {
    match field.split_once('.') {
        Some((pairs, key)) => format!("/{pairs}/{}", key.replace('~', "~0").replace('/', "~1")),
        None => format!("/{field}"),
    }
}
