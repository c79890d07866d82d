//! One step: look again, record the intent, call, follow, and find again what was lost.

mod begin;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use untoil_actions::{Action, CallError, Following, Found, Order, ReadError, Repeat};
use untoil_guard::{Clearance, Permit};
use untoil_model::{Body, Hash, Incident, Progress, Reason, Step, StepOutcome, StepRef, Work};

use crate::{Runner, RunnerError};

/// A throttled call is tried this often in all: with doubling waits for one to two minutes. In a storm
/// many wait for one API, and one whose turn may still come should not be given up: nothing has
/// happened. It is over just before the two minutes are within which the guard lets a first step begin
/// (`call_within`), so that people are told of the throttling.
const THROTTLED_TRIES_MAX: u32 = 8;
/// First wait after a throttled call; doubles, with jitter.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between tries.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A call whose outcome was lost is made again at most once, and only where that is harmless.
const LOST_TRIES_MAX: u32 = 2;
/// How long to look for a lost call. SSM's lists lag by up to about a minute (`GetCommandInvocation`'s
/// official waiter retries for 100 s).
const FIND_FOR: Duration = Duration::from_secs(90);
/// By how much the time of day of whoever recorded an intent may differ from ours: AWS refuses what is
/// signed by a clock that is off by five minutes, in either direction.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_mins(10);
/// Wait between two looks for a lost call.
const FIND_EVERY: Duration = Duration::from_secs(5);
/// Wait before following again after a failed read.
const READ_AGAIN: Duration = Duration::from_secs(5);
/// A call that has not answered by then is lost: longer than the ports' own time-outs, of 15 s. With the
/// minute for which it is then looked for it leaves time for another try (`call_within`).
const CALL_MAX: Duration = Duration::from_secs(30);

/// How old a look at the world may be when a call begins because of it: as long as the guard lets a first
/// step begin. A journal that hangs may stand between them for longer.
const LOOK_MAX: Duration = Duration::from_mins(2);

/// News of the incident, or of the ledger, may come in between the last look and the intent this
/// often; in a busy hour other runs are judged all the time.
const INTENTS_MAX: u32 = 20;

/// A step with its place, taken out of the incident.
struct Placed {
    step: Arc<Step>,
    at: StepRef,
    tries: u32,
    progress: Progress,
}

/// The right to make a call whose intent is recorded.
struct Cleared {
    may: Clearance,
    /// When this instance's tenure ended, as it was known before the intent; in ticks.
    begin_by: Option<Duration>,
    /// When the world was looked at again; in ticks.
    looked: Duration,
}

impl Runner {
    fn placed(incident: &Incident, n: u32) -> Result<Placed, RunnerError> {
        let misplaced =
            || RunnerError::Misplaced { incident: incident.id.to_string(), what: "such step" };
        let run = incident.run.as_ref().ok_or_else(misplaced)?;
        let slot = usize::try_from(n).ok().and_then(|n| run.steps.get(n)).ok_or_else(misplaced)?;
        Ok(Placed {
            step: slot.0.clone(),
            at: StepRef { run: run.id.clone(), step: n },
            tries: incident.tries.get(&n).copied().unwrap_or(0),
            progress: slot.1.clone(),
        })
    }

    /// Waits before a step: what its rule asks for, or what a throttled call needs. Nothing is lost
    /// by dropping it.
    pub async fn wait_before(&self, incident: &Incident, n: u32) {
        let Ok(placed) = Self::placed(incident, n) else { return };
        if placed.tries > 0 {
            return self.pen.clock.sleep(backoff(&placed.at, placed.tries)).await;
        }
        if placed.step.after.as_secs() == 0 {
            return;
        }
        let from = incident.run.as_ref().and_then(untoil_model::Run::finished_at);
        let wait = SignedDuration::try_from(placed.step.after.duration()).unwrap_or_default();
        let until = from.unwrap_or_else(|| self.pen.clock.now()).saturating_add(wait);
        if let Ok(until) = until {
            self.pen.clock.sleep_until(until).await;
        }
    }

