//! One incident's worker: asks the incident what is next, does it, and asks again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use untoil_guard::Permit;
use untoil_journal::{catch_up, load};
use untoil_model::{Body, Incident, Reason, Work};
use untoil_runner::{RunnerError, Watched};

use crate::bell::{Place, Worker};
use crate::{Tools, asking};

/// First wait after the journal failed; doubles up to [`AGAIN_MAX`].
const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// Longest wait after the journal failed.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// How often the origin of an open alarm is asked when nothing else is to be done. Of 411 alarms that
/// all fire this makes less than one `DescribeAlarms` a second; CloudWatch takes nine.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// Works on an incident until nothing is left to do for now, or another instance has taken it over.
///
/// Thousands rest at once, each for minutes: what is only needed for a moment is boxed, so that a worker
/// that rests is small.
pub(crate) async fn work(tools: Arc<Tools>, mut place: Box<Place>) {
    let mut wait = AGAIN_FIRST;
    let (mut permit, mut opened) = (None, place.opened.take());
    while !place.worker.stop.is_cancelled() {
        let turned = turn(&tools, &place, opened.take(), &mut permit);
        let turned = AssertUnwindSafe(turned).catch_unwind().await;
        let ended = match turned {
            Ok(Ok(())) => return,
            Ok(Err(RunnerError::Misplaced { incident, what })) => {
                let fault = format!("incident `{incident}` has no {what}");
                Box::pin(give_up(&tools, &place, fault)).await
            }
            Ok(Err(error @ (RunnerError::Journal(_) | RunnerError::Guard(_)))) => Err(error),
            Err(_) => {
                let fault = "a panic; its message is on standard error";
                Box::pin(give_up(&tools, &place, fault.to_owned())).await
            }
        };
        let Err(error) = ended else { return };
        if error.is_taken_over() {
            tracing::debug!(incident.id = %place.incident, "another instance goes on with an incident");
            return;
        }
        if error.is_newer() {
            tracing::warn!(
                incident.id = %place.incident, %error,
                "an incident is left alone until an instance that can read it takes it over"
            );
            return;
        }
        tracing::error!(incident.id = %place.incident, %error, "an incident waits for the journal");
        permit = None;
        // A drain does not wait for a journal that is away.
        place.worker.stop.run_until_cancelled(tools.clock.sleep(wait)).await;
        wait = wait.saturating_mul(2).min(AGAIN_MAX);
    }
}

/// A bug stopped an incident's worker: a person is called, and it is taken up at the next news.
async fn give_up(tools: &Tools, place: &Place, fault: String) -> Result<(), RunnerError> {
    tracing::error!(incident.id = %place.incident, fault, "a bug stopped the work on an incident");
    let Some(mut incident) = load(&*tools.journal, &place.incident).await? else { return Ok(()) };
    let reason = Reason::Other { code: "engine_fault".into(), detail: fault };
    if incident.escalations.contains(&reason) {
        return Ok(());
    }
    let mention = incident.remedy.as_ref().and_then(|plan| plan.mention.clone());
    tools.runner.write(&mut incident, vec![Body::Escalated { reason, mention }]).await
}

/// Works until the worker may leave. An error means: the journal failed, begin again from it.
async fn turn(
    tools: &Tools,
    place: &Place,
    opened: Option<Box<Incident>>,
    permit: &mut Option<Permit>,
) -> Result<(), RunnerError> {
    let Worker { stop, .. } = &place.worker;
    let known = match opened {
        Some(incident) => Some(incident),
        None => Box::pin(load(&*tools.journal, &place.incident)).await?.map(Box::new),
    };
    let Some(mut incident) = known else { return Ok(()) };
    while !stop.is_cancelled() {
        catch_up(&*tools.journal, &mut incident).await?;
        match incident.work() {
            Work::Nothing => {
                let lease_over = lease_end(&incident);
                // Alarms without an OK action never say that they cleared, and words get lost.
                let asks = incident.alarm.source.as_str() == "cloudwatch" && !incident.is_closed();
                let look =
                    (asks && !place.is_crowded()).then(|| after(tools.clock.now(), LOOK_EVERY));
                let until = [lease_over, look].into_iter().flatten().min();
                if until.is_none() {
                    if place.leave() {
                        return Ok(());
                    }
                    // It has heard the ring by asking for it, so it must look and not wait for another.
                    continue;
                }
                if until.is_some_and(|until| place.leave_until(until, tools.clock.now())) {
                    return Ok(());
                }
                rest(tools, &place.worker, until).await;
                let now = tools.clock.now();
                if lease_over.is_some_and(|at| now >= at) {
                    Box::pin(tools.runner.lease_over(&mut incident)).await?;
                }
                if look.is_some_and(|at| now >= at) {
                    Box::pin(tools.runner.look_at_origin(&mut incident)).await?;
                }
            }
            Work::Wait { until } => {
                let queued = matches!(incident.held(), Some(Reason::TargetBusy { .. }));
                if queued {
                    place.queue();
                } else if place.leave_until(until, tools.clock.now()) {
                    return Ok(());
                }
                rest(tools, &place.worker, Some(until)).await;
                place.unqueue();
                if !stop.is_cancelled() && (queued || tools.clock.now() >= until) {
                    judge(tools, &mut incident, permit, Vec::new()).await?;
                }
            }
            work @ (Work::Match
            | Work::Ask
            | Work::Judge
            | Work::Call { .. }
            | Work::Find { .. }
            | Work::Settle { .. }
            | Work::Conclude
            | Work::Watch { .. }
            | Work::GiveBack
            | Work::Close { .. }) => {
                let (desk, runs) = (Desk { tools, place }, incident.past.len());
                if one(&desk, &mut incident, permit, work).await? == Watched::Left {
                    return Ok(());
                }
                if incident.past.len() > runs {
                    place.ring_queued();
                }
            }
        }
    }
    Ok(())
}

