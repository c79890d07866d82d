//! New Relic's workflow webhook with its default template, and the classic webhook.
//!
//! The template is the user's to edit, so every key may be missing: without `id` and `state` nothing
//! can be said; without a time the time of receipt orders the issue's history. An acknowledgement looks like any firing (`state` stays `ACTIVATED`), and is one.
//!
//! Classic: <https://docs.newrelic.com/docs/alerts/new-relic-alerts/managing-notification-channels/customize-your-webhook-payload>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading, Said};
use crate::{DecodeError, json, times};

/// What a delivery of New Relic's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    let is_classic = root.at("/current_state").value().is_some();
    let reading = if is_classic {
        classic(delivery, detail, root)?
    } else {
        workflow(delivery, detail, root)?
    };
    Ok(Read::one(reading))
}

fn workflow(delivery: &Delivery, detail: Detail, issue: Place<'_>) -> Result<Reading, DecodeError> {
    let id = rendered(issue.at("/id").required()?)?;
    let said = issue.at("/state").required()?;
    let state = match said.as_str() {
        "CREATED" | "ACTIVATED" | "ACKNOWLEDGED" => AlarmState::Firing,
        "CLOSED" => AlarmState::Resolved,
        _ => return Err(said.wrong("`CREATED`, `ACTIVATED`, `ACKNOWLEDGED` or `CLOSED`")),
    };
    let core = Core {
        source: "newrelic",
        identity: std::slice::from_ref(&id),
        state: said.map(|_| state),
        changed_at: times::at(issue.at("/updatedAt"), times::milliseconds)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let condition = issue.at("/alertConditionNames/0").text();
    reading.name(condition.clone().or_else(|| issue.at("/title").text()));
    reading.severity(issue.at("/priority").text());
    reading.reason(issue.at("/title").text());
    reading.namespace(issue.at("/alertPolicyNames/0").text());
    reading.metric(condition);
    if issue.at("/impactedEntities/1").value().is_none() {
        reading.dimension("entity", issue.at("/impactedEntities/0").text())?;
    }
    for (label, pointer) in [
        ("workflowName", "/workflowName"),
        ("trigger", "/trigger"),
        ("totalIncidents", "/totalIncidents"),
        ("isCorrelated", "/isCorrelated"),
    ] {
        reading.label(label, issue.at(pointer).scalar())?;
    }
    for (label, pointer) in [
        ("impactedEntities", "/impactedEntities"),
        ("alertConditionNames", "/alertConditionNames"),
        ("alertPolicyNames", "/alertPolicyNames"),
        ("sources", "/sources"),
    ] {
        reading.label(label, issue.at(pointer).joined())?;
    }
    reading.link(issue.at("/issueUrl").text());
    reading.origin(Some(id));
    Ok(reading)
}

fn classic(
    delivery: &Delivery,
    detail: Detail,
    incident: Place<'_>,
) -> Result<Reading, DecodeError> {
    let said = incident.at("/current_state").required()?;
    // Look-alike templates put the words of a workflow here.
    let state = match said.as_str().to_ascii_lowercase().as_str() {
        "open" | "acknowledged" | "created" | "activated" => AlarmState::Firing,
        "closed" => AlarmState::Resolved,
        _ => return Err(said.wrong("`open`, `acknowledged` or `closed`")),
    };
    let id = rendered(incident.at("/incident_id").required()?)?;
    let core = Core {
        source: "newrelic",
        identity: std::slice::from_ref(&id),
        state: said.map(|_| state),
        changed_at: times::at(incident.at("/timestamp"), times::milliseconds)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let condition = incident.at("/condition_name").text();
    reading.name(condition.clone());
    reading.severity(incident.at("/severity").text());
    reading.reason(incident.at("/details").text());
    reading.account(incident.at("/account_id").scalar());
    reading.namespace(incident.at("/policy_name").text());
    reading.metric(condition);
    if incident.at("/targets/1").value().is_none() {
        reading.dimension("entity", incident.at("/targets/0/name").text())?;
    }
    for (key, value) in incident.pairs("/targets/0/labels") {
        reading.label(key, value.scalar())?;
    }
    for (label, pointer) in [
        ("event_type", "/event_type"),
        ("account_name", "/account_name"),
        ("condition_family_id", "/condition_family_id"),
        ("runbook_url", "/runbook_url"),
    ] {
        reading.label(label, incident.at(pointer).scalar())?;
    }
    reading.link(incident.at("/incident_url").text());
    reading.origin(Some(id));
    Ok(reading)
}

/// Refuses what is still a template: `{{issueId}}`, `$EVENT_ID`.
fn rendered(id: Said<'_>) -> Result<Said<'_>, DecodeError> {
    if id.as_str().contains("{{") || id.as_str().starts_with('$') {
        return Err(id.wrong("an issue's id; the template was not filled in"));
    }
    Ok(id)
}
