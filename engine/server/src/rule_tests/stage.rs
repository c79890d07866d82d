//! One test, played: the real dispatcher, rule book, guard and runner on virtual time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::Catalogue;
use untoil_clock::{Clock, VirtualClock};
use untoil_dispatcher::{
    Answer, Bell, Book, Candidate, Dispatcher, Prepared, Question, Rules, Tools,
};
use untoil_guard::{Guard, Policy, RUN_GATE};
use untoil_intake::Decoders;
use untoil_journal::{Batch, Journal, MemoryJournal, Sole, load};
use untoil_model::{
    Actor, Alarm, AlarmState, Body, Draft, EngineMode, Entry, Incident, IncidentId, Reason,
    RuleName, Seq, Stream, Verdict, Work,
};
use untoil_runner::Runner;
use untoil_world::World;

use super::format::{Answering, Before, Moment, Said, Test};
use super::setting::Scenery;
use super::{look, sender};

/// When every test begins: a Monday morning in Seoul, so that months and days cannot be mistaken.
const START: &str = "2026-01-05T09:00:00+09:00";
/// The simulation's seed: the same test plays the same way every time.
const SEED: u64 = 7;
/// How long a test goes on after the last thing has arrived, in its own time.
const REST_MAX: SignedDuration = SignedDuration::from_hours(48);
/// How often it is looked whether there is anything left to do, in the test's time.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A test takes well under a second of real time. One that takes this long hangs.
const REAL_MAX: Duration = Duration::from_mins(1);
/// Rest between the runs of `done_before`.
const APART: SignedDuration = SignedDuration::from_hours(1);
/// Most incidents and entries of one test; far more than a person would write.
const INCIDENTS_MAX: usize = 1_000;
const ENTRIES_MAX: usize = 20_000;

/// What a test is played with.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    /// The rule under test.
    pub(super) rule: RuleName,
    /// The folder's rules, with the test's mode.
    pub(super) book: Book,
    pub(super) policy: Policy,
    /// What reads alarms, with the folder's `enrich`.
    pub(super) decoders: Arc<Decoders>,
    pub(super) catalogue: Arc<Catalogue>,
}

/// What came of a test.
#[derive(Debug, Default)]
pub(super) struct Played {
    /// What is not as the test says. Empty: it passed.
    pub(super) misses: Vec<String>,
    /// Every entry of the journal.
    pub(super) entries: Vec<Entry>,
    /// Whether `plan` was asked.
    pub(super) plan_asked: bool,
    /// Whether `next` was asked.
    pub(super) next_asked: bool,
}

/// Plays a test on a thread and a runtime of its own, and waits for it.
pub(super) fn play(cast: Cast, test: Test) -> Played {
    let (told, heard) = mpsc::channel();
    let thread = std::thread::Builder::new().name("rule-test".into()).spawn(move || {
        let played = on_virtual_time(&cast, &test);
        // Nobody listens any more when it took too long.
        drop(told.send(played));
    });
    let failed = |why: String| Played { misses: vec![why], ..Played::default() };
    if let Err(error) = thread {
        return failed(format!("no thread could be started: {error}"));
    }
    match heard.recv_timeout(REAL_MAX) {
        Ok(Ok(played)) => played,
        Ok(Err(error)) => failed(format!("{error:#}")),
        Err(mpsc::RecvTimeoutError::Timeout) => {
            failed(format!("it did not end within {} s of real time", REAL_MAX.as_secs()))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            failed("it ended by a bug in untoil; the panic stands on standard error".into())
        }
    }
}

fn on_virtual_time(cast: &Cast, test: &Test) -> anyhow::Result<Played> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(cast, test).await?;
        let played = stage.play(test).await;
        let fine = stage.end().await;
        let played = played?;
        fine?;
        Ok(played)
    })
}

