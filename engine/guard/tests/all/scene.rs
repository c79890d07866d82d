//! Incidents with plans on a journal in memory, and a guard over it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use untoil_guard::{Guard, Judged, Judgement, Permit, Policy};
use untoil_journal::{Batch, Journal as _, MemoryJournal, catch_up};
use untoil_model::*;

use crate::slow::Slow;

/// Noon of a day; `at(90)` is 90 seconds later.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_767_268_800 + secs).unwrap()
}

pub(crate) const MIN: i64 = 60;
pub(crate) const HOUR: i64 = 3_600;

pub(crate) fn target(text: &str) -> Target {
    text.parse().unwrap()
}

pub(crate) fn host(n: u32) -> Target {
    target(&format!("ec2/i-{n:08x}"))
}

pub(crate) fn engine() -> Actor {
    Actor::Engine("test".into())
}

pub(crate) fn step(target: &Target, class: Class) -> Step {
    Step {
        action: "ssm.document".parse().unwrap(),
        target: target.clone(),
        class,
        params: BTreeMap::new(),
        says: String::new(),
        after: Period::ZERO,
        settle: Period::mins(5),
        lease: None,
    }
}

/// A plan of rule `disk-full` with one step of class B on a host, in mode `auto`.
pub(crate) fn plan(target: &Target) -> Plan {
    Plan {
        kind: RunKind::Remedy,
        rule: "disk-full".parse().unwrap(),
        version: "1a2b3c4d5e6f7a8b".parse().unwrap(),
        mode: Mode::Auto,
        target: target.clone(),
        parents: Vec::new(),
        steps: vec![step(target, Class::B)],
        more: false,
        limits: Limits::default(),
        max_age: Period::mins(10),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: Some("platform-oncall".into()),
    }
}

