//! What a stranger's bytes can reach, as functions that panic when something is wrong. The property
//! tests beside this file and the targets in `fuzz/` call the same ones.
//!
//! The input is written like a request: a first line that names the source (any other line stands
//! for one of them), lines of headers, an empty line, and the body.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use untoil_clock::VirtualClock;
use untoil_intake::{
    Algorithm, BODY_BYTES_DEFAULT, CertificateUrl, Certificates, Consumer, DecodeError, Decoded,
    Decoders, Encoding, Enrichment, FetchError, HmacAuth, IntakeConfig, IntakeState, Invocation,
    LambdaSources, Mapping, Ports, Queue, QueueError, QueueMessage, Secret, Signed, SigningKey,
    SnsPolicy, SourceAuth, SourceSetup, SubscribeUrl, Subscriptions, ValueOrigin, decode, explain,
    invocation, routes, sources,
};
use untoil_journal::{Journal as _, MemoryJournal};
use untoil_model::{Delivery, DeliveryId, Source};

const NOW: &str = "2026-12-02T03:04:06Z";
const TOPIC: &str = "arn:aws:sns:ap-northeast-2:210987654321:untoil";
/// A queue whose messages are events.
const QUEUE: &str = "arn:aws:sqs:ap-northeast-2:210987654321:events";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PEM: &[u8] = include_bytes!("../../fixtures/sns/stand-in.pem");
/// The one message whose signature is known.
const GENUINE: &[u8] = include_bytes!("../../fixtures/sns/notification-v1.json");
/// A delivery that is always good.
const GOOD: &str =
    r#"{"alarms":[{"key":"a","name":"a","state":"firing","changed_at":"2026-12-02T03:04:05Z"}]}"#;

/// An input, taken apart.
pub(crate) struct Said<'a> {
    pub(crate) source: &'static str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: &'a [u8],
}

/// Takes an input apart; every input is one.
pub(crate) fn said(input: &[u8]) -> Said<'_> {
    let all = sources();
    let (first, mut rest) = line(input);
    let named = all.iter().copied().find(|name| name.as_bytes() == first);
    let sum: usize = first.iter().map(|byte| usize::from(*byte)).sum();
    let source = named.unwrap_or(all[sum % all.len()]);
    let mut headers = Vec::new();
    loop {
        let (header, after) = line(rest);
        let colon = header.iter().position(|byte| *byte == b':');
        let pair = colon.and_then(|colon| {
            let value = header[colon + 1..].trim_ascii();
            Some((
                HeaderName::from_bytes(&header[..colon]).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            ))
        });
        match pair {
            Some(pair) => headers.push(pair),
            None if header.is_empty() => return Said { source, headers, body: after },
            None => return Said { source, headers, body: rest },
        }
        rest = after;
    }
}

fn line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

impl Said<'_> {
    /// The headers of these that the intake keeps.
    fn kept(&self) -> BTreeMap<String, String> {
        let is_kept = |name: &str| name == "content-type" || name.starts_with("ce-");
        let kept = self.headers.iter().filter(|(name, _)| is_kept(name.as_str()));
        let text =
            |value: &HeaderValue| Some(std::str::from_utf8(value.as_bytes()).ok()?.to_owned());
        kept.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
    }

    fn delivery(&self) -> Delivery {
        delivery(self.source, self.kept(), self.body)
    }
}

fn delivery(source: &str, headers: BTreeMap<String, String>, body: &[u8]) -> Delivery {
    Delivery {
        id: DeliveryId { source: source.parse().unwrap(), message: "m".to_owned() },
        sender: "test".to_owned(),
        received_at: NOW.parse().unwrap(),
        headers,
        body: body.to_vec(),
    }
}

/// Decodes, explains, and holds what comes out to its bounds. What may be an event is also read as one
/// that carries what this source sends.
pub(crate) fn decoded(input: &[u8]) {
    let delivery = said(input).delivery();
    assert_eq!(decode(&delivery), decode(&delivery), "decoding repeats");
    held(decode(&delivery), explain(&delivery));
    let is_event = delivery.headers.contains_key("ce-id")
        || delivery.body.windows(13).any(|window| window == b"\"specversion\"");
    let mut carried = Decoders::default();
    if is_event && carried.in_events(delivery.id.source.clone()).is_ok() {
        held(carried.decode(&delivery), carried.explain(&delivery));
    }
}

