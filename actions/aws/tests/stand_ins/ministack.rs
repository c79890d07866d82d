//! The calls that moto lacks or does otherwise, against a second, independent stand-in.

use std::collections::BTreeMap;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StateValue};
use aws_sdk_ecs::types::{AssignPublicIp, AwsVpcConfiguration, LaunchType, NetworkConfiguration};
use jiff::SignedDuration;
use untoil_actions::{CallError, MetricQuery, ReadError};
use untoil_clock::{Clock as _, SystemClock};

use crate::clearance::cleared;
use crate::moto::command;
use crate::operator::{NO_INSTANCE, Operator};
use crate::server::{ministack, reach};

#[tokio::test]
async fn ministack_and_moto_agree_on_ecs_and_groups() {
    let Some(ministack) = ministack("false").await else { return };
    let operator = Operator::new(ministack.port).await;
    operator.service().await;
    operator.group().await;
    let aws = reach(ministack.port).await;

    let may = cleared("ecs.scale", "ecs/workers/contact-sync").await;
    aws.writes().ecs.set_desired(may, "workers", "contact-sync", 4).await.unwrap();
    assert_eq!(operator.wanted_tasks().await, 4);
    let seen = aws.eyes().ecs.service("workers", "contact-sync").await.unwrap();
    assert_eq!(seen.desired, 4);
    let absent = aws.eyes().ecs.service("workers", "nobody").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");

    let may = cleared("asg.set_desired", "asg/web").await;
    aws.writes().asg.set_desired(may, "web", 3).await.unwrap();
    assert_eq!(operator.group_now().await.0, 3);
    assert_eq!(aws.eyes().asg.group("web").await.unwrap().desired, 3);
}

#[tokio::test]
async fn an_instance_that_systems_manager_does_not_know_is_refused_and_not_found() {
    let Some(ministack) = ministack("false").await else { return };
    let aws = reach(ministack.port).await;
    let absent = aws.eyes().ssm.instance(NO_INSTANCE).await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
    let may = cleared("ssm.document", &format!("ec2/{NO_INSTANCE}")).await;
    let refused = aws.writes().ssm.send_command(may, command("1", None)).await.unwrap_err();
    let CallError::Refused { code, missing: None, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(code, "InvalidInstanceId");
}

#[tokio::test]
async fn a_composite_alarm_is_read_like_any_other() {
    let Some(ministack) = ministack("false").await else { return };
    let operator = Operator::new(ministack.port).await;
    operator.alarm().await;
    let composite = operator.cloudwatch.put_composite_alarm().alarm_name("sync is behind");
    composite.alarm_rule("ALARM(\"backlog\")").send().await.unwrap();
    let aws = reach(ministack.port).await;
    let seen = aws.eyes().metrics.alarm("sync is behind").await.unwrap();
    assert!(["OK", "INSUFFICIENT_DATA"].contains(&seen.state.as_str()), "{seen:?}");
}

#[tokio::test]
async fn a_task_is_stopped_with_the_marker_as_its_reason() {
    let Some(ministack) = ministack("false").await else { return };
    let operator = Operator::new(ministack.port).await;
    operator.service().await;
    let aws = reach(ministack.port).await;
    let (eyes, hands) = (aws.eyes().ecs, aws.writes().ecs);
    let target = "ecs/workers/contact-sync";
    let public = AssignPublicIp::Disabled;
    let network = AwsVpcConfiguration::builder().subnets("subnet-1").assign_public_ip(public);
    let network = NetworkConfiguration::builder().awsvpc_configuration(network.build().unwrap());
    let task = operator.ecs.run_task().cluster("workers").task_definition("contact-sync");
    let task = task.launch_type(LaunchType::Fargate).network_configuration(network.build());
    let task = task.send().await.unwrap().tasks()[0].task_arn().unwrap().to_owned();
    let may = cleared("ecs.stop_task", target).await;
    let reason = format!("{} leaking", may.marker());
    hands.stop_task(may, "workers", &task, &reason).await.unwrap();
    let told = operator.ecs.describe_tasks().cluster("workers").tasks(&task).send().await.unwrap();
    assert_eq!(told.tasks()[0].stopped_reason(), Some(reason.as_str()));
    let seen = eyes.task("workers", &task).await.unwrap();
    assert_eq!((seen.desired_status.as_str(), seen.stopped_reason), ("STOPPED", reason));

    let absent = task.replace(|c: char| c.is_ascii_digit(), "0");
    let absent = eyes.task("workers", &absent).await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");
}

#[tokio::test]
async fn a_metric_and_an_alarm_are_read() {
    let Some(ministack) = ministack("false").await else { return };
    let operator = Operator::new(ministack.port).await;
    operator.alarm().await;
    let aws = reach(ministack.port).await;
    let eyes = aws.eyes().metrics;

    let state = operator.cloudwatch.set_alarm_state().alarm_name("backlog");
    let state = state.state_value(StateValue::Alarm).state_reason("threshold crossed");
    state.send().await.unwrap();
    let seen = eyes.alarm("backlog").await.unwrap();
    assert_eq!((seen.state.as_str(), seen.reason.as_str()), ("ALARM", "threshold crossed"));
    assert!(seen.changed_at.is_some());
    let absent = eyes.alarm("nobody").await.unwrap_err();
    assert!(matches!(absent, ReadError::NotFound { .. }), "{absent:?}");

    let now = SystemClock.now();
    let dimension = Dimension::builder().name("Queue").value("main").build();
    for (minutes, value) in [(3, 10.0), (2, 250.0), (1, 90.0)] {
        let at = now - SignedDuration::from_mins(minutes);
        let at = aws_smithy_types::DateTime::from_secs(at.as_second());
        let datum = MetricDatum::builder().metric_name("PendingContacts").value(value);
        let datum = datum.timestamp(at).unit(StandardUnit::Count).dimensions(dimension.clone());
        let put = operator.cloudwatch.put_metric_data().namespace("Remember/ContactSync");
        put.metric_data(datum.build()).send().await.unwrap();
    }
    let query = MetricQuery {
        namespace: "Remember/ContactSync".into(),
        metric: "PendingContacts".into(),
        dimensions: BTreeMap::from([("Queue".into(), "main".into())]),
        statistic: "Maximum".into(),
        period_secs: 60,
        from: now - SignedDuration::from_mins(10),
        to: now + SignedDuration::from_mins(1),
    };
    let points = eyes.metric(&query).await.unwrap();
    let values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [10.0, 250.0, 90.0], "oldest first");
    let other = MetricQuery { metric: "Nobody".into(), ..query };
    assert_eq!(eyes.metric(&other).await.unwrap(), []);
}
