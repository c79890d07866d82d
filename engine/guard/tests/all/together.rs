//! Those who wait for the ledger are judged together: the same as one by one in their order, and what
//! becomes of one is not the others'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::scene::*;
use crate::slow::Slow;
use futures::future::join_all;
use proptest::prelude::*;
use untoil_guard::*;
use untoil_journal::{Journal as _, JournalError};
use untoil_model::*;

/// Everybody's time of judgement.
const NOW: i64 = 4 * HOUR;

/// One of those who wait.
#[derive(Debug, Clone)]
struct Wish {
    target: u8,
    parent: bool,
    rule: u8,
    class: Class,
    mode: Mode,
    state: AlarmState,
    begins: bool,
    /// What is proposed is in the journal already.
    planned: bool,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let class = prop_oneof![4 => Just(Class::B), 1 => Just(Class::A), 1 => Just(Class::D)];
    let mode =
        prop_oneof![6 => Just(Mode::Auto), 1 => Just(Mode::Approve), 1 => Just(Mode::Shadow)];
    let state = prop_oneof![6 => Just(AlarmState::Firing), 1 => Just(AlarmState::Resolved)];
    let flags = (any::<bool>(), any::<bool>(), prop_oneof![3 => Just(false), 1 => Just(true)]);
    let wish = (0..6_u8, 0..2_u8, class, mode, state, flags).prop_map(
        |(target, rule, class, mode, state, (parent, begins, planned))| Wish {
            target,
            parent,
            rule,
            class,
            mode,
            state,
            begins,
            planned,
        },
    );
    prop::collection::vec(wish, 2..12)
}

impl Wish {
    fn plan(&self) -> Plan {
        let mut plan = plan(&host(u32::from(self.target)));
        plan.rule = format!("rule-{}", self.rule).parse().unwrap();
        (plan.mode, plan.steps[0].class) = (self.mode, self.class);
        if self.parent {
            plan.parents = vec![target(&format!("asg/{}", self.target % 3))];
        }
        plan.limits.rule = Rate { n: 3, per: Period::hours(1) };
        plan
    }

    async fn brought(&self, scene: &Scene, n: usize) -> (Incident, Docket) {
        let mut incident = scene.open(&format!("disk-{n}"), at(NOW)).await;
        let (run, part, printed) = (incident.next_run(), 0, Vec::new());
        let mut proposed = vec![Body::Planned { run, part, plan: Arc::new(self.plan()), printed }];
        if self.planned {
            scene.tell(&mut incident, at(NOW), proposed.remove(0)).await;
        }
        if self.state != AlarmState::Firing {
            scene.hear(&mut incident, self.state, at(NOW)).await;
        }
        let seen = Seq::START;
        let first = if self.begins { First::Begins { seen } } else { First::Waits };
        (incident, Docket { proposed, first })
    }
}

async fn all(scene: &Scene) -> Vec<Entry> {
    scene.journal.read(&Stream::All, Seq::START, 1_000).await.unwrap()
}

/// A guard whose journal lets others run in between: who comes while it reads is judged together.
fn slow(scene: &Scene) -> (Guard, Arc<Slow>) {
    let journal = Arc::new(Slow::over(scene.journal.clone()));
    let policy = scene.policy.clone();
    (Guard::new(journal.clone(), policy, scene.mode, engine()), journal)
}

type Said = Result<Option<Recorded>, GuardError>;

/// Judges all of them together.
async fn together(guard: &Guard, all: &mut [(Incident, Docket)]) -> Vec<Said> {
    let each =
        all.iter_mut().map(|(incident, docket)| guard.judge_at_once(incident, docket, at(NOW)));
    join_all(each).await
}

/// So many firing alarms, each of a host of its own, whose step begins at once.
async fn hosts(scene: &Scene, n: u8) -> Vec<(Incident, Docket)> {
    let mut brought = Vec::new();
    for target in 0..n {
        let (class, mode, state) = (Class::B, Mode::Auto, AlarmState::Firing);
        let (parent, rule, begins, planned) = (false, target, true, false);
        let wish = Wish { target, parent, rule, class, mode, state, begins, planned };
        brought.push(wish.brought(scene, target.into()).await);
    }
    brought
}

