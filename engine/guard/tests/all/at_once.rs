//! A plan, its judgement and its first intent in one commit: the same as one after the other, or nothing.

use std::sync::Arc;

use crate::scene::*;
use tokio::task::JoinSet;
use untoil_guard::*;
use untoil_journal::{Journal as _, load};
use untoil_model::*;

/// What a rule answered: facts, and a plan.
fn proposed(incident: &Incident, plan: Plan) -> Vec<Body> {
    let part = incident.run.as_ref().map_or(0, |run| run.parts.len());
    let part = u32::try_from(part).unwrap();
    let run = incident.next_run();
    vec![
        Body::FactsRead { facts: Arc::default(), missing: [("load".into(), "away".into())].into() },
        Body::Planned { run, part, plan: Arc::new(plan), printed: Vec::new() },
    ]
}

/// What is begun by somebody who looked at the world when the ledger was as it is now, or as it was in
/// the beginning where nothing has ended.
fn begins(proposed: Vec<Body>) -> Docket {
    Docket { proposed, first: First::Begins { seen: Seq::START } }
}

/// What is begun by somebody who has looked at the world now.
async fn foreseen(
    guard: &Guard,
    incident: &Incident,
    proposed: Vec<Body>,
    now: jiff::Timestamp,
) -> Docket {
    let foreseen = guard.foresee(incident, &proposed, now).await.unwrap();
    let first = foreseen.map_or(First::Waits, |Foreseen { seen, .. }| First::Begins { seen });
    Docket { proposed, first }
}

fn kinds(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.body.kind()).collect()
}

async fn all(scene: &Scene) -> Vec<Entry> {
    scene.journal.read(&Stream::All, Seq::START, 1_000).await.unwrap()
}

/// What is written of a plan, by one commit; and what the journal then says.
async fn at_once(scene: &Scene, incident: &mut Incident, plan: Plan) -> Recorded {
    let docket = begins(proposed(incident, plan));
    let recorded = scene.guard().judge_at_once(incident, &docket, at(1)).await.unwrap().unwrap();
    let kept = load(scene.journal.as_ref(), &incident.id).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&*incident), "what it knows is what is kept");
    recorded
}

#[tokio::test]
async fn a_plan_its_judgement_and_its_intent_are_one_commit() {
    let scene = Scene::default();
    let mut incident = scene.open("disk", at(0)).await;
    let Recorded { judgement, entries, may } = at_once(&scene, &mut incident, plan(&host(1))).await;
    assert_eq!(kinds(&entries), ["facts_read", "planned", "judged", "started"]);
    let (Judgement::Allow(permit), Some(may)) = (judgement, may) else { panic!("{entries:?}") };
    assert_eq!((permit.part(), permit.first_step()), (0, 0));
    assert_eq!((may.at().step, may.attempt()), (0, 1));
    assert_eq!(may.ledger_at(), entries[2].seq, "it knows its own reservation");
    let Body::Started { step, marker, not_after, .. } = &entries[3].body else { panic!() };
    assert_eq!((step, marker, *not_after), (may.at(), &may.marker(), may.not_after()));
    // What a process finds that was killed right after it: it looks, and does not call.
    assert_eq!(incident.work(), Work::Find { step: 0 });
    assert!(scene.guard().resume(&incident).is_some(), "for the steps that follow");
    let again = scene.guard().clear(&permit, 0, 1, &mut incident, at(2)).await.unwrap();
    assert!(again.is_err(), "its step has begun: {again:?}");
}

/// Changes a scene and the plan that is proposed in it.
type With = fn(&mut Plan, &mut Scene);

#[tokio::test]
async fn nothing_begins_that_is_not_allowed() {
    let ask = |plan: &mut Plan, _: &mut Scene| plan.mode = Mode::Approve;
    let shadow = |plan: &mut Plan, _: &mut Scene| plan.mode = Mode::Shadow;
    let protect = |_: &mut Plan, scene: &mut Scene| scene.policy.protected = vec![host(1)];
    let dry = |_: &mut Plan, scene: &mut Scene| scene.mode = EngineMode::DryRun;
    let table: [(&str, With); 4] = [
        ("approval_missing", ask),
        ("shadow", shadow),
        ("protected_target", protect),
        ("dry_run", dry),
    ];
    for (code, with) in table {
        let (mut scene, mut proposal) = (Scene::default(), plan(&host(1)));
        with(&mut proposal, &mut scene);
        let mut incident = scene.open("disk", at(0)).await;
        let foreseen = proposed(&incident, proposal.clone());
        let step = scene.guard().foresee(&incident, &foreseen, at(1)).await.unwrap();
        assert_eq!(step, None, "{code}");
        let Recorded { judgement, entries, may } = at_once(&scene, &mut incident, proposal).await;
        let said = match judgement {
            Judgement::Hold { reason, .. } | Judgement::Deny(reason) => reason.code().to_owned(),
            Judgement::Allow(_) => "allowed".to_owned(),
        };
        assert_eq!((said.as_str(), may.is_none()), (code, true));
        assert_eq!(kinds(&entries)[..3], ["facts_read", "planned", "judged"], "{code}");
        assert!(!kinds(&entries).contains(&"started"), "{code}: {entries:?}");
    }
}

