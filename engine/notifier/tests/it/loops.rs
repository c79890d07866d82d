//! The loop in virtual time, over the memory journal and a simulated chat.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use expect_test::expect_file;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_journal::{Batch, Journal as _, MemoryJournal};
use untoil_model::{Body, Draft, Ending, EngineMode, Hash, Mode, Reason, Seq};
use untoil_notifier::{
    Chat, ChatError, Found, Key, Language, Message, Notifier, NotifierConfig, NotifierHealth, Pace,
    PartOf, Posted,
};

use crate::life::{Life, delivery, note, start};
use crate::threads::voice;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The process is stopped while it sends, and goes on a minute later.
    Stopped,
    Unreachable,
    /// Taken, and the answer lost.
    LostAfter,
    /// Not taken, and the answer lost.
    LostBefore,
    Throttled,
    Setup,
    Message,
    /// The process dies before the call takes effect.
    CrashBefore,
    /// The process dies after it has.
    CrashAfter,
}

#[derive(Debug, Clone)]
struct Said {
    posted: Posted,
    thread: Option<String>,
    message: Message,
    at: Timestamp,
}

/// A simulated Slack that keeps what it took.
#[derive(Debug)]
pub(crate) struct FakeChat {
    clock: Arc<VirtualClock>,
    pub(crate) crash: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    said: Vec<Said>,
    edits: Vec<(Timestamp, Posted)>,
    calls: usize,
    faults: Vec<(std::ops::Range<usize>, Fault)>,
    /// The only channel that is there.
    only: Option<String>,
    /// What the messages in it are said to be in, whatever name the channel was called by.
    id_of_names: Option<String>,
}

impl Inner {
    fn reaches(&self, channel: &str) -> Result<(), ChatError> {
        match &self.only {
            Some(only) if only != channel => Err(ChatError::Setup("channel_not_found".into())),
            Some(_) | None => Ok(()),
        }
    }
}

impl FakeChat {
    pub(crate) fn new(clock: Arc<VirtualClock>) -> Arc<Self> {
        Arc::new(Self { clock, crash: Notify::new(), inner: Mutex::default() })
    }

    pub(crate) fn fault(&self, calls: std::ops::Range<usize>, fault: Fault) {
        self.inner.lock().unwrap().faults.push((calls, fault));
    }

    fn said(&self) -> Vec<Said> {
        self.inner.lock().unwrap().said.clone()
    }

    /// What each message tells of, in the order of posting; `None` for a parent, which is edited.
    pub(crate) fn tells_of(&self) -> Vec<Option<Seq>> {
        let of = |said: &Said| said.thread.as_ref().map(|_| said.message.key.seq);
        self.said().iter().map(of).collect()
    }

