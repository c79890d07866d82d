//! An incident whose rule scales a service of the simulated AWS, and runners over one journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use untoil_actions::Catalogue;
use untoil_clock::{Clock, VirtualClock};
use untoil_guard::{Guard, Judgement, Permit, Policy};
use untoil_journal::{Batch, Journal, catch_up};
use untoil_model::*;
use untoil_runner::Runner;
use untoil_world::World;

use crate::busy::Busy;

pub(crate) struct Lab {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) world: World,
    pub(crate) journal: Arc<Busy>,
}

/// One step: four workers become eight, on a lease.
fn plan() -> Plan {
    let action: ActionKind = "ecs.scale".parse().unwrap();
    let target: Target = "ecs/workers/sync".parse().unwrap();
    let step = Step {
        action: action.clone(),
        target: target.clone(),
        class: Class::B,
        params: [("from".to_owned(), json!(4)), ("to".to_owned(), json!(8))].into(),
        says: "desired count 4 → 8".into(),
        after: Period::ZERO,
        settle: Period::mins(5),
        lease: Some(Lease {
            action,
            target: target.clone(),
            before: 4,
            after: 8,
            step: 4,
            term: Period::hours(2),
        }),
    };
    Plan {
        kind: RunKind::Remedy,
        rule: "backlog".parse().unwrap(),
        version: "1a2b3c4d5e6f7a8b".parse().unwrap(),
        mode: Mode::Auto,
        target,
        parents: Vec::new(),
        steps: vec![step],
        more: false,
        limits: Limits::default(),
        max_age: Period::mins(10),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: Some("platform-oncall".into()),
    }
}

impl Lab {
    /// A service of four tasks.
    pub(crate) fn new() -> Self {
        let clock = Arc::new(VirtualClock::starting_at("2026-01-05T00:00:00Z".parse().unwrap()));
        let world = World::new(clock.clone(), 7);
        world.add_service("workers", "sync", 4);
        Self { clock, world, journal: Busy::new() }
    }

    /// An instance of the engine: its guard and its runner.
    pub(crate) fn instance(&self, name: &str) -> (Arc<Guard>, Runner) {
        self.instance_that_is(name, EngineMode::Live)
    }

    /// A dry one has no hands.
    pub(crate) fn instance_that_is(&self, name: &str, mode: EngineMode) -> (Arc<Guard>, Runner) {
        let actor = Actor::Engine(name.into());
        let journal: Arc<dyn Journal> = self.journal.clone();
        let policy = Policy { rest: Period::ZERO, ..Policy::default() };
        let guard = Arc::new(Guard::new(journal.clone(), policy, mode, actor.clone()));
        let runner = Runner::new(
            (journal, self.clock.clone(), actor),
            guard.clone(),
            Arc::new(Catalogue::standard(Vec::new())),
            self.world.eyes(),
            (mode == EngineMode::Live).then(|| self.world.hands()),
        );
        (guard, runner)
    }

