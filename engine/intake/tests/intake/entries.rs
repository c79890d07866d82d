//! What a stranger's bytes can reach, as functions that panic when something is wrong. The property
//! tests beside this file and the targets in `fuzz/` call the same ones.
//!
//! The input is written like a request: a first line that names the source (any other line stands
//! for one of them), lines of headers, an empty line, and the body.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use tower::ServiceExt as _;
use untoil_clock::VirtualClock;
use untoil_intake::{
    Algorithm, BODY_BYTES_DEFAULT, CertificateUrl, Certificates, DecodeError, Decoded, Decoders,
    Encoding, FetchError, HmacAuth, IntakeConfig, IntakeState, Mapping, Ports, Secret, Signed,
    SigningKey, SnsPolicy, SourceAuth, SourceSetup, SubscribeUrl, Subscriptions, ValueOrigin,
    decode, explain, routes, sources,
};
use untoil_journal::MemoryJournal;
use untoil_model::{Delivery, DeliveryId};

const NOW: &str = "2026-12-02T03:04:06Z";
const TOPIC: &str = "arn:aws:sns:ap-northeast-2:210987654321:untoil";
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

/// Decodes, explains, and holds what comes out to its bounds.
pub(crate) fn decoded(input: &[u8]) {
    let Said { source, headers, body } = said(input);
    let kind = headers.iter().find(|(name, _)| name == "content-type");
    let kind = kind.and_then(|(_, value)| value.to_str().ok());
    decoded_as(source, kind, body);
}

/// The same, of a body of one source.
pub(crate) fn decoded_as(source: &str, content_type: Option<&str>, body: &[u8]) {
    let kind = content_type.map(|kind| ("content-type".to_owned(), kind.to_owned()));
    let delivery = Delivery {
        id: DeliveryId { source: source.parse().unwrap(), message: "m".to_owned() },
        sender: "test".to_owned(),
        received_at: NOW.parse().unwrap(),
        headers: kind.into_iter().collect(),
        body: body.to_vec(),
    };
    assert_eq!(decode(&delivery), decode(&delivery), "decoding repeats");
    held(decode(&delivery), explain(&delivery));
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
    let delivery = Delivery {
        id: DeliveryId { source: "tool".parse().unwrap(), message: "m".to_owned() },
        sender: "test".to_owned(),
        received_at: NOW.parse().unwrap(),
        headers: BTreeMap::new(),
        body: input[at + 5..].to_vec(),
    };
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
            decode(&Delivery {
                id: DeliveryId { source: "sns".parse().unwrap(), message: "m".to_owned() },
                sender: TOPIC.to_owned(),
                received_at: now,
                headers: BTreeMap::new(),
                body: body.to_vec(),
            })
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
        [200, 202, 400, 401, 403, 404, 413, 415, 503].contains(&answer.status().as_u16()),
        "{}",
        answer.status()
    );
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
