//! Judging as one step with its record, the last look before a call, answers and pauses.

use std::sync::Arc;

use crate::scene::*;
use tokio::task::JoinSet;
use untoil_guard::*;
use untoil_journal::Journal as _;
use untoil_model::*;

/// An incident with an allowed plan of `steps` steps, from `at(0)`, and its permit.
async fn running(scene: &Scene, steps: usize) -> (Incident, Permit) {
    let mut proposed = plan(&host(1));
    proposed.steps = vec![step(&host(1), Class::B); steps];
    let mut incident = scene.planned("disk", proposed, at(0)).await;
    let permit = allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    (incident, permit)
}

fn check_of(looked: Result<Clearance, Reason>) -> String {
    match looked {
        Err(Reason::PrecheckFailed { check, .. }) => check,
        Err(reason) => reason.code().to_owned(),
        Ok(clearance) => panic!("cleared: {clearance:?}"),
    }
}

/// Clears a step with a fresh guard.
async fn clear(
    scene: &Scene,
    permit: &Permit,
    (n, attempt): (u32, u32),
    incident: &mut Incident,
    now: i64,
) -> Result<Clearance, Reason> {
    scene.guard().clear(permit, n, attempt, incident, at(now)).await.unwrap()
}

#[tokio::test]
async fn of_fifty_at_once_on_one_target_exactly_one_is_allowed() {
    at_once(|plan, _| plan.parents.clear(), 1).await;
}

#[tokio::test]
async fn of_fifty_at_once_exactly_as_many_are_allowed_as_the_limit_says() {
    at_once(
        |plan, n| {
            plan.target = host(n);
            plan.steps[0].target = host(n);
        },
        5,
    )
    .await;
}

/// Judges fifty incidents at once, by three guards as if by three instances.
async fn at_once(with: impl Fn(&mut Plan, u32), expected: usize) {
    let scene = Arc::new(Scene::default());
    let guards: Vec<_> = (0..3).map(|_| Arc::new(scene.interrupted(Vec::new()))).collect();
    let mut tasks = JoinSet::new();
    for n in 0..50 {
        let mut proposed = plan(&host(1));
        proposed.limits.rule = Rate { n: 100, per: Period::hours(1) };
        with(&mut proposed, n);
        let mut incident = scene.planned(&format!("disk-{n}"), proposed, at(0)).await;
        let guard = guards[usize::try_from(n).unwrap() % guards.len()].clone();
        tasks.spawn(async move { guard.judge(&mut incident, at(1)).await.unwrap().judgement });
    }
    let all = tasks.join_all().await;
    let yes = all.iter().filter(|judgement| matches!(judgement, Judgement::Allow(_))).count();
    assert_eq!(yes, expected);
    let entries = scene.journal.read(&Stream::All, Seq::START, 1_000).await.unwrap();
    let judged = |entry: &&Entry| matches!(entry.body, Body::Judged { .. });
    assert_eq!(entries.iter().filter(judged).count(), 50, "each has its record");
}

#[tokio::test]
async fn what_others_write_between_reading_and_recording_is_judged_too() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let cleared = Arc::new(alarm("disk", AlarmState::Resolved, at(1)));
    let body = Body::Looked { alarm: cleared, standing: Standing::Cleared };
    let guard = scene.interrupted(vec![Draft::of(&incident.id, at(1), engine(), body)]);
    let reason = denied(guard.judge(&mut incident, at(1)).await.unwrap().judgement);
    assert_eq!(reason, Reason::ResolvedBeforeAct {});

    let mut incident = scene.planned("other", plan(&host(2)), at(0)).await;
    let body = Body::Paused { scope: "all".into(), reason: "stop".into() };
    let guard = scene.interrupted(vec![Draft::new(at(1), Actor::Human("kim".into()), body)]);
    let reason = denied(guard.judge(&mut incident, at(1)).await.unwrap().judgement);
    assert_eq!(reason.code(), "kill_switch");
}

#[tokio::test]
async fn a_ledger_that_never_stands_still_allows_nothing() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let body = || Body::Paused { scope: "rule/other".into(), reason: String::new() };
    let words = (0..100).map(|_| Draft::new(at(1), engine(), body())).collect();
    let judged = scene.interrupted(words).judge(&mut incident, at(1)).await;
    assert!(matches!(judged, Err(GuardError::Contended(_))), "{judged:?}");
    assert_eq!(incident.work(), Work::Judge);
}