    /// Every thread as headlines, parents first, in the order of posting.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |said: &Said| {
            let mark = if said.thread.is_some() { "  " } else { "" };
            format!("{mark}{}", said.message.headline.plain())
        };
        self.said().iter().map(line).collect()
    }

    fn next_fault(&self) -> Fault {
        let mut inner = self.inner.lock().unwrap();
        let n = inner.calls;
        inner.calls += 1;
        let fault = inner.faults.iter().find(|(calls, _)| calls.contains(&n));
        fault.map_or(Fault::None, |(_, fault)| *fault)
    }

    async fn through<T>(&self, effect: impl FnOnce(&mut Inner) -> T) -> Result<T, ChatError> {
        let take = |effect: &mut Option<_>| {
            let effect: Option<_> = Option::take(effect);
            let effect: Box<dyn FnOnce(&mut Inner) -> T + '_> = Box::new(effect.unwrap());
            effect(&mut self.inner.lock().unwrap())
        };
        let mut effect = Some(effect);
        match self.next_fault() {
            Fault::None => Ok(take(&mut effect)),
            Fault::Stopped => {
                self.crash.notify_one();
                self.clock.sleep(Duration::from_mins(1)).await;
                Ok(take(&mut effect))
            }
            Fault::Unreachable => Err(ChatError::Unreachable("simulated".into())),
            Fault::LostAfter => {
                take(&mut effect);
                Err(ChatError::Unknown("simulated".into()))
            }
            Fault::LostBefore => Err(ChatError::Unknown("simulated".into())),
            Fault::Throttled => Err(ChatError::Throttled { retry_after: Duration::from_secs(30) }),
            Fault::Setup => Err(ChatError::Setup("not_in_channel".into())),
            Fault::Message => Err(ChatError::Message("msg_too_long".into())),
            Fault::CrashBefore => {
                self.crash.notify_one();
                std::future::pending().await
            }
            Fault::CrashAfter => {
                take(&mut effect);
                self.crash.notify_one();
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Chat for FakeChat {
    async fn post(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        message: &Message,
    ) -> Result<Posted, ChatError> {
        let at = self.clock.now();
        let channel = thread.map_or(channel, |thread| &thread.channel);
        self.inner.lock().unwrap().reaches(channel)?;
        self.through(|inner| {
            let channel = inner.id_of_names.clone().unwrap_or_else(|| channel.into());
            let posted = Posted { channel, ts: (inner.said.len() + 1).to_string() };
            let thread = thread.map(|thread| thread.ts.clone());
            inner.said.push(Said { posted: posted.clone(), thread, message: message.clone(), at });
            posted
        })
        .await
    }

    async fn update(&self, at: &Posted, message: &Message) -> Result<(), ChatError> {
        let now = self.clock.now();
        self.inner.lock().unwrap().reaches(&at.channel)?;
        self.through(|inner| {
            inner.edits.push((now, at.clone()));
            let said = inner.said.iter_mut().find(|said| said.posted == *at);
            said.expect("an edit is of a message that was posted").message = message.clone();
        })
        .await
    }

    async fn find(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        key: &Key,
        since: Timestamp,
    ) -> Result<Option<Found>, ChatError> {
        let channel = thread.map_or(channel, |thread| &thread.channel);
        self.inner.lock().unwrap().reaches(channel)?;
        let id = self.inner.lock().unwrap().id_of_names.clone();
        let channel = id.as_deref().unwrap_or(channel);
        self.through(|inner| {
            let thread = thread.map(|thread| thread.ts.clone());
            let said = inner
                .said
                .iter()
                .filter(|said| said.posted.channel == channel && said.thread == thread)
                .find(|said| said.at >= since && said.message.key.is(key));
            said.map(|said| Found { posted: said.posted.clone(), key: said.message.key.clone() })
        })
        .await
    }

    fn pace(&self) -> Pace {
        Pace { post_every: Duration::from_secs(1), edit_every: Duration::from_millis(1_200) }
    }
}

struct World {
    clock: Arc<VirtualClock>,
    journal: Arc<MemoryJournal>,
    chat: Arc<FakeChat>,
    config: NotifierConfig,
    health: NotifierHealth,
}

impl World {
    async fn of(drafts: &[Draft]) -> Self {
        Self::at(start(), drafts).await
    }

    async fn at(now: Timestamp, drafts: &[Draft]) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(now));
        let journal = Arc::new(MemoryJournal::new());
        journal.append(Batch::of(drafts.to_vec())).await.unwrap();
        let chat = FakeChat::new(clock.clone());
        let config = NotifierConfig::new("C1", voice(Language::En));
        Self { clock, journal, chat, config, health: NotifierHealth::default() }
    }

    fn notifier(&self) -> Notifier {
        let config = self.config.clone();
        Notifier::new(self.journal.clone(), self.chat.clone(), self.clock.clone(), config)
    }

    /// Runs for a time; after a simulated crash, again until then.
    async fn run_for(&mut self, time: Duration) {
        let until = self.clock.now().checked_add(SignedDuration::try_from(time).unwrap()).unwrap();
        while self.clock.now() < until {
            let notifier = self.notifier();
            let health = notifier.health();
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(notifier.run(stop.clone()));
            tokio::select! {
                () = self.chat.crash.notified() => {
                    // The process is gone: nothing of it runs on.
                    tasks.shutdown().await;
                }
                () = self.clock.sleep_until(until) => {
                    stop.cancel();
                    tasks.join_all().await;
                }
            }
            self.health = health.borrow().clone();
        }
    }

    fn head(&self) -> Seq {
        *self.journal.head().borrow()
    }

    fn lines(&self) -> Vec<String> {
        self.chat.lines()
    }
}

const HOUR: Duration = Duration::from_hours(1);

pub(crate) const HEALED: [&str; 9] = [
    "🟢 Closed · SEV2 · disk · ec2/i-0a1b2c3d4e5f67890",
    "  🔎 What was seen",
    "  📋 Facts read",
    "  📝 What it is going to do",
    "  ▶️ Allowed",
    "  ☑️ Result: done",
    "  🔔 The alarm cleared",
    "  ✅ Verification: effective",
    "  🏁 Closed: healed by untoil",
];

#[tokio::test(start_paused = true)]
async fn an_incident_becomes_one_thread_at_slacks_pace() {
    let mut world = World::of(&Life::healed("disk").drafts).await;
    world.run_for(Duration::from_mins(1)).await;
    assert_eq!(world.lines(), HEALED);
    assert_eq!(world.journal.cursor("slack").await.unwrap(), world.head());
    let said = world.chat.said();
    for pair in said.windows(2) {
        assert!(pair[1].at.duration_since(pair[0].at) >= SignedDuration::from_secs(1));
    }
    // The parent changed ten times; only settled states were sent.
    let edits = world.chat.inner.lock().unwrap().edits.clone();
    assert!(edits.len() <= 3, "{edits:?}");
    assert!(!world.health.is_degraded(world.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn a_crash_or_a_lost_answer_at_any_call_doubles_nothing_and_loses_nothing() {
    let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::LostBefore, Fault::LostAfter];
    for fault in faults {
        for call in 0..16 {
            let mut world = World::of(&Life::healed("disk").drafts).await;
            world.chat.fault(call..call + 1, fault);
            world.run_for(Duration::from_mins(1)).await;
            assert_eq!(world.lines(), HEALED, "{fault:?} at call {call}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_crashes_in_a_row_double_nothing() {
    for call in 0..12 {
        let mut world = World::of(&Life::healed("disk").drafts).await;
        world.chat.fault(call..call + 1, Fault::CrashAfter);
        world.chat.fault(call + 2..call + 3, Fault::CrashAfter);
        world.run_for(Duration::from_mins(1)).await;
        assert_eq!(world.lines(), HEALED, "crashes at calls {call} and {}", call + 2);
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_each_incident_is_one_summary() {
    let mut drafts = Life::healed("disk").drafts;
    drafts.extend(Life::healed("other").drafts);
    let mut world = World::of(&drafts).await;
    world.chat.fault(0..20, Fault::Unreachable);
    world.run_for(Duration::from_mins(5)).await;
    assert!(world.lines().is_empty());
    assert_eq!(world.journal.cursor("slack").await.unwrap(), Seq::START);
    assert!(world.health.is_degraded(world.clock.now()), "{:?}", world.health);
    world.run_for(HOUR).await;
    assert_eq!(
        world.lines(),
        [
            "🟢 Closed · SEV2 · disk · ec2/i-0a1b2c3d4e5f67890",
            "  📨 Late summary: 8 events",
            "🟢 Closed · SEV2 · other · ec2/i-0a1b2c3d4e5f67890",
            "  📨 Late summary: 8 events",
        ]
    );
    assert!(!world.health.is_degraded(world.clock.now()));
    let text = world.chat.said()[1].message.fallback();
    assert!(text.contains("Closed: healed by untoil") && text.contains("untoil why"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_summary_that_was_cut_off_by_a_crash_is_not_said_again() {
    let late = start().checked_add(SignedDuration::from_mins(20)).unwrap();
    for call in 0..6 {
        for fault in [Fault::CrashAfter, Fault::LostAfter] {
            let mut world = World::at(late, &Life::healed("disk").drafts).await;
            world.chat.fault(call..call + 1, fault);
            world.run_for(HOUR).await;
            let lines = world.lines();
            assert_eq!(lines.len(), 2, "{fault:?} at call {call}: {lines:?}");
            assert_eq!(lines[1], "  📨 Late summary: 8 events");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slacks_retry_after_is_obeyed() {
    let mut world = World::of(&Life::disk("disk").drafts).await;
    // Call 0 looks, call 1 posts the parent.
    world.chat.fault(1..2, Fault::Throttled);
    world.run_for(Duration::from_mins(2)).await;
    let said = world.chat.said();
    assert_eq!(said.len(), 2);
    assert!(said[0].at.duration_since(start()) >= SignedDuration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_set_up_holds_words_back_for_an_hour_and_no_longer() {
    let mut world = World::of(&Life::disk("disk").drafts).await;
    world.chat.fault(0..1_000_000, Fault::Setup);
    world.run_for(Duration::from_mins(50)).await;
    assert_eq!(
        (world.health.passed_over, world.journal.cursor("slack").await.unwrap()),
        (0, Seq::START)
    );
    world.run_for(HOUR * 2).await;
    assert_eq!(world.journal.cursor("slack").await.unwrap(), world.head());
    assert!(world.health.passed_over > 0);
    assert!(world.health.last_error.as_ref().unwrap().contains("not_in_channel"));
    // Once the bot is invited, the thread begins with what is known now.
    world.chat.inner.lock().unwrap().faults.clear();
    let mut later = Life::disk("disk");
    let drafts = later.add(7_200, Body::Unmatched {}).drafts.split_off(1);
    world.journal.append(Batch::of(drafts)).await.unwrap();
    world.run_for(HOUR).await;
    assert_eq!(world.lines().len(), 2, "{:?}", world.lines());
    assert!(world.lines()[0].contains("No rule"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_refused_for_good_is_passed_over_alone() {
    let mut world = World::of(&Life::healed("disk").drafts).await;
    world.chat.fault(3..4, Fault::Message);
    world.run_for(Duration::from_mins(1)).await;
    let mut expected = HEALED.to_vec();
    expected.remove(2);
    assert_eq!(world.lines(), expected);
    assert_eq!(world.health.passed_over, 1);
}

#[tokio::test(start_paused = true)]
async fn incidents_that_interleave_keep_their_own_order_and_more_than_memory_holds() {
    let n = 300;
    let mut lives: Vec<_> = (0..n).map(|n| Life::disk(&format!("disk {n}"))).collect();
    let mut drafts: Vec<Draft> =
        lives.iter_mut().flat_map(|life| life.drafts.split_off(0)).collect();
    for life in &mut lives {
        life.add(60, Body::Unmatched {}).closed(10, Ending::HealedItself);
        drafts.extend(life.drafts.split_off(0));
    }
    let mut world = World::of(&drafts).await;
    world.run_for(HOUR * 2).await;
    let said = world.chat.said();
    for (n, life) in lives.iter().enumerate() {
        let mine: Vec<_> = said
            .iter()
            .filter(|said| said.message.key.incident.as_ref() == Some(&life.id))
            .collect();
        let parts: Vec<_> = mine.iter().map(|said| said.message.key.part).collect();
        assert_eq!(
            parts,
            [PartOf::Parent, PartOf::Reply, PartOf::Reply, PartOf::Reply],
            "incident {n}"
        );
        assert!(mine[0].message.headline.plain().contains("Closed"), "incident {n}");
        let thread = Some(mine[0].posted.ts.clone());
        assert!(mine[1..].iter().all(|said| said.thread == thread), "incident {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thread_of_another_channel_begins_anew_in_the_configured_one() {
    let mut life = Life::healed("disk");
    let later = life.drafts.split_off(5);
    life.drafts.push(note(start(), unreadable("m-1")));
    let mut world = World::of(&life.drafts).await;
    // As an engine left it that had no token and told the terminal under the name of Slack's reader.
    world.config = NotifierConfig::new("terminal", voice(Language::En));
    world.run_for(Duration::from_mins(1)).await;
    let before = world.chat.said().len();
    assert!(world.chat.said().iter().all(|said| said.posted.channel == "terminal"));

    world.config = NotifierConfig::new("C1", voice(Language::En));
    world.chat.inner.lock().unwrap().only = Some("C1".into());
    world.journal.append(Batch::of(later)).await.unwrap();
    let drafts = vec![note(start(), unreadable("m-2"))];
    world.journal.append(Batch::of(drafts)).await.unwrap();
    world.run_for(Duration::from_mins(1)).await;
    let said = world.chat.said().split_off(before);
    assert_eq!(
        world.lines()[before..],
        [
            HEALED[0],
            HEALED[5],
            HEALED[6],
            HEALED[7],
            HEALED[8],
            "📭 A delivery cannot be read: sns"
        ]
    );
    assert!(said[1..5].iter().all(|reply| reply.thread.as_ref() == Some(&said[0].posted.ts)));
    assert_eq!((world.health.passed_over, world.health.failing_since), (0, None));
    assert_eq!(world.journal.cursor("slack").await.unwrap(), world.head());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_configured_by_its_name_keeps_its_threads() {
    let mut life = Life::healed("disk");
    let later = life.drafts.split_off(5);
    let mut world = World::of(&life.drafts).await;
    world.config = NotifierConfig::new("#ops", voice(Language::En));
    world.chat.inner.lock().unwrap().id_of_names = Some("C1".into());
    world.run_for(Duration::from_mins(1)).await;
    assert_eq!(world.chat.said()[0].posted.channel, "C1");
    world.journal.append(Batch::of(later)).await.unwrap();
    world.run_for(Duration::from_mins(1)).await;
    assert_eq!(world.lines(), HEALED);
}

#[tokio::test(start_paused = true)]
async fn slack_begins_for_itself_after_the_terminal() {
    let mut world = World::of(&Life::healed("disk").drafts).await;
    world.config = NotifierConfig::terminal(voice(Language::En));
    world.run_for(Duration::from_mins(1)).await;
    assert_eq!(world.journal.cursor("terminal").await.unwrap(), world.head());
    assert_eq!(world.journal.cursor("slack").await.unwrap(), Seq::START);
    world.config = NotifierConfig::new("C1", voice(Language::En));
    world.chat.inner.lock().unwrap().only = Some("C1".into());
    world.run_for(Duration::from_mins(1)).await;
    let said = world.chat.said();
    assert_eq!(said[HEALED.len()..].len(), HEALED.len());
    assert!(said[HEALED.len()..].iter().all(|said| said.posted.channel == "C1"));
    assert_eq!(world.health.passed_over, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_a_day_starts_no_thread() {
    let now = start().checked_add(SignedDuration::from_hours(48)).unwrap();
    let mut world = World::at(now, &Life::healed("disk").drafts).await;
    world.run_for(HOUR).await;
    assert!(world.lines().is_empty());
    assert_eq!(world.journal.cursor("slack").await.unwrap(), world.head());
}

#[tokio::test(start_paused = true)]
async fn new_entries_are_told_as_they_come() {
    let mut world = World::of(&[]).await;
    world.run_for(HOUR).await;
    let life = Life::disk("disk");
    world.journal.append(Batch::of(life.drafts.clone())).await.unwrap();
    world.run_for(Duration::from_secs(5)).await;
    assert_eq!(world.lines().len(), 2);
}

fn unreadable(n: &str) -> Body {
    Body::Unreadable { delivery: delivery(n), why: format!("`{n}` is not JSON") }
}

fn notices() -> Vec<Draft> {
    let rule = "disk-full".parse().unwrap();
    let broken = |error: &str| Body::RuleBroken {
        rule: "disk-full".into(),
        error: error.into(),
        kept: Some("3f2a9c0d11e84b77".parse().unwrap()),
    };
    let folder = Body::RuleBroken {
        rule: "*".into(),
        error: "failed to read the rules folder: Too many open files".into(),
        kept: None,
    };
    let loaded = Body::RuleLoaded { rule, version: "77aa".parse().unwrap(), mode: Mode::Shadow };
    let started =
        |mode| Body::EngineStarted { version: "0.1.0".into(), mode, config: Hash::GENESIS };
    let (scope, reason) = ("all".to_owned(), "배포 중".to_owned());
    let unsubscribed = Reason::Other {
        code: "subscription_deleted".into(),
        detail: "the subscription to `alarms` was deleted".into(),
    };
    let bodies = [
        started(EngineMode::DryRun),
        loaded.clone(),
        broken("rule.yaml:4:3: unknown key `moed`"),
        broken("rule.yaml:4:3: unknown key `moed`"),
        loaded.clone(),
        started(EngineMode::DryRun),
        folder.clone(),
        folder.clone(),
        loaded.clone(),
        loaded,
        folder,
        started(EngineMode::Live),
        Body::Paused { scope: scope.clone(), reason: reason.clone() },
        Body::Resumed { scope, reason },
        unreadable("m-1"),
        unreadable("m-2"),
        unreadable("m-3"),
        Body::Escalated { reason: unsubscribed, mention: None },
        Body::EngineStopped {},
    ];
    bodies.into_iter().map(|body| note(start(), body)).collect()
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_no_incident_is_told_once_and_counted() {
    for (code, language) in [("ko", Language::Ko), ("en", Language::En)] {
        let mut world = World::of(&notices()).await;
        let mut config = NotifierConfig::new("C1", voice(language));
        config.reader = "slack".into();
        let notifier =
            Notifier::new(world.journal.clone(), world.chat.clone(), world.clock.clone(), config);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(notifier.run(stop.clone()));
        world.clock.sleep(HOUR).await;
        stop.cancel();
        tasks.join_all().await;
        let texts: Vec<_> = world.chat.said().iter().map(|said| said.message.fallback()).collect();
        let path = format!("{}/tests/threads/notices.{code}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_file![path].assert_eq(&format!("{}\n", texts.join("\n\n")));
        // A restart tells none of it again.
        let n = world.chat.said().len();
        world.run_for(HOUR).await;
        assert_eq!(world.chat.said().len(), n);
    }
}
