//! Judging with the way to the first call as short as it gets: plan, judgement and intent in one commit.

use std::time::Duration;

use untoil_actions::{Action, Hands};
use untoil_guard::{Docket, First, Foreseen, GuardError, Judgement, Permit, Recorded};
use untoil_model::{Body, Incident, Reason, Seq};

use super::Cleared;
use crate::{Runner, RunnerError};

/// What makes a call.
type Means<'a> = (&'a dyn Action, &'a Hands);

impl Runner {
    /// Has the guard judge what a rule proposed, or what is planned already when nothing is `proposed`,
    /// and begins the first step of what is allowed. Returns the permit for the rest.
    ///
    /// As much as possible is one commit. Where the incident has grown meanwhile, what was proposed is
    /// written by itself if it still fits, and is judged when the worker asks the incident anew.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made or read; then nothing was called, or the call is
    /// under way and its intent is in the journal.
    pub async fn judge(
        &self,
        incident: &mut Incident,
        proposed: Vec<Body>,
    ) -> Result<Option<Permit>, RunnerError> {
        let means = self.look_ahead(incident, &proposed).await?;
        let means = means.filter(|_| !self.stop.is_cancelled());
        let (first, means) = match means {
            Some((seen, looked, means)) => (First::Begins { seen }, Some((looked, means))),
            None => (First::Waits, None),
        };
        let (work, tries) = (incident.work(), incident.tries.clone());
        // Before the intent: whoever adopts the incident does not do so earlier than this.
        let begin_by = self.tenure.until();
        let docket = Docket { proposed, first };
        let now = self.pen.clock.now();
        let recorded = match self.guard.judge_at_once(incident, &docket, now).await {
            Ok(recorded) => recorded,
            // Others were faster each time, and the worker comes back to it.
            Err(error @ GuardError::Contended(_)) => {
                tracing::warn!(incident.id = %incident.id, %error, "a plan waits for its judgement");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let Some(Recorded { judgement, entries: _, may }) = recorded else {
            let fits = incident.work() == work && incident.tries == tries;
            if fits && !docket.proposed.is_empty() {
                self.pen.write(incident, docket.proposed).await?;
            }
            return Ok(None);
        };
        let Judgement::Allow(permit) = judgement else { return Ok(None) };
        // There is a clearance only where it was asked for, with the means to use it.
        if let (Some(may), Some((looked, means))) = (may, means) {
            let placed = Self::placed(incident, permit.first_step())?;
            let attempt = placed.tries;
            let answer = self.make(means, Cleared { may, begin_by, looked }, &placed).await;
            self.record(incident, &placed, attempt, answer).await?;
        }
        Ok(Some(permit))
    }

    /// What makes the call of the first step, since when, and when it was looked at in ticks, if that can begin with its judgement: it
    /// would be allowed, need not wait, can be called here, and the world is as the plan saw it. In
    /// doubt there is none, and the step is taken up by itself, later.
    async fn look_ahead(
        &self,
        incident: &Incident,
        proposed: &[Body],
    ) -> Result<Option<(Seq, Duration, Means<'_>)>, RunnerError> {
        let Some(hands) = &self.hands else { return Ok(None) };
        // Many may wait for one target, and all ask when it is free: the one that gets it looks then.
        if matches!(incident.held(), Some(Reason::TargetBusy { .. })) {
            return Ok(None);
        }
        let now = self.pen.clock.now();
        let foreseen = self.guard.foresee(incident, proposed, now).await?;
        let foreseen = foreseen.filter(|foreseen| foreseen.step.after.as_secs() == 0);
        let Some(Foreseen { step, seen }) = foreseen else { return Ok(None) };
        let Some(action) = self.catalogue.of(&step.action) else { return Ok(None) };
        let ticks = self.pen.clock.ticks();
        let looked = action.look_again(&self.eyes, &step).await;
        Ok(looked.ok().map(|()| (seen, ticks, (&**action, hands))))
    }
}
