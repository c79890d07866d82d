//! The route, one status after the other, over a journal in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use untoil_clock::VirtualClock;
use untoil_intake::{
    Algorithm, BODY_BYTES_DEFAULT, Decoders, Encoding, HmacAuth, IntakeConfig, IntakeState,
    Ports as IntakePorts, Secret, Signed, SigningKey, SnsPolicy, SourceAuth, SourceSetup, decode,
    routes,
};
use untoil_journal::{Journal, JournalError, MemoryJournal, Receipt};
use untoil_model::Delivery;

use crate::receiving::{OnlyReceives, Receives};
use crate::stand_in::{CERT_URL, NOW, Ports, SNS, Sns, TOPIC, confirmation, notification};

const GENERIC: &str =
    r#"{"alarms":[{"key":"a","name":"a","state":"firing","changed_at":"2026-12-02T03:04:05Z"}]}"#;
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct Intake {
    router: Router,
    journal: Arc<dyn Journal>,
    ports: Arc<Ports>,
    pub(crate) clock: Arc<VirtualClock>,
    sns: &'static Sns,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Intake {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryJournal::new()))
    }

    pub(crate) fn over(journal: Arc<dyn Journal>) -> Self {
        let sns = &*SNS;
        let ports = Ports::serving(CERT_URL, &sns.pem);
        let clock = Arc::new(VirtualClock::starting_at(NOW.parse().unwrap()));
        let secrets = || vec![Secret::new("team-a", SECRET).unwrap()];
        let header = "X-Untoil-Secret".to_owned();
        let sources = [
            (
                "sns",
                SourceAuth::SnsSignature(SnsPolicy {
                    topics: [TOPIC.parse().unwrap()].into(),
                    ..SnsPolicy::default()
                }),
            ),
            ("generic", SourceAuth::Bearer { secrets: secrets() }),
            ("newrelic", SourceAuth::SharedSecretHeader { header, secrets: secrets() }),
            ("alertmanager", SourceAuth::Basic { user: "am".to_owned(), passwords: secrets() }),
        ];
        let sources = sources.into_iter().map(|(name, auth)| (name, SourceSetup::from(auth)));
        let keys = || vec![SigningKey::new("team-a", SECRET).unwrap()];
        let open = |auth: SourceAuth| SourceSetup::from(auth);
        let more = [
            ("pagerduty", open(SourceAuth::Hmac(HmacAuth::pagerduty(keys())))),
            ("sentry", open(SourceAuth::Hmac(HmacAuth::sentry(keys())))),
            (
                "signed-events",
                open(SourceAuth::Hmac(HmacAuth {
                    header: "x-signature".to_owned(),
                    algorithm: Algorithm::Sha256,
                    encoding: Encoding::Hex,
                    prefix: String::new(),
                    signed: Signed::Body,
                    keys: keys(),
                })),
            ),
            ("cloudevents", open(SourceAuth::Bearer { secrets: secrets() })),
            ("azure", open(SourceAuth::Query { name: "secret".to_owned(), secrets: secrets() })),
            (
                "grafana",
                SourceSetup {
                    networks: vec!["198.51.100.0/24".parse().unwrap()],
                    rate: Some("2 per 1m".parse().unwrap()),
                    ..open(SourceAuth::Bearer { secrets: secrets() })
                },
            ),
            (
                "cloudwatch",
                open(SourceAuth::Basic { user: "sns".to_owned(), passwords: secrets() }),
            ),
        ];
        let mut decoders = Decoders::default();
        decoders.in_events("signed-events".parse().unwrap()).unwrap();
        let config = IntakeConfig {
            sources: sources
                .chain(more)
                .map(|(name, setup)| (name.parse().unwrap(), setup))
                .collect(),
            decoders: Arc::new(decoders),
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            body_bytes_max: BODY_BYTES_DEFAULT,
        };
        let outside = IntakePorts {
            certificates: Arc::clone(&ports) as _,
            subscriptions: Arc::clone(&ports) as _,
        };
        let state = IntakeState::new(Arc::clone(&journal), clock.clone(), config, outside).unwrap();
        Self { router: routes(state), journal, ports, clock, sns }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 * 1024).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if parts.status.is_client_error() || parts.status.is_server_error() {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(body["status"], parts.status.as_u16());
            assert!(!body["detail"].as_str().unwrap().is_empty());
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn generic(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {SECRET}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.send(post("generic", &all, body)).await
    }

    async fn sns(&self, body: &Value) -> Answer {
        let headers = [
            ("content-type", "text/plain; charset=UTF-8"),
            ("x-amz-sns-message-type", "whatever"),
            ("user-agent", "Amazon Simple Notification Service Agent"),
        ];
        self.send(post("sns", &headers, body.to_string())).await
    }

    pub(crate) async fn kept(&self) -> Vec<Delivery> {
        let mut all = Vec::new();
        for id in self.journal.pending(100).await.unwrap() {
            all.push(self.journal.delivery(&id).await.unwrap().unwrap());
        }
        all
    }
}

