//! Prometheus Alertmanager's webhook, versions 3 and 4. The state is each alert's own, never the group's.
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>
//! Version 3 (to 2017) has a number as its group's key, beyond what JSON's readers hold exactly, so it is
//! not read: <https://github.com/prometheus/docs/pull/801>. Before 0.19 alerts had no fingerprint:
//! <https://github.com/prometheus/alertmanager/issues/2227>.

use jiff::Timestamp;
use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading, Said};
use crate::{DecodeError, json};

/// What a delivery of Alertmanager's says.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let group = Place::root(&body);
    let version = group.at("/version").required()?;
    if !matches!(version.as_str(), "3" | "4") {
        return Err(version.wrong("`\"3\"` or `\"4\"`"));
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
    let stated = alert.at("/fingerprint");
    let fingerprint = match fingerprint(alert) {
        Some(fingerprint) if stated.value().is_none() => fingerprint,
        Some(_) | None => stated.required()?,
    };
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

/// The fingerprint as Alertmanager makes it, for those that do not say it: FNV-1a over the labels in the
/// order of their names, each name and value followed by a byte that no UTF-8 has.
/// <https://github.com/prometheus/common/blob/main/model/signature.go>
fn fingerprint<'a>(alert: Place<'_>) -> Option<Said<'a>> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let mut hash = OFFSET;
    let mut labels = alert.pairs("/labels");
    labels.sort_by_key(|(name, _)| *name);
    for (name, value) in &labels {
        let value = value.value()?.as_str()?;
        let bytes = [name.as_bytes(), &[0xff], value.as_bytes(), &[0xff]];
        for byte in bytes.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    let made = Said::made(format!("{hash:016x}"), "the hash of the labels");
    (!labels.is_empty()).then_some(made)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_that_is_made_is_the_one_that_alertmanager_says() {
        // As Debian's Alertmanager 0.25 wrote them.
        for (labels, expected) in [
            (
                r#"{"alertname": "디스크사용률높음", "cluster": "ap-northeast-2", "instance": "서울-web-01:9100", "severity": "warning", "team": "infra"}"#,
                "4771f4d58b67b627",
            ),
            (
                r#"{"alertname": "HighLatency", "path": "/api/0", "severity": "page", "team": "trunc"}"#,
                "a0cd5747128ba612",
            ),
        ] {
            let body = format!(r#"{{"labels":{labels}}}"#);
            let alert = json::parse(body.as_bytes()).unwrap();
            let made = fingerprint(Place::root(&alert)).unwrap();
            assert_eq!(made.as_str(), expected);
        }
        for labels in ["{}", "null", r#"{"a":1}"#] {
            let body = format!(r#"{{"labels":{labels}}}"#);
            let alert = json::parse(body.as_bytes()).unwrap();
            assert!(fingerprint(Place::root(&alert)).is_none(), "{labels}");
        }
    }
}
