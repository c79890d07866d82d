//! Rest, windows, locks, approvals and returns: what was before decides what may be now.

use crate::scene::*;
use untoil_guard::*;
use untoil_model::*;

use RunOutcome::{Effective, Harmful, Inconclusive, Ineffective};

/// A scene without rests and with wide limits, so that a test narrows the one it is about.
fn wide() -> (Scene, Plan) {
    let mut scene = Scene::default();
    scene.policy.rest = Period::ZERO;
    scene.policy.global = vec![Rate { n: 1_000, per: Period::hours(1) }];
    let mut plan = plan(&host(1));
    let all = Rate { n: 1_000, per: Period::hours(24) };
    plan.limits = Limits { target: all, rule: all, cooldown: Period::ZERO };
    (scene, plan)
}

#[tokio::test]
async fn rest_counts_from_the_end_and_doubles_with_each_run_that_did_not_help() {
    for (past, rest) in [
        (vec![Effective], 30 * MIN),
        (vec![Ineffective], HOUR),
        (vec![Ineffective, Harmful], 2 * HOUR),
        (vec![Ineffective, Harmful, Inconclusive], 2 * HOUR),
        (vec![Inconclusive; 4], 30 * MIN),
        (vec![Ineffective, Ineffective, Effective], 30 * MIN),
        (vec![Ineffective, Effective, Ineffective], HOUR),
        (vec![Ineffective; 9], 24 * HOUR),
    ] {
        let (scene, mut again) = wide();
        let mut last = None;
        for (n, how) in past.iter().enumerate() {
            let from = i64::try_from(n).unwrap() * HOUR;
            let run =
                scene.ran(&format!("past-{n}"), again.clone(), (from, from + 600), *how).await;
            last = Some((run, from + 600));
        }
        let (last, end) = last.unwrap();
        again.limits.cooldown = Period::mins(30);
        let mut early = scene.planned("early", again.clone(), at(end + rest - 1)).await;
        let reason = denied(scene.judge(&mut early, at(end + rest - 1)).await);
        let until = at(end + rest);
        assert_eq!(reason, Reason::Cooldown { target: host(1), until, last }, "{past:?}");
        let mut due = scene.planned("due", again, until).await;
        allowed(scene.guard().judge(&mut due, until).await.unwrap());
    }
}

#[tokio::test]
async fn any_rule_rests_after_any_rules_run_on_the_target() {
    let mut scene = Scene::default();
    scene.policy.rest = Period::mins(5);
    let last = scene.ran("past", plan(&host(1)), (0, 600), Effective).await;
    let mut other = plan(&host(1));
    other.rule = "other".parse().unwrap();
    let mut early = scene.planned("early", other.clone(), at(899)).await;
    let until = at(900);
    let reason = Reason::Cooldown { target: host(1), until, last };
    assert_eq!(denied(scene.judge(&mut early, at(899)).await), reason);
    let mut due = scene.planned("due", other, until).await;
    allowed(scene.guard().judge(&mut due, until).await.unwrap());
    let mut elsewhere = plan(&host(2));
    elsewhere.rule = "third".parse().unwrap();
    let mut elsewhere = scene.planned("elsewhere", elsewhere, at(601)).await;
    allowed(scene.guard().judge(&mut elsewhere, at(601)).await.unwrap());
}

#[tokio::test]
async fn a_rules_limit_on_a_target_slides_and_failed_runs_count() {
    let (scene, mut again) = wide();
    let mut runs = Vec::new();
    for (n, how) in [Effective, Ineffective, Harmful].into_iter().enumerate() {
        let from = i64::try_from(n).unwrap() * HOUR;
        runs.push(scene.ran(&format!("past-{n}"), again.clone(), (from, from + 60), how).await);
    }
    let limit = Rate { n: 3, per: Period::hours(24) };
    again.limits.target = limit;
    let now = at(24 * HOUR - 1);
    let mut early = scene.planned("early", again.clone(), now).await;
    let reason = denied(scene.judge(&mut early, now).await);
    let next_at = at(24 * HOUR);
    assert_eq!(reason, Reason::LimitTarget { target: host(1), limit, used: 3, runs, next_at });
    let mut other = again.clone();
    other.target = host(2);
    other.steps = vec![step(&host(2), Class::B)];
    let mut other = scene.planned("other", other, now).await;
    allowed(scene.guard().judge(&mut other, now).await.unwrap());
    let mut due = scene.planned("due", again, next_at).await;
    allowed(scene.guard().judge(&mut due, next_at).await.unwrap());
}

