//! Every gate: what passes, what does not, and with which numbers.

use crate::scene::*;
use untoil_guard::*;
use untoil_journal::Journal as _;
use untoil_model::*;

#[tokio::test]
async fn a_fresh_plan_of_an_automatic_rule_is_allowed_with_its_numbers() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let judged = scene.guard().judge(&mut incident, at(10)).await.unwrap();
    let Body::Judged { authority, gates, writes: true, .. } = &judged.entries[0].body else {
        panic!("{judged:?}")
    };
    assert_eq!(authority, "rule disk-full@1a2b3c4d5e6f7a8b (auto)");
    let lines: Vec<_> = gates.iter().map(|(gate, note)| format!("{gate}: {note}\n")).collect();
    expect_test::expect![[r"
        approval: not needed
        cooldown: 30m after 0 that did not help, 5m after any
        engine_mode: live
        kill_switch: none of 0 pauses applies
        limits: target 0 of 3 per 24h, rule 0 of 6 per 1h, global 0 of 30 per 1h, global 0 of 5 per 1m
        protected: none of 0 applies
        resolved: firing
        rule_mode: auto
        run: remedy
        staleness: 10s old, at most 10m
        target_lock: free
        targets: writes to 1, at most 1
    "]].assert_eq(&lines.concat());
    assert_eq!(incident.work(), Work::Call { step: 0 });
}

/// The verdict of one plan of `disk-full` on `host(1)`, changed by `with`, at noon.
async fn verdict(scene: &Scene, with: impl FnOnce(&mut Plan)) -> Judgement {
    let mut proposed = plan(&host(1));
    with(&mut proposed);
    let mut incident = scene.planned("disk", proposed, at(0)).await;
    scene.judge(&mut incident, at(0)).await
}

fn is_allowed(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Allow(_))
}

#[tokio::test]
async fn an_alarm_older_than_the_plans_age_is_stale() {
    for (age, expected) in [(0, None), (600, None), (601, Some(Period::secs(601)))] {
        let scene = Scene::default();
        let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
        let judgement = scene.judge(&mut incident, at(age)).await;
        match expected {
            None => assert!(is_allowed(&judgement), "{judgement:?}"),
            Some(age) => {
                let reason = Reason::Stale { age, max_age: Period::mins(10) };
                assert_eq!(denied(judgement), reason);
                assert_eq!(incident.escalations, [reason]);
            }
        }
    }
}

#[tokio::test]
async fn a_part_of_a_millisecond_too_old_is_stale() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let late = at(600) + std::time::Duration::from_millis(1);
    assert_eq!(denied(scene.judge(&mut incident, late).await).code(), "stale");
}

#[tokio::test]
async fn a_run_that_has_begun_and_a_plan_that_waits_in_time_do_not_become_stale() {
    let scene = Scene::default();
    let mut first = plan(&host(1));
    first.more = true;
    let mut incident = scene.planned("disk", first.clone(), at(0)).await;
    assert!(is_allowed(&scene.judge(&mut incident, at(0)).await));
    scene.propose(&mut incident, first, at(HOUR)).await;
    assert!(is_allowed(&scene.judge(&mut incident, at(HOUR)).await));

    let mut asked = plan(&host(2));
    asked.mode = Mode::Approve;
    let mut incident = scene.planned("other", asked.clone(), at(0)).await;
    held(scene.judge(&mut incident, at(MIN)).await);
    scene.guard().approve(&incident.id, "kim", "", at(12 * MIN)).await.unwrap();
    assert!(is_allowed(&scene.judge(&mut incident, at(12 * MIN)).await), "asked in time");

    asked.target = host(3);
    asked.steps[0].target = host(3);
    let mut incident = scene.planned("late", asked, at(0)).await;
    held(scene.judge(&mut incident, at(MIN)).await);
    scene.guard().approve(&incident.id, "kim", "", at(12 * MIN)).await.unwrap();
    let down = scene.judge(&mut incident, at(5 * HOUR)).await;
    assert_eq!(denied(down).code(), "stale", "the engine was down meanwhile");
}

