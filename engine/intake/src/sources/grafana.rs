//! Grafana's webhook: unified alerting (9 and later), and the legacy one before it.
//!
//! <https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/>

use std::borrow::Cow;

use jiff::Timestamp;
use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading, Said};
use crate::{DecodeError, json, times};

/// What a delivery of Grafana's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let root = Place::root(&body);
    if root.at("/ruleId").value().is_some() {
        return legacy(delivery, detail, root);
    }
    if root.at("/alerts").value().is_none_or(|alerts| !alerts.is_array()) {
        return Err(DecodeError::missing("/alerts"));
    }
    let alerts = root.items("/alerts");
    if alerts.is_empty() {
        return Ok(Read::Note("a group without alerts".to_owned()));
    }
    Read::each(alerts, |alert| unified(delivery, detail, (root, alert)))
}

/// One alert of a group; like Alertmanager's, the state is its own.
fn unified(
    delivery: &Delivery,
    detail: Detail,
    (group, alert): (Place<'_>, Place<'_>),
) -> Result<Reading, DecodeError> {
    let status = alert.at("/status").required()?;
    let alertname = alert.at("/labels/alertname").text();
    // These two names stand for the rule's own when it has no data or cannot be asked.
    let is_blind = alertname
        .as_ref()
        .is_some_and(|name| matches!(name.as_str(), "DatasourceNoData" | "DatasourceError"));
    let (state, at) = match status.as_str() {
        "firing" if is_blind => (AlarmState::NoData, "/startsAt"),
        "firing" => (AlarmState::Firing, "/startsAt"),
        "resolved" => (AlarmState::Resolved, "/endsAt"),
        _ => return Err(status.wrong("`firing` or `resolved`")),
    };
    let changed_at = times::at(alert.at(at), times::rfc3339)?;
    if let Some(said) = &changed_at
        && said.value < Timestamp::UNIX_EPOCH
    {
        return Err(alert.at(at).required()?.wrong("when its state changed"));
    }
    let fingerprint = alert.at("/fingerprint").required()?;
    let core = Core {
        source: "grafana",
        identity: std::slice::from_ref(&fingerprint),
        state: status.map(|_| state),
        changed_at,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    let named = if is_blind { alert.at("/labels/rulename").text() } else { None };
    reading.name(named.or_else(|| alertname.clone()));
    reading.severity(alert.at("/labels/severity").text());
    reading.reason(alert.first(&["/annotations/summary", "/valueString"]).text());
    reading.description(alert.at("/annotations/description").text());
    reading.namespace(alert.first(&["/labels/grafana_folder", "/labels/job"]).text());
    reading.metric(alertname);
    if let [(_, only)] = alert.pairs("/values")[..] {
        reading.value(only.number());
    }
    for (key, value) in alert.pairs("/labels") {
        reading.label(key, value.scalar_or_blank())?;
    }
    for (key, value) in alert.pairs("/annotations") {
        reading.label(&format!("annotation.{key}"), value.scalar_or_blank())?;
    }
    for (key, value) in alert.pairs("/values") {
        reading.label(&format!("value.{key}"), value.scalar())?;
    }
    reading.label("grafana.org", group.at("/orgId").scalar())?;
    reading.label("grafana.receiver", group.at("/receiver").text())?;
    reading.link(alert.first(&["/panelURL", "/dashboardURL", "/generatorURL"]).text());
    reading.origin(Some(fingerprint));
    Ok(reading)
}

/// A rule of legacy alerting, before version 8: it says no time.
fn legacy(delivery: &Delivery, detail: Detail, rule: Place<'_>) -> Result<Read, DecodeError> {
    let said = rule.at("/state").required()?;
    let state = match said.as_str() {
        "alerting" => AlarmState::Firing,
        "ok" => AlarmState::Resolved,
        "no_data" => AlarmState::NoData,
        // Neither fires nor is over.
        "pending" | "paused" => return Ok(Read::Note(format!("the rule is {}", said.as_str()))),
        _ => return Err(said.wrong("`alerting`, `ok` or `no_data`")),
    };
    let id = whole(&rule.at("/ruleId").required()?);
    let org = rule.at("/orgId").scalar().map(|org| whole(&org));
    let identity: Vec<_> = org.into_iter().chain([id.clone()]).collect();
    let core = Core {
        source: "grafana",
        identity: &identity,
        state: said.map(|_| state),
        changed_at: None,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(rule.first(&["/ruleName", "/title"]).text());
    reading.reason(rule.at("/message").text());
    let matches = rule.items("/evalMatches");
    if let [only] = &matches[..] {
        reading.metric(only.at("/metric").text());
        reading.value(only.at("/value").number());
        for (key, value) in only.pairs("/tags") {
            reading.label(key, value.scalar())?;
        }
    }
    for (key, value) in rule.pairs("/tags") {
        reading.label(key, value.scalar())?;
    }
    reading.label("title", rule.at("/title").text())?;
    reading.link(rule.at("/ruleUrl").text());
    reading.origin(Some(id));
    Ok(Read::one(reading))
}

/// Some versions write their ids as `57.0`.
fn whole<'a>(id: &Said<'a>) -> Said<'a> {
    id.map(|id| Cow::Owned(id.strip_suffix(".0").unwrap_or(id).to_owned()))
}
