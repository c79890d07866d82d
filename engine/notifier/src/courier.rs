//! Gets one message after the other through: pace, retries, and looking before saying again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_model::{Hash, Seq};

use crate::notifier::Halt;
use crate::post::Post;
use crate::{Chat, ChatError, Message, NotifierHealth, Posted};

/// The first wait after a failure; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest: Slack's outages end without us, and a minute late is soon enough.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// How far back a message is looked for before the entry it tells: two clocks, and their skew.
const LOOK_BACK: SignedDuration = SignedDuration::from_mins(10);

/// Where a message goes.
pub(crate) struct Address<'a> {
    pub(crate) channel: &'a str,
    pub(crate) thread: Option<&'a Posted>,
}

/// What became of a message.
pub(crate) enum Delivered {
    /// It is there, telling entries up to this one.
    There(Posted, Seq),
    /// It was refused for good.
    PassedOver,
}

/// What became of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edited {
    /// Done, or never to be done.
    Settled,
    /// Later, when the slot is free again.
    Later,
}

/// The one who carries. It never holds more than one message.
#[derive(Debug)]
pub(crate) struct Courier {
    chat: Arc<dyn Chat>,
    clock: Arc<dyn Clock>,
    health: watch::Sender<NotifierHealth>,
    shutdown: CancellationToken,
    pub(crate) post: Post,
    pub(crate) give_up_after: Duration,
    /// Whether the message that is next may be there already: at the start, and after a lost answer.
    pub(crate) is_unsure: bool,
    post_slot: Timestamp,
    edit_slot: Timestamp,
}

impl Courier {
    pub(crate) fn new(
        chat: Arc<dyn Chat>,
        clock: Arc<dyn Clock>,
        health: watch::Sender<NotifierHealth>,
        shutdown: CancellationToken,
        post: Post,
    ) -> Self {
        Self {
            chat,
            clock,
            health,
            shutdown,
            post,
            give_up_after: Duration::MAX,
            is_unsure: true,
            post_slot: Timestamp::MIN,
            edit_slot: Timestamp::MIN,
        }
    }

    /// Posts, as often as it takes. `at` is when the entry happened.
    pub(crate) async fn post(
        &mut self,
        to: Address<'_>,
        message: &Message,
        at: Timestamp,
    ) -> Result<Delivered, Halt> {
        loop {
            if self.is_unsure {
                match self.look(&to, message, at).await {
                    Ok(Some(there)) => return Ok(there),
                    Ok(None) => self.is_unsure = false,
                    Err(error) => {
                        self.wait_after(&error, message).await?;
                        continue;
                    }
                }
            }
            self.sleep_until(self.post_slot).await?;
            self.post.keep().await?;
            self.is_unsure = true;
            let answer = self.chat.post(to.channel, to.thread, message).await;
            self.post_slot = self.later(self.chat.pace().post_every);
            let error = match answer {
                Ok(posted) => {
                    self.is_unsure = false;
                    self.went_well();
                    return Ok(Delivered::There(posted, message.key.upto));
                }
                Err(error) => error,
            };
            self.is_unsure = matches!(error, ChatError::Unknown(_));
            if self.is_final(&error) {
                self.pass_over(&error, message);
                return Ok(Delivered::PassedOver);
            }
            self.wait_after(&error, message).await?;
        }
    }

