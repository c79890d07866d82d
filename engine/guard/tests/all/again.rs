//! The last look before a further try: what was heard since the first one counts, unless it acted.

use untoil_guard::*;
use untoil_journal::Journal as _;
use untoil_model::*;

use crate::limits::lent;
use crate::scene::*;

/// An incident whose one step is allowed, and begun unless `begun` is empty.
async fn running(scene: &Scene, begun: &[Begun]) -> (Incident, Permit) {
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let permit = allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    for (n, how) in begun.iter().enumerate() {
        let attempt = u32::try_from(n).unwrap() + 1;
        scene.start(&mut incident, 0, attempt, at(1)).await;
        let step = StepRef { run: permit.run().clone(), step: 0 };
        let (why, lost) = ("again".to_owned(), *how == Begun::Lost);
        scene.tell(&mut incident, at(2), Body::Backoff { step, attempt, why, lost }).await;
    }
    (incident, permit)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Begun {
    Throttled,
    Lost,
}

/// The reason of the last look before the next try, once the alarm is in `state`.
async fn look(scene: &Scene, begun: &[Begun], state: AlarmState) -> Result<Clearance, Reason> {
    let (mut incident, permit) = running(scene, begun).await;
    scene.hear(&mut incident, state, at(3)).await;
    let attempt = u32::try_from(begun.len()).unwrap() + 1;
    scene.guard().clear(&permit, 0, attempt, &mut incident, at(4)).await.unwrap()
}

#[tokio::test]
async fn a_try_is_not_made_for_an_alarm_that_cleared_before_anything_acted() {
    for begun in [&[][..], &[Begun::Throttled], &[Begun::Throttled; 3]] {
        let looked = look(&Scene::default(), begun, AlarmState::Resolved).await;
        assert_eq!(looked.unwrap_err(), Reason::ResolvedBeforeAct {}, "{begun:?}");
    }
}

#[tokio::test]
async fn a_try_is_not_made_on_no_data_before_anything_acted() {
    for begun in [&[][..], &[Begun::Throttled]] {
        let looked = look(&Scene::default(), begun, AlarmState::NoData).await;
        let reason = looked.unwrap_err();
        let firing = |check: &str| check == "alarm_firing";
        assert!(
            matches!(&reason, Reason::PrecheckFailed { check, .. } if firing(check)),
            "{begun:?}: {reason:?}"
        );
    }
}

#[tokio::test]
async fn a_try_is_made_for_an_alarm_that_fires_still() {
    for begun in [&[][..], &[Begun::Throttled], &[Begun::Lost]] {
        let looked = look(&Scene::default(), begun, AlarmState::Firing).await;
        assert_eq!(looked.unwrap().attempt(), u32::try_from(begun.len()).unwrap() + 1);
    }
}

#[tokio::test]
async fn a_later_step_is_made_whatever_the_alarm_says_once_one_has_acted() {
    for state in [AlarmState::Resolved, AlarmState::NoData, AlarmState::Firing] {
        let scene = Scene::default();
        let mut two = plan(&host(1));
        two.steps = vec![step(&host(1), Class::B); 2];
        let mut incident = scene.planned("disk", two, at(0)).await;
        let permit = allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
        scene.start(&mut incident, 0, 1, at(1)).await;
        scene.finish(&mut incident, 0, at(2)).await;
        scene.hear(&mut incident, state, at(3)).await;
        let looked = scene.guard().clear(&permit, 1, 1, &mut incident, at(4)).await.unwrap();
        assert!(looked.is_ok(), "{state:?}: {looked:?}");
    }
}

#[tokio::test]
async fn a_reading_step_is_no_act() {
    let scene = Scene::default();
    let mut two = plan(&host(1));
    two.steps = vec![step(&host(1), Class::A), step(&host(1), Class::B)];
    let mut incident = scene.planned("disk", two, at(0)).await;
    let permit = allowed(scene.guard().judge(&mut incident, at(0)).await.unwrap());
    scene.start(&mut incident, 0, 1, at(1)).await;
    scene.finish(&mut incident, 0, at(2)).await;
    scene.hear(&mut incident, AlarmState::Resolved, at(3)).await;
    let looked = scene.guard().clear(&permit, 1, 1, &mut incident, at(4)).await.unwrap();
    assert_eq!(looked.unwrap_err(), Reason::ResolvedBeforeAct {});
}

#[tokio::test]
async fn a_return_goes_on_only_while_the_alarm_is_clear() {
    for (state, goes_on) in
        [(AlarmState::Resolved, true), (AlarmState::Firing, false), (AlarmState::NoData, false)]
    {
        let scene = Scene::default();
        let (mut incident, mut back) = lent(&scene).await;
        back.steps = vec![back.steps[0].clone(); 2];
        scene.propose(&mut incident, back, at(HOUR)).await;
        let permit = allowed(scene.guard().judge(&mut incident, at(HOUR)).await.unwrap());
        scene.start(&mut incident, 0, 1, at(HOUR + 1)).await;
        scene.finish(&mut incident, 0, at(HOUR + 2)).await;
        if state != AlarmState::Resolved {
            scene.hear(&mut incident, state, at(HOUR + 3)).await;
        }
        let now = at(HOUR + 4);
        let looked = scene.guard().clear(&permit, 1, 1, &mut incident, now).await.unwrap();
        assert_eq!(looked.is_ok(), goes_on, "{state:?}: {looked:?}");
        if let Err(reason) = looked {
            assert_eq!(reason.code(), "precheck_failed", "the runner knows it by this code");
        }
    }
}

#[tokio::test]
async fn an_intent_on_a_clearance_fails_once_the_kill_switch_is_pressed() {
    let scene = Scene::default();
    let (mut incident, permit) = running(&scene, &[]).await;
    let guard = scene.guard();
    let cleared = guard.clear(&permit, 0, 1, &mut incident, at(1)).await.unwrap().unwrap();
    let intend = || {
        let body = Body::Escalated { reason: Reason::DryRun {}, mention: None };
        let draft = Draft::of(&incident.id, at(2), engine(), body);
        let batch = untoil_journal::Batch::of(vec![draft]);
        scene.journal.append(batch.expect(Stream::Ledger, cleared.ledger_at()))
    };
    guard.pause(&Scope::All, "kim", "", at(2)).await.unwrap();
    let conflict = intend().await.unwrap_err();
    assert!(
        matches!(conflict, untoil_journal::AppendError::Conflict { stream: Stream::Ledger, .. }),
        "{conflict:?}"
    );
}
