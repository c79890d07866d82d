//! Queues, over SQS.
//!
//! A queue is a way in and changes nothing in the account but itself, so a dry run has it too. Calls
//! go past the gate: SQS has no rate that a few queues could reach, and a receipt waits by design.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue, MessageSystemAttributeName,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use untoil_actions::ReadError;
use untoil_intake::{HIDDEN, MESSAGES_MAX, Queue, QueueError, QueueMessage, WAIT};

use crate::answer::of_read;
use crate::call::Call;
use crate::connect::Shared;
use crate::sqs_address::QueueAddress;

/// What taking messages from a queue needs, as IAM names it.
pub const TAKING: [&str; 3] =
    ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"];

/// One queue of SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) shared: Shared,
    pub(crate) url: String,
    pub(crate) arn: String,
}

impl SqsQueue {
    pub(crate) fn new(client: &aws_sdk_sqs::Client, shared: Shared, queue: &QueueAddress) -> Self {
        let arn = queue.arn(&shared.region);
        let client = match queue.region() {
            // A queue is asked in its own region, wherever we are.
            Some(region) if region != shared.region => {
                let region = aws_sdk_sqs::config::Region::new(region.to_owned());
                let config = client.config().to_builder().region(region).build();
                aws_sdk_sqs::Client::from_conf(config)
            }
            Some(_) | None => client.clone(),
        };
        Self { client, shared, url: queue.url().to_owned(), arn }
    }

    /// Its ARN; where its address names no region, in the region that is used otherwise.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    fn call(&self, operation: &'static str) -> Call {
        Call::new(operation, self.arn.clone())
    }
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
        let call = call.message_attribute_names("All").customize();
        let asked = self.call("sqs:ReceiveMessage");
        let answer = call.interceptor(asked.watch()).send().await;
        let messages = answer.map_err(|error| failed(&asked, &error))?.messages.unwrap_or_default();
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
        let asked = self.call("sqs:DeleteMessage");
        let answer = call.customize().interceptor(asked.watch()).send().await;
        all(answer.map_err(|error| failed(&asked, &error))?.failed())
    }

    async fn hide(&self, receipts: &[String], how_long: Duration) -> Result<(), QueueError> {
        let mut call = self.client.change_message_visibility_batch().queue_url(&self.url);
        for (n, receipt) in receipts.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(n.to_string());
            let entry = entry.receipt_handle(receipt).visibility_timeout(seconds(how_long)).build();
            call = call.entries(entry.map_err(|error| QueueError(error.to_string()))?);
        }
        let asked = self.call("sqs:ChangeMessageVisibility");
        let answer = call.customize().interceptor(asked.watch()).send().await;
        all(answer.map_err(|error| failed(&asked, &error))?.failed())
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

/// In AWS's words, and with the permission where one is missing.
fn failed<E>(call: &Call, error: &SdkError<E, HttpResponse>) -> QueueError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let error = of_read(call, "the queue", error);
    match &error {
        ReadError::Refused { missing: Some(missing), .. } => {
            let untoil_actions::Missing { action, resource } = missing;
            QueueError(format!("grant `{action}` on `{resource}`: {error}"))
        }
        ReadError::NotFound { .. } | ReadError::Refused { .. } | ReadError::Unavailable { .. } => {
            QueueError(error.to_string())
        }
    }
}
