//! One call: what is known of it while it is under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use jiff::Timestamp;
use untoil_actions::CallError;
use untoil_guard::Clearance;

use crate::connect::Shared;

/// An operation, and the resource it is about as far as we know it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `ssm:SendCommand`, as IAM names it.
    pub(crate) operation: &'static str,
    /// An ARN, or `*`.
    pub(crate) resource: String,
    watch: Watch,
}

impl Call {
    pub(crate) fn new(operation: &'static str, resource: impl Into<String>) -> Self {
        Self { operation, resource: resource.into(), watch: Watch::default() }
    }

    /// What the request must carry. Only the gate asks for it, so that no request goes round it.
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Whether any try was handed to the HTTP client: before that, nothing can have happened.
    pub(crate) fn transmitted(&self) -> bool {
        self.watch.0.transmitted.load(Ordering::SeqCst)
    }

    /// The `Date` of the last answer: AWS's clock, to the second.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        *self.watch.0.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees whether a request left, and what time the answer was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    transmitted: AtomicBool,
    date: Mutex<Option<Timestamp>>,
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "untoil.watch"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.transmitted.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        *self.0.date.lock().unwrap_or_else(PoisonError::into_inner) =
            date.as_ref().and_then(timestamp);
        Ok(())
    }
}

/// The SDK's time as ours.
pub(crate) fn timestamp(at: &DateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(at.as_nanos()).ok()
}

/// Our time as the SDK's.
pub(crate) fn date_time(at: Timestamp) -> DateTime {
    DateTime::from_nanos(at.as_nanosecond()).unwrap_or_else(|_| DateTime::from_secs(at.as_second()))
}

/// A look before a write: the clearance is still good, and it is for this target.
///
/// # Errors
/// [`CallError::NotSent`] when its time is over, [`CallError::Refused`] when it is for another target.
pub(crate) fn check(
    may: &Clearance,
    shared: &Shared,
    target: Option<&str>,
) -> Result<(), CallError> {
    if let Some(target) = target
        && may.step().target.as_str() != target
    {
        let why = format!("the clearance is for `{}`, not for `{target}`", may.step().target);
        return Err(refused("ClearanceMismatch", why));
    }
    in_time(may, shared.clock.now())
}

/// Whether the clearance is still good.
///
/// # Errors
/// [`CallError::NotSent`] when its time is over.
pub(crate) fn in_time(may: &Clearance, now: Timestamp) -> Result<(), CallError> {
    if now > may.not_after() {
        let why = format!("the clearance ended at {}, and it is {now}", may.not_after());
        return Err(CallError::NotSent { why });
    }
    Ok(())
}

/// A refusal of our own, before anything is sent.
pub(crate) fn refused(code: &str, why: impl Into<String>) -> CallError {
    CallError::Refused { code: code.to_owned(), why: why.into(), missing: None }
}

/// At most `max` characters of a text.
pub(crate) fn bounded(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}