/// The same, of a body of one source without headers.
pub(crate) fn decoded_as(source: &str, body: &[u8]) {
    decoded(&[source.as_bytes(), b"\n\n", body].concat());
}

/// Derives words by rules of enrichment that are the input's text up to a line `---`; the rest is
/// written like a request. Nothing is changed but what may be derived.
pub(crate) fn enriched(input: &[u8]) {
    let Some(at) = input.windows(5).position(|window| window == b"\n---\n") else { return };
    let Ok(yaml) = std::str::from_utf8(&input[..at]) else { return };
    let Ok(rules) = serde_yaml::from_str::<Enrichment>(yaml) else { return };
    let delivery = said(&input[at + 5..]).delivery();
    let decoders = Decoders::default().enriched(rules);
    let found = decoders.decode(&delivery);
    held(found.clone(), decoders.explain(&delivery));
    let plain = decode(&delivery);
    let (Ok(Decoded::Alarms(mut alarms)), Ok(Decoded::Alarms(mut plain))) =
        (found.clone(), plain.clone())
    else {
        assert_eq!(found, plain);
        return;
    };
    for alarm in alarms.iter_mut().chain(&mut plain) {
        alarm.severity = None;
        alarm.labels.retain(|key, _| !["service", "environment", "owner"].contains(&key.as_str()));
    }
    assert_eq!(alarms, plain);
}

/// Reads what Lambda hands over. What are messages are within bounds and answered one by one; what is a
/// request is answered, and the next one taken.
pub(crate) fn invoked(event: &[u8]) {
    let queues = BTreeMap::from([(QUEUE.to_owned(), "cloudevents".parse().unwrap())]);
    let sources = LambdaSources { queues };
    let decoders = Decoders::default();
    match invocation(event, (&sources, &decoders), NOW.parse().unwrap()) {
        Err(error) => assert!(error.to_string().len() <= 2_048, "{error}"),
        Ok(Invocation::Messages(messages)) => {
            let count = messages.deliveries.len();
            assert!(count <= 10_000);
            for delivery in &messages.deliveries {
                within(delivery);
            }
            let all = messages.answer(&(0..count).collect());
            let none = messages.answer(&BTreeSet::new()).unwrap();
            let listed = |answer: &serde_json::Value| {
                answer["batchItemFailures"].as_array().map_or(0, Vec::len)
            };
            assert!(listed(&none) <= count);
            // Either all are named, or the invocation fails as a whole.
            assert!(all.is_err() == (count > 0 && none.get("batchItemFailures").is_none()));
            assert!(all.is_err() || listed(&all.unwrap()) == count);
        }
        Ok(Invocation::Request(request)) => {
            let reply = request.reply(StatusCode::ACCEPTED, &HeaderMap::new(), b"{}");
            assert_eq!(reply["statusCode"], 202);
            let router = intake();
            let answer = at_rest(router.clone().oneshot(request.request)).unwrap();
            assert!(answer.status().as_u16() >= 200);
            next_is_taken(router);
        }
    }
}

/// What a delivery that was made from a message may be.
fn within(delivery: &Delivery) {
    assert!(delivery.id.message.len() <= 200, "{}", delivery.id);
    assert!(!delivery.id.message.chars().any(char::is_control), "{:?}", delivery.id);
    let headers: usize =
        delivery.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(headers <= 16 * 1_024, "{headers}");
    held(decode(delivery), explain(delivery));
}

