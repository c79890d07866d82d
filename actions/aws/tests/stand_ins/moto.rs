//! Every port call that moto has, once through, and what moto then says.
//!
//! Not here, but in [`crate::ministack`]: ECS tasks, as moto answers them with numbers where the SDK
//! reads texts, and CloudWatch, whose SDK speaks CBOR, which moto does not.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use untoil_actions::{CallError, CommandState, ReadError, SendCommand};
use untoil_clock::{Clock as _, SystemClock};

use crate::clearance::{cleared, cleared_at};
use crate::operator::{NO_INSTANCE, Operator};
use crate::server::{moto, reach};

pub(crate) fn command(version: &str, sha256: Option<String>) -> SendCommand {
    SendCommand {
        document: "untoil-test".into(),
        version: version.into(),
        sha256,
        instance: NO_INSTANCE.into(),
        params: BTreeMap::from([("RunId".into(), "01J-1".into())]),
        delivery_timeout: Duration::from_mins(1),
    }
}

#[tokio::test]
async fn an_ecs_service_is_scaled_and_redeployed() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.service().await;
    let aws = reach(moto.port).await;
    let (eyes, hands) = (aws.eyes().ecs, aws.writes().ecs);

    let before = eyes.service("workers", "contact-sync").await.unwrap();
    assert_eq!((before.desired, before.status.as_str()), (2, "ACTIVE"));
    assert_eq!(before.controller, "ECS");
    let target = "ecs/workers/contact-sync";

    let may = cleared("ecs.scale", target).await;
    hands.set_desired(may, "workers", "contact-sync", 6).await.unwrap();
    assert_eq!(operator.wanted_tasks().await, 6);
    assert_eq!(eyes.service("workers", "contact-sync").await.unwrap().desired, 6);

    let may = cleared("ecs.redeploy", target).await;
    let deployment = hands.redeploy(may, "workers", "contact-sync").await.unwrap();
    let after = eyes.service("workers", "contact-sync").await.unwrap();
    assert_eq!(after.deployments[0].status, "PRIMARY");
    assert_eq!(after.deployments[0].id, deployment);

    // 200 with `failures`, and errors.
    let absent = eyes.service("workers", "nobody").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
    let absent = eyes.service("nobody", "contact-sync").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
    let may = cleared("ecs.scale", "ecs/workers/nobody").await;
    let refused = hands.set_desired(may, "workers", "nobody", 3).await.unwrap_err();
    let CallError::Refused { code, missing: None, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(code, "ServiceNotFoundException");
}

#[tokio::test]
async fn a_group_is_resized_and_an_instance_of_it_replaced() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.group().await;
    let aws = reach(moto.port).await;
    let (eyes, hands) = (aws.eyes().asg, aws.writes().asg);

    let before = eyes.group("web").await.unwrap();
    assert_eq!((before.min, before.desired, before.max), (1, 2, 4));
    assert_eq!(before.instances.len(), 2);
    assert!(before.instances.iter().all(|one| one.lifecycle == "InService" && !one.protected));

    let may = cleared("asg.set_desired", "asg/web").await;
    hands.set_desired(may, "web", 3).await.unwrap();
    let (wanted, instances) = operator.group_now().await;
    assert_eq!((wanted, instances.len()), (3, 3));

    let victim = &instances[0];
    assert_eq!(eyes.group_of(victim).await.unwrap().as_deref(), Some("web"));
    let may = cleared("asg.replace_instance", "asg/web").await;
    hands.replace_instance(may, victim).await.unwrap();
    let (wanted, instances) = operator.group_now().await;
    assert_eq!(wanted, 3, "the group did not shrink");
    assert!(!instances.contains(victim));
    assert_eq!(instances.len(), 3, "another took its place");

    let absent = eyes.group("nobody").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
    assert_eq!(eyes.group_of(NO_INSTANCE).await.unwrap(), None);
}