#[tokio::test]
async fn a_limit_that_was_lowered_names_the_time_at_which_it_has_room_again() {
    let (scene, mut again) = wide();
    for n in 0..4 {
        scene.ran(&format!("past-{n}"), again.clone(), (n * HOUR, n * HOUR + 60), Effective).await;
    }
    again.limits.rule = Rate { n: 2, per: Period::hours(24) };
    let mut late = scene.planned("late", again, at(5 * HOUR)).await;
    let Reason::LimitRule { used: 4, next_at, .. } =
        denied(scene.judge(&mut late, at(5 * HOUR)).await)
    else {
        panic!()
    };
    assert_eq!(next_at, at(26 * HOUR), "the third of four leaves: one is left");
}

#[tokio::test]
async fn rule_and_global_limits_count_over_all_targets() {
    let (mut scene, again) = wide();
    let on = |n: u32, rule: &str| {
        let mut plan = again.clone();
        plan.rule = rule.parse().unwrap();
        plan.target = host(n);
        plan.steps = vec![step(&host(n), Class::B)];
        plan
    };
    let first = scene.ran("a", on(1, "one"), (0, 10), Effective).await;
    let second = scene.ran("b", on(2, "one"), (20, 30), Effective).await;
    let limit = Rate { n: 2, per: Period::mins(1) };
    let mut third = on(3, "one");
    third.limits.rule = limit;
    let mut incident = scene.planned("c", third.clone(), at(59)).await;
    let (runs, next_at) = (vec![first, second], at(60));
    let reason = Reason::LimitRule { limit, used: 2, runs: runs.clone(), next_at };
    assert_eq!(denied(scene.judge(&mut incident, at(59)).await), reason);
    third.rule = "two".parse().unwrap();
    scene.policy.global = vec![Rate { n: 100, per: Period::hours(1) }, limit];
    let mut incident = scene.planned("d", third.clone(), at(59)).await;
    let reason = Reason::LimitGlobal { limit, used: 2, runs, next_at };
    assert_eq!(denied(scene.judge(&mut incident, at(59)).await), reason);
    let mut incident = scene.planned("e", third, next_at).await;
    allowed(scene.guard().judge(&mut incident, next_at).await.unwrap());
}

#[tokio::test]
async fn reading_runs_have_a_bound_of_their_own_and_count_in_no_other() {
    let (mut scene, mut reading) = wide();
    let limit = Rate { n: 2, per: Period::mins(1) };
    scene.policy.diagnoses = vec![limit];
    scene.policy.global = vec![Rate { n: 1, per: Period::hours(1) }];
    reading.steps[0].class = Class::A;
    reading.limits = Limits { target: limit, rule: limit, cooldown: Period::hours(1) };
    let mut runs = Vec::new();
    for n in 0..2 {
        runs.push(scene.ran(&format!("r{n}"), reading.clone(), (n, n + 1), Ineffective).await);
    }
    let mut third = scene.planned("r3", reading.clone(), at(2)).await;
    let reason = Reason::LimitGlobal { limit, used: 2, runs, next_at: at(60) };
    assert_eq!(denied(scene.judge(&mut third, at(2)).await), reason);
    let mut writing = reading.clone();
    writing.steps[0].class = Class::B;
    let mut writing = scene.planned("w", writing, at(2)).await;
    allowed(scene.guard().judge(&mut writing, at(2)).await.unwrap());
    let mut busy = scene.planned("r4", reading, at(61)).await;
    allowed(scene.guard().judge(&mut busy, at(61)).await.unwrap());
}

#[tokio::test]
async fn a_window_longer_than_the_memory_is_refused_not_counted_short() {
    let (scene, mut long) = wide();
    long.limits.target.per = Period::hours(32 * 24);
    let mut incident = scene.planned("long", long, at(0)).await;
    assert_eq!(denied(scene.judge(&mut incident, at(0)).await).code(), "param_invalid");
}

