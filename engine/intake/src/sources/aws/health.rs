//! AWS Health: issues and scheduled changes as alarms, account notifications as notes.
//!
//! <https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html>

use untoil_model::AlarmState;

use super::Event;
use crate::DecodeError;
use crate::reading::{Place, Read, Said};

/// What an event of AWS Health says; a forwarder may have changed its `source`.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let Some(category) = event.at("/detail/eventTypeCategory").text() else { return Ok(None) };
    let arn = event.root.first(&["/detail/eventArn", "/detail/arn"]).required()?;
    let code = event.at("/detail/eventTypeCode").required()?;
    if category.as_str() == "accountNotification" {
        return Ok(Some(event.note(&code)));
    }
    let (word, state) = state(event, &category)?;
    // One event of Health, public ones too, is told to each account that it concerns.
    let affected = event.at("/detail/affectedAccount").text();
    let identity: Vec<Said<'_>> = [arn.clone()].into_iter().chain(affected).collect();
    let changed_at = event.root.first(&["/detail/lastUpdatedTime", "/time"]);
    let mut reading = event.alarm(("health", "event"), (&word, state), identity, changed_at)?;
    reading.name(Some(code.clone()));
    reading.metric(Some(code));
    reading.severity(Some(category));
    reading.region(event.root.first(&["/detail/eventRegion", "/detail/region", "/region"]).text());
    let description = event.root.first(&[
        "/detail/eventDescription/0/latestDescription",
        "/detail/eventDescription/latestDescription",
    ]);
    // Newer ones write line ends as a backslash and an `n`.
    let description = description.text();
    reading.reason(description.map(|said| said.map(|text| text.replace("\\n", "\n").into())));
    for (label, pointer) in [
        ("service", "/detail/service"),
        ("startTime", "/detail/startTime"),
        ("endTime", "/detail/endTime"),
        ("eventScopeCode", "/detail/eventScopeCode"),
    ] {
        reading.label(label, event.at(pointer).scalar())?;
    }
    let affected = event.root.items("/detail/affectedEntities");
    if let [one] = affected.as_slice() {
        reading.dimension("entity", one.at("/entityValue").text())?;
        for (key, tag) in event.root.pairs("/detail/affectedEntities/0/tags") {
            reading.label(key, tag.scalar_or_blank())?;
        }
    }
    reading.label("resources", event.at("/resources").joined())?;
    reading.origin(Some(arn));
    Ok(Some(Read::one(reading)))
}

/// Whether it goes on. The end of a scheduled change is when it is planned to end, so only its status
/// closes it; an issue has an end when it is over.
fn state<'a>(
    event: &Event<'a>,
    category: &Said<'a>,
) -> Result<(Said<'a>, AlarmState), DecodeError> {
    if let Some(status) = event.at("/detail/statusCode").text() {
        let state = match status.as_str() {
            "open" | "upcoming" => AlarmState::Firing,
            "closed" => AlarmState::Resolved,
            _ => return Err(status.wrong("`open`, `upcoming` or `closed`")),
        };
        return Ok((status, state));
    }
    let end: Place<'a> = event.at("/detail/endTime");
    match end.text() {
        Some(end) if category.as_str() != "scheduledChange" => Ok((end, AlarmState::Resolved)),
        Some(_) | None => Ok((category.clone(), AlarmState::Firing)),
    }
}
