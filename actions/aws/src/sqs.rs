//! Queues, over SQS.
//!
//! A queue is a way in and changes nothing in the account but itself, so a dry run has it too. Calls
//! go past the gate: SQS has no rate that a few queues could reach, and a receipt waits by design.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::error::{DisplayErrorContext, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName,
};
use untoil_intake::{HIDDEN, MESSAGES_MAX, Queue, QueueError, QueueMessage, WAIT};

/// One queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) url: String,
}

#[async_trait]
impl Queue for SqsQueue {
    fn name(&self) -> &str {
        &self.url
    }

    async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError> {
        let call = self.client.receive_message().queue_url(&self.url);
        let call = call.max_number_of_messages(i32::try_from(MESSAGES_MAX).unwrap_or(10));
        let call = call.wait_time_seconds(seconds(WAIT)).visibility_timeout(seconds(HIDDEN));
        let count = MessageSystemAttributeName::ApproximateReceiveCount;
        let call = call.message_system_attribute_names(count.clone());
        // Ten at most, within the message's size: some senders say in them what the body is about.
        let answer = call.message_attribute_names("All").send().await;
        let messages = answer.map_err(|error| failed(&error))?.messages.unwrap_or_default();
        let message = |message: aws_sdk_sqs::types::Message| {
            let receipts =
                message.attributes.as_ref().and_then(|all| all.get(&count)?.parse().ok());
            Some(QueueMessage {
                id: message.message_id?,
                receipt: message.receipt_handle?,
                body: message.body.unwrap_or_default(),
                receipts: receipts.unwrap_or(1),
                attributes: texts(message.message_attributes),
            })
        };
        Ok(messages.into_iter().filter_map(message).collect())
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), QueueError> {
        let mut call = self.client.delete_message_batch().queue_url(&self.url);
        for (n, receipt) in receipts.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(n.to_string());
            let entry = entry.receipt_handle(receipt).build();
            call = call.entries(entry.map_err(|error| QueueError(error.to_string()))?);
        }
        let answer = call.send().await.map_err(|error| failed(&error))?;
        all(answer.failed())
    }

    async fn hide(&self, receipts: &[String], how_long: Duration) -> Result<(), QueueError> {
        let mut call = self.client.change_message_visibility_batch().queue_url(&self.url);
        for (n, receipt) in receipts.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string());
            let entry = entry.receipt_handle(receipt).visibility_timeout(seconds(how_long)).build();
            call = call.entries(entry.map_err(|error| QueueError(error.to_string()))?);
        }
        let answer = call.send().await.map_err(|error| failed(&error))?;
        all(answer.failed())
    }
}

/// The attributes that are texts.
fn texts<A>(attributes: Option<A>) -> BTreeMap<String, String>
where
    A: IntoIterator<Item = (String, MessageAttributeValue)>,
{
    let texts = attributes.into_iter().flatten();
    texts.filter_map(|(name, value)| Some((name, value.string_value?))).collect()
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

/// Whether a batch was done whole.
fn all(failed: &[aws_sdk_sqs::types::BatchResultErrorEntry]) -> Result<(), QueueError> {
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(QueueError(format!(
            "{} of the messages: {}",
            failed.len(),
            first.message().unwrap_or_else(|| first.code())
        ))),
    }
}

fn failed<E, R>(error: &SdkError<E, R>) -> QueueError
where
    SdkError<E, R>: std::error::Error,
{
    QueueError(DisplayErrorContext(error).to_string())
}