#[tokio::test]
async fn a_cleared_alarm_is_left_alone_and_no_data_is_not_clear() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(1)).await;
    assert_eq!(denied(scene.judge(&mut incident, at(2)).await), Reason::ResolvedBeforeAct {});
    assert_eq!(incident.escalations, [], "nobody needs to hear of it");
    let mut incident = scene.planned("lost", plan(&host(2)), at(0)).await;
    scene.hear(&mut incident, AlarmState::NoData, at(1)).await;
    let unknown = denied(scene.judge(&mut incident, at(2)).await);
    assert_eq!(unknown.code(), "precheck_failed", "nobody knows whether there is anything to heal");
}

#[tokio::test]
async fn a_word_that_came_in_meanwhile_counts() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let mut behind = incident.clone();
    scene.hear(&mut incident, AlarmState::Resolved, at(1)).await;
    assert_eq!(denied(scene.judge(&mut behind, at(2)).await), Reason::ResolvedBeforeAct {});
}

#[tokio::test]
async fn a_pause_stops_exactly_what_it_names() {
    for (scope, stops) in [
        ("all", true),
        ("rule/disk-full", true),
        ("rule/other", false),
        ("target/ec2/i-00000001", true),
        ("target/ec2/i-00000002", false),
        ("target/asg/web", true),
    ] {
        let scene = Scene::default();
        let scope: Scope = scope.parse().unwrap();
        scene.guard().pause(&scope, "kim", "deploying", at(-1)).await.unwrap();
        let judgement = verdict(&scene, |plan| plan.parents.push(target("asg/web"))).await;
        if stops {
            let (by, reason) = ("kim".to_owned(), "deploying".to_owned());
            let scope = scope.to_string();
            assert_eq!(denied(judgement), Reason::KillSwitch { scope, by, reason });
        } else {
            assert!(is_allowed(&judgement), "{scope}: {judgement:?}");
        }
    }
}

#[tokio::test]
async fn a_pause_also_stops_reading_and_covers_the_services_of_a_cluster() {
    let scene = Scene::default();
    let cluster = "target/ecs-cluster/workers".parse().unwrap();
    scene.guard().pause(&cluster, "kim", "", at(-1)).await.unwrap();
    let service = target("ecs/workers/contact-sync");
    let mut reading = plan(&service);
    reading.steps[0].class = Class::A;
    let mut incident = scene.planned("sync", reading, at(0)).await;
    assert_eq!(denied(scene.judge(&mut incident, at(0)).await).code(), "kill_switch");
}

#[tokio::test]
async fn modes_give_each_class_its_verdict() {
    use Class::{A, B, C, D, N};
    let live = EngineMode::Live;
    for (engine, mode, class, expected) in [
        (EngineMode::DryRun, Mode::Auto, B, "dry_run"),
        (EngineMode::DryRun, Mode::Auto, N, "dry_run"),
        (EngineMode::DryRun, Mode::Shadow, B, "dry_run"),
        (live, Mode::Off, A, "rule_off"),
        (live, Mode::Off, B, "rule_off"),
        (live, Mode::Shadow, B, "shadow"),
        (live, Mode::Shadow, D, "shadow"),
        (live, Mode::Shadow, N, "allow"),
        (live, Mode::Shadow, A, "allow"),
        (live, Mode::Approve, A, "allow"),
        (live, Mode::Approve, B, "approval_missing"),
        (live, Mode::Approve, C, "approval_missing"),
        (live, Mode::Auto, C, "allow"),
        (live, Mode::Auto, D, "approval_missing"),
    ] {
        let scene = Scene { mode: engine, ..Scene::default() };
        let judgement = verdict(&scene, |plan| {
            plan.mode = mode;
            plan.steps[0].class = class;
        });
        let said = match judgement.await {
            Judgement::Allow(_) => "allow".to_owned(),
            Judgement::Hold { reason, .. } | Judgement::Deny(reason) => reason.code().to_owned(),
        };
        assert_eq!(said, expected, "{engine:?} {mode:?} {class:?}");
    }
}

