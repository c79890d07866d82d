//! Zabbix's webhook media type, with the parameters that `docs/sources/zabbix.md` gives.
//!
//! <https://www.zabbix.com/documentation/current/en/manual/config/notifications/media/webhook>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Zabbix's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::body(delivery)?;
    let event = Place::root(&body);
    // Only triggers (0) have problems; discovery, registration and internal events do not.
    let source = event.at("/event_source").scalar();
    if let Some(source) = source.filter(|source| source.as_str() != "0") {
        let source = crate::bounds::quote(source.as_str());
        return Ok(Read::Note(format!("not a trigger's event but of source {source}")));
    }
    let said = event.at("/event_value").required()?;
    let state = match said.as_str() {
        "1" => AlarmState::Firing,
        "0" => AlarmState::Resolved,
        _ => return Err(said.wrong("`1` (problem) or `0` (recovery)")),
    };
    let trigger = event.at("/trigger_id").required()?;
    if trigger.as_str().starts_with('{') {
        return Err(trigger.wrong("a trigger's id; the macro was not filled in"));
    }
    // Of the problem's and the recovery's own times the sender puts the one that applies here.
    let core = Core {
        source: "zabbix",
        identity: std::slice::from_ref(&trigger),
        state: said.map(|_| state),
        changed_at: times::at(event.at("/event_time"), times::any)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(event.first(&["/event_name", "/title"]).text());
    let word = event.at("/event_nseverity").scalar().map(|said| {
        let word = severity(said.as_str());
        said.map(|text| word.map_or_else(|| text.to_owned().into(), Into::into))
    });
    reading.severity(event.at("/event_severity").text().or(word));
    reading.reason(event.at("/title").text());
    reading.description(event.first(&["/description", "/message"]).text());
    reading.metric(event.at("/item_key").text());
    reading.dimension("host", event.first(&["/host_host", "/host_name"]).text())?;
    reading.value(event.at("/item_value").number());
    reading.label("event_id", event.at("/event_id").scalar())?;
    reading.tags(event.at("/event_tags").text())?;
    reading.link(event.first(&["/event_url", "/zabbix_url"]).text());
    reading.origin(Some(trigger));
    Ok(Read::one(reading))
}

/// Zabbix's own words for its numbers.
fn severity(number: &str) -> Option<&'static str> {
    Some(match number {
        "0" => "Not classified",
        "1" => "Information",
        "2" => "Warning",
        "3" => "Average",
        "4" => "High",
        "5" => "Disaster",
        _ => return None,
    })
}
