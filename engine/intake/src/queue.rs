//! Queues as a way in: what comes is kept in the journal, and only then deleted from the queue.
//!
//! Whoever may send to the queue is whoever its policy lets in; nothing else is asked. What cannot be
//! read is kept too, so that a person sees it, and is left in the queue, whose redrive policy moves
//! it to the dead-letter queue. A message that is seen again changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::Journal;
use untoil_model::{Delivery, DeliveryId, Source};

use crate::sources::{aws, cloudevents};
use crate::{Decoders, bounds, patience};

/// Most messages of one receipt: SQS gives no more.
pub const MESSAGES_MAX: usize = 10;
/// How long a receipt waits for a first message: SQS waits no longer.
pub const WAIT: Duration = Duration::from_secs(20);
/// How long a received message is hidden from others. Keeping one takes milliseconds; after a crash
/// in between another instance has it after a minute.
pub const HIDDEN: Duration = Duration::from_mins(1);
/// Hidden messages that are still held are hidden anew after this: two more tries fit before they
/// would be seen by others.
const HIDE_AGAIN: Duration = Duration::from_secs(20);
/// After a first failure, of AWS or of the journal.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// After many. With a try of the journal (4 s) it is less than [`HIDE_AGAIN`].
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// An unreadable message that came this often is deleted after all: it is in the journal, and the
/// queue has no redrive policy that takes it away. Redrive policies say 3 to 10.
const UNREADABLE_RECEIPTS_MAX: u32 = 100;
/// An identifier of SNS's or SQS's is a UUID; a delivery's is at most 200 bytes.
const MESSAGE_ID_BYTES_MAX: usize = 128;

/// A message as a queue gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    /// The queue's own id; the same on every receipt.
    pub id: String,
    /// What this receipt is deleted or hidden by.
    pub receipt: String,
    /// The body.
    pub body: String,
    /// How often it was received, this time included, as far as the queue knows.
    pub receipts: u32,
    /// Its own attributes that are texts. Those of an event in binary mode are kept with the delivery.
    pub attributes: BTreeMap<String, String>,
}

/// A call to a queue that did not succeed; whether it had an effect cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueueError(pub String);

/// A queue that shows messages until they are deleted, at least once each.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// What people know it by: its address. No secret.
    fn name(&self) -> &str;

    /// Waits up to [`WAIT`] for up to [`MESSAGES_MAX`] messages and hides them for [`HIDDEN`]. Dropping
    /// the future may leave some hidden until then.
    ///
    /// # Errors
    /// [`QueueError`] when the queue does not answer or refuses.
    async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError>;

    /// Deletes messages by their receipts, at most [`MESSAGES_MAX`].
    ///
    /// # Errors
    /// [`QueueError`] when any of them was not deleted; it will come again.
    async fn delete(&self, receipts: &[String]) -> Result<(), QueueError>;

    /// Hides messages for so long from now; for no time at all, others see them at once.
    ///
    /// # Errors
    /// [`QueueError`] when any of them was not; they are seen when their time is over.
    async fn hide(&self, receipts: &[String], how_long: Duration) -> Result<(), QueueError>;
}

/// Takes messages from one queue for as long as it runs.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// The source that its messages are deliveries of.
    pub source: Source,
    /// How sources are read.
    pub decoders: Arc<Decoders>,
    /// What keeps them.
    pub journal: Arc<dyn Journal>,
    /// What it waits by.
    pub clock: Arc<dyn Clock>,
}

/// A message in hand.
#[derive(Debug)]
struct Held {
    receipt: String,
    delivery: Delivery,
    leaves: bool,
}