#[tokio::test]
async fn a_plan_names_its_targets_and_few_enough() {
    let two = |plan: &mut Plan| plan.steps.push(step(&host(2), Class::B));
    let scene = Scene::default();
    assert_eq!(denied(verdict(&scene, two).await), Reason::TooManyTargets { n: 2, max: 1 });
    let reading = |plan: &mut Plan| plan.steps.push(step(&host(2), Class::A));
    assert!(is_allowed(&verdict(&scene, reading).await), "reading elsewhere is fine");
    let scene = Scene::default();
    let six = |plan: &mut Plan| {
        plan.mode = Mode::Approve;
        plan.steps = (1..=6).map(|n| step(&host(n), Class::B)).collect();
    };
    assert_eq!(denied(verdict(&scene, six).await), Reason::TooManyTargets { n: 6, max: 5 });
    let scene = Scene::default();
    let mut incident = scene.open("disk", at(0)).await;
    let opinion = |incident: &Incident| {
        let request = Request { incident, engine: EngineMode::Live };
        judge(&request, &Ledger::default(), &Policy::default(), at(0)).verdict
    };
    let empty = Verdict::Deny { reason: Reason::EmptyTargets {} };
    assert_eq!(opinion(&incident), empty, "no plan at all");
    let mut nothing = plan(&host(1));
    nothing.steps.clear();
    scene.propose(&mut incident, nothing, at(0)).await;
    assert_eq!(opinion(&incident), empty);
}

#[tokio::test]
async fn targets_are_counted_over_all_parts_of_a_run() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    assert!(is_allowed(&scene.judge(&mut incident, at(0)).await));
    let mut further = plan(&host(1));
    further.steps = vec![step(&host(2), Class::B)];
    scene.propose(&mut incident, further, at(1)).await;
    let reason = denied(scene.judge(&mut incident, at(1)).await);
    assert_eq!(reason, Reason::TooManyTargets { n: 2, max: 1 });
}

#[tokio::test]
async fn protected_targets_and_the_engine_itself_are_never_written_to() {
    let service = "ecs/workers/contact-sync";
    for (kept, acted, parent, hit) in [
        ("ec2/i-00000001", "ec2/i-00000001", None, Some("ec2/i-00000001")),
        ("ec2/i-00000002", "ec2/i-00000001", None, None),
        ("asg/web", "ec2/i-00000001", Some("asg/web"), Some("asg/web")),
        ("ecs-cluster/workers", service, None, Some(service)),
        (service, "ecs-cluster/workers", None, Some("ecs-cluster/workers")),
        (service, "ecs/workers/mail", Some("ecs-cluster/workers"), None),
        ("ecs-cluster/web", service, None, None),
    ] {
        for itself in [false, true] {
            let mut scene = Scene::default();
            let list = if itself { &mut scene.policy.itself } else { &mut scene.policy.protected };
            list.push(target(kept));
            let mut proposed = plan(&target(acted));
            proposed.parents = parent.into_iter().map(target).collect();
            let mut incident = scene.planned("a", proposed.clone(), at(0)).await;
            let judgement = scene.judge(&mut incident, at(0)).await;
            match hit.map(target) {
                None => assert!(is_allowed(&judgement), "{kept} {acted}: {judgement:?}"),
                Some(target) if itself => {
                    assert_eq!(denied(judgement), Reason::SelfTarget { target });
                }
                Some(target) => assert_eq!(denied(judgement), Reason::ProtectedTarget { target }),
            }
            proposed.steps[0].class = Class::A;
            let mut incident = scene.planned("b", proposed, at(0)).await;
            assert!(is_allowed(&scene.judge(&mut incident, at(0)).await), "reading is fine");
        }
    }
}

