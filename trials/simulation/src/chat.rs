//! A simulated chat: it takes messages, loses answers, and is down at times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use untoil_clock::{Clock, VirtualClock};
use untoil_model::Seq;
use untoil_notifier::{Chat, ChatError, Found, Key, Message, Pace, Posted};

use crate::dice::Dice;
use crate::disk::Disk;
use crate::mutation::Mutation;
use crate::switch::Switch;
use crate::weather::Weather;

/// How long it takes to see that the chat is down.
const DOWN: Duration = Duration::from_secs(3);
/// How long a chat that is throttling asks to wait, in seconds.
const THROTTLES_SECS: (u64, u64) = (1, 30);

/// A message that people can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// What it tells.
    pub(crate) key: Key,
    /// Where it is.
    pub(crate) posted: Posted,
    /// Whose thread it is in.
    pub(crate) thread: Option<Posted>,
    /// When it came.
    pub(crate) at: Timestamp,
    /// How far the journal was on the disk then.
    pub(crate) kept: Seq,
    /// What a phone shows.
    pub(crate) text: String,
}

/// The channel, which all instances talk to.
#[derive(Debug, Default)]
pub(crate) struct Channel(Mutex<Vec<Said>>);

impl Channel {
    fn all(&self) -> MutexGuard<'_, Vec<Said>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is there.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.all().clone()
    }
}

/// The chat as one instance reaches it.
#[derive(Debug)]
pub(crate) struct FarChat {
    pub(crate) channel: Arc<Channel>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) mutation: Option<Mutation>,
}

impl FarChat {
    async fn meet(&self, what: &str) -> Result<(), ChatError> {
        self.switch.point(what).await;
        let odd = self.weather.now();
        self.clock.sleep(self.dice.millis(10, 300)).await;
        if odd.chat_down {
            self.clock.sleep(DOWN).await;
            self.switch.pass().await;
            return Err(ChatError::Unreachable("simulated: it is down".into()));
        }
        if self.dice.chance(odd.chat.slow) {
            let retry_after = self.dice.secs(THROTTLES_SECS.0, THROTTLES_SECS.1);
            return Err(ChatError::Throttled { retry_after });
        }
        if self.dice.chance(odd.chat.fails) {
            return Err(ChatError::Unknown("simulated: it did not get there".into()));
        }
        Ok(())
    }

    async fn answer<T>(&self, what: &str, answer: T) -> Result<T, ChatError> {
        self.switch.point(what).await;
        if self.dice.chance(self.weather.now().chat.loses) {
            return Err(ChatError::Unknown("simulated: the answer was lost".into()));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Chat for FarChat {
    async fn post(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        message: &Message,
    ) -> Result<Posted, ChatError> {
        self.meet("chat.post").await?;
        let posted = {
            let mut all = self.channel.all();
            let ts = format!("{}.{:06}", self.clock.now().as_second(), all.len());
            let posted = Posted { channel: channel.to_owned(), ts };
            if self.mutation != Some(Mutation::LosesWords) || self.dice.chance(900) {
                all.push(Said {
                    key: message.key.clone(),
                    posted: posted.clone(),
                    thread: thread.cloned(),
                    at: self.clock.now(),
                    kept: self.disk.kept(),
                    text: message.fallback(),
                });
            }
            posted
        };
        self.switch.note(|| format!("tells {:?} {}", message.key.part, message.key.seq));
        self.answer("chat.post", posted).await
    }

    async fn update(&self, at: &Posted, message: &Message) -> Result<(), ChatError> {
        self.meet("chat.update").await?;
        let found = self.channel.all().iter_mut().find(|said| said.posted == *at).map(|said| {
            said.text = message.fallback();
        });
        match found {
            Some(()) => self.answer("chat.update", ()).await,
            None => Err(ChatError::Message("message_not_found".into())),
        }
    }

    async fn find(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        key: &Key,
        since: Timestamp,
    ) -> Result<Option<Found>, ChatError> {
        self.meet("chat.find").await?;
        let found = {
            let all = self.channel.all();
            let fits = |said: &&Said| {
                said.posted.channel == channel
                    && said.thread.as_ref() == thread
                    && said.at >= since
                    && said.key.is(key)
            };
            let found = all.iter().rev().find(fits);
            found.map(|said| Found { posted: said.posted.clone(), key: said.key.clone() })
        };
        self.answer("chat.find", found).await
    }

    fn pace(&self) -> Pace {
        let second = Duration::from_secs(1);
        Pace { post_every: second, edit_every: second }
    }
}
