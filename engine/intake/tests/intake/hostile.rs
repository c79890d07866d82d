//! What a sender can try, what it is answered, and that the next delivery is taken all the same.
//! The table of `docs/hostile-input.md` names these tests.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures::StreamExt as _;
use serde_json::{Value, json};
use untoil_intake::{
    BODY_BYTES_DEFAULT, CertificateUrl, Decoded, Origin, SubscribeUrl, TopicArn, decode,
};

use crate::http::{Answer, Intake, SECRET, post};
use crate::stand_in::{SNS, TOPIC, notification};

const GOOD: &str =
    r#"{"alarms":[{"key":"a","name":"a","state":"firing","changed_at":"2026-12-02T03:04:05Z"}]}"#;

/// Posts to `generic` with the right secret.
async fn send(intake: &Intake, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {SECRET}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    intake.send(post("generic", &all, body)).await
}

/// The service still takes and understands a good delivery.
async fn serves(intake: &Intake) {
    let before = intake.kept().await.len();
    let key = format!("after-{before}");
    let answer = send(intake, GOOD, &[("idempotency-key", &key)]).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let kept = intake.kept().await;
    assert_eq!(kept.len(), before + 1);
    assert!(matches!(decode(&kept[before]), Ok(Decoded::Alarms(_))));
}

/// What the delivery kept last says, in words.
async fn says(intake: &Intake) -> String {
    match decode(intake.kept().await.last().unwrap()) {
        Ok(Decoded::Alarms(alarms)) => {
            let names: Vec<_> =
                alarms.iter().map(|it| format!("{} {}", it.name, it.state.as_str())).collect();
            names.join(", ")
        }
        Ok(Decoded::Note(note)) => format!("note: {note}"),
        Err(error) => format!("unreadable: {error}"),
    }
}

