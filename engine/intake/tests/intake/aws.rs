//! AWS's own events: what the corpus gives, and what ends which alarm.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use untoil_intake::{Decoded, decode};
use untoil_model::{Alarm, AlarmState};

use crate::corpus::{assert_table, bodies, corpus, line};
use crate::goldens::delivery;

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn every_aws_event_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let mut found = BTreeMap::new();
    let folders = ["aws-events", "aws-events/signed"];
    let paths = folders.into_iter().flat_map(|folder| bodies(&corpus, folder));
    for path in paths.filter(|path| path != "aws-events/signed") {
        let body = std::fs::read(corpus.join(&path)).unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let records = event["Records"].as_array().cloned().unwrap_or_default();
        let one = |record: &Value| line("sns", record["Sns"].to_string().as_bytes());
        let lines: Vec<String> = if records.is_empty() {
            vec![line("aws", &body)]
        } else {
            records.iter().map(one).collect()
        };
        found.insert(path, lines.join("\n"));
    }
    assert_table(
        &found,
        &expect_test::expect![[r#"
        aws-events/aha-event.json
        note: not an alarm but an event of `aha`: AWS_VPN_REDUNDANCY_LOSS

        aws-events/asg-instance-refresh-failed.json
        unreadable: `/time` is `yyyy-mm-ddThh:mm:ssZ`, not a time as its sender documents it

        aws-events/asg-launch-lifecycle-action.json
        note: not an alarm but an event of `aws.autoscaling`: EC2 Instance-launch Lifecycle Action

        aws-events/asg-launch-unsuccessful.json
        unreadable: `/time` is `yyyy-mm-ddThh:mm:ssZ`, not a time as its sender documents it

        aws-events/asg-lifecycle-sns-text.txt
        note: not an alarm but an event of `AWS`: autoscaling:EC2_INSTANCE_LAUNCHING

        aws-events/asg-sns-lambda.json
        resolved `Auto Scaling terminate autoscale-group-name` at 2016-09-16T12:39:01.604Z | aws.autoscaling/terminate [AutoScalingGroupName=autoscale-group-name] | - of - | us-east-1

        aws-events/asg-terminate-lifecycle-action.json
        note: not an alarm but an event of `aws.autoscaling`: EC2 Instance-terminate Lifecycle Action

        aws-events/asg-terminate-successful.json
        unreadable: `/time` is `yyyy-mm-ddThh:mm:ssZ`, not a time as its sender documents it

        aws-events/aws-backup-sns.json
        resolved `Backup of vol-012f345df6789012e` at 2019-08-02T18:46:02.788Z | aws.backup/backup_job [resource=arn:aws:ec2:us-west-1:123456789012:volume/vol-012f345df6789012e] | - of - | us-west-1
        firing `Backup of vol-012f345df6789012e` at 2019-08-02T18:46:02.788Z | aws.backup/backup_job [resource=arn:aws:ec2:us-west-1:123456789012:volume/vol-012f345df6789012e] | - of - | us-west-1
        firing `Backup of vol-012f345df6789012e` at 2019-08-02T18:46:02.788Z | aws.backup/backup_job [resource=arn:aws:ec2:us-west-1:123456789012:volume/vol-012f345df6789012e] | - of - | us-west-1
        firing `Backup of 2c3456c3-f33d-5ec6-cdc7-ccd890fe2345` at 2026-05-19T15:25:00.622Z | aws.backup/copy_job [resource=2c3456c3-f33d-5ec6-cdc7-ccd890fe2345] | - of - | us-east-1

        aws-events/dms-sns.json
        firing `DMS hello-world` at 2019-02-12T15:45:24.091Z | aws.dms/replication [SourceId=hello-world] | - of - | eu-west-1

        aws-events/ec2-instance-state-change.json
        note: not an alarm but an event of `aws.ec2`: pending

        aws-events/ecs-deployment-failed.json
        firing `ECS deployment default/servicetest` at 2020-05-23T12:31:14Z | aws.ecs/deployment [ClusterName=default, ServiceName=servicetest] | - of - | us-west-2

        aws-events/ecs-service-placement-failure.json
        firing `ECS service default/servicetest` at 2019-11-19T19:55:38Z | aws.ecs/service [ClusterName=default, ServiceName=servicetest] | - of - | us-west-2

        aws-events/ecs-service-steady-state.json
        resolved `ECS service default/servicetest` at 2019-11-19T19:27:22Z | aws.ecs/service [ClusterName=default, ServiceName=servicetest] | - of - | us-west-2

        aws-events/ecs-service-task-start-impaired.json
        firing `ECS service default/servicetest` at 2019-11-19T19:55:38Z | aws.ecs/service [ClusterName=default, ServiceName=servicetest] | - of - | us-west-2

        aws-events/ecs-task-state-change.json
        note: not an alarm but an event of `aws.ecs`: RUNNING

        aws-events/elasticbeanstalk-sns.json
        firing `Beanstalk retsd-staging-1` at 2016-07-24T20:37:10Z | aws.elasticbeanstalk/health [EnvironmentName=retsd-staging-1] | - of - | us-west-2

        aws-events/glue-job-failed.json
        firing `Glue job MyJob` at 2017-09-07T06:02:03Z | aws.glue/job [JobName=MyJob] | - of - | us-west-2

        aws-events/glue-sns-empty-subject.json
        firing `Glue job test_job` at 2021-06-18T12:34:06Z | aws.glue/job [JobName=test_job] | - of - | us-east-2

        aws-events/guardduty-finding-medium.json
        firing `SAMPLE Unprotected port on EC2 instance i-123123123 is being probed` at 2020-01-03T01:02:03Z | aws.guardduty/finding [] | 5 of - | us-east-1

        aws-events/guardduty-malware-scan-sns.json
        firing `Malware in amzn-s3-demo-bucket` at 2024-02-28T01:01:01Z | aws.guardduty/malware [BucketName=amzn-s3-demo-bucket] | - of - | us-east-1

        aws-events/guardduty-sns.json
        firing `SAMPLE Unprotected port on EC2 instance i-123123123 is being probed` at 2020-01-03T01:02:03Z | aws.guardduty/finding [] | 9 of - | us-gov-east-1

        aws-events/health-ec2-drive-degraded.json
        firing `AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED` at 2016-06-05T06:27:57Z | aws.health/AWS_EC2_INSTANCE_STORE_DRIVE_PERFORMANCE_DEGRADED [entity=i-abcd1111] | - of - | us-west-2

        aws-events/health-ecs-retirement-putevents.json
        note: not an alarm but a text: [␊    {␊        "Source": "com.samplevent",␊        "DetailType": "AWS Health Event",␊        "Resources": [␊            "test_cluster1 | service1",␊            "test_cluster2 | service2"␊        ],␊ 

        aws-events/health-elb-api-issue.json
        resolved `AWS_ELASTICLOADBALANCING_API_ISSUE` at 2016-06-05T06:27:57Z | aws.health/AWS_ELASTICLOADBALANCING_API_ISSUE [] | - of - | ap-southeast-2

        aws-events/health-unknown-category.json
        resolved `AWS_EC2_HEALTH_TEST_EVENT` at 2016-06-05T06:27:57Z | aws.health/AWS_EC2_HEALTH_TEST_EVENT [] | - of - | us-east-1

        aws-events/macie-alert-created.json
        firing `Scanning bucket policies` at 2017-04-24T22:28:49Z | aws.macie/finding [] | 80 of - | us-east-1

        aws-events/rds-instance-event.json
        resolved `RDS availability my-db-instance` at 2018-09-27T22:36:43Z | aws.rds/availability [DBInstanceIdentifier=my-db-instance] | - of - | us-east-1

        aws-events/rds-snapshot-event.json
        note: not an alarm but an event of `aws.rds`: Deleted manual snapshot

        aws-events/scheduled-event.json
        note: not an alarm but an event of `aws.events`: Scheduled Event

        aws-events/signed/health-abuse-dos-report.http.json
        firing `AWS_ABUSE_DOS_REPORT` at 2018-08-01T06:27:57Z | aws.health/AWS_ABUSE_DOS_REPORT [] | - of - | global

        aws-events/signed/health-elb-pretty-printed-message.http.json
        resolved `AWS_ELASTICLOADBALANCING_API_ISSUE` at 2016-06-05T06:27:57Z | aws.health/AWS_ELASTICLOADBALANCING_API_ISSUE [] | - of - | ap-southeast-2

        aws-events/trusted-advisor-exposed-keys.json
        firing `Exposed Access Keys` at 2018-01-12T19:38:24Z | aws.trustedadvisor/check [item=aa12345f-55c7-498e-b7ac-123456789012] | - of - | us-east-1

        aws-events/trusted-advisor-warn.json
        note: not an alarm but an event of `aws.trustedadvisor`: Low Utilization Amazon EC2 Instances
    "#]],
    );
}

/// The one alarm of a fixture, or nothing.
fn of(name: &str) -> Option<Alarm> {
    let path = format!("{}/fixtures/aws/{name}.json", env!("CARGO_MANIFEST_DIR"));
    match decode(&delivery("aws", std::fs::read(path).unwrap())).unwrap() {
        Decoded::Alarms(mut alarms) => alarms.pop(),
        Decoded::Note(_) => None,
    }
}

#[test]
fn what_fired_is_ended_by_the_next_good_word_about_the_same_thing() {
    for (fires, ends) in [
        ("health-issue-open", "health-issue-closed"),
        ("ecs-deployment-failed", "ecs-deployment-completed"),
        ("ecs-task-out-of-memory", "ecs-task-running-again"),
        ("asg-launch-unsuccessful", "asg-sns-launch"),
        ("asg-sns-launch-error", "asg-sns-launch"),
        ("rds-low-storage", "rds-storage-grown"),
        ("backup-failed", "backup-completed"),
        ("backup-event-failed", "backup-completed"),
    ] {
        let (fires, ends) = (of(fires).unwrap(), of(ends).unwrap());
        assert_eq!((fires.state, ends.state), (AlarmState::Firing, AlarmState::Resolved));
        assert_eq!(fires.key, ends.key);
        assert_eq!(fires.namespace, ends.namespace, "{}", fires.key);
        assert_eq!(fires.metric, ends.metric, "{}", fires.key);
        assert_eq!(fires.dimensions, ends.dimensions, "{}", fires.key);
        assert_eq!(fires.name, ends.name, "{}", fires.key);
    }
}

#[test]
fn routine_and_tests_are_never_alarms() {
    for name in [
        "asg-sns-test",
        "asg-sns-text-test",
        "ecs-task-scaled-in",
        "ecs-deployment-in-progress",
        "health-account-notification",
        "guardduty-low",
        "rds-backup",
        "beanstalk-deployed",
        "another-service",
    ] {
        assert_eq!(of(name), None, "{name}");
    }
}

#[test]
fn an_instance_that_stopped_is_well_again_when_it_runs_or_is_gone() {
    let stopped = of("ec2-stopped").unwrap();
    for (state, expected) in [
        ("running", Some(AlarmState::Resolved)),
        ("terminated", Some(AlarmState::Resolved)),
        ("stopping", None),
        ("pending", None),
    ] {
        let event = json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification",
            "time": "2026-11-02T03:10:00Z",
            "detail": { "instance-id": "i-0a1b2c3d4e5f60718", "state": state },
        });
        let found = match decode(&delivery("aws", event.to_string().into_bytes())).unwrap() {
            Decoded::Alarms(alarms) => Some((alarms[0].key.clone(), alarms[0].state)),
            Decoded::Note(_) => None,
        };
        assert_eq!(found, expected.map(|state| (stopped.key.clone(), state)), "{state}");
    }
}
