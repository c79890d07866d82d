//! Our own JSON, for senders that no decoder knows. Documented in `docs/sources/generic.md`.
//!
//! A key that is not known is refused: a misspelt one would silently be left out of a decision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use untoil_model::{Alarm, AlarmState, Delivery};

use crate::DecodeError;
use crate::bounds::{self, ALARMS_MAX};
use crate::json::{self, Pair, Text};
use crate::reading::{self, Detail, Read, Reading};

/// The body. Readers of this version refuse keys they do not know, so a new key needs a new reader
/// before its first sender; every key but four may be left out, so old senders stay readable.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow)]
    alarms: Vec<Said<'a>>,
}

/// One alarm in our own words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said<'a> {
    /// What identifies it.
    #[serde(borrow)]
    pub(crate) key: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    state: AlarmState,
    changed_at: Timestamp,
    #[serde(borrow)]
    severity: Option<Text<'a>>,
    #[serde(borrow)]
    reason: Option<Text<'a>>,
    #[serde(borrow)]
    description: Option<Text<'a>>,
    #[serde(borrow)]
    account: Option<Text<'a>>,
    #[serde(borrow)]
    region: Option<Text<'a>>,
    #[serde(borrow)]
    namespace: Option<Text<'a>>,
    #[serde(borrow)]
    metric: Option<Text<'a>>,
    #[serde(default, borrow, deserialize_with = "json::pairs")]
    dimensions: Vec<Pair<'a>>,
    #[serde(default, borrow, deserialize_with = "json::pairs")]
    labels: Vec<Pair<'a>>,
    value: Option<f64>,
    threshold: Option<f64>,
    #[serde(borrow)]
    link: Option<Text<'a>>,
    #[serde(borrow)]
    origin: Option<Text<'a>>,
}

/// What a delivery in our own JSON says. Its fields have the names of the alarm's.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body: Body<'_> =
        serde_json::from_str(json::utf8(&delivery.body)?).map_err(json::not_json)?;
    if body.alarms.len() > ALARMS_MAX {
        return Err(DecodeError::TooMany { what: "alarms in one delivery", max: ALARMS_MAX });
    }
    if body.alarms.is_empty() {
        return Ok(Read::Note("a delivery without alarms".to_owned()));
    }
    let readings = body.alarms.into_iter().enumerate().map(|(n, said)| {
        let origin = |field: &str| {
            (field != "source").then(|| format!("/alarms/{n}{}", reading::pointer_of(field)))
        };
        Ok(Reading::whole(alarm(delivery, said, "generic")?, detail, origin))
    });
    Ok(Read::Alarms(readings.collect::<Result<_, _>>()?))
}

/// The alarm, whose key begins with a decoder's name.
pub(crate) fn alarm(
    delivery: &Delivery,
    said: Said<'_>,
    decoder: &str,
) -> Result<Alarm, DecodeError> {
    for (field, text) in [("key", &said.key), ("name", &said.name)] {
        if text.trim().is_empty() {
            return Err(DecodeError::missing(field));
        }
    }
    if said.key.len() > bounds::NAME_BYTES_MAX {
        return Err(DecodeError::TooLong { what: "key", max: bounds::NAME_BYTES_MAX });
    }
    let link = match said.link {
        None => None,
        Some(text) => Some(bounds::link(&text).ok_or_else(|| {
            DecodeError::wrong("link", &text, "an address that begins with `https://` or `http://`")
        })?),
    };
    let mut dimensions = BTreeMap::new();
    for (key, value) in &said.dimensions {
        bounds::dimension(&mut dimensions, key, value)?;
    }
    let mut labels = BTreeMap::new();
    for (key, value) in &said.labels {
        bounds::label(&mut labels, key, value)?;
    }
    let named = |text: Option<Text<'_>>| text.map(|text| bounds::name(&text));
    Ok(Alarm {
        key: bounds::key(&format!("{decoder}:{}", &*said.key))?,
        source: delivery.id.source.clone(),
        name: bounds::name(&said.name),
        state: said.state,
        changed_at: Timestamp::from_microsecond(said.changed_at.as_microsecond())
            .unwrap_or(said.changed_at),
        severity: named(said.severity),
        reason: bounds::prose(said.reason.as_deref().unwrap_or("")),
        description: bounds::prose(said.description.as_deref().unwrap_or("")),
        account: named(said.account),
        region: named(said.region),
        namespace: named(said.namespace),
        metric: named(said.metric),
        dimensions,
        labels,
        value: said.value,
        threshold: said.threshold,
        link,
        origin: named(said.origin),
    })
}