    pub(crate) fn alarm(&self, state: AlarmState) -> Alarm {
        Alarm {
            key: "cloudwatch:backlog".parse().unwrap(),
            source: "cloudwatch".parse().unwrap(),
            name: "backlog".into(),
            state,
            changed_at: self.clock.now(),
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

    /// A word from the alarm's sender, not yet written.
    pub(crate) fn word(&self, incident: &Incident, state: AlarmState) -> Draft {
        let standing = match state {
            AlarmState::Firing => Standing::Again,
            AlarmState::Resolved => Standing::Cleared,
            AlarmState::NoData => Standing::Lost,
        };
        let alarm = Arc::new(self.alarm(state));
        self.draft(
            incident,
            Body::Observed { delivery: delivery(), alarm, standing, skewed_from: None },
        )
    }

    pub(crate) fn draft(&self, incident: &Incident, body: Body) -> Draft {
        Draft::of(&incident.id, self.clock.now(), Actor::Engine("test".into()), body)
    }

    /// The kill switch for everything, not yet written.
    pub(crate) fn paused(&self, scope: &str) -> Draft {
        let body = Body::Paused { scope: scope.into(), reason: "deploying".into() };
        Draft::new(self.clock.now(), Actor::Human("kim".into()), body)
    }

    pub(crate) async fn write(&self, incident: &mut Incident, drafts: Vec<Draft>) {
        self.journal.append(Batch::of(drafts)).await.unwrap();
        catch_up(&*self.journal, incident).await.unwrap();
    }

    /// An alarm that fires, and a rule that answers it.
    pub(crate) async fn matched(&self) -> Incident {
        let now = self.clock.now();
        let alarm = Arc::new(self.alarm(AlarmState::Firing));
        let id = IncidentId::derive(now, &alarm.key, "sns/1");
        let (plan, actor) = (plan(), Actor::Engine("test".into()));
        let (rule, version) = (plan.rule.clone(), plan.version.clone());
        let bodies = [
            Body::Opened { delivery: delivery(), alarm, skewed_from: None },
            Body::Matched { rule, version, passed: Vec::new() },
        ];
        let drafts = bodies.into_iter().map(|body| Draft::of(&id, now, actor.clone(), body));
        let entries = self.journal.append(Batch::of(drafts.collect())).await.unwrap();
        Incident::fold(&entries).unwrap()
    }

    /// The rule's answer: facts, and the plan, changed `with` this.
    pub(crate) fn answer(incident: &Incident, with: impl Fn(&mut Plan)) -> Vec<Body> {
        let (run, mut plan) = (incident.next_run(), plan());
        with(&mut plan);
        let part = incident.run.as_ref().map_or(0, |run| run.parts.len());
        let part = u32::try_from(part).unwrap();
        vec![
            Body::FactsRead { facts: Arc::default(), missing: BTreeMap::new() },
            Body::Planned { run, part, plan: Arc::new(plan), printed: Vec::new() },
        ]
    }

    /// An alarm that fires, with a plan that the guard has allowed.
    pub(crate) async fn allowed(&self) -> (Incident, Permit) {
        let mut incident = self.matched().await;
        let answer = Self::answer(&incident, |_| {});
        let drafts = answer.into_iter().map(|body| self.draft(&incident, body)).collect();
        self.write(&mut incident, drafts).await;
        let now = self.clock.now();
        let judged = self.instance("first").0.judge(&mut incident, now).await.unwrap();
        let Judgement::Allow(permit) = judged.judgement else { panic!("{judged:?}") };
        (incident, permit)
    }

    /// An incident whose run is done and whose alarm has been clear for `mins` minutes.
    pub(crate) async fn cleared(&self, runner: &Runner, mins: u64) -> Incident {
        let (mut incident, permit) = self.allowed().await;
        runner.call(&permit, &mut incident, 0).await.unwrap();
        runner.settle(&mut incident, 0).await.unwrap();
        let clears = self.word(&incident, AlarmState::Resolved);
        self.write(&mut incident, vec![clears]).await;
        self.clock.sleep(Duration::from_mins(mins)).await;
        incident
    }

    /// What the journal says, kind by kind, after the judgement.
    pub(crate) async fn told(&self) -> Vec<String> {
        let entries = self.journal.read(&Stream::All, Seq::START, 1_000).await.unwrap();
        let after = entries.iter().skip_while(|entry| entry.body.kind() != "judged").skip(1);
        after.map(|entry| tell(&entry.body)).collect()
    }

    pub(crate) fn effects(&self) -> Vec<String> {
        self.world.effects().into_iter().map(|effect| effect.what).collect()
    }
}

/// An entry's kind and how a step ended.
fn tell(body: &Body) -> String {
    if let Body::Concluded { outcome, .. } = body {
        return format!("concluded {}", outcome.as_str());
    }
    let Body::Finished { outcome, .. } = body else { return body.kind().to_owned() };
    match outcome {
        StepOutcome::Done { .. } => "finished done".into(),
        StepOutcome::Refused { code, .. } => format!("finished refused {code}"),
        StepOutcome::Unknown { why } => format!("finished unknown: {why}"),
    }
}

/// Whoever watches stays.
pub(crate) fn stays(_: jiff::Timestamp) -> bool {
    false
}

fn delivery() -> DeliveryId {
    DeliveryId { source: "sns".parse().unwrap(), message: "1".into() }
}
