//! Several instances on one journal, with one simulated AWS, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use untoil_clock::{Clock, VirtualClock};
use untoil_dispatcher::Bell;
use untoil_guard::{Guard, Policy};
use untoil_journal::{Journal, MemoryJournal, Roster, Verified, load, verify};
use untoil_model::{Body, Entry, IncidentId, Period, Seq, StepOutcome, Stream};
use untoil_world::World;

use crate::gate::{Gate, Gated, GatedHands};
use crate::rules::{self, HOST};
use crate::support::book::Written;
use crate::support::{Engine, Parts, delivery};
use crate::tale;

/// Longer than a lease of 15 s and the time until somebody looks for what is left.
pub(crate) const LEASE_OVER_SECS: u64 = 20;

/// One instance.
pub(crate) struct Member {
    pub(crate) gate: Arc<Gate>,
    pub(crate) journal: Arc<Gated>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) bell: Bell,
    engine: Option<Engine>,
}

/// Several instances. They never end by themselves; a test kills, pauses or stops them.
pub(crate) struct Crew {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) world: World,
    /// What looks from outside: it never writes.
    pub(crate) journal: MemoryJournal,
    pub(crate) members: Vec<Member>,
    book: Written,
    start: Timestamp,
    posted: u32,
}

impl Crew {
    /// A full disk, an ECS service of four tasks, and `n` instances that have just started.
    pub(crate) async fn of(n: usize) -> Self {
        let mut crew = Self::empty();
        for _ in 0..n {
            crew.join(0).await;
        }
        crew
    }

    /// The same without an instance.
    pub(crate) fn empty() -> Self {
        let start = "2026-01-05T00:00:00Z".parse().unwrap();
        let clock = Arc::new(VirtualClock::starting_at(start));
        let world = World::new(clock.clone(), 7);
        world.add_host(HOST);
        world.add_disk(HOST, "/", (90.0, 30.0, 0.0));
        world.add_service("workers", "sync", 4);
        let journal = MemoryJournal::new();
        let book = Written::of(rules::all());
        Self { clock, world, journal, members: Vec::new(), book, start, posted: 0 }
    }

    /// A further instance begins; its gate closes at a point. It may act when this returns.
    pub(crate) async fn join(&mut self, closes_at: u64) -> usize {
        let gate = Gate::closing_at(closes_at);
        let kept = self.journal.join(self.clock.clone());
        let (newer, answers_late, late) = Default::default();
        let journal = Arc::new(Gated { kept, gate: Arc::clone(&gate), newer, answers_late, late });
        let (engine, guard, bell) = Engine::start(Parts {
            journal: journal.clone(),
            roster: journal.clone(),
            clock: self.clock.clone(),
            eyes: self.world.eyes(),
            hands: Some(GatedHands::over(self.world.hands(), &gate)),
            book: self.book.clone(),
            policy: Policy { rest: Period::ZERO, ..Policy::default() },
        });
        self.members.push(Member { gate, journal, guard, bell, engine: Some(engine) });
        self.millis(1).await;
        self.members.len() - 1
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn millis(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }

    pub(crate) async fn secs(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }

    pub(crate) async fn mins(&self, mins: u64) {
        self.secs(mins * 60).await;
    }

    /// The alarm `name` changes to `state` now; instance `n` is told.
    pub(crate) async fn says(&mut self, n: usize, name: &str, state: &str) {
        let alarm = serde_json::json!({
            "key": name, "name": name, "state": state, "changed_at": self.clock.now(),
        });
        let body = serde_json::json!({ "alarms": [alarm] }).to_string();
        self.posted += 1;
        let sent = delivery("generic", &format!("m{}", self.posted), &body, &*self.clock);
        self.members[n].journal.kept.receive(sent).await.unwrap();
        self.millis(1).await;
    }

    /// Dropped where it is, as by SIGKILL.
    pub(crate) async fn kill(&mut self, n: usize) {
        self.members[n].gate.close();
        drop(self.members[n].engine.take());
        self.millis(1).await;
    }

    /// Ends as it would on a deployment.
    pub(crate) async fn stop(&mut self, n: usize) {
        self.members[n].engine.take().unwrap().stop().await;
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap()
    }

    pub(crate) async fn newest(&self) -> IncidentId {
        self.journal.incidents(None, 1).await.unwrap().remove(0)
    }

    /// Who holds the newest incident.
    pub(crate) async fn holder(&self) -> Option<usize> {
        let newest = [self.newest().await];
        for (n, member) in self.members.iter().enumerate() {
            if !member.journal.kept.held(&newest).await.unwrap().is_empty() {
                return Some(n);
            }
        }
        None
    }

    pub(crate) fn effects(&self) -> Vec<String> {
        self.world.effects().into_iter().map(|effect| effect.what).collect()
    }

    pub(crate) async fn tale(&self) -> String {
        tale::tell(&self.entries().await, self.start)
    }

    /// What no story may leave behind, in words.
    pub(crate) async fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        let entries = self.entries().await;
        if !matches!(verify(&self.journal).await.unwrap(), Verified::Whole { .. }) {
            wrongs.push("the chain is broken".to_owned());
        }
        let pending = self.journal.pending(usize::MAX).await.unwrap();
        if !pending.is_empty() {
            wrongs.push(format!("{pending:?} were never decided"));
        }
        wrongs.extend(twice(&entries));
        let mut markers = BTreeSet::new();
        for call in self.world.calls() {
            if !markers.insert(call.marker.clone()) {
                wrongs.push(format!("`{}` was called twice", call.marker));
            }
        }
        let mut steps = BTreeMap::<String, u32>::new();
        for effect in self.world.effects() {
            let step = effect.marker.rsplit_once(':').unwrap().0.to_owned();
            *steps.entry(step).or_default() += 1;
        }
        for (step, n) in steps.into_iter().filter(|(_, n)| *n > 1) {
            wrongs.push(format!("`{step}` took effect {n} times"));
        }
        for id in self.journal.incidents(None, usize::MAX).await.unwrap() {
            let incident = load(&self.journal, &id).await.unwrap().unwrap();
            if !incident.is_closed() {
                wrongs.push(format!("incident {id} is still {}", incident.phase()));
            }
        }
        wrongs
    }
}

/// What of each run and step may stand in the journal once.
fn twice(entries: &[Entry]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut wrongs = Vec::new();
    for entry in entries {
        let once = if let Body::Planned { run, part, .. } = &entry.body {
            format!("{run} part {part} planned")
        } else if let Body::Started { marker, .. } = &entry.body {
            format!("{marker} started")
        } else if let Body::Sent { step, attempt, .. } = &entry.body {
            format!("{step}#{attempt} sent")
        } else if let Body::Finished { step, outcome, .. } = &entry.body {
            if let StepOutcome::Unknown { why } = outcome {
                wrongs.push(format!("{step} is unknown: {why}"));
            }
            format!("{step} finished")
        } else if let Body::Concluded { run, .. } = &entry.body {
            format!("{run} concluded")
        } else if let (Body::Closed { .. }, Some(incident)) = (&entry.body, &entry.incident) {
            format!("{incident} closed")
        } else if let (Body::Matched { .. }, Some(incident)) = (&entry.body, &entry.incident) {
            format!("{incident} matched")
        } else {
            continue;
        };
        if !seen.insert(once.clone()) {
            wrongs.push(format!("{once} twice"));
        }
    }
    wrongs
}
