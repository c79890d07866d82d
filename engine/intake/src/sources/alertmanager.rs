//! Prometheus Alertmanager's webhook, version 4. The state is each alert's own, never the group's.
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use jiff::Timestamp;
use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json};

/// What a delivery of Alertmanager's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let group = Place::root(&body);
    let version = group.at("/version").required()?;
    if version.as_str() != "4" {
        return Err(version.wrong("`\"4\"`"));
    }
    if group.at("/alerts").value().is_none_or(|alerts| !alerts.is_array()) {
        return Err(DecodeError::missing("/alerts"));
    }
    let alerts = group.items("/alerts");
    if alerts.is_empty() {
        return Ok(Read::Note("a group without alerts".to_owned()));
    }
    Read::each(alerts, |alert| alarm(delivery, detail, (group, alert)))
}

fn alarm(
    delivery: &Delivery,
    detail: Detail,
    (group, alert): (Place<'_>, Place<'_>),
) -> Result<Reading, DecodeError> {
    let status = alert.at("/status").required()?;
    let (state, at) = match status.as_str() {
        "firing" => (AlarmState::Firing, "/startsAt"),
        "resolved" => (AlarmState::Resolved, "/endsAt"),
        _ => return Err(status.wrong("`firing` or `resolved`")),
    };
    let said = alert.at(at).required()?;
    let changed_at = json::moment(at, said.as_str())?;
    if changed_at < Timestamp::UNIX_EPOCH {
        // The zero date is how Alertmanager writes that an alert has not ended.
        return Err(said.wrong("when its state changed"));
    }
    let fingerprint = alert.at("/fingerprint").required()?;
    let core = Core {
        source: "alertmanager",
        identity: std::slice::from_ref(&fingerprint),
        state: status.map(|_| state),
        changed_at: Some(said.map(|_| changed_at)),
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(alert.at("/labels/alertname").text());
    reading.severity(alert.at("/labels/severity").text());
    reading.reason(alert.first(&["/annotations/summary", "/annotations/message"]).text());
    reading.description(alert.at("/annotations/description").text());
    reading.namespace(alert.at("/labels/job").text());
    reading.metric(alert.at("/labels/alertname").text());
    reading.link(alert.at("/generatorURL").text());
    reading.origin(Some(fingerprint));
    labels(&mut reading, group, alert)?;
    Ok(reading)
}

/// The labels as they are, and beside them the annotations and the group's own words with a `.` in
/// their names, which a label's name cannot have.
fn labels(reading: &mut Reading, group: Place<'_>, alert: Place<'_>) -> Result<(), DecodeError> {
    for (key, value) in alert.pairs("/labels") {
        reading.label(key, value.scalar_or_blank())?;
    }
    for (key, value) in alert.pairs("/annotations") {
        reading.label(&format!("annotation.{key}"), value.scalar_or_blank())?;
    }
    reading.label("alertmanager.receiver", group.at("/receiver").text())?;
    if group.at("/truncatedAlerts").number().is_some_and(|said| said.value > 0.0) {
        reading.label("alertmanager.truncated", group.at("/truncatedAlerts").scalar())?;
    }
    Ok(())
}
