//! Kibana's alerting rules and Elasticsearch's Watcher, with the bodies that
//! `docs/sources/elastic.md` gives: what they send is what their author's template says.
//!
//! <https://www.elastic.co/docs/explore-analyze/alerts-cases/alerts/rule-action-variables>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Elastic's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    if root.at("/watch_id").value().is_some() {
        return Ok(Read::one(watch(delivery, detail, root)?));
    }
    Ok(Read::one(rule(delivery, detail, root)?))
}

/// A rule of Kibana's; an alert is one instance of it.
fn rule(delivery: &Delivery, detail: Detail, root: Place<'_>) -> Result<Reading, DecodeError> {
    let group = root.at("/alert/actionGroup").required()?;
    let state = match group.as_str() {
        "recovered" => AlarmState::Resolved,
        other if other.contains("{{") => {
            return Err(group.wrong("an action group; the template was not filled in"));
        }
        other if other.to_ascii_lowercase().contains("nodata") => AlarmState::NoData,
        _ => AlarmState::Firing,
    };
    let id = root.at("/rule/id").required()?;
    let alert = root.first(&["/alert/id", "/alert/uuid"]).text();
    let identity: Vec<_> = [id.clone()].into_iter().chain(alert).collect();
    let core = Core {
        source: "elastic",
        identity: &identity,
        state: group.map(|_| state),
        changed_at: times::at(root.at("/date"), times::rfc3339)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(root.at("/rule/name").text());
    reading.severity(root.first(&["/context/severity", "/rule/params/severity"]).text());
    reading.reason(root.first(&["/context/reason", "/context/message", "/message"]).text());
    reading.namespace(root.first(&["/rule/spaceId", "/rule/type"]).text());
    reading.metric(root.at("/rule/type").text());
    reading.value(root.at("/context/value").number());
    reading.threshold(root.at("/context/threshold").number());
    reading.label("actionGroup", Some(group))?;
    reading.label("tags", root.at("/rule/tags").joined())?;
    reading.label("host", root.first(&["/context/host/name", "/context/host"]).text())?;
    reading.link(root.first(&["/context/alertDetailsUrl", "/rule/url"]).text());
    reading.origin(Some(id));
    Ok(reading)
}

/// A watch that met its condition; nothing ever says that it is over.
fn watch(delivery: &Delivery, detail: Detail, root: Place<'_>) -> Result<Reading, DecodeError> {
    let id = root.at("/watch_id").required()?;
    let core = Core {
        source: "elastic",
        identity: std::slice::from_ref(&id),
        state: id.map(|_| AlarmState::Firing),
        changed_at: times::at(root.at("/trigger/triggered_time"), times::rfc3339)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.severity(root.at("/metadata/severity").text());
    reading.reason(root.first(&["/message", "/payload/status"]).text());
    for (key, value) in root.pairs("/payload") {
        reading.label(key, value.scalar())?;
    }
    reading.origin(Some(id));
    Ok(reading)
}
