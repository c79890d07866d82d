//! From a rule's answer to its first call: one commit where it can be, and never a call that one after
//! the other would not have made.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use untoil_clock::Clock as _;
use untoil_journal::{Journal as _, Tenure, catch_up};
use untoil_model::*;

use crate::lab::Lab;

const ONE_COMMIT: &str = "facts_read planned judged started";

/// Everything that was written after the rule had been found, commit by commit.
fn commits(lab: &Lab) -> Vec<String> {
    lab.journal.commits()[1..].to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_plan_its_judgement_and_its_intent_are_one_commit_before_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    let permit = runner.judge(&mut incident, answer).await.unwrap();
    assert!(permit.is_some(), "for the steps that follow");
    assert_eq!(commits(&lab), [ONE_COMMIT, "sent"]);
    assert_eq!((lab.world.calls().len(), lab.effects()), (1, vec!["desired 4 → 8".to_owned()]));
    assert_eq!(incident.work(), Work::Settle { step: 0 });
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_records_no_intent_and_who_goes_on_makes_the_call() {
    let lab = Lab::new();
    let stop = CancellationToken::new();
    let ending = lab.instance("first").1.until(stop.clone());
    stop.cancel();
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    let permit = ending.judge(&mut incident, answer).await.unwrap().unwrap();
    ending.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(commits(&lab), ["facts_read planned judged"]);
    assert_eq!(incident.work(), Work::Call { step: 0 });
    assert!(lab.world.calls().is_empty());

    let (guard, next) = lab.instance("second");
    let permit = guard.resume(&incident).unwrap();
    next.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(commits(&lab)[1..], ["started", "sent"]);
    assert_eq!(lab.effects(), ["desired 4 → 8"]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_acknowledged_before_the_one_commit_stops_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.journal.before("started", lab.paused("all"));
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_none());
    assert_eq!(commits(&lab), ["facts_read planned judged escalated"]);
    assert_eq!(incident.denied.as_ref().map(Reason::code), Some("kill_switch"));
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_before_the_one_commit_is_not_acted_on() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.journal.before("started", lab.word(&incident, AlarmState::Resolved));
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_none());
    assert!(matches!(incident.work(), Work::Close { .. }), "its plan is not even written");
    assert_eq!(commits(&lab), [""; 0]);
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_held_plan_whose_alarm_clears_before_its_commit_is_denied() {
    let lab = Lab::new();
    let (guard, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |plan| plan.mode = Mode::Approve);
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_none());
    guard.approve(&incident.id, "kim", "", lab.clock.now()).await.unwrap();
    catch_up(&*lab.journal, &mut incident).await.unwrap();
    lab.journal.before("started", lab.word(&incident, AlarmState::Resolved));
    assert!(runner.judge(&mut incident, Vec::new()).await.unwrap().is_none());
    assert_eq!(incident.work(), Work::Judge, "it is judged anew");
    assert!(runner.judge(&mut incident, Vec::new()).await.unwrap().is_none());
    assert_eq!(incident.denied, Some(Reason::ResolvedBeforeAct {}));
    assert_eq!(commits(&lab), ["facts_read planned judged", "approved", "judged"]);
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_word_that_changes_nothing_costs_a_commit_and_not_the_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.journal.before("started", lab.word(&incident, AlarmState::Firing));
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_none());
    assert_eq!(incident.work(), Work::Judge);
    assert!(runner.judge(&mut incident, Vec::new()).await.unwrap().is_some());
    assert_eq!(commits(&lab), ["facts_read planned", "judged started", "sent"]);
    assert_eq!(lab.world.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_run_that_is_allowed_meanwhile_costs_nothing() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.journal.before("started", lab.paused("rule/other"));
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_some());
    assert_eq!(commits(&lab), [ONE_COMMIT, "sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_never_stands_still_is_never_called_over_at_once() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    for _ in 0..100 {
        lab.journal.before("judged", lab.paused("rule/other"));
    }
    assert!(runner.judge(&mut incident, answer).await.unwrap().is_none());
    assert_eq!(commits(&lab), ["facts_read planned"], "what was learnt is kept");
    assert_eq!(incident.work(), Work::Judge, "it is taken up again");
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_world_that_has_changed_is_seen_before_the_intent() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.world.set_service_desired("workers", "sync", 8);
    let permit = runner.judge(&mut incident, answer).await.unwrap().unwrap();
    assert_eq!(commits(&lab), ["facts_read planned judged"]);
    assert_eq!(incident.work(), Work::Call { step: 0 });
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["finished refused precheck_failed"]);
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_must_wait_is_not_begun_with_its_judgement() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |plan| plan.steps[0].after = Period::secs(30));
    let permit = runner.judge(&mut incident, answer).await.unwrap().unwrap();
    assert_eq!(commits(&lab), ["facts_read planned judged"]);
    assert!(lab.world.calls().is_empty());
    let before = lab.clock.now();
    runner.wait_before(&incident, 0).await;
    assert_eq!(lab.clock.now().duration_since(before).as_secs(), 30);
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.told().await, ["started", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_dry_or_held_or_only_shown_is_never_begun() {
    let table = [
        (EngineMode::DryRun, Mode::Auto, "denied dry_run"),
        (EngineMode::DryRun, Mode::Approve, "denied dry_run"),
        (EngineMode::Live, Mode::Shadow, "denied shadow"),
        (EngineMode::Live, Mode::Approve, "held approval_missing"),
    ];
    for (engine, mode, said) in table {
        let lab = Lab::new();
        let (_, runner) = lab.instance_that_is("first", engine);
        let mut incident = lab.matched().await;
        let answer = Lab::answer(&incident, |plan| plan.mode = mode);
        assert!(runner.judge(&mut incident, answer).await.unwrap().is_none(), "{said}");
        let denied = incident.denied.as_ref().map(|reason| format!("denied {}", reason.code()));
        let held = incident.held().map(|reason| format!("held {}", reason.code()));
        assert_eq!(denied.or(held).as_deref(), Some(said));
        assert!(commits(&lab)[0].starts_with("facts_read planned judged"), "{said}");
        assert!(!lab.told().await.contains(&"started".to_owned()), "{said}");
        assert!(lab.world.calls().is_empty(), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_approved_begins_in_one_commit() {
    let lab = Lab::new();
    let (guard, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |plan| plan.mode = Mode::Approve);
    runner.judge(&mut incident, answer).await.unwrap();
    assert!(runner.judge(&mut incident, Vec::new()).await.unwrap().is_none(), "asked once");
    guard.approve(&incident.id, "kim", "", lab.clock.now()).await.unwrap();
    catch_up(&*lab.journal, &mut incident).await.unwrap();
    assert!(runner.judge(&mut incident, Vec::new()).await.unwrap().is_some());
    let expected = ["facts_read planned judged", "approved", "judged started", "sent"];
    assert_eq!(commits(&lab), expected);
}

#[tokio::test(start_paused = true)]
async fn of_two_instances_that_ask_the_rule_for_one_incident_one_calls() {
    let lab = Lab::new();
    let ((_, first), (_, second)) = (lab.instance("first"), lab.instance("second"));
    let mut mine = lab.matched().await;
    let mut theirs = mine.clone();
    let answer = Lab::answer(&mine, |_| {});
    let (a, b) =
        tokio::join!(first.judge(&mut mine, answer.clone()), second.judge(&mut theirs, answer));
    let permits = [a.unwrap(), b.unwrap()];
    assert_eq!(permits.iter().flatten().count(), 1);
    assert_eq!(commits(&lab), [ONE_COMMIT, "sent"]);
    assert_eq!((lab.world.calls().len(), lab.effects()), (1, vec!["desired 4 → 8".to_owned()]));
    for incident in [&mut mine, &mut theirs] {
        catch_up(&*lab.journal, incident).await.unwrap();
        assert_eq!(incident.work(), Work::Settle { step: 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_begins_is_not_called_once_the_tenure_is_over() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let tenure = Tenure::none();
    tenure.extend(lab.clock.ticks() + Duration::from_secs(1));
    let runner = runner.within(tenure.clone());
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    lab.clock.sleep(Duration::from_secs(2)).await;
    runner.judge(&mut incident, answer).await.unwrap();
    assert_eq!(commits(&lab), [ONE_COMMIT, "backoff"]);
    assert!(lab.world.calls().is_empty());
    assert_eq!(incident.work(), Work::Call { step: 0 });
    let entries = lab.journal.read(&Stream::All, Seq::START, 1_000).await.unwrap();
    let Body::Backoff { why, .. } = &entries.last().unwrap().body else { panic!() };
    assert!(why.contains("not heard"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_right_after_the_one_commit_looks_for_its_call() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let answer = Lab::answer(&incident, |_| {});
    // Its call is under way for longer than it lives.
    lab.world.hang("ecs:UpdateService");
    let killed = tokio::time::timeout(Duration::from_secs(5), runner.judge(&mut incident, answer));
    assert!(killed.await.is_err());
    assert_eq!(commits(&lab), [ONE_COMMIT]);
    let (_, next) = lab.instance("next");
    let kept = untoil_journal::load(&*lab.journal, &incident.id).await.unwrap();
    let mut incident = kept.unwrap();
    assert_eq!(incident.work(), Work::Find { step: 0 });
    let calls = lab.world.calls().len();
    next.find(&mut incident, 0).await.unwrap();
    assert_eq!(lab.world.calls().len(), calls, "it looks first");
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_busy_target_looks_when_it_has_it() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.matched().await;
    let bodies = Lab::answer(&incident, |_| {});
    let run = incident.next_run();
    let target: Target = "ecs/workers/sync".parse().unwrap();
    let held = Body::Judged {
        run: run.clone(),
        part: 0,
        verdict: Verdict::Hold {
            reason: Reason::TargetBusy { target: target.clone(), holder: run.clone() },
            until: lab.clock.now() + Duration::from_mins(5),
        },
        rule: "backlog".parse().unwrap(),
        target,
        parents: Vec::new(),
        writes: true,
        authority: String::new(),
        gates: std::collections::BTreeMap::new(),
    };
    let drafts = bodies.into_iter().chain([held]).map(|body| lab.draft(&incident, body)).collect();
    lab.write(&mut incident, drafts).await;
    let reads = lab.world.asked("ecs:DescribeServices");
    let permit = runner.judge(&mut incident, Vec::new()).await.unwrap().unwrap();
    // Many may wait, and one gets it: the others must not have asked AWS for nothing.
    assert_eq!(lab.world.asked("ecs:DescribeServices"), reads);
    assert_eq!(incident.work(), Work::Call { step: 0 });
    runner.call(&permit, &mut incident, 0).await.unwrap();
    assert_eq!(lab.world.asked("ecs:DescribeServices"), reads + 1);
    assert_eq!(lab.world.calls().len(), 1);
}
