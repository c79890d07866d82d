//! The shared corpus: what real senders sent, with the verdict and the alarm that each must give.
//!
//! The corpus stands beside the repository and is not part of it. Without it these tests say so and
//! pass. Each table must name every file of its folder, so that a new one is not passed over.
#![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use untoil_intake::{
    CertificateUrl, DecodeError, Decoded, SnsPolicy, SnsRefusal, SnsVerifier, decode,
};
use untoil_model::{Alarm, Hash};

use crate::goldens::delivery;
use crate::stand_in::Ports;

const AWS_PEM: &str =
    "sns/signed-aws/SimpleNotificationService-7ff5318490ec183fbaddaa2a969abfda.pem";
const OWN_PEM: &str =
    "sns/signed-selfmade/SimpleNotificationService-00000000000000000000000000000000.pem";

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn corpus() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("../shared/corpus"))
        .find(|folder| folder.join("INDEX.tsv").is_file());
    if found.is_none() {
        eprintln!("SKIPPED: ../shared/corpus is absent");
    }
    found
}

/// The bodies of a folder, without the files of headers.
pub(crate) fn bodies(corpus: &Path, folder: &str) -> BTreeSet<String> {
    std::fs::read_dir(corpus.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains(".headers."))
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

fn covers<'a>(corpus: &Path, folders: &[&str], table: impl Iterator<Item = &'a str>) {
    let named: BTreeSet<String> = table.map(str::to_owned).collect();
    for folder in folders {
        let missing: Vec<_> = bodies(corpus, folder).difference(&named).cloned().collect();
        assert!(missing.is_empty(), "not in the table: {missing:?}");
    }
}

/// The SNS envelope in a file: the file itself, or the first record of a Lambda event.
fn envelope(corpus: &Path, path: &str) -> Value {
    let body: Value = serde_json::from_slice(&std::fs::read(corpus.join(path)).unwrap()).unwrap();
    match body.pointer("/Records/0/Sns") {
        Some(envelope) => envelope.clone(),
        None => body,
    }
}

/// What the verifier says with the clock at the message's own time.
async fn verdict(corpus: &Path, path: &str, pem: &str, trusted: &[Hash]) -> String {
    let body = envelope(corpus, path);
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let url =
        body.get("SigningCertURL").or_else(|| body.get("SigningCertUrl")).and_then(Value::as_str);
    let ports = Ports::serving(url.unwrap_or_default(), &std::fs::read(corpus.join(pem)).unwrap());
    let policy = SnsPolicy {
        topics: [text("TopicArn").parse().unwrap()].into(),
        trusted_certificates: trusted.to_vec(),
        ..SnsPolicy::default()
    };
    let verifier = SnsVerifier::new(policy, Arc::clone(&ports) as _);
    let now = text("Timestamp").parse().unwrap();
    match verifier.verify(body.to_string().as_bytes(), now).await {
        Ok(verified) if verified.confirm.is_some() => "valid, confirm".to_owned(),
        Ok(_) => "valid".to_owned(),
        Err(SnsRefusal::Refused(why) | SnsRefusal::Later(why)) => why,
    }
}

fn fingerprint(corpus: &Path, pem: &str) -> Hash {
    let text = std::fs::read_to_string(corpus.join(pem)).unwrap();
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let standard = &base64::engine::general_purpose::STANDARD;
    Hash::of(&base64::Engine::decode(standard, base64).unwrap())
}

#[tokio::test]
async fn messages_that_aws_signed_verify_at_their_own_time() {
    let Some(corpus) = corpus() else { return };
    let table = [
        "sns/signed-aws/notification-v1-subject.json",
        "sns/signed-aws/notification-v1-no-subject.json",
        "sns/signed-aws/notification-v2-no-subject.json",
        "sns/signed-aws/lambda-record-v1-no-subject.json",
        "sns/signed-aws/lambda-record-v1-null-subject.json",
        "sns/signed-aws/lambda-record-v2-null-subject.json",
        "sns/signed-aws/lambda-record-v2-subject.json",
        "cloudwatch/signed-aws/metric-alarm.http.json",
        "cloudwatch/signed-aws/metric-alarm.lambda-event.json",
        "cloudwatch/signed-aws/composite-alarm.lambda-event.json",
        "aws-events/signed/health-abuse-dos-report.http.json",
        "aws-events/signed/health-elb-pretty-printed-message.http.json",
    ];
    covers(&corpus, &["sns/signed-aws"], table.iter().copied().chain([AWS_PEM]));
    for path in table {
        assert_eq!(verdict(&corpus, path, AWS_PEM, &[]).await, "valid", "{path}");
    }
}