/// Takes one message from a queue; the headers are its attributes. It is kept once, and deleted if it
/// can be read.
pub(crate) fn queued(input: &[u8]) {
    let said = said(input);
    let Ok(body) = std::str::from_utf8(said.body) else { return };
    let stop = CancellationToken::new();
    let message = QueueMessage {
        id: "m-1".to_owned(),
        receipt: "r-1".to_owned(),
        body: body.to_owned(),
        receipts: 1,
        attributes: said.kept(),
    };
    let queue = Arc::new(OneMessage {
        message: Mutex::new(Some(message)),
        deleted: AtomicBool::new(false),
        stop: stop.clone(),
    });
    let journal = Arc::new(MemoryJournal::new());
    let source: Source = said.source.parse().unwrap();
    at_rest(async {
        let consumer = Consumer {
            queue: Arc::clone(&queue) as _,
            source: source.clone(),
            decoders: Arc::default(),
            journal: Arc::clone(&journal) as _,
            clock: Arc::new(VirtualClock::starting_at(NOW.parse().unwrap())),
        };
        consumer.run(stop).await;
        let kept = journal.pending(10).await.unwrap();
        assert_eq!(kept.len(), 1);
        let delivery = journal.delivery(&kept[0]).await.unwrap().unwrap();
        within(&delivery);
        assert_eq!(delivery.id.source, source);
        assert_eq!(queue.deleted.load(Ordering::SeqCst), decode(&delivery).is_ok());
    });
}

/// A simulated queue that has one message, and ends its consumer when it is asked for another.
#[derive(Debug)]
struct OneMessage {
    message: Mutex<Option<QueueMessage>>,
    deleted: AtomicBool,
    stop: CancellationToken,
}

#[async_trait]
impl Queue for OneMessage {
    fn name(&self) -> &'static str {
        QUEUE
    }

    async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError> {
        let message = self.message.lock().unwrap().take();
        if message.is_none() {
            self.stop.cancel();
        }
        Ok(message.into_iter().collect())
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), QueueError> {
        assert_eq!(receipts, ["r-1"]);
        self.deleted.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn hide(&self, _: &[String], _: Duration) -> Result<(), QueueError> {
        Ok(())
    }
}

/// Decodes by a mapping that is the input's text up to a line `---`; the rest is the body.
pub(crate) fn mapped(input: &[u8]) {
    let Some(at) = input.windows(5).position(|window| window == b"\n---\n") else { return };
    let Ok(yaml) = std::str::from_utf8(&input[..at]) else { return };
    let Ok(mapping) = serde_yaml::from_str::<Mapping>(yaml) else { return };
    let mut decoders = Decoders::default();
    if decoders.mapping("tool".parse().unwrap(), mapping).is_err() {
        return;
    }
    let delivery = delivery("tool", BTreeMap::new(), &input[at + 5..]);
    held(decoders.decode(&delivery), decoders.explain(&delivery));
}

type Explained = (Decoded, Vec<Vec<ValueOrigin>>);

fn held(found: Result<Decoded, DecodeError>, explained: Result<Explained, DecodeError>) {
    match explained {
        Ok((explained, origins)) => {
            assert_eq!(Ok(explained), found);
            assert!(origins.iter().flatten().all(|origin| origin.said.chars().count() <= 81));
        }
        Err(error) => assert_eq!(Err(error), found),
    }
    match found {
        Ok(Decoded::Alarms(alarms)) => {
            assert!(!alarms.is_empty() && alarms.len() <= 2_000);
            for alarm in alarms {
                assert!(alarm.name.len() <= 1_024 && alarm.reason.len() <= 4_096);
                assert!(!alarm.name.chars().any(char::is_control), "{:?}", alarm.name);
                assert!(alarm.value.is_none_or(f64::is_finite), "{:?}", alarm.value);
                assert!(alarm.threshold.is_none_or(f64::is_finite), "{:?}", alarm.threshold);
                let text = serde_json::to_string(&alarm).unwrap();
                assert_eq!(serde_json::from_str::<untoil_model::Alarm>(&text).unwrap(), alarm);
            }
        }
        Ok(Decoded::Note(note)) => assert!(note.len() <= 2_048, "{note}"),
        Err(error) => assert!(error.to_string().len() <= 2_048, "{error}"),
    }
}

