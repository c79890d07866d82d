//! What Lambda hands over: every shape of the corpus, and what is answered.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::to_bytes;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use untoil_intake::{
    Decoded, Decoders, Invocation, LambdaError, LambdaMessages, LambdaRequest, LambdaSources,
    decode, invocation,
};

use crate::corpus::{assert_table, bodies, corpus};
use crate::http::{Intake, SECRET};
use crate::stand_in::NOW;

const QUEUE: &str = "arn:aws:sqs:ap-northeast-2:210987654321:alerts";

fn read(event: &[u8]) -> Result<Invocation, LambdaError> {
    let queues = BTreeMap::from([(QUEUE.to_owned(), "alertmanager".parse().unwrap())]);
    invocation(event, (&LambdaSources { queues }, &Decoders::default()), NOW.parse().unwrap())
}

fn messages(event: &Value) -> LambdaMessages {
    match read(event.to_string().as_bytes()).unwrap() {
        Invocation::Messages(messages) => messages,
        Invocation::Request(request) => panic!("{request:?}"),
    }
}

fn request(event: &Value) -> LambdaRequest {
    match read(event.to_string().as_bytes()).unwrap() {
        Invocation::Request(request) => request,
        Invocation::Messages(messages) => panic!("{messages:?}"),
    }
}

