//! Every action once through against the simulated AWS, and what it says when an answer is lost.

#![expect(clippy::unwrap_used, reason = "a broken set-up should stop the test where it breaks")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use untoil_actions::{
    Ask, Bounds, CallError, Catalogue, FactKind, FactRequest, Following, Found, Order, Proposal,
};
use untoil_clock::{Clock as _, VirtualClock};
use untoil_model::{FactValue, Facts, Lease, Period, Reason, Step, StepOutcome, StepRef};
use untoil_world::{Fault, World};

const HOST: &str = "i-0a1b2c3d4e5f67890";

struct Lab {
    clock: Arc<VirtualClock>,
    world: World,
    catalogue: Catalogue,
}

impl Lab {
    fn new() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Arc::new(VirtualClock::starting_at(start));
        let world = World::new(clock.clone(), 7);
        world.add_host(HOST);
        world.add_disk(HOST, "/", (91.0, 30.0, 0.5));
        world.add_unit(HOST, "newrelic-infra.service", 180.0, 2.0);
        world.add_unit(HOST, "amazon-ssm-agent.service", 90.0, 1.0);
        world.add_service("workers", "contact-sync", 4);
        world.add_group("web", (2, 8), 4);
        let catalogue = Catalogue::standard(vec!["ops.example.com".into()]);
        Self { clock, world, catalogue }
    }

    async fn pass(&self, secs: u64) {
        self.clock.sleep(Duration::from_secs(secs)).await;
    }

    async fn facts(&self) -> Facts {
        let args = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect::<BTreeMap<String, String>>()
        };
        let requests = [
            (
                "service",
                FactKind::EcsService,
                args(&[("cluster", "workers"), ("service", "contact-sync")]),
            ),
            ("group", FactKind::AsgGroup, args(&[("group", "web")])),
        ];
        let mut facts = Facts::new();
        for (name, kind, args) in requests {
            let request = FactRequest { name: name.into(), kind, args };
            facts.insert(
                name.into(),
                request.read(&self.world.eyes(), self.clock.now()).await.unwrap(),
            );
        }
        facts
    }

    async fn plan(
        &self,
        kind: &str,
        target: &str,
        params: Value,
        may: Value,
    ) -> Result<Step, Reason> {
        let proposal = Proposal {
            action: kind.parse().unwrap(),
            target: target.into(),
            params: serde_json::from_value(params).unwrap(),
            after: Period::ZERO,
        };
        let may: Vec<Bounds> = vec![serde_json::from_value(may).unwrap()];
        let target = target.parse().unwrap();
        let facts = self.facts().await;
        self.catalogue.resolve(&Ask {
            proposal: &proposal,
            may: &may,
            facts: &facts,
            target: &target,
        })
    }

    /// Looks again, calls, and follows to the end.
    async fn run(&self, step: &Step) -> Result<StepOutcome, Reason> {
        let action = self.catalogue.of(&step.action).unwrap();
        let eyes = self.world.eyes();
        action.look_again(&eyes, step).await?;
        let may = self.world.cleared(step).await;
        let (at, marker, started_at) = (may.at().clone(), may.marker(), self.clock.now());
        let order = |age| Order { step, at: &at, marker: &marker, started_at, age };
        let handle = match action.call(&self.world.hands(), may, &order(Duration::ZERO)).await {
            Ok(handle) => handle,
            Err(CallError::Unknown { .. }) => match self.find(step, &at, &marker, started_at).await
            {
                Found::Sent(handle) => handle,
                other @ (Found::Ended(_) | Found::NotSent | Found::NotSeen | Found::Repeatable) => {
                    return Ok(StepOutcome::Unknown { why: format!("{other:?}") });
                }
            },
            Err(error) => {
                return Ok(StepOutcome::Refused { code: "call".into(), why: error.to_string() });
            }
        };
        for _ in 0..400 {
            match action.follow(&eyes, &order(self.since(started_at)), &handle).await.unwrap() {
                Following::Ended(outcome) => return Ok(outcome),
                Following::Going(time) => self.clock.sleep(time).await,
            }
        }
        panic!("`{}` never settles", step.says);
    }

    fn since(&self, started_at: Timestamp) -> Duration {
        Duration::try_from(self.clock.now().duration_since(started_at)).unwrap()
    }

    async fn find(&self, step: &Step, at: &StepRef, marker: &str, started_at: Timestamp) -> Found {
        let action = self.catalogue.of(&step.action).unwrap();
        let order = Order { step, at, marker, started_at, age: self.since(started_at) };
        action.find(&self.world.eyes(), &order).await.unwrap()
    }

    /// Whether the action finds a call whose answer was lost, and one that was never made.
    async fn finds(&self, step: &Step, api: &str) -> (Found, Found) {
        let action = self.catalogue.of(&step.action).unwrap();
        let may = self.world.cleared(step).await;
        let (at, marker, started_at) = (may.at().clone(), may.marker(), self.clock.now());
        self.pass(90).await;
        let never = self.find(step, &at, &marker, started_at).await;
        let may = self.world.cleared(step).await;
        let (at, marker, started_at) = (may.at().clone(), may.marker(), self.clock.now());
        self.world.lose_answer(api);
        let order = Order { step, at: &at, marker: &marker, started_at, age: Duration::ZERO };
        let error = action.call(&self.world.hands(), may, &order).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error:?}");
        self.pass(2).await;
        (self.find(step, &at, &marker, started_at).await, never)
    }
}

