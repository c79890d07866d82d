//! Did it help? The alarm must clear and stay clear; no data is not success.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use untoil_journal::catch_up;
use untoil_model::{
    Alarm, AlarmState, Body, Incident, Period, Plan, Reason, Run, RunKind, RunOutcome, Sample,
    Standing, StepOutcome, Verdict, Work,
};

use crate::runner::mention;
use crate::{Runner, RunnerError};

/// How often the alarm's origin is asked while waiting: alarms without an OK action never say it.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// An alarm counts as worse when its distance from the threshold grew by this factor.
const WORSE: f64 = 1.2;

/// Asks whoever has a run watched to come back at a time instead; says whether it will.
pub type Leaves<'a> = &'a (dyn Fn(Timestamp) -> bool + Sync);

/// Whether a run is watched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// No: the incident says what comes next.
    Over,
    /// Whoever watches comes back for it, at the time that it was asked for.
    Left,
}

/// What watching came to.
enum Seen {
    /// Another instance went on with the run meanwhile.
    Elsewhere,
    /// It is to be looked at again later.
    Later,
    Effective,
    Ineffective,
    Harmful(String),
    NoData,
}

impl Runner {
    /// Waits until the run's outcome is known, and concludes it. `news` is rung when the incident
    /// has new entries from elsewhere; before each wait `leaves` may take it over. Nothing is lost by
    /// dropping it.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made or read.
    pub async fn watch(
        &self,
        incident: &mut Incident,
        since: Timestamp,
        waiting: (&Notify, Leaves<'_>),
    ) -> Result<Watched, RunnerError> {
        let Some(plan) = plan_of(incident).cloned() else {
            return Err(RunnerError::Misplaced { incident: incident.id.to_string(), what: "run" });
        };
        if plan.kind == RunKind::Return {
            self.end(incident, RunOutcome::Effective, None).await?;
            return Ok(Watched::Over);
        }
        if !incident.run.as_ref().is_some_and(Run::has_acted) {
            let detail = "the rule changed nothing, and the alarm still fires".to_owned();
            // A rule that saw nothing to do has said so in its plan; nobody is called for that.
            let had_steps = incident.run.as_ref().is_some_and(|run| !run.steps.is_empty());
            let calls = had_steps && !incident.is_clear();
            let reason = calls.then_some(Reason::Inconclusive { detail });
            self.end(incident, RunOutcome::Inconclusive, reason).await?;
            return Ok(Watched::Over);
        }
        let waited = plan.verify.clears_within;
        let (outcome, reason) = match self.wait_for_clear(incident, (&plan, since), waiting).await?
        {
            Seen::Elsewhere => return Ok(Watched::Over),
            Seen::Later => return Ok(Watched::Left),
            Seen::Effective => (RunOutcome::Effective, None),
            Seen::Ineffective => (RunOutcome::Ineffective, Some(Reason::Ineffective { waited })),
            Seen::Harmful(detail) => (RunOutcome::Harmful, Some(Reason::Harmful { detail })),
            Seen::NoData => {
                let detail = format!("the alarm had no data for {waited}");
                (RunOutcome::Inconclusive, Some(Reason::Inconclusive { detail }))
            }
        };
        self.end(incident, outcome, reason).await?;
        Ok(Watched::Over)
    }

    async fn wait_for_clear(
        &self,
        incident: &mut Incident,
        (plan, since): (&Plan, Timestamp),
        (news, leaves): (&Notify, Leaves<'_>),
    ) -> Result<Seen, RunnerError> {
        let deadline = plus(since, plan.verify.clears_within);
        let mut looked_at = since;
        loop {
            catch_up(&*self.pen.journal, incident).await?;
            // This instance may have been stopped, and have lost the incident and got it back.
            if incident.work() != (Work::Watch { since }) {
                return Ok(Seen::Elsewhere);
            }
            let now = self.pen.clock.now();
            let wake = match incident.clear_since {
                Some(clear) => {
                    let held = plus(clear.max(since), plan.verify.holds_for);
                    if now >= held {
                        return Ok(Seen::Effective);
                    }
                    held
                }
                None if now >= deadline => return Ok(unhealed(incident)),
                None => deadline,
            };
            let look_at = plus(looked_at, Period::secs(LOOK_EVERY.as_secs()));
            let look_at = has_origin(&incident.alarm).then_some(look_at);
            if look_at.is_some_and(|at| now >= at) {
                looked_at = now;
                self.look_at_origin(incident).await?;
                continue;
            }
            let until = look_at.map_or(wake, |at| wake.min(at));
            if leaves(until) {
                return Ok(Seen::Later);
            }
            tokio::select! {
                biased;
                () = self.pen.clock.sleep_until(until) => {}
                // A ring that came since the incident was read is kept, so it ends this wait at once.
                () = news.notified() => {}
            }
        }
    }

    /// Asks CloudWatch for the alarm's state, and records it when it is news.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made; an unreadable origin is no error.
    pub async fn look_at_origin(&self, incident: &mut Incident) -> Result<(), RunnerError> {
        if !has_origin(&incident.alarm) {
            return Ok(());
        }
        let look = match self.eyes.metrics.alarm(&incident.alarm.name).await {
            Ok(look) => look,
            Err(e) => {
                tracing::debug!(incident.id = %incident.id, error = %e, "the alarm's origin cannot be read");
                return Ok(());
            }
        };
        // Another account or Region may have an alarm of this name.
        if look.arn.is_some()
            && incident.alarm.origin.is_some()
            && look.arn != incident.alarm.origin
        {
            return Ok(());
        }
        let (state, standing) = match look.state.as_str() {
            "OK" => (AlarmState::Resolved, Standing::Cleared),
            "ALARM" => (AlarmState::Firing, Standing::Again),
            "INSUFFICIENT_DATA" => (AlarmState::NoData, Standing::Lost),
            _ => return Ok(()),
        };
        let changed_at = look.changed_at.unwrap_or_else(|| self.pen.clock.now());
        if state == incident.alarm.state || changed_at < incident.alarm.changed_at {
            return Ok(());
        }
        let alarm = Alarm {
            state,
            changed_at,
            reason: look.reason,
            value: None,
            ..Alarm::clone(&incident.alarm)
        };
        let looked = vec![Body::Looked { alarm: Arc::new(alarm), standing }];
        // A word from the sender in between is newer than this look.
        self.pen.write_if_still(incident, looked).await.map(drop)
    }

    /// Concludes a run whose steps cannot go on.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn conclude(&self, incident: &mut Incident) -> Result<(), RunnerError> {
        let (outcome, reason) = stopped(incident);
        self.end(incident, outcome, reason).await
    }

    async fn end(
        &self,
        incident: &mut Incident,
        outcome: RunOutcome,
        why: Option<Reason>,
    ) -> Result<(), RunnerError> {
        let Some((run, plan)) = incident.run.as_ref().zip(plan_of(incident)) else {
            return Err(RunnerError::Misplaced { incident: incident.id.to_string(), what: "run" });
        };
        let sample = Sample {
            at: self.pen.clock.now(),
            what: "alarm".into(),
            saw: match incident.alarm.value {
                Some(value) => format!("{}, {value}", incident.alarm.state.as_str()),
                None => incident.alarm.state.as_str().to_owned(),
            },
        };
        let mut bodies = vec![Body::Concluded {
            run: run.id.clone(),
            rule: plan.rule.clone(),
            target: plan.target.clone(),
            outcome,
            why: why.clone(),
            samples: vec![sample],
        }];
        let mention = mention(incident);
        if let Some(reason) = why {
            if let (RunKind::Return, Some((lease, _))) = (plan.kind, &incident.lease) {
                let target = lease.target.clone();
                bodies.push(Body::LeaseDropped { target, reason: reason.clone() });
            }
            bodies.push(Body::Escalated { reason, mention });
        }
        // If it fires, or clears, at this moment, the outcome may be another: the worker asks anew.
        self.pen.write_if_still(incident, bodies).await.map(drop)
    }
}

fn plan_of(incident: &Incident) -> Option<&Plan> {
    incident.run.as_ref().and_then(Run::part).map(|part| &*part.plan)
}

fn plus(at: Timestamp, period: Period) -> Timestamp {
    let span = SignedDuration::try_from(period.duration()).unwrap_or_default();
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// Whether its origin can be asked for it. A contributor has no alarm of its own name to ask for.
fn has_origin(alarm: &Alarm) -> bool {
    let origin = alarm.origin.as_deref().unwrap_or_default();
    let is_contributor = !origin.is_empty() && alarm.key.as_str() != format!("cloudwatch:{origin}");
    alarm.source.as_str() == "cloudwatch" && !is_contributor
}

/// Why a run that cannot go on ends, and whether a person must hear of it.
fn stopped(incident: &Incident) -> (RunOutcome, Option<Reason>) {
    let Some(run) = &incident.run else { return (RunOutcome::Inconclusive, None) };
    let failed = run.results().into_iter().find_map(|result| match result.outcome {
        StepOutcome::Done { .. } => None,
        StepOutcome::Refused { code, why } => Some(match code.as_str() {
            "resolved_before_act" => (RunOutcome::Inconclusive, None),
            // The alarm fires again: not a failure, and the rule is asked anew.
            "precheck_failed" if run.kind == RunKind::Return && !incident.is_clear() => {
                (RunOutcome::Inconclusive, None)
            }
            _ => (
                RunOutcome::Ineffective,
                Some(Reason::StepRefused {
                    action: result.step.action,
                    target: result.step.target,
                    code,
                    why,
                }),
            ),
        }),
        StepOutcome::Unknown { why } => Some((
            RunOutcome::Inconclusive,
            Some(Reason::UnknownOutcome {
                action: result.step.action,
                target: result.step.target,
                why,
            }),
        )),
    });
    let denied = run.part().is_some_and(|part| matches!(part.verdict, Some(Verdict::Deny { .. })));
    debug_assert!(
        failed.is_some() || denied || run.failed.is_some(),
        "only a failed step, a denial or a failed rule stops a run"
    );
    // A denial or a failed rule has already reached its people, in the batch that recorded it.
    failed.unwrap_or((RunOutcome::Inconclusive, None))
}

fn unhealed(incident: &Incident) -> Seen {
    match (incident.alarm.state, distance(&incident.first), distance(&incident.alarm)) {
        (AlarmState::NoData, _, _) => Seen::NoData,
        (_, Some(before), Some(after)) if after > before * WORSE && before > 0.0 => Seen::Harmful(
            format!("the value moved from {before:.3} to {after:.3} beyond its threshold"),
        ),
        _ => Seen::Ineffective,
    }
}

fn distance(alarm: &Alarm) -> Option<f64> {
    Some((alarm.value? - alarm.threshold?).abs())
}
