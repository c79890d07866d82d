//! What an answer of AWS, or its absence, proves.
//!
//! The caution runs one way: `Refused`, `Throttled` and `NotSent` are said only when it is certain
//! that nothing happened. Everything else is `Unknown`, and the engine looks before it does anything.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use untoil_actions::{CallError, ReadError};

use crate::call::{Call, bounded};
use crate::missing::missing;

/// An error's text as it is kept; the longest of AWS's own are about 600 characters.
const WHY_MAX: usize = 800;

/// How much of an unreadable body is searched for words of denial.
const BODY_MAX: usize = 4_096;

/// Codes that mean "too much at the moment, nothing was done".
///
/// The first fourteen are the SDKs' own list (botocore's standard retry mode). The others are
/// modelled errors with the same meaning: a change of the same thing is under way, or a quota of
/// running things is used up. `ResourceContention` is among them although its status is 500: it says
/// what happened, unlike a bare 500.
pub const THROTTLED: [&str; 21] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
    "AutomationExecutionLimitExceededException",
    "ConcurrentUpdateException",
    "ResourceContention",
    "ResourceContentionFault",
    "ScalingActivityInProgress",
    "ScalingActivityInProgressFault",
    "UpdateInProgressException",
];

/// Those of them that speak of the number of calls, whatever they are about. The others are about
/// one thing that is busy, and say nothing of the rate.
pub const TOO_FAST: [&str; 11] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes of failures inside AWS, whatever their status: nothing is proved.
pub const FAULTS: [&str; 11] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalServerException",
    "InternalServiceError",
    "RequestTimeout",
    "RequestTimeoutException",
    "ServerException",
    "ServiceException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
];

/// Codes that mean that the thing itself does not exist, for reads.
const ABSENT: [&str; 10] = [
    "AWS.SimpleQueueService.NonExistentQueue",
    "AutomationExecutionNotFoundException",
    "ClusterNotFoundException",
    "InvalidDocument",
    "InvalidDocumentVersion",
    "InvocationDoesNotExist",
    "QueueDoesNotExist",
    "ResourceNotFound",
    "ResourceNotFoundException",
    "ServiceNotFoundException",
];

/// What a failed write proves.
pub(crate) fn of_write<E>(call: &Call, error: &SdkError<E, HttpResponse>) -> CallError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let op = call.operation;
    if !call.transmitted() {
        return CallError::NotSent { why: format!("{op}: {}", chain(error)) };
    }
    match error {
        SdkError::ServiceError(answer) => {
            of_answer(call, answer.raw(), answer.err().code(), answer.err().message())
        }
        // The body could not be read, but a bare 403 is one.
        SdkError::ResponseError(answer) if matches!(answer.raw().status().as_u16(), 400..) => {
            of_answer(call, answer.raw(), None, None)
        }
        SdkError::DispatchFailure(_) if never_connected(error) => {
            CallError::NotSent { why: format!("{op}: {}", chain(error)) }
        }
        SdkError::ConstructionFailure(_)
        | SdkError::TimeoutError(_)
        | SdkError::DispatchFailure(_)
        | SdkError::ResponseError(_)
        // The SDK may grow variants; none of them can prove more than these.
        | _ => CallError::Unknown { why: format!("{op}: {}", chain(error)) },
    }
}

/// What a failed read means.
pub(crate) fn of_read<E>(call: &Call, what: &str, error: &SdkError<E, HttpResponse>) -> ReadError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match of_write(call, error) {
        CallError::Refused { code, .. } if ABSENT.contains(&code.as_str()) => {
            ReadError::NotFound { what: what.to_owned() }
        }
        CallError::Refused { code, why, missing } => ReadError::Refused { code, why, missing },
        CallError::Throttled { why, .. } => {
            ReadError::Unavailable { why: format!("throttled: {why}") }
        }
        CallError::NotSent { why } | CallError::Unknown { why } => ReadError::Unavailable { why },
    }
}

/// Whether AWS says that calls come too fast.
pub(crate) fn is_too_fast<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata,
{
    match error.code().filter(|code| !code.is_empty()) {
        Some(code) => TOO_FAST.contains(&base(code)),
        None => error.raw_response().is_some_and(|raw| raw.status().as_u16() == 429),
    }
}

fn of_answer(
    call: &Call,
    raw: &HttpResponse,
    code: Option<&str>,
    message: Option<&str>,
) -> CallError {
    let body = raw.body().bytes().unwrap_or_default();
    let message = message.map_or_else(
        || String::from_utf8_lossy(&body[..body.len().min(BODY_MAX)]).into_owned(),
        str::to_owned,
    );
    let after = raw.headers().get("retry-after");
    let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    of_status(call, raw.status().as_u16(), code, &message, after)
}

