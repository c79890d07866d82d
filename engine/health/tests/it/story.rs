//! One incident that heals, told entry by entry to a watched journal, a second or more apart.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use untoil_clock::{Clock, VirtualClock};
use untoil_health::{Metrics, Observer, Readiness, Watched};
use untoil_journal::{Batch, Journal, MemoryJournal};
use untoil_model::{Actor, Alarm, Body, Delivery, DeliveryId, Draft, IncidentId, RunId, StepRef};

/// The start of every story.
pub(crate) const START: &str = "2026-11-22T07:00:00Z";

/// A journal with somebody at its door.
pub(crate) struct Scene {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    pub(crate) journal: Arc<dyn Journal>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryJournal::new()), |_| Vec::new())
    }

    /// Over a journal, with these observers.
    pub(crate) fn over(
        journal: Arc<dyn Journal>,
        observers: impl FnOnce(&Arc<Metrics>) -> Vec<Arc<dyn Observer>>,
    ) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(START.parse().unwrap()));
        let metrics = Arc::new(Metrics::new("1.2.3", vec!["limits", "target_lock"]));
        let readiness = Readiness::new(Arc::clone(&clock) as _);
        let watched = Watched::new(
            (journal, Arc::clone(&clock) as _),
            Arc::clone(&metrics),
            readiness.clone(),
            observers(&metrics),
        );
        Self { clock, metrics, readiness, journal: Arc::new(watched) }
    }

    pub(crate) async fn pass(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }

    /// Keeps a delivery; answers its id.
    pub(crate) async fn receive(&self, source: &str, message: &str) -> DeliveryId {
        let id = DeliveryId { source: source.parse().unwrap(), message: message.to_owned() };
        let delivery = Delivery {
            id: id.clone(),
            sender: "test".into(),
            received_at: self.clock.now(),
            headers: std::collections::BTreeMap::new(),
            body: b"{}".to_vec(),
        };
        self.journal.receive(delivery).await.unwrap();
        id
    }

    /// Writes bodies together, of an incident if there is one; that a delivery was decoded is of none.
    pub(crate) async fn write(&self, incident: Option<&IncidentId>, bodies: &[Value]) {
        let at = self.clock.now();
        let actor = Actor::Engine("untoil-1".into());
        let draft = |body: &Value| {
            let body: Body =
                serde_json::from_value(body.clone()).unwrap_or_else(|why| panic!("{why}: {body}"));
            match incident {
                Some(incident) if !matches!(body, Body::Decoded { .. }) => {
                    Draft::of(incident, at, actor.clone(), body)
                }
                Some(_) | None => Draft::new(at, actor.clone(), body),
            }
        };
        let drafts = bodies.iter().map(draft).collect();
        self.journal.append(Batch::of(drafts)).await.unwrap();
    }
}

/// An incident with what its entries need.
pub(crate) struct Story<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) incident: IncidentId,
    pub(crate) run: RunId,
}

fn alarm(at: Timestamp, state: &str) -> Value {
    let alarm: Alarm = serde_json::from_value(json!({
        "key": "cloudwatch:arn:backlog", "source": "cloudwatch", "name": "backlog",
        "state": state, "changed_at": at }))
    .unwrap();
    json!(alarm)
}

impl<'a> Story<'a> {
    /// Received, a second later decoded, opened and matched.
    pub(crate) async fn opens(scene: &'a Scene) -> Story<'a> {
        let delivery = scene.receive("sns", "m-1").await;
        scene.pass(1).await;
        let at = scene.clock.now();
        let key = "cloudwatch:arn:backlog".parse().unwrap();
        let incident = IncidentId::derive(at, &key, &delivery.to_string());
        let run = incident.run(1);
        let decoded = json!({ "decoded": { "delivery": delivery, "alarms": 1 } });
        let opened = json!({ "opened": {
            "delivery": delivery, "alarm": alarm(at, "firing"), "skewed_from": null } });
        let matched = json!({ "matched": {
            "rule": "backlog", "version": "0123456789abcdef", "passed": [] } });
        scene.write(Some(&incident), &[decoded, opened, matched]).await;
        Story { scene, incident, run }
    }

    async fn writes(&self, bodies: &[Value]) {
        self.scene.write(Some(&self.incident), bodies).await;
    }

    /// Facts after a second, the plan after two.
    pub(crate) async fn plans(&self) {
        self.scene.pass(1).await;
        let read_at = self.scene.clock.now();
        self.scene.pass(1).await;
        let fact = json!({ "kind": "ecs.service", "source": "ecs:DescribeServices",
            "read_at": read_at, "value": { "desired": 4 } });
        let facts = json!({ "facts_read": { "facts": { "service": fact }, "missing": {} } });
        let plan = json!({
            "kind": "remedy", "rule": "backlog", "version": "0123456789abcdef", "mode": "auto",
            "target": "ecs/workers/contact-sync", "steps": [step()], "more": false,
            "limits": { "target": "3 per 24h", "rule": "6 per 1h", "cooldown": "30m" },
            "max_age": "10m", "verify": { "clears_within": "20m", "holds_for": "5m" } });
        let planned =
            json!({ "planned": { "run": self.run, "part": 0, "plan": plan, "printed": [] } });
        self.writes(&[facts, planned]).await;
    }

    /// Judged, a second later.
    pub(crate) async fn judged(&self, verdict: Value, gates: Value) {
        self.scene.pass(1).await;
        self.writes(&[json!({ "judged": {
            "run": self.run, "part": 0, "verdict": verdict, "rule": "backlog",
            "target": "ecs/workers/contact-sync", "parents": [], "writes": true,
            "authority": "rule backlog", "gates": gates } })])
            .await;
    }

    /// Started, sent after a second, finished after five more.
    pub(crate) async fn acts(&self) {
        let at = StepRef { run: self.run.clone(), step: 0 };
        self.writes(&[json!({ "started": { "step": at, "attempt": 1, "does": step(),
            "marker": self.run.marker(0, 1), "not_after": "2026-11-22T08:00:00Z" } })])
            .await;
        self.scene.pass(1).await;
        self.writes(&[json!({ "sent": { "step": at, "attempt": 1, "handle": "d-1" } })]).await;
        self.scene.pass(5).await;
        self.writes(&[json!({ "finished": { "step": at, "attempt": 1, "does": step(),
            "outcome": { "done": { "evidence": { "running": 8 } } } } })])
            .await;
    }

    /// Clear after a minute, effective after five more, and closed.
    pub(crate) async fn heals(&self) {
        self.scene.pass(60).await;
        let at = self.scene.clock.now();
        let delivery = self.scene.receive("sns", "m-2").await;
        let decoded = json!({ "decoded": { "delivery": delivery, "alarms": 1 } });
        let observed = json!({ "observed": { "delivery": delivery,
            "alarm": alarm(at, "resolved"), "standing": "cleared", "skewed_from": null } });
        self.writes(&[decoded, observed]).await;
        self.scene.pass(300).await;
        self.writes(&[
            json!({ "concluded": { "run": self.run, "rule": "backlog",
                "target": "ecs/workers/contact-sync", "outcome": "effective", "why": null,
                "samples": [] } }),
            json!({ "closed": { "ending": "healed" } }),
        ])
        .await;
    }
}

fn step() -> Value {
    json!({ "action": "ecs.scale", "target": "ecs/workers/contact-sync", "class": "B",
        "settle": "10m" })
}