/// What a worker works with.
struct Desk<'a> {
    tools: &'a Tools,
    place: &'a Place,
}

/// Does one thing for an incident; says whether the worker has left its place.
async fn one(
    desk: &Desk<'_>,
    incident: &mut Incident,
    permit: &mut Option<Permit>,
    work: Work,
) -> Result<Watched, RunnerError> {
    if let Work::Watch { since } = work {
        return watch(desk, incident, since).await;
    }
    do_one(desk, incident, permit, work).await?;
    Ok(Watched::Over)
}

/// Does one thing for an incident. What only looks and waits ends at once on `stop`; a call is
/// carried to its record.
async fn do_one(
    Desk { tools, place }: &Desk<'_>,
    incident: &mut Incident,
    permit: &mut Option<Permit>,
    work: Work,
) -> Result<(), RunnerError> {
    let (runner, stop) = (&tools.runner, &place.worker.stop);
    match work {
        Work::Match => {
            let answer = crate::desk::answer(tools, &incident.alarm);
            runner.write(incident, vec![answer]).await
        }
        Work::Ask => {
            let asked = stop.run_until_cancelled(Box::pin(asking::ask(tools, incident))).await;
            let Some(bodies) = asked else { return Ok(()) };
            if proposes(&bodies) && !stop.is_cancelled() {
                judge(tools, incident, permit, bodies).await
            } else {
                runner.write(incident, bodies).await
            }
        }
        Work::Judge => judge(tools, incident, permit, Vec::new()).await,
        Work::Call { step } => {
            if permit.as_ref().is_none_or(|permit| !covers(permit, incident, step)) {
                *permit = tools.guard.resume(incident);
            }
            let Some(permit) = permit else { return runner.conclude(incident).await };
            tokio::select! {
                biased;
                () = runner.wait_before(incident, step) => {}
                () = stop.cancelled() => return Ok(()),
            }
            Box::pin(runner.call(permit, incident, step)).await
        }
        Work::Find { step } => tokio::select! {
            biased;
            found = Box::pin(runner.find(incident, step)) => found,
            () = stop.cancelled() => Ok(()),
        },
        Work::Settle { step } => tokio::select! {
            biased;
            settled = Box::pin(runner.settle(incident, step)) => settled,
            () = stop.cancelled() => Ok(()),
        },
        Work::Conclude => runner.conclude(incident).await,
        Work::GiveBack => runner.give_back(incident).await,
        Work::Close { ending } => runner.close(incident, ending).await,
        Work::Watch { .. } | Work::Nothing | Work::Wait { .. } => Ok(()),
    }
}

/// Watches whether a run has helped. While many incidents have workers it leaves its place in between: it
/// mostly waits, for minutes, and nobody knows how many others do.
async fn watch(
    Desk { tools, place }: &Desk<'_>,
    incident: &mut Incident,
    since: Timestamp,
) -> Result<Watched, RunnerError> {
    let Worker { news, stop } = &place.worker;
    let leaves = |until| place.leave_until(until, tools.clock.now());
    tokio::select! {
        biased;
        watched = Box::pin(tools.runner.watch(incident, since, (news, &leaves))) => watched,
        () = stop.cancelled() => Ok(Watched::Over),
    }
}

fn covers(permit: &Permit, incident: &Incident, step: u32) -> bool {
    incident.run.as_ref().is_some_and(|run| run.id == *permit.run())
        && step >= permit.first_step()
        && usize::try_from(step - permit.first_step()).is_ok_and(|n| n < permit.plan().steps.len())
}

/// Whether a rule's answer is a plan with something to do.
fn proposes(bodies: &[Body]) -> bool {
    matches!(bodies.last(), Some(Body::Planned { plan, .. }) if !plan.steps.is_empty())
}

/// Has what is proposed, or what is planned, judged, and keeps the permit if there is one.
async fn judge(
    tools: &Tools,
    incident: &mut Incident,
    permit: &mut Option<Permit>,
    proposed: Vec<Body>,
) -> Result<(), RunnerError> {
    if let Some(allowed) = Box::pin(tools.runner.judge(incident, proposed)).await? {
        *permit = Some(allowed);
    }
    Ok(())
}

/// Rests until there is news of the incident, or a time comes.
async fn rest(tools: &Tools, Worker { news, stop }: &Worker, until: Option<Timestamp>) {
    let due = async {
        match until {
            Some(until) => tools.clock.sleep_until(until).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = news.notified() => {}
        () = due => {}
        () = stop.cancelled() => {}
    }
}

fn after(at: Timestamp, span: SignedDuration) -> Timestamp {
    at.saturating_add(span).unwrap_or(Timestamp::MAX)
}

/// When the incident's lease is over and nobody was told yet.
fn lease_end(incident: &Incident) -> Option<Timestamp> {
    let (lease, since) = incident.lease.as_ref()?;
    let told = incident.escalations.iter().any(
        |reason| matches!(reason, Reason::LeaseOver { target, .. } if *target == lease.target),
    );
    let term = SignedDuration::try_from(lease.term.duration()).unwrap_or_default();
    (!told && !incident.is_closed()).then(|| after(*since, term))
}
