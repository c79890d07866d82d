//! What people say: approvals, refusals, pauses.

use crate::scene::*;
use untoil_guard::*;
use untoil_model::*;

/// An incident that waits for an approval of a plan of this class since `at(0)`.
async fn asked(scene: &Scene, name: &str, class: Class) -> Incident {
    let mut proposed = plan(&host(1));
    proposed.mode = Mode::Approve;
    proposed.max_age = Period::hours(2);
    proposed.steps[0].class = class;
    let mut incident = scene.planned(name, proposed, at(0)).await;
    held(scene.judge(&mut incident, at(0)).await);
    incident
}

#[tokio::test]
async fn a_person_is_asked_for_a_time_that_the_class_sets() {
    for (class, term) in [(Class::B, 15), (Class::C, 15), (Class::D, 60)] {
        let scene = Scene::default();
        let mut incident = asked(&scene, "disk", class).await;
        let until = at(term * MIN);
        let plan = incident.run.as_ref().unwrap().part().unwrap().plan.hash().short();
        assert_eq!(incident.held(), Some(&Reason::ApprovalMissing { plan, until }));
        let Judged { entries, .. } =
            scene.guard().judge(&mut incident, at(term * MIN - 1)).await.unwrap();
        assert!(entries.is_empty(), "asked once");
        let late = scene.guard().approve(&incident.id, "kim", "", until).await;
        assert!(matches!(late, Err(AnswerError::Expired(_))), "{late:?}");
        let after = Period::mins(u64::try_from(term).unwrap());
        let reason = denied(scene.judge(&mut incident, until).await);
        assert_eq!(reason, Reason::ApprovalExpired { after });
    }
}

#[tokio::test]
async fn an_approval_allows_and_is_the_authority_and_the_first_answer_counts() {
    let scene = Scene::default();
    let guard = scene.guard();
    let mut incident = asked(&scene, "disk", Class::C).await;
    let entry = guard.approve(&incident.id, "kim", "go", at(MIN)).await.unwrap();
    assert_eq!(entry.actor, Actor::Human("kim".into()));
    incident.apply(&entry);
    assert_eq!(incident.work(), Work::Judge);
    let second = guard.reject(&incident.id, "lee", "", at(MIN)).await.unwrap_err();
    assert_eq!(second.to_string(), "already approved by kim");
    let judged = guard.judge(&mut incident, at(MIN)).await.unwrap();
    let Body::Judged { authority, .. } = &judged.entries[0].body else { panic!() };
    assert_eq!(authority, "approved by kim");
    allowed(judged);
}

#[tokio::test]
async fn a_refusal_denies_quietly() {
    let scene = Scene::default();
    let mut incident = asked(&scene, "disk", Class::C).await;
    scene.guard().reject(&incident.id, "kim", "not now", at(MIN)).await.unwrap();
    let reason = denied(scene.judge(&mut incident, at(MIN)).await);
    assert_eq!(reason, Reason::ApprovalRejected { by: "kim".into() });
    assert_eq!(incident.escalations, []);
}

#[tokio::test]
async fn an_approval_is_good_for_one_plan_once() {
    let scene = Scene::default();
    let guard = scene.guard();
    let mut incident = asked(&scene, "disk", Class::C).await;
    guard.approve(&incident.id, "kim", "", at(1)).await.unwrap();
    let permit = allowed(guard.judge(&mut incident, at(1)).await.unwrap());
    let same = permit.plan().clone();
    scene.propose(&mut incident, same, at(2)).await;
    let (reason, _) = held(scene.judge(&mut incident, at(2)).await);
    assert_eq!(reason.code(), "approval_missing", "the same plan again is asked again");
}