#[tokio::test]
async fn self_made_and_unsigned_vectors_get_their_verdicts() {
    let Some(corpus) = corpus() else { return };
    let own = |name: &str| format!("sns/signed-selfmade/{name}.json");
    let trusted = [fingerprint(&corpus, OWN_PEM)];
    let table = [
        (own("cloudwatch-korean-v1"), "valid"),
        (own("cloudwatch-korean-v2"), "valid"),
        (own("notification-empty-subject-v2"), "valid"),
        (own("notification-trailing-newline-v2"), "valid"),
        (own("notification-with-messageattributes-v2"), "valid"),
        (own("subscription-confirmation-v1"), "valid, confirm"),
        (own("subscription-confirmation-v2"), "valid, confirm"),
        (own("unsubscribe-confirmation-v1"), "valid"),
        (own("bad-cert-url"), "its host is not one of SNS's"),
        (own("bad-message-changed"), "its signature does not fit"),
        (own("bad-missing-signature"), "`Signature` is missing"),
        (own("bad-signature-not-base64"), "`Signature` is not base64"),
        (own("bad-version-downgraded"), "its signature does not fit"),
    ];
    covers(
        &corpus,
        &["sns/signed-selfmade"],
        table.iter().map(|(path, _)| path.as_str()).chain([OWN_PEM]),
    );
    for (path, expected) in &table {
        let found = verdict(&corpus, path, OWN_PEM, &trusted).await;
        assert!(found.ends_with(expected), "{path}: {found}");
        if expected.starts_with("valid") {
            let found = verdict(&corpus, path, OWN_PEM, &[]).await;
            assert!(found.ends_with("it is self-signed"), "{path}: {found}");
        }
    }
    // Their own certificates are not in the corpus: whichever is served, none of them is accepted.
    for (path, expected) in [
        ("sns/docs/SubscriptionConfirmation.json", "it is not valid at this time"),
        ("sns/docs/UnsubscribeConfirmation.json", "`Signature` is not base64"),
        ("sns/docs/raw-delivery-disabled.json", "its signature does not fit"),
        ("sns/recorded/unsubscribe-confirmation.json", "`Signature` is not base64"),
        ("sns/third-party/alerta-subscription-confirmation.json", "it is not valid at this time"),
        ("cloudwatch/sns-http/alerta-insufficient-data.json", "it is not valid at this time"),
        ("cloudwatch/sns-http/alerta-s3-bucket-alarm.json", "it is not valid at this time"),
        ("cloudwatch/sns-http/anomaly-band-ok-seoul.json", "its signature does not fit"),
        ("cloudwatch/sns-http/crlf-message-alarm.json", "its signature does not fit"),
    ] {
        let found = verdict(&corpus, path, OWN_PEM, &trusted).await;
        assert!(found.ends_with(expected), "{path}: {found}");
    }
    for path in [
        "sns/recorded/raw-delivery.txt",
        "sns/recorded/raw-delivery-text-csv.txt",
        "sns/docs/raw-delivery-enabled.txt",
    ] {
        let body = std::fs::read(corpus.join(path)).unwrap();
        let verifier = SnsVerifier::new(SnsPolicy::default(), Arc::new(Ports::default()));
        let found = verifier.verify(&body, jiff::Timestamp::UNIX_EPOCH).await;
        assert!(matches!(found, Err(SnsRefusal::Refused(why)) if why.contains("no SNS message")));
    }
}

