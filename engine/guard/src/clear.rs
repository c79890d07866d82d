//! The last look, right before a call.

use std::sync::Arc;

use jiff::Timestamp;
use untoil_journal::catch_up;
use untoil_model::{
    AlarmState, Body, EngineMode, Incident, Period, Plan, Progress, Reason, Run, RunKind, Seq,
    Step, StepOutcome, StepRef, Verdict,
};

use crate::gates::{after, no_data, not_clear, paused, protection, since};
use crate::permit::Claim;
use crate::{Clearance, Guard, GuardError, Ledger, Permit};

/// How long a clearance is good for. SSM is told to give up delivering a command after 60 s
/// (`TimeoutSeconds=60`), and the host checks this time itself: a minute to send it, one to deliver.
const GOOD_FOR: Period = Period::mins(2);

/// How long after the step before it has finished a later step may still begin. Steps follow one
/// another at once, so a longer gap means that the engine was down and the world has moved on.
const LATER_WITHIN: Period = Period::hours(1);

impl Guard {
    /// Looks again right before a call: kill switch, mode, protection, resolved, age, and that the
    /// plan, the step and the try are those that come next. `attempt` counts from 1.
    ///
    /// What it says holds for the journal as it was read: the caller must append the step's `started`
    /// entry on condition that neither the incident nor, beyond [`Clearance::ledger_at`], the ledger
    /// has grown since. So a kill switch that was acknowledged before the intent stops the call.
    ///
    /// # Errors
    /// [`GuardError`] when the journal cannot be read: nothing may happen then.
    #[expect(
        clippy::too_many_arguments,
        reason = "the runner names exactly what it is about to do"
    )]
    pub async fn clear(
        &self,
        permit: &Permit,
        step: u32,
        attempt: u32,
        incident: &mut Incident,
        now: Timestamp,
    ) -> Result<Result<Clearance, Reason>, GuardError> {
        catch_up(self.journal(), incident).await?;
        let ledger = self.ledger(now).await?;
        let look = Look { claim: permit.claim(), n: step, attempt, incident, now };
        let reserved = ledger.allowed_at(permit.run());
        Ok(look.again(self, &ledger, reserved).map(|terms| terms.cleared(ledger.seq)))
    }
}

/// What a clearance will say. It is no right: what it rests on may not be in the journal yet.
#[derive(Debug)]
pub(crate) struct Terms {
    at: StepRef,
    step: Arc<Step>,
    attempt: u32,
    not_after: Timestamp,
}

impl Terms {
    /// The entry that must be in the journal before the call.
    pub(crate) fn intent(&self) -> Body {
        Body::Started {
            step: self.at.clone(),
            attempt: self.attempt,
            does: Arc::clone(&self.step),
            marker: self.at.run.marker(self.at.step, self.attempt),
            not_after: self.not_after,
        }
    }

    /// The right itself, once the journal says all that it rests on, up to `ledger_at` in the ledger.
    pub(crate) fn cleared(self, ledger_at: Seq) -> Clearance {
        let Self { at, step, attempt, not_after } = self;
        Clearance { at, step, attempt, not_after, ledger_at }
    }
}

/// The last look at one try of one step.
pub(crate) struct Look<'a> {
    pub(crate) claim: Claim<'a>,
    pub(crate) n: u32,
    pub(crate) attempt: u32,
    pub(crate) incident: &'a Incident,
    pub(crate) now: Timestamp,
}

