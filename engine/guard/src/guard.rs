//! Judging and recording as one atomic step.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};
use untoil_journal::{AppendError, Batch, Journal, JournalError, catch_up};
use untoil_model::{
    Actor, Body, Draft, EngineMode, Entry, Incident, Part, Plan, Progress, Run, RunKind,
    StepOutcome, Stream, Verdict,
};

use crate::{Judgement, Ledger, Opinion, Permit, Policy, Request, judge};

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
        Self { journal, policy, engine, actor, ledger: Mutex::default() }
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
        for _ in 0..TRIES {
            catch_up(self.journal(), incident).await?;
            let (run, part) = waiting(incident)?;
            let plan = part.plan.clone();
            let ledger = self.ledger(now).await?;
            let request = Request { incident, engine: self.engine };
            let opinion = judge(&request, &ledger, &self.policy, now);
            if let Verdict::Hold { reason, until } = &opinion.verdict
                && part.verdict.as_ref() == Some(&opinion.verdict)
            {
                let judgement = Judgement::Hold { reason: reason.clone(), until: *until };
                return Ok(Judged { judgement, entries: Vec::new() });
            }
            let batch = self.record(incident, (run, &plan), &opinion, now);
            // Only a reservation needs the ledger to stand still, and then nobody else here may judge:
            // they would only conflict. A hold or a denial lets go of it and waits for the disk alone.
            let (batch, ledger) = match opinion.verdict {
                Verdict::Allow {} => (batch.expect(Stream::Ledger, ledger.seq), Some(ledger)),
                Verdict::Hold { .. } | Verdict::Deny { .. } => (batch, None),
            };
            let entries = match self.journal.append(batch).await {
                Ok(entries) => entries,
                Err(AppendError::Conflict { .. } | AppendError::Decided(_)) => continue,
                Err(AppendError::Journal(error)) => return Err(error.into()),
            };
            if let Some(mut ledger) = ledger {
                for entry in &entries {
                    ledger.apply(entry);
                }
            }
            for entry in &entries {
                incident.apply(entry);
            }
            let judgement = match opinion.verdict {
                Verdict::Allow {} => Judgement::Allow(permit(incident, plan)?),
                Verdict::Hold { reason, until } => Judgement::Hold { reason, until },
                Verdict::Deny { reason } => Judgement::Deny(reason),
            };
            return Ok(Judged { judgement, entries });
        }
        Err(GuardError::Contended(TRIES))
    }

    fn record(
        &self,
        incident: &Incident,
        (run, plan): (&Run, &Plan),
        opinion: &Opinion,
        now: Timestamp,
    ) -> Batch {
        let mut parents = plan.parents.clone();
        for step in plan.steps.iter().filter(|step| step.class.writes()) {
            if step.target != plan.target && !parents.contains(&step.target) {
                parents.push(step.target.clone());
            }
        }
        let body = Body::Judged {
            run: run.id.clone(),
            part: number(run.parts.len().saturating_sub(1)),
            verdict: opinion.verdict.clone(),
            rule: plan.rule.clone(),
            target: plan.target.clone(),
            parents,
            writes: plan.writes(),
            authority: opinion.authority.clone(),
            gates: opinion.gates.clone(),
        };
        let mut drafts = vec![Draft::of(&incident.id, now, self.actor.clone(), body)];
        if let Verdict::Deny { reason } = &opinion.verdict {
            // A lease that stays out is never quiet.
            if reason.escalates() || plan.kind == RunKind::Return {
                let body =
                    Body::Escalated { reason: reason.clone(), mention: plan.mention.clone() };
                drafts.push(Draft::of(&incident.id, now, self.actor.clone(), body));
            }
        }
        let id = incident.id.clone();
        Batch::of(drafts).expect(Stream::Incident(id.clone()), incident.seq).holding(id)
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
        permit(incident, part.plan.clone()).ok()
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
}

fn number(n: usize) -> u32 {
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

/// The run and the part that wait for a judgement.
fn waiting(incident: &Incident) -> Result<(&Run, &Part), GuardError> {
    let run = incident.run.as_ref().filter(|_| !incident.is_closed());
    let waiting = run.and_then(|run| Some((run, run.part()?))).filter(|(_, part)| {
        let open = matches!(part.verdict, None | Some(Verdict::Hold { .. }));
        open && !part.plan.steps.is_empty()
    });
    waiting.ok_or_else(|| GuardError::NoPlan(incident.id.to_string()))
}

/// The permit for the newest part, which the journal says is allowed.
fn permit(incident: &Incident, plan: Plan) -> Result<Permit, GuardError> {
    let run = incident.run.as_ref().ok_or_else(|| GuardError::NoPlan(incident.id.to_string()))?;
    Ok(Permit {
        run: run.id.clone(),
        part: number(run.parts.len().saturating_sub(1)),
        first_step: number(run.steps.len().saturating_sub(plan.steps.len())),
        plan,
    })
}
