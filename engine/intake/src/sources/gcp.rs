//! Google Cloud Monitoring's incidents, straight from the webhook or inside a push of Pub/Sub.
//!
//! <https://cloud.google.com/monitoring/support/notification-options#webhooks>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Cloud Monitoring's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let Some(data) = Place::root(&body).at("/message/data").text() else {
        return Ok(Read::one(incident(delivery, detail, Place::root(&body))?));
    };
    let bytes = STANDARD.decode(data.as_str()).map_err(|_| data.wrong("base64"))?;
    let inner = json::parse(&bytes)?;
    Ok(Read::one(incident(delivery, detail, Place::root(&inner))?))
}

fn incident(delivery: &Delivery, detail: Detail, root: Place<'_>) -> Result<Reading, DecodeError> {
    let said = root.at("/incident/state").required()?;
    let (state, at) = match said.as_str().to_ascii_lowercase().as_str() {
        "open" => (AlarmState::Firing, "/incident/started_at"),
        "closed" => (AlarmState::Resolved, "/incident/ended_at"),
        _ => return Err(said.wrong("`open` or `closed`")),
    };
    let at = root.at(at);
    // Zero stands for no time.
    let is_zero = at.number().is_some_and(|said| said.value == 0.0);
    let id = root.at("/incident/incident_id").required()?;
    let core = Core {
        source: "gcp",
        identity: std::slice::from_ref(&id),
        state: said.map(|_| state),
        changed_at: if is_zero { None } else { times::at(at, times::epoch)? },
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(root.first(&["/incident/condition_name", "/incident/policy_name"]).text());
    let by_label = "/incident/metadata/system_labels/severity";
    reading.severity(root.first(&["/incident/severity", by_label]).text());
    reading.reason(root.at("/incident/summary").text());
    reading.description(root.at("/incident/documentation/content").text());
    let project = "/incident/resource/labels/project_id";
    reading.account(root.first(&["/incident/scoping_project_id", project]).text());
    reading.region(
        root.first(&["/incident/resource/labels/region", "/incident/resource/labels/zone"]).text(),
    );
    reading.namespace(root.at("/incident/policy_name").text());
    reading.metric(root.at("/incident/metric/type").text());
    reading.value(root.at("/incident/observed_value").number());
    let threshold = "/incident/condition/conditionThreshold/thresholdValue";
    reading.threshold(root.first(&["/incident/threshold_value", threshold]).number());
    for (key, value) in root.pairs("/incident/resource/labels") {
        reading.dimension(key, value.scalar())?;
    }
    for pointer in [
        "/incident/metric/labels",
        "/incident/metadata/system_labels",
        "/incident/metadata/user_labels",
        "/incident/policy_user_labels",
    ] {
        for (key, value) in root.pairs(pointer) {
            reading.label(key, value.scalar())?;
        }
    }
    reading.label("resource_name", root.at("/incident/resource_name").text())?;
    reading.label("resource_type", root.at("/incident/resource/type").text())?;
    reading.link(root.at("/incident/url").text());
    reading.origin(Some(id));
    Ok(reading)
}
