//! Compares what happened with what a test expects. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Value, json};
use untoil_guard::{RUN_GATE, RUN_RETURN};
use untoil_model::{Body, Entry, RunKind, Step, Verdict};
use untoil_world::World;

use super::format::{After, HostAfter, Kind, ServiceAfter, StepLike, Then};
use super::setting;

/// Everything that is not as expected, a line each.
pub(super) fn misses(then: &Then, entries: &[Entry], world: &World) -> Vec<String> {
    let mut misses = Vec::new();
    if let Some(expected) = &then.plan {
        misses.extend(plan(expected, &steps(entries)));
    }
    let words = [
        ("judged", then.judged.as_ref().map(|judged| judged.0.clone()), judged(entries)),
        ("outcome", then.outcome.map(|outcome| outcome.as_str().to_owned()), outcome(entries)),
        ("closed", then.closed.as_ref().map(word), closed(entries)),
    ];
    for (what, expected, found) in words {
        if let Some(expected) = expected {
            let found = found.unwrap_or_else(|| "none".into());
            if found != expected {
                misses.push(miss(what, expected, found));
            }
        }
    }
    if let Some(expected) = &then.entries {
        misses.extend(in_order(expected, entries));
    }
    for Kind(kind) in then.never.iter().flatten() {
        if entries.iter().any(|entry| entry.body.kind() == kind) {
            misses.push(miss("never", format!("no `{kind}`"), "one"));
        }
    }
    misses.extend(escalated(then.escalated.as_deref().unwrap_or_default(), entries));
    let said = world.said();
    for text in then.says.iter().flatten() {
        if !said.iter().any(|said| said.contains(text.as_str())) {
            let found = if said.is_empty() { "nothing".to_owned() } else { said.join(" | ") };
            misses.push(miss("says", format!("`{text}`"), found));
        }
    }
    for (call, expected) in then.calls.iter().flatten() {
        let found = world.asked(call);
        if found != *expected {
            misses.push(miss(&format!("calls of {call}"), expected, found));
        }
    }
    if let Some(after) = &then.world {
        misses.extend(state(after, world));
    }
    misses
}

fn miss(what: &str, expected: impl Display, found: impl Display) -> String {
    format!("{what}: expected {expected}, found {found}")
}

fn word<T: serde::Serialize>(value: &T) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// All steps that the rule proposed to remedy, in order.
fn steps(entries: &[Entry]) -> Vec<&Step> {
    let plans = entries.iter().filter_map(|entry| {
        let Body::Planned { plan, .. } = &entry.body else { return None };
        (plan.kind == RunKind::Remedy).then_some(&plan.steps)
    });
    plans.flatten().collect()
}

fn plan(expected: &[StepLike], found: &[&Step]) -> Vec<String> {
    let mut misses = Vec::new();
    if expected.len() != found.len() {
        let list: Vec<String> =
            found.iter().map(|step| format!("{} on {}", step.action, step.target)).collect();
        let found = match list.as_slice() {
            [] => "none".to_owned(),
            list => format!("{}: {}", list.len(), list.join(", ")),
        };
        misses.push(miss("plan", format!("{} step(s)", expected.len()), found));
    }
    for (n, (like, step)) in expected.iter().zip(found).enumerate() {
        let what = format!("plan, step {}", n + 1);
        if like.action != step.action {
            misses.push(miss(&what, &like.action, &step.action));
            continue;
        }
        if let Some(target) = like.target.as_ref().filter(|target| **target != step.target) {
            misses.push(miss(&what, target, &step.target));
        }
        for (name, value) in &like.params {
            let is = step.params.get(name).unwrap_or(&Value::Null);
            if !holds(value, is) {
                misses.push(miss(&format!("{what}, `{name}`"), value, is));
            }
        }
    }
    misses
}

