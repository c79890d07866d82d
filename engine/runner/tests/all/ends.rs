//! Endings: none is written over news that was not seen.

use tokio::sync::Notify;
use untoil_clock::Clock as _;
use untoil_model::*;
use untoil_runner::Watched;

use crate::lab::{Lab, stays};

#[tokio::test(start_paused = true)]
async fn an_effect_is_told_when_the_alarm_stays_clear() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.cleared(&runner, 6).await;
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    assert_eq!(lab.told().await.last().unwrap(), "concluded effective");
    assert_eq!(incident.work(), Work::GiveBack);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_and_comes_back_for_each_look_sees_the_same_as_who_stays() {
    for clears in [true, false] {
        let lab = Lab::new();
        let (_, runner) = lab.instance("first");
        let mut incident = if clears {
            lab.cleared(&runner, 2).await
        } else {
            let (mut incident, permit) = lab.allowed().await;
            runner.call(&permit, &mut incident, 0).await.unwrap();
            runner.settle(&mut incident, 0).await.unwrap();
            incident
        };
        let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
        let mut times = Vec::new();
        loop {
            let back = std::sync::Mutex::new(None);
            let leaves = |until| back.lock().unwrap().replace(until).is_none();
            let watched = runner.watch(&mut incident, since, (&Notify::new(), &leaves)).await;
            if watched.unwrap() == Watched::Over {
                break;
            }
            let until = back.into_inner().unwrap().unwrap();
            assert!(until > lab.clock.now(), "it is not asked to come back at once");
            times.push(until);
            lab.clock.sleep_until(until).await;
        }
        let ended = if clears { "concluded effective" } else { "escalated" };
        assert_eq!(lab.told().await.last().unwrap(), ended);
        assert!(!times.is_empty() && times.len() <= 20, "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_effect_is_not_told_when_it_fires_again_at_that_moment() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.cleared(&runner, 6).await;
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    lab.journal.before("concluded", lab.word(&incident, AlarmState::Firing));
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    assert_eq!(lab.told().await, ["started", "sent", "finished done", "observed", "observed"]);
    assert_eq!(incident.work(), Work::Watch { since }, "it is watched on");
    assert_eq!(incident.clear_since, None);
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    assert_eq!(lab.told().await[5..], ["concluded ineffective", "escalated"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_told_when_it_clears_at_that_moment() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    runner.call(&permit, &mut incident, 0).await.unwrap();
    runner.settle(&mut incident, 0).await.unwrap();
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    lab.journal.before("concluded", lab.word(&incident, AlarmState::Resolved));
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    assert_eq!(lab.told().await[3..], ["observed"]);
    assert_eq!(incident.work(), Work::Watch { since });
}

#[tokio::test(start_paused = true)]
async fn an_incident_is_not_closed_when_it_fires_again_at_that_moment() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let (mut incident, permit) = lab.allowed().await;
    lab.world.set_service_desired("workers", "sync", 8);
    runner.call(&permit, &mut incident, 0).await.unwrap();
    runner.conclude(&mut incident).await.unwrap();
    let clears = lab.word(&incident, AlarmState::Resolved);
    lab.write(&mut incident, vec![clears]).await;
    let Work::Close { ending } = incident.work() else { panic!("{:?}", incident.work()) };
    lab.journal.before("closed", lab.word(&incident, AlarmState::Firing));
    runner.close(&mut incident, ending).await.unwrap();
    assert!(!lab.told().await.contains(&"closed".to_owned()));
    assert_eq!(incident.work(), Work::Match, "the rule is asked anew");
}

#[tokio::test(start_paused = true)]
async fn closing_over_a_lease_tells_people_of_it() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.cleared(&runner, 6).await;
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    runner.close(&mut incident, Ending::Healed).await.unwrap();
    assert_eq!(lab.told().await[5..], ["lease_dropped", "escalated", "closed"]);
    let reason = incident.escalations.last().unwrap();
    assert!(matches!(reason, Reason::LeaseOver { before: 4, after: 8, .. }), "{reason:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_at_its_old_value_is_not_given_back_again() {
    let lab = Lab::new();
    let (_, runner) = lab.instance("first");
    let mut incident = lab.cleared(&runner, 6).await;
    let Work::Watch { since } = incident.work() else { panic!("{:?}", incident.work()) };
    runner.watch(&mut incident, since, (&Notify::new(), &stays)).await.unwrap();
    lab.world.set_service_desired("workers", "sync", 4);
    runner.give_back(&mut incident).await.unwrap();
    assert_eq!(lab.told().await.last().unwrap(), "lease_dropped");
    assert_eq!(incident.lease, None);
    assert_eq!(incident.work(), Work::Close { ending: Ending::Healed });
}
