//! Whose credentials these are.

use jiff::Timestamp;
use untoil_actions::ReadError;

use crate::call::Call;
use crate::connect::Aws;
use crate::limits::Priority;

/// Who the credentials belong to, as AWS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's number.
    pub account: String,
    /// The role session's or user's ARN.
    pub arn: String,
    /// AWS's time of day when it answered, to the second.
    pub aws_time: Option<Timestamp>,
}

impl Aws {
    /// `GetCallerIdentity`, which needs no permission.
    ///
    /// # Errors
    /// [`ReadError`] when there are no credentials, they are not valid, or AWS does not answer.
    pub async fn identity(&self) -> Result<Identity, ReadError> {
        let call = Call::new("sts:GetCallerIdentity", "*");
        let sent = self.sts.get_caller_identity();
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let (what, priority) = ("the caller's identity", Priority::Report);
        let answer = self.shared.gate.read((&call, priority), what, send).await?;
        Ok(Identity {
            account: answer.account.unwrap_or_default(),
            arn: answer.arn.unwrap_or_default(),
            aws_time: call.date(),
        })
    }
}
