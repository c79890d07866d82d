//! The kill switch: what may be paused, by whom.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use untoil_journal::{AppendError, Batch, JournalError};
use untoil_model::{Actor, Body, Draft, Entry, RuleName, Target};

use crate::Guard;

/// What a pause covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything: `all`.
    All,
    /// One rule: `rule/<name>`.
    Rule(RuleName),
    /// One target and what belongs to it: `target/<target>`.
    Target(Target),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Rule(rule) => write!(f, "rule/{rule}"),
            Self::Target(target) => write!(f, "target/{target}"),
        }
    }
}

impl FromStr for Scope {
    type Err = PauseError;

    fn from_str(text: &str) -> Result<Self, PauseError> {
        let wrong = |why: String| PauseError::Scope { text: text.chars().take(80).collect(), why };
        match text.split_once('/') {
            None if text == "all" => Ok(Self::All),
            Some(("rule", name)) => name.parse().map(Self::Rule).map_err(|e| wrong(e.to_string())),
            Some(("target", name)) => {
                name.parse().map(Self::Target).map_err(|e| wrong(e.to_string()))
            }
            None | Some(_) => {
                Err(wrong("write `all`, `rule/<name>` or `target/<kind>/<name>`".to_owned()))
            }
        }
    }
}

/// Why nothing was paused, or resumed.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// It is not a scope.
    #[error("`{text}` is not a scope: {why}")]
    Scope {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// Only a named person may.
    #[error("say who you are: pausing and resuming stand in the journal under a name")]
    NoName,
    /// Resuming needs a reason.
    #[error("say why `{0}` may act again: a reason is needed to resume")]
    NoReason(Scope),
    /// The text is too long.
    #[error("the reason has {0} bytes, at most {max} fit", max = TEXT_MAX)]
    TooLong(usize),
    /// There is nothing to resume.
    #[error("`{0}` is not paused")]
    NotPaused(Scope),
    /// The record could not be made.
    #[error("nothing was changed: {0}")]
    Append(#[from] AppendError),
    /// The journal could not be read.
    #[error("nothing was changed: {0}")]
    Journal(#[from] JournalError),
}

/// The longest text a person may leave in an entry: a Slack message holds it.
pub(crate) const TEXT_MAX: usize = 2_000;

impl Guard {
    /// Stops everything in `scope` from its next step on. Steps that are under way are followed to
    /// their end. Pausing again records the new name and reason.
    ///
    /// Needs no knowledge of the ledger: it must work in the worst minute.
    ///
    /// # Errors
    /// [`PauseError`]; after [`PauseError::Append`] it is not known to be paused: try again.
    pub async fn pause(
        &self,
        scope: &Scope,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Entry, PauseError> {
        let body = Body::Paused { scope: scope.to_string(), reason: reason.trim().to_owned() };
        self.switch(by, reason, now, body).await
    }

    /// Lets `scope` act again. Only a named person may, with a reason.
    ///
    /// # Errors
    /// [`PauseError`]; also when it is not paused.
    pub async fn unpause(
        &self,
        scope: &Scope,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<Entry, PauseError> {
        if reason.trim().is_empty() {
            return Err(PauseError::NoReason(scope.clone()));
        }
        if !self.ledger(now).await?.paused.contains_key(&scope.to_string()) {
            return Err(PauseError::NotPaused(scope.clone()));
        }
        let body = Body::Resumed { scope: scope.to_string(), reason: reason.trim().to_owned() };
        self.switch(by, reason, now, body).await
    }

    async fn switch(
        &self,
        by: &str,
        reason: &str,
        now: Timestamp,
        body: Body,
    ) -> Result<Entry, PauseError> {
        let by = by.trim();
        if by.is_empty() {
            return Err(PauseError::NoName);
        }
        if by.len() + reason.len() > TEXT_MAX {
            return Err(PauseError::TooLong(by.len() + reason.len()));
        }
        let draft = Draft::new(now, Actor::Human(by.to_owned()), body);
        let entries = self.journal().append(Batch::of(vec![draft])).await?;
        Ok(entries.into_iter().next().expect("a journal returns the entries it was given"))
    }
}
