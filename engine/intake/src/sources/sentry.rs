//! Sentry's integration webhooks: metric alerts, issues and issue alerts; and the old plug-in.
//!
//! <https://docs.sentry.io/organization/integrations/integration-platform/webhooks/>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading, Said};
use crate::{DecodeError, json, times};

/// What a delivery of Sentry's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    if root.at("/data/metric_alert").value().is_some() {
        return metric_alert(delivery, detail, root);
    }
    if root.at("/data/issue").value().is_some() {
        return issue(delivery, detail, root);
    }
    if root.at("/data/event").value().is_some() {
        return event(delivery, detail, (root, ["/data/event/issue_id", "/data/event/event_id"]));
    }
    if root.at("/event/event_id").value().is_some() {
        return event(delivery, detail, (root, ["/id", "/event/event_id"]));
    }
    match root.at("/action").text() {
        Some(action) => {
            let action = crate::bounds::quote(action.as_str());
            Ok(Read::Note(format!("nothing to act on: {action}")))
        }
        None => Err(DecodeError::missing("/data")),
    }
}

/// The incident of a metric alert; `action` is its state now.
fn metric_alert(delivery: &Delivery, detail: Detail, root: Place<'_>) -> Result<Read, DecodeError> {
    let action = root.at("/action").required()?;
    let state = match action.as_str() {
        "critical" | "warning" | "open" => AlarmState::Firing,
        "resolved" => AlarmState::Resolved,
        _ => return Err(action.wrong("`critical`, `warning`, `open` or `resolved`")),
    };
    let rule = root.at("/data/metric_alert/alert_rule/id").required()?;
    let core = Core {
        source: "sentry",
        identity: std::slice::from_ref(&rule),
        state: action.map(|_| state),
        // None of its times is that of this action: `date_closed` is null when it is resolved.
        changed_at: None,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let name = root.at("/data/metric_alert/alert_rule/name").text();
    reading.name(name.or_else(|| root.at("/data/metric_alert/title").text()));
    reading.severity(Some(action));
    reading.reason(root.at("/data/description_title").text());
    reading.description(root.at("/data/description_text").text());
    reading.namespace(root.at("/data/metric_alert/projects").joined());
    reading.metric(root.at("/data/metric_alert/alert_rule/aggregate").text());
    reading.label("environment", root.at("/data/metric_alert/alert_rule/environment").text())?;
    reading.label("query", root.at("/data/metric_alert/alert_rule/query").text())?;
    reading.label("incident", root.at("/data/metric_alert/identifier").scalar())?;
    reading.link(root.at("/data/web_url").text());
    reading.origin(Some(rule));
    Ok(Read::one(reading))
}

fn issue(delivery: &Delivery, detail: Detail, root: Place<'_>) -> Result<Read, DecodeError> {
    let action = root.at("/action").required()?;
    let state = match action.as_str() {
        "created" | "unresolved" => AlarmState::Firing,
        "resolved" | "archived" | "ignored" => AlarmState::Resolved,
        "assigned" => return Ok(Read::Note("nothing to act on: assigned".to_owned())),
        _ => return Err(action.wrong("`created`, `unresolved`, `resolved` or `archived`")),
    };
    let id = root.at("/data/issue/id").required()?;
    let core = Core {
        source: "sentry",
        identity: &[said_as(&id, "issue"), id.clone()],
        state: action.map(|_| state),
        changed_at: times::at(root.at("/data/issue/lastSeen"), times::rfc3339)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(root.at("/data/issue/title").text());
    reading.severity(root.at("/data/issue/level").text());
    reading.reason(root.at("/data/issue/title").text());
    reading.description(root.at("/data/issue/culprit").text());
    reading.namespace(root.at("/data/issue/project/slug").text());
    reading.label("shortId", root.at("/data/issue/shortId").text())?;
    reading.label("platform", root.at("/data/issue/platform").text())?;
    reading.link(root.first(&["/data/issue/web_url", "/data/issue/permalink"]).text());
    reading.origin(Some(id));
    Ok(Read::one(reading))
}

/// An issue alert that was triggered by an event; nothing ever says that it is over.
fn event(
    delivery: &Delivery,
    detail: Detail,
    (root, ids): (Place<'_>, [&'static str; 2]),
) -> Result<Read, DecodeError> {
    let id = root.first(&ids).required()?;
    let firing = root.first(&["/action", "/event/type", "/level"]).required()?;
    let at = root.first(&["/data/event/timestamp", "/data/event/datetime", "/event/timestamp"]);
    let core = Core {
        source: "sentry",
        identity: &[said_as(&id, "issue"), id.clone()],
        state: firing.map(|_| AlarmState::Firing),
        changed_at: times::at(at, times::any)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let title = root.first(&["/data/event/title", "/event/title", "/culprit"]).text();
    reading.name(title.clone());
    reading.severity(root.first(&["/data/event/level", "/level"]).text());
    reading.reason(title);
    reading.description(root.first(&["/data/event/culprit", "/culprit"]).text());
    reading.namespace(root.first(&["/data/event/project", "/project_slug"]).scalar());
    let rule = root.first(&["/data/triggered_rule", "/triggering_rules"]);
    reading.label("rule", rule.joined())?;
    let environment = root.first(&["/data/event/environment", "/event/environment"]);
    reading.label("environment", environment.text())?;
    reading.label("platform", root.first(&["/data/event/platform", "/event/platform"]).text())?;
    reading.label("release", root.first(&["/data/event/release", "/event/release"]).text())?;
    reading.link(root.first(&["/data/event/web_url", "/url"]).text());
    reading.origin(Some(id));
    Ok(Read::one(reading))
}

/// Tells the numbers of issues from those of metric alerts' rules.
fn said_as<'a>(id: &Said<'a>, kind: &'static str) -> Said<'a> {
    id.map(|_| kind.into())
}