fn done(outcome: Result<StepOutcome, Reason>) -> Value {
    match outcome.unwrap() {
        StepOutcome::Done { evidence } => evidence,
        other @ (StepOutcome::Refused { .. } | StepOutcome::Unknown { .. }) => panic!("{other:?}"),
    }
}

fn document(name: &str, params: &Value) -> (Value, Value) {
    (json!({ "document": name, "params": params }), json!({ "document": name }))
}

#[tokio::test(start_paused = true)]
async fn reclaiming_lowers_the_disk_to_its_target() {
    let lab = Lab::new();
    let (params, may) =
        document("untoil-disk-reclaim", &json!({ "Mount": "/", "TargetUsedPct": 80 }));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let evidence = done(lab.run(&step).await);
    assert_eq!(evidence["code"], "reached");
    assert!(lab.world.disk_used(HOST, "/") < 80.5);
    let effects = lab.world.effects();
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0].marker, lab.world.calls()[0].marker);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_enough_is_done_and_its_evidence_says_so() {
    let lab = Lab::new();
    lab.world.add_disk(HOST, "/data", (95.0, 2.0, 0.0));
    let (params, may) = document("untoil-disk-reclaim", &json!({ "Mount": "/data" }));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let evidence = done(lab.run(&step).await);
    assert_eq!(evidence["code"], "not_enough");
    assert_eq!((&evidence["ok"], &evidence["acted"]), (&json!(false), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn the_culprit_is_found_restarted_and_innocent_after_that() {
    let lab = Lab::new();
    let target = format!("ec2/{HOST}");
    let (params, may) = document("untoil-cpu-culprit", &json!({}));
    let step = lab.plan("ssm.document", &target, params, may).await.unwrap();
    let evidence = done(lab.run(&step).await);
    assert_eq!(evidence["units"][0]["unit"], "newrelic-infra.service");
    let unit = json!({ "Unit": "newrelic-infra.service" });
    let (params, may) = document("untoil-restart-unit", &unit);
    let step = lab.plan("ssm.document", &target, params, may).await.unwrap();
    assert!(lab.world.cpu(HOST) > 99.0);
    assert_eq!(done(lab.run(&step).await)["code"], "restarted");
    assert!(lab.world.cpu(HOST) < 60.0);
    lab.pass(10).await;
    let outcome = lab.run(&step).await.unwrap();
    assert!(matches!(outcome, StepOutcome::Refused { code, .. } if code == "not_the_culprit_now"));
    assert_eq!(lab.world.effects().len(), 1, "looking and refusing are no effects");
}

#[tokio::test(start_paused = true)]
async fn the_courier_is_not_restarted_while_it_carries_another_command() {
    let lab = Lab::new();
    let target = format!("ec2/{HOST}");
    let (params, may) = document("untoil-cpu-culprit", &json!({}));
    let look = lab.plan("ssm.document", &target, params, may).await.unwrap();
    let unit = json!({ "Unit": "amazon-ssm-agent.service" });
    let (params, may) = document("untoil-restart-unit", &unit);
    let restart = lab.plan("ssm.document", &target, params, may).await.unwrap();
    let action = lab.catalogue.of(&look.action).unwrap();
    let may = lab.world.cleared(&look).await;
    let (at, marker, now) = (may.at().clone(), may.marker(), lab.clock.now());
    let order =
        Order { step: &look, at: &at, marker: &marker, started_at: now, age: Duration::ZERO };
    action.call(&lab.world.hands(), may, &order).await.unwrap();
    lab.pass(3).await;
    let reason = lab.run(&restart).await.unwrap_err();
    assert!(
        matches!(&reason, Reason::PrecheckFailed { check, .. } if check == "courier_idle"),
        "{reason:?}"
    );
    lab.pass(30).await;
    assert_eq!(done(lab.run(&restart).await)["code"], "restart_scheduled");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_is_not_sent_anything() {
    let lab = Lab::new();
    let (params, may) = document("untoil-disk-diag", &json!({}));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    lab.world.set_online(HOST, "ConnectionLost");
    assert_eq!(lab.run(&step).await.unwrap_err().code(), "precheck_failed");
    assert!(lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_not_delivered_is_of_unknown_outcome() {
    let lab = Lab::new();
    let (params, may) = document("untoil-disk-reclaim", &json!({}));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let action = lab.catalogue.of(&step.action).unwrap();
    let may = lab.world.cleared(&step).await;
    let (at, marker, started_at) = (may.at().clone(), may.marker(), lab.clock.now());
    lab.world.set_online(HOST, "ConnectionLost");
    let order = Order { step: &step, at: &at, marker: &marker, started_at, age: Duration::ZERO };
    let handle = action.call(&lab.world.hands(), may, &order).await.unwrap();
    lab.pass(70).await;
    lab.world.set_online(HOST, "Online");
    lab.pass(30).await;
    let ended = action.follow(&lab.world.eyes(), &order, &handle).await.unwrap();
    assert!(matches!(ended, Following::Ended(StepOutcome::Unknown { .. })), "{ended:?}");
    assert!(lab.world.effects().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_sent_twice_acts_once() {
    let lab = Lab::new();
    let (params, may) = document("untoil-disk-reclaim", &json!({}));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let action = lab.catalogue.of(&step.action).unwrap();
    let now = lab.clock.now();
    for _ in 0..2 {
        let may = untoil_world::cleared_at(&step, now).await;
        let (at, marker) = (may.at().clone(), may.marker());
        let order =
            Order { step: &step, at: &at, marker: &marker, started_at: now, age: Duration::ZERO };
        action.call(&lab.world.hands(), may, &order).await.unwrap();
        lab.pass(40).await;
    }
    assert_eq!((lab.world.calls().len(), lab.world.effects().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_command_is_found_by_its_comment_once_ssm_shows_it() {
    let lab = Lab::new();
    lab.world.set_lag(Duration::from_secs(10));
    let (params, may) = document("untoil-disk-reclaim", &json!({}));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let action = lab.catalogue.of(&step.action).unwrap();
    let may = lab.world.cleared(&step).await;
    let (at, marker, started_at) = (may.at().clone(), may.marker(), lab.clock.now());
    lab.world.lose_answer("ssm:SendCommand");
    let order = Order { step: &step, at: &at, marker: &marker, started_at, age: Duration::ZERO };
    action.call(&lab.world.hands(), may, &order).await.unwrap_err();
    assert_eq!(lab.find(&step, &at, &marker, started_at).await, Found::NotSeen);
    lab.pass(15).await;
    let next_try = at.run.marker(0, 2);
    let found = lab.find(&step, &at, &next_try, started_at).await;
    let Found::Sent(handle) = found else { panic!("{found:?}") };
    lab.pass(30).await;
    let ended = action.follow(&lab.world.eyes(), &order, &handle).await.unwrap();
    assert!(matches!(ended, Following::Ended(StepOutcome::Done { .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_count_that_has_not_changed_yet_proves_nothing_within_a_minute() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let step = lab.plan("ecs.scale", target, json!({ "by": 1 }), scale_may()).await.unwrap();
    let may = lab.world.cleared(&step).await;
    let (at, marker, started_at) = (may.at().clone(), may.marker(), lab.clock.now());
    lab.pass(30).await;
    assert_eq!(lab.find(&step, &at, &marker, started_at).await, Found::NotSeen);
    lab.pass(30).await;
    assert_eq!(lab.find(&step, &at, &marker, started_at).await, Found::NotSent);
}

#[tokio::test(start_paused = true)]
async fn a_command_never_sent_is_known_as_such_only_after_a_minute() {
    let lab = Lab::new();
    let (params, may) = document("untoil-disk-diag", &json!({}));
    let step = lab.plan("ssm.document", &format!("ec2/{HOST}"), params, may).await.unwrap();
    let may = lab.world.cleared(&step).await;
    let (at, marker, started_at) = (may.at().clone(), may.marker(), lab.clock.now());
    lab.pass(59).await;
    assert_eq!(lab.find(&step, &at, &marker, started_at).await, Found::NotSeen);
    lab.pass(1).await;
    assert_eq!(lab.find(&step, &at, &marker, started_at).await, Found::NotSent);
}

fn scale_may() -> Value {
    json!({ "cluster": "workers", "service": "contact-sync", "max": 20, "step": 4, "lease": "2h" })
}

#[tokio::test(start_paused = true)]
async fn scaling_out_settles_and_is_given_back_exactly() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let step = lab.plan("ecs.scale", target, json!({ "by": 3 }), scale_may()).await.unwrap();
    assert_eq!(done(lab.run(&step).await), json!({ "before": 4, "after": 7, "running": 7 }));
    let lease = Lease { step: 2, ..step.lease.clone().unwrap() };
    let action = lab.catalogue.of(&step.action).unwrap();
    let found = action.leased_value(&lab.world.eyes(), &lease).await.unwrap();
    let back = action.give_back(&lease, found).unwrap();
    let says: Vec<_> = back.iter().map(|step| (step.says.as_str(), step.after.as_secs())).collect();
    assert_eq!(says, [("back: desired count 7 → 5", 0), ("back: desired count 5 → 4", 120)]);
    for step in &back {
        done(lab.run(step).await);
    }
    assert_eq!(lab.world.service_counts("workers", "contact-sync"), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_count_that_somebody_changed_is_left_alone() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let step = lab.plan("ecs.scale", target, json!({ "by": 4 }), scale_may()).await.unwrap();
    lab.world.set_service_desired("workers", "contact-sync", 6);
    let reason = lab.run(&step).await.unwrap_err();
    assert!(matches!(&reason, Reason::PrecheckFailed { check, .. } if check == "desired_changed"));
    let action = lab.catalogue.of(&step.action).unwrap();
    let lease = step.lease.unwrap();
    let reason = action.give_back(&lease, 6).unwrap_err();
    assert_eq!(
        reason,
        Reason::LeaseChanged { target: target.parse().unwrap(), expected: 8, found: 6 }
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_during_a_deployment() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let may = json!({ "cluster": "workers", "service": "contact-sync" });
    let redeploy = lab.plan("ecs.redeploy", target, json!({}), may).await.unwrap();
    let scale = lab.plan("ecs.scale", target, json!({ "by": 1 }), scale_may()).await.unwrap();
    let (found, never) = lab.finds(&redeploy, "ecs:UpdateService").await;
    assert!(matches!(found, Found::Sent(_)), "{found:?}");
    assert_eq!(never, Found::NotSeen, "a second deployment is for a person to decide");
    for step in [&redeploy, &scale] {
        assert_eq!(lab.run(step).await.unwrap_err().code(), "precheck_failed");
    }
    lab.pass(120).await;
    assert!(done(lab.run(&redeploy).await)["deployment"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_task_is_stopped_unless_others_are_missing() {
    let lab = Lab::new();
    let arn = lab.world.tasks("workers", "contact-sync")[0].clone();
    let params = json!({ "task": arn, "reason": "memory leak" });
    let may = json!({ "cluster": "workers", "service": "contact-sync" });
    let step = lab.plan("ecs.stop_task", "ecs/workers/contact-sync", params, may).await.unwrap();
    let evidence = done(lab.run(&step).await);
    assert!(evidence["stopped_reason"].as_str().unwrap().starts_with("untoil:"), "{evidence}");
    lab.pass(60).await;
    assert_eq!(lab.world.service_counts("workers", "contact-sync"), (4, 4));
    let arn = lab.world.tasks("workers", "contact-sync")[0].clone();
    lab.world.set_service_room("workers", "contact-sync", false);
    lab.world.set_service_desired("workers", "contact-sync", 5);
    lab.pass(5).await;
    let step = Step {
        params: [("task".into(), json!(arn)), ("reason".into(), json!("x"))].into(),
        ..step
    };
    let reason = lab.run(&step).await.unwrap_err();
    assert!(
        matches!(&reason, Reason::PrecheckFailed { check, .. } if check == "other_tasks_running")
    );
}

#[tokio::test(start_paused = true)]
async fn a_group_grows_and_replaces_within_its_bounds() {
    let lab = Lab::new();
    let may = json!({ "group": "web", "max": 6, "step": 2, "lease": "1h" });
    let step = lab.plan("asg.set_desired", "asg/web", json!({ "by": 1 }), may).await.unwrap();
    assert_eq!(done(lab.run(&step).await), json!({ "before": 4, "after": 5, "healthy": 5 }));
    let sick = lab.world.members("web")[0].clone();
    lab.world.set_healthy(&sick, false);
    let (params, may) = (json!({ "instance": sick }), json!({ "group": "web" }));
    let step = lab.plan("asg.replace_instance", "asg/web", params, may).await.unwrap();
    assert_eq!(done(lab.run(&step).await)["replaced"], json!(sick));
    assert!(!lab.world.members("web").contains(&sick));
    let other = lab.world.members("web");
    for id in &other[..2] {
        lab.world.set_healthy(id, false);
    }
    let step = Step { params: [("instance".into(), json!(other[2]))].into(), ..step };
    let reason = lab.run(&step).await.unwrap_err();
    assert!(
        matches!(&reason, Reason::PrecheckFailed { check, .. } if check == "others_healthy"),
        "{reason:?}"
    );
    lab.world.suspend("web", "Launch");
    let reason = lab.run(&step).await.unwrap_err();
    assert!(matches!(&reason, Reason::PrecheckFailed { check, .. } if check == "not_suspended"));
}

#[tokio::test(start_paused = true)]
async fn every_lost_answer_is_found_and_every_unsent_call_is_told_apart() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let scale = lab.plan("ecs.scale", target, json!({ "by": 2 }), scale_may()).await.unwrap();
    let size_may = json!({ "group": "web", "max": 6, "step": 2 });
    let size = lab.plan("asg.set_desired", "asg/web", json!({ "by": 1 }), size_may).await.unwrap();
    let instance = json!({ "instance": lab.world.members("web")[0] });
    let replace = lab
        .plan("asg.replace_instance", "asg/web", instance, json!({ "group": "web" }))
        .await
        .unwrap();
    let task = json!({ "task": lab.world.tasks("workers", "contact-sync")[0], "reason": "x" });
    let may = json!({ "cluster": "workers", "service": "contact-sync" });
    let stop = lab.plan("ecs.stop_task", target, task, may).await.unwrap();
    let may = json!({ "document": "Team-Fix", "version": "3", "target_param": "InstanceId" });
    let host = format!("ec2/{HOST}");
    let book =
        lab.plan("ssm.automation", &host, json!({ "document": "Team-Fix" }), may).await.unwrap();
    for (step, api) in [
        (scale, "ecs:UpdateService"),
        (size, "autoscaling:SetDesiredCapacity"),
        (replace, "autoscaling:TerminateInstanceInAutoScalingGroup"),
        (stop, "ecs:StopTask"),
        (book, "ssm:StartAutomationExecution"),
    ] {
        let (found, never) = lab.finds(&step, api).await;
        assert!(matches!(found, Found::Sent(_)), "{}: {found:?}", step.says);
        assert_eq!(never, Found::NotSent, "{}", step.says);
    }
    assert_eq!(lab.world.effects().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_runbook_started_again_is_the_same_execution() {
    let lab = Lab::new();
    let may = json!({ "document": "Team-Fix", "version": "3", "target_param": "InstanceId" });
    let host = format!("ec2/{HOST}");
    let step =
        lab.plan("ssm.automation", &host, json!({ "document": "Team-Fix" }), may).await.unwrap();
    let action = lab.catalogue.of(&step.action).unwrap();
    let now = lab.clock.now();
    let mut handles = Vec::new();
    for _ in 0..2 {
        let may = untoil_world::cleared_at(&step, now).await;
        let (at, marker) = (may.at().clone(), may.marker());
        let order =
            Order { step: &step, at: &at, marker: &marker, started_at: now, age: Duration::ZERO };
        handles.push(action.call(&lab.world.hands(), may, &order).await.unwrap());
    }
    assert_eq!(handles[0], handles[1]);
    assert_eq!(lab.world.effects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn words_and_requests_go_out_once() {
    let lab = Lab::new();
    let (host, text) = (format!("ec2/{HOST}"), json!({ "text": "look here" }));
    let say = lab.plan("slack.message", &host, text, json!({})).await.unwrap();
    assert!(done(lab.run(&say).await)["message"].is_string());
    assert_eq!(lab.world.said(), ["look here"]);
    let params =
        json!({ "method": "POST", "url": "https://ops.example.com/x", "body": { "a": "b" } });
    let may = json!({ "host": "ops.example.com", "idempotent": true });
    let step = lab.plan("http.request", "cache/front", params, may).await.unwrap();
    assert_eq!(done(lab.run(&step).await)["status"], json!(200));
    let request = &lab.world.requests()[0];
    assert_eq!(request.body, r#"{"a":"b"}"#);
    let marker = &lab.world.calls()[1].marker;
    assert_eq!(marker.strip_suffix(":1"), Some(request.key.as_str()), "a repeat has the same key");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_what_is_missing_and_nothing_happens() {
    let lab = Lab::new();
    let target = "ecs/workers/contact-sync";
    let step = lab.plan("ecs.scale", target, json!({ "by": 1 }), scale_may()).await.unwrap();
    let action = lab.catalogue.of(&step.action).unwrap();
    let api = "ecs:UpdateService";
    lab.world.refuse(api, "AccessDeniedException");
    lab.world.throttle(api, 1);
    lab.world.fail(api, Fault::NotSent);
    let mut said = Vec::new();
    for _ in 0..3 {
        let may = lab.world.cleared(&step).await;
        let (at, marker, now) = (may.at().clone(), may.marker(), lab.clock.now());
        let order =
            Order { step: &step, at: &at, marker: &marker, started_at: now, age: Duration::ZERO };
        said.push(action.call(&lab.world.hands(), may, &order).await.unwrap_err());
    }
    assert!(
        matches!(&said[0], CallError::Refused { missing: Some(missing), .. } if missing.action == api)
    );
    assert!(matches!(said[1], CallError::Throttled { .. }));
    assert!(matches!(said[2], CallError::NotSent { .. }));
    assert!(lab.world.effects().is_empty() && lab.world.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn facts_tell_every_field_that_they_promise() {
    let lab = Lab::new();
    lab.pass(300).await;
    let instance = lab.world.members("web")[0].clone();
    for (kind, args) in [
        (FactKind::SsmInstance, vec![("instance", instance.as_str())]),
        (FactKind::EcsService, vec![("cluster", "workers"), ("service", "contact-sync")]),
        (FactKind::AsgGroup, vec![("group", "web")]),
        (
            FactKind::CloudwatchMetric,
            vec![
                ("namespace", "CWAgent"),
                ("metric", "disk_used_percent"),
                ("dimensions", "InstanceId=i-0a1b2c3d4e5f67890, path=/"),
            ],
        ),
    ] {
        let args = args.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let request = FactRequest { name: "it".into(), kind, args };
        let fact: FactValue = request.read(&lab.world.eyes(), lab.clock.now()).await.unwrap();
        let told: Vec<_> = fact.value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut promised = kind.fields().to_vec();
        promised.sort_unstable();
        assert_eq!(told, promised, "{}", kind.name());
        let parents: Vec<_> = request.parents(&fact).iter().map(ToString::to_string).collect();
        let expected =
            if kind == FactKind::SsmInstance { vec!["asg/web".to_owned()] } else { vec![] };
        assert_eq!(parents, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fact_that_cannot_be_read_is_an_error_and_never_a_default() {
    let lab = Lab::new();
    let read = |kind, args: &[(&str, &str)]| {
        let args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let request = FactRequest { name: "it".into(), kind, args };
        let (eyes, now) = (lab.world.eyes(), lab.clock.now());
        async move { request.read(&eyes, now).await }
    };
    let queue = [("namespace", "AWS/SQS"), ("metric", "Visible")];
    let odd = [("namespace", "AWS/SQS"), ("metric", "Visible"), ("period", "90s")];
    for result in [
        read(FactKind::SsmInstance, &[("instance", "i-00000000")]).await,
        read(FactKind::AsgGroup, &[]).await,
        read(FactKind::CloudwatchMetric, &queue).await,
        read(FactKind::CloudwatchMetric, &odd).await,
    ] {
        assert!(result.is_err(), "{result:?}");
    }
    lab.world.fail("ecs:DescribeServices", Fault::Throttle);
    let args = [("cluster", "workers"), ("service", "contact-sync")];
    assert!(read(FactKind::EcsService, &args).await.is_err());
    assert!(read(FactKind::EcsService, &args).await.is_ok());
}