#[tokio::test]
async fn a_step_that_nobody_looked_at_or_that_must_wait_is_allowed_and_not_begun() {
    for (first, after) in [(First::Waits, 0), (First::Begins { seen: Seq::START }, 30)] {
        let scene = Scene::default();
        let mut incident = scene.open("disk", at(0)).await;
        let mut proposal = plan(&host(1));
        proposal.steps[0].after = Period::secs(after);
        let docket = Docket { proposed: proposed(&incident, proposal), first };
        let guard = scene.guard();
        let recorded = guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap().unwrap();
        assert_eq!(kinds(&recorded.entries), ["facts_read", "planned", "judged"]);
        assert!(recorded.may.is_none());
        assert!(matches!(recorded.judgement, Judgement::Allow(_)), "{recorded:?}");
        assert_eq!(incident.work(), Work::Call { step: 0 });
    }
}

#[tokio::test]
async fn a_held_plan_begins_with_the_judgement_that_its_approval_brings() {
    let scene = Scene::default();
    let mut proposal = plan(&host(1));
    proposal.mode = Mode::Approve;
    let mut incident = scene.planned("disk", proposal, at(0)).await;
    let guard = scene.guard();
    let docket = begins(Vec::new());
    let asked = guard.judge_at_once(&mut incident, &docket, at(0)).await.unwrap().unwrap();
    assert_eq!(kinds(&asked.entries), ["judged"]);
    let again = guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap().unwrap();
    assert_eq!(kinds(&again.entries), [""; 0], "asked once");
    let answered = guard.approve(&incident.id, "kim", "", at(2)).await.unwrap();
    incident.apply(&answered);
    let recorded = guard.judge_at_once(&mut incident, &docket, at(3)).await.unwrap().unwrap();
    assert_eq!(kinds(&recorded.entries), ["judged", "started"]);
    let Body::Judged { authority, .. } = &recorded.entries[0].body else { panic!() };
    assert_eq!(authority, "approved by kim");
}

#[tokio::test]
async fn a_later_part_begins_with_its_judgement_and_counts_once() {
    let scene = Scene::default();
    let mut first = plan(&host(1));
    first.more = true;
    let mut incident = scene.open("disk", at(0)).await;
    at_once(&scene, &mut incident, first).await;
    scene.finish(&mut incident, 0, at(1)).await;
    assert_eq!(incident.work(), Work::Ask);
    let Recorded { judgement, entries, may } = at_once(&scene, &mut incident, plan(&host(1))).await;
    assert_eq!(kinds(&entries), ["facts_read", "planned", "judged", "started"]);
    let Judgement::Allow(permit) = judgement else { panic!("{entries:?}") };
    assert_eq!((permit.part(), permit.first_step(), may.unwrap().at().step), (1, 1, 1));
}

#[tokio::test]
async fn a_pause_acknowledged_before_the_commit_stops_the_call() {
    let scene = Scene::default();
    let mut incident = scene.open("disk", at(0)).await;
    let body = Body::Paused { scope: "all".into(), reason: "stop".into() };
    let guard = scene.interrupted(vec![Draft::new(at(1), Actor::Human("kim".into()), body)]);
    let docket = begins(proposed(&incident, plan(&host(1))));
    let recorded = guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap().unwrap();
    assert_eq!(kinds(&recorded.entries), ["facts_read", "planned", "judged", "escalated"]);
    assert_eq!(denied(recorded.judgement).code(), "kill_switch");
    assert!(recorded.may.is_none());
}

#[tokio::test]
async fn a_run_that_others_allowed_before_the_commit_is_seen() {
    let scene = Scene::default();
    let mut other = scene.planned("other", plan(&host(1)), at(0)).await;
    let holder = allowed(scene.guard().judge(&mut other, at(0)).await.unwrap());
    let reserved = all(&scene).await.pop().unwrap();
    // The same reservation, as another instance makes it right before this one's commit.
    let later = Scene::default();
    let mut incident = later.open("disk", at(0)).await;
    let draft = Draft::of(&other.id, at(0), engine(), reserved.body);
    let guard = later.interrupted(vec![draft]);
    let docket = begins(proposed(&incident, plan(&host(1))));
    let recorded = guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap().unwrap();
    assert_eq!(kinds(&recorded.entries), ["facts_read", "planned", "judged"]);
    let (reason, _) = held(recorded.judgement);
    assert_eq!(reason, Reason::TargetBusy { target: host(1), holder: holder.run().clone() });
}

