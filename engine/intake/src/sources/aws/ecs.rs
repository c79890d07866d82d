//! ECS: deployments, services and tasks.
//!
//! A failed deployment is over with the next completed one of its service, trouble of a service with
//! its steady state, and a task that failed when one of its group runs (or, of tasks without a
//! service, ends well). <https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_cwe_events.html>

use untoil_model::AlarmState;

use super::{Event, last_of};
use crate::DecodeError;
use crate::reading::{Place, Read, Reading, Said};

/// What an event of ECS says.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let Some(kind) = event.kind() else { return Ok(None) };
    match kind.as_str() {
        "ECS Deployment State Change" => deployment(event),
        "ECS Service Action" => service(event),
        "ECS Task State Change" => task(event),
        _ => Ok(None),
    }
}

fn deployment(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let name = event.at("/detail/eventName").required()?;
    let state = match name.as_str() {
        "SERVICE_DEPLOYMENT_COMPLETED" => AlarmState::Resolved,
        "SERVICE_DEPLOYMENT_FAILED" => AlarmState::Firing,
        _ => return Ok(Some(event.note(&name))),
    };
    let mut reading = of_service(event, "deployment", (&name, state))?;
    reading.label("deploymentId", event.at("/detail/deploymentId").scalar())?;
    Ok(Some(Read::one(reading)))
}

fn service(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let name = event.at("/detail/eventName").required()?;
    let kind = event.at("/detail/eventType").required()?;
    let state = match (kind.as_str(), name.as_str()) {
        (_, "SERVICE_STEADY_STATE") => AlarmState::Resolved,
        ("WARN" | "ERROR", _) => AlarmState::Firing,
        ("INFO", _) => return Ok(Some(event.note(&name))),
        _ => return Err(kind.wrong("`INFO`, `WARN` or `ERROR`")),
    };
    Ok(Some(Read::one(of_service(event, "service", (&name, state))?)))
}

/// An alarm about the service that the event is about.
fn of_service<'a>(
    event: &Event<'a>,
    what: &'static str,
    (name, state): (&Said<'a>, AlarmState),
) -> Result<Reading, DecodeError> {
    let arn = event.at("/resources/0").required()?;
    let known = last_of(arn.as_str());
    let time = event.at("/time");
    let mut reading = event.alarm(("ecs", what), (name, state), vec![arn.clone()], time)?;
    reading.name(Some(arn.map(|_| format!("ECS {what} {known}").into())));
    reading.severity(event.at("/detail/eventType").text());
    let why = event.at("/detail/reason").text();
    reading.reason(Some(why.unwrap_or_else(|| name.clone())));
    // Services of before 2018 have no cluster in their ARN; the event has it.
    let cluster = event.at("/detail/clusterArn").text();
    let cluster = cluster.map(|arn| arn.map(|text| last_of(text).into()));
    let of_arn = known.split_once('/').map(|(cluster, _)| cluster.to_owned());
    let of_arn = of_arn.map(|cluster| arn.map(|_| cluster.into()));
    reading.dimension("ClusterName", of_arn.or(cluster))?;
    let service = known.rsplit('/').next().unwrap_or(&known).to_owned();
    reading.dimension("ServiceName", Some(arn.map(|_| service.into())))?;
    reading.origin(Some(arn));
    Ok(reading)
}

fn task(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let status = event.at("/detail/lastStatus").required()?;
    let group = event.at("/detail/group").required()?;
    let is_service = group.as_str().starts_with("service:");
    let (word, state) = match status.as_str() {
        "RUNNING" if is_service => (status, AlarmState::Resolved),
        "STOPPED" => match stopped(event) {
            Some(word) => (word, AlarmState::Firing),
            None if !is_service && ended_well(event) => (status, AlarmState::Resolved),
            None => return Ok(Some(event.note(&status))),
        },
        _ => return Ok(Some(event.note(&status))),
    };
    let cluster = event.at("/detail/clusterArn").required()?;
    let identity = vec![cluster.clone(), group.clone()];
    let time = event.at("/time");
    let mut reading = event.alarm(("ecs", "task"), (&word, state), identity, time)?;
    let known = last_of(cluster.as_str());
    let name = group.as_str().split_once(':').map_or(group.as_str(), |(_, name)| name).to_owned();
    reading.name(Some(group.map(|_| format!("ECS task {known}/{name}").into())));
    let why = event.root.first(&["/detail/stoppedReason", "/detail/containers/0/reason"]).text();
    reading.reason(why.or_else(|| Some(word.clone())));
    reading.dimension("ClusterName", Some(cluster.map(|_| known.into())))?;
    if is_service {
        reading.dimension("ServiceName", Some(group.map(|_| name.into())))?;
    }
    reading.label("group", Some(group))?;
    reading.label("taskArn", event.root.first(&["/detail/taskArn", "/resources/0"]).text())?;
    reading.label("stopCode", event.at("/detail/stopCode").text())?;
    Ok(Some(Read::one(reading)))
}

/// Why a task that stopped did so by a failure: it did not start, was found unhealthy, or a container
/// ended badly. What was told to stop has no failure, whatever its containers answer to that.
fn stopped<'a>(event: &Event<'a>) -> Option<Said<'a>> {
    let code = event.at("/detail/stopCode").text();
    let reason = event.at("/detail/stoppedReason").text();
    match code.as_ref().map(Said::as_str) {
        Some("TaskFailedToStart") => code,
        Some("EssentialContainerExited") => (!ended_well(event)).then_some(code).flatten(),
        Some("ServiceSchedulerInitiated") => {
            reason.filter(|reason| reason.as_str().starts_with("Task failed"))
        }
        Some(_) | None => None,
    }
}

/// Whether every container ended with 0.
fn ended_well(event: &Event<'_>) -> bool {
    let containers = event.root.items("/detail/containers");
    let code = |container: &Place<'_>| container.at("/exitCode").number().map(|code| code.value);
    !containers.is_empty() && containers.iter().all(|container| code(container) == Some(0.0))
}