pub(crate) fn post(source: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(format!("/v1/events/{source}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_kept_as_it_came_and_answered_202_and_200_when_it_comes_again() {
    let intake = Intake::new();
    let first =
        intake.generic(GENERIC, &[("content-type", "application/json"), ("cookie", "x")]).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.body["seq"], 1);
    let again = intake.generic(GENERIC, &[]).await;
    assert_eq!((again.status, &again.body["seen_before"]), (StatusCode::OK, &json!(true)));
    let kept = intake.kept().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].body, GENERIC.as_bytes());
    assert_eq!(kept[0].sender, "team-a");
    assert_eq!(kept[0].received_at.to_string(), "2026-12-02T03:04:06Z");
    assert_eq!(kept[0].id.message, untoil_model::Hash::of(GENERIC.as_bytes()).to_string());
    let headers: BTreeMap<_, _> =
        [("content-type".to_owned(), "application/json".to_owned())].into();
    assert_eq!(kept[0].headers, headers, "no other header is kept");
}

#[tokio::test]
async fn an_idempotency_key_names_a_generic_delivery() {
    let intake = Intake::new();
    let other = GENERIC.replace("firing", "resolved");
    for (body, key, status) in [
        (GENERIC, "run-17", StatusCode::ACCEPTED),
        (other.as_str(), "run-17", StatusCode::OK),
        (other.as_str(), "run-18", StatusCode::ACCEPTED),
        (GENERIC, "", StatusCode::BAD_REQUEST),
        (GENERIC, &"k".repeat(129), StatusCode::BAD_REQUEST),
    ] {
        let answer = intake.generic(body.to_owned(), &[("idempotency-key", key)]).await;
        assert_eq!(answer.status, status, "{key}");
    }
    assert_eq!(intake.kept().await[0].id.message, "key:run-17");
}

#[tokio::test(start_paused = true)]
async fn alertmanagers_same_body_is_the_same_message_for_five_minutes() {
    let intake = Intake::new();
    let right = format!("Basic {}", STANDARD.encode(format!("am:{SECRET}")));
    for (micros, status) in [
        (0, StatusCode::ACCEPTED),
        // It is 03:04:06 when the first comes; the next five minutes begin at 03:05.
        (53_000_000, StatusCode::OK),
        (1_000_000, StatusCode::ACCEPTED),
        (299_000_000, StatusCode::OK),
        (1_000_000, StatusCode::ACCEPTED),
    ] {
        intake.clock.step_by(micros);
        let answer = intake.send(post("alertmanager", &[("authorization", &right)], GENERIC)).await;
        assert_eq!(answer.status, status, "after {micros}");
    }
    let (hash, kept) = (untoil_model::Hash::of(GENERIC.as_bytes()), intake.kept().await);
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|kept| kept.id.message.starts_with(&format!("{hash}@"))));
}

#[tokio::test]
async fn an_unreadable_body_of_a_known_sender_is_kept_all_the_same() {
    let intake = Intake::new();
    for body in ["{", "\u{0}", "null", "[1]"] {
        assert_eq!(intake.generic(body, &[]).await.status, StatusCode::ACCEPTED, "{body:?}");
    }
    let kept = intake.kept().await;
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|delivery| decode(delivery).is_err()));
}