/// The engine of one test.
struct Stage {
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    guard: Arc<Guard>,
    bell: Bell,
    asked: Arc<Asked>,
    scenery: Scenery,
    said: Said,
    deliveries: usize,
    /// Entries that were there before the test began.
    n_past: usize,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    async fn set(cast: &Cast, test: &Test) -> anyhow::Result<Self> {
        let start: Timestamp = START.parse().expect("it is a time");
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(start));
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let mut scenery = Scenery::new(World::new(Arc::clone(&clock), SEED));
        scenery.set(&test.world).context("in `world`")?;
        let actor = Actor::Engine("rule-test".into());
        let past = past(&cast.rule, &test.done_before, start, &actor)?;
        let n_past = past.len();
        if n_past > 0 {
            journal.append(Batch::of(past)).await?;
        }
        let asked = Arc::new(Asked::default());
        let rules =
            Tested { book: cast.book.clone(), rule: cast.rule.clone(), asked: asked.clone() };
        let policy = cast.policy.clone();
        let guard =
            Arc::new(Guard::new(Arc::clone(&journal), policy, EngineMode::Live, actor.clone()));
        let (eyes, hands) = (scenery.world.eyes(), scenery.world.hands());
        let base = (Arc::clone(&journal), Arc::clone(&clock), actor.clone());
        let catalogue = Arc::clone(&cast.catalogue);
        let runner =
            Runner::new(base, Arc::clone(&guard), catalogue.clone(), eyes.clone(), Some(hands));
        let dispatcher = Dispatcher::new(Tools {
            journal: Arc::clone(&journal),
            roster: Arc::new(Sole::new(Arc::clone(&journal))),
            clock: Arc::clone(&clock),
            actor,
            decoders: Arc::clone(&cast.decoders),
            rules: Arc::new(rules),
            catalogue,
            guard: Arc::clone(&guard),
            eyes,
            runner,
        });
        let (bell, stop, mut tasks) = (dispatcher.bell(), CancellationToken::new(), JoinSet::new());
        let dispatching = dispatcher.run(stop.clone());
        tasks.spawn(async move { Ok(dispatching.await?) });
        Ok(Self {
            clock,
            journal,
            guard,
            bell,
            asked,
            scenery,
            said: Said::default(),
            deliveries: 0,
            n_past,
            stop,
            tasks,
        })
    }

    async fn play(&mut self, test: &Test) -> anyhow::Result<Played> {
        let start = self.clock.now();
        let mut misses = Vec::new();
        for moment in &test.when {
            let at = SignedDuration::try_from(moment.at.duration()).unwrap_or_default();
            self.clock.sleep_until(start.saturating_add(at).unwrap_or(start)).await;
            self.happen(moment, &mut misses)
                .await
                .with_context(|| format!("in `when`, at {}", moment.at))?;
        }
        let give_up = self.clock.now().saturating_add(REST_MAX).unwrap_or(Timestamp::MAX);
        loop {
            self.clock.sleep(LOOK_EVERY).await;
            if self.is_quiet().await? {
                break;
            }
            if self.clock.now() >= give_up {
                misses.push(format!("it is still busy {} h later", REST_MAX.as_hours()));
                break;
            }
        }
        let entries = self.journal.read(&Stream::All, Seq::START, ENTRIES_MAX).await?;
        let (_, own) = entries.split_at(self.n_past.min(entries.len()));
        misses.extend(look::misses(&test.then, own, &self.scenery.world));
        let plan_asked = self.asked.plan.load(Ordering::Relaxed);
        let next_asked = self.asked.next.load(Ordering::Relaxed);
        Ok(Played { misses, entries, plan_asked, next_asked })
    }

    async fn happen(&mut self, moment: &Moment, misses: &mut Vec<String>) -> anyhow::Result<()> {
        if let Some(setting) = &moment.world {
            self.scenery.set(setting).context("in `world`")?;
        }
        if let Some(said) = &moment.alarm {
            let before: Option<AlarmState> = self.said.state;
            self.said = said.clone().over(&self.said);
            let now = self.next_delivery();
            let delivery = sender::alarm(&self.said, before, now)?;
            self.journal.receive(delivery).await?;
        }
        if let Some(event) = &moment.event {
            let delivery = sender::event(event, self.next_delivery());
            self.journal.receive(delivery).await?;
        }
        if let Some(answer) = moment.answer
            && let Err(error) = self.answer(answer).await
        {
            misses.push(format!("the answer at {} was not taken: {error:#}", moment.at));
        }
        Ok(())
    }

    fn next_delivery(&mut self) -> (Timestamp, usize) {
        self.deliveries += 1;
        (self.clock.now(), self.deliveries)
    }

    async fn answer(&self, answer: Answering) -> anyhow::Result<()> {
        let open = self.open().await?;
        let Some(incident) = open.iter().rev().find(|incident| incident.held().is_some()) else {
            bail!("no plan waits for one");
        };
        let now = self.clock.now();
        match answer {
            Answering::Approve => self.guard.approve(&incident.id, "rule-test", "", now).await?,
            Answering::Reject => self.guard.reject(&incident.id, "rule-test", "", now).await?,
        };
        self.bell.ring(incident.id.clone());
        Ok(())
    }

    async fn open(&self) -> anyhow::Result<Vec<Incident>> {
        let mut open = Vec::new();
        for id in self.journal.open_incidents(None, INCIDENTS_MAX).await? {
            open.extend(load(&*self.journal, &id).await?);
        }
        Ok(open)
    }

    /// Whether nothing more happens by itself.
    async fn is_quiet(&self) -> anyhow::Result<bool> {
        Ok(self.journal.pending(1).await?.is_empty() && self.open().await?.iter().all(rests))
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("the dispatcher ended by a bug")??;
        }
        Ok(())
    }
}