/// How many may make a call.
fn begun(said: &[Said]) -> usize {
    let may = |said: &&Said| matches!(said, Ok(Some(Recorded { may: Some(_), .. })));
    said.iter().filter(may).count()
}

fn check(wishes: &[Wish]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (quick, slow_one) = (Scene::default(), Scene::default());
        let (mut at_once, mut one_by_one) = (Vec::new(), Vec::new());
        for (n, wish) in wishes.iter().enumerate() {
            at_once.push(wish.brought(&quick, n).await);
            one_by_one.push(wish.brought(&slow_one, n).await);
        }
        let (guard, journal) = slow(&quick);
        let said = together(&guard, &mut at_once).await;
        prop_assert_eq!(journal.appended(), 1, "they are judged in one session");
        // Each by a guard that knows nothing but the journal.
        for ((incident, docket), said) in one_by_one.iter_mut().zip(&said) {
            let alone = slow_one.guard().judge_at_once(incident, docket, at(NOW)).await;
            prop_assert_eq!(format!("{:?}", alone), format!("{:?}", said));
        }
        prop_assert_eq!(all(&quick).await, all(&slow_one).await);
        for ((together, _), (alone, _)) in at_once.iter().zip(&one_by_one) {
            prop_assert_eq!(together, alone);
        }
        // And what the guard now knows is what is written: it judges on as one that reads it all.
        let mut one_more = [hosts(&quick, 1).await.remove(0), hosts(&slow_one, 1).await.remove(0)];
        let [(next, docket), (alone, _)] = &mut one_more;
        let said = guard.judge_at_once(next, docket, at(NOW + 1)).await;
        let again = slow_one.guard().judge_at_once(alone, docket, at(NOW + 1)).await;
        prop_assert_eq!(format!("{:?}", said), format!("{:?}", again));
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn together_is_written_what_one_by_one_is_written(wishes in wishes()) {
        check(&wishes)?;
    }
}

#[tokio::test]
async fn each_sees_the_reservations_of_those_before_it() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 8).await;
    let (guard, journal) = slow(&scene);
    let said = together(&guard, &mut waiting).await;
    assert_eq!((begun(&said), journal.appended()), (5, 1), "the global limit");
    let codes: BTreeMap<bool, usize> = said.iter().fold(BTreeMap::new(), |mut codes, said| {
        let denied = matches!(said, Ok(Some(Recorded { judgement: Judgement::Deny(_), .. })));
        *codes.entry(denied).or_default() += 1;
        codes
    });
    assert_eq!(codes, BTreeMap::from([(false, 5), (true, 3)]));
    assert!(said[..5].iter().all(|said| begun(std::slice::from_ref(said)) == 1), "in their order");
}

#[tokio::test]
async fn one_that_has_news_is_sent_back_and_the_others_are_judged() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 4).await;
    let (guard, journal) = slow(&scene);
    let standing = Standing::Again;
    let alarm = Arc::new(alarm("disk-1", AlarmState::Firing, at(NOW + 1)));
    let word = Draft::of(&waiting[1].0.id, at(NOW), engine(), Body::Looked { alarm, standing });
    journal.between.lock().unwrap().push(word);
    let said = together(&guard, &mut waiting).await;
    assert!(matches!(said[1], Ok(None)), "{:?}", said[1]);
    assert_eq!(begun(&said), 3);
    let (all, about) = (all(&scene).await, waiting[1].0.id.clone());
    let own = all.iter().filter(|entry| entry.incident.as_ref() == Some(&about));
    let kinds: BTreeSet<&str> = own.map(|entry| entry.body.kind()).collect();
    assert_eq!(kinds, BTreeSet::from(["opened", "looked"]), "nothing is said of it");
}

#[tokio::test]
async fn in_a_storm_of_words_each_is_judged_though_others_move_every_time() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 8).await;
    let (guard, journal) = slow(&scene);
    // As long as they are judged together, there is news of one of them each time.
    let words = (3..8).map(|n| {
        let alarm = Arc::new(alarm(&format!("disk-{n}"), AlarmState::Firing, at(NOW + 1)));
        let (id, body) = (&waiting[n].0.id, Body::Looked { alarm, standing: Standing::Again });
        Draft::of(id, at(NOW), engine(), body)
    });
    let words: Vec<Draft> = words.collect();
    journal.between.lock().unwrap().extend(words);
    let said = together(&guard, &mut waiting).await;
    assert_eq!(begun(&said), 3, "{said:?}");
    assert!(said[3..].iter().all(|said| matches!(said, Ok(None))), "{said:?}");
    // Three sessions for all, then one for each that is left.
    assert_eq!(journal.appended(), 3 + 5);
}

