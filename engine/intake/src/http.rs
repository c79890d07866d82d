//! `POST /v1/events/{source}`: who sent it, keep it, answer.
//!
//! 202 is answered only after the journal has the delivery durably, and a delivery is kept before
//! anything is done because of it. Whether it can be understood is not asked here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::request::Parts as Head;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::StreamExt as _;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError, Receipt};
use untoil_model::{Delivery, DeliveryId, Hash, Rate, Source};

use crate::auth::{AuthError, Judged, SourceAuth};
use crate::problem::Problem;
use crate::rates::Rates;
use crate::sns_ports::{Certificates, Subscriptions};
use crate::sns_signature::{SnsRefusal, SnsVerifier, Verified};
use crate::sns_url::SubscribeUrl;
use crate::sources::{Repeats, cloudevents};
use crate::{Decoders, bounds, decode, networks, patience};

mod handshake;

/// The largest body unless configured: SNS's 256 KiB are up to 1.5 MB once they are JSON in JSON.
pub const BODY_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
/// A smaller limit would lose legal messages of SNS.
pub const BODY_BYTES_MIN: usize = 1024 * 1024;
/// A larger one would let a single request take a quarter of what all may take.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What all bodies that are being read may take together; beyond it senders are asked to come back.
const BODIES_KIB_MAX: usize = 64 * 1024;
/// A body is read within this or dropped. Senders wait 15 s (SNS) or longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries to confirm a subscription while SNS waits for the answer, 15 s; each takes up to 3 s.
const CONFIRM_TRIES: u32 = 3;
/// Between them.
const CONFIRM_PAUSE: Duration = Duration::from_millis(300);
/// Seconds after which a sender should come back to a full queue.
const RETRY_SOON_SECS: u16 = 1;
/// Seconds after which a sender should come back when something does not answer.
const RETRY_LATER_SECS: u16 = 10;
/// How long the same bytes are the same message, of senders that may say another thing in the same
/// bytes ([`Repeats::Lately`]). A try again later than that says nothing new and is recorded so.
const SAME_BODY_SECS: i64 = 5 * 60;
/// The longest `Idempotency-Key`: with it a delivery's id stays within its 200 bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// The headers that are kept with a delivery. None of them is secret or decides anything.
const KEPT_HEADERS: [&str; 2] = ["content-type", "x-amz-sns-message-type"];
/// Of such a header's value.
const KEPT_HEADER_BYTES_MAX: usize = 200;

/// Which sources there are and how their senders prove who they are.
#[derive(Debug, Clone)]
pub struct IntakeConfig {
    /// By the name in the path. A source that is not here answers 404.
    pub sources: BTreeMap<Source, SourceSetup>,
    /// How they are read.
    pub decoders: Arc<Decoders>,
    /// Networks of the proxies in front of the engine, whose `X-Forwarded-For` is believed.
    pub proxies: Vec<IpNet>,
    /// The largest body in bytes, from [`BODY_BYTES_MIN`] to 16 MiB.
    pub body_bytes_max: usize,
}

/// One source.
#[derive(Debug, Clone)]
pub struct SourceSetup {
    /// How its senders prove who they are.
    pub auth: SourceAuth,
    /// The networks that may send; empty for all.
    pub networks: Vec<IpNet>,
    /// How much each of its senders may send.
    pub rate: Option<Rate>,
}

impl From<SourceAuth> for SourceSetup {
    /// From everywhere, as much as the journal takes.
    fn from(auth: SourceAuth) -> Self {
        Self { auth, networks: Vec::new(), rate: None }
    }
}

/// What the intake reaches the outside by.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Fetches signing certificates.
    pub certificates: Arc<dyn Certificates>,
    /// Confirms subscriptions.
    pub subscriptions: Arc<dyn Subscriptions>,
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A source that nothing can decode.
    #[error("no decoder for source `{0}`; there are {list}", list = decode::sources().join(", "))]
    NoDecoder(Source),
    /// A source's authentication.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The limit of a body.
    #[error("the largest body is {0} bytes; give {BODY_BYTES_MIN} to {BODY_BYTES_MAX}")]
    BodyLimit(usize),
}

