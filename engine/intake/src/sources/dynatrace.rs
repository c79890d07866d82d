//! Dynatrace's custom integration, with the payload that `docs/sources/dynatrace.md` gives.
//!
//! <https://docs.dynatrace.com/docs/analyze-explore-automate/notifications-and-alerting/problem-notifications/webhook-integration>

use untoil_model::{AlarmState, Delivery};

use crate::reading::{Core, Detail, Place, Read, Reading};
use crate::{DecodeError, json};

/// What a delivery of Dynatrace's says. It says no time.
pub(crate) fn read(delivery: &Delivery, detail: Detail) -> Result<Read, DecodeError> {
    let body = json::parse(&delivery.body)?;
    let problem = Place::root(&body);
    let said = problem.at("/State").required()?;
    let state = match said.as_str() {
        "OPEN" => AlarmState::Firing,
        // A problem that was merged into another goes on there, under that one's id.
        "RESOLVED" | "MERGED" => AlarmState::Resolved,
        _ => return Err(said.wrong("`OPEN`, `RESOLVED` or `MERGED`")),
    };
    let id = problem.first(&["/PID", "/ProblemID"]).required()?;
    if id.as_str().starts_with('{') {
        return Err(id.wrong("a problem's id; the template was not filled in"));
    }
    let core = Core {
        source: "dynatrace",
        identity: std::slice::from_ref(&id),
        state: said.map(|_| state),
        changed_at: None,
    };
    let mut reading = Reading::of(delivery, detail, &core)?;
    reading.name(problem.at("/ProblemTitle").text());
    reading.severity(problem.first(&["/ProblemSeverity", "/ProblemImpact"]).text());
    reading.reason(problem.at("/ProblemTitle").text());
    reading.description(problem.at("/ProblemDetailsText").text());
    reading.namespace(problem.at("/ProblemImpact").text());
    if problem.at("/ImpactedEntities/1").value().is_none() {
        reading.dimension("entity", problem.at("/ImpactedEntities/0/entity").text())?;
        reading.dimension("entity_name", problem.at("/ImpactedEntities/0/name").text())?;
    }
    reading.label("ImpactedEntity", problem.at("/ImpactedEntity").text())?;
    reading.label("ProblemID", problem.at("/ProblemID").scalar())?;
    reading.label("state", Some(said))?;
    reading.tags(problem.at("/Tags").text())?;
    reading.link(problem.first(&["/ProblemURL", "/Problem URL"]).text());
    reading.origin(Some(id));
    Ok(Read::one(reading))
}