#[tokio::test]
async fn an_answer_that_comes_second_by_a_hair_is_told_so() {
    let scene = Scene::default();
    let mut proposed = plan(&host(1));
    proposed.mode = Mode::Approve;
    let mut incident = scene.planned("disk", proposed.clone(), at(0)).await;
    held(scene.judge(&mut incident, at(0)).await);
    let body = Body::Rejected { plan: proposed.hash(), note: String::new() };
    let lee = Draft::of(&incident.id, at(1), Actor::Human("lee".into()), body);
    let guard = scene.interrupted(vec![lee]);
    let error = guard.approve(&incident.id, "kim", "", at(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "already rejected by lee");
}

#[tokio::test]
async fn a_judgement_is_recorded_with_its_escalation_in_one_step() {
    let scene = Scene::default();
    scene.guard().pause(&Scope::All, "kim", "deploying", at(0)).await.unwrap();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let Judged { judgement, entries } = scene.guard().judge(&mut incident, at(1)).await.unwrap();
    let reason = denied(judgement);
    let [judged, escalated] = entries.as_slice() else { panic!("{entries:?}") };
    assert!(
        matches!(&judged.body, Body::Judged { verdict: Verdict::Deny { reason: said }, .. } if *said == reason)
    );
    let mention = Some("platform-oncall".to_owned());
    assert_eq!(escalated.body, Body::Escalated { reason, mention });
    assert_eq!(incident.seq, escalated.seq);
}

#[tokio::test]
async fn what_is_judged_or_over_is_not_judged_again() {
    let scene = Scene::default();
    let (mut incident, _permit) = running(&scene, 1).await;
    let again = scene.guard().judge(&mut incident, at(1)).await;
    assert!(matches!(again, Err(GuardError::NoPlan(_))), "{again:?}");
    let mut none = scene.open("none", at(0)).await;
    assert!(matches!(scene.guard().judge(&mut none, at(1)).await, Err(GuardError::NoPlan(_))));
}

#[tokio::test]
async fn a_fresh_guard_over_the_same_journal_is_of_the_same_opinion() {
    let scene = Scene::default();
    let old = scene.guard();
    for n in 0..3 {
        let on = plan(&host(n));
        let mut incident = scene.planned(&format!("past-{n}"), on, at(0)).await;
        old.judge(&mut incident, at(1)).await.unwrap();
        if n > 0 {
            scene.conclude(&mut incident, RunOutcome::Ineffective, at(60)).await;
        }
    }
    let scope = "rule/other".parse().unwrap();
    old.pause(&scope, "kim", "", at(61)).await.unwrap();
    for n in 0..4 {
        for rule in ["disk-full", "other"] {
            let mut proposed = plan(&host(n));
            proposed.rule = rule.parse().unwrap();
            let name = format!("{rule}-{n}");
            let mut incident = scene.planned(&name, proposed, at(200)).await;
            let mut ledger = Ledger::default();
            for entry in scene.journal.read(&Stream::Ledger, Seq::START, 1_000).await.unwrap() {
                ledger.apply(&entry);
            }
            let request = Request { incident: &incident, engine: EngineMode::Live };
            let fresh = judge(&request, &ledger, &scene.policy, at(201));
            let judged = old.judge(&mut incident, at(201)).await.unwrap();
            let Body::Judged { verdict, authority, gates, .. } = &judged.entries[0].body else {
                panic!()
            };
            let said = Opinion {
                verdict: verdict.clone(),
                authority: authority.clone(),
                gates: gates.clone(),
            };
            assert_eq!(said, fresh, "{name}");
        }
    }
}

#[tokio::test]
async fn a_clearance_names_its_step_try_and_time() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, 1).await;
    let clearance = clear(&scene, &permit, (0, 1), &mut incident, 1).await.unwrap();
    assert_eq!(clearance.at(), &StepRef { run: permit.run().clone(), step: 0 });
    assert_eq!(clearance.step(), &step(&host(1), Class::B));
    assert_eq!(clearance.not_after(), at(121));
    assert_eq!(clearance.marker(), format!("untoil:{}:0:1", permit.run()));
}

#[tokio::test]
async fn a_step_is_cleared_in_its_turn_and_once_per_try() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, 2).await;
    for (n, attempt, check) in
        [(1, 1, "order"), (2, 1, "step"), (0, 2, "at_most_once"), (0, 0, "at_most_once")]
    {
        let looked = clear(&scene, &permit, (n, attempt), &mut incident, 1).await;
        assert_eq!(check_of(looked), check, "{n} {attempt}");
    }
    clear(&scene, &permit, (0, 1), &mut incident, 1).await.unwrap();
    scene.start(&mut incident, 0, 1, at(2)).await;
    for attempt in [1, 2] {
        let looked = clear(&scene, &permit, (0, attempt), &mut incident, 3).await;
        assert_eq!(check_of(looked), "at_most_once", "it may have taken effect");
    }
    let at_step = StepRef { run: permit.run().clone(), step: 0 };
    let backoff = Body::Backoff { step: at_step, attempt: 1, why: "throttled".into(), lost: false };
    scene.tell(&mut incident, at(4), backoff).await;
    let looked = clear(&scene, &permit, (0, 1), &mut incident, 5).await;
    assert_eq!(check_of(looked), "at_most_once", "its marker was used");
    assert_eq!(clear(&scene, &permit, (0, 2), &mut incident, 5).await.unwrap().attempt(), 2);
    scene.start(&mut incident, 0, 2, at(6)).await;
    scene.finish(&mut incident, 0, at(7)).await;
    clear(&scene, &permit, (1, 1), &mut incident, 8).await.unwrap();
}

