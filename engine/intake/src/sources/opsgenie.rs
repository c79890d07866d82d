//! Opsgenie's webhook.
//!
//! <https://support.atlassian.com/opsgenie/docs/opsgenie-edge-connector-alert-action-data/>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Opsgenie's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    let action = root.at("/action").required()?;
    let state = match action.as_str() {
        "Create" | "Acknowledge" | "UnAcknowledge" | "Escalate" | "EscalateNext"
        | "UpdatePriority" => AlarmState::Firing,
        "Close" | "Delete" => AlarmState::Resolved,
        // Notes, tags, owners and the like say nothing of the alert's state.
        other => {
            return Ok(Read::Note(format!("nothing to act on: {}", crate::bounds::quote(other))));
        }
    };
    let identity = root.first(&["/alert/alias", "/alert/alertId"]).required()?;
    let core = Core {
        source: "opsgenie",
        identity: std::slice::from_ref(&identity),
        state: action.map(|_| state),
        // `updatedAt` is in nanoseconds, `createdAt` in milliseconds; the digits tell.
        changed_at: times::at(root.first(&["/alert/updatedAt", "/alert/createdAt"]), times::epoch)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(root.at("/alert/message").text());
    reading.severity(root.at("/alert/priority").scalar());
    reading.reason(root.at("/alert/message").text());
    reading.description(root.at("/alert/description").text());
    reading.namespace(root.first(&["/integrationName", "/source/name"]).text());
    reading.dimension("entity", root.at("/alert/entity").text())?;
    reading.label("action", Some(action))?;
    reading.label("tags", root.at("/alert/tags").joined())?;
    reading.label("source", root.at("/alert/source").text())?;
    reading.label("tinyId", root.at("/alert/tinyId").scalar())?;
    for (key, value) in root.pairs("/alert/details") {
        reading.label(key, value.scalar())?;
    }
    reading.origin(root.at("/alert/alertId").text());
    Ok(Read::one(reading))
}
