//! Judging and recording as one atomic step.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;
use untoil_journal::{Journal, JournalError};
use untoil_model::{Actor, EngineMode, Entry, Incident, Reason};

use crate::{Clearance, Judgement, Ledger, Permit, Policy};

/// The guard: the only maker of permits.
#[derive(Debug)]
pub struct Guard {
    journal: Arc<dyn Journal>,
    policy: Policy,
    engine: EngineMode,
    actor: Actor,
    ledger: Mutex<Ledger>,
}

/// A judgement with the entries that were written for it.
#[derive(Debug)]
pub struct Judged {
    /// What was said.
    pub judgement: Judgement,
    /// The `judged` entry, and an `escalated` one where a person must hear of a denial.
    pub entries: Vec<Entry>,
}

/// Why it could not judge. Nothing was allowed.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The record cannot be made, so nothing may happen.
    #[error("no judgement without a record: {0}")]
    Journal(#[from] JournalError),
    /// Others kept writing in between.
    #[error("gave up after {0} tries to judge: the ledger moved each time")]
    Contended(u32),
    /// There is nothing to judge.
    #[error("incident `{0}` has no plan that waits for a judgement")]
    NoPlan(String),
}

impl Guard {
    /// A guard over a journal. `engine` is what the whole process may do.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>, policy: Policy, engine: EngineMode, actor: Actor) -> Self {
        Self { journal, policy, engine, actor, ledger: Mutex::default() }
    }

    /// Judges the newest part of the incident's run and records it, atomically.
    ///
    /// The incident is folded on from the journal first, so that a word that came in meanwhile counts.
    ///
    /// # Errors
    /// [`GuardError`]; nothing was allowed then.
    pub async fn judge(&self, incident: &mut Incident, now: Timestamp) -> Result<Judged, GuardError> {
        let _ = (incident, now, &self.journal, &self.policy, &self.engine, &self.actor, &self.ledger);
        unimplemented!("judging")
    }

    /// The permit of a part that was allowed before this process began, for what is left of it.
    ///
    /// `None` when the newest part was not allowed, or has no step left to begin.
    #[must_use]
    pub fn resume(&self, incident: &Incident) -> Option<Permit> {
        let _ = incident;
        unimplemented!("resuming")
    }

    /// Looks again right before a call: kill switch, resolved, age, and that the plan is still this one.
    ///
    /// # Errors
    /// [`GuardError`] when the journal cannot be read: nothing may happen then.
    pub async fn clear(
        &self,
        permit: &Permit,
        step: u32,
        attempt: u32,
        incident: &mut Incident,
        now: Timestamp,
    ) -> Result<Result<Clearance, Reason>, GuardError> {
        let _ = (permit, step, attempt, incident, now);
        unimplemented!("clearing")
    }
}