pub(crate) fn alarm(name: &str, state: AlarmState, changed_at: Timestamp) -> Alarm {
    Alarm {
        key: format!("cloudwatch:{name}").parse().unwrap(),
        source: "cloudwatch".parse().unwrap(),
        name: name.into(),
        state,
        changed_at,
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

/// A journal and what is known of it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) journal: Arc<MemoryJournal>,
    pub(crate) policy: Policy,
    pub(crate) mode: EngineMode,
}

impl Default for Scene {
    fn default() -> Self {
        Self { journal: Arc::default(), policy: Policy::default(), mode: EngineMode::Live }
    }
}

impl Scene {
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.journal.clone(), self.policy.clone(), self.mode, engine())
    }

    /// A guard over this journal into which others get these words, the last one first.
    pub(crate) fn interrupted(&self, between: Vec<Draft>) -> Guard {
        let journal = Slow { between: between.into(), ..Slow::over(self.journal.clone()) };
        Guard::new(Arc::new(journal), self.policy.clone(), self.mode, engine())
    }

    pub(crate) async fn write(&self, drafts: Vec<Draft>) -> Vec<Entry> {
        self.journal.append(Batch::of(drafts)).await.unwrap()
    }

    /// Writes a body into the incident's stream and folds it in.
    pub(crate) async fn tell(&self, incident: &mut Incident, at: Timestamp, body: Body) {
        self.write(vec![Draft::of(&incident.id, at, engine(), body)]).await;
        catch_up(self.journal.as_ref(), incident).await.unwrap();
    }

    /// Opens an incident for an alarm that began to fire at `at`.
    pub(crate) async fn open(&self, name: &str, at: Timestamp) -> Incident {
        let alarm = alarm(name, AlarmState::Firing, at);
        let id = IncidentId::derive(at, &alarm.key, "sns/1");
        let delivery = DeliveryId { source: "sns".parse().unwrap(), message: name.into() };
        let body = Body::Opened { delivery, alarm: Arc::new(alarm), skewed_from: None };
        let entries = self.write(vec![Draft::of(&id, at, engine(), body)]).await;
        Incident::open(&entries[0]).unwrap()
    }

    /// Proposes a plan as the next part of the incident's run.
    pub(crate) async fn propose(&self, incident: &mut Incident, plan: Plan, at: Timestamp) {
        let run = incident.next_run();
        let part = incident.run.as_ref().map_or(0, |run| run.parts.len());
        let part = u32::try_from(part).unwrap();
        let body = Body::Planned { run, part, plan: Arc::new(plan), printed: Vec::new() };
        self.tell(incident, at, body).await;
    }

    /// An incident with a plan, both from `at`.
    pub(crate) async fn planned(&self, name: &str, plan: Plan, at: Timestamp) -> Incident {
        let mut incident = self.open(name, at).await;
        self.propose(&mut incident, plan, at).await;
        incident
    }

    /// A further word from the sender.
    pub(crate) async fn hear(&self, incident: &mut Incident, state: AlarmState, at: Timestamp) {
        let alarm = alarm(&incident.alarm.name, state, at);
        let standing = match state {
            AlarmState::Firing => Standing::Again,
            AlarmState::Resolved => Standing::Cleared,
            AlarmState::NoData => Standing::Lost,
        };
        self.tell(incident, at, Body::Looked { alarm: Arc::new(alarm), standing }).await;
    }

    pub(crate) async fn start(&self, incident: &mut Incident, n: u32, attempt: u32, at: Timestamp) {
        let run = incident.run.as_ref().unwrap();
        let does = Arc::clone(&run.steps[n as usize].0);
        let marker = run.id.marker(n, attempt);
        let step = StepRef { run: run.id.clone(), step: n };
        let body = Body::Started { step, attempt, does, marker, not_after: at };
        self.tell(incident, at, body).await;
    }

    pub(crate) async fn finish(&self, incident: &mut Incident, n: u32, at: Timestamp) {
        let run = incident.run.as_ref().unwrap();
        let does = Arc::clone(&run.steps[n as usize].0);
        let step = StepRef { run: run.id.clone(), step: n };
        let outcome = StepOutcome::Done { evidence: serde_json::Value::Null };
        self.tell(incident, at, Body::Finished { step, attempt: 1, does, outcome }).await;
    }

    /// Ends the run.
    pub(crate) async fn conclude(
        &self,
        incident: &mut Incident,
        outcome: RunOutcome,
        at: Timestamp,
    ) {
        let run = incident.run.as_ref().unwrap();
        let plan = &run.parts[0].plan;
        let body = Body::Concluded {
            run: run.id.clone(),
            rule: plan.rule.clone(),
            target: plan.target.clone(),
            outcome,
            why: None,
            samples: Vec::new(),
        };
        self.tell(incident, at, body).await;
    }

    /// A whole run: allowed at `from`, ended at `to`.
    pub(crate) async fn ran(
        &self,
        name: &str,
        plan: Plan,
        (from, to): (i64, i64),
        how: RunOutcome,
    ) -> RunId {
        let mut incident = self.planned(name, plan, at(from)).await;
        let permit = allowed(self.guard().judge(&mut incident, at(from)).await.unwrap());
        self.conclude(&mut incident, how, at(to)).await;
        permit.run().clone()
    }

    /// What a fresh guard says of the incident.
    pub(crate) async fn judge(&self, incident: &mut Incident, now: Timestamp) -> Judgement {
        self.guard().judge(incident, now).await.unwrap().judgement
    }
}

pub(crate) fn allowed(judged: Judged) -> Permit {
    match judged.judgement {
        Judgement::Allow(permit) => permit,
        Judgement::Hold { .. } | Judgement::Deny(_) => panic!("not allowed: {judged:?}"),
    }
}

pub(crate) fn denied(judgement: Judgement) -> Reason {
    match judgement {
        Judgement::Deny(reason) => reason,
        Judgement::Hold { .. } | Judgement::Allow(_) => panic!("not denied: {judgement:?}"),
    }
}

pub(crate) fn held(judgement: Judgement) -> (Reason, Timestamp) {
    match judgement {
        Judgement::Hold { reason, until } => (reason, until),
        Judgement::Allow(_) | Judgement::Deny(_) => panic!("not held: {judgement:?}"),
    }
}
