//! A clearance for tests of ports and actions, made the only way there is: by a real guard that
//! judges a real plan over a journal in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use untoil_guard::{Clearance, Guard, Judgement, Policy};
use untoil_journal::{Batch, Journal as _, MemoryJournal, load};
use untoil_model::{
    Actor, Alarm, AlarmKey, AlarmState, Body, DeliveryId, Draft, EngineMode, IncidentId, Limits,
    Mode, Period, Plan, RunKind, Step, Verify,
};

/// A clearance for this step at the beginning of 2026. The same step gets the same marker each time.
pub async fn cleared(step: &Step) -> Clearance {
    cleared_at(step, "2026-01-01T00:00:00Z".parse().expect("it is a time")).await
}

/// A clearance for this step at `now`: its marker is made from `now` and the step's target.
///
/// # Panics
/// When the guard does not allow it: for a step of class D, which waits for a person.
pub async fn cleared_at(step: &Step, now: Timestamp) -> Clearance {
    let journal = Arc::new(MemoryJournal::new());
    let key: AlarmKey =
        format!("cloudwatch:simulated:{}", step.target).parse().expect("a target is printable");
    let incident = IncidentId::derive(now, &key, "simulated/1");
    let actor = Actor::Engine("simulated".into());
    let plan = Arc::new(plan(step));
    let (rule, version) = (plan.rule.clone(), plan.version.clone());
    let run = incident.run(1);
    let delivery = DeliveryId {
        source: "cloudwatch".parse().expect("it is a source"),
        message: "simulated-1".into(),
    };
    let bodies = [
        Body::Opened { delivery, alarm: Arc::new(alarm(&key, now)), skewed_from: None },
        Body::Matched { rule, version, passed: Vec::new() },
        Body::FactsRead { facts: Arc::default(), missing: BTreeMap::new() },
        Body::Planned { run, part: 0, plan, printed: Vec::new() },
    ];
    let drafts =
        bodies.into_iter().map(|body| Draft::of(&incident, now, actor.clone(), body).about(&key));
    journal.append(Batch::of(drafts.collect())).await.expect("memory takes it");
    let found = load(journal.as_ref(), &incident).await.expect("memory is readable");
    let mut incident = found.expect("it was opened above");
    let guard = Guard::new(journal, Policy::default(), EngineMode::Live, actor);
    let judged = guard.judge(&mut incident, now).await.expect("memory is readable");
    let Judgement::Allow(permit) = judged.judgement else {
        panic!("the guard allows a first step of class {:?} at once", step.class);
    };
    let clearance = guard.clear(&permit, 0, 1, &mut incident, now).await;
    clearance.expect("memory is readable").expect("nothing has changed since it was allowed")
}

fn alarm(key: &AlarmKey, now: Timestamp) -> Alarm {
    Alarm {
        key: key.clone(),
        source: "cloudwatch".parse().expect("it is a source"),
        name: "simulated".into(),
        state: AlarmState::Firing,
        changed_at: now,
        severity: None,
        reason: String::new(),
        description: String::new(),
        account: None,
        region: None,
        namespace: None,
        metric: None,
        dimensions: BTreeMap::new(),
        labels: BTreeMap::new(),
        value: None,
        threshold: None,
        link: None,
        origin: None,
    }
}

fn plan(step: &Step) -> Plan {
    Plan {
        kind: RunKind::Remedy,
        rule: "simulated".parse().expect("it is a rule's name"),
        version: "0000000000000000".parse().expect("it is a version"),
        mode: Mode::Auto,
        target: step.target.clone(),
        parents: Vec::new(),
        steps: vec![Step { after: Period::ZERO, ..step.clone() }],
        more: false,
        limits: Limits::default(),
        max_age: Period::mins(10),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: None,
    }
}