fn named(name: &str) -> Vec<u8> {
    GOOD.replace(r#""name":"a""#, &format!(r#""name":"{name}""#)).into_bytes()
}

#[tokio::test]
async fn bodies_that_are_no_plain_json_are_kept_and_said_to_be_unreadable() {
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let korean =
        [&GOOD.as_bytes()[..30], b"\xb5\xf0\xbd\xba\xc5\xa9", &GOOD.as_bytes()[30..]].concat();
    let number =
        |text: &str| GOOD.replace("\"key\"", &format!("\"value\":{text},\"key\"")).into_bytes();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    for (body, expected) in [
        (named("a"), "a firing"),
        ([b"\xef\xbb\xbf", GOOD.as_bytes()].concat(), "a firing"),
        (named("a\\u0000b"), "a␀b firing"),
        (named("\\ud83d\\ude00"), "😀 firing"),
        (number("1e308"), "a firing"),
        (utf16, "unreadable: not JSON: it is UTF-16; send UTF-8"),
        (korean, "unreadable: not JSON: byte 30 is not UTF-8; send UTF-8, not EUC-KR or Latin-1"),
        (named("\\ud83d"), "unreadable: not JSON: unexpected end of hex escape"),
        (named("\\ude00"), "unreadable: not JSON: lone leading surrogate in hex escape"),
        (named("a\u{0}b"), "unreadable: not JSON: control character"),
        (number("1e400"), "unreadable: not JSON: number out of range"),
        (number("NaN"), "unreadable: not JSON: expected"),
        (number("-Infinity"), "unreadable: not JSON: invalid number"),
        (deep, "unreadable: not as documented: invalid type: sequence"),
        (
            GOOD.replace("\"key\":\"a\"", "\"key\":\"a\",\"key\":\"b\"").into_bytes(),
            "unreadable: not as documented: duplicate field `key`",
        ),
        (
            GOOD.replace("\"key\"", r#""labels":{"t":"1","t":"2"},"key""#).into_bytes(),
            "unreadable: not as documented: `t` stands there twice",
        ),
        ([GOOD, GOOD].concat().into_bytes(), "unreadable: not JSON: trailing characters"),
    ] {
        let intake = Intake::new();
        let answer = send(&intake, body, &[("idempotency-key", "hostile")]).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{expected}");
        let found = says(&intake).await;
        assert!(found.starts_with(expected), "{found}\n{expected}");
        serves(&intake).await;
    }
}

#[tokio::test]
async fn a_name_that_breaks_out_of_its_template_does_not_clear_an_alarm() {
    let intake = Intake::new();
    // A template that writes `"name": "{{name}}"` without escaping, and somebody who names a host so.
    let name = r#"x", "status": "resolved", "y": ""#;
    let body = format!(
        r#"{{"version":"4","alerts":[{{"status":"firing","name":"{name}","labels":{{"alertname":"Disk"}},"startsAt":"2026-12-02T03:04:05Z"}}]}}"#
    );
    let basic = format!("Basic {}", base64(&format!("am:{SECRET}")));
    let answer = intake.send(post("alertmanager", &[("authorization", &basic)], body)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let found = says(&intake).await;
    assert!(
        found.starts_with("unreadable: not as documented: `status` stands there twice"),
        "{found}"
    );
    serves(&intake).await;
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn deep_json_is_unreadable_for_every_sender_and_within_sns() {
    let intake = Intake::new();
    let deep = "{\"a\":".repeat(100_000);
    let basic = format!("Basic {}", base64(&format!("am:{SECRET}")));
    let answer =
        intake.send(post("alertmanager", &[("authorization", &basic)], deep.clone())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert!(says(&intake).await.starts_with("unreadable: not JSON: recursion limit exceeded"));
    let body = SNS.signed(notification("m-deep", &deep)).to_string();
    assert_eq!(intake.send(post("sns", &[], body)).await.status, StatusCode::ACCEPTED);
    assert!(says(&intake).await.starts_with("unreadable: not JSON: recursion limit exceeded"));
    serves(&intake).await;
}

#[tokio::test]
async fn a_packed_body_is_415_before_it_is_read_and_says_what_is_taken() {
    let intake = Intake::new();
    // Never polled: the answer does not wait for the body, so no bomb is ever unpacked.
    let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    for encoding in ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "x"] {
        let answer = send(&intake, never(), &[("content-encoding", encoding)]).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{encoding}");
        assert_eq!(answer.headers["accept-encoding"], "identity");
    }
    let sns = intake.send(post("sns", &[("content-encoding", "gzip")], never())).await;
    assert_eq!(sns.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let stranger = intake.send(post("generic", &[("content-encoding", "gzip")], never())).await;
    assert_eq!(stranger.status, StatusCode::UNAUTHORIZED, "who it is comes first");
    assert!(intake.kept().await.is_empty());
    let plain = send(&intake, GOOD, &[("content-encoding", "Identity")]).await;
    assert_eq!(plain.status, StatusCode::ACCEPTED);
    serves(&intake).await;
}

#[tokio::test]
async fn what_is_packed_without_saying_so_is_unreadable() {
    let intake = Intake::new();
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(send(&intake, gzip.to_vec(), &[]).await.status, StatusCode::ACCEPTED);
    assert!(says(&intake).await.starts_with("unreadable: not JSON: byte 1 is not UTF-8"));
    serves(&intake).await;
}

#[tokio::test]
async fn snss_largest_message_is_six_times_as_long_on_the_wire_and_taken() {
    let intake = Intake::new();
    let event = |description: &str| {
        json!({"AlarmName": "큰", "NewStateValue": "ALARM", "OldStateValue": "OK",
            "AlarmDescription": description, "NewStateReason": "r", "Region": "Seoul",
            "StateChangeTime": "2026-12-02T03:04:05.000+0000", "AWSAccountId": "210987654321",
            "AlarmArn": "arn:aws:cloudwatch:ap-northeast-2:210987654321:alarm:x"})
        .to_string()
    };
    let rest = 256 * 1024 - event("").len();
    let message = event(&"d".repeat(rest));
    assert_eq!(message.len(), 256 * 1024);
    let mut escaped = String::new();
    for unit in message.encode_utf16() {
        write!(escaped, "\\u{unit:04x}").unwrap();
    }
    let signed = SNS.signed(notification("m-large", &message));
    let plain = serde_json::to_string(&message).unwrap();
    let body = signed.to_string().replace(&plain, &format!("\"{escaped}\""));
    assert!(body.len() > 1_570_000 && body.len() < BODY_BYTES_DEFAULT, "{}", body.len());
    let answer = intake.send(post("sns", &[("content-type", "text/plain")], body)).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(says(&intake).await, "큰 firing");
    serves(&intake).await;
}

#[tokio::test]
async fn two_thousand_alerts_in_a_body_are_read_and_one_more_is_refused() {
    let intake = Intake::new();
    let basic = format!("Basic {}", base64(&format!("am:{SECRET}")));
    for (n, expected) in
        [(2_000, "A0 firing"), (2_001, "unreadable: more than 2000 alarms in one delivery")]
    {
        let alert = |n| {
            json!({"status": "firing", "labels": {"alertname": format!("A{n}")}, "fingerprint": format!("f{n}"),
                "annotations": {}, "startsAt": "2026-12-02T03:04:05Z", "endsAt": "0001-01-01T00:00:00Z"})
        };
        let alerts: Vec<Value> = (0..n).map(alert).collect();
        let body = json!({"version": "4", "status": "firing", "groupKey": "g", "alerts": alerts});
        let request = post("alertmanager", &[("authorization", &basic)], body.to_string());
        assert_eq!(intake.send(request).await.status, StatusCode::ACCEPTED);
        let found = says(&intake).await;
        assert!(found.starts_with(expected), "{n}: {}", &found[..100]);
        serves(&intake).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up_after_ten_seconds_however_steadily_it_comes() {
    let intake = Intake::new();
    let drops = futures::stream::repeat_with(|| Bytes::from_static(b" ")).then(|drop| async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Ok::<_, std::io::Error>(drop)
    });
    let before = tokio::time::Instant::now();
    let answer = send(&intake, Body::from_stream(drops), &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(before.elapsed().as_secs(), 10);
    assert!(intake.kept().await.is_empty());
    serves(&intake).await;
}

#[tokio::test]
async fn an_envelope_with_a_signed_key_twice_is_refused_in_either_spelling_and_order() {
    let intake = Intake::new();
    let signed = SNS.signed(notification("m-1", "{}")).to_string();
    let inner = signed.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    for more in [
        r#""Message":"other""#,
        r#""\u004dessage":"other""#,
        r#""TopicArn":"arn:aws:sns:us-east-1:1:x""#,
        r#""Type":"SubscriptionConfirmation""#,
        r#""Timestamp":"2026-12-02T03:04:05.789Z""#,
        r#""MessageId":"m-2""#,
        r#""Subject":null"#,
        r#""Signature":"AAAA""#,
        r#""SigningCertUrl":"https://sns.us-east-1.amazonaws.com/x.pem""#,
        r#""SigningCertURL":"https://evil.example/x.pem""#,
        r#""SubscribeURL":"https://evil.example","SubscribeUrl":"https://evil.example""#,
    ] {
        for body in [format!("{{{inner},{more}}}"), format!("{{{more},{inner}}}")] {
            let answer = intake.send(post("sns", &[], body)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{more}");
            assert!(answer.body["detail"].as_str().unwrap().contains("duplicate field"), "{more}");
        }
    }
    // An envelope in a list, in another, after a byte order mark, or in another encoding is none.
    let utf16: Vec<u8> = signed.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for body in [
        format!("[{signed}]").into_bytes(),
        format!("{signed}{signed}").into_bytes(),
        [b"\xef\xbb\xbf", signed.as_bytes()].concat(),
        utf16,
    ] {
        assert_eq!(intake.send(post("sns", &[], body)).await.status, StatusCode::FORBIDDEN);
    }
    assert!(intake.kept().await.is_empty());
    // What is not signed may stand there twice: it is never read.
    let twice = format!(r#"{{{inner},"UnsubscribeURL":"https://evil.example"}}"#);
    assert_eq!(intake.send(post("sns", &[], twice)).await.status, StatusCode::ACCEPTED);
    serves(&intake).await;
}

/// Ways to write an address that some reader takes for SNS's and another for somebody else's.
fn not_sns(rest: &str) -> Vec<String> {
    let host = "sns.ap-northeast-2.amazonaws.com";
    let mut all: Vec<String> = [
        // Schemes.
        "http://{h}",
        "ftp://{h}",
        "file://{h}",
        "gopher://{h}",
        "//{h}",
        "{h}",
        "HTTP://{h}",
        // Another host behind SNS's name.
        "https://{h}@127.0.0.1",
        "https://{h}:x@169.254.169.254",
        "https://x@{h}",
        "https://:p@{h}",
        "https://{h}%40evil.example",
        "https://{h}.evil.example",
        "https://evil.example/{h}",
        "https://evil.example?{h}",
        "https://evil.example#{h}",
        "https://evil.example\\{h}",
        "https://{h}\\@evil.example",
        "https://evil.example%2f{h}",
        "https://{h}%00.evil.example",
        "https://{h}%0d%0aHost:evil.example",
        // Ports.
        "https://{h}:80",
        "https://{h}:8443",
        "https://{h}:0443x",
        "https://{h}:0",
        "https://{h}:99999",
        // Names of this machine and its network.
        "https://localhost",
        "https://127.0.0.1",
        "https://127.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://017700000001",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://0.0.0.0",
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://[fd00:ec2::254]",
        "https://metadata.google.internal",
        "https://127.0.0.1.nip.io",
        // Dots and labels.
        "https://{h}.",
        "https://{h}..",
        "https://.{h}",
        "https://sns..amazonaws.com",
        "https://sns.amazonaws.com",
        "https://sns.a.b.amazonaws.com",
        "https://ap-northeast-2.sns.amazonaws.com",
        "https://xsns.ap-northeast-2.amazonaws.com",
        "https://sns.ap-northeast-2.amazonaws.co",
        "https://sns.ap-northeast-2.amazonaws.com.com",
        "https://sns.ap-northeast-2.amazonaws.com.cn.evil.example",
        "https://sns.ap_northeast.amazonaws.com",
        "https://sns.s3.ap-northeast-2.amazonaws.com",
        "https://s3.ap-northeast-2.amazonaws.com",
        // Letters that look alike (Cyrillic), full width, dots of other scripts, punycode.
        "https://sns.ap-northeast-2.аmazonaws.com",
        "https://ѕns.ap-northeast-2.amazonaws.com",
        "https://sns.ap-northeast-2.xn--mazonaws-6fg.com",
        "https://xn--ns-fmc.ap-northeast-2.amazonaws.com",
    ]
    .iter()
    .map(|start| start.replace("{h}", host) + rest)
    .collect();
    all.push(String::new());
    all.push("x".repeat(2_000));
    all
}

#[test]
fn a_certificate_is_fetched_from_no_address_that_only_looks_like_snss() {
    let path = "/SimpleNotificationService-0.pem";
    let mut all = not_sns(path);
    // These a browser would take for the address itself; SNS does not write them.
    all.extend(
        [
            "HTTPS://sns.ap-northeast-2.amazonaws.com/a.pem",
            "https://SNS.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com:443/a.pem",
            "https://sns。ap-northeast-2。amazonaws。com/a.pem",
            "https://ｓｎｓ.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a/../b.pem",
            "https://sns.ap-northeast-2.amazonaws.com/%2e%2e/b.pem",
            " https://sns.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.pem\n",
            "https:sns.ap-northeast-2.amazonaws.com/a.pem",
            "https:////sns.ap-northeast-2.amazonaws.com/a.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.pem?b.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.pem#b.pem",
            "https://sns.ap-northeast-2.amazonaws.com/a.PEM",
            "https://sns.ap-northeast-2.amazonaws.com/?Action=GetTopicAttributes&x=.pem",
        ]
        .map(str::to_owned),
    );
    for url in all {
        assert!(CertificateUrl::parse(&url, &[]).is_err(), "{url}");
    }
}

#[test]
fn a_confirmation_goes_to_no_address_that_only_looks_like_snss() {
    let topic: TopicArn = TOPIC.parse().unwrap();
    let query = format!("/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t");
    let mut all = not_sns(&query);
    let good = format!("https://sns.ap-northeast-2.amazonaws.com{query}");
    assert!(SubscribeUrl::parse(&good, &topic, &[]).is_ok());
    all.extend([
        good.replace("?Action", "?action"),
        good.replace("&TopicArn", "&TopicARN"),
        good.replace("?Action=ConfirmSubscription", "?Action=Publish&Message=x"),
        good.replace("?Action=ConfirmSubscription", "?Action=ConfirmSubscription%00"),
        good.replace("ap-northeast-2.amazonaws", "us-east-1.amazonaws"),
        good.clone() + "&Action=ConfirmSubscription",
        good.clone() + "&%41ction=DeleteTopic",
        good.replace("/?", "/x?"),
        good.replace("/?", "//evil.example/?"),
        good.clone() + "#fragment",
    ]);
    for url in all {
        assert!(SubscribeUrl::parse(&url, &topic, &[]).is_err(), "{url}");
    }
    // What is taken is visited as it was checked, in its plain form and never as it was written.
    for (written, visited) in [
        (good.replace("https", "HTTPS"), good.as_str()),
        (good.replace("sns.ap", "SNS.AP"), good.as_str()),
        (good.replace(".com/", ".com:443/"), good.as_str()),
    ] {
        assert_eq!(
            SubscribeUrl::parse(&written, &topic, &[]).unwrap().as_str(),
            visited,
            "{written}"
        );
    }
}

#[test]
fn a_stand_in_for_sns_is_on_this_machine_by_its_own_name_only() {
    for text in [
        "http://127.0.0.2:1",
        "http://127.1:1x",
        "http://localhost.:1",
        "http://localhost.evil.example:1",
        "http://127.0.0.1@evil.example",
        "http://evil.example#127.0.0.1",
        "http://0.0.0.0:1",
        "http://[::]:1",
        "http://169.254.169.254",
        "http://127.0.0.1:1/?x",
        "http://x@127.0.0.1:1",
        "file://localhost/",
        "http://ⓛocalhost.example",
    ] {
        assert!(Origin::loopback(text).is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_replay_is_the_same_message_and_an_old_one_is_refused() {
    let intake = Intake::new();
    let body = SNS.signed(notification("m-1", "{}")).to_string();
    for status in [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::OK] {
        assert_eq!(intake.send(post("sns", &[], body.clone())).await.status, status);
    }
    assert_eq!(intake.kept().await.len(), 1, "taken once");
    // Our clock against the message's time of 03:04:05.789: two hours back, a quarter of one ahead.
    for (hours, status) in
        [(1, StatusCode::OK), (1, StatusCode::FORBIDDEN), (22, StatusCode::FORBIDDEN)]
    {
        intake.clock.step_by(hours * 3_600_000_000);
        let answer = intake.send(post("sns", &[], body.clone())).await;
        assert_eq!(answer.status, status);
        if status == StatusCode::FORBIDDEN {
            let detail = answer.body["detail"].as_str().unwrap();
            assert!(detail.contains("it is a replay or the clock is wrong"), "{detail}");
        }
    }
    serves(&intake).await;
}

#[tokio::test]
async fn a_clock_of_ours_that_is_behind_takes_a_quarter_of_an_hour() {
    for (minutes, status) in [(-14, StatusCode::ACCEPTED), (-16, StatusCode::FORBIDDEN)] {
        let intake = Intake::new();
        intake.clock.step_by(minutes * 60_000_000);
        let body = SNS.signed(notification("m-1", "{}")).to_string();
        assert_eq!(intake.send(post("sns", &[], body)).await.status, status, "{minutes}");
        serves(&intake).await;
    }
}

#[tokio::test]
async fn a_replayed_signature_of_a_sender_without_times_is_the_same_message_or_says_nothing_new() {
    let intake = Intake::new();
    let tag = {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = aws_lc_rs::hmac::sign(&key, b"{}");
        tag.as_ref().iter().fold(String::from("v1="), |all, byte| all + &format!("{byte:02x}"))
    };
    for (source, header, tag) in [
        ("pagerduty", "x-pagerduty-signature", tag.as_str()),
        ("sentry", "sentry-hook-signature", tag.strip_prefix("v1=").unwrap()),
    ] {
        for status in [StatusCode::ACCEPTED, StatusCode::OK] {
            assert_eq!(intake.send(post(source, &[(header, tag)], "{}")).await.status, status);
        }
        let other = intake.send(post(source, &[(header, tag)], "{ }")).await;
        assert_eq!(other.status, StatusCode::UNAUTHORIZED, "another body needs another signature");
    }
    serves(&intake).await;
}

#[tokio::test]
async fn headers_of_any_length_and_number_are_kept_or_passed_over() {
    let intake = Intake::new();
    let long = "x".repeat(60_000);
    let bearer = format!("Bearer {SECRET}");
    let mut request = post("generic", &[("authorization", &bearer), ("content-type", &long)], GOOD);
    for n in 0..5_000 {
        let name: axum::http::HeaderName = format!("x-flood-{n}").parse().unwrap();
        request.headers_mut().insert(name, "y".parse().unwrap());
    }
    assert_eq!(intake.send(request).await.status, StatusCode::ACCEPTED);
    assert!(intake.kept().await[0].headers.is_empty(), "what is too long is not kept");
    serves(&intake).await;
}
