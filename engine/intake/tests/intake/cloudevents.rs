//! CloudEvents: the three modes, what makes one the same, what they carry, and who may send them.
#![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use untoil_intake::{
    Decoded, Decoders, DecodersError, Invocation, LambdaSources, decode, explain, invocation,
};
use untoil_model::{Alarm, Delivery};

use crate::corpus::{bodies, corpus, told};
use crate::goldens::delivery;
use crate::http::{Intake, SECRET, post};
use crate::stand_in::NOW;

const BINARY: [(&str, &str); 6] = [
    ("ce-specversion", "1.0"),
    ("ce-id", "7f3b8c1e-0003"),
    ("ce-source", "/ops/backup"),
    ("ce-type", "kr.example.backup.failed"),
    ("ce-subject", "%EC%95%BC%EA%B0%84"),
    ("content-type", "application/json"),
];
const DATA: &str = r#"{"state":"firing","reason":"멈춤"}"#;

type Headers = &'static [(&'static str, &'static str)];

fn with(headers: &[(&str, &str)], body: &str) -> Delivery {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Delivery { headers: headers.collect(), ..delivery("cloudevents", body.as_bytes().to_vec()) }
}

fn alarms(decoded: Decoded) -> Vec<Alarm> {
    let Decoded::Alarms(alarms) = decoded else { panic!("{decoded:?}") };
    alarms
}

