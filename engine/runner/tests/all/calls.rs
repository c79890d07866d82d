//! Between the last look and the call: whatever is heard by then counts, and one instance calls.

use std::sync::Arc;
use std::time::Duration;

use untoil_clock::Clock as _;
use untoil_model::*;

use crate::lab::Lab;

fn lost(incident: &Incident) -> [Body; 2] {
    let step = StepRef { run: incident.next_run(), step: 0 };
    let does = Arc::clone(&incident.run.as_ref().unwrap().steps[0].0);
    let marker = step.run.marker(0, 1);
    let not_after = incident.opened_at;
    let started = Body::Started { step: step.clone(), attempt: 1, does, marker, not_after };
    let why = "it cannot be found, and making it again is harmless".to_owned();
    [started, Body::Backoff { step, attempt: 1, why, lost: true }]
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_pressed_after_the_last_look_stops_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.journal.before("started", lab.paused("all"));
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["paused", "finished refused kill_switch"]);
    assert!(lab.world.calls().is_empty());
    assert_eq!(incident.work(), Work::Conclude);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_after_the_last_look_stops_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.journal.before("started", lab.word(&incident, AlarmState::Resolved));
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["observed", "finished refused resolved_before_act"]);
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_is_lost_after_the_last_look_stops_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.journal.before("started", lab.word(&incident, AlarmState::NoData));
    runner.call(&permit, &mut incident, 0).await.unwrap();
    let told = lab.told().await;
    assert!(told[1].starts_with("finished refused"), "{told:?}");
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn news_that_changes_nothing_delays_the_call_and_does_not_stop_it() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.journal.before("started", lab.paused("rule/other"));
    lab.journal.before("started", lab.word(&incident, AlarmState::Firing));
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["paused", "observed", "started", "sent"]);
    assert_eq!(lab.world.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_does_not_rest_on_a_look_from_before_the_journal_hung() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    // Each try is cleared anew, in time, and the look at the world was before all of them.
    for _ in 0..3 {
        lab.journal.hang("started", Duration::from_secs(50));
    }
    for _ in 0..2 {
        lab.journal.before("started", lab.paused("rule/other"));
    }
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["paused", "paused", "started", "backoff"]);
    assert!(lab.world.calls().is_empty());
    runner.wait_before(&incident, 0).await;
    let work = incident.work();
    assert_eq!(work, Work::Call { step: 0 }, "and is looked at again for the next try");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_never_stands_still_is_never_called_over() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    for _ in 0..100 {
        lab.journal.before("started", lab.paused("rule/other"));
    }
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert!(lab.world.calls().is_empty());
    assert_eq!(incident.work(), Work::Call { step: 0 }, "it is taken up again");
}

#[tokio::test(start_paused = true)]
async fn of_two_instances_with_the_same_permit_one_calls_and_the_other_refuses_nothing() {
    let lab = Lab::new();
    let (_, first) = lab.instance("first");
    let (guard, second) = lab.instance("second");
    let (mut mine, permit) = lab.allowed().await;
    let mut theirs = mine.clone();
    let again = guard.resume(&theirs).unwrap();
    let (a, b) =
        tokio::join!(first.call(&permit, &mut mine, 0), second.call(&again, &mut theirs, 0));
    a.unwrap();
    b.unwrap();
    assert_eq!(lab.told().await, ["started", "sent"]);
    assert_eq!((lab.world.calls().len(), lab.effects()), (1, vec!["desired 4 → 8".to_owned()]));
    untoil_journal::catch_up(&*lab.journal, &mut theirs).await.unwrap();
    assert_eq!(theirs.work(), Work::Settle { step: 0 });
}

#[tokio::test(start_paused = true)]
async fn two_instances_that_both_follow_a_call_agree_on_its_end() {
    let lab = Lab::new();
    let (_, first) = lab.instance("first");
    let (_, second) = lab.instance("second");
    let (mut mine, permit) = lab.allowed().await;
    first.call(&permit, &mut mine, 0).await.unwrap();
    let mut theirs = mine.clone();
    let (a, b) = tokio::join!(first.settle(&mut mine, 0), second.settle(&mut theirs, 0));
    a.unwrap();
    b.unwrap();
    for incident in [&mut mine, &mut theirs] {
        untoil_journal::catch_up(&*lab.journal, incident).await.unwrap();
        assert!(matches!(incident.work(), Work::Watch { .. }), "{incident:?}");
    }
    assert_eq!(mine, theirs);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_lost_try_leaves_the_outcome_unknown() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    let drafts = lost(&incident).map(|body| lab.draft(&incident, body)).into();
    lab.write(&mut incident, drafts).await;
    assert_eq!(incident.work(), Work::Call { step: 0 });
    lab.world.set_service_desired("workers", "sync", 8);
    runner.call(&permit, &mut incident, 0).await.unwrap();
    let told = lab.told().await;
    assert_eq!(told[..2], ["started", "backoff"]);
    let why = "finished unknown: an earlier try may have taken effect; try 2: precheck_failed";
    assert!(told[2].starts_with(why), "{told:?}");
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_with_no_lost_try_is_a_refusal() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.world.set_service_desired("workers", "sync", 8);
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["finished refused precheck_failed"]);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_not_made_again_for_an_alarm_that_cleared() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.world.throttle("ecs:UpdateService", 1);
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["started", "backoff"]);
    let clears = lab.word(&incident, AlarmState::Resolved);
    lab.write(&mut incident, vec![clears]).await;
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await[3..], ["finished refused resolved_before_act"]);
    assert!(lab.effects().is_empty());
    assert_eq!(incident.lease, None, "nothing was lent");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_forward_does_not_prove_that_a_call_was_lost() {
    for (forward, waits) in [
        (Duration::ZERO, 60),
        // As much as the clocks of two machines that both act at AWS can differ.
        (Duration::from_mins(9), 60),
        // More than that is really long ago.
        (Duration::from_mins(20), 0),
    ] {
        let lab = Lab::new();
        let (_, runner) = lab.instance("first");
        let (mut incident, _) = lab.allowed().await;
        let [started, _] = lost(&incident);
        let started = lab.draft(&incident, started);
        lab.write(&mut incident, vec![started]).await;
        lab.clock.step_by(forward.as_micros().try_into().unwrap());
        let began = lab.clock.ticks();
        runner.find(&mut incident, 0).await.unwrap();
        assert_eq!(lab.clock.ticks().saturating_sub(began).as_secs(), waits, "{forward:?} forward");
        assert_eq!(lab.told().await, ["started", "backoff"]);
        assert_eq!(incident.work(), Work::Call { step: 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hung_is_looked_for_from_when_it_was_given_up_whatever_the_clock_says() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.world.hang("ecs:UpdateService");
    let began = lab.clock.ticks();
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.clock.ticks().saturating_sub(began).as_secs(), 30, "then it is given up");
    lab.clock.step_by(Duration::from_mins(30).as_micros().try_into().unwrap());
    runner.find(&mut incident, 0).await.unwrap();
    assert_eq!(lab.clock.ticks().saturating_sub(began).as_secs(), 90);
    assert_eq!(lab.told().await, ["started", "backoff"]);
}