#[tokio::test]
async fn a_step_is_not_begun_on_a_look_that_another_run_has_made_old() {
    let elsewhere = [(host(2), true), (host(1), false), (target("asg/web"), false)];
    for (other, begins) in elsewhere {
        let mut scene = Scene::default();
        scene.policy.rest = Period::ZERO;
        let mut incident = scene.open("disk", at(0)).await;
        let mut proposal = plan(&host(1));
        proposal.parents = vec![target("asg/web")];
        let proposed = proposed(&incident, proposal);
        let docket = foreseen(&scene.guard(), &incident, proposed, at(1)).await;
        assert!(matches!(docket.first, First::Begins { .. }), "{docket:?}");
        // It is allowed and over before the world, which was looked at, is acted on.
        let mut quick = plan(&other);
        quick.rule = "another".parse().unwrap();
        scene.ran("other", quick, (1, 2), RunOutcome::Effective).await;
        let guard = scene.guard();
        let recorded = guard.judge_at_once(&mut incident, &docket, at(3)).await.unwrap().unwrap();
        assert!(matches!(recorded.judgement, Judgement::Allow(_)), "{recorded:?}");
        assert_eq!(recorded.may.is_some(), begins, "{other}");
        assert_eq!(kinds(&recorded.entries).contains(&"started"), begins, "{other}");
    }
}

#[tokio::test]
async fn a_word_that_comes_in_before_the_commit_lets_nothing_be_written() {
    for state in [AlarmState::Resolved, AlarmState::NoData, AlarmState::Firing] {
        let scene = Scene::default();
        let mut incident = scene.open("disk", at(0)).await;
        let standing = Standing::Again;
        let alarm = Arc::new(alarm("disk", state, at(1)));
        let word = Draft::of(&incident.id, at(1), engine(), Body::Looked { alarm, standing });
        let guard = scene.interrupted(vec![word]);
        let docket = begins(proposed(&incident, plan(&host(1))));
        let recorded = guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap();
        assert!(recorded.is_none(), "{recorded:?}");
        assert_eq!(kinds(&all(&scene).await), ["opened", "looked"]);
        assert_eq!(incident.alarm.state, state, "it knows of it now");
    }
}

#[tokio::test]
async fn a_ledger_that_never_stands_still_lets_nothing_be_written() {
    let scene = Scene::default();
    let mut incident = scene.open("disk", at(0)).await;
    let body = || Body::Paused { scope: "rule/other".into(), reason: String::new() };
    let guard = scene.interrupted((0..100).map(|_| Draft::new(at(1), engine(), body())).collect());
    let docket = begins(proposed(&incident, plan(&host(1))));
    let judged = guard.judge_at_once(&mut incident, &docket, at(1)).await;
    assert!(matches!(judged, Err(GuardError::Contended(_))), "{judged:?}");
    assert!(!kinds(&all(&scene).await).contains(&"planned"));
}

#[tokio::test]
async fn who_proposes_nothing_that_can_be_judged_gets_no_judgement() {
    let scene = Scene::default();
    let mut incident = scene.open("disk", at(0)).await;
    let mut nothing = plan(&host(1));
    nothing.steps.clear();
    for bodies in [Vec::new(), proposed(&incident, nothing)] {
        let judged = scene.guard().judge_at_once(&mut incident, &begins(bodies), at(1)).await;
        assert!(matches!(judged, Err(GuardError::NoPlan(_))), "{judged:?}");
    }
    assert_eq!(kinds(&all(&scene).await), ["opened"]);
}

