//! A stand-in for a queue of SQS: it gives a message until that is deleted, so at least once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::chance::Chance;

/// Whatever is asked for, a message is hidden no longer: after a crash it comes again within a trial.
const HIDDEN_MAX: Duration = Duration::from_secs(2);
/// SQS gives no more at a time.
const GIVEN_MAX: u64 = 10;
/// SQS waits no longer for a first message.
const WAIT_MAX: u64 = 20;
/// Between two looks for a message.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    shelf: Mutex<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    waiting: Vec<Message>,
    deleted: Vec<(String, Timestamp)>,
    /// How often messages were given that had been given before.
    repeats: usize,
    chance: Chance,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    hidden_until: Option<Instant>,
    given: usize,
}

impl Default for Queue {
    fn default() -> Self {
        let chance = Chance::of(0x5195);
        let shelf = Shelf { waiting: Vec::new(), deleted: Vec::new(), repeats: 0, chance };
        Self { shelf: Mutex::new(shelf) }
    }
}

impl Queue {
    /// The address that an instance is told; where it is asked is another matter.
    pub(crate) const ADDRESS: &str = "http://127.0.0.1:1/000000000000/trial";

    /// Adds a message.
    pub(crate) fn put(&self, id: &str, body: &str) {
        let (id, body) = (id.to_owned(), body.to_owned());
        self.shelf().waiting.push(Message { id, body, hidden_until: None, given: 0 });
    }

    /// Whether every message was deleted.
    pub(crate) fn is_empty(&self) -> bool {
        self.shelf().waiting.is_empty()
    }

    /// What was deleted, and when.
    pub(crate) fn deleted(&self) -> Vec<(String, Timestamp)> {
        self.shelf().deleted.clone()
    }

    /// How often messages were given that had been given before.
    pub(crate) fn repeats(&self) -> usize {
        self.shelf().repeats
    }

    /// `ReceiveMessage`: waits for a first message.
    pub(crate) async fn receive(&self, asked: &Value) -> Value {
        let number = |name: &str, most: u64| asked[name].as_u64().unwrap_or(most).min(most);
        let most = usize::try_from(number("MaxNumberOfMessages", GIVEN_MAX)).unwrap_or(1);
        let until = Instant::now() + Duration::from_secs(number("WaitTimeSeconds", WAIT_MAX));
        loop {
            let messages = self.shelf().take(most);
            if !messages.is_empty() || Instant::now() >= until {
                return json!({ "Messages": messages });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// `DeleteMessageBatch`.
    pub(crate) fn delete(&self, asked: &Value) -> Value {
        let mut shelf = self.shelf();
        each(asked, |receipt, _| {
            shelf.waiting.retain(|message| message.id != receipt);
            if shelf.deleted.iter().all(|(id, _)| id != receipt) {
                shelf.deleted.push((receipt.to_owned(), Timestamp::now()));
            }
        })
    }

    /// `ChangeMessageVisibilityBatch`.
    pub(crate) fn hide(&self, asked: &Value) -> Value {
        let mut shelf = self.shelf();
        each(asked, |receipt, entry| {
            let wanted = Duration::from_secs(entry["VisibilityTimeout"].as_u64().unwrap_or(0));
            for message in shelf.waiting.iter_mut().filter(|message| message.id == receipt) {
                message.hidden_until = Some(Instant::now() + wanted.min(HIDDEN_MAX));
            }
        })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does something for each entry of a batch, whose receipts are the messages' ids here.
fn each(asked: &Value, mut done: impl FnMut(&str, &Value)) -> Value {
    let entries = asked["Entries"].as_array().map_or(&[][..], Vec::as_slice);
    let successful = entries.iter().map(|entry| {
        done(entry["ReceiptHandle"].as_str().unwrap_or_default(), entry);
        json!({ "Id": entry["Id"] })
    });
    json!({ "Successful": successful.collect::<Vec<_>>(), "Failed": [] })
}

impl Shelf {
    /// Some messages that are not hidden, in no order, and hides them.
    fn take(&mut self, most: usize) -> Vec<Value> {
        let now = Instant::now();
        let mut taken = Vec::new();
        let from = self.chance.below(self.waiting.len());
        let (later, sooner) = self.waiting.split_at_mut(from);
        for message in sooner.iter_mut().chain(later) {
            if taken.len() == most || message.hidden_until.is_some_and(|until| until > now) {
                continue;
            }
            message.hidden_until = Some(now + HIDDEN_MAX);
            self.repeats += usize::from(message.given > 0);
            message.given += 1;
            taken.push(json!({ "MessageId": message.id, "ReceiptHandle": message.id,
                "Body": message.body,
                "Attributes": { "ApproximateReceiveCount": message.given.to_string() } }));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_is_given_until_it_is_deleted() {
        let queue = Queue::default();
        queue.put("fires-1", "{}");
        let now = json!({ "WaitTimeSeconds": 0 });
        let given = async || queue.receive(&now).await["Messages"].as_array().unwrap().len();
        assert_eq!(given().await, 1);
        assert_eq!(given().await, 0, "it is hidden");
        let entry = json!({ "Id": "0", "ReceiptHandle": "fires-1", "VisibilityTimeout": 0 });
        drop(queue.hide(&json!({ "Entries": [entry] })));
        assert_eq!((given().await, queue.repeats()), (1, 1));
        drop(queue.delete(&json!({ "Entries": [entry] })));
        drop(queue.hide(&json!({ "Entries": [entry] })));
        assert_eq!(given().await, 0);
        assert!(queue.is_empty());
        assert_eq!(queue.deleted()[0].0, "fires-1");
    }
}
