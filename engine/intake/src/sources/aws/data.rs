//! Databases and jobs: RDS, AWS Backup, Glue and DMS.

use untoil_model::AlarmState::{self, Firing, Resolved};

use super::{Event, last_of};
use crate::DecodeError;
use crate::reading::{Read, Reading, Said};

/// What an event about data says.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    if event.at("/Event Source").is_filled() && event.at("/Event Message").is_filled() {
        return dms_message(event);
    }
    let Some(kind) = event.kind() else { return Ok(None) };
    match kind.as_str() {
        "Glue Job State Change" => glue(event),
        "Backup Job State Change" => backup(event),
        kind if kind.starts_with("DMS Replication ") => dms_event(event),
        _ if event.at("/detail/EventID").is_filled() && is_of_rds(event) => rds(event),
        _ => Ok(None),
    }
}

fn is_of_rds(event: &Event<'_>) -> bool {
    event.at("/source").text().is_some_and(|source| source.as_str() == "aws.rds")
}

/// What an event of RDS begins or ends.
enum Word {
    Trouble(&'static str),
    Over(&'static str),
    /// "No actions are necessary": RDS tries again by itself.
    Retried,
}

/// The events that say more than their category does.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_Events.Messages.html>
fn rds_word(id: &str) -> Option<Word> {
    Some(match id.strip_prefix("RDS-EVENT-")? {
        // Shut down; error on restart; failed, invalid parameters, incompatible network; a cluster's
        // failover failed.
        "0004" | "0022" | "0031" | "0035" | "0036" | "0069" => Word::Trouble("availability"),
        // Restarted; failed over, of which there are three; recovered, of which there are two; started;
        // activated; maintained.
        "0006" | "0015" | "0049" | "0071" | "0021" | "0053" | "0088" | "0051" | "0027" => {
            Word::Over("availability")
        }
        // Full and therefore shut down; low; cannot grow, for a reason, a maximum or a quota.
        "0221" | "0222" | "0223" | "0224" | "0254" => Word::Trouble("storage"),
        // Has grown, by hand or by itself.
        "0017" | "0218" => Word::Over("storage"),
        // Cannot grow just now.
        "0219" | "0220" | "0237" => Word::Retried,
        _ => return None,
    })
}

/// Trouble with an instance or cluster ends when it is available again, and with storage when that
/// has grown. Nothing ends another failure, which may be of something beside the database: it is a
/// thing of its own, so that no rule restarts a database because of it.
fn rds(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let id = event.at("/detail/EventID").required()?;
    let categories = event.at("/detail/EventCategories").joined();
    let has = |category: &str| {
        categories.as_ref().is_some_and(|all| all.as_str().split(", ").any(|one| one == category))
    };
    let (what, state) = match (rds_word(id.as_str()), has("low storage"), has("failure")) {
        (Some(Word::Trouble(what)), _, _) => (what, Firing),
        (Some(Word::Over(what)), _, _) => (what, Resolved),
        (None, true, _) => ("storage", Firing),
        (None, false, true) => ("failure", Firing),
        (Some(Word::Retried), _, _) | (None, false, false) => {
            let message = event.at("/detail/Message").text();
            return Ok(Some(event.note(&message.unwrap_or(id))));
        }
    };
    let arn = event.root.first(&["/detail/SourceArn", "/resources/0"]).required()?;
    let about = ("rds", what);
    let mut reading = event.alarm(about, (&id, state), vec![arn.clone()], event.at("/time"))?;
    reading.name(Some(arn.map(|arn| format!("RDS {what} {}", last_of(arn)).into())));
    reading.reason(event.at("/detail/Message").text());
    reading.label("EventCategories", categories)?;
    if event.at("/detail/SourceType").text().is_some_and(|kind| kind.as_str() == "DB_INSTANCE") {
        let name = arn.map(|arn| last_of(arn).into());
        reading.dimension("DBInstanceIdentifier", Some(name))?;
    }
    reading.origin(Some(arn));
    Ok(Some(Read::one(reading)))
}

/// The state of a job of AWS Backup.
pub(super) fn backup_state(state: &Said<'_>) -> Option<AlarmState> {
    match state.as_str() {
        "COMPLETED" => Some(Resolved),
        "FAILED" | "ABORTED" | "EXPIRED" | "PARTIAL" => Some(Firing),
        _ => None,
    }
}

/// A backup that failed is made good by the next of the same resource.
fn backup(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let said = event.at("/detail/state").required()?;
    let Some(state) = backup_state(&said) else { return Ok(Some(event.note(&said))) };
    let arn = event.root.first(&["/detail/resourceArn", "/resources/0"]).required()?;
    let about = ("backup", "backup_job");
    let mut reading = event.alarm(about, (&said, state), vec![arn.clone()], event.at("/time"))?;
    reading.name(Some(arn.map(|arn| format!("Backup of {}", last_of(arn)).into())));
    let why = event.root.first(&["/detail/statusMessage", "/detail/state"]);
    reading.reason(why.text());
    reading.dimension("resource", Some(arn.clone()))?;
    reading.label("backupJobId", event.at("/detail/backupJobId").scalar())?;
    reading.origin(Some(arn));
    Ok(Some(Read::one(reading)))
}

/// A job is trouble from a run that failed to one that succeeded.
fn glue(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let said = event.at("/detail/state").required()?;
    let state = match said.as_str() {
        "FAILED" | "TIMEOUT" | "ERROR" => Firing,
        "SUCCEEDED" => Resolved,
        _ => return Ok(Some(event.note(&said))),
    };
    let job = event.at("/detail/jobName").required()?;
    let identity = event.here(job.clone());
    let mut reading = event.alarm(("glue", "job"), (&said, state), identity, event.at("/time"))?;
    reading.name(Some(job.map(|job| format!("Glue job {job}").into())));
    reading.severity(event.at("/detail/severity").text());
    reading.reason(event.at("/detail/message").text());
    reading.dimension("JobName", Some(job))?;
    reading.label("jobRunId", event.at("/detail/jobRunId").scalar())?;
    Ok(Some(Read::one(reading)))
}

/// DMS's words for a task or instance: what begins trouble and what ends it. A task that copies once
/// stops when it has done so.
/// <https://docs.aws.amazon.com/dms/latest/userguide/CHAP_Events.html>
/// Why it stopped: <https://docs.aws.amazon.com/dms/latest/APIReference/API_ReplicationTask.html>
fn dms_state(words: &str) -> Option<AlarmState> {
    let words = words.to_ascii_lowercase();
    if ["full_load_only_finished", "stopped_after_full_load"].iter().any(|why| words.contains(why))
    {
        return Some(Resolved);
    }
    let says = |any: &[&str]| any.iter().any(|word| words.contains(word));
    if says(&["failed", "failure", "stopped", "low storage", "storage is full"]) {
        Some(Firing)
    } else if says(&["started", "restarted", "recovered"]) {
        Some(Resolved)
    } else {
        None
    }
}

/// DMS through SNS: keys with spaces in them, and a time in UTC that does not say so.
fn dms_message(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let said = event.at("/Event Message").required()?;
    let Some(state) = dms_state(said.as_str()) else { return Ok(Some(event.note(&said))) };
    let id = event.root.first(&["/SourceId", "/Identifier Link"]).required()?;
    let time = event.at("/Event Time");
    let kind = event.at("/Event Source").required()?;
    let mut reading = dms(event, (&said, state), (id, kind), time)?;
    reading.reason(Some(said));
    reading.label("Event ID", event.at("/Event ID").scalar())?;
    reading.link(event.at("/Identifier Link").text());
    Ok(Some(Read::one(reading)))
}

/// DMS through EventBridge: a word for what happened to a task; of an instance only the categories are
/// documented. <https://docs.aws.amazon.com/dms/latest/userguide/CHAP_EventBridge.html>
fn dms_event(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let said = event.root.first(&["/detail/detailMessage", "/detail/eventType"]).required()?;
    let word = event.at("/detail/eventType").required()?;
    let category = event.at("/detail/category").text();
    let category = category.map(|said| said.as_str().replace(' ', "").to_ascii_lowercase());
    let state = match category.as_deref() {
        Some("failure" | "lowstorage") => Some(Firing),
        // Why it stopped is told in the message alone.
        _ if word.as_str().ends_with("_STOPPED") => {
            dms_state(said.as_str()).filter(|state| *state == Resolved).or(Some(Firing))
        }
        _ => dms_state(&word.as_str().replace('_', " ")),
    };
    let Some(state) = state else {
        return Ok(Some(event.note(&word)));
    };
    let arn = event.at("/resources/0").required()?;
    let kind = event.at("/detail/type").text().unwrap_or_else(|| word.clone());
    let id = arn.map(|arn| last_of(arn).into());
    let mut reading = dms(event, (&word, state), (id, kind), event.at("/time"))?;
    reading.reason(Some(said));
    reading.origin(Some(arn));
    Ok(Some(Read::one(reading)))
}

fn dms<'a>(
    event: &Event<'a>,
    (word, state): (&Said<'a>, AlarmState),
    (id, kind): (Said<'a>, Said<'a>),
    time: crate::reading::Place<'a>,
) -> Result<Reading, DecodeError> {
    let identity = event.here(id.clone());
    let mut reading = event.alarm(("dms", "replication"), (word, state), identity, time)?;
    reading.name(Some(id.map(|id| format!("DMS {id}").into())));
    reading.dimension("SourceId", Some(id))?;
    reading.label("Event Source", Some(kind))?;
    Ok(reading)
}
