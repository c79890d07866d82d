//! Whatever bytes arrive, decoding ends in a value.

use std::path::Path;

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;
use untoil_intake::{Decoded, Decoders, sources};

use crate::entries::{decoded, decoded_as, enriched, invoked, mapped, queued, taken, verified};
use crate::goldens::delivery;

/// Decodes as every source; what comes out is inside its bounds and JSON.
fn check(body: &[u8]) {
    for source in sources() {
        decoded_as(source, body);
    }
}

fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut all = Vec::new();
    for source in sources() {
        for entry in std::fs::read_dir(folder.join(source)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.push(std::fs::read(path).unwrap());
            }
        }
    }
    all.sort();
    all
}

/// A change of a fixture: cut, overwritten, with a piece of it doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let base = prop::sample::select(fixtures());
    let splice = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        prop::sample::select(vec![
            b"null".to_vec(),
            b"1e999".to_vec(),
            b"-0".to_vec(),
            b"{}".to_vec(),
            b"[]".to_vec(),
            b"\"\"".to_vec(),
            b"\\u0000".to_vec(),
            b"\\ud800".to_vec(),
            b"9007199254740993".to_vec(),
        ]),
    ];
    (base, any::<prop::sample::Index>(), any::<prop::sample::Index>(), splice).prop_map(
        |(mut bytes, from, to, splice)| {
            let (a, b) = (from.index(bytes.len()), to.index(bytes.len()));
            bytes.splice(a.min(b)..(a.min(b) + (a.max(b) - a.min(b)).min(40)), splice);
            bytes
        },
    )
}

/// A field's value in JSON replaced by another value: stays JSON, so it goes deeper.
fn replaced() -> impl Strategy<Value = Vec<u8>> {
    let values = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-1.5e300",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "[{\"name\":1}]",
        "{\"a\":null}",
        "\"2026-11-02T03:04:05Z\"",
        "99999999999999999999",
    ]);
    (prop::sample::select(fixtures()), any::<prop::sample::Index>(), values).prop_map(
        |(bytes, which, value)| {
            let mut body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let mut paths = Vec::new();
            walk(&body, String::new(), &mut paths);
            let path = which.get(&paths).clone();
            *body.pointer_mut(&path).unwrap() = serde_json::from_str(value).unwrap();
            body.to_string().into_bytes()
        },
    )
}

/// One that reads the fixtures of Alertmanager.
const MAPPING: &str = "alarms: /alerts\nkey: [/fingerprint, /labels/alertname]\n\
    name: /labels/alertname\nstate: { from: /status, firing: [firing, 1], resolved: [resolved] }\n\
    changed_at: { from: /startsAt, format: any }\nlabels: { \"*\": /labels }\n";

/// A mapping with a piece of it replaced.
fn mapping() -> impl Strategy<Value = Vec<u8>> {
    let put = prop::sample::select(vec![
        "", "/", "/0", "/~1", "/~2", "\"*\"", "[]", "[/a, /b]", "null", "{}", "1e999", "\u{0}",
        "한글",
    ]);
    (any::<prop::sample::Index>(), 0..12_usize, put).prop_map(|(at, cut, put)| {
        let mut bytes = MAPPING.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(MAPPING.len()), put.bytes());
        bytes
    })
}

const RULES: &str = "- when: { name: '^(?<service>[a-z-]+)', labels: { severity: . } }\n  \
    set: { severity: critical, service: \"{service}\" }\n\
    - set:\n    environment: { of: account, words: { \"123456789012\": prod } }\n    \
    owner: \"{labels.team}\"\n  override: true\n";

/// Rules of enrichment, with a piece of them replaced.
fn rules() -> impl Strategy<Value = Vec<u8>> {
    let put = prop::sample::select(vec![
        "", "^", "(", "(?<a>", "{", "}", "{{", "{a}", "*", "\\", ".{0,9}", "[", "null", "\u{0}",
        "한글",
    ]);
    (any::<prop::sample::Index>(), 0..12_usize, put).prop_map(|(at, cut, put)| {
        let mut bytes = RULES.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(RULES.len()), put.bytes());
        bytes
    })
}