/// Whether a value is as named: of a table only the named keys are looked at.
fn holds(named: &Value, is: &Value) -> bool {
    match (named, is) {
        (Value::Object(named), Value::Object(is)) => {
            named.iter().all(|(key, value)| is.get(key).is_some_and(|is| holds(value, is)))
        }
        (Value::Number(named), Value::Number(is)) => named == is || named.as_f64() == is.as_f64(),
        (named, is) => named == is,
    }
}

/// The last judgement of a remedy.
fn judged(entries: &[Entry]) -> Option<String> {
    entries.iter().rev().find_map(|entry| {
        let Body::Judged { verdict, gates, .. } = &entry.body else { return None };
        let returns = gates.get(RUN_GATE).is_some_and(|kind| kind == RUN_RETURN);
        let verdict = match verdict {
            Verdict::Allow {} => "allow".to_owned(),
            Verdict::Hold { reason, .. } => format!("hold:{}", reason.code()),
            Verdict::Deny { reason } => format!("deny:{}", reason.code()),
        };
        (!returns).then_some(verdict)
    })
}

/// How the first run was concluded: a return comes after the remedy that it gives back.
fn outcome(entries: &[Entry]) -> Option<String> {
    entries.iter().find_map(|entry| {
        let Body::Concluded { outcome, .. } = &entry.body else { return None };
        Some(outcome.as_str().to_owned())
    })
}

fn closed(entries: &[Entry]) -> Option<String> {
    entries.iter().rev().find_map(|entry| {
        let Body::Closed { ending } = &entry.body else { return None };
        Some(word(ending))
    })
}

fn in_order(expected: &[Kind], entries: &[Entry]) -> Option<String> {
    let mut kinds = entries.iter().map(|entry| entry.body.kind());
    let mut before = "the beginning".to_owned();
    for Kind(kind) in expected {
        if !kinds.any(|found| found == kind) {
            return Some(miss("entries", format!("`{kind}` after {before}"), "none"));
        }
        before = format!("`{kind}`");
    }
    None
}

fn escalated(expected: &[String], entries: &[Entry]) -> Vec<String> {
    let codes = entries.iter().filter_map(|entry| {
        let Body::Escalated { reason, .. } = &entry.body else { return None };
        Some(reason.code())
    });
    let codes: Vec<&str> = codes.collect();
    let found = if codes.is_empty() { "nothing".to_owned() } else { codes.join(", ") };
    let absent = expected.iter().filter(|code| !codes.contains(&code.as_str()));
    absent.map(|code| miss("escalated", format!("`{code}`"), &found)).collect()
}

fn state(after: &After, world: &World) -> Vec<String> {
    let mut misses = Vec::new();
    for (name, ServiceAfter { desired, running }) in &after.ecs {
        let Ok((cluster, service)) = setting::service(name) else {
            misses.push(format!("world: `{name}` is no service: write `cluster/service`"));
            continue;
        };
        let counts = world.service_counts(cluster, service);
        for (what, expected, found) in
            [("desired", desired, counts.0), ("running", running, counts.1)]
        {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                misses.push(miss(&format!("world, {what} of {name}"), expected, found));
            }
        }
    }
    for (id, HostAfter { used_pct_max, cpu_max }) in &after.instances {
        misses.extend(host(id, (used_pct_max, *cpu_max), world));
    }
    misses
}

fn host(
    id: &str,
    (used_pct_max, cpu_max): (&BTreeMap<String, f64>, Option<f64>),
    world: &World,
) -> Vec<String> {
    let disks = used_pct_max.iter().map(|(mount, most)| {
        (format!("world, percent used of {mount} on {id}"), *most, world.disk_used(id, mount))
    });
    let cpu = cpu_max.map(|most| (format!("world, percent busy of {id}"), most, world.cpu(id)));
    let over = disks.chain(cpu).filter(|(_, most, found)| found > most);
    over.map(|(what, most, found)| miss(&what, format!("at most {most}"), found)).collect()
}