impl Look<'_> {
    /// What the clearance will say, or why there is none. `reserved` is when the run was allowed, if
    /// it was and is not over.
    pub(crate) fn again(
        &self,
        guard: &Guard,
        ledger: &Ledger,
        reserved: Option<Timestamp>,
    ) -> Result<Terms, Reason> {
        let Claim { plan, run: id, .. } = self.claim;
        let (run, step) = self.allowed()?;
        if let Some(reason) = paused(ledger, plan) {
            return Err(reason);
        }
        if guard.engine() == EngineMode::DryRun {
            return Err(Reason::DryRun {});
        }
        if let Some(reason) = protection(plan, guard.policy()) {
            return Err(reason);
        }
        self.still_needed(run)?;
        self.is_next(run)?;
        let Some(reserved) = reserved else {
            return Err(refuse("reservation", format!("run `{id}` is over, or was never allowed")));
        };
        let (from, within) = match self.before(run) {
            Some(at) => (at, LATER_WITHIN),
            None => (reserved, guard.policy().call_within),
        };
        let ready = after(from, step.after);
        if self.now > after(ready, within) {
            let late = since(ready, self.now);
            return Err(refuse("call_within", format!("it is {late} late, at most {within}")));
        }
        Ok(Terms {
            at: StepRef { run: id.clone(), step: self.n },
            step: Arc::clone(step),
            attempt: self.attempt,
            not_after: after(self.now, GOOD_FOR),
        })
    }

    /// The run and the step, if the journal still says that exactly this plan is allowed.
    fn allowed(&self) -> Result<(&Run, &Arc<Step>), Reason> {
        let claim = self.claim;
        let changed = |now: &str| Reason::StalePlan {
            approved: claim.plan.hash().short(),
            now: now.to_owned(),
        };
        let run = self.incident.run.as_ref().filter(|run| run.id == *claim.run);
        let Some(run) = run.filter(|_| !self.incident.is_closed()) else {
            return Err(changed("nothing: the run is over"));
        };
        let part = run.part().ok_or_else(|| changed("nothing"))?;
        let same = run.parts.len() == usize_of(claim.part).saturating_add(1);
        if !same || part.plan != *claim.plan {
            return Err(changed(&part.plan.hash().short()));
        }
        if !matches!(part.verdict, Some(Verdict::Allow {})) {
            return Err(changed("not allowed"));
        }
        let step = step_of(claim.plan, claim.first_step, self.n);
        let step = step.and_then(|step| {
            let (planned, _) = run.steps.get(usize_of(self.n))?;
            (**planned == *step).then_some(planned)
        });
        let step =
            step.ok_or_else(|| refuse("step", format!("the plan has no step {}", self.n)))?;
        Ok((run, step))
    }

    /// A call that was throttled or never sent has not acted: it is not made for a clear alarm.
    fn still_needed(&self, run: &Run) -> Result<(), Reason> {
        match (run.kind, self.incident.alarm.state) {
            (RunKind::Remedy, _) if run.has_acted() => Ok(()),
            (RunKind::Remedy, AlarmState::Resolved) => Err(Reason::ResolvedBeforeAct {}),
            (RunKind::Remedy, AlarmState::NoData) => Err(no_data()),
            (RunKind::Remedy, AlarmState::Firing) | (RunKind::Return, AlarmState::Resolved) => {
                Ok(())
            }
            (RunKind::Return, state) => Err(not_clear(state.as_str())),
        }
    }

    /// The steps before it are done, it has not begun, and this is its next try.
    fn is_next(&self, run: &Run) -> Result<(), Reason> {
        for (n, (_, progress)) in run.steps.iter().enumerate().take(usize_of(self.n)) {
            if !matches!(progress, Progress::Finished { outcome: StepOutcome::Done { .. }, .. }) {
                return Err(refuse("order", format!("step {n} is not done")));
            }
        }
        match run.steps.get(usize_of(self.n)) {
            Some((_, Progress::Waiting)) => {}
            Some((
                _,
                Progress::Started { .. } | Progress::Sent { .. } | Progress::Finished { .. },
            ))
            | None => return Err(refuse("at_most_once", format!("step {} has begun", self.n))),
        }
        let next = self.incident.tries.get(&self.n).copied().unwrap_or(0).saturating_add(1);
        if self.attempt != next {
            let detail = format!("try {} of step {} is not its next, {next}", self.attempt, self.n);
            return Err(refuse("at_most_once", detail));
        }
        Ok(())
    }

    /// When the step before it finished, if this is not the first of its part.
    fn before(&self, run: &Run) -> Option<Timestamp> {
        if self.n == self.claim.first_step {
            return None;
        }
        match run.steps.get(usize_of(self.n.checked_sub(1)?))? {
            (_, Progress::Finished { at, .. }) => Some(*at),
            (_, Progress::Waiting | Progress::Started { .. } | Progress::Sent { .. }) => None,
        }
    }
}

fn step_of(plan: &Plan, first: u32, n: u32) -> Option<&Step> {
    plan.steps.get(usize_of(n.checked_sub(first)?))
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn refuse(check: &str, detail: String) -> Reason {
    Reason::PrecheckFailed { check: check.to_owned(), detail }
}
