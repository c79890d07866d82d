//! An instance that was stopped, lost an incident to another one and got it back.

use tokio::sync::Notify;
use untoil_model::*;

use crate::lab::{Lab, stays};

#[tokio::test(start_paused = true)]
async fn what_another_instance_told_meanwhile_is_not_told_again() {
    let lab = Lab::new();
    let ((_, first), (_, second)) = (lab.instance("first"), lab.instance("second"));
    let (mut incident, permit) = lab.allowed().await;
    first.call(&permit, &mut incident, 0).await.unwrap();
    let mut stopped = incident.clone();
    second.settle(&mut incident, 0).await.unwrap();
    first.settle(&mut stopped, 0).await.unwrap();
    assert_eq!(lab.told().await, ["started", "sent", "finished done"]);
    assert_eq!(stopped, incident, "it knows now");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_another_instance_concluded_meanwhile_is_watched_no_more() {
    let lab = Lab::new();
    let ((_, first), (_, second)) = (lab.instance("first"), lab.instance("second"));
    let mut incident = lab.cleared(&first, 6).await;
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    let mut stopped = incident.clone();
    second.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    first.watch(&mut stopped, since, (&Notify::new(), &stays)).await.unwrap();
    assert_eq!(lab.told().await.last().unwrap(), "concluded effective");
    assert_eq!(stopped.work(), Work::GiveBack);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_another_instance_did_meanwhile_is_not_refused() {
    let lab = Lab::new();
    let ((guard, first), (_, second)) = (lab.instance("first"), lab.instance("second"));
    let (mut incident, permit) = lab.allowed().await;
    let mut stopped = incident.clone();
    let its_permit = guard.resume(&stopped).unwrap();
    second.call(&permit, &mut incident, 0).await.unwrap();
    second.settle(&mut incident, 0).await.unwrap();
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    second.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    let told = lab.told().await;
    lab.world.set_service_desired("workers", "sync", 4);
    first.call(&its_permit, &mut stopped, 0).await.unwrap();
    assert_eq!(lab.told().await, told, "nothing is added");
    assert_eq!(lab.effects(), ["desired 4 → 8"]);
}

#[tokio::test(start_paused = true)]
async fn a_word_that_comes_in_meanwhile_keeps_nothing_from_being_told() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.journal.before("sent", lab.word(&incident, AlarmState::Firing));
    lab.journal.before("finished", lab.word(&incident, AlarmState::Resolved));
    runner.call(&permit, &mut incident, 0).await.unwrap();
    runner.settle(&mut incident, 0).await.unwrap();
    let told = lab.told().await;
    assert_eq!(told, ["started", "observed", "sent", "observed", "finished done"]);
}