/// The table itself: status and code of an answer.
fn of_status(
    call: &Call,
    status: u16,
    code: Option<&str>,
    message: &str,
    retry_after: Option<Duration>,
) -> CallError {
    let bare = status.to_string();
    let code = code.filter(|code| !code.is_empty());
    let told = code.map(base).unwrap_or(&bare);
    let words = if message.trim().is_empty() { "no message" } else { message.trim() };
    let why = bounded(&format!("{}: {words}", call.operation), WHY_MAX);
    if THROTTLED.contains(&told) || (code.is_none() && status == 429) {
        return CallError::Throttled { why: format!("{told}: {why}"), retry_after };
    }
    let proves = match (status, code) {
        (400..=499, Some(_)) => !FAULTS.contains(&told),
        // Without a code it may be a proxy's answer; these two are said before anything is done.
        (401 | 403, None) => true,
        _ => false,
    };
    if proves {
        let missing = missing(told, message, call);
        return CallError::Refused { code: told.to_owned(), why, missing };
    }
    CallError::Unknown { why: format!("{status} {told}: {why}") }
}

/// A code without its namespace, as JSON protocols may send it: `com.amazonaws.ssm#Invalid…`.
fn base(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.split(':').next().unwrap_or(code)
}

/// Whether the HTTP client failed while it was still making the connection.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|cause| {
        let client = cause.downcast_ref::<hyper_util::client::legacy::Error>();
        client.is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in sources(error) {
        let text = cause.to_string();
        if !told.contains(&text) {
            told.push(text);
        }
    }
    bounded(&told.join(": "), WHY_MAX)
}

fn sources<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // A chain of causes is a handful long; the bound only guards against a cycle.
    const CAUSES_MAX: usize = 16;
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
    .take(CAUSES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &CallError) -> &'static str {
        match error {
            CallError::Refused { missing: None, .. } => "refused",
            CallError::Refused { missing: Some(_), .. } => "missing",
            CallError::Throttled { .. } => "throttled",
            CallError::NotSent { .. } => "not sent",
            CallError::Unknown { .. } => "unknown",
        }
    }

    #[test]
    fn every_status_and_code_has_one_meaning() {
        let table: &[(u16, Option<&str>, &str)] = &[
            (400, Some("ValidationException"), "refused"),
            (400, Some("InvalidInstanceId"), "refused"),
            (400, Some("InvalidParameterException"), "refused"),
            (400, Some("ClientException"), "refused"),
            (400, Some("IdempotentParameterMismatch"), "refused"),
            (400, Some("LimitExceeded"), "refused"),
            (400, Some("ExpiredTokenException"), "refused"),
            (403, Some("InvalidSignatureException"), "refused"),
            (400, Some("AccessDeniedException"), "missing"),
            (403, Some("AccessDenied"), "missing"),
            (403, Some("UnauthorizedOperation"), "missing"),
            (403, None, "missing"),
            (401, None, "refused"),
            (400, Some("ThrottlingException"), "throttled"),
            (400, Some("Throttling"), "throttled"),
            (503, Some("RequestLimitExceeded"), "throttled"),
            (429, Some("TooManyRequestsException"), "throttled"),
            (429, None, "throttled"),
            (500, Some("ResourceContention"), "throttled"),
            (400, Some("com.amazonaws.ecs#UpdateInProgressException"), "throttled"),
            (400, Some("ScalingActivityInProgress"), "throttled"),
            (429, Some("AutomationExecutionLimitExceededException"), "throttled"),
            (500, Some("InternalServerError"), "unknown"),
            (400, Some("InternalServerError"), "unknown"),
            (500, Some("ServerException"), "unknown"),
            (503, Some("ServiceUnavailable"), "unknown"),
            (500, Some("ValidationException"), "unknown"),
            (500, None, "unknown"),
            (502, None, "unknown"),
            (400, None, "unknown"),
            (404, None, "unknown"),
            (408, Some("RequestTimeout"), "unknown"),
            (302, None, "unknown"),
            (200, None, "unknown"),
        ];
        let call = Call::new("ssm:SendCommand", "*");
        for (status, code, gives) in table {
            let error = of_status(&call, *status, *code, "words", None);
            assert_eq!(kind(&error), *gives, "{status} {code:?}: {error}");
        }
    }

    #[test]
    fn a_throttled_answer_keeps_its_retry_after() {
        let call = Call::new("ecs:UpdateService", "*");
        let error = of_status(
            &call,
            400,
            Some("ThrottlingException"),
            "Rate exceeded",
            Some(Duration::from_secs(7)),
        );
        let why = "ThrottlingException: ecs:UpdateService: Rate exceeded".to_owned();
        assert_eq!(error, CallError::Throttled { why, retry_after: Some(Duration::from_secs(7)) });
    }
}