#[test]
fn every_event_of_the_corpus_gives_what_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let mut found = Vec::new();
    for path in bodies(&corpus, "cloudevents") {
        let file = corpus.join(&path);
        let headers = std::fs::read(file.with_extension("headers.json")).unwrap();
        let headers: BTreeMap<String, String> = serde_json::from_slice(&headers).unwrap();
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
        let body = std::fs::read(&file).unwrap();
        let delivery = Delivery { headers: headers.collect(), ..delivery("cloudevents", body) };
        let line = told(decode(&delivery));
        // What the events themselves say, beside that they state no alarm.
        let mut decoders = Decoders::default();
        let mapping = "key: [/source, /id]\nstate: { from: /type, firing: [com.example.someevent, \
            com.example.someotherevent], resolved: [] }\nchanged_at: /time\nname: /type\n\
            labels: { message: /data/message, appinfoA: /data/appinfoA, data: /data }\n";
        let source = delivery.id.source.as_str().to_owned() + "-ours";
        decoders.mapping(source.parse().unwrap(), serde_yaml::from_str(mapping).unwrap()).unwrap();
        decoders.in_events(source.parse().unwrap()).unwrap();
        let mut ours = delivery.clone();
        ours.id.source = source.parse().unwrap();
        let mapped: Vec<String> = alarms(decoders.decode(&ours).unwrap())
            .iter()
            .map(|alarm| format!("{} {} {:?}", alarm.key, alarm.changed_at, alarm.labels))
            .collect();
        found.push(format!("{path}\n{line}\n{}\n", mapped.join("\n")));
    }
    let found = found.concat();
    expect_test::expect![[r#"
        cloudevents/binary.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext~1subcontext/1234-1234-1234 2018-04-05T03:56:24Z {"message": "Hello World!"}
        cloudevents/spec-json-0.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/A234-1234-1234 2018-04-05T17:31:00Z {}
        cloudevents/spec-json-10.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/D234-1234-1234 2026-11-02T03:05:00Z {}
        cloudevents/spec-json-12.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext~14/B234-1234-1234 2018-04-05T17:31:00Z {}
        cloudevents-ours:~1mycontext~19/C234-1234-1234 2018-04-05T17:31:05Z {"appinfoA": "abc"}
        cloudevents/spec-json-2.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/B234-1234-1234 2018-04-05T17:31:00Z {"data": "<much wow=\"xml\"/>"}
        cloudevents/spec-json-4.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/C234-1234-1234 2018-04-05T17:31:00Z {"appinfoA": "abc"}
        cloudevents/spec-json-6.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/C234-1234-1234 2018-04-05T17:31:00Z {"data": "1.5"}
        cloudevents/spec-json-8.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext/D234-1234-1234 2018-04-05T17:31:00Z {"data": "I'm just a string"}
        cloudevents/structured.json
        unreadable: the event's `data` has no `state` of `firing`, `resolved` or `no_data`; read it with `envelope: cloudevents` and a `mapping` or another `decoder`
        cloudevents-ours:~1mycontext~1subcontext/1234-1234-1234 2018-04-05T03:56:24Z {"message": "Hello World!"}
    "#]].assert_eq(&found);
}

#[test]
fn in_binary_mode_the_headers_are_the_event_and_told_as_such() {
    let (decoded, origins) = explain(&with(&BINARY, DATA)).unwrap();
    let alarm = alarms(decoded).remove(0);
    assert_eq!(alarm.key.as_str(), "cloudevents:/ops/backup 야간");
    assert_eq!((alarm.name.as_str(), alarm.reason.as_str()), ("야간", "멈춤"));
    let lines: Vec<String> =
        origins[0].iter().map(|origin| format!("{}: {}", origin.field, origin.from)).collect();
    expect_test::expect![[r#"
        changed_at: the time of receipt
        dimensions.subject: header `ce-subject`
        key: header `ce-source` + header `ce-subject`
        labels.cloudevents.id: header `ce-id`
        metric: header `ce-type`
        name: header `ce-subject`
        namespace: header `ce-source`
        reason: /reason
        state: /state"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn headers_that_are_no_event_are_unreadable_and_nothing_is_made_up() {
    let table: &[(Headers, &str, &str)] = &[
        (&BINARY[1..], DATA, "`/specversion` is missing"),
        (&BINARY[..1], DATA, "`/id` is missing"),
        (&BINARY, "not JSON", "not JSON: expected ident at line 1 column 2"),
        (&BINARY, "[]", "the event's `data` has no `state`"),
        (&[("ce-data", "x")], "{}", "not as documented: `ce-data` is no header of an event"),
        (&[("ce-source", "%ff")], "{}", "`/source` is `%ff`, not percent-encoded UTF-8"),
        (
            &[("content-type", "application/cloudevents+avro")],
            "{}",
            "only the JSON format of CloudEvents is read",
        ),
        (
            &[("content-type", "application/cloudevents-batch+json")],
            "{}",
            "not as documented: a batch is a list of events",
        ),
        (
            &[("content-type", "Application/CloudEvents+JSON; charset=utf-8")],
            "[]",
            "not as documented: an event is an object",
        ),
    ];
    for (headers, body, expected) in table {
        let error = decode(&with(headers, body)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{headers:?} {body}: {error}");
    }
}

#[test]
fn a_batch_is_read_whole_or_not_at_all() {
    let event = |n: usize, state: &str| {
        json!({ "specversion": "1.0", "id": n.to_string(), "source": "/s", "type": "t",
            "subject": n.to_string(), "data": { "state": state } })
    };
    let batch = |n: usize, last: &str| {
        let mut all: Vec<Value> = (1..n).map(|n| event(n, "firing")).collect();
        all.push(event(n, last));
        with(&[("content-type", "application/cloudevents-batch+json")], &json!(all).to_string())
    };
    assert_eq!(alarms(decode(&batch(2_000, "resolved")).unwrap()).len(), 2_000);
    let error = decode(&batch(2_001, "firing")).unwrap_err().to_string();
    assert_eq!(error, "more than 2000 events in one batch");
    let error = decode(&batch(3, "open")).unwrap_err().to_string();
    assert!(error.contains("unknown variant `open`"), "{error}");
}

#[test]
fn an_attribute_that_only_begins_with_data_is_held_to_what_attributes_are() {
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "subject": "x", "datacentre": {}, "data": { "state": "firing" } });
    let error = decode(&with(&[], &event.to_string())).unwrap_err().to_string();
    assert_eq!(error, "`/datacentre` is `{}`, not a text, number or truth value");
}

#[test]
fn a_structured_event_is_told_by_its_content_type_whatever_its_headers() {
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "subject": "body", "data": { "state": "firing" } });
    let mut headers = BINARY.to_vec();
    headers[5].1 = "application/cloudevents+json";
    let alarm = alarms(decode(&with(&headers, &event.to_string())).unwrap()).remove(0);
    assert_eq!(alarm.name, "body");
}

