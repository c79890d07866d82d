//! Automation: a runbook, started once.

use aws_sdk_ssm::types::{AutomationExecutionFilter, AutomationExecutionFilterKey, Tag};
use jiff::Timestamp;
use untoil_actions::{Automation, CallError, ReadError, StartAutomation};
use untoil_guard::Clearance;

use crate::call::{Call, bounded, refused};
use crate::ssm::{SsmEyes, SsmHands, is_pinned, unreadable};
use crate::ssm_command::whole_seconds;

/// The tag on every execution of ours, for people and for IAM conditions; its value is the marker.
pub(crate) const TAG: &str = "untoil";

/// Characters of a failure message or of outputs that are kept.
const DETAIL_MAX: usize = 2_000;

/// Pages that are read to find an execution. The filter leaves one at most; SSM may answer empty
/// pages before it.
const PAGES_MAX: usize = 10;

/// Starts a runbook; answers the execution's id.
///
/// The marker is the value of one tag and the *key* of another: executions can be searched by tag
/// key only, and their list does not tell tags.
pub(crate) async fn start(
    hands: &SsmHands,
    may: &Clearance,
    what: StartAutomation,
) -> Result<String, CallError> {
    if !is_pinned(&what.version) {
        let why = format!("version `{}` of `{}` is not a number", what.version, what.document);
        return Err(refused("VersionNotPinned", why));
    }
    let resource = format!(
        "arn:aws:ssm:{}:*:automation-definition/{}:{}",
        hands.shared.region, what.document, what.version
    );
    let call = Call::new("ssm:StartAutomationExecution", resource);
    let tag = |key: &str, value: &str| {
        Tag::builder().key(key).value(value).build().expect("key and value are set")
    };
    let marker = may.marker();
    let mut sent = hands
        .client
        .start_automation_execution()
        .document_name(&what.document)
        .document_version(&what.version)
        .client_token(&what.client_token)
        .tags(tag(TAG, &marker))
        .tags(tag(&marker, TAG));
    for (name, values) in what.params {
        sent = sent.parameters(name, values);
    }
    let send = |watch| sent.customize().interceptor(watch).send();
    let answer = hands.shared.gate.write(&call, may, send).await?;
    answer.automation_execution_id.filter(|id| !id.is_empty()).ok_or_else(|| CallError::Unknown {
        why: "ssm:StartAutomationExecution: the answer holds no execution id".to_owned(),
    })
}

/// Looks where an execution stands.
pub(crate) async fn look(eyes: &SsmEyes, id: &str) -> Result<Automation, ReadError> {
    let resource = format!("arn:aws:ssm:{}:*:automation-execution/{id}", eyes.shared.region);
    let call = Call::new("ssm:GetAutomationExecution", resource);
    let sent = eyes.client.get_automation_execution().automation_execution_id(id);
    let what = format!("automation execution `{id}`");
    let send = |watch| sent.clone().customize().interceptor(watch).send();
    let answer = eyes.shared.gate.read((&call, eyes.priority), &what, send).await?;
    let Some(one) = answer.automation_execution else {
        return Err(ReadError::Unavailable { why: format!("{what}: the answer is empty") });
    };
    let status = one.automation_execution_status.map(|status| status.as_str().to_owned());
    let detail = detail(one.failure_message, one.outputs);
    Ok(automation(id.to_owned(), status.unwrap_or_default(), detail))
}

/// Looks for the execution that carries a marker.
///
/// # Errors
/// [`ReadError::Unavailable`] also when there are more pages than are read: not having seen it must
/// mean that it is not there.
pub(crate) async fn with(
    eyes: &SsmEyes,
    marker: &str,
    since: Timestamp,
) -> Result<Option<Automation>, ReadError> {
    if marker.is_empty() {
        return Err(unreadable("EmptyMarker", "an empty marker would find everything".to_owned()));
    }
    let call = Call::new("ssm:DescribeAutomationExecutions", "*");
    let filter = |key: AutomationExecutionFilterKey, value: String| {
        AutomationExecutionFilter::builder()
            .key(key)
            .values(value)
            .build()
            .expect("key and values are set")
    };
    let mut next: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let page = eyes
            .client
            .describe_automation_executions()
            .filters(filter(AutomationExecutionFilterKey::TagKey, marker.to_owned()))
            .filters(filter(AutomationExecutionFilterKey::StartTimeAfter, whole_seconds(since)))
            .set_next_token(next.take());
        let send = |watch| page.clone().customize().interceptor(watch).send();
        let what = "the list of automations";
        let answer = eyes.shared.gate.read((&call, eyes.priority), what, send).await?;
        if let Some(one) = answer.automation_execution_metadata_list.unwrap_or_default().pop() {
            let status = one.automation_execution_status.map(|status| status.as_str().to_owned());
            let detail = detail(one.failure_message, one.outputs);
            let id = one.automation_execution_id.unwrap_or_default();
            return Ok(Some(automation(id, status.unwrap_or_default(), detail)));
        }
        next = answer.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(None);
        }
    }
    let why = format!("more than {PAGES_MAX} empty pages of automations with `{marker}`");
    Err(ReadError::Unavailable { why })
}

fn automation(id: String, status: String, detail: String) -> Automation {
    let succeeded = matches!(status.as_str(), "Success" | "CompletedWithSuccess");
    let ended = succeeded
        || matches!(
            status.as_str(),
            "TimedOut"
                | "Cancelled"
                | "Failed"
                | "Rejected"
                | "Exited"
                | "CompletedWithFailure"
                | "ChangeCalendarOverrideRejected"
        );
    Automation { id, ended, succeeded, status, detail }
}

/// The failure message, otherwise the outputs as `name: value, value`, one a line, in their order.
fn detail(
    failure: Option<String>,
    outputs: Option<impl IntoIterator<Item = (String, Vec<String>)>>,
) -> String {
    if let Some(failure) = failure.filter(|text| !text.is_empty()) {
        return bounded(&failure, DETAIL_MAX);
    }
    let mut lines: Vec<String> = outputs
        .into_iter()
        .flatten()
        .map(|(name, values)| format!("{name}: {}", values.join(", ")))
        .collect();
    lines.sort();
    bounded(&lines.join("\n"), DETAIL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_an_execution_is_ended_or_not() {
        let ended = [
            ("Success", true),
            ("CompletedWithSuccess", true),
            ("TimedOut", false),
            ("Cancelled", false),
            ("Failed", false),
            ("Rejected", false),
            ("Exited", false),
            ("CompletedWithFailure", false),
            ("ChangeCalendarOverrideRejected", false),
        ];
        for (status, succeeded) in ended {
            let one = automation("id".into(), status.into(), String::new());
            assert!(one.ended && one.succeeded == succeeded, "{status}");
        }
        for status in
            ["Pending", "InProgress", "Waiting", "Approved", "Scheduled", "Cancelling", ""]
        {
            let one = automation("id".into(), status.into(), String::new());
            assert!(!one.ended && !one.succeeded, "{status}");
        }
    }
}