/// Everything the routes need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IntakeState(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    sources: BTreeMap<Source, Gate>,
    decoders: Arc<Decoders>,
    proxies: Vec<IpNet>,
    body_bytes_max: usize,
    subscriptions: Arc<dyn Subscriptions>,
    /// One permit a KiB of body in memory.
    memory: Arc<Semaphore>,
}

#[derive(Debug)]
struct Gate {
    auth: SourceAuth,
    sns: Option<SnsVerifier>,
    networks: Vec<IpNet>,
    rates: Option<Rates>,
}

impl IntakeState {
    /// Checks the configuration and puts the parts together.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting and the way out.
    pub fn new(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        config: IntakeConfig,
        ports: Ports,
    ) -> Result<Self, ConfigError> {
        if !(BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(&config.body_bytes_max) {
            return Err(ConfigError::BodyLimit(config.body_bytes_max));
        }
        let mut sources = BTreeMap::new();
        for (source, SourceSetup { auth, networks, rate }) in config.sources {
            if !config.decoders.reads(&source) {
                return Err(ConfigError::NoDecoder(source));
            }
            auth.check(source.as_str())?;
            let sns = match &auth {
                SourceAuth::SnsSignature(policy) => {
                    Some(SnsVerifier::new(policy.clone(), Arc::clone(&ports.certificates)))
                }
                SourceAuth::SharedSecretHeader { .. }
                | SourceAuth::Bearer { .. }
                | SourceAuth::Basic { .. }
                | SourceAuth::Query { .. }
                | SourceAuth::Hmac(_) => None,
            };
            let rates = rate.map(Rates::of);
            sources.insert(source, Gate { auth, sns, networks, rates });
        }
        Ok(Self(Arc::new(Parts {
            journal,
            clock,
            sources,
            decoders: config.decoders,
            proxies: config.proxies,
            body_bytes_max: config.body_bytes_max,
            subscriptions: ports.subscriptions,
            memory: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
        })))
    }
}

/// The intake's routes: `POST /v1/events/{source}`.
pub fn routes(state: IntakeState) -> Router {
    // Our own limit stands in `read`; it counts what was read rather than what was announced.
    Router::new()
        .route("/v1/events/{source}", post(receive).options(handshake::answer))
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

#[derive(Serialize)]
struct Accepted {
    delivery: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    seen_before: bool,
}

async fn receive(
    State(IntakeState(parts)): State<IntakeState>,
    Path(source): Path<String>,
    request: Request,
) -> Response {
    match accept(&parts, &source, request).await {
        Ok((status, None)) => status.into_response(),
        Ok((status, Some(accepted))) => {
            let json = serde_json::to_string(&accepted).expect("texts and a number are JSON");
            (status, [(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(problem) => {
            let source = bounds::quote(&source);
            tracing::warn!(
                source.name = %source,
                http.status = problem.status().as_u16(),
                error = problem.detail(),
                "a delivery to `{source}` was not accepted"
            );
            problem.into_response()
        }
    }
}

async fn accept(
    parts: &Parts,
    source: &str,
    request: Request,
) -> Result<(StatusCode, Option<Accepted>), Problem> {
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "no such source is configured");
    let source: Source = source.parse().map_err(|_| unknown())?;
    let gate = parts.sources.get(&source).ok_or_else(unknown)?;
    let (head, body) = request.into_parts();
    gate.lets_in(&head, &parts.proxies)?;
    let headers = &head.headers;
    let judged = gate.auth.judge(headers, head.uri.query().unwrap_or(""));
    match &judged {
        Judged::Unknown(wanted) => return Err(Problem::unauthorized(wanted)),
        // Who is over its rate is told so before its body is read.
        Judged::Sender(sender) => gate.pays(sender, parts.clock.ticks())?,
        Judged::BySignature => {}
    }
    plain(headers)?;
    let is_events = parts.decoders.kind(&source) == Some("cloudevents");
    if matches!(judged, Judged::BySignature) {
        let is_hmac = matches!(gate.auth, SourceAuth::Hmac(_));
        cloudevents::signed(headers, is_events && is_hmac)
            .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
    }
    let Read { bytes, memory: _memory } = read(parts, headers, body).await?;
    // An event may be all in its headers.
    if bytes.is_empty() && !(is_events && headers.contains_key("ce-id")) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body is empty"));
    }
    let received_at = parts.clock.now();
    let ticks = parts.clock.ticks();
    let Proven { sender, message, confirm } =
        gate.proves(judged, headers, (&bytes, received_at, ticks)).await?;
    let mut kept = kept(headers);
    if is_events {
        kept.append(&mut cloudevents::attributes(headers).map_err(|error| attributes(&error))?);
    }
    let id = DeliveryId { source, message: String::new() };
    let mut delivery = Delivery { id, sender, received_at, headers: kept, body: bytes };
    delivery.id.message = match message {
        Some(message) => message,
        None => message_id(&parts.decoders, headers, &delivery)?,
    };
    let (status, accepted) = keep(parts, delivery, confirm).await?;
    // A sender of events takes what is answered for an event: Knative's broker counts other words as a
    // failure.
    Ok((status, (!is_events).then_some(accepted)))
}

/// A sender who is known now.
struct Proven {
    sender: String,
    /// The sender's own id of the message, where that was proven too.
    message: Option<String>,
    confirm: Option<SubscribeUrl>,
}

impl Gate {
    /// Who sent a body, by its signature where its headers alone do not say.
    async fn proves(
        &self,
        judged: Judged,
        headers: &HeaderMap,
        (body, received_at, ticks): (&[u8], Timestamp, Duration),
    ) -> Result<Proven, Problem> {
        let unknown = || Problem::new(StatusCode::NOT_FOUND, "no such source is configured");
        match (judged, &self.sns) {
            (Judged::Sender(sender), _) => Ok(Proven { sender, message: None, confirm: None }),
            (Judged::BySignature, Some(verifier)) => {
                let verified = verifier.verify(body, received_at).await;
                let Verified { topic, message_id, confirm } =
                    verified.map_err(|refusal| refused(refusal, headers))?;
                self.pays(topic.as_str(), ticks)?;
                Ok(Proven { sender: topic.to_string(), message: Some(message_id), confirm })
            }
            (Judged::BySignature, None) => {
                let SourceAuth::Hmac(hmac) = &self.auth else { return Err(unknown()) };
                let sender = hmac
                    .verify(headers, body, received_at)
                    .map_err(|why| Problem::new(StatusCode::UNAUTHORIZED, why))?;
                self.pays(&sender, ticks)?;
                Ok(Proven { sender, message: None, confirm: None })
            }
            (Judged::Unknown(_), _) => Err(unknown()),
        }
    }

    /// Refuses what comes from elsewhere than it should.
    fn lets_in(&self, head: &Head, proxies: &[IpNet]) -> Result<(), Problem> {
        if self.networks.is_empty() {
            return Ok(());
        }
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        let client = peer.map(|ConnectInfo(peer)| networks::client(*peer, &head.headers, proxies));
        if client.is_some_and(|client| networks::within(client, &self.networks)) {
            return Ok(());
        }
        let from = client.map_or_else(|| "an unknown address".to_owned(), |ip| format!("`{ip}`"));
        let detail = format!("{from} is not in the source's `networks`");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }

    /// Takes one delivery from what a sender may send.
    fn pays(&self, sender: &str, ticks: Duration) -> Result<(), Problem> {
        let Some(rates) = &self.rates else { return Ok(()) };
        rates.take(sender, ticks).map_err(|wait| {
            let secs = u16::try_from(wait.as_secs() + 1).unwrap_or(u16::MAX);
            // 503 and not 429: SNS, Alertmanager and Datadog never come back after a 4xx.
            Problem::later("the source's `rate` is used up", secs)
        })
    }
}

/// Keeps a delivery and then, on a subscription's confirmation, confirms it. A confirmation that was
/// seen before is confirmed again: the first time may have been cut short, and SNS takes both.
async fn keep(
    parts: &Parts,
    delivery: Delivery,
    confirm: Option<SubscribeUrl>,
) -> Result<(StatusCode, Accepted), Problem> {
    let id = delivery.id.to_string();
    let kept = patience::receive((&*parts.journal, &*parts.clock), delivery).await;
    let receipt = kept.map_err(|error| match error {
        JournalError::Overloaded => Problem::later(error.to_string(), RETRY_SOON_SECS),
        JournalError::Unavailable(_)
        | JournalError::Damaged(_)
        | JournalError::Newer(_)
        | JournalError::TakenOver(_) => {
            tracing::error!(delivery.id = %id, %error, "failed to keep a delivery");
            Problem::later("the journal does not answer; nothing was promised", RETRY_LATER_SECS)
        }
    })?;
    if let Some(url) = confirm {
        confirmed(parts, &url).await?;
        tracing::info!(delivery.id = %id, "confirmed the subscription of delivery `{id}`");
    }
    Ok(match receipt {
        Receipt::Stored(seq) => {
            (StatusCode::ACCEPTED, Accepted { delivery: id, seq: Some(seq.0), seen_before: false })
        }
        Receipt::Seen => (StatusCode::OK, Accepted { delivery: id, seq: None, seen_before: true }),
    })
}

/// Confirms, or has SNS send its request again.
async fn confirmed(parts: &Parts, url: &SubscribeUrl) -> Result<(), Problem> {
    let mut why = String::new();
    for attempt in 1..=CONFIRM_TRIES {
        match parts.subscriptions.confirm(url).await {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
        if attempt < CONFIRM_TRIES {
            parts.clock.sleep(CONFIRM_PAUSE).await;
        }
    }
    let detail = format!("the subscription could not be confirmed, send it again: {why}");
    Err(Problem::later(detail, RETRY_LATER_SECS))
}

fn refused(refusal: SnsRefusal, headers: &HeaderMap) -> Problem {
    match refusal {
        SnsRefusal::Later(why) => Problem::later(why, RETRY_LATER_SECS),
        SnsRefusal::Refused(_) if headers.contains_key("x-amz-sns-rawdelivery") => Problem::new(
            StatusCode::FORBIDDEN,
            "raw message delivery carries no signature; turn it off for this subscription",
        ),
        SnsRefusal::Refused(why) => Problem::new(StatusCode::FORBIDDEN, why),
    }
}

/// Refuses a body that is packed: no sender that is read here packs what it sends, a packed body of
/// some KiB can be gigabytes, and a signature could be meant of either.
fn plain(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"));
    if is_plain { Ok(()) } else { Err(Problem::packed()) }
}

/// The sender's own id of the message, or the body's hash: the same body is the same message.
fn message_id(
    decoders: &Decoders,
    headers: &HeaderMap,
    delivery: &Delivery,
) -> Result<String, Problem> {
    let Delivery { id: DeliveryId { source, .. }, received_at, body, .. } = delivery;
    let kind = decoders.kind(source);
    // An event is known by what it is before how it came, as when it comes by a queue.
    if kind == Some("cloudevents")
        && let Some(message) = cloudevents::message(delivery)
    {
        return Ok(message);
    }
    // Without its envelope, a message of SNS is told by its header alone.
    if headers.contains_key("x-amz-sns-rawdelivery")
        && let Some(id) = headers.get("x-amz-sns-message-id").and_then(|id| id.to_str().ok())
        && id.len() <= IDEMPOTENCY_KEY_BYTES_MAX
    {
        return Ok(format!("sns:{id}"));
    }
    if decoders.repeats(source) == Repeats::Lately {
        let bucket = received_at.as_second().div_euclid(SAME_BODY_SECS);
        let hash = match kind {
            // The same body under other headers is another event.
            Some("cloudevents") => Hash::of_json(&(&delivery.headers, Hash::of(body))),
            Some(_) | None => Hash::of(body),
        };
        return Ok(format!("{hash}@{bucket}"));
    }
    let key = headers.get("idempotency-key").filter(|_| kind == Some("generic"));
    let Some(key) = key else {
        return Ok(Hash::of(body).to_string());
    };
    let text = key.to_str().unwrap_or("");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if text.trim().is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX || !is_plain {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "`Idempotency-Key` is 1 to 128 printable ASCII characters",
        ));
    }
    // Led by a word, so that no key is ever taken for a body's hash.
    Ok(format!("key:{text}"))
}

fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let kept = KEPT_HEADERS.iter().filter_map(|name| {
        let value = headers.get(*name)?.to_str().ok()?;
        (value.len() <= KEPT_HEADER_BYTES_MAX).then(|| ((*name).to_owned(), value.to_owned()))
    });
    kept.collect()
}

/// An event whose headers cannot be kept as they are.
fn attributes(error: &cloudevents::AttributeError) -> Problem {
    let status = match error {
        cloudevents::AttributeError::TooMany => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        cloudevents::AttributeError::Twice(_) | cloudevents::AttributeError::NotText(_) => {
            StatusCode::BAD_REQUEST
        }
    };
    Problem::new(status, error.to_string())
}

/// A body and its share of the memory.
struct Read {
    bytes: Vec<u8>,
    memory: Option<OwnedSemaphorePermit>,
}

/// Reads a body, bounded in size, time and memory.
async fn read(parts: &Parts, headers: &HeaderMap, body: Body) -> Result<Read, Problem> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > parts.body_bytes_max) {
        return Err(too_large(parts));
    }
    match tokio::time::timeout(BODY_TIMEOUT, read_all(parts, body)).await {
        Ok(read) => read,
        // Senders do not come back after a 4xx, and a slow network is not their fault.
        Err(_) => Err(Problem::later("the body took longer than 10 s", RETRY_LATER_SECS)),
    }
}