    /// Looks for a message that may be there; an error is one worth waiting for.
    async fn look(
        &mut self,
        to: &Address<'_>,
        message: &Message,
        at: Timestamp,
    ) -> Result<Option<Delivered>, ChatError> {
        let since = at.checked_sub(LOOK_BACK).unwrap_or(at);
        match self.chat.find(to.channel, to.thread, &message.key, since).await {
            Ok(Some(found)) => {
                self.is_unsure = false;
                Ok(Some(Delivered::There(found.posted, found.key.upto)))
            }
            Ok(None) => Ok(None),
            Err(error @ (ChatError::Setup(_) | ChatError::Message(_))) => {
                // Without the right to read, a word said twice is better than one never said.
                tracing::warn!(%error, "cannot look whether a message is there; it may come twice");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Edits at most once, if the slot is free. Never waits.
    pub(crate) async fn edit(&mut self, at: &Posted, message: &Message) -> Result<Edited, Halt> {
        if self.clock.now() < self.edit_slot {
            return Ok(Edited::Later);
        }
        self.post.keep().await?;
        let answer = self.chat.update(at, message).await;
        self.edit_slot = self.later(self.chat.pace().edit_every);
        let error = match answer {
            Ok(()) => {
                self.went_well();
                return Ok(Edited::Settled);
            }
            Err(error) => error,
        };
        if self.is_final(&error) {
            self.pass_over(&error, message);
            return Ok(Edited::Settled);
        }
        let pause = self.note_failure(&error, message);
        self.edit_slot = self.later(pause);
        Ok(Edited::Later)
    }

    /// How long until an edit may go.
    pub(crate) fn edit_in(&self) -> Duration {
        Duration::try_from(self.edit_slot.duration_since(self.clock.now()))
            .unwrap_or(Duration::ZERO)
    }

    /// Waits until an edit may go.
    pub(crate) async fn edit_slot_free(&self) -> Result<(), Halt> {
        self.sleep_until(self.edit_slot).await
    }

    fn is_final(&self, error: &ChatError) -> bool {
        match error {
            ChatError::Message(_) => true,
            ChatError::Setup(_) => {
                let since = self.health.borrow().failing_since;
                since.is_some_and(|since| {
                    let passed = Duration::try_from(self.clock.now().duration_since(since));
                    passed.is_ok_and(|passed| passed >= self.give_up_after)
                })
            }
            ChatError::Throttled { .. } | ChatError::Unreachable(_) | ChatError::Unknown(_) => {
                false
            }
        }
    }

    fn pass_over(&self, error: &ChatError, message: &Message) {
        let incident = message.key.incident.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            %error,
            incident.id = incident,
            entry.seq = message.key.seq.0,
            "a message was passed over; the journal has what it told"
        );
        self.health.send_modify(|health| {
            health.passed_over += 1;
            health.last_error = Some(error.to_string());
        });
    }

    fn went_well(&self) {
        self.health.send_modify(|health| {
            health.failures = 0;
            health.failing_since = None;
            health.delivered += 1;
        });
    }

    /// Notes a failure and says how long to wait.
    fn note_failure(&self, error: &ChatError, message: &Message) -> Duration {
        let now = self.clock.now();
        if let ChatError::Throttled { retry_after } = error {
            tracing::debug!(%error, "the chat throttles");
            return *retry_after;
        }
        let mut failures = 0;
        self.health.send_modify(|health| {
            health.failures = health.failures.saturating_add(1);
            health.failing_since.get_or_insert(now);
            health.last_error = Some(error.to_string());
            failures = health.failures;
        });
        // Once per outage as a warning; what follows is the same news.
        if failures == 1 {
            tracing::warn!(%error, "a message did not get through; it is tried again");
        } else {
            tracing::debug!(%error, failures, "a message did not get through");
        }
        backoff(message.key.seq, failures)
    }

    async fn wait_after(&mut self, error: &ChatError, message: &Message) -> Result<(), Halt> {
        let pause = self.note_failure(error, message);
        self.sleep_until(self.later(pause)).await
    }

    fn later(&self, by: Duration) -> Timestamp {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        self.clock.now().checked_add(by).unwrap_or(Timestamp::MAX)
    }

    async fn sleep_until(&self, at: Timestamp) -> Result<(), Halt> {
        if self.shutdown.is_cancelled() {
            return Err(Halt::Stopped);
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => Err(Halt::Stopped),
            () = self.clock.sleep_until(at) => Ok(()),
        }
    }
}

/// Doubling, with a jitter of a quarter taken from the entry, so that a run can be repeated.
fn backoff(seq: Seq, failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let full = doubled.min(BACKOFF_MAX);
    let seed = Hash::of(format!("{seq}/{failures}").as_bytes()).to_string();
    let sixteenth = u32::from_str_radix(&seed[..1], 16).unwrap_or(0);
    full.saturating_sub(full / 64 * sixteenth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_keep_three_quarters() {
        for (failures, full) in [(1, 1), (2, 2), (4, 8), (7, 60), (40, 60)] {
            let full = Duration::from_secs(full);
            for seq in 0..50 {
                let wait = backoff(Seq(seq), failures);
                assert!(wait <= full && wait >= full * 3 / 4, "{failures} failures: {wait:?}");
            }
        }
    }
}
