//! An engine with a simulated AWS and a sender, on virtual time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use expect_test::Expect;
use jiff::{SignedDuration, Timestamp};
use untoil_clock::{Clock, VirtualClock};
use untoil_dispatcher::Bell;
use untoil_guard::{Guard, Policy};
use untoil_journal::{Journal, MemoryJournal, Sole, Verified, verify};
use untoil_model::{Body, Entry, IncidentId, Period, Seq, Stream};
use untoil_world::World;

use crate::rules::{self, HOST};
use crate::support::book::Written;
use crate::support::{Engine, Parts, delivery};
use crate::tale;

pub(crate) struct Lab {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) world: World,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) bell: Bell,
    engine: Option<Engine>,
    pub(crate) book: Written,
    start: Timestamp,
    posted: u32,
}

fn policy() -> Policy {
    Policy { rest: Period::ZERO, ..Policy::default() }
}

fn engine(
    journal: &Arc<dyn Journal>,
    clock: &Arc<VirtualClock>,
    world: &World,
    book: &Written,
) -> (Engine, Arc<Guard>, Bell) {
    Engine::start(Parts {
        journal: Arc::clone(journal),
        roster: Arc::new(Sole::new(Arc::clone(journal))),
        clock: clock.clone(),
        eyes: world.eyes(),
        hands: Some(world.hands()),
        book: book.clone(),
        policy: policy(),
    })
}

impl Lab {
    /// A full disk, an ECS service of four tasks, and an engine that has just started.
    pub(crate) fn new() -> Self {
        let start = "2026-01-05T00:00:00Z".parse().unwrap();
        let clock = Arc::new(VirtualClock::starting_at(start));
        let world = World::new(clock.clone(), 7);
        world.add_host(HOST);
        world.add_disk(HOST, "/", (90.0, 30.0, 0.0));
        world.add_service("workers", "sync", 4);
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let book = Written::of(rules::all());
        let (running, guard, bell) = engine(&journal, &clock, &world, &book);
        Self { clock, world, journal, guard, bell, engine: Some(running), book, start, posted: 0 }
    }

    pub(crate) async fn secs(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }

    pub(crate) async fn mins(&self, mins: u64) {
        self.secs(mins * 60).await;
    }

    /// The alarm `name` changes to `state` now.
    pub(crate) async fn says(&mut self, name: &str, state: &str) {
        self.says_at(name, state, (0, None)).await;
    }

    /// The same, but it changed `ago` seconds before, and tells a value over a threshold of 10.
    pub(crate) async fn says_at(
        &mut self,
        name: &str,
        state: &str,
        (ago, value): (i64, Option<f64>),
    ) {
        let body = self.body(&[(name, state)], (ago, value));
        self.post("generic", &body).await;
    }

    /// A body that names several alarms.
    pub(crate) fn body(&self, alarms: &[(&str, &str)], (ago, value): (i64, Option<f64>)) -> String {
        let at = self.clock.now() - SignedDuration::from_secs(ago);
        let alarms = alarms.iter().map(|(name, state)| {
            serde_json::json!({
                "key": name, "name": name, "state": state, "changed_at": at,
                "value": value, "threshold": value.map(|_| 10.0),
            })
        });
        serde_json::json!({ "alarms": alarms.collect::<Vec<_>>() }).to_string()
    }

    /// A delivery comes in, and what can be done at once is done.
    pub(crate) async fn post(&mut self, source: &str, body: &str) {
        self.posted += 1;
        let sent = delivery(source, &format!("m{}", self.posted), body, &*self.clock);
        self.journal.receive(sent).await.unwrap();
        self.clock.sleep(Duration::from_millis(1)).await;
    }

    /// The process ends as it would on a deployment, and another begins `mins` later.
    pub(crate) async fn restart(&mut self, mins: u64) {
        self.stop().await;
        self.mins(mins).await;
        self.begin();
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.engine.take() {
            running.stop().await;
        }
    }

    pub(crate) fn begin(&mut self) {
        let (running, guard, bell) = engine(&self.journal, &self.clock, &self.world, &self.book);
        (self.engine, self.guard, self.bell) = (Some(running), guard, bell);
    }

    /// The newest incident.
    pub(crate) async fn newest(&self) -> IncidentId {
        self.journal.incidents(None, 1).await.unwrap().remove(0)
    }

    /// A person answers the plan that the newest incident is held for.
    pub(crate) async fn answers(&self, yes: &str) {
        let (id, now) = (self.newest().await, self.clock.now());
        match yes {
            "yes" => drop(self.guard.approve(&id, "kim", "", now).await.unwrap()),
            _ => drop(self.guard.reject(&id, "kim", "", now).await.unwrap()),
        }
        self.bell.ring(id);
        self.secs(0).await;
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap()
    }

    /// Whole seconds since the beginning.
    pub(crate) fn clock_secs(&self) -> i64 {
        self.clock.now().duration_since(self.start).as_secs()
    }

    /// The effects in the world, in words.
    pub(crate) fn effects(&self) -> Vec<String> {
        self.world.effects().into_iter().map(|effect| effect.what).collect()
    }

    /// The versions of rules that matched or planned.
    pub(crate) async fn versions(&self) -> BTreeSet<String> {
        let entries = self.journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap();
        let versions = entries.iter().filter_map(|entry| {
            if let Body::Matched { version, .. } = &entry.body {
                return Some(version.to_string());
            }
            let Body::Planned { plan, .. } = &entry.body else { return None };
            Some(plan.version.to_string())
        });
        versions.collect()
    }

    /// Stops the engine and compares the journal.
    pub(crate) async fn expect(mut self, expected: Expect) {
        self.stop().await;
        assert!(matches!(verify(&*self.journal).await.unwrap(), Verified::Whole { .. }));
        assert_eq!(self.journal.pending(1).await.unwrap(), []);
        let entries = self.journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap();
        expected.assert_eq(&tale::tell(&entries, self.start));
    }
}
