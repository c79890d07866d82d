//! Messages of services that write prose to SNS: Elastic Beanstalk, AWS Budgets, AWS Backup and the
//! older Auto Scaling. What they say in lines of `Key: value` is read as such.

use untoil_model::AlarmState::{Firing, NoData, Resolved};

use super::{Event, Letter, data, envelope_of, last_of};
use crate::json::{Object, Value};
use crate::reading::Read;
use crate::{DecodeError, bounds};

/// Lines of a text that are looked at: the longest of these messages has thirty.
const LINES_MAX: usize = 64;

/// The message, its lines of `Key: value`, and its envelope as one value.
pub(super) fn written<'a>(message: &'a str, letter: &Letter<'a>) -> Value<'a> {
    let lines: Object<'a> = message
        .lines()
        .take(LINES_MAX)
        .filter_map(|line| line.split_once(':'))
        .filter(|(key, _)| key.len() <= bounds::NAME_BYTES_MAX)
        .map(|(key, value)| (key.trim(), Value::from(value.trim())))
        .collect();
    envelope_of(letter, lines)
}

/// What a text says; `None` when it is not known.
pub(super) fn read(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    for reader in [backup, beanstalk, budget] {
        if let Some(read) = reader(event)? {
            return Ok(Some(read));
        }
    }
    // A lifecycle hook, or what else the older Auto Scaling writes: its errors come as JSON.
    let word = event.root.first(&["/Lines/LifecycleTransition", "/Lines/Event"]).text();
    Ok(word.filter(|word| word.as_str().starts_with("autoscaling:")).map(|word| event.note(&word)))
}

/// AWS Backup: the state is in an attribute, the resource in the prose. Attributes are not signed, so
/// one that contradicts the prose is refused.
fn backup(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let kind = event.at("/MessageAttributes/EventType/Value").text();
    let Some(kind) = kind.filter(|kind| kind.as_str().ends_with("_JOB")) else { return Ok(None) };
    let said = event.at("/MessageAttributes/State/Value").required()?;
    let Some(state) = data::backup_state(&said) else { return Ok(Some(event.note(&said))) };
    let message = event.at("/Message").required()?;
    let is_good = message.as_str().contains("completed successfully");
    if is_good != (state == Resolved) {
        return Err(said.wrong("what the message itself says"));
    }
    let resource = message.as_str().split("Resource ARN :").nth(1);
    let resource = resource.and_then(|rest| rest.split_whitespace().next());
    let resource = resource.map(|arn| arn.trim_end_matches('.').to_owned());
    let resource = resource.map(|arn| message.map(|_| arn.into()));
    let id = resource.or_else(|| event.at("/MessageAttributes/Id/Value").text());
    let id = id.ok_or_else(|| DecodeError::missing("Resource ARN"))?;
    let what = match kind.as_str() {
        "RESTORE_JOB" => "restore_job",
        "COPY_JOB" => "copy_job",
        _ => "backup_job",
    };
    let time = event.at("/Timestamp");
    let mut reading = event.alarm(("backup", what), (&said, state), vec![id.clone()], time)?;
    reading.name(Some(id.map(|id| format!("Backup of {}", last_of(id)).into())));
    reading.reason(Some(message));
    reading.account(event.at("/MessageAttributes/AccountId/Value").text());
    reading.dimension("resource", Some(id))?;
    reading.label("backupJobId", event.at("/MessageAttributes/Id/Value").text())?;
    Ok(Some(Read::one(reading)))
}

/// Elastic Beanstalk: only changes of an environment's health are alarms.
fn beanstalk(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let Some(environment) = event.at("/Lines/Environment").text() else { return Ok(None) };
    let message = event.at("/Lines/Message").required()?;
    let to = message.as_str().strip_prefix("Environment health has transitioned from ");
    let to = to.and_then(|rest| rest.split_once(" to ")).map(|(_, rest)| rest);
    let to = to.and_then(|rest| rest.split(['.', ' ']).next()).unwrap_or("").to_owned();
    let state = match to.as_str() {
        "Ok" | "Info" => Resolved,
        "Warning" | "Degraded" | "Severe" => Firing,
        "No" | "Unknown" | "Pending" | "Suspended" => NoData,
        _ => return Ok(Some(event.note(&message))),
    };
    let word = message.map(|_| to.into());
    let identity = event.here(environment.clone());
    let about = ("elasticbeanstalk", "health");
    let time = event.root.first(&["/Lines/Timestamp", "/Timestamp"]);
    let mut reading = event.alarm(about, (&word, state), identity, time)?;
    reading.name(Some(environment.map(|name| format!("Beanstalk {name}").into())));
    reading.severity(Some(word));
    reading.reason(Some(message));
    reading.dimension("EnvironmentName", Some(environment))?;
    reading.label("Application", event.at("/Lines/Application").text())?;
    reading.link(event.at("/Lines/Environment URL").text());
    Ok(Some(Read::one(reading)))
}

/// AWS Budgets: over its threshold. It never says that it is under it again. No page of AWS's was
/// found that shows the text; people recorded it in 2020, 2024 and 2026, unchanged. What is told of it:
/// <https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_budgets_Notification.html>
fn budget(event: &Event<'_>) -> Result<Option<Read>, DecodeError> {
    let Some(name) = event.at("/Lines/Budget Name").text() else { return Ok(None) };
    let threshold = event.at("/Lines/Alert Threshold").required()?;
    let kind = event.at("/Lines/Alert Type").required()?;
    let amount = match kind.as_str() {
        "FORECASTED" => event.at("/Lines/FORECASTED Amount"),
        _ => event.at("/Lines/ACTUAL Amount"),
    };
    let mut identity = event.here(name.clone());
    identity.extend([kind.clone(), threshold.clone()]);
    let about = ("budgets", "budget");
    let time = event.at("/Timestamp");
    let mut reading = event.alarm(about, (&kind, Firing), identity, time)?;
    reading.name(Some(name.map(|name| format!("Budget {name}").into())));
    reading.severity(Some(kind.clone()));
    let amount = amount.text();
    let reached = amount.as_ref().map_or_else(|| "-".to_owned(), |said| said.as_str().to_owned());
    let why = threshold.map(|limit| format!("{} is {reached}, {limit}", kind.as_str()).into());
    reading.reason(Some(why));
    reading.value(amount.and_then(|said| money(&said)));
    reading.threshold(money(&threshold));
    reading.dimension("BudgetName", Some(name))?;
    reading.label("Budgeted Amount", event.at("/Lines/Budgeted Amount").text())?;
    reading.label("Budget Type", event.at("/Lines/Budget Type").text())?;
    Ok(Some(Read::one(reading)))
}

/// The number in `> $1,234.50`; none when there is not just one.
fn money<'a>(said: &crate::reading::Said<'a>) -> Option<crate::reading::Said<'a, f64>> {
    let number: String =
        said.as_str().chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    let number: f64 = number.parse().ok()?;
    number.is_finite().then(|| said.map(|_| number))
}