    /// Begins a step: looks again, records the intent and calls.
    ///
    /// Afterwards the step is sent, finished, waiting for another try, or started with its outcome
    /// unknown; the incident says which. Told to [stop](Runner::until) it is as it was.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made; then nothing was called.
    pub async fn call(
        &self,
        permit: &Permit,
        incident: &mut Incident,
        n: u32,
    ) -> Result<(), RunnerError> {
        let placed = Self::placed(incident, n)?;
        let attempt = placed.tries + 1;
        let action = self.action(&placed.step, incident)?;
        let Some(hands) = &self.hands else {
            return self.refuse(incident, &placed, attempt, &Reason::DryRun {}).await;
        };
        let looked = self.pen.clock.ticks();
        if let Err(reason) = action.look_again(&self.eyes, &placed.step).await {
            return self.refuse(incident, &placed, attempt, &reason).await;
        }
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let Some((may, begin_by)) = self.intend(permit, incident, (&placed, attempt)).await? else {
            return Ok(());
        };
        let cleared = Cleared { may, begin_by, looked };
        let answer = self.make((action, hands), cleared, &placed).await;
        self.record(incident, &placed, attempt, answer).await
    }

    /// Has the guard look again and records the intent, on condition that nothing was heard of the
    /// incident in between: of two engines that know the same permit only one gets here. With when this
    /// instance's tenure ended, as it was known before that.
    async fn intend(
        &self,
        permit: &Permit,
        incident: &mut Incident,
        (placed, attempt): (&Placed, u32),
    ) -> Result<Option<(Clearance, Option<Duration>)>, RunnerError> {
        for _ in 0..INTENTS_MAX {
            let now = self.pen.clock.now();
            let begin_by = self.tenure.until();
            let n = placed.at.step;
            let may = match self.guard.clear(permit, n, attempt, incident, now).await? {
                Ok(may) => may,
                // The incident is not where this worker thought it was: nothing is refused, and the
                // worker asks it anew.
                Err(reason)
                    if misplaced(&reason) || incident.work() != (Work::Call { step: n }) =>
                {
                    return Ok(None);
                }
                Err(reason) => {
                    self.refuse(incident, placed, attempt, &reason).await?;
                    return Ok(None);
                }
            };
            let ledger_at = may.ledger_at();
            let started = Body::Started {
                step: placed.at.clone(),
                attempt,
                does: Arc::clone(&placed.step),
                marker: may.marker(),
                not_after: may.not_after(),
            };
            if self.pen.intend(incident, started, ledger_at).await? {
                return Ok(Some((may, begin_by)));
            }
        }
        // News kept coming in; the worker takes the step up again from the incident as it is then.
        Ok(None)
    }

    async fn make(
        &self,
        (action, hands): (&dyn Action, &untoil_actions::Hands),
        cleared: Cleared,
        placed: &Placed,
    ) -> Result<String, CallError> {
        let now = self.pen.clock.now();
        if let Some(why) = self.too_late(&cleared, now) {
            return Err(CallError::NotSent { why });
        }
        let may = cleared.may;
        let marker = may.marker();
        let order = Order {
            step: &placed.step,
            at: &placed.at,
            marker: &marker,
            started_at: now,
            age: Duration::ZERO,
        };
        let answer = tokio::select! {
            biased;
            answer = action.call(hands, may, &order) => answer,
            () = self.pen.clock.sleep(CALL_MAX) => Err(CallError::Unknown {
                why: format!("no answer within {} s", CALL_MAX.as_secs()),
            }),
        };
        if matches!(answer, Err(CallError::Unknown { .. })) {
            // Not from its beginning: a process that was stopped may have sent it just now.
            self.given_up.note(&marker, self.pen.clock.ticks());
        }
        answer
    }

    /// Why a call must not begin any more although its intent is recorded.
    ///
    /// The process may have been stopped since. Until the tenure's end as it was known before the
    /// intent nobody else has adopted the incident, and nobody does within the seconds by which a lease
    /// is longer than a tenure. What is left is a process that is stopped from here on, in the middle
    /// of sending; then the clearance's end bounds what a host does, and AWS takes no request that was
    /// signed five minutes ago.
    fn too_late(&self, cleared: &Cleared, now: Timestamp) -> Option<String> {
        let (Cleared { may, begin_by, looked }, ticks) = (cleared, self.pen.clock.ticks());
        if begin_by.is_some_and(|begin_by| ticks >= begin_by) {
            return Some("this instance was not heard for too long to act".to_owned());
        }
        let age = ticks.saturating_sub(*looked);
        if age > LOOK_MAX {
            return Some(format!("it was looked at {} s before", age.as_secs()));
        }
        let not_after = may.not_after();
        (now > not_after).then(|| format!("the clearance ended at {not_after}, and it is {now}"))
    }

