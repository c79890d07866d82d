//! PagerDuty's webhooks, version 3.
//!
//! <https://developer.pagerduty.com/docs/webhooks-overview>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of PagerDuty's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    if root.at("/messages").value().is_some() {
        return Err(DecodeError::Unsupported(
            "PagerDuty's webhooks of version 2 ended in 2022; make a subscription of version 3",
        ));
    }
    let kind = root.at("/event/event_type").required()?;
    let state = match kind.as_str() {
        "incident.triggered"
        | "incident.acknowledged"
        | "incident.unacknowledged"
        | "incident.reopened"
        | "incident.escalated"
        | "incident.delegated"
        | "incident.reassigned"
        | "incident.priority_updated" => AlarmState::Firing,
        "incident.resolved" => AlarmState::Resolved,
        "pagey.ping" => return Ok(Read::Note("a test of the webhook".to_owned())),
        // Notes, responders and status pages say nothing of the incident's state.
        other if other.starts_with("incident.") || other.starts_with("service.") => {
            return Ok(Read::Note(format!("nothing to act on: {}", crate::bounds::quote(other))));
        }
        _ => return Err(kind.wrong("an event type such as `incident.triggered`")),
    };
    let incident = root.at("/event/data/id").required()?;
    let core = Core {
        source: "pagerduty",
        identity: std::slice::from_ref(&incident),
        state: kind.map(|_| state),
        changed_at: times::at(root.at("/event/occurred_at"), times::rfc3339)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let title = root.at("/event/data/title").text();
    reading.name(title.clone());
    reading.severity(root.first(&["/event/data/priority/summary", "/event/data/urgency"]).text());
    reading.reason(title);
    reading.namespace(root.at("/event/data/service/summary").text());
    for (label, pointer) in [
        ("event_type", "/event/event_type"),
        ("urgency", "/event/data/urgency"),
        ("incident_key", "/event/data/incident_key"),
        ("number", "/event/data/number"),
        ("escalation_policy", "/event/data/escalation_policy/summary"),
        ("team", "/event/data/teams/0/summary"),
        ("assignee", "/event/data/assignees/0/summary"),
    ] {
        reading.label(label, root.at(pointer).scalar())?;
    }
    reading.link(root.at("/event/data/html_url").text());
    reading.origin(Some(incident));
    Ok(Read::one(reading))
}