#[tokio::test]
async fn whoever_another_instance_is_faster_than_is_still_judged_with_the_others() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 4).await;
    let (guard, journal) = slow(&scene);
    // Another instance writes to the ledger before every session but the ninth.
    let paused = || {
        let (scope, reason) = ("rule/another".into(), String::new());
        Draft::new(at(NOW), engine(), Body::Paused { scope, reason })
    };
    journal.between.lock().unwrap().extend(std::iter::repeat_with(paused).take(8));
    let said = together(&guard, &mut waiting).await;
    assert_eq!((begun(&said), journal.appended()), (4, 9));
}

#[tokio::test]
async fn a_ledger_that_is_shorter_than_it_was_read_is_read_anew() {
    let scene = Scene::default();
    let (guard, journal) = slow(&scene);
    let mut waiting = hosts(&scene, 5).await;
    assert_eq!(begun(&together(&guard, &mut waiting).await), 5, "the limit is used up");
    // The database comes back with what it had before that.
    let before = Scene::default();
    let mut waiting = hosts(&before, 5).await;
    journal.is_now(before.journal.clone());
    assert_eq!(begun(&together(&guard, &mut waiting).await), 5);
}

#[tokio::test]
async fn one_that_another_instance_has_taken_over_is_not_the_others_end() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 4).await;
    let (guard, journal) = slow(&scene);
    journal.taken.lock().unwrap().insert(waiting[2].0.id.clone());
    let said = together(&guard, &mut waiting).await;
    let taken = |said: &Said| matches!(said, Err(GuardError::Journal(JournalError::TakenOver(_))));
    let taken: Vec<bool> = said.iter().map(taken).collect();
    assert_eq!((taken, begun(&said)), (vec![false, false, true, false], 3));
}

#[tokio::test]
async fn what_is_not_on_the_disk_allows_nothing() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 3).await;
    let (guard, journal) = slow(&scene);
    journal.fail_durable(true);
    let said = together(&guard, &mut waiting).await;
    assert!(said.iter().all(Result::is_err), "{said:?}");
    journal.fail_durable(false);
    // It is known neither to be written nor not to be; what is in the journal counts.
    let mut later = hosts(&scene, 8).await.split_off(3);
    let said = together(&guard, &mut later).await;
    assert_eq!(begun(&said), 2, "three of five are reserved");
}

#[tokio::test]
async fn a_session_that_is_given_up_reserves_nothing_and_the_others_go_on() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 8).await;
    let (guard, journal) = slow(&scene);
    journal.stuck.notify_one();
    let (first, others) = waiting.split_at_mut(1);
    let (incident, docket) = &mut first[0];
    let rest = together(&guard, others);
    tokio::pin!(rest);
    tokio::select! {
        biased;
        said = guard.judge_at_once(incident, docket, at(NOW)) => {
            panic!("it holds the session and never writes: {said:?}");
        }
        said = &mut rest => panic!("they wait for the session: {said:?}"),
        () = journal.is_stuck.notified() => {}
    }
    // The holder is gone, in the middle of its session.
    let said = rest.await;
    assert_eq!(begun(&said), 5, "nothing was written before, so all of the limit is left");
    assert!(said.iter().all(|said| matches!(said, Ok(Some(_)))), "{said:?}");
}

#[tokio::test]
async fn of_two_who_bring_the_same_incident_one_is_judged() {
    let scene = Scene::default();
    let mut waiting = hosts(&scene, 2).await;
    let (twin, docket) = &waiting[0];
    waiting.push((twin.clone(), docket.clone()));
    let (guard, _) = slow(&scene);
    let said = together(&guard, &mut waiting).await;
    assert!(matches!(said[2], Ok(None)), "{:?}", said[2]);
    assert_eq!(begun(&said), 2);
    let started = all(&scene).await.iter().filter(|entry| entry.body.kind() == "started").count();
    assert_eq!(started, 2, "a call has one intent");
    assert_eq!(waiting[0].0, waiting[2].0, "it knows of it now");
}