#[tokio::test]
async fn a_later_part_that_writes_first_is_judged_on_all_limits_and_counts_once() {
    let (scene, mut writing) = wide();
    writing.more = true;
    writing.limits.rule = Rate { n: 1, per: Period::hours(1) };
    let mut reading = writing.clone();
    reading.steps[0].class = Class::A;
    let mut incident = scene.planned("a", reading.clone(), at(0)).await;
    allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    for now in [10, 20] {
        scene.propose(&mut incident, writing.clone(), at(now)).await;
        allowed(scene.guard().judge(&mut incident, at(now)).await.unwrap());
    }
    let mut other = scene.planned("b", reading, at(30)).await;
    allowed(scene.guard().judge(&mut other, at(30)).await.unwrap());
    scene.propose(&mut other, writing, at(31)).await;
    let Reason::LimitRule { used: 1, next_at, .. } = denied(scene.judge(&mut other, at(31)).await)
    else {
        panic!()
    };
    assert_eq!(next_at, at(10 + HOUR), "it counts from its first writing part");
}

#[tokio::test]
async fn runs_that_touch_the_same_thing_wait_for_each_other() {
    let service = "ecs/workers/contact-sync";
    for (first, its, second, other, waits) in [
        ("ec2/i-00000001", None, "ec2/i-00000001", None, true),
        ("ec2/i-00000001", None, "ec2/i-00000002", None, false),
        ("ec2/i-00000001", Some("asg/web"), "asg/web", None, true),
        ("asg/web", None, "ec2/i-00000001", Some("asg/web"), true),
        ("ec2/i-00000001", Some("asg/web"), "ec2/i-00000002", Some("asg/web"), true),
        (service, None, "ecs-cluster/workers", None, true),
        ("ecs-cluster/workers", None, service, None, true),
        (service, None, "ecs/workers/mail", None, false),
    ] {
        let scene = Scene::default();
        let make = |acted: &str, parent: Option<&str>, rule: &str| {
            let mut plan = plan(&target(acted));
            plan.parents = parent.into_iter().map(target).collect();
            plan.rule = rule.parse().unwrap();
            plan
        };
        let mut holder = scene.planned("a", make(first, its, "one"), at(0)).await;
        let run = allowed(scene.guard().judge(&mut holder, at(0)).await.unwrap()).run().clone();
        let mut incident = scene.planned("b", make(second, other, "two"), at(10)).await;
        let judgement = scene.judge(&mut incident, at(10)).await;
        if waits {
            let (reason, until) = held(judgement);
            assert_eq!(until, at(10 + 5 * MIN));
            assert!(matches!(reason, Reason::TargetBusy { holder, .. } if holder == run));
        } else {
            assert!(matches!(judgement, Judgement::Allow(_)), "{first} {second}: {judgement:?}");
        }
    }
}

#[tokio::test]
async fn a_busy_target_is_waited_for_and_then_denied() {
    let (scene, plan) = wide();
    let mut holder = scene.planned("a", plan.clone(), at(0)).await;
    allowed(scene.guard().judge(&mut holder, at(0)).await.unwrap());
    let mut waits = scene.planned("b", plan.clone(), at(10)).await;
    let mut gives_up = scene.planned("c", plan, at(10)).await;
    let guard = scene.guard();
    for now in [10, 11, 200, 309] {
        let Judged { judgement, entries } = guard.judge(&mut waits, at(now)).await.unwrap();
        assert_eq!(held(judgement).1, at(310), "the wait is not begun anew");
        assert_eq!(entries.len(), usize::from(now == 10), "one entry, not a flood");
        assert_eq!(waits.work(), Work::Wait { until: at(310) });
    }
    held(guard.judge(&mut gives_up, at(10)).await.unwrap().judgement);
    let reason = denied(guard.judge(&mut gives_up, at(310)).await.unwrap().judgement);
    assert_eq!(reason.code(), "target_busy");
    scene.conclude(&mut holder, Effective, at(305)).await;
    allowed(guard.judge(&mut waits, at(309)).await.unwrap());
}

#[tokio::test]
async fn what_a_plans_other_steps_write_to_is_locked_too() {
    let (scene, mut two) = wide();
    two.mode = Mode::Approve;
    two.steps.push(step(&host(2), Class::B));
    let guard = scene.guard();
    let mut incident = scene.planned("a", two, at(0)).await;
    held(guard.judge(&mut incident, at(0)).await.unwrap().judgement);
    guard.approve(&incident.id, "kim", "", at(1)).await.unwrap();
    allowed(guard.judge(&mut incident, at(1)).await.unwrap());
    let mut other = scene.planned("b", plan(&host(2)), at(2)).await;
    let (reason, _) = held(guard.judge(&mut other, at(2)).await.unwrap().judgement);
    let holder = incident.run.unwrap().id;
    assert_eq!(reason, Reason::TargetBusy { target: host(2), holder });
}