fn rests(incident: &Incident) -> bool {
    let told = incident.escalations.iter().any(|reason| matches!(reason, Reason::LeaseOver { .. }));
    incident.work() == Work::Nothing && (incident.lease.is_none() || told)
}

/// The entries of runs that wrote before the test began, as the guard counts them.
fn past(
    rule: &RuleName,
    runs: &[Before],
    start: Timestamp,
    actor: &Actor,
) -> anyhow::Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    for before in runs {
        let ago = SignedDuration::try_from(before.ago.duration()).unwrap_or_default();
        for n in 0..before.times {
            let at = start.checked_sub(ago)?.checked_sub(APART * i32::try_from(n)?)?;
            let key = format!("rule-test:{}", before.target).parse()?;
            let run = IncidentId::derive(at, &key, "done before").run(1);
            let judged = Body::Judged {
                run: run.clone(),
                part: 0,
                verdict: Verdict::Allow {},
                rule: rule.clone(),
                target: before.target.clone(),
                parents: Vec::new(),
                writes: true,
                authority: "done before the test".into(),
                gates: BTreeMap::from([(RUN_GATE.to_owned(), "remedy".to_owned())]),
            };
            let concluded = Body::Concluded {
                run,
                rule: rule.clone(),
                target: before.target.clone(),
                outcome: before.outcome,
                why: None,
                samples: Vec::new(),
            };
            drafts.push(Draft::new(at, actor.clone(), judged));
            drafts.push(Draft::new(at, actor.clone(), concluded));
        }
    }
    drafts.sort_by_key(|draft| draft.at);
    Ok(drafts)
}

/// What the rule was asked.
#[derive(Debug, Default)]
struct Asked {
    plan: AtomicBool,
    next: AtomicBool,
}

/// The rule book as the engine has it, but only the rule under test answers: a rule that another
/// team adds cannot break this one's tests.
#[derive(Debug)]
struct Tested {
    book: Book,
    rule: RuleName,
    asked: Arc<Asked>,
}

#[async_trait]
impl Rules for Tested {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        let mut candidates = self.book.candidates(alarm);
        candidates.retain(|candidate| candidate.name == self.rule);
        candidates
    }

    fn prepare(&self, rule: &RuleName, alarm: &Alarm) -> Result<Prepared, String> {
        self.book.prepare(rule, alarm)
    }

    fn is_current(&self, prepared: &Candidate) -> bool {
        self.book.is_current(prepared)
    }

    async fn ask(&self, rule: &RuleName, question: Question<'_>) -> Answer {
        let flag = if question.results.is_none() { &self.asked.plan } else { &self.asked.next };
        flag.store(true, Ordering::Relaxed);
        self.book.ask(rule, question).await
    }
}
