//! How senders prove who they are, from where, and how much they may send.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use untoil_clock::Clock as _;

use crate::http::{Intake, SECRET, post};

#[tokio::test]
async fn pagerduty_and_sentry_are_known_by_their_signatures_of_the_very_bytes() {
    let intake = Intake::new();
    let body = r#"{"event":{"event_type":"pagey.ping"}}"#;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |all, byte| all + &format!("{byte:02x}"));
    let table = [
        ("pagerduty", "x-pagerduty-signature", format!("v1={hex}"), body, 202),
        ("pagerduty", "x-pagerduty-signature", format!("v1=00,v1={hex}"), body, 200),
        ("pagerduty", "x-pagerduty-signature", hex.clone(), body, 401),
        ("pagerduty", "x-pagerduty-signature", format!("v1={hex}"), r#"{"event":{}}"#, 401),
        ("pagerduty", "x-other", format!("v1={hex}"), body, 401),
        ("sentry", "sentry-hook-signature", hex.clone(), body, 202),
        ("sentry", "sentry-hook-signature", hex.replace('a', "b"), body, 401),
    ];
    for (source, header, value, body, status) in table {
        let answer = intake.send(post(source, &[(header, &value)], body.to_owned())).await;
        assert_eq!(answer.status.as_u16(), status, "{source} {value}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_secret_in_the_query_lets_in_and_is_in_no_answer() {
    let intake = Intake::new();
    for (secret, status) in [(SECRET, 202), ("wrong-0123456789", 401)] {
        let request = Request::post(format!("/v1/events/azure?secret={secret}"));
        let answer = intake.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(!answer.body.to_string().contains(secret), "{}", answer.body);
    }
    let kept = intake.kept().await;
    assert!(!format!("{kept:?}").contains(SECRET), "it is not kept with the delivery");
}

fn from(peer: &str, forwarded: &str, body: &'static str) -> Request<Body> {
    let bearer = format!("Bearer {SECRET}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", forwarded)];
    let mut request = post("grafana", &headers, body);
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    request
}

#[tokio::test]
async fn a_source_with_networks_is_let_in_from_there_only_and_proxies_are_ours() {
    let intake = Intake::new();
    for (peer, forwarded, status) in [
        ("198.51.100.7:1", "", 202),
        ("10.0.0.9:1", "198.51.100.7", 200),
        ("203.0.113.1:1", "198.51.100.7", 403),
        ("10.0.0.9:1", "198.51.100.7, 203.0.113.1", 403),
    ] {
        let answer = intake.send(from(peer, forwarded, "{}")).await;
        assert_eq!(answer.status.as_u16(), status, "{peer} {forwarded}: {}", answer.body);
    }
    let bearer = format!("Bearer {SECRET}");
    let unknown = post("grafana", &[("authorization", bearer.as_str())], "{}");
    assert_eq!(intake.send(unknown).await.status.as_u16(), 403, "no address is no network's");
}

#[tokio::test(start_paused = true)]
async fn a_sender_over_its_rate_is_told_when_to_come_back_and_is_taken_then() {
    let intake = Intake::new();
    for (body, status) in [("{\"a\":1}", 202), ("{\"a\":2}", 202), ("{\"a\":3}", 503)] {
        let answer = intake.send(from("198.51.100.7:1", "", body)).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        if status == 503 {
            assert_eq!(answer.headers["retry-after"], "31");
        }
    }
    intake.clock.sleep(Duration::from_secs(31)).await;
    let answer = intake.send(from("198.51.100.7:1", "", "{\"a\":3}")).await;
    assert_eq!(answer.status.as_u16(), 202);
}

#[tokio::test]
async fn a_raw_message_of_sns_behind_a_password_is_known_by_its_header() {
    let intake = Intake::new();
    let basic = STANDARD.encode(format!("sns:{SECRET}"));
    let basic = format!("Basic {basic}");
    let send = |id: &'static str, body: &'static str| {
        let headers = [
            ("authorization", basic.as_str()),
            ("x-amz-sns-rawdelivery", "true"),
            ("x-amz-sns-message-id", id),
        ];
        post("cloudwatch", &headers, body)
    };
    assert_eq!(intake.send(send("m-1", "{}")).await.status.as_u16(), 202);
    assert_eq!(intake.send(send("m-1", "{}")).await.status.as_u16(), 200);
    assert_eq!(intake.send(send("m-2", "{}")).await.status.as_u16(), 202);
}