/// An event of Lambda's, of each kind, that carries a body; with a value of it replaced.
fn invocations() -> impl Strategy<Value = Vec<u8>> {
    let kinds = 0..6_usize;
    let values = prop::sample::select(vec!["null", "[]", "{}", "\"\"", "7", "[{}]", "\"/a\""]);
    (kinds, replaced(), any::<prop::sample::Index>(), prop::option::of(values)).prop_map(
        |(kind, body, which, value)| {
            let body = String::from_utf8(body).unwrap();
            let mut event = event(kind, &body);
            if let Some(value) = value {
                let mut paths = Vec::new();
                walk(&event, String::new(), &mut paths);
                let path = which.get(&paths).clone();
                *event.pointer_mut(&path).unwrap() = serde_json::from_str(value).unwrap();
            }
            event.to_string().into_bytes()
        },
    )
}

fn event(kind: usize, body: &str) -> serde_json::Value {
    let queue = "arn:aws:sqs:ap-northeast-2:210987654321:events";
    let headers = serde_json::json!({ "ce-id": "1", "ce-specversion": "1.0" });
    match kind {
        0 => {
            serde_json::json!({ "Records": [{ "eventSource": "aws:sqs", "messageId": "m", "body": body,
            "eventSourceARN": queue, "messageAttributes": { "ce-id": { "stringValue": "1" } } }] })
        }
        1 => {
            serde_json::json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Type": "Notification",
            "MessageId": "m", "TopicArn": "t", "Message": body, "Timestamp": "t", "Subject": null } }] })
        }
        2 => serde_json::from_str(body).unwrap(),
        3 => {
            serde_json::json!({ "version": "2.0", "rawPath": "/v1/events/cloudevents", "body": body,
            "rawQueryString": "", "headers": headers, "isBase64Encoded": false,
            "requestContext": { "http": { "method": "POST", "sourceIp": "198.51.100.7" } } })
        }
        4 => serde_json::json!({ "httpMethod": "POST", "path": "/v1/events/azure", "body": body,
            "headers": headers, "requestContext": { "identity": { "sourceIp": "198.51.100.7" } } }),
        _ => serde_json::json!({ "httpMethod": "OPTIONS", "path": "/v1/events/sns", "body": body,
            "multiValueHeaders": { "x-forwarded-for": ["198.51.100.7"] },
            "multiValueQueryStringParameters": { "a": ["b"] }, "requestContext": { "elb": {} } }),
    }
}

/// The signed fixture, with a few bytes of it changed.
fn changed_envelope() -> impl Strategy<Value = Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sns/notification-v1.json");
    let base = std::fs::read(path).unwrap();
    let splice = prop::sample::select(vec![
        &b""[..],
        b" ",
        b"\n",
        b",\"Subject\":null",
        b",\"Message\":\"{}\"",
        b"\\u0061",
        b"\\/",
        b"1",
    ]);
    (any::<prop::sample::Index>(), 0..3_usize, splice).prop_map(move |(at, cut, splice)| {
        let mut bytes = base.clone();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(base.len()), splice.iter().copied());
        bytes
    })
}

fn walk(value: &serde_json::Value, at: String, paths: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, inner) in map {
                walk(inner, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), paths);
            }
        }
        serde_json::Value::Array(list) => {
            for (i, inner) in list.iter().enumerate() {
                walk(inner, format!("{at}/{i}"), paths);
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
    paths.push(at);
}

/// The lines before a body: a source and what proves its sender, or nearly so.
fn heads() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        "authorization: (Basic|Bearer|basic  )[ -~]{0,40}",
        "authorization: Bearer 0123456789abcdef0123456789abcdef",
        "(x-secret|x-api-key): [ -~]{0,40}",
        "x-pagerduty-signature: (v1=[0-9a-f]{0,70},? ?){0,6}",
        "sentry-hook-signature: [0-9a-fA-F]{60,66}",
        "x-signature: t=[a-zA-Z0-9+/=]{0,90}",
        "x-time: ([0-9]{9,20}|2026-12-02T03:0[0-9]:06Z|[ -~]{0,20})",
        "content-(type|encoding|length): [ -~]{0,40}",
        "x-amz-sns-(rawdelivery|message-id): [ -~]{0,140}",
        "idempotency-key: [ -~]{0,140}",
        "ce-(id|source|type|subject|time|specversion|data|x): (1\\.0|[!-~\\x80-\\xff]{0,30}|[ -~]{0,40})",
        "content-type: application/cloudevents(-batch)?\\+json",
        "[a-z-]{1,10}: [\\x20-\\x7e\\x80-\\xff]{0,20}",
    ];
    let source = prop::sample::select(sources());
    (source, prop::collection::vec(header, 0..4))
        .prop_map(|(source, headers)| format!("{source}\n{}\n\n", headers.join("\n")))
}

