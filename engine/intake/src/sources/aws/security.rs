//! Findings: GuardDuty, Macie and Trusted Advisor. A finding ends when a person has looked; only
//! Trusted Advisor and a file that was scanned again ever say that something is well.

use untoil_model::AlarmState::{Firing, Resolved};

use super::Event;
use crate::DecodeError;
use crate::reading::{Read, Said};

/// GuardDuty's findings below this are "low": something that was blocked already, and a note.
const MEDIUM: f64 = 4.0;

/// What a finding says.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let Some(kind) = event.kind() else { return Ok(None) };
    match kind.as_str() {
        "GuardDuty Finding" => guardduty(event),
        "GuardDuty Malware Protection Object Scan Result" => malware(event),
        "Macie Finding" => macie(event),
        "Macie Alert" => macie_classic(event),
        "Trusted Advisor Check Item Refresh Notification" => trusted_advisor(event),
        _ => Ok(None),
    }
}

/// <https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings-severity.html>
fn guardduty(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let place = event.at("/detail/severity");
    let severity = place.number().ok_or_else(|| match place.scalar() {
        Some(said) => said.wrong("a number from 1 to 10"),
        None => DecodeError::missing("/detail/severity"),
    })?;
    let word = place.required()?;
    let title = event.at("/detail/title").required()?;
    let level = match severity.value {
        ..4.0 => "low",
        ..7.0 => "medium",
        ..9.0 => "high",
        _ => "critical",
    };
    if severity.value < MEDIUM {
        return Ok(Some(event.note(&title)));
    }
    let id = event.at("/detail/id").required()?;
    let at = ["/detail/updatedAt", "/detail/service/eventLastSeen", "/time"];
    let about = ("guardduty", "finding");
    let identity = vec![id.clone()];
    let mut reading = event.alarm(about, (&word, Firing), identity, event.root.first(&at))?;
    reading.name(Some(title.clone()));
    reading.severity(Some(word.map(|_| level.into())));
    reading.reason(Some(title));
    reading.description(event.at("/detail/description").text());
    reading.account(event.root.first(&["/detail/accountId", "/account"]).scalar());
    reading.value(Some(severity));
    reading.label("type", event.at("/detail/type").scalar())?;
    reading.label("count", event.at("/detail/service/count").scalar())?;
    let instance = event.at("/detail/resource/instanceDetails/instanceId");
    reading.dimension("InstanceId", instance.text())?;
    reading.origin(event.root.first(&["/detail/arn", "/detail/id"]).text());
    Ok(Some(Read::one(reading)))
}

fn malware(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let place =
        event.root.first(&["/detail/scanResultDetails/scanResultStatus", "/detail/scanStatus"]);
    let word = place.required()?;
    let state = match word.as_str() {
        "THREATS_FOUND" => Firing,
        "NO_THREATS_FOUND" => Resolved,
        _ => return Ok(Some(event.note(&word))),
    };
    let bucket = event.at("/detail/s3ObjectDetails/bucketName").required()?;
    let object = event.at("/detail/s3ObjectDetails/objectKey").required()?;
    let identity = vec![bucket.clone(), object.clone()];
    let about = ("guardduty", "malware");
    let mut reading = event.alarm(about, (&word, state), identity, event.at("/time"))?;
    reading.name(Some(bucket.map(|bucket| format!("Malware in {bucket}").into())));
    let threat = event.at("/detail/scanResultDetails/threats/0/name").text();
    reading.reason(Some(threat.unwrap_or(word)));
    reading.dimension("BucketName", Some(bucket))?;
    reading.label("objectKey", Some(object))?;
    Ok(Some(Read::one(reading)))
}

fn macie(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let word = event.at("/detail/severity/description").required()?;
    let title = event.root.first(&["/detail/title", "/detail/type"]).required()?;
    if word.as_str() == "Low" {
        return Ok(Some(event.note(&title)));
    }
    let id = event.at("/detail/id").required()?;
    let at = event.root.first(&["/detail/updatedAt", "/time"]);
    let mut reading = event.alarm(("macie", "finding"), (&word, Firing), vec![id.clone()], at)?;
    reading.name(Some(title));
    reading.severity(Some(word));
    reading.reason(event.at("/detail/description").text());
    reading.value(event.at("/detail/severity/score").number());
    let bucket = event.at("/detail/resourcesAffected/s3Bucket/name").text();
    reading.dimension("BucketName", bucket)?;
    reading.label("type", event.at("/detail/type").scalar())?;
    reading.origin(Some(id));
    Ok(Some(Read::one(reading)))
}

/// Macie of before 2020.
fn macie_classic(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let word = event.at("/detail/notification-type").required()?;
    if !matches!(word.as_str(), "ALERT_CREATED" | "ALERT_UPDATED") {
        return Ok(Some(event.note(&word)));
    }
    let arn = event.at("/detail/alert-arn").required()?;
    let about = ("macie", "finding");
    let mut reading = event.alarm(about, (&word, Firing), vec![arn.clone()], event.at("/time"))?;
    reading.name(event.at("/detail/name").text());
    reading.reason(event.at("/detail/summary/Description").text());
    reading.value(event.at("/detail/risk-score").number());
    reading.label("tags", event.at("/detail/tags").joined())?;
    reading.link(event.at("/detail/url").text());
    reading.origin(Some(arn));
    Ok(Some(Read::one(reading)))
}

/// Errors are alarms. Warnings, such as hosts that could be cheaper, are notes.
fn trusted_advisor(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let word = event.at("/detail/status").required()?;
    let check = event.at("/detail/check-name").required()?;
    let state = match word.as_str() {
        "ERROR" => Firing,
        "OK" => Resolved,
        _ => return Ok(Some(event.note(&check))),
    };
    let item = event.root.first(&["/detail/resource_id", "/detail/uuid"]).required()?;
    let mut identity: Vec<Said<'_>> = event.here(check.clone());
    identity.push(item.clone());
    let about = ("trustedadvisor", "check");
    let mut reading = event.alarm(about, (&word, state), identity, event.at("/time"))?;
    reading.name(Some(check.clone()));
    reading.severity(Some(word));
    reading.reason(Some(check));
    for (key, value) in event.root.pairs("/detail/check-item-detail") {
        reading.label(key, value.scalar())?;
    }
    reading.dimension("item", Some(item))?;
    Ok(Some(Read::one(reading)))
}
