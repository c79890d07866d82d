//! How a queue is set up, for the doctor. No message is kept, hidden or deleted.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;
use untoil_actions::ReadError;

use crate::call::Call;
use crate::limits::Priority;
use crate::sqs::SqsQueue;

/// How a queue is set up, and what is in it, as far as SQS knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueState {
    /// Messages that can be received now.
    pub waiting: u64,
    /// How long a message is kept.
    pub kept: Duration,
    /// How long a new message is held back.
    pub delay: Duration,
    /// Where messages go that were received too often.
    pub redrive: Option<Redrive>,
    /// The key of KMS that messages are encrypted with, if it is one of the account's.
    pub key: Option<String>,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue's ARN.
    pub to: String,
    /// How often a message may be received before.
    pub receipts_max: u32,
}

impl Redrive {
    /// Fewer receipts than this before the dead-letter queue, and two crashes in a row hide an alarm.
    pub const RECEIPTS_MIN: u32 = 3;
}

impl QueueState {
    /// Whether trying to receive moves no alarm to the dead-letter queue unread. That none waits is
    /// known to SQS roughly only, so the try may be a receipt of one, and that must leave others.
    #[must_use]
    pub fn spares_a_receipt(&self) -> bool {
        let enough = |redrive: &Redrive| redrive.receipts_max >= Redrive::RECEIPTS_MIN;
        self.waiting == 0 && self.redrive.as_ref().is_none_or(enough)
    }
}

impl SqsQueue {
    /// How it is set up.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there, may not be looked at, or SQS does not answer.
    pub async fn state(&self) -> Result<QueueState, ReadError> {
        let call = Call::new("sqs:GetQueueAttributes", self.arn.clone());
        let sent = self.client.get_queue_attributes().queue_url(&self.url);
        let sent = sent.attribute_names(QueueAttributeName::All);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let gate = &self.shared.gate;
        let answer = gate.read((&call, Priority::Report), &self.arn, send).await?;
        let all = answer.attributes.unwrap_or_default();
        let text = |name: QueueAttributeName| all.get(&name).map(String::as_str);
        let number =
            |name| text(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let key = text(QueueAttributeName::KmsMasterKeyId).filter(|key| !key.is_empty());
        Ok(QueueState {
            waiting: number(QueueAttributeName::ApproximateNumberOfMessages),
            kept: Duration::from_secs(number(QueueAttributeName::MessageRetentionPeriod)),
            delay: Duration::from_secs(number(QueueAttributeName::DelaySeconds)),
            redrive: text(QueueAttributeName::RedrivePolicy).and_then(redrive),
            key: key.map(str::to_owned),
        })
    }

    /// Tries whether messages may be received. Ask only where [`QueueState::spares_a_receipt`]: a
    /// message that is there all the same is not hidden, so others get it at once, but this counts as
    /// a receipt of it.
    ///
    /// # Errors
    /// [`ReadError`] when it is not there, may not be read, or SQS does not answer.
    pub async fn receive_nothing(&self) -> Result<(), ReadError> {
        let call = Call::new("sqs:ReceiveMessage", self.arn.clone());
        let sent = self.client.receive_message().queue_url(&self.url);
        // Hidden for no time, it needs no giving back, which could fail.
        let sent = sent.max_number_of_messages(1).wait_time_seconds(0).visibility_timeout(0);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let gate = &self.shared.gate;
        gate.read((&call, Priority::Report), &self.arn, send).await.map(drop)
    }
}

/// AWS's own JSON in an attribute; the number comes as text or as a number.
fn redrive(text: &str) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(text).ok()?;
    let count = &policy["maxReceiveCount"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    Some(Redrive {
        to: policy["deadLetterTargetArn"].as_str()?.to_owned(),
        receipts_max: u32::try_from(count).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiving_is_tried_only_where_no_alarm_can_be_moved_by_it() {
        let state = |waiting, receipts: Option<u32>| QueueState {
            waiting,
            kept: Duration::ZERO,
            delay: Duration::ZERO,
            redrive: receipts.map(|receipts_max| Redrive { to: "arn:d".into(), receipts_max }),
            key: None,
        };
        for (waiting, receipts, tried) in [
            (0, None, true),
            (0, Some(3), true),
            (0, Some(2), false),
            (0, Some(1), false),
            (1, None, false),
            (1, Some(5), false),
        ] {
            let case = format!("{waiting} wait, {receipts:?} receipts");
            assert_eq!(state(waiting, receipts).spares_a_receipt(), tried, "{case}");
        }
    }

    #[test]
    fn a_redrive_policy_is_read_with_its_number_in_either_spelling() {
        for count in ["5", "\"5\""] {
            let text = format!(r#"{{"deadLetterTargetArn":"arn:d","maxReceiveCount":{count}}}"#);
            assert_eq!(redrive(&text), Some(Redrive { to: "arn:d".into(), receipts_max: 5 }));
        }
        assert_eq!(redrive("{}"), None);
        assert_eq!(redrive(""), None);
    }
}
