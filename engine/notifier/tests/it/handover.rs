//! Several instances, of which one tells: who has the reader's post, and what another makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_journal::{Batch, Journal as _, MemoryJournal, Roster as _};
use untoil_model::Draft;
use untoil_notifier::{Language, Notifier, NotifierConfig};

use crate::life::{Life, start};
use crate::loops::{FakeChat, Fault, HEALED};
use crate::threads::voice;

/// How often an instance says that it lives; its lease is 15 s.
const BEAT_EVERY: Duration = Duration::from_secs(3);
/// More calls than telling one incident takes.
const CALLS: usize = 16;

/// Two instances that share a journal and a chat.
struct Pair {
    clock: Arc<VirtualClock>,
    journal: MemoryJournal,
    chat: Arc<FakeChat>,
}

/// One of them, as long as it lives.
struct Instance {
    journal: Arc<MemoryJournal>,
    stop: CancellationToken,
    telling: JoinSet<()>,
    beating: JoinSet<()>,
}

impl Instance {
    fn beat(&mut self, clock: &Arc<VirtualClock>) {
        let (clock, journal) = (clock.clone(), self.journal.clone());
        self.beating.spawn(async move {
            loop {
                journal.beat().await.unwrap();
                clock.sleep(BEAT_EVERY).await;
            }
        });
    }
}

impl Pair {
    async fn of(drafts: &[Draft]) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(start()));
        let journal = MemoryJournal::new();
        journal.append(Batch::of(drafts.to_vec())).await.unwrap();
        let chat = FakeChat::new(clock.clone());
        Self { clock, journal, chat }
    }

    async fn join(&self) -> Instance {
        let journal = Arc::new(self.journal.join(self.clock.clone()));
        journal.beat().await.unwrap();
        let config = NotifierConfig::new("C1", voice(Language::En));
        let notifier =
            Notifier::new(journal.clone(), self.chat.clone(), self.clock.clone(), config)
                .sharing(journal.clone());
        let (stop, mut telling) = (CancellationToken::new(), JoinSet::new());
        telling.spawn(notifier.run(stop.clone()));
        let mut instance = Instance { journal, stop, telling, beating: JoinSet::new() };
        instance.beat(&self.clock);
        self.secs(0).await;
        instance
    }

    async fn secs(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_instances_one_tells() {
    let pair = Pair::of(&Life::healed("disk").drafts).await;
    let (_first, second) = (pair.join().await, pair.join().await);
    pair.secs(60).await;
    assert_eq!(pair.chat.lines(), HEALED);
    assert!(!second.journal.take("slack").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn when_the_one_that_tells_is_killed_at_any_call_the_other_goes_on_and_doubles_nothing() {
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for call in 0..CALLS {
            let pair = Pair::of(&Life::healed("disk").drafts).await;
            pair.chat.fault(call..call + 1, fault);
            let (first, _second) = (pair.join().await, pair.join().await);
            tokio::select! {
                () = pair.chat.crash.notified() => drop(first),
                () = pair.secs(60) => {}
            }
            pair.secs(60).await;
            assert_eq!(pair.chat.lines(), HEALED, "{fault:?} at call {call}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_that_was_stopped_while_it_was_sent_comes_twice_at_most_and_no_other_does() {
    for call in 0..CALLS {
        let pair = Pair::of(&Life::healed("disk").drafts).await;
        pair.chat.fault(call..call + 1, Fault::Stopped);
        let (mut first, _second) = (pair.join().await, pair.join().await);
        tokio::select! {
            () = pair.chat.crash.notified() => {
                // It is stopped as a whole: it is not heard either.
                first.beating.shutdown().await;
                pair.secs(60).await;
                first.beat(&pair.clock);
            }
            () = pair.secs(60) => {}
        }
        pair.secs(60).await;
        let said = pair.chat.tells_of();
        assert!(said.len() <= HEALED.len() + 1, "call {call}: {said:#?}");
        let distinct: BTreeSet<_> = said.into_iter().collect();
        assert_eq!(distinct.len(), HEALED.len(), "call {call}: {distinct:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_leaves_hands_the_telling_over_at_once() {
    let pair = Pair::of(&Life::healed("disk").drafts).await;
    let mut first = pair.join().await;
    let _second = pair.join().await;
    pair.secs(4).await;
    let told = pair.chat.lines().len();
    assert!(told > 0 && told < HEALED.len(), "{told}");
    first.stop.cancel();
    first.telling.join_next().await.unwrap().unwrap();
    first.beating.shutdown().await;
    first.journal.leave().await.unwrap();
    pair.secs(14).await;
    assert_eq!(pair.chat.lines(), HEALED);
}