#[tokio::test]
async fn a_command_is_sent_once_followed_and_found_again_by_its_marker() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.document().await;
    let aws = reach(moto.port).await;
    let (eyes, hands) = (aws.eyes().ssm, aws.writes().ssm);

    let hash = eyes.document_hash("untoil-test", "1").await.unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    let absent = eyes.document_hash("untoil-nobody", "1").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");

    let began = SystemClock.now() - SignedDuration::from_mins(2);
    let target = format!("ec2/{NO_INSTANCE}");
    let may = cleared("ssm.document", &target).await;
    let marker = may.marker();
    let id = hands.send_command(may, command("1", Some(hash))).await.unwrap();

    let told = operator.ssm.list_commands().command_id(&id).send().await.unwrap();
    let told = &told.commands()[0];
    assert_eq!(told.comment(), Some(marker.as_str()));
    assert_eq!(told.instance_ids(), [NO_INSTANCE]);
    assert_eq!((told.max_concurrency(), told.max_errors()), (Some("1"), Some("0")));
    assert_eq!(told.timeout_seconds(), Some(60));

    let seen = eyes.command(&id, NO_INSTANCE).await.unwrap();
    assert_eq!((seen.state, seen.exit_code), (CommandState::Success, Some(0)));
    assert_eq!(seen.comment, marker);
    let found = eyes.commands_since(NO_INSTANCE, began).await.unwrap();
    let found: Vec<_> = found.iter().map(|one| (&one.id, &one.comment)).collect();
    assert_eq!(found, [(&id, &marker)]);

    // AWS's own word for an unknown command is tested in `faults`.
    let absent = eyes.command("00000000-0000-0000-0000-000000000000", NO_INSTANCE).await;
    let Err(ReadError::Refused { code, missing: None, .. }) = &absent else { panic!("{absent:?}") };
    assert_eq!(code, "InvalidCommandId");
}

#[tokio::test]
async fn what_would_be_wrong_everywhere_is_refused_before_anything_is_sent() {
    let Some(moto) = moto().await else { return };
    let operator = Operator::new(moto.port).await;
    operator.group().await;
    operator.service().await;
    let aws = reach(moto.port).await;
    let (eyes, writes) = (aws.eyes(), aws.writes());
    let code = |error: CallError| match error {
        CallError::Refused { code, .. } => code,
        other @ (CallError::Throttled { .. }
        | CallError::NotSent { .. }
        | CallError::Unknown { .. }) => other.to_string(),
    };

    let target = format!("ec2/{NO_INSTANCE}");
    let may = cleared("ssm.document", &target).await;
    let error = writes.ssm.send_command(may, command("$LATEST", None)).await.unwrap_err();
    assert_eq!(code(error), "VersionNotPinned");
    let may = cleared("ssm.document", "ec2/i-0000aaaa").await;
    let error = writes.ssm.send_command(may, command("1", None)).await.unwrap_err();
    assert_eq!(code(error), "ClearanceMismatch");
    let may = cleared("asg.set_desired", "asg/other").await;
    let error = writes.asg.set_desired(may, "web", 3).await.unwrap_err();
    assert_eq!(code(error), "ClearanceMismatch");
    let may = cleared("ecs.stop_task", "ecs/other/x").await;
    let error = writes.ecs.stop_task(may, "workers", "arn:x", "why").await.unwrap_err();
    assert_eq!(code(error), "ClearanceMismatch");
    let may = cleared("asg.replace_instance", "asg/web").await;
    let error = writes.asg.replace_instance(may, "").await.unwrap_err();
    assert_eq!(code(error), "InvalidInstanceId");
    let may = cleared("asg.replace_instance", "ec2/i-0000aaaa").await;
    let error = writes.asg.replace_instance(may, NO_INSTANCE).await.unwrap_err();
    assert_eq!(code(error), "ClearanceMismatch");
    let may = cleared("ecs.scale", "ecs/workers/contact-sync").await;
    let error = writes.ecs.set_desired(may, "workers", "contact-sync", -1).await.unwrap_err();
    assert_eq!(code(error), "InvalidCount");

    let past = SystemClock.now() - SignedDuration::from_hours(1);
    let may = cleared_at("ecs.scale", "ecs/workers/contact-sync", past).await;
    let late = writes.ecs.set_desired(may, "workers", "contact-sync", 9).await.unwrap_err();
    assert!(matches!(late, CallError::NotSent { .. }), "{late:?}");
    assert_eq!((operator.wanted_tasks().await, operator.group_now().await.0), (2, 2));

    for error in [
        eyes.asg.group("").await.unwrap_err(),
        eyes.asg.group_of("").await.unwrap_err(),
        eyes.ssm.instance("").await.unwrap_err(),
        eyes.ssm.commands_since("", past).await.unwrap_err(),
        eyes.metrics.alarm("").await.unwrap_err(),
        eyes.ecs.service("workers", "").await.unwrap_err(),
    ] {
        assert!(
            matches!(error, ReadError::Refused { .. }),
            "an empty name is everything: {error:?}"
        );
    }
}