impl Consumer {
    /// Runs until it is told to stop. What is in hand then is kept, or given back at once.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = PAUSE_MIN;
        while !stop.is_cancelled() {
            let began = self.clock.ticks();
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.queue.receive() => received,
            };
            let queue = self.queue.name();
            match received {
                Ok(messages) if messages.is_empty() => {
                    pause = PAUSE_MIN;
                    // One that does not wait for messages would be asked without end.
                    if self.clock.ticks().saturating_sub(began) < PAUSE_MIN {
                        self.rest(PAUSE_MIN, &stop).await;
                    }
                }
                Ok(messages) => {
                    pause = PAUSE_MIN;
                    self.take(messages, &stop).await;
                }
                Err(error) => {
                    tracing::warn!(queue, "failed to receive from queue `{queue}`: {error}");
                    self.rest(pause, &stop).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn rest(&self, pause: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.clock.sleep(pause) => {}
        }
    }

    /// Keeps messages and deletes them. While the journal does not take them they are held, hidden from
    /// others: giving them back would only count against them in the queue's redrive policy.
    async fn take(&self, messages: Vec<QueueMessage>, stop: &CancellationToken) {
        let mut held: Vec<Held> = messages.into_iter().map(|one| self.hold(one)).collect();
        let mut pause = PAUSE_MIN;
        let mut hidden_at = self.clock.ticks();
        loop {
            held = self.keep(held).await;
            if held.is_empty() {
                return;
            }
            self.rest(pause, stop).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let receipts: Vec<String> = held.iter().map(|one| one.receipt.clone()).collect();
            let queue = self.queue.name();
            if stop.is_cancelled() {
                if let Err(error) = self.queue.hide(&receipts, Duration::ZERO).await {
                    tracing::warn!(queue, "failed to give back to queue `{queue}`: {error}");
                }
                return;
            }
            if self.clock.ticks().saturating_sub(hidden_at) >= HIDE_AGAIN {
                hidden_at = self.clock.ticks();
                if let Err(error) = self.queue.hide(&receipts, HIDDEN).await {
                    // They come again by themselves, and what was kept meanwhile is seen as such.
                    tracing::warn!(queue, "failed to hold messages of `{queue}`: {error}");
                    return;
                }
            }
        }
    }

    fn hold(&self, message: QueueMessage) -> Held {
        let QueueMessage { id, receipt, body, receipts, attributes } = message;
        let from = (&self.source, self.queue.name());
        let said = (id.as_str(), body, attributes);
        let delivery = delivery(&self.decoders, from, said, self.clock.now());
        let leaves = match self.decoders.decode(&delivery) {
            Ok(_) => true,
            Err(error) => {
                let (queue, delivery) = (self.queue.name(), delivery.id.to_string());
                tracing::warn!(queue, delivery.id = delivery, receipts, "unreadable: {error}");
                receipts >= UNREADABLE_RECEIPTS_MAX
            }
        };
        Held { receipt, delivery, leaves }
    }

    /// Keeps what it can, deletes what is kept, and answers what is not.
    async fn keep(&self, held: Vec<Held>) -> Vec<Held> {
        let ports = (&*self.journal, &*self.clock);
        let tries = held.iter().map(|one| patience::receive(ports, one.delivery.clone()));
        let kept = join_all(tries).await;
        let queue = self.queue.name();
        let mut done = Vec::new();
        let mut left = Vec::new();
        for (one, kept) in held.into_iter().zip(kept) {
            match kept {
                Ok(_) if one.leaves => done.push(one.receipt),
                // Its redrive policy counts on it being seen again.
                Ok(_) => {}
                Err(error) => {
                    let delivery = one.delivery.id.to_string();
                    tracing::error!(queue, delivery.id = delivery, %error, "failed to keep a delivery");
                    left.push(one);
                }
            }
        }
        if !done.is_empty()
            && let Err(error) = self.queue.delete(&done).await
        {
            tracing::warn!(queue, "failed to delete from queue `{queue}`: {error}");
        }
        left
    }
}

/// A queue's message as a delivery of a source. What SNS wrapped is known by SNS's own id, by whatever
/// queue it comes; senders other than AWS are read without the wrapping.
pub(crate) fn delivery(
    decoders: &Decoders,
    (source, sender): (&Source, &str),
    (id, body, attributes): (&str, String, BTreeMap<String, String>),
    received_at: jiff::Timestamp,
) -> Delivery {
    let envelope = aws::envelope(body.as_bytes());
    let kind = decoders.kind(source);
    let is_plain = |id: &str| {
        !id.is_empty()
            && id.len() <= MESSAGE_ID_BYTES_MAX
            && id.bytes().all(|b| b.is_ascii_graphic())
    };
    let of_sns = envelope.as_ref().map(|envelope| &*envelope.message_id);
    let message = match of_sns.filter(|id| is_plain(id)) {
        // As when SNS posts it.
        Some(id) if kind == Some("sns") => id.to_owned(),
        Some(id) => format!("sns:{id}"),
        None => format!("sqs:{}", bounds::quote(id)),
    };
    let is_events = kind == Some("cloudevents");
    let mut headers = BTreeMap::new();
    if is_events {
        let of_sns = envelope.as_ref().and_then(|envelope| envelope.message_attributes.as_ref());
        headers = cloudevents::of_attributes(attributes.into_iter().chain(texts(of_sns)));
    }
    let is_unwrapped = !matches!(kind, Some("sns" | "aws" | "cloudwatch"));
    let inner = envelope.filter(|_| is_unwrapped).map(|envelope| envelope.message.to_string());
    let body = inner.unwrap_or(body);
    let mut delivery = Delivery {
        id: DeliveryId { source: source.clone(), message },
        sender: sender.to_owned(),
        received_at,
        headers,
        body: body.into_bytes(),
    };
    // The same event by another way is the same message.
    if is_events && let Some(message) = cloudevents::message(&delivery) {
        delivery.id.message = message;
    }
    delivery
}

/// The attributes of a message of SNS that are texts.
fn texts(attributes: Option<&Value>) -> impl Iterator<Item = (String, String)> {
    let all = attributes.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, said)| Some((name.clone(), said.get("Value")?.as_str()?.to_owned())))
}