#[tokio::test]
async fn the_last_look_sees_what_changed_since_the_permit() {
    for wrong in ["kill_switch", "dry_run", "protected_target", "resolved_before_act"] {
        let mut scene = Scene::default();
        let (mut incident, permit) = running(&scene, 1).await;
        match wrong {
            "kill_switch" => {
                scene.guard().pause(&Scope::All, "kim", "", at(1)).await.unwrap();
            }
            "dry_run" => scene.mode = EngineMode::DryRun,
            "protected_target" => scene.policy.protected.push(host(1)),
            _ => {
                let mut elsewhere = incident.clone();
                scene.hear(&mut elsewhere, AlarmState::Resolved, at(1)).await;
            }
        }
        let looked = clear(&scene, &permit, (0, 1), &mut incident, 2).await;
        assert_eq!(check_of(looked), wrong);
    }
}

#[tokio::test]
async fn a_run_that_has_written_goes_on_when_the_alarm_clears() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, 2).await;
    scene.start(&mut incident, 0, 1, at(1)).await;
    scene.finish(&mut incident, 0, at(2)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(3)).await;
    clear(&scene, &permit, (1, 1), &mut incident, 4).await.unwrap();
}

#[tokio::test]
async fn a_call_begins_soon_after_it_was_allowed_or_not_at_all() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, 2).await;
    let looked = clear(&scene, &permit, (0, 1), &mut incident, 121).await;
    assert_eq!(check_of(looked), "call_within");
    clear(&scene, &permit, (0, 1), &mut incident, 120).await.unwrap();
    scene.start(&mut incident, 0, 1, at(120)).await;
    scene.finish(&mut incident, 0, at(10 * MIN)).await;
    let late = 10 * MIN + HOUR;
    clear(&scene, &permit, (1, 1), &mut incident, late).await.unwrap();
    let looked = clear(&scene, &permit, (1, 1), &mut incident, late + 1).await;
    assert_eq!(check_of(looked), "call_within", "the engine was down for an hour");
}

#[tokio::test]
async fn a_wait_before_the_first_step_is_not_lateness() {
    let scene = Scene::default();
    let mut patient = plan(&host(1));
    patient.steps[0].after = Period::mins(10);
    let mut incident = scene.planned("disk", patient, at(0)).await;
    let permit = allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    clear(&scene, &permit, (0, 1), &mut incident, 12 * MIN).await.unwrap();
    let looked = clear(&scene, &permit, (0, 1), &mut incident, 12 * MIN + 1).await;
    assert_eq!(check_of(looked), "call_within");
}

#[tokio::test]
async fn a_permit_of_a_run_that_is_over_or_went_on_clears_nothing() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, 1).await;
    let mut other = plan(&host(1));
    other.more = true;
    let mut moved = incident.clone();
    scene.propose(&mut moved, other, at(1)).await;
    assert_eq!(check_of(clear(&scene, &permit, (0, 1), &mut incident, 2).await), "stale_plan");
    scene.conclude(&mut incident, RunOutcome::Ineffective, at(3)).await;
    assert_eq!(check_of(clear(&scene, &permit, (0, 1), &mut incident, 4).await), "stale_plan");
}

#[tokio::test]
async fn a_permit_is_resumed_only_for_what_was_allowed_and_is_left() {
    let scene = Scene::default();
    let guard = scene.guard();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    assert!(guard.resume(&incident).is_none(), "not judged");
    let mut shadow = plan(&host(1));
    shadow.mode = Mode::Shadow;
    let mut denied = scene.planned("shadow", shadow, at(0)).await;
    guard.judge(&mut denied, at(0)).await.unwrap();
    assert!(guard.resume(&denied).is_none(), "denied");
    let permit = allowed(guard.judge(&mut incident, at(0)).await.unwrap());
    let again = scene.guard().resume(&incident).unwrap();
    let all = |p: &Permit| (p.run().clone(), p.part(), p.plan().clone(), p.first_step());
    assert_eq!(all(&again), all(&permit));
    scene.start(&mut incident, 0, 1, at(1)).await;
    assert!(guard.resume(&incident).is_some(), "it may prove to have had no effect");
    scene.finish(&mut incident, 0, at(2)).await;
    assert!(guard.resume(&incident).is_none(), "all is done");
}

#[tokio::test]
async fn later_parts_count_their_steps_on() {
    let scene = Scene::default();
    let mut first = plan(&host(1));
    first.more = true;
    first.steps = vec![step(&host(1), Class::B); 2];
    let mut incident = scene.planned("disk", first, at(0)).await;
    allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    for n in 0..2 {
        scene.start(&mut incident, n, 1, at(1)).await;
        scene.finish(&mut incident, n, at(2)).await;
    }
    scene.propose(&mut incident, plan(&host(1)), at(20 * MIN)).await;
    let permit = allowed(scene.guard().judge(&mut incident, at(20 * MIN)).await.unwrap());
    assert_eq!((permit.part(), permit.first_step()), (1, 2));
    clear(&scene, &permit, (2, 1), &mut incident, 20 * MIN + 1).await.unwrap();
    let old = check_of(clear(&scene, &permit, (0, 1), &mut incident, 20 * MIN + 1).await);
    assert_eq!(old, "step", "not of this permit");
}