#[test]
fn what_an_event_carries_is_read_by_another_senders_decoder() {
    let azure = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/azure/fired.json"));
    let azure: Value = serde_json::from_slice(&azure.unwrap()).unwrap();
    let plain = alarms(decode(&delivery("azure", azure.to_string().into_bytes())).unwrap());
    let mut decoders = Decoders::default();
    decoders.decoder("grid".parse().unwrap(), Some("azure")).unwrap();
    decoders.in_events("grid".parse().unwrap()).unwrap();
    // Azure's own name needs no other word.
    decoders.in_events("azure".parse().unwrap()).unwrap();
    let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/subscriptions/1",
        "type": "Microsoft.Insights.Alert", "data": azure });
    let in_body = delivery("grid", event.to_string().into_bytes());
    event["data"] = Value::from(azure.to_string());
    let as_text = delivery("grid", event.to_string().into_bytes());
    let in_batch = delivery("azure", json!([event, event]).to_string().into_bytes());
    let binary = Delivery { headers: with(&BINARY, "").headers, ..in_body.clone() };
    let binary = Delivery { body: azure.to_string().into_bytes(), ..binary };
    for (delivery, place) in [
        (in_body, "/data/data/essentials/monitorCondition"),
        (as_text, "/data → /data/essentials/monitorCondition"),
        (in_batch, "/0/data → /data/essentials/monitorCondition"),
        (binary, "/data/essentials/monitorCondition"),
    ] {
        let (decoded, origins) = decoders.explain(&delivery).unwrap();
        let mut alarm = alarms(decoded).remove(0);
        let state = origins[0].iter().find(|origin| origin.field == "state").unwrap();
        assert_eq!(state.from, place);
        let source = &delivery.id.source;
        assert!(alarm.key.as_str().starts_with(&format!("{source}:")), "{}", alarm.key);
        alarm.key = plain[0].key.clone();
        alarm.source = plain[0].source.clone();
        assert_eq!(alarm, plain[0]);
    }
    let twice = decoders.in_events("cloudevents".parse().unwrap());
    assert_eq!(twice, Err(DecodersError::EventsInEvents));
}

#[test]
fn what_pub_sub_pushes_is_read_when_an_event_hands_it_on() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gcp/pubsub.json");
    let pushed = std::fs::read(path).unwrap();
    let plain = alarms(decode(&delivery("gcp", pushed.clone())).unwrap());
    let mut decoders = Decoders::default();
    decoders.in_events("gcp".parse().unwrap()).unwrap();
    let handed_on = Delivery { headers: with(&BINARY, "").headers, ..delivery("gcp", pushed) };
    assert_eq!(alarms(decoders.decode(&handed_on).unwrap()), plain);
}

fn bearer() -> String {
    format!("Bearer {SECRET}")
}