#[tokio::test]
async fn an_answer_to_a_plan_that_has_changed_since_is_stale() {
    let scene = Scene::default();
    let guard = scene.guard();
    let mut incident = asked(&scene, "disk", Class::C).await;
    let seen = incident.run.as_ref().unwrap().part().unwrap().plan.hash();
    guard.approve(&incident.id, "kim", "", at(1)).await.unwrap();
    let mut changed = Plan::clone(&incident.run.as_ref().unwrap().part().unwrap().plan);
    changed.steps[0].says = "something else".into();
    let now = changed.hash();
    scene.propose(&mut incident, changed, at(2)).await;
    let (reason, until) = held(scene.judge(&mut incident, at(2)).await);
    assert_eq!(reason, Reason::StalePlan { approved: seen.short(), now: now.short() });
    assert_eq!((until, incident.work()), (at(2 + 15 * MIN), Work::Wait { until }));
    let mut answer = Answer {
        say: Say::Approve,
        by: "kim".into(),
        note: String::new(),
        plan: Some(seen.short()),
    };
    let error = guard.answer(&incident.id, &answer, at(3)).await.unwrap_err();
    assert!(matches!(error, AnswerError::StalePlan { .. }), "{error:?}");
    answer.plan = Some(now.short());
    guard.answer(&incident.id, &answer, at(3)).await.unwrap();
    allowed(guard.judge(&mut incident, at(3)).await.unwrap());
}

#[tokio::test]
async fn an_approval_is_not_good_for_ever() {
    let scene = Scene::default();
    let mut incident = asked(&scene, "disk", Class::C).await;
    scene.guard().approve(&incident.id, "kim", "", at(14 * MIN)).await.unwrap();
    let reason = denied(scene.judge(&mut incident, at(29 * MIN + 1)).await);
    assert_eq!(reason, Reason::ApprovalExpired { after: Period::mins(15) });
}

#[tokio::test]
async fn answers_that_cannot_be_taken_say_why() {
    let scene = Scene::default();
    let guard = scene.guard();
    let incident = asked(&scene, "disk", Class::C).await;
    let open = scene.open("open", at(0)).await;
    let unknown = IncidentId::derive(at(9), &incident.alarm.key, "x");
    let long = "x".repeat(2_001);
    for (id, by, note, expected) in [
        (&unknown, "kim", "", format!("no incident `{unknown}`: `untoil incidents` lists them")),
        (&open.id, "kim", "", format!("incident `{}` waits for no approval: it is `new`", open.id)),
        (
            &incident.id,
            " ",
            "",
            "say who you are: an answer stands in the journal under a name".into(),
        ),
        (&incident.id, "kim", long.as_str(), "the note has 2004 bytes, at most 2000 fit".into()),
    ] {
        let error = guard.approve(id, by, note, at(1)).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn pausing_is_easy_and_resuming_takes_a_name_and_a_reason() {
    let scene = Scene::default();
    let guard = scene.guard();
    let scope: Scope = "rule/disk-full".parse().unwrap();
    let entry = guard.pause(&scope, "kim", "", at(0)).await.unwrap();
    assert_eq!(entry.body, Body::Paused { scope: "rule/disk-full".into(), reason: String::new() });
    for (by, reason, expected) in [
        ("", "done", "say who you are: pausing and resuming stand in the journal under a name"),
        ("kim", " ", "say why `rule/disk-full` may act again: a reason is needed to resume"),
    ] {
        let error = guard.unpause(&scope, by, reason, at(1)).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let error = guard.unpause(&Scope::All, "kim", "done", at(1)).await.unwrap_err();
    assert_eq!(error.to_string(), "`all` is not paused");
    let mut incident = scene.planned("a", plan(&host(1)), at(1)).await;
    assert_eq!(denied(scene.judge(&mut incident, at(1)).await).code(), "kill_switch");
    guard.unpause(&scope, "kim", "done", at(2)).await.unwrap();
    let mut incident = scene.planned("b", plan(&host(1)), at(3)).await;
    allowed(guard.judge(&mut incident, at(3)).await.unwrap());
}

#[test]
fn scopes_have_one_spelling() {
    for text in ["all", "rule/disk-full", "target/ec2/i-0a1b2c3d", "target/ecs-cluster/workers"] {
        assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
    }
    for text in ["", "ALL", "rule", "rule/", "rule/Disk Full", "target/ec2", "target/ec2/*", "x/y"]
    {
        assert!(text.parse::<Scope>().is_err(), "{text}");
    }
}
