//! What the notifier is told at start, and what it says of itself.

use std::time::Duration;

use jiff::Timestamp;
use untoil_model::Seq;

use crate::Voice;

/// A way to reach people.
///
/// Urgent words by e-mail, while Slack is down, become a variant of their own with a cursor of their
/// own; no part of this crate but [`crate::Notifier`] looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlet {
    /// A channel of a [`crate::Chat`], by id or name.
    Chat {
        /// As the chat names it: `C024BE91L`.
        channel: String,
    },
}

/// How one outlet is kept informed.
#[derive(Debug, Clone)]
pub struct NotifierConfig {
    /// The name its cursor and notes are kept under; one per outlet.
    pub reader: String,
    /// Where to.
    pub outlet: Outlet,
    /// How to speak there.
    pub voice: Voice,
    /// Entries of one incident that are older than this when their turn comes are summarised…
    pub late_after: Duration,
    /// …when they would be more replies than this.
    pub replies_behind_max: usize,
    /// What is older than this starts no thread and no notice any more.
    pub too_old_after: Duration,
    /// How long a refusal that only a person can end (token, scopes, channel) holds words back
    /// before they are passed over. They stay in the journal.
    pub give_up_after: Duration,
}

impl NotifierConfig {
    /// The defaults for a channel: reader `slack`, summaries after 2 minutes and 6 replies, a day of
    /// backlog, an hour of patience with a wrong set-up.
    #[must_use]
    pub fn new(channel: impl Into<String>, voice: Voice) -> Self {
        Self {
            reader: "slack".into(),
            outlet: Outlet::Chat { channel: channel.into() },
            voice,
            late_after: Duration::from_mins(2),
            replies_behind_max: 6,
            too_old_after: Duration::from_hours(24),
            give_up_after: Duration::from_hours(1),
        }
    }

    /// The same for a [`crate::Terminal`], as a reader of its own: what it told and noted is
    /// nothing to Slack, should that be turned on later.
    #[must_use]
    pub fn terminal(voice: Voice) -> Self {
        Self { reader: "terminal".into(), ..Self::new("terminal", voice) }
    }

    /// The channel as configured.
    pub(crate) fn channel(&self) -> &str {
        let Outlet::Chat { channel } = &self.outlet;
        channel
    }
}

/// How well words get through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotifierHealth {
    /// The last entry that people were told of, or that needed no telling.
    pub cursor: Seq,
    /// Since when nothing gets through; `None` while it does.
    pub failing_since: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// What the last failure was.
    pub last_error: Option<String>,
    /// Messages and edits that got through since the start.
    pub delivered: u64,
    /// Messages and edits that were passed over since the start: refused for good.
    pub passed_over: u64,
}

impl NotifierHealth {
    /// Whether urgent words need another way: three failures in a row, or two minutes of them.
    #[must_use]
    pub fn is_degraded(&self, now: Timestamp) -> bool {
        /// One or two failures are weather.
        const FAILURES_MIN: u32 = 3;
        /// As long as a person may be kept waiting.
        const PATIENCE_SECS: i64 = 120;
        let long = self
            .failing_since
            .is_some_and(|since| now.duration_since(since).as_secs() > PATIENCE_SECS);
        self.failures >= FAILURES_MIN || long
    }
}
