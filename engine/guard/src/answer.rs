//! A person's yes or no to a plan that waits for one.

use jiff::Timestamp;
use untoil_journal::{AppendError, Batch, JournalError, load};
use untoil_model::{Actor, Body, Draft, Entry, Incident, IncidentId, Stream};

use crate::Guard;
use crate::gates::is_asking;
use crate::guard::TRIES;
use crate::pause::TEXT_MAX;

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    /// It may.
    Approve,
    /// It must not.
    Reject,
}

/// What a person answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Yes or no.
    pub say: Say,
    /// Who, as authentication or the command line named them.
    pub by: String,
    /// In their words; may be empty.
    pub note: String,
    /// The plan they saw, by the first digits of its hash, where the question showed it: a button
    /// does. `None` answers whatever is being asked now.
    pub plan: Option<String>,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// There is no such incident.
    #[error("no incident `{0}`: `untoil incidents` lists them")]
    Unknown(IncidentId),
    /// Nothing was asked.
    #[error("incident `{incident}` waits for no approval: it is `{phase}`")]
    NotAsked {
        /// Which.
        incident: IncidentId,
        /// Where it stands.
        phase: &'static str,
    },
    /// Somebody was quicker; the first answer counts.
    #[error("already {what} by {by}")]
    Answered {
        /// `approved` or `rejected`.
        what: &'static str,
        /// Who.
        by: String,
    },
    /// Too late.
    #[error("the time to answer was over at {0}; the plan is denied")]
    Expired(Timestamp),
    /// The plan that they saw is not the one that would run.
    #[error("the plan has changed: you answered `{seen}`, it is `{now}` now; look at it again")]
    StalePlan {
        /// What they saw.
        seen: String,
        /// What it is.
        now: String,
    },
    /// An answer has a name.
    #[error("say who you are: an answer stands in the journal under a name")]
    NoName,
    /// The note is too long.
    #[error("the note has {0} bytes, at most {max} fit", max = TEXT_MAX)]
    TooLong(usize),
    /// The incident kept moving.
    #[error("gave up after {0} tries: the incident moved each time; try again")]
    Contended(u32),
    /// The record could not be made.
    #[error("the answer was not recorded: {0}")]
    Journal(#[from] JournalError),
}

/// As many digits of a plan's hash as must at least be named, so that nobody answers by accident.
const DIGITS_MIN: usize = 8;

impl Guard {
    /// Allows the plan that `incident` is held for.
    ///
    /// # Errors
    /// [`AnswerError`]; the plan is as it was then.
    pub async fn approve(
        &self,
        incident: &IncidentId,
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<Entry, AnswerError> {
        let (by, note) = (by.to_owned(), note.to_owned());
        self.answer(incident, &Answer { say: Say::Approve, by, note, plan: None }, now).await
    }

    /// Refuses the plan that `incident` is held for.
    ///
    /// # Errors
    /// [`AnswerError`]; the plan is as it was then.
    pub async fn reject(
        &self,
        incident: &IncidentId,
        by: &str,
        note: &str,
        now: Timestamp,
    ) -> Result<Entry, AnswerError> {
        let (by, note) = (by.to_owned(), note.to_owned());
        self.answer(incident, &Answer { say: Say::Reject, by, note, plan: None }, now).await
    }

    /// Records a person's answer, bound to the plan's hash. The first answer counts.
    ///
    /// It allows nothing by itself: [`Guard::judge`] asks all gates again afterwards.
    ///
    /// # Errors
    /// [`AnswerError`]; the plan is as it was then.
    pub async fn answer(
        &self,
        incident: &IncidentId,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<Entry, AnswerError> {
        let by = answer.by.trim();
        if by.is_empty() {
            return Err(AnswerError::NoName);
        }
        if by.len() + answer.note.len() > TEXT_MAX {
            return Err(AnswerError::TooLong(by.len() + answer.note.len()));
        }
        for _ in 0..TRIES {
            let state = load(self.journal(), incident).await?;
            let state = state.ok_or_else(|| AnswerError::Unknown(incident.clone()))?;
            let body = body(&state, answer, now)?;
            let draft = Draft::of(incident, now, Actor::Human(by.to_owned()), body);
            let stream = Stream::Incident(incident.clone());
            match self.journal().append(Batch::of(vec![draft]).expect(stream, state.seq)).await {
                Ok(entries) => {
                    let first = entries.into_iter().next();
                    return Ok(first.expect("a journal returns the entries it was given"));
                }
                Err(AppendError::Conflict { .. } | AppendError::Decided(_)) => {}
                Err(AppendError::Journal(error)) => return Err(error.into()),
            }
        }
        Err(AnswerError::Contended(TRIES))
    }
}

/// The entry for an answer, if it can be taken.
fn body(incident: &Incident, answer: &Answer, now: Timestamp) -> Result<Body, AnswerError> {
    let not_asked =
        || AnswerError::NotAsked { incident: incident.id.clone(), phase: incident.phase() };
    let plan = &incident.run.as_ref().and_then(|run| run.part()).ok_or_else(not_asked)?.plan;
    let hash = plan.hash();
    for (said, what) in [(&incident.approved, "approved"), (&incident.rejected, "rejected")] {
        if let Some((_, by)) = said.as_ref().filter(|(plan, _)| *plan == hash) {
            return Err(AnswerError::Answered { what, by: by.clone() });
        }
    }
    if !incident.held().is_some_and(is_asking) {
        return Err(not_asked());
    }
    let seen = answer.plan.as_deref().unwrap_or(&hash.to_string()).to_ascii_lowercase();
    if seen.len() < DIGITS_MIN || !hash.to_string().starts_with(&seen) {
        return Err(AnswerError::StalePlan { seen, now: hash.short() });
    }
    let until = incident.held_until().ok_or_else(not_asked)?;
    if now >= until {
        return Err(AnswerError::Expired(until));
    }
    let note = answer.note.clone();
    Ok(match answer.say {
        Say::Approve => Body::Approved { plan: hash, note },
        Say::Reject => Body::Rejected { plan: hash, note },
    })
}
