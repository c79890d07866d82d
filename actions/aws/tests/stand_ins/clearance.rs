//! Clearances, got the only way there is: from a guard that judged a plan on a journal.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use untoil_clock::{Clock as _, SystemClock};
use untoil_guard::{Clearance, Guard, Judgement, Policy};
use untoil_journal::{Batch, Journal as _, MemoryJournal};
use untoil_model::*;

/// The right to use `action` on `target` once, from now on.
pub(crate) async fn cleared(action: &str, target: &str) -> Clearance {
    cleared_at(action, target, SystemClock.now()).await
}

/// The same as of another time.
pub(crate) async fn cleared_at(action: &str, target: &str, now: Timestamp) -> Clearance {
    let journal = Arc::new(MemoryJournal::new());
    let engine = Actor::Engine("test".into());
    let mut incident = open(&journal, now, &engine).await;
    let plan = plan(action, target);
    let run = incident.next_run();
    let body = Body::Planned { run, part: 0, plan: Arc::new(plan), printed: Vec::new() };
    let draft = Draft::of(&incident.id, now, engine.clone(), body);
    for entry in journal.append(Batch::of(vec![draft])).await.unwrap() {
        incident.apply(&entry);
    }
    let guard = Guard::new(journal, Policy::default(), EngineMode::Live, engine);
    let judged = guard.judge(&mut incident, now).await.unwrap();
    let Judgement::Allow(permit) = judged.judgement else { panic!("{judged:?}") };
    guard.clear(&permit, 0, 1, &mut incident, now).await.unwrap().unwrap()
}

async fn open(journal: &MemoryJournal, now: Timestamp, engine: &Actor) -> Incident {
    let alarm = Alarm {
        key: "cloudwatch:test".parse().unwrap(),
        source: "cloudwatch".parse().unwrap(),
        name: "test".into(),
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
    };
    let id = IncidentId::derive(now, &alarm.key, "sns/1");
    let delivery = DeliveryId { source: "sns".parse().unwrap(), message: "1".into() };
    let body = Body::Opened { delivery, alarm: Arc::new(alarm), skewed_from: None };
    let draft = Draft::of(&id, now, engine.clone(), body);
    let entries = journal.append(Batch::of(vec![draft])).await.unwrap();
    Incident::open(&entries[0]).unwrap()
}

fn plan(action: &str, target: &str) -> Plan {
    let target: Target = target.parse().unwrap();
    let step = Step {
        action: action.parse().unwrap(),
        target: target.clone(),
        class: Class::B,
        params: BTreeMap::new(),
        says: String::new(),
        after: Period::ZERO,
        settle: Period::mins(5),
        lease: None,
    };
    Plan {
        kind: RunKind::Remedy,
        rule: "test".parse().unwrap(),
        version: "1a2b3c4d5e6f7a8b".parse().unwrap(),
        mode: Mode::Auto,
        target,
        parents: Vec::new(),
        steps: vec![step],
        more: false,
        limits: Limits::default(),
        max_age: Period::mins(10),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: None,
    }
}
