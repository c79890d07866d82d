//! The simulated AWS itself: time, alarms, faults, clearances.

#![expect(clippy::unwrap_used, reason = "a broken set-up should stop the test where it breaks")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use untoil_actions::CallError;
use untoil_clock::{Clock as _, VirtualClock};
use untoil_model::{Class, Period, Step};
use untoil_world::{AlarmSpec, Fault, QueueSpec, World, cleared};

fn lab() -> (Arc<VirtualClock>, World) {
    let clock = Arc::new(VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let world = World::new(clock.clone(), 11);
    (clock, world)
}

fn step(target: &str, class: Class) -> Step {
    Step {
        action: "ecs.scale".parse().unwrap(),
        target: target.parse().unwrap(),
        class,
        params: BTreeMap::new(),
        says: "desired count 2 → 6".into(),
        after: Period::ZERO,
        settle: Period::mins(5),
        lease: None,
    }
}

fn backlog() -> QueueSpec {
    QueueSpec {
        backlog: 1_000.0,
        in_per_min: 100.0,
        done_per_task_per_min: 30.0,
        cluster: "workers".into(),
        service: "contact-sync".into(),
        namespace: "Remember/ContactSync".into(),
        metric: "PendingContacts".into(),
        dimensions: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_grows_until_there_are_enough_workers_and_its_alarm_follows() {
    let (clock, world) = lab();
    world.add_service("workers", "contact-sync", 2);
    world.add_queue("contacts", backlog());
    world.alarm_for(AlarmSpec {
        name: "contacts waiting".into(),
        namespace: "Remember/ContactSync".into(),
        metric: "PendingContacts".into(),
        dimensions: BTreeMap::new(),
        threshold: 1_100.0,
        periods: 2,
    });
    clock.sleep(Duration::from_mins(10)).await;
    assert!(
        (1_390.0..1_410.0).contains(&world.backlog("contacts")),
        "{}",
        world.backlog("contacts")
    );
    let fired = world.transitions();
    assert_eq!(fired.iter().map(|t| (t.from, t.to)).collect::<Vec<_>>(), [("OK", "ALARM")]);
    let message = fired[0].message();
    assert_eq!(message["StateChangeTime"], "2026-01-01T00:04:00.000+0000");
    assert_eq!(message["NewStateValue"], "ALARM");

    let may = world.cleared(&step("ecs/workers/contact-sync", Class::B)).await;
    world.hands().ecs.set_desired(may, "workers", "contact-sync", 6).await.unwrap();
    assert_eq!(world.service_counts("workers", "contact-sync"), (6, 2));
    clock.sleep(Duration::from_mins(10)).await;
    assert_eq!(world.service_counts("workers", "contact-sync"), (6, 6));
    let healed = world.transitions();
    assert_eq!(healed.iter().map(|t| (t.from, t.to)).collect::<Vec<_>>(), [("ALARM", "OK")]);
    assert_eq!(world.eyes().metrics.alarm("contacts waiting").await.unwrap().state, "OK");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (_, world) = lab();
        world.add_service("w", "s", 2);
        world.storm(500);
        let mut said = String::new();
        for n in 0..40 {
            let may = world.cleared(&step("ecs/w/s", Class::B)).await;
            said.push(match world.hands().ecs.set_desired(may, "w", "s", n).await {
                Ok(()) => '.',
                Err(CallError::Refused { .. }) => 'r',
                Err(CallError::Throttled { .. }) => 't',
                Err(CallError::NotSent { .. }) => 'n',
                Err(CallError::Unknown { .. }) => '?',
            });
        }
        runs.push(said);
    }
    assert_eq!(runs[0], runs[1]);
    for outcome in ['.', 't', 'n', '?'] {
        assert!(runs[0].contains(outcome), "{}", runs[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_took_effect_and_a_hanging_call_did_not() {
    let (_, world) = lab();
    world.add_service("w", "s", 2);
    let api = "ecs:UpdateService";
    world.lose_answer(api);
    let may = world.cleared(&step("ecs/w/s", Class::B)).await;
    let lost = world.hands().ecs.set_desired(may, "w", "s", 3).await;
    assert!(matches!(lost, Err(CallError::Unknown { .. })));
    assert_eq!(world.effects()[0].what, "desired 2 → 3");
    world.hang(api);
    let may = world.cleared(&step("ecs/w/s", Class::B)).await;
    let hands = world.hands();
    let call = hands.ecs.set_desired(may, "w", "s", 4);
    assert!(tokio::time::timeout(Duration::from_mins(5), call).await.is_err());
    assert_eq!(world.service_counts("w", "s").0, 3);
    world.fail_always(api, Some(Fault::Refuse("ServerException".into())));
    for _ in 0..3 {
        let may = world.cleared(&step("ecs/w/s", Class::B)).await;
        let refused = world.hands().ecs.set_desired(may, "w", "s", 4).await;
        assert!(matches!(refused, Err(CallError::Refused { .. })));
    }
    assert_eq!((world.calls().len(), world.effects().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_clearance_is_made_by_the_guard_for_exactly_this_step() {
    for class in [Class::A, Class::B, Class::C] {
        let step = step("ecs/w/s", class);
        let clearance = cleared(&step).await;
        assert_eq!(clearance.step(), &step);
        assert_eq!(clearance.attempt(), 1);
        assert_eq!(clearance.marker(), cleared(&step).await.marker());
        assert_eq!(clearance.not_after().to_string(), "2026-01-01T00:02:00Z");
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_without_anybody_looking_passes_quickly_and_disks_fill() {
    let (clock, world) = lab();
    world.add_host("i-0a1b2c3d");
    world.add_disk("i-0a1b2c3d", "/", (50.0, 10.0, 1.0));
    clock.sleep(Duration::from_hours(24)).await;
    let used = world.disk_used("i-0a1b2c3d", "/");
    assert!((73.5..74.5).contains(&used), "{used}");
}

/// Something of everything.
fn crowded() -> (Arc<VirtualClock>, World) {
    let (clock, world) = lab();
    world.add_service("workers", "contact-sync", 2);
    world.add_queue("contacts", backlog());
    world.add_group("web", (1, 5), 2);
    world.add_host("i-0a");
    world.add_disk("i-0a", "/", (90.0, 20.0, 6.0));
    world.add_unit("i-0a", "ds_agent.service", 150.0, 4.0);
    let dimensions = BTreeMap::from([("InstanceId".to_owned(), "i-0a".to_owned())]);
    world.alarm_for(AlarmSpec {
        name: "cpu".into(),
        namespace: "AWS/EC2".into(),
        metric: "CPUUtilization".into(),
        dimensions,
        threshold: 50.0,
        periods: 1,
    });
    world.throttle("ecs:UpdateService", 1);
    world.fail_always("http:send", Some(Fault::Slow(Duration::from_secs(2))));
    world.set_lag(Duration::from_secs(30));
    (clock, world)
}

#[tokio::test(start_paused = true)]
async fn a_world_comes_back_from_its_snapshot_and_goes_on_as_it_would_have() {
    let (clock, world) = crowded();
    clock.sleep(Duration::from_mins(3)).await;
    let step = step("ecs/workers/contact-sync", Class::B);
    let may = world.cleared(&step).await;
    world.hands().asg.set_desired(may, "web", 3).await.unwrap();
    let may = world.cleared(&step).await;
    let start = untoil_actions::StartAutomation {
        document: "AWS-RestartEC2Instance".into(),
        version: "1".into(),
        params: BTreeMap::new(),
        client_token: "t".into(),
    };
    world.hands().ssm.start_automation(may, start).await.unwrap();
    let may = world.cleared(&step).await;
    let request = untoil_actions::HttpRequest {
        method: "POST".into(),
        url: "https://example.com/x".into(),
        body: "{}".into(),
        key: "k".into(),
    };
    world.hands().http.send(may, &request).await.unwrap();
    let may = world.cleared(&step).await;
    let command = untoil_actions::SendCommand {
        document: "untoil-disk-diag".into(),
        version: untoil_deploy::document("untoil-disk-diag").unwrap().version.into(),
        sha256: None,
        instance: "i-0a".into(),
        params: [
            ("Mount", "/"),
            ("Mode", "dry"),
            ("RunId", "01JABCDEFG-1-0"),
            ("NotAfter", "1767229200"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        delivery_timeout: Duration::from_mins(1),
    };
    let id = world.hands().ssm.send_command(may, command).await.unwrap();
    for pause in [1, 90] {
        clock.sleep(Duration::from_secs(pause)).await;
        let snapshot = world.snapshot();
        let again = World::restore(clock.clone(), &snapshot).unwrap();
        assert_eq!(again.snapshot(), snapshot);
        assert_eq!(again.calls(), world.calls());
        assert_eq!(again.requests(), std::slice::from_ref(&request));
        clock.sleep(Duration::from_mins(2)).await;
        let [one, two] = [&again, &world].map(|world| world.eyes().ssm);
        let (one, two) = (one.command(&id, "i-0a").await, two.command(&id, "i-0a").await);
        assert_eq!(one.unwrap(), two.unwrap());
        assert_eq!(again.snapshot(), world.snapshot());
        assert_eq!(again.transitions(), world.transitions());
    }
    assert!(World::restore(clock, "{}").is_err());
}
