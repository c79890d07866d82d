//! The process that is killed, and the one that comes after it.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::SignedDuration;
use untoil_clock::{Clock, VirtualClock};
use untoil_guard::Policy;
use untoil_journal::{Journal, Sole};
use untoil_model::{Body, Period, Rate, Seq, Stream, Verdict};
use untoil_store::SqliteJournal;
use untoil_world::{Transition, World};

use crate::points::{Letter, MortalHands, MortalJournal, Outside, Points};
use crate::scenes::{self, Scene};
use crate::support::book::Written;
use crate::support::{Engine, Parts, delivery};

/// How long the service is away after a kill: a container that is started again.
const AWAY: SignedDuration = SignedDuration::from_secs(7);
/// How often the sender looks for news.
const POST_EVERY: Duration = Duration::from_secs(10);
/// How long the probe may take until it is judged.
const PROBE_MAX: Duration = Duration::from_mins(10);
/// Most entries of a story.
const ENTRIES_MAX: usize = 10_000;

/// Files that outlive the victim.
pub(crate) const JOURNAL: &str = "journal.db";
pub(crate) const OUTSIDE: &str = "outside.json";

/// Plays a scene, from its beginning or from where the last victim left it, until it is told or the
/// point is reached. A `die_at` of 0 is never reached.
pub(crate) fn be_the_victim(scene: &Scene, folder: &Path, die_at: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(scene, folder, die_at));
}

async fn play(scene: &Scene, folder: &Path, die_at: u64) {
    let file = folder.join(OUTSIDE);
    let (clock, world, outside) = match std::fs::read(&file) {
        Ok(bytes) => {
            let outside: Outside = serde_json::from_slice(&bytes).unwrap();
            let clock = Arc::new(VirtualClock::starting_at(outside.now + AWAY));
            let world = World::restore(clock.clone(), &outside.world).unwrap();
            (clock, world, outside)
        }
        Err(_) => {
            let clock = Arc::new(VirtualClock::starting_at(scenes::start()));
            let world = World::new(clock.clone(), 7);
            (scene.set)(&world);
            (clock, world, Outside::default())
        }
    };
    let points = Arc::new(Points {
        die_at,
        reached: AtomicU64::new(0),
        clock: clock.clone(),
        world: world.clone(),
        outside: Mutex::new(outside),
        file,
    });
    let kept = SqliteJournal::open(folder.join(JOURNAL)).unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MortalJournal { kept, points: Arc::clone(&points) });
    let (engine, _, _) = Engine::start(Parts {
        journal: Arc::clone(&journal),
        roster: Arc::new(Sole::new(Arc::clone(&journal))),
        clock: clock.clone(),
        eyes: world.eyes(),
        hands: Some(MortalHands::over(world.hands(), &points)),
        book: Written::of(vec![(scene.rule)()]),
        policy: policy(),
    });
    let sender = Sender { points: &points, journal: &*journal, clock: &*clock };
    while clock.now().duration_since(scenes::start()) < scenes::LENGTH {
        (scene.meanwhile)(&world, clock.now().duration_since(scenes::start()));
        sender.take(world.transitions().iter().map(Transition::message));
        sender.post().await;
        clock.sleep(POST_EVERY).await;
    }
    let end = *journal.head().borrow();
    points.outside.lock().unwrap().end = Some(end);
    points.save();
    if die_at == 0 {
        let said = sender.probe(scene, end).await;
        let mut outside = points.outside.lock().unwrap();
        outside.probe = Some(said);
        // The world stays as it was when the story ended: what the probe does is not part of it.
        std::fs::write(&points.file, serde_json::to_vec(&*outside).unwrap()).unwrap();
    }
    engine.stop().await;
}

/// Nothing here is about limits; and a step that is lost twice takes longer than a call may wait.
fn policy() -> Policy {
    let many = vec![Rate { n: 100, per: Period::hours(1) }];
    Policy {
        global: many.clone(),
        diagnoses: many,
        rest: Period::ZERO,
        call_within: Period::mins(10),
        ..Policy::default()
    }
}

/// A sender who keeps what was not acknowledged, and sends it again.
struct Sender<'a> {
    points: &'a Points,
    journal: &'a dyn Journal,
    clock: &'a dyn Clock,
}

impl Sender<'_> {
    fn take(&self, news: impl Iterator<Item = serde_json::Value>) {
        let mut outside = self.points.outside.lock().unwrap();
        for message in news {
            outside.posted += 1;
            let letter = (format!("m-{}", outside.posted), message.to_string());
            outside.outbox.push_back(letter);
        }
    }

    async fn post(&self) {
        loop {
            let letter: Option<Letter> =
                self.points.outside.lock().unwrap().outbox.front().cloned();
            let Some((id, body)) = letter else { return };
            let sent = delivery("cloudwatch", &id, &body, self.clock);
            self.journal.receive(sent).await.unwrap();
            let mut outside = self.points.outside.lock().unwrap();
            outside.outbox.pop_front();
            outside.accepted.push(id);
        }
    }

    /// Sends a second alarm on the same target; returns what the guard says to it.
    async fn probe(&self, scene: &Scene, end: Seq) -> String {
        let alarm = scenes::probe(scene);
        let (at, reason) = (self.clock.now(), "probe".to_owned());
        let fires = Transition { alarm, at, from: "OK", to: "ALARM", reason };
        let sent = delivery("cloudwatch", "probe", &fires.message().to_string(), self.clock);
        self.journal.receive(sent).await.unwrap();
        let until = self.clock.now() + PROBE_MAX;
        while self.clock.now() < until {
            for entry in self.journal.read(&Stream::All, end, ENTRIES_MAX).await.unwrap() {
                if let Body::Judged { verdict, .. } = entry.body {
                    return match verdict {
                        Verdict::Allow {} => "allow".to_owned(),
                        Verdict::Hold { reason, .. } => format!("hold: {reason}"),
                        Verdict::Deny { reason } => format!("deny: {reason}"),
                    };
                }
            }
            self.clock.sleep(POST_EVERY).await;
        }
        "not judged".to_owned()
    }
}