#[tokio::test]
async fn of_fifty_at_once_as_many_begin_as_the_limit_allows() {
    let scene = Arc::new(Scene::default());
    let guards: Vec<_> = (0..3).map(|_| Arc::new(scene.interrupted(Vec::new()))).collect();
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let mut proposal = plan(&host(n));
        proposal.limits.rule = Rate { n: 100, per: Period::hours(1) };
        let mut incident = scene.open(&format!("disk-{n}"), at(0)).await;
        let docket = begins(proposed(&incident, proposal));
        let guard = guards[usize::try_from(n).unwrap() % guards.len()].clone();
        tasks.spawn(async move {
            guard.judge_at_once(&mut incident, &docket, at(1)).await.unwrap().unwrap()
        });
    }
    let recorded = tasks.join_all().await;
    let cleared = recorded.iter().filter(|recorded| recorded.may.is_some()).count();
    assert_eq!(cleared, 5, "the global limit");
    let entries = all(&scene).await;
    let of = |kind: &str| entries.iter().filter(|entry| entry.body.kind() == kind).count();
    assert_eq!((of("judged"), of("started")), (50, 5));
    for entry in entries.iter().filter(|entry| entry.body.kind() == "started") {
        let before = &entries[usize::try_from(entry.seq.0).unwrap() - 2];
        let allowed = matches!(before.body, Body::Judged { verdict: Verdict::Allow {}, .. });
        assert!(allowed && before.incident == entry.incident, "{before:?}");
    }
}

/// A case of the comparison below.
#[derive(Debug, Clone, Copy)]
struct Case {
    mode: Mode,
    class: Class,
    state: AlarmState,
    engine: EngineMode,
    paused: bool,
    runs_before: u32,
}

fn cases() -> impl Iterator<Item = Case> {
    let modes = [Mode::Off, Mode::Shadow, Mode::Approve, Mode::Auto];
    let classes = [Class::A, Class::B, Class::D];
    let states = [AlarmState::Firing, AlarmState::NoData, AlarmState::Resolved];
    let engines = [EngineMode::Live, EngineMode::DryRun];
    let before = [(false, 0), (true, 0), (false, 3)];
    let all = modes.len() * classes.len() * states.len() * engines.len() * before.len();
    (0..all).map(move |mut n| {
        let mut pick = |of: usize| {
            let picked = n % of;
            n /= of;
            picked
        };
        let (paused, runs_before) = before[pick(before.len())];
        Case {
            mode: modes[pick(modes.len())],
            class: classes[pick(classes.len())],
            state: states[pick(states.len())],
            engine: engines[pick(engines.len())],
            paused,
            runs_before,
        }
    })
}

impl Case {
    async fn scene(self) -> (Scene, Incident, Plan) {
        let scene = Scene { mode: self.engine, ..Scene::default() };
        let live = Scene { journal: scene.journal.clone(), ..Scene::default() };
        for n in 0..self.runs_before {
            let from = i64::from(n) * HOUR;
            let ends = (from, from + MIN);
            live.ran(&format!("before-{n}"), plan(&host(1)), ends, RunOutcome::Effective).await;
        }
        if self.paused {
            scene.guard().pause(&Scope::All, "kim", "", at(4 * HOUR)).await.unwrap();
        }
        let mut proposal = plan(&host(1));
        (proposal.mode, proposal.steps[0].class) = (self.mode, self.class);
        let mut incident = scene.open("disk", at(4 * HOUR)).await;
        if self.state != AlarmState::Firing {
            scene.hear(&mut incident, self.state, at(4 * HOUR)).await;
        }
        (scene, incident, proposal)
    }
}

#[tokio::test]
async fn at_once_is_written_what_one_after_the_other_is_written() {
    let now = at(4 * HOUR + 1);
    let mut begun = 0;
    for case in cases() {
        let (slow, mut after, proposal) = case.scene().await;
        for body in proposed(&after, proposal.clone()) {
            slow.tell(&mut after, now, body).await;
        }
        let judged = slow.guard().judge(&mut after, now).await.unwrap();
        let mut cleared = None;
        if let Judgement::Allow(permit) = &judged.judgement {
            let guard = slow.guard();
            let may = guard.clear(permit, 0, 1, &mut after, now).await.unwrap();
            if let Ok(may) = &may {
                let step = may.at().clone();
                let (does, marker) = (Arc::new(may.step().clone()), may.marker());
                let not_after = may.not_after();
                let body = Body::Started { step, attempt: 1, does, marker, not_after };
                slow.tell(&mut after, now, body).await;
            }
            cleared = may.ok();
        }
        let (quick, mut at_once, _) = case.scene().await;
        let guard = quick.guard();
        let docket = foreseen(&guard, &at_once, proposed(&at_once, proposal), now).await;
        let recorded = guard.judge_at_once(&mut at_once, &docket, now).await.unwrap().unwrap();
        assert_eq!(all(&quick).await, all(&slow).await, "{case:?}");
        assert_eq!(at_once, after, "{case:?}");
        assert_eq!(format!("{:?}", recorded.judgement), format!("{:?}", judged.judgement));
        assert_eq!(format!("{:?}", recorded.may), format!("{cleared:?}"), "{case:?}");
        begun += usize::from(cleared.is_some());
    }
    assert!(begun > 3, "some of them begin: {begun}");
}