    async fn record(
        &self,
        incident: &mut Incident,
        placed: &Placed,
        attempt: u32,
        answer: Result<String, CallError>,
    ) -> Result<(), RunnerError> {
        let step = placed.at.clone();
        let body = match answer {
            Ok(handle) => Body::Sent { step, attempt, handle },
            Err(CallError::Refused { code, why, missing }) => {
                let why = match missing {
                    Some(missing) => format!(
                        "{why}; missing permission `{}` on `{}`",
                        missing.action, missing.resource
                    ),
                    None => why,
                };
                return self
                    .finish(incident, placed, attempt, StepOutcome::Refused { code, why })
                    .await;
            }
            // The services called here name no time to come back, so the wait is our own.
            Err(CallError::Throttled { why, .. }) => {
                return self.again(incident, placed, attempt, ("throttled", why)).await;
            }
            Err(CallError::NotSent { why }) => {
                return self.again(incident, placed, attempt, ("not_sent", why)).await;
            }
            // The step stays `started`: what comes next is to look for it.
            Err(CallError::Unknown { why }) => {
                tracing::warn!(step = %placed.at, why, "outcome of a call is unknown; looking for it");
                return Ok(());
            }
        };
        self.pen.write(incident, vec![body]).await
    }

    /// Nothing happened; the step waits for another try, a bounded number of times.
    async fn again(
        &self,
        incident: &mut Incident,
        placed: &Placed,
        attempt: u32,
        (code, why): (&str, String),
    ) -> Result<(), RunnerError> {
        if attempt >= THROTTLED_TRIES_MAX {
            let why = format!("{why}; gave up after {attempt} tries");
            return self.refused(incident, placed, attempt, (code.to_owned(), why)).await;
        }
        let step = placed.at.clone();
        self.pen.write(incident, vec![Body::Backoff { step, attempt, why, lost: false }]).await
    }

    async fn refuse(
        &self,
        incident: &mut Incident,
        placed: &Placed,
        attempt: u32,
        reason: &Reason,
    ) -> Result<(), RunnerError> {
        let (code, why) = (reason.code().to_owned(), reason.to_string());
        self.refused(incident, placed, attempt, (code, why)).await
    }

    /// A refusal proves that *this* try did nothing. Of an earlier try that was lost it proves nothing.
    async fn refused(
        &self,
        incident: &mut Incident,
        placed: &Placed,
        attempt: u32,
        (code, why): (String, String),
    ) -> Result<(), RunnerError> {
        let outcome = if incident.lost.contains(&placed.at.step) {
            let why = format!("an earlier try may have taken effect; try {attempt}: {code}: {why}");
            StepOutcome::Unknown { why }
        } else {
            StepOutcome::Refused { code, why }
        };
        self.finish(incident, placed, attempt, outcome).await
    }

    async fn finish(
        &self,
        incident: &mut Incident,
        placed: &Placed,
        attempt: u32,
        outcome: StepOutcome,
    ) -> Result<(), RunnerError> {
        let does = Arc::clone(&placed.step);
        let body = Body::Finished { step: placed.at.clone(), attempt, does, outcome };
        self.pen.write(incident, vec![body]).await
    }

