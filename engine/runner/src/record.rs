//! Writing entries of an incident, and folding them.

use std::sync::Arc;

use untoil_clock::Clock;
use untoil_guard::GuardError;
use untoil_journal::{AppendError, Batch, Journal, JournalError, catch_up};
use untoil_model::{Actor, Body, Draft, Incident, Seq, Stream};

/// News of the incident may come in between its reading and a record of it this often; senders repeat
/// themselves in minutes.
const WRITES_MAX: u32 = 20;

/// Why the runner cannot go on. What it was doing is in the journal and is taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The record cannot be made or read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The guard cannot judge.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The incident is not where the caller thinks it is.
    #[error("incident `{incident}` has no {what}")]
    Misplaced {
        /// Which one.
        incident: String,
        /// What it lacks.
        what: &'static str,
    },
}

impl RunnerError {
    /// Whether it only means that another instance holds the incident now, and goes on with it.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        matches!(self.journal(), Some(JournalError::TakenOver(_)))
    }

    /// Whether a newer program has written what this one cannot read: it leaves it alone.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self.journal(), Some(JournalError::Newer(_)))
    }

    fn journal(&self) -> Option<&JournalError> {
        match self {
            Self::Journal(error) | Self::Guard(GuardError::Journal(error)) => Some(error),
            Self::Guard(GuardError::Contended(_) | GuardError::NoPlan(_))
            | Self::Misplaced { .. } => None,
        }
    }
}

/// The pen: appends entries in the engine's name, about incidents that this instance holds.
#[derive(Debug, Clone)]
pub(crate) struct Pen {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) actor: Actor,
}

impl Pen {
    /// Writes entries of an incident together, if what they tell of is still what is to be done, and
    /// folds the incident on.
    ///
    /// Words about the alarm may have come in meanwhile. But an instance that was stopped, lost the
    /// incident and has it back does not know what was done in between: holding it does not tell.
    pub(crate) async fn write(
        &self,
        incident: &mut Incident,
        bodies: Vec<Body>,
    ) -> Result<(), RunnerError> {
        let (work, tries) = (incident.work(), incident.tries.clone());
        for _ in 0..WRITES_MAX {
            if self.write_if_still(incident, bodies.clone()).await? {
                return Ok(());
            }
            if incident.work() != work || incident.tries != tries {
                break;
            }
        }
        // The worker asks the incident anew.
        Ok(())
    }

    /// Writes entries only if the incident is still as its caller knows it; says whether it was.
    pub(crate) async fn write_if_still(
        &self,
        incident: &mut Incident,
        bodies: Vec<Body>,
    ) -> Result<bool, RunnerError> {
        let batch = self.batch(incident, bodies);
        self.append_if_still(incident, batch).await
    }

    /// The same, for an intent: also only if the ledger is still as the guard read it.
    pub(crate) async fn intend(
        &self,
        incident: &mut Incident,
        started: Body,
        ledger_at: Seq,
    ) -> Result<bool, RunnerError> {
        let batch = self.batch(incident, vec![started]);
        let batch = batch.expect(Stream::Ledger, ledger_at);
        if !self.append_if_still(incident, batch).await? {
            return Ok(false);
        }
        // The call follows.
        self.journal.durable(incident.seq).await?;
        Ok(true)
    }

    /// Nothing is done outside because of what this writes: an end that does not come to the disk is one
    /// that was not recorded before a crash. So it does not wait for the disk; an intent does.
    async fn append_if_still(
        &self,
        incident: &mut Incident,
        batch: Batch,
    ) -> Result<bool, RunnerError> {
        let stream = Stream::Incident(incident.id.clone());
        let batch = batch.expect(stream, incident.seq);
        match self.journal.append_ahead(batch).await {
            Ok(entries) => {
                // They stand right behind what is known, so they need not be read back.
                for entry in &entries {
                    incident.apply(entry);
                }
                Ok(true)
            }
            Err(AppendError::Conflict { .. } | AppendError::Decided(_)) => {
                catch_up(&*self.journal, incident).await?;
                Ok(false)
            }
            Err(AppendError::Journal(e)) => Err(e.into()),
        }
    }

    /// Everything that is written here is written by who holds the incident: one that was taken for
    /// dead and was not says nothing more.
    fn batch(&self, incident: &Incident, bodies: Vec<Body>) -> Batch {
        Batch::of(self.drafts(incident, bodies)).holding(incident.id.clone())
    }

    fn drafts(&self, incident: &Incident, bodies: Vec<Body>) -> Vec<Draft> {
        let at = self.clock.now();
        let draft = |body: Body| {
            let about = matches!(body, Body::Looked { .. } | Body::Closed { .. });
            let draft = Draft::of(&incident.id, at, self.actor.clone(), body);
            if about { draft.about(&incident.alarm.key) } else { draft }
        };
        bodies.into_iter().map(draft).collect()
    }
}