#[tokio::test]
async fn an_event_is_known_by_all_it_says_in_whatever_mode_and_answered_without_words() {
    let intake = Intake::new();
    let event = json!({ "specversion": "1.0", "id": "7f3b8c1e-0003", "source": "/ops/backup",
        "type": "kr.example.backup.failed", "subject": "야간", "data": { "reason": "멈춤", "state": "firing" } });
    let bearer = bearer();
    let mut binary = vec![("authorization", bearer.as_str())];
    binary.extend(BINARY);
    let structured =
        [("authorization", bearer.as_str()), ("content-type", "application/cloudevents+json")];
    let mut other = event.clone();
    other["source"] = "/ops/other".into();
    // A counter that begins again, or firing and resolved under one id.
    let mut over = event.clone();
    over["data"]["state"] = "resolved".into();
    let mut later = event.clone();
    later["time"] = "2026-11-02T03:05:00Z".into();
    let mut as_bytes = event.clone();
    as_bytes["datacontenttype"] = "application/json; charset=utf-8".into();
    as_bytes.as_object_mut().unwrap().remove("data");
    as_bytes["data_base64"] = STANDARD.encode(DATA).into();
    for (request, status) in [
        (post("cloudevents", &binary, DATA), 202),
        (post("cloudevents", &binary, DATA), 200),
        (post("cloudevents", &structured, event.to_string()), 200),
        (post("cloudevents", &structured, json!([event]).to_string()), 202),
        (post("cloudevents", &structured, as_bytes.to_string()), 200),
        (post("cloudevents", &structured, other.to_string()), 202),
        (post("cloudevents", &structured, over.to_string()), 202),
        (post("cloudevents", &structured, over.to_string()), 200),
        (post("cloudevents", &structured, later.to_string()), 202),
        // Without a body: the attributes may say all.
        (post("cloudevents", &[&binary[..2], &[("ce-id", "2")]].concat(), ""), 202),
        (post("cloudevents", &binary[..1], ""), 400),
        (post("cloudevents", &[&binary[..], &[("ce-id", "2")]].concat(), DATA), 400),
        (post("cloudevents", &BINARY, DATA), 401),
    ] {
        let answer = intake.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        if status < 300 {
            assert_eq!(answer.body, Value::Null);
            assert!(!answer.headers.contains_key("content-type"));
        }
    }
    let kept = intake.kept().await;
    let kept = kept.iter().find(|kept| kept.body == DATA.as_bytes()).unwrap();
    let names: Vec<_> = kept.headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["ce-id", "ce-source", "ce-specversion", "ce-subject", "ce-type", "content-type"]
    );
    assert_eq!(alarms(decode(kept).unwrap())[0].name, "야간", "a kept one is read as it came");
}