    /// Looks for a call of which only the intent is known: after a lost answer, or after a crash.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn find(&self, incident: &mut Incident, n: u32) -> Result<(), RunnerError> {
        let placed = Self::placed(incident, n)?;
        let Progress::Started { at: started_at, attempt, marker } = placed.progress.clone() else {
            return Ok(());
        };
        let action = self.action(&placed.step, incident)?;
        // That nothing was done is only proven by time, so only time that surely passed counts: since
        // this process gave it up; or, of another's call, what is left of the times of day when both
        // clocks were wrong, and what was waited here.
        let clock = &self.pen.clock;
        let (before, since) = match self.given_up.take(&marker) {
            Some(given_up) => (Duration::ZERO, given_up),
            None => {
                let wall = passed(started_at, clock.now());
                (wall.saturating_sub(CLOCKS_DIFFER_MAX), clock.ticks())
            }
        };
        let age = || before + clock.ticks().saturating_sub(since);
        let mut seen = self.look(action, &placed, (&marker, started_at), age()).await;
        while matches!(seen, Ok(Found::NotSeen) | Err(ReadError::Unavailable { .. }))
            && age() < FIND_FOR
        {
            self.pen.clock.sleep(FIND_EVERY).await;
            seen = self.look(action, &placed, (&marker, started_at), age()).await;
        }
        let repeatable = action.spec().repeat == Repeat::Safe && attempt < LOST_TRIES_MAX;
        let step = placed.at.clone();
        match seen {
            Ok(Found::Sent(handle)) => {
                self.pen.write(incident, vec![Body::Sent { step, attempt, handle }]).await
            }
            Ok(Found::Ended(outcome)) => self.finish(incident, &placed, attempt, outcome).await,
            Ok(Found::NotSent) if attempt < THROTTLED_TRIES_MAX => {
                let why = "it provably did not go through".to_owned();
                self.again(incident, &placed, attempt, ("not_sent", why)).await
            }
            Ok(Found::Repeatable) if attempt < LOST_TRIES_MAX => {
                let why = "it cannot be looked up, and its rule says it may be repeated".to_owned();
                let body = Body::Backoff { step, attempt, why, lost: true };
                self.pen.write(incident, vec![body]).await
            }
            Ok(Found::NotSeen) if repeatable => {
                let why = "it cannot be found, and making it again is harmless".to_owned();
                let body = Body::Backoff { step, attempt, why, lost: true };
                self.pen.write(incident, vec![body]).await
            }
            Ok(Found::NotSent | Found::NotSeen | Found::Repeatable) => {
                let why = format!("no trace of `{marker}` was found, which proves nothing");
                self.finish(incident, &placed, attempt, StepOutcome::Unknown { why }).await
            }
            Err(e) => {
                let why = format!("it could not be looked for: {e}");
                self.finish(incident, &placed, attempt, StepOutcome::Unknown { why }).await
            }
        }
    }

    async fn look(
        &self,
        action: &dyn Action,
        placed: &Placed,
        (marker, started_at): (&str, Timestamp),
        age: Duration,
    ) -> Result<Found, ReadError> {
        let order = Order { step: &placed.step, at: &placed.at, marker, started_at, age };
        action.find(&self.eyes, &order).await
    }

    /// Follows an accepted call to its end, or until it should have settled.
    ///
    /// # Errors
    /// [`RunnerError`] when the record cannot be made.
    pub async fn settle(&self, incident: &mut Incident, n: u32) -> Result<(), RunnerError> {
        let placed = Self::placed(incident, n)?;
        let Progress::Sent { at: sent_at, handle } = placed.progress.clone() else { return Ok(()) };
        let action = self.action(&placed.step, incident)?;
        let attempt = placed.tries.max(1);
        let marker = placed.at.run.marker(n, attempt);
        let settle = SignedDuration::try_from(placed.step.settle.duration()).unwrap_or_default();
        let give_up = sent_at.saturating_add(settle).unwrap_or(sent_at);
        let outcome = loop {
            let order = Order {
                step: &placed.step,
                at: &placed.at,
                marker: &marker,
                started_at: sent_at,
                age: passed(sent_at, self.pen.clock.now()),
            };
            let (wait, last) = match action.follow(&self.eyes, &order, &handle).await {
                Ok(Following::Ended(outcome)) => break outcome,
                Ok(Following::Going(wait)) => (wait, "it had not settled".to_owned()),
                Err(e) => (READ_AGAIN, e.to_string()),
            };
            if self.pen.clock.now() >= give_up {
                let why = format!("after {}: {last}", placed.step.settle);
                break StepOutcome::Unknown { why };
            }
            self.pen.clock.sleep(wait).await;
        };
        self.finish(incident, &placed, attempt, outcome).await
    }
}

/// How much later `now` is; nothing when it is earlier.
fn passed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// Whether the guard says that this step is not what comes next, rather than that it may not be done.
fn misplaced(reason: &Reason) -> bool {
    let Reason::PrecheckFailed { check, .. } = reason else { return false };
    matches!(check.as_str(), "at_most_once" | "order")
}

/// Doubling waits with jitter. The jitter comes from the step's name, so that a run can be repeated
/// while different runs still spread.
fn backoff(at: &StepRef, attempt: u32) -> Duration {
    let full = BACKOFF_FIRST.saturating_mul(1 << attempt.min(5)).min(BACKOFF_MAX);
    let seed = Hash::of(format!("{at}#{attempt}").as_bytes()).short();
    let part = u32::from_str_radix(&seed[..4], 16).unwrap_or(0);
    full / 2 + full.mul_f64(f64::from(part) / 65_536.0) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_inside_their_bounds() {
        let key = "k".parse().unwrap();
        let run = untoil_model::IncidentId::derive(Timestamp::UNIX_EPOCH, &key, "d").run(1);
        let at = StepRef { run, step: 0 };
        for attempt in 1..40 {
            let wait = backoff(&at, attempt);
            assert!(wait >= BACKOFF_FIRST && wait <= BACKOFF_MAX, "{attempt}: {wait:?}");
        }
        assert!(backoff(&at, 5) > backoff(&at, 1));
    }
}
