//! The port to where people are told.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Key, Message};

/// Where a message is, in the chat's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// The channel's id; not always the name it was posted under.
    pub channel: String,
    /// The message's id in it: Slack's `ts`.
    pub ts: String,
}

impl Posted {
    /// Whether it is not in `channel`; `under` is what the channel was called when it was posted.
    pub(crate) fn is_elsewhere(&self, under: Option<&str>, channel: &str) -> bool {
        under.unwrap_or(&self.channel) != channel
    }
}

/// A message found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub posted: Posted,
    /// What it tells.
    pub key: Key,
}

/// How fast a chat may be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two posts.
    pub post_every: Duration,
    /// Between two edits.
    pub edit_every: Duration,
}

impl Pace {
    /// As fast as it goes.
    pub const FREE: Self = Self { post_every: Duration::ZERO, edit_every: Duration::ZERO };
}

/// Why the chat did not do it, by what that means for trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// Too fast. It was not taken; come back after this time.
    #[error("it asks to wait {} s", .retry_after.as_secs())]
    Throttled {
        /// As it said.
        retry_after: Duration,
    },
    /// It was not reached, so it was not taken.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It may have been taken: look before posting again.
    #[error("its answer is lost: {0}")]
    Unknown(String),
    /// Nothing will be taken until a person changes the token, its scopes or the channel.
    #[error("it refuses with `{0}`: see docs/slack.md, “When Slack refuses”")]
    Setup(String),
    /// This message will never be taken.
    #[error("it refuses this message with `{0}`")]
    Message(String),
}

/// A place where people read: Slack, a terminal, or a test's fake.
#[async_trait]
pub trait Chat: Send + Sync + std::fmt::Debug {
    /// Posts a message to a channel, or into the thread of an earlier one. Not idempotent.
    ///
    /// # Errors
    /// [`ChatError`]; only after [`ChatError::Unknown`] may it be there nevertheless.
    async fn post(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        message: &Message,
    ) -> Result<Posted, ChatError>;

    /// Replaces a message. Idempotent.
    ///
    /// # Errors
    /// [`ChatError`].
    async fn update(&self, at: &Posted, message: &Message) -> Result<(), ChatError>;

    /// Looks for a message with this key in the channel, or in the thread, not older than `since`.
    ///
    /// # Errors
    /// [`ChatError`]; then it is not known whether there is one.
    async fn find(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        key: &Key,
        since: Timestamp,
    ) -> Result<Option<Found>, ChatError>;

    /// How fast it may be talked to.
    fn pace(&self) -> Pace;
}