#[tokio::test]
async fn an_empty_body_is_never_acceptable() {
    assert_eq!(Intake::new().generic("", &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_is_not_authenticated_gets_401_and_leaves_nothing() {
    let intake = Intake::new();
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let (right, wrong) = (basic(&format!("am:{SECRET}")), basic("am:guessed-guessed-guessed"));
    for (source, name, value, status) in [
        ("generic", "authorization", "Bearer wrong-wrong-wrong-wrong", StatusCode::UNAUTHORIZED),
        ("generic", "x-untoil-secret", SECRET, StatusCode::UNAUTHORIZED),
        ("newrelic", "x-untoil-secret", "wrong-wrong-wrong-wrong", StatusCode::UNAUTHORIZED),
        ("newrelic", "authorization", SECRET, StatusCode::UNAUTHORIZED),
        ("alertmanager", "authorization", &wrong, StatusCode::UNAUTHORIZED),
        ("alertmanager", "authorization", "Basic ???", StatusCode::UNAUTHORIZED),
        ("newrelic", "x-untoil-secret", SECRET, StatusCode::ACCEPTED),
        ("alertmanager", "authorization", &right, StatusCode::ACCEPTED),
    ] {
        let answer = intake.send(post(source, &[(name, value)], "{}")).await;
        assert_eq!(answer.status, status, "{source} {name}: {value}");
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            status == StatusCode::UNAUTHORIZED
        );
    }
    assert_eq!(intake.kept().await.len(), 2);
}

#[tokio::test]
async fn a_source_that_is_not_configured_is_404() {
    let intake = Intake::new();
    for source in ["datadog", "zabbix", "SNS", "%00", "a%2fb"] {
        assert_eq!(
            intake.send(post(source, &[], "{}")).await.status,
            StatusCode::NOT_FOUND,
            "{source}"
        );
    }
}

#[tokio::test]
async fn more_than_the_limit_is_413_and_a_mebibyte_passes_announced_or_not() {
    let intake = Intake::new();
    let chunked = |bytes: usize| {
        let chunk = |_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024]));
        let chunks: Vec<_> = (0..bytes / (64 * 1024)).map(chunk).collect();
        Body::from_stream(futures::stream::iter(chunks))
    };
    assert_eq!(intake.generic(vec![b'a'; 1024 * 1024], &[]).await.status, StatusCode::ACCEPTED);
    assert_eq!(intake.generic(chunked(1024 * 1024), &[]).await.status, StatusCode::ACCEPTED);
    assert_eq!(
        intake.generic(vec![b'a'; BODY_BYTES_DEFAULT], &[]).await.status,
        StatusCode::ACCEPTED
    );
    let over = BODY_BYTES_DEFAULT + 1;
    assert_eq!(intake.generic(vec![b'a'; over], &[]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let large = chunked(BODY_BYTES_DEFAULT + 64 * 1024);
    assert_eq!(intake.generic(large, &[]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let announced = intake.generic("x", &[("content-length", "99999999999")]).await;
    assert_eq!(announced.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_kept_and_its_sender_is_asked_to_come_back() {
    let intake = Intake::new();
    let broken = Body::from_stream(futures::stream::iter(vec![
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("reset")),
    ]));
    let answer = intake.generic(broken, &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "10");
    assert!(intake.kept().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_sender_of_a_body_that_never_ends_is_asked_to_come_back() {
    let intake = Intake::new();
    let stuck = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let before = tokio::time::Instant::now();
    let answer = intake.generic(stuck, &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "10");
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn bodies_together_take_a_bounded_memory() {
    let intake = Intake::new();
    let held: Vec<_> = (0..32)
        .map(|_| {
            let chunk = Ok::<_, std::io::Error>(Bytes::from(vec![b' '; BODY_BYTES_DEFAULT]));
            let stream = futures::StreamExt::chain(
                futures::stream::iter([chunk]),
                futures::stream::pending(),
            );
            Box::pin(intake.generic(Body::from_stream(stream), &[]))
        })
        .collect();
    let mut held = futures::future::select_all(held);
    assert!(futures::poll!(&mut held).is_pending());
    let full = intake.generic("{}", &[]).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(full.headers["retry-after"], "1");
    drop(held);
    assert_eq!(intake.generic("{}", &[]).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_journal_that_cannot_keep_it_is_503_with_retry_after() {
    for (error, after) in [
        (JournalError::Overloaded, "1"),
        (JournalError::Unavailable("disk full at /secret/path".to_owned()), "10"),
    ] {
        let intake = Intake::over(Arc::new(OnlyReceives(Refusing { error: Mutex::new(error) })));
        let answer = intake.generic(GENERIC, &[]).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], after);
        assert!(!answer.body.to_string().contains("secret"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_sns_notification_is_text_plain_and_named_by_snss_own_id() {
    let intake = Intake::new();
    let body = intake.sns.signed(notification("7d0f0000-0000-4000-8000-000000000002", "{}"));
    assert_eq!(intake.sns(&body).await.status, StatusCode::ACCEPTED);
    assert_eq!(intake.sns(&body).await.status, StatusCode::OK);
    let kept = intake.kept().await;
    assert_eq!(kept[0].id.to_string(), "sns/7d0f0000-0000-4000-8000-000000000002");
    assert_eq!(kept[0].sender, TOPIC);
    assert_eq!(kept[0].body, body.to_string().into_bytes());
    assert!(intake.ports.confirmed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_sns_did_not_sign_is_403_and_raw_delivery_is_told_apart() {
    let intake = Intake::new();
    let mut changed = intake.sns.signed(notification("m-1", "{}"));
    changed["Message"] = json!("{ }");
    assert_eq!(intake.sns(&changed).await.status, StatusCode::FORBIDDEN);
    assert_eq!(intake.send(post("sns", &[], "disk full")).await.status, StatusCode::FORBIDDEN);
    let raw = intake.send(post("sns", &[("x-amz-sns-rawdelivery", "true")], "disk full")).await;
    assert_eq!(raw.status, StatusCode::FORBIDDEN);
    assert!(raw.body["detail"].as_str().unwrap().contains("raw message delivery"));
    assert!(intake.kept().await.is_empty());
}

#[tokio::test]
async fn when_the_certificate_cannot_be_had_sns_is_asked_to_come_back() {
    let intake = Intake::new();
    let down = Err(untoil_intake::FetchError::Unavailable("no connection".to_owned()));
    let page = Ok(b"<html>sign in to the network</html>".to_vec());
    for served in [down, page] {
        intake.ports.pems.lock().unwrap().insert(CERT_URL.to_owned(), served);
        let answer = intake.sns(&intake.sns.signed(notification("m-1", "{}"))).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers.contains_key("retry-after"));
    }
    intake.ports.pems.lock().unwrap().insert(CERT_URL.to_owned(), Ok(intake.sns.pem.clone()));
    let answer = intake.sns(&intake.sns.signed(notification("m-1", "{}"))).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "a page is not kept as the certificate");
}

#[tokio::test]
async fn a_subscription_is_kept_and_then_confirmed_again_when_it_is_asked_again() {
    let intake = Intake::new();
    let body = intake.sns.signed(confirmation("SubscriptionConfirmation"));
    assert_eq!(intake.sns(&body).await.status, StatusCode::ACCEPTED);
    let url = body["SubscribeURL"].as_str().unwrap().to_owned();
    assert_eq!(*intake.ports.confirmed.lock().unwrap(), std::slice::from_ref(&url));
    assert_eq!(intake.kept().await.len(), 1);
    assert_eq!(intake.sns(&body).await.status, StatusCode::OK);
    assert_eq!(intake.ports.confirmed.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_is_tried_three_times_and_then_left_to_sns() {
    let intake = Intake::new();
    let body = intake.sns.signed(confirmation("SubscriptionConfirmation"));
    *intake.ports.failing.lock().unwrap() = 2;
    assert_eq!(intake.sns(&body).await.status, StatusCode::ACCEPTED);
    assert_eq!(intake.ports.confirmed.lock().unwrap().len(), 3);
    *intake.ports.failing.lock().unwrap() = 3;
    let answer = intake.sns(&body).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(intake.kept().await.len(), 1, "it was kept before it was confirmed");
    assert!(!answer.body.to_string().contains("2336412f37"), "the token is not shown");
}

#[tokio::test]
async fn a_forged_or_foreign_subscription_is_never_visited() {
    let intake = Intake::new();
    let mut forged = intake.sns.signed(confirmation("SubscriptionConfirmation"));
    forged["Token"] = json!("other");
    let mut elsewhere = confirmation("SubscriptionConfirmation");
    elsewhere["SubscribeURL"] =
        json!("https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription");
    for body in [forged, intake.sns.signed(elsewhere)] {
        assert_eq!(intake.sns(&body).await.status, StatusCode::FORBIDDEN);
    }
    let left = intake.sns.signed(confirmation("UnsubscribeConfirmation"));
    assert_eq!(intake.sns(&left).await.status, StatusCode::ACCEPTED);
    assert!(intake.ports.confirmed.lock().unwrap().is_empty());
}

/// A journal that keeps nothing.
#[derive(Debug)]
struct Refusing {
    error: Mutex<JournalError>,
}

#[async_trait]
impl Receives for Refusing {
    async fn receive(&self, _: Delivery) -> Result<Receipt, JournalError> {
        Err(self.error.lock().unwrap().clone())
    }
}
