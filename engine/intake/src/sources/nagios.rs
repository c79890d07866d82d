//! Nagios and Icinga, by a notification command that posts their macros as `docs/sources/nagios.md`
//! gives it, as JSON or as a form.
//!
//! <https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/macrolist.html>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Nagios' or Icinga's says: of a service, or of a host.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::body(delivery)?;
    let check = Place::root(&body);
    let kind = check.at("/notification_type").required()?;
    match kind.as_str() {
        "PROBLEM" | "RECOVERY" | "ACKNOWLEDGEMENT" => {}
        "FLAPPINGSTART" | "FLAPPINGSTOP" | "FLAPPINGDISABLED" | "DOWNTIMESTART" | "DOWNTIMEEND"
        | "DOWNTIMECANCELLED" | "CUSTOM" => {
            return Ok(Read::Note(format!("nothing to act on: {}", kind.as_str())));
        }
        _ => return Err(kind.wrong("a notification type such as `PROBLEM` or `RECOVERY`")),
    }
    let host = check.at("/host_name").required()?;
    let service = check.at("/service_description").text();
    let said = check.first(&["/service_state", "/host_state"]).required()?;
    let state = match said.as_str() {
        "WARNING" | "CRITICAL" | "DOWN" | "UNREACHABLE" => AlarmState::Firing,
        "OK" | "UP" => AlarmState::Resolved,
        "UNKNOWN" => AlarmState::NoData,
        _ => return Err(said.wrong("`OK`, `WARNING`, `CRITICAL`, `UNKNOWN`, `UP` or `DOWN`")),
    };
    // Problem ids become 0 at the recovery, so the names identify.
    let identity: Vec<_> = [host.clone()].into_iter().chain(service.clone()).collect();
    let core = Core {
        source: "nagios",
        identity: &identity,
        state: said.map(|_| state),
        // `long_date_time` is in the words of a locale and a zone without an offset: not read.
        changed_at: times::at(check.first(&["/timet", "/last_state_change"]), times::epoch)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.severity(Some(said));
    reading.reason(check.first(&["/service_output", "/host_output"]).text());
    reading.description(check.first(&["/long_service_output", "/long_host_output"]).text());
    reading.metric(service);
    reading.dimension("host", Some(host.clone()))?;
    reading.dimension("address", check.at("/host_address").text())?;
    for (label, pointer) in [
        ("notification_type", "/notification_type"),
        ("state_type", "/service_state_type"),
        ("host_group", "/host_group_name"),
        ("service_group", "/service_group_name"),
        ("author", "/notification_author"),
        ("comment", "/notification_comment"),
    ] {
        reading.label(label, check.at(pointer).scalar())?;
    }
    reading.link(check.first(&["/service_notes_url", "/host_notes_url"]).text());
    Ok(Read::one(reading))
}