#[test]
fn certificate_addresses_are_taken_and_refused_as_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let cases = std::fs::read(corpus.join("sns/signing-cert-url-cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() >= 16);
    for case in cases {
        let url = case["url"].as_str().unwrap();
        assert_eq!(Value::from(CertificateUrl::parse(url, &[]).is_ok()), case["accept"], "{url}");
    }
}

/// A decoded delivery on one line: the telling fields of each alarm.
pub(crate) fn line(source: &str, body: &[u8]) -> String {
    told(decode(&delivery(source, body.to_vec())))
}

/// What was decoded, the same way.
pub(crate) fn told(decoded: Result<Decoded, DecodeError>) -> String {
    let told = |alarm: &Alarm| {
        let dimensions: Vec<String> =
            alarm.dimensions.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let number = |number: Option<f64>| {
            number.map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        format!(
            "{} `{}` at {} | {}/{} [{}] | {} of {} | {}",
            alarm.state.as_str(),
            alarm.name,
            alarm.changed_at,
            alarm.namespace.as_deref().unwrap_or("-"),
            alarm.metric.as_deref().unwrap_or("-"),
            dimensions.join(", "),
            number(alarm.value),
            number(alarm.threshold),
            alarm.region.as_deref().unwrap_or("-"),
        )
    };
    match decoded {
        Ok(Decoded::Alarms(alarms)) => {
            for alarm in &alarms {
                assert!(alarm.key.as_str().starts_with(&format!("{}:", alarm.source)));
            }
            alarms.iter().map(told).collect::<Vec<_>>().join("\n")
        }
        Ok(Decoded::Note(note)) => format!("note: {note}"),
        Err(error) => format!("unreadable: {error}"),
    }
}

/// Compares whole folders with a golden: one paragraph a file.
pub(crate) fn check(
    corpus: &Path,
    source: &str,
    paths: impl Iterator<Item = String>,
) -> BTreeMap<String, String> {
    let lines = paths.map(|path| {
        let body = std::fs::read(corpus.join(&path)).unwrap();
        let body = match serde_json::from_slice::<Value>(&body) {
            Ok(value) if value.pointer("/Records/0/Sns").is_some() => {
                value["Records"][0]["Sns"].to_string().into_bytes()
            }
            Ok(_) | Err(_) => body,
        };
        let is_envelope =
            serde_json::from_slice::<Value>(&body).is_ok_and(|body| body.get("TopicArn").is_some());
        let line = line(if is_envelope { "sns" } else { source }, &body);
        (path, line)
    });
    lines.collect()
}

pub(crate) fn assert_table(found: &BTreeMap<String, String>, expected: &expect_test::Expect) {
    let blocks: Vec<String> =
        found.iter().map(|(path, line)| format!("{path}\n{line}\n")).collect();
    expected.assert_eq(&blocks.join("\n"));
}

#[test]
fn every_cloudwatch_message_gives_the_alarm_that_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let folders = [
        "cloudwatch/message",
        "cloudwatch/sns-http",
        "cloudwatch/sns-lambda",
        "cloudwatch/signed-aws",
    ];
    let paths = folders.iter().flat_map(|folder| bodies(&corpus, folder));
    assert_table(
        &check(&corpus, "cloudwatch", paths),
        &expect_test::expect![[r#"
            cloudwatch/message/recorded-no-datapoints-breaching.json
            firing `test-alarm-1` at 2026-02-26T10:14:05.123Z | test/nsp/my-metric101 [InstanceId=abc] | - of 2 | us-east-1

            cloudwatch/signed-aws/composite-alarm.lambda-event.json
            firing `if-sim-app_427809481713_us-east-1-test_node_monitor` at 2021-11-10T02:45:55.64Z | -/- [] | - of - | us-east-1

            cloudwatch/signed-aws/composite-alarm.message.json
            firing `if-sim-app_427809481713_us-east-1-test_node_monitor` at 2021-11-10T02:45:55.64Z | -/- [] | - of - | us-east-1

            cloudwatch/signed-aws/metric-alarm.http.json
            firing `if-sim-app_427809481713_us-east-1-metric_emitting_node_failure` at 2021-11-10T02:45:55.64Z | sim-app_427809481713_us-east-1/IExecutionFailureHook [MetricGroupId=routing_table.receive.hook, RouteID=metric_emitting_node] | 1 of 1 | us-east-1

            cloudwatch/signed-aws/metric-alarm.lambda-event.json
            firing `if-sim-app_427809481713_us-east-1-metric_emitting_node_failure` at 2021-11-10T02:45:55.64Z | sim-app_427809481713_us-east-1/IExecutionFailureHook [MetricGroupId=routing_table.receive.hook, RouteID=metric_emitting_node] | 1 of 1 | us-east-1

            cloudwatch/signed-aws/metric-alarm.message.json
            firing `if-sim-app_427809481713_us-east-1-metric_emitting_node_failure` at 2021-11-10T02:45:55.64Z | sim-app_427809481713_us-east-1/IExecutionFailureHook [MetricGroupId=routing_table.receive.hook, RouteID=metric_emitting_node] | 1 of 1 | us-east-1

            cloudwatch/sns-http/alerta-insufficient-data.json
            no_data `notificationCountAlarm` at 2019-05-13T08:41:43.548Z | AWS/SNS/NumberOfNotificationsDelivered [TopicName=alerta-test] | - of 0 | eu-west-1

            cloudwatch/sns-http/alerta-s3-bucket-alarm.json
            firing `bucketbytesAlarm` at 2019-02-15T23:53:45.093Z | AWS/S3/BucketSizeBytes [BucketName=try.alerta.io, StorageType=StandardStorage] | 1062305 of 0 | eu-west-1

            cloudwatch/sns-http/anomaly-band-ok-seoul.json
            resolved `ContainerInsight-pod_cpu_utilization` at 2021-06-27T13:53:39.351Z | ContainerInsights/pod_cpu_utilization [ClusterName=cloudone-dev-v1-eks-cluster] | 0.46522264287069004 of - | ap-northeast-2

            cloudwatch/sns-http/crlf-message-alarm.json
            firing `Saffron-Octopus-RDS` at 2020-07-20T21:12:01.544Z | AWS/RDS/CPUUtilization [DBInstanceIdentifier=sm16lm1jrrjf0rk] | 2.1533759377604764 of 0.0175 | us-east-1

            cloudwatch/sns-http/crlf-message-ok.json
            resolved `Saffron-Octopus-RDS` at 2020-07-20T21:12:01.544Z | AWS/RDS/CPUUtilization [DBInstanceIdentifier=sm16lm1jrrjf0rk] | 2.1533759377604764 of 0.0175 | us-east-1

            cloudwatch/sns-http/crlf-message-unknown-state.json
            unreadable: `NewStateValue` is `UNKNOW`, not `ALARM`, `OK` or `INSUFFICIENT_DATA`

            cloudwatch/sns-lambda/assertible-2016-no-statistictype.json
            firing `awsrds-app-High-DB-Connections` at 2016-07-24T22:05:19.737Z | AWS/RDS/DatabaseConnections [DBInstanceIdentifier=app] | 10 of 10 | us-west-2

            cloudwatch/sns-lambda/assertible-2017-alb.json
            firing `Sample Alert` at 2017-08-07T18:51:41.602Z | AWS/ApplicationELB/RequestCount [LoadBalancer=app/app/6892f491c9b95d3f] | 1446 of 1000 | eu-west-1

            cloudwatch/sns-lambda/go-multiple-metrics.json
            firing `EXAMPLE` at 2015-06-03T17:43:27.123Z | AWS/EC2/NetworkOut [InstanceId=TestInstance] | 1234 of 0 | -

            cloudwatch/sns-lambda/insufficient-data-s3.json
            no_data `test-lambda-parity` at 2021-10-21T10:20:50.932Z | AWS/S3/NumberOfObjects [BucketName=a-bucket, StorageType=AllStorageTypes] | - of 0 | ap-southeast-2

            cloudwatch/sns-lambda/notify-slack-quotes-in-description.json
            resolved `DBMigrationRequired` at 2019-02-12T15:45:24.006Z | LogMetrics/DBMigrationRequired [] | 1 of 1 | us-east-1

            cloudwatch/sns-lambda/rust-multiple-metrics.json
            firing `EXAMPLE` at 2015-06-03T17:43:27.123Z | AWS/EC2/NetworkOut [InstanceId=TestInstance] | 1234 of 0 | -

            cloudwatch/sns-lambda/rust-single-metric.json
            firing `EXAMPLE` at 2015-06-03T17:43:27.123Z | AWS/EC2/NetworkOut [InstanceId=TestInstance] | 1234 of 0 | -
        "#]],
    );
}

#[test]
fn every_cloudwatch_event_gives_the_alarm_that_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let folders = ["cloudwatch/lambda-direct", "cloudwatch/eventbridge", "cloudwatch/api"];
    let paths = folders.iter().flat_map(|folder| bodies(&corpus, folder));
    assert_table(
        &check(&corpus, "cloudwatch", paths),
        &expect_test::expect![[r#"
            cloudwatch/api/alarm-history-item.json
            unreadable: `NewStateValue` is missing

            cloudwatch/eventbridge/creation-of-a-composite-alarm-with-a-suppressor-alarm.json
            note: not an alarm but an event of `aws.cloudwatch`: CloudWatch Alarm Configuration Change

            cloudwatch/eventbridge/deletion-of-a-metric-math-alarm.json
            note: not an alarm but an event of `aws.cloudwatch`: CloudWatch Alarm Configuration Change

            cloudwatch/eventbridge/notify-slack-minimal.json
            firing `Example` at 2017-01-12T16:30:42.236Z | -/- [] | - of - | -

            cloudwatch/eventbridge/state-change-for-a-composite-alarm-with-a-suppressor-alarm.json
            firing `ServiceAggregatedAlarm` at 2022-07-22T15:57:45.394Z | -/- [] | - of - | us-east-1

            cloudwatch/eventbridge/state-change-for-a-metric-math-alarm.json
            firing `TotalNetworkTrafficTooHigh` at 2019-10-02T17:20:48.554Z | AWS/EC2/- [InstanceId=i-12345678901234567] | 45628 of 10000 | us-east-1

            cloudwatch/eventbridge/state-change-for-a-single-metric-alarm.json
            firing `ServerCpuTooHigh` at 2019-10-02T17:04:40.989Z | AWS/EC2/CPUUtilization [InstanceId=i-12345678901234567] | 99.50160229693434 of 50 | us-east-1

            cloudwatch/eventbridge/state-change-for-an-anomaly-detection-alarm.json
            firing `EC2 CPU Utilization Anomaly` at 2019-10-03T16:00:04.653Z | AWS/EC2/CPUUtilization [InstanceId=i-12345678901234567] | 0 of - | us-east-1

            cloudwatch/lambda-direct/composite-with-suppressor-alarm.json
            firing `ServiceAggregatedAlarm` at 2022-07-22T15:57:45.394Z | -/- [] | - of - | us-east-1

            cloudwatch/lambda-direct/composite.json
            unreadable: `state.timestamp` is `2023-08-04T12: 56: 46.138+0000`, not a time such as `2026-09-14T11:18:44.351+0000`

            cloudwatch/lambda-direct/metric.json
            unreadable: `state.timestamp` is `2023-08-04T12: 36: 15.490+0000`, not a time such as `2026-09-14T11:18:44.351+0000`

            cloudwatch/lambda-direct/recorded-set-alarm-state-no-dimensions.json
            firing `test-alarm-1` at 2026-02-26T10:14:05.123Z | namespace/metric1 [] | - of - | us-east-1
        "#]],
    );
}

#[test]
fn every_new_relic_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let hostile = bodies(&corpus, "hostile").into_iter().filter(|path| path.contains("newrelic"));
    let paths = bodies(&corpus, "newrelic").into_iter().chain(hostile);
    assert_table(
        &check(&corpus, "newrelic", paths),
        &expect_test::expect![[r#"
            hostile/newrelic-malformed-timestamp.json
            resolved `High CPU` at 2024-04-22T06:17:37.383Z | Golden Signals/High CPU [] | - of - | -

            hostile/newrelic-unrecognised-keys.json
            unreadable: `/id` is missing

            hostile/newrelic-updatedAt-huge-string.json
            unreadable: `/updatedAt` is `123123123129312381923`, not a time as its sender documents it

            newrelic/classic-alerta-test.json
            firing `New Relic Alert - Test Condition` at 2020-09-25T11:23:27.849Z | New Relic Alert - Test Policy/New Relic Alert - Test Condition [] | - of - | -

            newrelic/classic-docs-open.json
            firing `My APM Apdex condition name` at 2015-03-03T21:18:34.074Z | APM Apdex policy/My APM Apdex condition name [entity=My Application] | - of - | -

            newrelic/classic-minimal-open.json
            firing `Server Down` at 2020-11-11T22:32:11.151Z | New Relic Alert - Test Policy/Server Down [] | - of - | -

            newrelic/classic-template-unrendered-acknowledged.json
            unreadable: `/current_state` is `$EVENT_STATE`, not `open`, `acknowledged` or `closed`

            newrelic/classic-template-unrendered-closed.json
            unreadable: `/current_state` is `$EVENT_STATE`, not `open`, `acknowledged` or `closed`

            newrelic/classic-template-unrendered-other.json
            unreadable: `/current_state` is `$EVENT_STATE`, not `open`, `acknowledged` or `closed`

            newrelic/workflow-acknowledged-user-action.json
            firing `Storage on Host Exceeded Threshold` at 2024-04-22T07:14:37.412Z | Golden Signals/Storage on Host Exceeded Threshold [entity=PIETER-UBUNTU] | - of - | -

            newrelic/workflow-activated-incident-added.json
            firing `Error Percentage (High) threshold` at 2022-10-16T12:54:18.97Z | Error Percentage (High) Policy/Error Percentage (High) threshold [entity=HIGHREV-pr-TS] | - of - | -

            newrelic/workflow-activated.json
            firing `Zulip Server Low Storage` at 2024-04-22T07:08:28.699Z | Golden Signals/Zulip Server Low Storage [entity=zulip_app] | - of - | -

            newrelic/workflow-closed-trigger-incident-added.json
            resolved `Error Percentage (High) threshold` at 2022-10-16T12:54:18.97Z | Error Percentage (High) Policy/Error Percentage (High) threshold [entity=HIGHREV-pr-TS] | - of - | -

            newrelic/workflow-closed.json
            resolved `High CPU` at 2024-04-22T06:17:37.383Z | Golden Signals/High CPU [entity=main_app-UBUNTU] | - of - | -

            newrelic/workflow-created-apm-error-percentage.json
            firing `Error Percentage (High) threshold` at 2022-10-16T12:54:18.97Z | Error Percentage (High) Policy/Error Percentage (High) threshold [entity=HIGHREV-pr-TS] | - of - | -

            newrelic/workflow-created.json
            firing `High CPU` at 2024-04-22T06:36:29.495Z | Golden Signals/High CPU [entity=MAIN-APP-UBUNTU] | - of - | -

            newrelic/workflow-infra-disk-korean.json
            firing `디스크 사용률 높음` at 2024-04-22T07:08:28.699Z | 인프라 기본/디스크 사용률 높음 [entity=서울-web-01] | - of - | -

            newrelic/workflow-slo-fast-burn-activated.json
            firing `Checkout availability: Fast-burn rate` at 2024-04-22T07:08:28.699Z | SLO policy/Checkout availability: Fast-burn rate [entity=Checkout availability] | - of - | -
        "#]],
    );
}

#[test]
fn every_alertmanager_payload_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let hostile =
        bodies(&corpus, "hostile").into_iter().filter(|path| path.contains("alertmanager"));
    let paths = bodies(&corpus, "alertmanager").into_iter().chain(hostile);
    assert_table(
        &check(&corpus, "alertmanager", paths),
        &expect_test::expect![[r#"
            alertmanager/captured-firing-korean.json
            firing `디스크사용률높음` at 2026-11-22T11:06:19.659963Z | -/디스크사용률높음 [] | - of - | -

            alertmanager/captured-resolved.json
            resolved `InstanceDown` at 2026-11-22T11:07:29.678554Z | node/InstanceDown [] | - of - | -

            alertmanager/captured-truncated-2-of-7.json
            firing `HighLatency` at 2026-11-22T11:06:19.673718Z | -/HighLatency [] | - of - | -
            firing `HighLatency` at 2026-11-22T11:06:19.673753Z | -/HighLatency [] | - of - | -

            alertmanager/pagertree-firing.json
            firing `ContainerRestarted` at 2022-08-04T09:01:58.1Z | kube-state-metrics/ContainerRestarted [] | - of - | -

            alertmanager/pagertree-resolved.json
            firing `ContainerRestarted` at 2022-08-04T09:01:58.1Z | kube-state-metrics/ContainerRestarted [] | - of - | -

            alertmanager/pagertree-unknown-status.json
            firing `ContainerRestarted` at 2022-08-04T09:01:58.1Z | kube-state-metrics/ContainerRestarted [] | - of - | -

            hostile/alertmanager-empty-alerts.json
            note: a group without alerts

            hostile/alertmanager-null-maps.json
            unreadable: `/alerts/0/fingerprint` is missing
        "#]],
    );
}

#[test]
fn hostile_messages_end_in_a_value_and_mostly_unreadable() {
    let Some(corpus) = corpus() else { return };
    let is_aws = |path: &String| {
        !path.contains("newrelic")
            && !path.contains("alertmanager")
            && !path.contains("30-dim")
            && !path.contains("256KiB")
    };
    let paths = bodies(&corpus, "hostile").into_iter().filter(is_aws);
    assert_table(
        &check(&corpus, "cloudwatch", paths),
        &expect_test::expect![[r#"
            hostile/cw-camel-case-mixed.json
            unreadable: `AlarmName` is missing

            hostile/cw-control-characters-nul.json
            firing `line1␊line2␉␇␀end` at 2026-09-14T11:18:44.351Z | CWAgent/disk_used_percent [InstanceId=i-0123456789abcdef0, path=/data] | 93.41 of 90 | ap-northeast-2

            hostile/cw-dimensions-map.json
            firing `디스크 사용률 높음 "web-01"` at 2026-09-14T11:18:44.351Z | CWAgent/disk_used_percent [InstanceId=i-0123456789abcdef0] | 93.41 of 90 | ap-northeast-2

            hostile/cw-old-equals-new-ok.json
            resolved `디스크 사용률 높음 "web-01"` at 2026-09-14T11:18:44.351Z | CWAgent/disk_used_percent [InstanceId=i-0123456789abcdef0, path=/data] | 93.41 of 90 | ap-northeast-2

            hostile/cw-reason-nested-json.json
            firing `디스크 사용률 높음 "web-01"` at 2026-09-14T11:18:44.351Z | CWAgent/disk_used_percent [InstanceId=i-0123456789abcdef0, path=/data] | - of 90 | ap-northeast-2

            hostile/cw-threshold-bare-Infinity.txt
            unreadable: not JSON: invalid number at line 1 column 1205

            hostile/cw-threshold-bare-NaN.txt
            unreadable: not JSON: expected value at line 1 column 1204

            hostile/cw-trailing-garbage.txt
            unreadable: not JSON: trailing characters at line 2 column 1

            hostile/cw-truncated.txt
            unreadable: not JSON: EOF while parsing a string at line 1 column 443

            hostile/deep-nesting.json
            unreadable: not JSON: recursion limit exceeded at line 1 column 636

            hostile/docs-health-ec2-drive-degraded-missing-brackets.txt
            unreadable: not JSON: EOF while parsing a list at line 28 column 1

            hostile/sns-double-encoded-message.json
            note: not an alarm: "{\"payload\": {\"message\": \"hi\"}}"

            hostile/string.json
            firing `디스크 사용률 높음 "web-01"` at 2026-09-14T11:18:44.351Z | CWAgent/disk_used_percent [InstanceId=i-0123456789abcdef0, path=/data] | 93.41 of 90 | ap-northeast-2
        "#]],
    );
}

#[test]
fn the_largest_legal_message_and_the_most_dimensions_are_taken() {
    let Some(corpus) = corpus() else { return };
    let body = std::fs::read(corpus.join("hostile/sns-256KiB-all-quotes.http.json")).unwrap();
    assert!(line("sns", &body).starts_with("note: not an alarm but a text"));
    let body = std::fs::read(corpus.join("hostile/cw-30-dimensions.json")).unwrap();
    let Ok(Decoded::Alarms(alarms)) = decode(&delivery("cloudwatch", body)) else {
        panic!("it is an alarm");
    };
    assert_eq!(alarms[0].dimensions.len(), 30);
}
