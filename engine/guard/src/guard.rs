//! Judging and recording as one atomic step.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use untoil_journal::{Journal, JournalError, catch_up};
use untoil_model::{Actor, EngineMode, Entry, Incident, Progress, StepOutcome, Stream, Verdict};

use crate::permit::Claim;
use crate::session::{Company, Moved, Queue};
use crate::{Docket, First, Judgement, Ledger, Permit, Policy, Recorded};

/// How often a judgement or an answer is begun anew because the journal moved in between. Each try
/// reads what moved, and the ledger moves 30 times an hour; this many in a row is no coincidence.
pub(crate) const TRIES: u32 = 32;

/// How many entries of the ledger are read at a time.
const PAGE: usize = 500;

/// The guard: the only maker of permits.
#[derive(Debug)]
pub struct Guard {
    journal: Arc<dyn Journal>,
    policy: Policy,
    engine: EngineMode,
    actor: Actor,
    ledger: Mutex<Ledger>,
    /// Those who wait to be judged when the ledger is free.
    pub(crate) waiting: Queue,
}

/// A judgement with the entries that were written for it.
#[derive(Debug)]
pub struct Judged {
    /// What was said.
    pub judgement: Judgement,
    /// The `judged` entry, and an `escalated` one where a person must hear of a denial. Empty when
    /// it is held as before.
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
    pub fn new(
        journal: Arc<dyn Journal>,
        policy: Policy,
        engine: EngineMode,
        actor: Actor,
    ) -> Self {
        let (ledger, waiting) = (Mutex::default(), Queue::default());
        Self { journal, policy, engine, actor, ledger, waiting }
    }

    /// Judges the newest part of the incident's run and records it, atomically.
    ///
    /// The incident is folded on from the journal first, so that a word that came in meanwhile counts.
    /// A plan that is held as before (same reason, same time) gets no further entry.
    ///
    /// # Errors
    /// [`GuardError`]; nothing was allowed then. After [`GuardError::Journal`] it is not known whether
    /// the judgement was recorded: fold the incident on and ask it for its work.
    pub async fn judge(
        &self,
        incident: &mut Incident,
        now: Timestamp,
    ) -> Result<Judged, GuardError> {
        let docket = Docket { proposed: Vec::new(), first: First::Waits };
        let mut moved = 0;
        for _ in 0..TRIES {
            catch_up(self.journal(), incident).await?;
            match self.sit(incident, (&docket, Company::after(moved)), now).await? {
                Ok(Recorded { judgement, entries, may: _ }) => {
                    return Ok(Judged { judgement, entries });
                }
                Err(Moved::Incident) => moved += 1,
                Err(Moved::Ledger) => {}
            }
        }
        Err(GuardError::Contended(TRIES))
    }

    /// The permit of a part that was allowed before this process began, for what is left of it.
    ///
    /// `None` when the newest part was not allowed, a step of it has failed, or nothing of it is left
    /// to do.
    #[must_use]
    pub fn resume(&self, incident: &Incident) -> Option<Permit> {
        if incident.is_closed() {
            return None;
        }
        let run = incident.run.as_ref()?;
        let part = run.part()?;
        if !matches!(part.verdict, Some(Verdict::Allow {})) {
            return None;
        }
        let failed = run.steps.iter().any(|(_, progress)| failed(progress));
        let left = run.steps.iter().any(|(_, progress)| match progress {
            Progress::Waiting | Progress::Started { .. } | Progress::Sent { .. } => true,
            Progress::Finished { .. } => false,
        });
        if failed || !left {
            return None;
        }
        Some(Claim::of(incident)?.permit())
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        self.journal.as_ref()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn engine(&self) -> EngineMode {
        self.engine
    }

    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The ledger, folded on to the end of its stream. The first use reads all of it.
    pub(crate) async fn ledger(
        &self,
        now: Timestamp,
    ) -> Result<MutexGuard<'_, Ledger>, JournalError> {
        let mut ledger = self.ledger.lock().await;
        loop {
            let page = self.journal.read(&Stream::Ledger, ledger.seq, PAGE).await?;
            for entry in &page {
                ledger.apply(entry);
            }
            if page.len() < PAGE {
                break;
            }
        }
        ledger.prune(now);
        Ok(ledger)
    }

    /// Has the whole ledger read again.
    pub(crate) async fn forget_ledger(&self) {
        *self.ledger.lock().await = Ledger::default();
    }
}

pub(crate) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Whether a step ended in any way but well.
pub(crate) fn failed(progress: &Progress) -> bool {
    match progress {
        Progress::Finished { outcome: StepOutcome::Done { .. }, .. } => false,
        Progress::Finished { .. } => true,
        Progress::Waiting | Progress::Started { .. } | Progress::Sent { .. } => false,
    }
}
