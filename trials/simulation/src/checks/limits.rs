//! Limits, rests and locks, counted anew.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a check looks at the kinds of entries that it is about"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use untoil_model::{Body, Period, Plan, Rate, RunId, RunKind, Seq, Target, Verdict};

use super::calls::belongs;
use super::{Outcome, run_of};

/// What a call may be later than its judgement, and clocks apart from each other.
const SLACK: SignedDuration = SignedDuration::from_mins(5);
/// A call that left so long after it was made belongs to an instance that was stopped in between.
const STOPPED_SECS: u64 = 60;

/// A run that was allowed to write.
struct Held<'a> {
    run: &'a RunId,
    plan: &'a Plan,
    at: Timestamp,
    targets: Vec<&'a Target>,
    ended: Option<(Seq, Timestamp)>,
}

/// Every run that was allowed to write, in order; `visit` sees each beside those before it.
fn each_run<'a>(
    outcome: &'a Outcome,
    mut visit: impl FnMut(&[Held<'a>], &Held<'a>),
) -> Vec<Held<'a>> {
    let plans = outcome.plans();
    let mut runs: Vec<Held<'a>> = Vec::new();
    for entry in &outcome.entries {
        match &entry.body {
            Body::Judged {
                run,
                part,
                verdict: Verdict::Allow {},
                writes: true,
                target,
                parents,
                ..
            } => {
                let Some(plan) = plans.get(&(run, *part)) else { continue };
                let targets = std::iter::once(target).chain(parents).collect();
                if let Some(known) = runs.iter_mut().find(|known| known.run == run) {
                    known.targets = targets;
                    continue;
                }
                let held = Held { run, plan, at: entry.at, targets, ended: None };
                visit(&runs, &held);
                runs.push(held);
            }
            Body::Concluded { run, .. } => {
                if let Some(known) = runs.iter_mut().find(|known| known.run == run) {
                    known.ended = Some((entry.seq, entry.at));
                }
            }
            _ => {}
        }
    }
    runs
}

fn before(at: Timestamp, period: Period) -> Timestamp {
    at.saturating_sub(period.duration()).unwrap_or(Timestamp::MIN)
}

/// At each judgement there was room in every window, and the target had rested.
pub(super) fn limits_hold_in_the_journal(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    each_run(outcome, |earlier, held| {
        let Held { run, plan, at, .. } = held;
        if plan.kind == RunKind::Return {
            return;
        }
        let remedies = || earlier.iter().filter(|other| other.plan.kind == RunKind::Remedy);
        let same_rule = |other: &&Held<'_>| other.plan.rule == plan.rule;
        let same_target = |other: &&Held<'_>| other.plan.target == plan.target;
        let count = |rate: Rate, fits: &dyn Fn(&&Held<'_>) -> bool| {
            remedies().filter(fits).filter(|other| other.at > before(*at, rate.per)).count() as u64
        };
        let mut windows: Vec<(&str, Rate, u64)> = Vec::new();
        let limits = plan.limits;
        windows.push((
            "target",
            limits.target,
            count(limits.target, &|o| same_rule(o) && same_target(o)),
        ));
        windows.push(("rule", limits.rule, count(limits.rule, &same_rule)));
        let global = outcome.policy.global.iter();
        windows.extend(global.map(|rate| ("global", *rate, count(*rate, &|_| true))));
        for (what, rate, used) in windows {
            if used >= u64::from(rate.n) {
                wrong.push(format!("{run} was allowed as the {}th of {rate} ({what})", used + 1));
            }
        }
        let rested = |other: &Held<'_>, rest: Period| {
            other.ended.is_none_or(|(_, ended)| before(*at, rest) >= ended)
        };
        if !outcome.is_wild {
            for other in remedies().filter(same_target) {
                let own = if same_rule(&other) { limits.cooldown } else { Period::ZERO };
                let rest = if own > outcome.policy.rest { own } else { outcome.policy.rest };
                if !rested(other, rest) {
                    wrong.push(format!("{run} was allowed before {} had rested", other.run));
                }
            }
        }
    });
    wrong
}

/// In the record of the simulated AWS, too, there are no more runs in a window than the limits say.
pub(super) fn limits_hold_in_the_world(outcome: &Outcome) -> Vec<String> {
    if outcome.is_wild {
        return Vec::new();
    }
    let runs = each_run(outcome, |_, _| {});
    let remedies: BTreeMap<&str, &Held<'_>> = runs
        .iter()
        .filter(|held| held.plan.kind == RunKind::Remedy)
        .map(|held| (held.run.as_str(), held))
        .collect();
    let mut first: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for effect in &outcome.effects {
        if remedies.contains_key(run_of(&effect.marker)) {
            first.entry(run_of(&effect.marker)).or_insert(effect.at);
        }
    }
    let mut wrong = Vec::new();
    for (run, at) in &first {
        let Some(held) = remedies.get(run) else { continue };
        let windows = [("target", held.plan.limits.target), ("rule", held.plan.limits.rule)];
        for (what, rate) in windows {
            let from = before(*at, rate.per).saturating_add(SLACK).unwrap_or(*at);
            let others = first.iter().filter(|(other, when)| {
                let Some(other) = remedies.get(*other) else { return false };
                let same = other.plan.rule == held.plan.rule
                    && (what == "rule" || other.plan.target == held.plan.target);
                same && **when > from && *when <= at
            });
            let n = others.count() as u64;
            if n > u64::from(rate.n) {
                wrong.push(format!("{run} acted as the {n}th of {rate} ({what})"));
            }
        }
    }
    wrong
}

/// No two runs hold one target at a time, and their calls do not mix.
pub(super) fn locks_hold(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let runs = each_run(outcome, |earlier, held| {
        for other in earlier.iter().filter(|other| other.ended.is_none()) {
            let meets = held
                .targets
                .iter()
                .any(|a| other.targets.iter().any(|b| belongs(a, b) || belongs(b, a)));
            if meets {
                wrong.push(format!("{} was allowed while {} held the target", held.run, other.run));
            }
        }
    });
    let writing: BTreeSet<&str> = runs.iter().map(|held| held.run.as_str()).collect();
    let stopped: BTreeSet<&str> = outcome
        .departures
        .iter()
        .filter(|departure| departure.waited.as_secs() >= STOPPED_SECS)
        .map(|departure| departure.marker.as_str())
        .collect();
    let mut last: BTreeMap<&str, (&str, BTreeSet<&str>)> = BTreeMap::new();
    let acting = outcome.calls.iter().filter(|call| !stopped.contains(call.marker.as_str()));
    for call in acting.filter(|call| writing.contains(run_of(&call.marker))) {
        let run = run_of(&call.marker);
        if call.api == "slack:say" {
            continue;
        }
        let (now, over) = last.entry(&call.target).or_insert((run, BTreeSet::new()));
        if over.contains(run) {
            wrong.push(format!("{run} called on {} after another run had", call.target));
        }
        if *now != run {
            over.insert(now);
            *now = run;
        }
    }
    wrong
}