/// An incident whose lease `asg/web` 4 → 8 is out, and the plan that gives it back.
pub(crate) async fn lent(scene: &Scene) -> (Incident, Plan) {
    let group = target("asg/web");
    let mut remedy = plan(&group);
    remedy.limits.target = Rate { n: 1, per: Period::hours(24) };
    let action: ActionKind = "ssm.document".parse().unwrap();
    let lease = Lease {
        action,
        target: group.clone(),
        before: 4,
        after: 8,
        step: 4,
        term: Period::hours(2),
    };
    remedy.steps[0].lease = Some(lease);
    let mut incident = scene.planned("cpu", remedy.clone(), at(0)).await;
    allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    scene.start(&mut incident, 0, 1, at(1)).await;
    scene.finish(&mut incident, 0, at(2)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(3)).await;
    scene.conclude(&mut incident, Effective, at(400)).await;
    assert_eq!(incident.work(), Work::GiveBack);
    let mut back = remedy;
    back.kind = RunKind::Return;
    back.steps[0].lease = None;
    (incident, back)
}

#[tokio::test]
async fn a_return_skips_age_clearing_rest_and_limits_and_counts_in_none() {
    let scene = Scene::default();
    let (mut incident, back) = lent(&scene).await;
    let now = at(2 * HOUR);
    scene.propose(&mut incident, back, now).await;
    allowed(scene.guard().judge(&mut incident, now).await.unwrap());
    scene.conclude(&mut incident, Effective, at(2 * HOUR + 60)).await;
    let mut again = plan(&target("asg/web"));
    again.limits.target = Rate { n: 2, per: Period::hours(24) };
    let now = at(2 * HOUR + 60 + 5 * MIN);
    let mut next = scene.planned("again", again, now).await;
    allowed(scene.guard().judge(&mut next, now).await.unwrap());
}

#[tokio::test]
async fn a_return_still_meets_pauses_modes_protection_and_locks() {
    let now = at(HOUR);
    for wrong in ["kill_switch", "dry_run", "shadow", "protected_target", "target_busy"] {
        let mut scene = Scene::default();
        let (mut incident, mut back) = lent(&scene).await;
        match wrong {
            "kill_switch" => {
                scene.guard().pause(&Scope::All, "kim", "", now).await.unwrap();
            }
            "dry_run" => scene.mode = EngineMode::DryRun,
            "shadow" => back.mode = Mode::Shadow,
            "protected_target" => scene.policy.protected.push(target("asg/web")),
            _ => {
                let mut other = plan(&host(1));
                other.rule = "other".parse().unwrap();
                other.parents.push(target("asg/web"));
                let mut other = scene.planned("other", other, now).await;
                allowed(scene.guard().judge(&mut other, now).await.unwrap());
            }
        }
        scene.propose(&mut incident, back, now).await;
        match scene.judge(&mut incident, now).await {
            Judgement::Deny(reason) => {
                assert_eq!(reason.code(), wrong);
                assert_eq!(incident.escalations, [reason], "a lease that stays out is never quiet");
            }
            Judgement::Hold { reason, until } => {
                assert_eq!(reason.code(), wrong);
                assert_eq!(incident.work(), Work::Wait { until }, "clear as it is");
            }
            Judgement::Allow(permit) => panic!("{wrong}: {permit:?}"),
        }
    }
}

#[tokio::test]
async fn a_return_gives_back_the_lease_and_nothing_else_and_not_while_the_alarm_fires() {
    let now = at(HOUR);
    let scene = Scene::default();
    let (mut incident, mut back) = lent(&scene).await;
    back.steps[0].target = target("asg/other");
    scene.propose(&mut incident, back, now).await;
    let reason = denied(scene.judge(&mut incident, now).await);
    assert!(matches!(reason, Reason::PrecheckFailed { check, .. } if check == "lease"));

    let scene = Scene::default();
    let mut none = plan(&host(1));
    none.kind = RunKind::Return;
    let mut incident = scene.planned("none", none, at(0)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(1)).await;
    let reason = denied(scene.judge(&mut incident, at(2)).await);
    assert!(matches!(reason, Reason::PrecheckFailed { check, .. } if check == "lease"));

    let scene = Scene::default();
    let (mut incident, back) = lent(&scene).await;
    scene.propose(&mut incident, back, now).await;
    scene.hear(&mut incident, AlarmState::Firing, now).await;
    let reason = denied(scene.judge(&mut incident, now).await);
    assert!(matches!(reason, Reason::PrecheckFailed { check, .. } if check == "alarm_clear"));
}
