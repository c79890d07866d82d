//! What was accepted is kept, and decided once.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a check looks at the kinds of entries that it is about"
)]

use std::collections::{BTreeMap, BTreeSet};

use untoil_model::{Actor, AlarmKey, Body, DeliveryId, IncidentId, RunKind};

use super::Outcome;
use crate::rules::OTHER;

/// Who was answered 202 finds its delivery in the journal.
pub(super) fn accepted_is_kept(outcome: &Outcome) -> Vec<String> {
    let kept: BTreeSet<&DeliveryId> = outcome
        .entries
        .iter()
        .filter_map(|entry| match &entry.body {
            Body::Received { delivery, .. } => Some(delivery),
            _ => None,
        })
        .collect();
    let lost = outcome.accepted.iter().filter(|id| !kept.contains(id));
    lost.map(|id| format!("delivery {id} was accepted and is not in the journal")).collect()
}

/// Every kept delivery ends in one decision.
pub(super) fn kept_is_decided_once(outcome: &Outcome) -> Vec<String> {
    let mut decided: BTreeMap<&DeliveryId, u32> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        match &entry.body {
            Body::Received { delivery, .. } => {
                let kept = decided.insert(delivery, 0).map(|_| "twice");
                wrong.extend(kept.map(|twice| format!("delivery {delivery} was kept {twice}")));
            }
            Body::Unreadable { delivery, .. }
            | Body::Understood { delivery, .. }
            | Body::Decoded { delivery, .. } => match decided.get_mut(delivery) {
                Some(times) => *times += 1,
                None => wrong.push(format!("delivery {delivery} was decided before it was kept")),
            },
            _ => {}
        }
    }
    let odd = decided.iter().filter(|(_, times)| **times != 1);
    wrong.extend(odd.map(|(id, times)| format!("delivery {id} was decided {times} times")));
    let pending = outcome.pending.iter();
    wrong.extend(pending.map(|id| format!("delivery {id} still waits for a decision")));
    wrong
}

/// An alarm has one open incident at most.
pub(super) fn one_incident_at_a_time(outcome: &Outcome) -> Vec<String> {
    let mut open: BTreeMap<&AlarmKey, &IncidentId> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        let (Some(alarm), Some(incident)) = (&entry.alarm, &entry.incident) else { continue };
        match &entry.body {
            Body::Opened { .. } => {
                if let Some(other) = open.insert(alarm, incident) {
                    wrong.push(format!("{incident} was opened while {other} was open for {alarm}"));
                }
            }
            Body::Closed { .. } if open.remove(alarm).is_none() => {
                wrong.push(format!("{incident} was closed and not open"));
            }
            _ => {}
        }
    }
    wrong
}

/// What happens once is told once: nobody wrote about an incident that was another's.
pub(super) fn told_once(outcome: &Outcome) -> Vec<String> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        let once = match &entry.body {
            Body::Planned { run, part, .. } => format!("plan {part} of {run}"),
            Body::Started { marker, .. } => format!("the start of {marker}"),
            Body::Sent { step, attempt, .. } => format!("try {attempt} of {step}"),
            Body::Finished { step, .. } => format!("the end of {step}"),
            Body::Concluded { run, .. } => format!("the end of {run}"),
            Body::Escalated { reason, .. } if reason.code() == "engine_fault" => {
                wrong.push(format!("the engine found a bug in itself: {reason}"));
                continue;
            }
            _ => continue,
        };
        if seen.contains(&once) {
            wrong.push(format!("entry {} tells {once} a second time", entry.seq));
        }
        seen.insert(once);
    }
    wrong
}

/// A plan has the version, and so the bounds, of the text that was asked for it.
pub(super) fn planned_by_one_text(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        let Body::Planned { run, part, plan, printed } = &entry.body else { continue };
        let other = outcome.others.contains(&plan.version);
        if plan.kind == RunKind::Remedy && other != printed.iter().any(|line| line == OTHER) {
            let version = plan.version.as_str();
            wrong.push(format!("plan {part} of {run} is {version}'s, and another text's"));
        }
    }
    wrong
}

/// What is done about an incident is written by the instance that holds it: the one that opened it,
/// or the last that adopted it.
pub(super) fn written_by_its_holder(outcome: &Outcome) -> Vec<String> {
    let mut holders: BTreeMap<&IncidentId, &str> = BTreeMap::new();
    let mut adoptions = outcome.adoptions.iter().peekable();
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        while let Some(taken) = adoptions.next_if(|taken| taken.after < entry.seq) {
            holders.insert(&taken.incident, &taken.by);
        }
        let (Some(incident), Actor::Engine(by)) = (&entry.incident, &entry.actor) else { continue };
        match &entry.body {
            Body::Opened { .. } => {
                holders.insert(incident, by);
            }
            Body::Planned { .. }
            | Body::Started { .. }
            | Body::Sent { .. }
            | Body::Backoff { .. }
            | Body::Finished { .. }
            | Body::Concluded { .. }
            | Body::Closed { .. } => {
                let holder = holders.get(incident).copied().unwrap_or("nobody");
                if holder != by {
                    let kind = entry.body.kind();
                    wrong.push(format!("{by} wrote `{kind}` of {incident}, which {holder} held"));
                }
            }
            _ => {}
        }
    }
    wrong
}