/// An invocation in a few lines.
async fn shown(event: &[u8]) -> String {
    match read(event) {
        Err(error) => format!("error: {error}"),
        Ok(Invocation::Messages(messages)) => {
            let line = |delivery: &untoil_model::Delivery| {
                let said = match decode(delivery) {
                    Ok(Decoded::Alarms(alarms)) => {
                        let alarm = &alarms[0];
                        format!("{} `{}`", alarm.state.as_str(), alarm.name)
                    }
                    Ok(Decoded::Note(_)) => "note".to_owned(),
                    Err(_) => "unreadable".to_owned(),
                };
                format!("{} from {}: {said}", delivery.id, delivery.sender)
            };
            let mut lines: Vec<String> = messages.deliveries.iter().map(line).collect();
            lines.push(format!("answer {}", messages.answer(&BTreeSet::new()).unwrap()));
            lines.join("\n")
        }
        Ok(Invocation::Request(LambdaRequest { request, .. })) => {
            let client = request.extensions().get::<ConnectInfo<std::net::SocketAddr>>();
            let client = client.map_or_else(|| "-".to_owned(), |info| info.0.ip().to_string());
            let line = format!("{} {} from {client}", request.method(), request.uri());
            let headers = request.headers().len();
            let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
            format!("{line}, {headers} headers, {:?}", String::from_utf8_lossy(&body))
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
async fn every_lambda_event_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let mut found = BTreeMap::new();
    let folders = [
        "lambda-envelope",
        "cloudwatch/sns-lambda",
        "cloudwatch/lambda-direct",
        "cloudwatch/eventbridge",
    ];
    for path in folders.into_iter().flat_map(|folder| bodies(&corpus, folder)) {
        let event = std::fs::read(corpus.join(&path)).unwrap();
        found.insert(path, shown(&event).await);
    }
    assert_table(
        &found,
        &expect_test::expect![[r#"
        cloudwatch/eventbridge/creation-of-a-composite-alarm-with-a-suppressor-alarm.json
        aws/event:454773e1-09f7-945b-aa2c-590af1c3f8e0 from aws.cloudwatch: note
        answer {}

        cloudwatch/eventbridge/deletion-of-a-metric-math-alarm.json
        aws/event:f171d220-9e1c-c252-5042-2677347a83ed from aws.cloudwatch: note
        answer {}

        cloudwatch/eventbridge/notify-slack-minimal.json
        error: the event is none of SNS, SQS, EventBridge, CloudWatch, a function URL, API Gateway or a load balancer

        cloudwatch/eventbridge/state-change-for-a-composite-alarm-with-a-suppressor-alarm.json
        aws/event:d3dfc86d-384d-24c8-0345-9f7986db0b80 from aws.cloudwatch: firing `ServiceAggregatedAlarm`
        answer {}

        cloudwatch/eventbridge/state-change-for-a-metric-math-alarm.json
        aws/event:2dde0eb1-528b-d2d5-9ca6-6d590caf2329 from aws.cloudwatch: firing `TotalNetworkTrafficTooHigh`
        answer {}

        cloudwatch/eventbridge/state-change-for-a-single-metric-alarm.json
        aws/event:c4c1c1c9-6542-e61b-6ef0-8c4d36933a92 from aws.cloudwatch: firing `ServerCpuTooHigh`
        answer {}

        cloudwatch/eventbridge/state-change-for-an-anomaly-detection-alarm.json
        aws/event:daafc9f1-bddd-c6c9-83af-74971fcfc4ef from aws.cloudwatch: firing `EC2 CPU Utilization Anomaly`
        answer {}

        cloudwatch/lambda-direct/composite-with-suppressor-alarm.json
        aws/event:d3dfc86d-384d-24c8-0345-9f7986db0b80 from aws.cloudwatch: firing `ServiceAggregatedAlarm`
        answer {}

        cloudwatch/lambda-direct/composite.json
        aws/1327cc6304af55e32b026f59f34a2d4a3a0e34b9308a684e0bb813a1644b441d from aws.cloudwatch: unreadable
        answer {}

        cloudwatch/lambda-direct/metric.json
        aws/3f72fd1ecc911100677a34cae37ecdba48612c1691441d732928446d18d9d1af from aws.cloudwatch: unreadable
        answer {}

        cloudwatch/lambda-direct/recorded-set-alarm-state-no-dimensions.json
        aws/dc434049ae4f81f2bd09549386877cc52f4541443c3dfbe71e8d4c32a501375a from aws.cloudwatch: firing `test-alarm-1`
        answer {}

        cloudwatch/sns-lambda/assertible-2016-no-statistictype.json
        aws/sns:00000000-0000-0000-0000-000000000000 from arn:aws:sns:us-west-2:123456789123:CloudWatchNotifications: firing `awsrds-app-High-DB-Connections`
        answer {}

        cloudwatch/sns-lambda/assertible-2017-alb.json
        aws/sns:0d7a65e4-435e-5ff1-8e80-37e6fba3ef4f from arn:aws:sns:eu-west-1:111111111111111:Sample-alert: firing `Sample Alert`
        answer {}

        cloudwatch/sns-lambda/go-multiple-metrics.json
        aws/sns:95df01b4-ee98-5cb9-9903-4c221d41eb5e from arn:aws:sns:EXAMPLE: firing `EXAMPLE`
        answer {}

        cloudwatch/sns-lambda/insufficient-data-s3.json
        aws/sns:123456abcdef from arn:aws:sns:ap-southeast-2:1234567890:lambda-parity-test: no_data `test-lambda-parity`
        answer {}

        cloudwatch/sns-lambda/notify-slack-quotes-in-description.json
        aws/sns:f86e3c5b-cd17-1ab8-80e9-c0776d4f1e7a from arn:aws:sns:us-east-1:123456789012:ExampleTopic: resolved `DBMigrationRequired`
        answer {}

        cloudwatch/sns-lambda/rust-multiple-metrics.json
        aws/sns:95df01b4-ee98-5cb9-9903-4c221d41eb5e from arn:aws:sns:EXAMPLE: firing `EXAMPLE`
        aws/sns:95df01b4-ee98-5cb9-9903-4c221d41eb5e from arn:aws:sns:EXAMPLE: firing `EXAMPLE`
        answer {}

        cloudwatch/sns-lambda/rust-single-metric.json
        aws/sns:95df01b4-ee98-5cb9-9903-4c221d41eb5e from arn:aws:sns:EXAMPLE: firing `EXAMPLE`
        answer {}

        lambda-envelope/alb-lambda-target-request-headers-only.json
        GET /?key=hello from 25.12.198.67, 10 headers, ""

        lambda-envelope/alb-lambda-target-request-multivalue-headers.json
        GET /?key=hello from 72.21.198.67, 10 headers, "Some text"

        lambda-envelope/apigw-request.json
        POST /hello/world?name=me from 192.168.196.186, 19 headers, "{\r\n\t\"a\": 1\r\n}"

        lambda-envelope/apigw-v2-request-no-authorizer.json
        GET / from 1.2.3.4, 7 headers, ""

        lambda-envelope/eventbridge-event-obj.json
        aws/event:7bf73129-1428-4cd3-a780-95db273d1602 from aws.ec2: note
        answer {}

        lambda-envelope/go-apigw-request.json
        POST /hello/world?name=me from 192.168.196.186, 19 headers, "{\r\n\t\"a\": 1\r\n}"

        lambda-envelope/go-function-url-domain-only-request-with-base64-encoded-body.json
        POST / from 127.0.0.1, 14 headers, "<idk/>"

        lambda-envelope/go-lambda-urls-request.json
        POST /my/path?parameter1=value1&parameter1=value2&parameter2=value from 123.123.123.123, 2 headers, "Hello from client!"

        lambda-envelope/powertools-kinesisFirehoseSQSEvent.json
        error: the event is none of SNS, SQS, EventBridge, CloudWatch, a function URL, API Gateway or a load balancer

        lambda-envelope/powertools-snsSqsEvent.json
        aws/sns:d88d4479-6ec0-54fe-b63f-1cf9df4bb16e from arn:aws:sqs:eu-west-1:231436140809:powertools265: note
        answer {"batchItemFailures":[]}

        lambda-envelope/powertools-snsSqsFifoEvent.json
        aws/sns:a7c9d2fa-77fa-5184-9de9-89391027cc7d from arn:aws:sqs:eu-west-1:231436140809:Test.fifo: note
        answer {"batchItemFailures":[]}

        lambda-envelope/powertools-sqsDlqTriggerEvent.json
        aws/sqs:db37cc61-1bb0-4e77-b6f3-7cf87f44a72a from arn:aws:sqs:eu-central-1:123456789012:sqs-redrive-SampleDLQ-Emgp9MFSLBZm: note
        answer {"batchItemFailures":[]}

        lambda-envelope/sns-event-pascal-case.json
        aws/sns:82833b5c-8d5d-56d0-b0e1-7511f8253eb8 from arn:aws:sns:us-east-1:246796806071:snsNetTest: note
        answer {}

        lambda-envelope/sns-event.json
        aws/sns:82833b5c-8d5d-56d0-b0e1-7511f8253eb8 from arn:aws:sns:us-east-1:246796806071:snsNetTest: note
        answer {}

        lambda-envelope/sqs-event.json
        aws/sqs:MessageID_1 from arn:aws:sqs:us-west-2:123456789012:SQSQueue: note
        answer {"batchItemFailures":[]}
    "#]],
    );
}

#[test]
fn a_part_of_a_batch_is_reported_and_what_cannot_be_read_goes_to_the_dead_letters() {
    let record = |id: &str, body: &str| json!({ "messageId": id, "body": body, "eventSource": "aws:sqs", "eventSourceARN": QUEUE });
    let alert = r#"{"version":"4","alerts":[{"status":"firing","fingerprint":"f","startsAt":"2026-12-02T03:04:05Z","labels":{}}]}"#;
    let event = json!({ "Records": [
        record("a", alert), record("b", "not JSON"), record("c", alert), record("d", alert),
    ] });
    let messages = messages(&event);
    let ids: Vec<_> = messages.deliveries.iter().map(|one| one.id.to_string()).collect();
    assert_eq!(ids[0], "alertmanager/sqs:a");
    let answer = |failed: &[usize]| messages.answer(&failed.iter().copied().collect()).unwrap();
    assert_eq!(answer(&[]), json!({ "batchItemFailures": [{ "itemIdentifier": "b" }] }));
    let both = json!([{ "itemIdentifier": "b" }, { "itemIdentifier": "d" }]);
    assert_eq!(answer(&[3])["batchItemFailures"], both);
}

#[test]
fn without_an_answer_for_a_part_the_whole_invocation_fails_and_comes_again() {
    let event = json!({ "id": "e1", "source": "aws.events", "detail-type": "Scheduled Event",
        "time": "2026-12-02T03:04:05Z", "detail": {} });
    let messages = messages(&event);
    assert_eq!(messages.deliveries[0].id.to_string(), "aws/event:e1");
    assert_eq!(messages.answer(&BTreeSet::new()), Ok(json!({})));
    assert_eq!(messages.answer(&BTreeSet::from([0])), Err(LambdaError::NotKept(1)));
}

#[test]
fn what_is_no_event_is_an_error() {
    for (event, expected) in [
        ("", "the event is not JSON: EOF while parsing a value at line 1 column 0"),
        ("[]", "the event is none of"),
        (r#"{"Records":[]}"#, "the event is none of"),
        (r#"{"Records":{}}"#, "the event's `Records` is not as documented"),
        (r#"{"Records":[{"eventSource":"aws:s3"}]}"#, "the event is none of"),
        (r#"{"requestContext":{"elb":{}},"httpMethod":"GET"}"#, "the event's `path`"),
        (
            r#"{"version":"2.0","rawPath":"/","body":"%","isBase64Encoded":true,
                "requestContext":{"http":{"method":"POST"}}}"#,
            "the event's `body`",
        ),
    ] {
        let error = read(event.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{event}: {error}");
    }
}

/// The same request in the shapes of all who bring requests.
fn shapes(path: &str, query: &str, secret: &str, body: &str) -> Vec<(&'static str, Value)> {
    let headers =
        json!({ "Authorization": format!("Bearer {secret}"), "x-forwarded-for": "1.2.3.4" });
    let lists =
        json!({ "authorization": [format!("Bearer {secret}")], "x-forwarded-for": ["1.2.3.4"] });
    let base64 = STANDARD.encode(body);
    let http = json!({ "http": { "method": "POST", "sourceIp": "1.2.3.4" } });
    vec![
        (
            "function URL",
            json!({ "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": headers,
                "requestContext": http, "body": base64, "isBase64Encoded": true }),
        ),
        (
            "version 1",
            json!({ "path": path, "httpMethod": "POST", "headers": headers, "multiValueHeaders": lists,
                "requestContext": { "identity": { "sourceIp": "1.2.3.4" } }, "body": body,
                "isBase64Encoded": false }),
        ),
        (
            "load balancer",
            json!({ "path": path, "httpMethod": "POST", "headers": headers,
                "requestContext": { "elb": {} }, "body": body, "isBase64Encoded": false }),
        ),
        (
            "load balancer with lists",
            json!({ "path": path, "httpMethod": "POST", "multiValueHeaders": lists,
                "requestContext": { "elb": {} }, "body": base64, "isBase64Encoded": true }),
        ),
    ]
}

#[tokio::test]
async fn a_request_is_judged_by_the_sources_own_authentication_whatever_its_shape() {
    let body = r#"{"alarms":[]}"#;
    for (secret, expected) in [(SECRET, 202), ("wrong-0123456789abcdef", 401)] {
        for (shape, event) in shapes("/v1/events/generic", "", secret, body) {
            let intake = Intake::new();
            let answer = intake.send(request(&event).request).await;
            assert_eq!(answer.status.as_u16(), expected, "{shape}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn networks_and_rates_hold_for_the_client_that_the_event_names() {
    for (shape, event) in shapes("/v1/events/grafana", "", SECRET, "{}") {
        let intake = Intake::new();
        let answer = intake.send(request(&event).request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{shape}");
        let near = event.to_string().replace("1.2.3.4", "198.51.100.7");
        let near: Value = serde_json::from_str(&near).unwrap();
        let answer = intake.send(request(&near).request).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{shape}: {}", answer.body);
    }
}

#[tokio::test]
async fn an_answer_has_the_shape_of_its_event() {
    let headers = HeaderMap::from_iter([(
        axum::http::header::RETRY_AFTER,
        axum::http::HeaderValue::from_static("10"),
    )]);
    let shown: Vec<String> = shapes("/", "", SECRET, "")
        .iter()
        .map(|(shape, event)| {
            let reply = request(event).reply(StatusCode::SERVICE_UNAVAILABLE, &headers, b"later");
            format!("{shape}: {reply}")
        })
        .collect();
    expect_test::expect![[r#"
        function URL: {"body":"later","headers":{"retry-after":"10"},"isBase64Encoded":false,"statusCode":503}
        version 1: {"body":"later","headers":{"retry-after":"10"},"isBase64Encoded":false,"statusCode":503}
        load balancer: {"body":"later","headers":{"retry-after":"10"},"isBase64Encoded":false,"statusCode":503,"statusDescription":"503 Service Unavailable"}
        load balancer with lists: {"body":"later","isBase64Encoded":false,"multiValueHeaders":{"retry-after":["10"]},"statusCode":503,"statusDescription":"503 Service Unavailable"}"#]].assert_eq(&shown.join("\n"));
    let bytes = request(&shapes("/", "", SECRET, "")[0].1).reply(StatusCode::OK, &headers, b"\xff");
    assert_eq!((&bytes["body"], &bytes["isBase64Encoded"]), (&json!("/w=="), &json!(true)));
}

#[test]
fn a_query_reaches_the_source_as_it_was_sent() {
    let version1 = json!({ "path": "/a", "httpMethod": "POST", "requestContext": {},
        "multiValueQueryStringParameters": { "secret": ["a+b&c", "d"] } });
    assert_eq!(request(&version1).request.uri(), "/a?secret=a%2Bb%26c&secret=d");
    let balancer = json!({ "path": "/a", "httpMethod": "POST", "requestContext": { "elb": {} },
        "queryStringParameters": { "secret": "a%2Bb" } });
    assert_eq!(request(&balancer).request.uri(), "/a?secret=a%2Bb");
    let version2 = json!({ "version": "2.0", "rawPath": "/a", "rawQueryString": "secret=a%2Bb",
        "requestContext": { "http": { "method": "POST" } } });
    assert_eq!(request(&version2).request.uri(), "/a?secret=a%2Bb");
}

#[tokio::test]
async fn a_request_that_lambda_brings_twice_is_one_delivery() {
    let (_, event) = shapes("/v1/events/generic", "", SECRET, r#"{"alarms":[]}"#).remove(0);
    let intake = Intake::new();
    for expected in [StatusCode::ACCEPTED, StatusCode::OK] {
        assert_eq!(intake.send(request(&event).request).await.status, expected);
    }
}
