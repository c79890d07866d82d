//! Calls and effects: none twice, and none without authority.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a check looks at the kinds of entries that it is about"
)]

use std::collections::{BTreeMap, BTreeSet};

use untoil_guard::Scope;
use untoil_model::{Body, EngineMode, Mode, Plan, RunKind, Seq, Target, Verdict};

use super::{Outcome, run_of, step_of};

/// No step has two effects.
pub(super) fn nothing_takes_effect_twice(outcome: &Outcome) -> Vec<String> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    for effect in &outcome.effects {
        if let Some(first) = seen.insert(step_of(&effect.marker), &effect.what) {
            let step = step_of(&effect.marker);
            wrong.push(format!("{step} took effect twice: `{first}` and `{}`", effect.what));
        }
    }
    wrong
}

/// Before a call there is its intent, and before that a judgement that allows it.
pub(super) fn no_call_without_authority(outcome: &Outcome) -> Vec<String> {
    let mut intents: BTreeMap<&str, Seq> = BTreeMap::new();
    let mut allowed: BTreeSet<&str> = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        match &entry.body {
            Body::Judged { run, verdict: Verdict::Allow {}, .. } => {
                allowed.insert(run.as_str());
            }
            Body::Started { marker, step, .. } => {
                if !allowed.contains(step.run.as_str()) {
                    wrong.push(format!("{marker} began and was not allowed"));
                }
                intents.insert(marker, entry.seq);
            }
            _ => {}
        }
    }
    for departure in &outcome.departures {
        let marker = departure.marker.as_str();
        match intents.get(marker) {
            None => wrong.push(format!("{marker} was called and its intent is not recorded")),
            Some(seq) if *seq > departure.head => {
                wrong.push(format!("{marker} was called before its intent was recorded"));
            }
            Some(_) => {}
        }
    }
    let left: BTreeSet<&str> = outcome.departures.iter().map(|d| d.marker.as_str()).collect();
    let stray = outcome.effects.iter().filter(|effect| !left.contains(effect.marker.as_str()));
    wrong.extend(stray.map(|effect| format!("`{}` happened and nobody called", effect.what)));
    wrong
}

/// An instance that others may take for dead calls nothing.
pub(super) fn calls_are_made_while_the_tenure_lasts(outcome: &Outcome) -> Vec<String> {
    let late = outcome.departures.iter().filter(|departure| !departure.in_tenure);
    late.map(|d| format!("{} called {} after its tenure had ended", d.by, d.marker)).collect()
}

/// Nothing begins in a scope after its pause was recorded.
pub(super) fn nothing_paused_begins(outcome: &Outcome) -> Vec<String> {
    let plans = outcome.plans();
    let mut paused: BTreeSet<&str> = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        match &entry.body {
            Body::Paused { scope, .. } => {
                paused.insert(scope);
            }
            Body::Resumed { scope, .. } => {
                paused.remove(scope.as_str());
            }
            Body::Started { step, does, marker, .. } => {
                let plan = plans.iter().find(|((run, _), _)| **run == step.run);
                let Some((_, plan)) = plan else { continue };
                let covers = |scope: &&&str| covers(scope, plan, &does.target);
                if let Some(scope) = paused.iter().find(covers) {
                    wrong.push(format!("{marker} began while `{scope}` was paused"));
                }
            }
            _ => {}
        }
    }
    wrong
}

fn covers(scope: &str, plan: &Plan, target: &Target) -> bool {
    match scope.parse::<Scope>() {
        Ok(Scope::All) | Err(_) => true,
        Ok(Scope::Rule(rule)) => rule == plan.rule,
        Ok(Scope::Target(paused)) => belongs(target, &paused) || belongs(&plan.target, &paused),
    }
}

/// Whether a target is another one, or a service of that cluster.
pub(super) fn belongs(inner: &Target, outer: &Target) -> bool {
    let cluster = outer.as_str().strip_prefix("ecs-cluster/");
    inner == outer
        || cluster.is_some_and(|name| inner.as_str().starts_with(&format!("ecs/{name}/")))
}

/// A rule that only shows does nothing, one that asks was answered, and a dry engine calls nothing.
pub(super) fn modes_hold(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.mode == EngineMode::DryRun {
        let calls = outcome.departures.iter();
        wrong.extend(calls.map(|d| format!("a dry engine called {}", d.marker)));
    }
    let mut answered = BTreeSet::new();
    let mut allowed: BTreeMap<&str, &Plan> = BTreeMap::new();
    let plans = outcome.plans();
    for entry in &outcome.entries {
        match &entry.body {
            Body::Approved { plan, .. } => {
                answered.insert(*plan);
            }
            Body::Judged { run, part, verdict: Verdict::Allow {}, .. } => {
                let Some(plan) = plans.get(&(run, *part)) else { continue };
                if plan.writes() {
                    allowed.insert(run.as_str(), plan);
                }
                let asks = plan.writes() && plan.mode == Mode::Approve;
                if asks && !answered.contains(&plan.hash()) {
                    wrong.push(format!("{run} was allowed and nobody approved it"));
                }
            }
            _ => {}
        }
    }
    for effect in &outcome.effects {
        let Some(plan) = allowed.get(run_of(&effect.marker)) else { continue };
        let mode = outcome.modes.get(&plan.rule).copied().unwrap_or(Mode::Off);
        let is_return = plan.kind == RunKind::Return;
        if matches!(mode, Mode::Off | Mode::Shadow) && !is_return {
            wrong.push(format!("`{}` is {} and did `{}`", plan.rule, mode.as_str(), effect.what));
        }
    }
    wrong
}