/// Whatever the verifier lets through says what the one message says that was ever signed: there is
/// no second reading of an envelope that keeps its signature.
pub(crate) fn verified(body: &[u8]) {
    let policy = SnsPolicy { topics: [TOPIC.parse().unwrap()].into(), ..SnsPolicy::default() };
    let verifier = untoil_intake::SnsVerifier::new(policy, Arc::new(Served));
    let now: Timestamp = NOW.parse().unwrap();
    if at_rest(verifier.verify(body, now)).is_ok() {
        let says = |body: &[u8]| {
            let delivery = delivery("sns", BTreeMap::new(), body);
            decode(&Delivery { sender: TOPIC.to_owned(), ..delivery })
        };
        assert_eq!(says(body), says(GENUINE));
    }
}

/// A request to an intake with a source of each kind of authentication. Whatever it is answered, a
/// good delivery is taken after it, and nothing was fetched but the one certificate.
pub(crate) fn taken(input: &[u8]) {
    let Said { source, headers, body } = said(input);
    let router = intake();
    let mut request = Request::post(format!("/v1/events/{source}"));
    for (name, value) in headers.into_iter().take(50) {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let answer = at_rest(router.clone().oneshot(request)).unwrap();
    assert!(
        [200, 202, 400, 401, 403, 404, 413, 415, 431, 503].contains(&answer.status().as_u16()),
        "{}",
        answer.status()
    );
    next_is_taken(router);
}

/// A good delivery is taken.
fn next_is_taken(router: Router) {
    let good =
        Request::post("/v1/events/generic").header("authorization", format!("Bearer {SECRET}"));
    let answer = at_rest(router.oneshot(good.body(Body::from(GOOD)).unwrap())).unwrap();
    assert!(matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::OK));
}

fn intake() -> Router {
    let secrets = || vec![Secret::new("team-a", SECRET).unwrap()];
    let keys = || vec![SigningKey::new("team-a", SECRET).unwrap()];
    let policy = SnsPolicy { topics: [TOPIC.parse().unwrap()].into(), ..SnsPolicy::default() };
    let timed = HmacAuth {
        header: "X-Signature".to_owned(),
        algorithm: Algorithm::Sha512,
        encoding: Encoding::Base64,
        prefix: "t=".to_owned(),
        signed: Signed::TimeAndBody {
            header: "X-Time".to_owned(),
            separator: ":".to_owned(),
            tolerance: SignedDuration::from_mins(5),
        },
        keys: keys(),
    };
    let setup = |source: &str| match source {
        "sns" => SourceAuth::SnsSignature(policy.clone()),
        "pagerduty" => SourceAuth::Hmac(HmacAuth::pagerduty(keys())),
        "sentry" => SourceAuth::Hmac(HmacAuth::sentry(keys())),
        "grafana" => SourceAuth::Hmac(timed.clone()),
        "alertmanager" => SourceAuth::Basic { user: "am".to_owned(), passwords: secrets() },
        "newrelic" => {
            SourceAuth::SharedSecretHeader { header: "X-Secret".to_owned(), secrets: secrets() }
        }
        _ => SourceAuth::Bearer { secrets: secrets() },
    };
    let sources = sources();
    let sources = sources.iter().map(|name| (name.parse().unwrap(), setup(name).into()));
    let config = IntakeConfig {
        decoders: std::sync::Arc::default(),
        sources: sources.collect::<BTreeMap<_, SourceSetup>>(),
        proxies: Vec::new(),
        body_bytes_max: BODY_BYTES_DEFAULT,
    };
    let ports = Ports { certificates: Arc::new(Served), subscriptions: Arc::new(Served) };
    let clock = at_rest(async { Arc::new(VirtualClock::starting_at(NOW.parse().unwrap())) });
    let journal = Arc::new(MemoryJournal::new());
    routes(IntakeState::new(journal, clock, config, ports).unwrap())
}

/// The one certificate, and no other address.
#[derive(Debug)]
struct Served;

#[async_trait]
impl Certificates for Served {
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, FetchError> {
        let host = url.as_str().strip_prefix("https://sns.").unwrap().split('/').next().unwrap();
        assert!(host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"), "{url}");
        Ok(PEM.to_vec())
    }
}

#[async_trait]
impl Subscriptions for Served {
    async fn confirm(&self, url: &SubscribeUrl) -> Result<(), FetchError> {
        panic!("{} was never signed", url.as_str())
    }
}

/// Runs to the end in paused time.
fn at_rest<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    });
    RUNTIME.block_on(future)
}