#[tokio::test]
async fn headers_of_an_event_that_cannot_be_kept_are_refused_and_other_sources_keep_none() {
    let intake = Intake::new();
    let bearer = bearer();
    let long = "x".repeat(20_000);
    let head = [("authorization", bearer.as_str()), ("ce-subject", long.as_str())];
    assert_eq!(intake.send(post("cloudevents", &head, DATA)).await.status.as_u16(), 431);
    let mut head = vec![("authorization", bearer.as_str())];
    head.extend(BINARY);
    assert_eq!(intake.send(post("generic", &head, DATA)).await.status.as_u16(), 202);
    let kept = intake.kept().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].headers.len(), 1, "{:?}", kept[0].headers);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_told_apart_and_the_same_in_both_modes() {
    let intake = Intake::new();
    let bearer = bearer();
    let mut binary = vec![("authorization", bearer.as_str())];
    binary.extend(&BINARY[..4]);
    binary.push(("content-type", "image/png"));
    let structured =
        [("authorization", bearer.as_str()), ("content-type", "application/cloudevents+json")];
    let event = |bytes: &[u8]| {
        json!({ "specversion": "1.0", "id": "7f3b8c1e-0003", "source": "/ops/backup",
            "type": "kr.example.backup.failed", "datacontenttype": "image/png",
            "data_base64": STANDARD.encode(bytes) })
        .to_string()
    };
    for (request, status) in [
        (post("cloudevents", &binary, &b"\xff\x01"[..]), 202),
        (post("cloudevents", &binary, &b"\xff\x02"[..]), 202),
        (post("cloudevents", &structured, event(b"\xff\x01")), 200),
        (post("cloudevents", &structured, event(b"\xff\x03")), 202),
    ] {
        let answer = intake.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}

#[tokio::test]
async fn where_bodies_are_signed_events_are_structured_because_headers_are_not_signed() {
    let intake = Intake::new();
    let event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "subject": "x", "data": { "state": "firing" } })
    .to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, event.as_bytes());
    let tag = tag.as_ref().iter().fold(String::new(), |tag, byte| format!("{tag}{byte:02x}"));
    let signed = ("x-signature", tag.as_str());
    let structured = ("content-type", "application/cloudevents+json; charset=utf-8");
    let json = ("content-type", "application/json");
    for (source, headers, status, says) in [
        ("signed-events", &[signed, json, ("ce-id", "2")][..], 400, "headers are not signed"),
        ("signed-events", &[signed, structured, ("ce-subject", "y")], 400, "without `ce-` headers"),
        ("signed-events", &[signed, json], 400, "send structured events, as"),
        ("signed-events", &[signed], 400, "send structured events, as"),
        ("signed-events", &[signed, structured, json], 400, "send structured events, as"),
        ("sentry", &[signed, json, ("ce-id", "2")], 400, "headers are not signed"),
        ("pagerduty", &[signed, json, ("ce-id", "2")], 400, "headers are not signed"),
        ("sns", &[("ce-id", "2")], 400, "headers are not signed"),
        ("signed-events", &[("x-signature", "00"), structured], 401, ""),
    ] {
        let answer = intake.send(post(source, headers, event.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{source} {headers:?}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    assert_eq!(intake.kept().await.len(), 0);
    for status in [202, 200] {
        let answer = intake.send(post("signed-events", &[signed, structured], event.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}

#[tokio::test]
async fn an_event_that_sns_hands_on_raw_is_known_as_by_any_other_way() {
    let intake = Intake::new();
    let bearer = bearer();
    let raw = |id: &'static str| {
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(BINARY);
        headers.extend([("x-amz-sns-rawdelivery", "true"), ("x-amz-sns-message-id", id)]);
        post("cloudevents", &headers, DATA)
    };
    assert_eq!(intake.send(raw("a")).await.status.as_u16(), 202);
    assert_eq!(intake.send(raw("b")).await.status.as_u16(), 200);
}

#[test]
fn data_without_a_time_of_its_own_has_the_events() {
    let mapping = "key: /subject\nstate: { from: /data/now, firing: [bad], resolved: [good] }\n";
    let mut decoders = Decoders::default();
    let source = || "ours".parse().unwrap();
    decoders.mapping(source(), serde_yaml::from_str(mapping).unwrap()).unwrap();
    decoders.in_events(source()).unwrap();
    let mut event = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "subject": "x", "time": "2026-11-02T03:05:00.5Z", "data": { "now": "bad" } });
    decoders.in_events("dynatrace".parse().unwrap()).unwrap();
    let read = |event: &Value| {
        let (decoded, origins) =
            decoders.explain(&delivery("ours", event.to_string().into_bytes()))?;
        let from = origins[0].iter().find(|origin| origin.field == "changed_at").unwrap();
        Ok::<_, untoil_intake::DecodeError>((alarms(decoded)[0].changed_at, from.from.clone()))
    };
    let at = "2026-11-02T03:05:00.5Z".parse().unwrap();
    assert_eq!(read(&event).unwrap(), (at, "/time".to_owned()));
    let dynatrace = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dynatrace/open.json");
    let dynatrace: Value = serde_json::from_slice(&std::fs::read(dynatrace).unwrap()).unwrap();
    let mut carried = event.clone();
    carried["data"] = dynatrace;
    let carried = delivery("dynatrace", carried.to_string().into_bytes());
    assert_eq!(alarms(decoders.decode(&carried).unwrap())[0].changed_at, at);
    event["time"] = "soon".into();
    assert!(read(&event).unwrap_err().to_string().starts_with("`/time` is `soon`"));
    event.as_object_mut().unwrap().remove("time");
    let received_at = delivery("ours", Vec::new()).received_at;
    assert_eq!(read(&event).unwrap(), (received_at, "the time of receipt".to_owned()));
}

#[tokio::test]
async fn the_handshake_is_answered_to_who_may_send_events_and_to_nobody_else() {
    let intake = Intake::new();
    let bearer = bearer();
    let ask = |source: &str, headers: &[(&str, &str)]| {
        let mut request = Request::options(format!("/v1/events/{source}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    };
    let origin = ("webhook-request-origin", "eventgrid.azure.net");
    let known = ("authorization", bearer.as_str());
    let callback = ("webhook-request-callback", "https://example.com/confirm");
    for (source, headers, status) in [
        ("cloudevents", &[known, origin, callback][..], 200),
        ("cloudevents", &[origin], 401),
        ("cloudevents", &[known], 400),
        ("cloudevents", &[known, origin, origin], 400),
        ("cloudevents", &[known, ("webhook-request-origin", "*")], 400),
        ("cloudevents", &[known, ("webhook-request-origin", "")], 400),
        ("generic", &[known, origin], 405),
        ("sns", &[origin], 405),
        ("nobody", &[known, origin], 404),
    ] {
        let answer = intake.send(ask(source, headers)).await;
        assert_eq!(answer.status.as_u16(), status, "{source} {headers:?}: {}", answer.body);
        let allowed = answer.headers.get("webhook-allowed-origin");
        assert_eq!(allowed.is_some(), status == 200);
        if status == 200 {
            assert_eq!(allowed.unwrap(), "eventgrid.azure.net");
            assert_eq!(answer.headers["webhook-allowed-rate"], "*");
            assert_eq!(answer.headers["allow"], "POST");
        }
    }
    assert_eq!(intake.kept().await.len(), 0);
}

#[test]
fn an_event_in_binary_mode_comes_by_a_queue_with_its_attributes() {
    let queue = "arn:aws:sqs:ap-northeast-2:210987654321:events";
    let attributes: serde_json::Map<String, Value> = BINARY
        .iter()
        .map(|(name, value)| {
            ((*name).to_owned(), json!({ "stringValue": value, "dataType": "String" }))
        })
        .chain([("trace".to_owned(), json!({ "stringValue": "x" }))])
        .collect();
    let record = |body: &str, attributes: &serde_json::Map<String, Value>| {
        json!({ "eventSource": "aws:sqs", "eventSourceARN": queue, "messageId": "m-1",
            "body": body, "messageAttributes": attributes })
    };
    let wrapped = json!({ "Type": "Notification", "MessageId": "s", "TopicArn": "t", "Message": DATA,
        "Timestamp": "t", "MessageAttributes": BINARY.iter().map(|(name, value)| {
            ((*name).to_owned(), json!({ "Type": "String", "Value": value }))
        }).collect::<serde_json::Map<_, _>>() });
    let none = serde_json::Map::new();
    // Whose attributes cannot be kept is not read by its body alone.
    let whole = json!({ "specversion": "1.0", "id": "1", "source": "/s", "type": "t",
        "subject": "x", "data": { "state": "firing" } })
    .to_string();
    let with = |name: &str, count: usize| {
        let mut all = attributes.clone();
        for n in 0..count {
            let name = if count == 1 { name.to_owned() } else { format!("{name}{n}") };
            all.insert(name, json!({ "stringValue": "1", "dataType": "String" }));
        }
        all
    };
    let event = json!({ "Records": [
        record(DATA, &attributes), record(&wrapped.to_string(), &none), record(DATA, &none),
        record(&whole, &with("CE-ID", 1)), record(&whole, &with("ce-x", 65)),
    ] });
    let queues = BTreeMap::from([(queue.to_owned(), "cloudevents".parse().unwrap())]);
    let decoders = Arc::new(Decoders::default());
    let read = invocation(
        event.to_string().as_bytes(),
        (&LambdaSources { queues }, &decoders),
        NOW.parse().unwrap(),
    );
    let Ok(Invocation::Messages(messages)) = read else { panic!("{read:?}") };
    let [by_itself, by_sns, without, twice, many] = &messages.deliveries[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(by_itself.headers.len(), BINARY.len(), "{:?}", by_itself.headers);
    assert_eq!(by_itself.id, by_sns.id, "the same event is the same message");
    for delivery in [by_itself, by_sns] {
        assert_eq!(alarms(decode(delivery).unwrap())[0].name, "야간");
    }
    for (delivery, says) in
        [(twice, "not as documented: `ce-id` stands"), (many, "not as documented: more than 64")]
    {
        let error = decode(delivery).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
        assert_eq!(delivery.id.message, "sqs:m-1");
    }
    assert_eq!(decode(without).unwrap_err().to_string(), "`/specversion` is missing");
}