#[tokio::test]
async fn each_steps_own_target_is_looked_at_too() {
    let mut scene = Scene::default();
    scene.policy.protected.push(host(9));
    let other = |plan: &mut Plan| plan.steps = vec![step(&host(9), Class::B)];
    let reason = Reason::ProtectedTarget { target: host(9) };
    assert_eq!(denied(verdict(&scene, other).await), reason);
}

/// Fixes one thing after the other in a scene where every gate objects; each gate objects in turn.
#[tokio::test]
async fn gates_object_in_the_order_of_the_list() {
    let mut scene = Scene { mode: EngineMode::DryRun, ..Scene::default() };
    scene.policy.protected.push(host(1));
    scene.policy.targets_max_approved = 1;
    let all = Scope::All;
    let mut ran = plan(&host(1));
    ran.limits.target = Rate { n: 1, per: Period::hours(24) };
    let past = Scene { journal: scene.journal.clone(), ..Scene::default() };
    past.ran("past", ran.clone(), (-600, -300), RunOutcome::Effective).await;
    let mut other = plan(&host(2));
    other.rule = "other".parse().unwrap();
    other.parents = vec![target("asg/web")];
    let mut busy = past.planned("busy", other, at(-60)).await;
    assert!(is_allowed(&past.judge(&mut busy, at(-60)).await));
    scene.guard().pause(&all, "kim", "", at(-10)).await.unwrap();

    let mut wrong = ran;
    wrong.mode = Mode::Off;
    wrong.parents = vec![target("asg/web")];
    wrong.steps.push(step(&host(2), Class::D));
    let mut incident = scene.open("disk", at(0)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(1)).await;
    let mut now = at(HOUR);
    let mut reasons: Vec<(&str, String)> = Vec::new();
    let fixes = GATES.iter().filter(|gate| gate.in_force());
    for gate in fixes {
        scene.propose(&mut incident, wrong.clone(), now).await;
        let request = Request { incident: &incident, engine: scene.mode };
        let mut ledger = Ledger::default();
        for entry in scene.journal.read(&Stream::Ledger, Seq::START, 100).await.unwrap() {
            ledger.apply(&entry);
        }
        let opinion = judge(&request, &ledger, &scene.policy, now);
        let (Verdict::Hold { reason, .. } | Verdict::Deny { reason }) = opinion.verdict else {
            panic!("nothing objects at `{}`", gate.name)
        };
        reasons.push((gate.name, reason.code().to_owned()));
        let reached = opinion.gates.len();
        assert_eq!(reached, reasons.len() + 1, "those before, this one, and what run it is");
        match gate.name {
            "staleness" => now = at(5),
            "resolved" => scene.hear(&mut incident, AlarmState::Firing, at(4)).await,
            "kill_switch" => {
                scene.guard().unpause(&all, "kim", "done", at(4)).await.unwrap();
            }
            "engine_mode" => scene.mode = EngineMode::Live,
            "rule_mode" => wrong.mode = Mode::Auto,
            "targets" => wrong.steps = vec![step(&host(1), Class::D)],
            "protected" => scene.policy.protected.clear(),
            "cooldown" => wrong.limits.cooldown = Period::ZERO,
            "limits" => wrong.limits.target = Rate { n: 2, per: Period::hours(24) },
            "approval" => wrong.steps[0].class = Class::B,
            "target_lock" => {}
            other => panic!("a gate `{other}` in force without a way past it"),
        }
    }
    let expected = [
        ("staleness", "stale"),
        ("resolved", "resolved_before_act"),
        ("kill_switch", "kill_switch"),
        ("engine_mode", "dry_run"),
        ("rule_mode", "rule_off"),
        ("targets", "too_many_targets"),
        ("protected", "protected_target"),
        ("cooldown", "cooldown"),
        ("limits", "limit_target"),
        ("approval", "approval_missing"),
        ("target_lock", "target_busy"),
    ];
    assert_eq!(reasons, expected.map(|(gate, code)| (gate, code.to_owned())));
}