async fn read_all(parts: &Parts, body: Body) -> Result<Read, Problem> {
    let mut chunks = body.into_data_stream();
    let mut read = Read { bytes: Vec::new(), memory: None };
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes =
            chunk.map_err(|_| Problem::later("the body broke off", RETRY_LATER_SECS))?;
        if read.bytes.len() + chunk.len() > parts.body_bytes_max {
            return Err(too_large(parts));
        }
        grow(parts, &mut read, chunk.len())?;
        read.bytes.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// Takes memory for `more` bytes, in steps of a KiB.
fn grow(parts: &Parts, read: &mut Read, more: usize) -> Result<(), Problem> {
    let held = read.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let wanted = (read.bytes.len() + more).div_ceil(1024);
    let missing = u32::try_from(wanted.saturating_sub(held)).unwrap_or(u32::MAX);
    if missing == 0 {
        return Ok(());
    }
    let Ok(permit) = Arc::clone(&parts.memory).try_acquire_many_owned(missing) else {
        return Err(Problem::later("too many large deliveries at once", RETRY_SOON_SECS));
    };
    match &mut read.memory {
        Some(held) => held.merge(permit),
        None => read.memory = Some(permit),
    }
    Ok(())
}

fn too_large(parts: &Parts) -> Problem {
    let max = parts.body_bytes_max;
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max} bytes"))
}
