//! Run Command: one document, one instance, once.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ssm::types::{CommandFilter, CommandFilterKey, DocumentHashType};
use jiff::{Timestamp, Unit};
use untoil_actions::{CallError, Command, CommandState, ReadError, SendCommand};
use untoil_guard::Clearance;

use crate::call::{Call, refused, timestamp};
use crate::ssm::{SsmEyes, SsmHands, document_arn, is_instance, is_pinned, unreadable};

/// SSM's least and largest `TimeoutSeconds`.
const DELIVERY_SECS: std::ops::RangeInclusive<u64> = 30..=2_592_000;

/// Commands on one page; SSM's largest.
const PAGE: i32 = 50;

/// Pages that are read to find a command: 500 commands to one instance since an intent, which is
/// minutes old, are more than SSM would take.
const PAGES_MAX: usize = 10;

/// Sends a command; answers its id. The marker is its `Comment`, by which it can be found again.
pub(crate) async fn send(
    hands: &SsmHands,
    may: &Clearance,
    what: SendCommand,
) -> Result<String, CallError> {
    if !is_instance(&what.instance) {
        let why = format!("`{}` is not an instance's id", what.instance);
        return Err(refused("InvalidInstanceId", why));
    }
    if !is_pinned(&what.version) {
        let why = format!("version `{}` of `{}` is not a number", what.version, what.document);
        return Err(refused("VersionNotPinned", why));
    }
    // Both the document and the instance are checked by IAM; a denial names the one that failed.
    let call = Call::new("ssm:SendCommand", document_arn(&hands.shared, &what.document));
    let mut sent = hands
        .client
        .send_command()
        .instance_ids(&what.instance)
        .document_name(&what.document)
        .document_version(&what.version)
        .timeout_seconds(delivery_secs(what.delivery_timeout))
        .comment(may.marker())
        .max_concurrency("1")
        .max_errors("0");
    if let Some(sha256) = &what.sha256 {
        sent = sent.document_hash(sha256).document_hash_type(DocumentHashType::Sha256);
    }
    for (name, value) in what.params {
        sent = sent.parameters(name, vec![value]);
    }
    let send = |watch| sent.customize().interceptor(watch).send();
    let answer = hands.shared.gate.write(&call, may, send).await?;
    let id = answer.command.and_then(|command| command.command_id);
    id.filter(|id| !id.is_empty()).ok_or_else(|| CallError::Unknown {
        why: "ssm:SendCommand: the answer holds no command id".to_owned(),
    })
}

fn delivery_secs(timeout: Duration) -> i32 {
    let secs = timeout.as_secs().clamp(*DELIVERY_SECS.start(), *DELIVERY_SECS.end());
    i32::try_from(secs).expect("2,592,000 fits")
}

/// Looks where a command stands on its instance.
pub(crate) async fn look(eyes: &SsmEyes, id: &str, instance: &str) -> Result<Command, ReadError> {
    let call = Call::new("ssm:GetCommandInvocation", "*");
    let sent = eyes.client.get_command_invocation().command_id(id).instance_id(instance);
    let what = format!("command `{id}` on `{instance}`");
    let send = |watch| sent.clone().customize().interceptor(watch).send();
    let answer = eyes.shared.gate.read((&call, eyes.priority), &what, send).await?;
    let status = answer.status.as_ref().map(|status| status.as_str().to_owned());
    let status = told(answer.status_details.as_deref(), status.as_deref());
    let state = state_of(&status);
    Ok(Command {
        id: id.to_owned(),
        comment: answer.comment.unwrap_or_default(),
        requested_at: None,
        state,
        status,
        // -1 stands for "has not started, or was never received".
        exit_code: (state != CommandState::Going && answer.response_code != -1)
            .then_some(answer.response_code),
        stdout: answer.standard_output_content.unwrap_or_default(),
        stderr: answer.standard_error_content.unwrap_or_default(),
    })
}

