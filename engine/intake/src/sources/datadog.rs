//! Datadog's webhook: the default payload, and one of our own that `docs/sources/datadog.md` gives.
//!
//! <https://docs.datadoghq.com/integrations/webhooks/>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json, times};

/// What a delivery of Datadog's says; it may be a form.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::body(delivery)?;
    let event = Place::root(&body);
    let said = event.at("/alert_transition").required()?;
    let state = match said.as_str() {
        "Triggered" | "Re-Triggered" | "Warn" | "Re-Warn" | "Renotify" => AlarmState::Firing,
        "Recovered" => AlarmState::Resolved,
        "No Data" | "Re-No Data" => AlarmState::NoData,
        _ => {
            return Err(
                said.wrong("a transition such as `Triggered`, `Warn`, `No Data` or `Recovered`")
            );
        }
    };
    let monitor = event.first(&["/monitor_id", "/alert_id"]).required()?;
    if monitor.as_str().starts_with('$') {
        return Err(monitor.wrong("a monitor's id; the template was not filled in"));
    }
    // A monitor that groups alerts once for each of its scopes.
    let scopes = event.first(&["/scopes", "/alert_scope"]).text();
    let identity: Vec<_> = [monitor.clone()].into_iter().chain(scopes.clone()).collect();
    let core = Core {
        source: "datadog",
        identity: &identity,
        state: said.map(|_| state),
        changed_at: times::at(event.first(&["/last_updated", "/date"]), times::epoch)?,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    // The title begins with the transition, `[Triggered on {host:a}] `, so it changes with it.
    let title = event.at("/title").text();
    let plain = title.as_ref().map(|said| {
        said.map(|text| {
            let rest = text.strip_prefix('[').and_then(|text| text.split_once("] "));
            rest.map_or(text, |(_, rest)| rest).to_owned().into()
        })
    });
    reading.name(event.at("/alert_title").text().or(plain));
    reading.severity(event.first(&["/priority", "/severity", "/alert_type"]).text());
    reading.reason(title);
    reading.description(event.first(&["/text_only_msg", "/body"]).text());
    reading.account(event.at("/org/name").text());
    reading.namespace(event.at("/event_type").text());
    reading.metric(event.first(&["/alert_metric", "/alert_query"]).text());
    reading.label("transition", Some(said))?;
    reading.label("scopes", scopes.clone())?;
    reading.tags(event.at("/tags").text())?;
    reading.link(event.first(&["/url", "/link"]).text());
    reading.origin(Some(monitor));
    Ok(Read::one(reading))
}