proptest! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn arbitrary_bytes_end_in_a_value(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body);
    }

    #[test]
    fn mutated_fixtures_end_in_a_value(body in mutated()) {
        check(&body);
    }

    #[test]
    fn fixtures_with_a_replaced_value_end_in_a_value(body in replaced()) {
        check(&body);
    }

    #[test]
    fn any_request_is_answered_and_the_next_one_is_taken(head in heads(), body in mutated()) {
        let input = [head.as_bytes(), &body].concat();
        taken(&input);
        decoded(&input);
    }

    #[test]
    fn any_mapping_of_any_body_ends_in_a_value(input in mapping(), body in replaced()) {
        mapped(&[&input, &b"\n---\n"[..], &body].concat());
    }

    #[test]
    fn any_rules_of_enrichment_change_nothing_but_what_they_derive(
        rules in rules(), head in heads(), body in mutated(),
    ) {
        enriched(&[&rules, &b"\n---\n"[..], head.as_bytes(), &body].concat());
    }

    #[test]
    fn any_event_of_lambda_is_read_or_refused(event in invocations()) {
        invoked(&event);
    }

    #[test]
    fn any_message_of_a_queue_is_kept_once(head in heads(), body in mutated()) {
        queued(&[head.as_bytes(), &body].concat());
    }

    #[test]
    fn a_changed_envelope_is_refused_or_says_the_same(body in changed_envelope()) {
        verified(&body);
    }

    #[test]
    fn any_text_in_a_name_ends_in_a_value(text in "\\PC{0,400}|[\\x00-\\x20]{0,40}") {
        let body = serde_json::json!({
            "AlarmName": text, "NewStateValue": "ALARM", "NewStateReason": text,
            "StateChangeTime": "2026-11-02T03:04:05.678+0000", "AlarmArn": text,
            "Trigger": {"Dimensions": [{"name": text, "value": text}]}, "AlarmTags": {text.clone(): text},
        });
        check(body.to_string().as_bytes());
    }
}

#[test]
fn the_mapping_that_is_changed_reads_a_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/alertmanager/mixed-group.json");
    let mut decoders = Decoders::default();
    decoders.mapping("tool".parse().unwrap(), serde_yaml::from_str(MAPPING).unwrap()).unwrap();
    let read = decoders.decode(&delivery("tool", std::fs::read(path).unwrap()));
    assert!(matches!(read, Ok(Decoded::Alarms(_))), "{read:?}");
}

#[test]
fn the_rules_that_are_changed_derive_words() {
    let rules = serde_yaml::from_str(RULES).unwrap();
    let body =
        br#"{"alarms":[{"key":"a","name":"card-api 5xx","state":"firing","labels":{"severity":"x"},
        "account":"123456789012","changed_at":"2026-12-02T03:04:05Z"}]}"#;
    let read = Decoders::default().enriched(rules).decode(&delivery("generic", body.to_vec()));
    let Ok(Decoded::Alarms(alarms)) = read else { panic!("{read:?}") };
    assert_eq!(alarms[0].labels["service"], "card-api");
    assert_eq!(alarms[0].labels["environment"], "prod");
}

#[test]
fn deep_nesting_is_unreadable_and_does_not_overflow() {
    for open in ["[", "{\"a\":"] {
        let body = open.repeat(100_000);
        check(body.as_bytes());
        let carried = serde_json::json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": body, "Timestamp": "t"});
        check(carried.to_string().as_bytes());
    }
}