/// Lists the commands that were sent to an instance since a time.
///
/// # Errors
/// [`ReadError::Unavailable`] also when there are more than fit: not having seen a command must
/// mean that it is not there.
pub(crate) async fn since(
    eyes: &SsmEyes,
    instance: &str,
    since: Timestamp,
) -> Result<Vec<Command>, ReadError> {
    if !is_instance(instance) {
        // Without an instance the API answers every command of the account.
        let why = format!("`{instance}` is not an instance's id");
        return Err(unreadable("InvalidInstanceId", why));
    }
    let call = Call::new("ssm:ListCommands", "*");
    let after = CommandFilter::builder()
        .key(CommandFilterKey::InvokedAfter)
        .value(whole_seconds(since))
        .build()
        .expect("key and value are set");
    let mut commands = BTreeMap::new();
    let mut next: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = eyes.client.list_commands().instance_id(instance).filters(after.clone());
        let page = page.max_results(PAGE).set_next_token(next.take());
        let send = |watch| page.clone().customize().interceptor(watch).send();
        let what = "the list of commands";
        let answer = eyes.shared.gate.read((&call, eyes.priority), what, send).await?;
        for one in answer.commands.unwrap_or_default() {
            let status = one.status.as_ref().map(|status| status.as_str().to_owned());
            let status = told(one.status_details.as_deref(), status.as_deref());
            let id = one.command_id.unwrap_or_default();
            let command = Command {
                id: id.clone(),
                comment: one.comment.unwrap_or_default(),
                requested_at: one.requested_date_time.as_ref().and_then(timestamp),
                state: state_of(&status),
                status,
                exit_code: None,
                stdout: String::new(),
                stderr: String::new(),
            };
            commands.insert((command.requested_at, id), command);
        }
        next = answer.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(commands.into_values().collect());
        }
    }
    let why = format!("more than {PAGES_MAX} pages of commands on `{instance}` since {since}");
    Err(ReadError::Unavailable { why })
}

/// `2026-01-02T03:04:05Z`: what SSM's filters take. Rounded down, so that nothing is left out.
pub(crate) fn whole_seconds(at: Timestamp) -> String {
    let floor = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
    at.round(floor).unwrap_or(at).to_string()
}

/// SSM's own word: the details where there are any, without the spaces that some answers have.
fn told(details: Option<&str>, status: Option<&str>) -> String {
    let word = details.filter(|word| !word.trim().is_empty()).or(status).unwrap_or_default();
    word.chars().filter(|c| !c.is_whitespace()).collect()
}

/// What a status says of the one invocation.
///
/// `DeliveryTimedOut` is reported also for scripts that ran, when the agent's answer was lost
/// (amazon-ssm-agent issue 316), and a cancelled command may have begun. A word that is not known
/// is waited for: the step's settle time bounds that.
fn state_of(status: &str) -> CommandState {
    match status {
        "Success" => CommandState::Success,
        "Failed" => CommandState::Failed,
        "Undeliverable" | "InvalidPlatform" | "AccessDenied" | "NoInstancesInTag"
        | "RateExceeded" | "LimitExceeded" => CommandState::NeverRan,
        "DeliveryTimedOut" | "ExecutionTimedOut" | "TimedOut" | "Cancelled" | "Terminated"
        | "Incomplete" => CommandState::Unclear,
        _ => CommandState::Going,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_an_invocation_is_understood_with_and_without_spaces() {
        use CommandState::{Failed, Going, NeverRan, Success, Unclear};
        let table = [
            ("Pending", Going),
            ("In Progress", Going),
            ("InProgress", Going),
            ("Delayed", Going),
            ("Cancelling", Going),
            ("Success", Success),
            ("Failed", Failed),
            ("Delivery Timed Out", Unclear),
            ("DeliveryTimedOut", Unclear),
            ("Execution Timed Out", Unclear),
            ("Cancelled", Unclear),
            ("Terminated", Unclear),
            ("Undeliverable", NeverRan),
            ("Invalid Platform", NeverRan),
            ("Access Denied", NeverRan),
            ("SomethingNew", Going),
            ("", Going),
        ];
        for (word, state) in table {
            assert_eq!(state_of(&told(Some(word), None)), state, "{word}");
        }
        assert_eq!(told(None, Some("TimedOut")), "TimedOut");
        assert_eq!(told(Some(""), Some("InProgress")), "InProgress");
    }

    #[test]
    fn the_delivery_timeout_stays_within_what_ssm_takes() {
        assert_eq!(delivery_secs(Duration::from_secs(5)), 30);
        assert_eq!(delivery_secs(Duration::from_mins(1)), 60);
        assert_eq!(delivery_secs(Duration::MAX), 2_592_000);
    }

    #[test]
    fn a_filter_time_has_whole_seconds_rounded_down() {
        let at: Timestamp = "2026-01-02T03:04:05.999999Z".parse().unwrap();
        assert_eq!(whole_seconds(at), "2026-01-02T03:04:05Z");
    }
}
