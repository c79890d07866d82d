//! `/healthz`, `/readyz` and `/metrics`, and what counts the intake's answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State as Axum};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};
use untoil_clock::Clock;
use untoil_health::{CONTENT_TYPE, Metrics, Part, Readiness, State};

use crate::door::Door;

/// Nothing was decided for so long, while the store works: starting again is the way out.
const STUCK_MAX: Duration = Duration::from_mins(3);
/// Seconds after which a sender should come back to an instance that starts.
const RETRY_SECS: &str = "2";

/// What the routes need. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Signs {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
    /// Names of sources that are counted by name.
    pub(crate) sources: Arc<BTreeSet<String>>,
    /// This instance's name.
    pub(crate) instance: Arc<str>,
    /// Who may read errors.
    pub(crate) door: Arc<Door>,
}

/// The three signs of life. None of them asks the store, so each answers at once.
pub(crate) fn routes(signs: Signs) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(signs)
}

/// What answers until the service has started: the signs of life, and 503 for all the rest.
pub(crate) fn closed(signs: Signs) -> Router {
    let intake = Router::new().route("/v1/events/{source}", any(starting));
    watched(intake, signs.clone()).merge(routes(signs)).fallback(starting)
}

/// The intake's routes, counted, and closed until everything is ready.
pub(crate) fn watched(intake: Router, signs: Signs) -> Router {
    intake.layer(axum::middleware::from_fn_with_state(signs, answer))
}

async fn answer(Axum(signs): Axum<Signs>, request: Request, next: Next) -> Response {
    let source = request.uri().path().rsplit('/').next().unwrap_or_default();
    let known = signs.sources.contains(source);
    let source = if known { source.to_owned() } else { "unknown".to_owned() };
    let began = signs.clock.ticks();
    let answer =
        if is_starting(&signs.readiness) { starting().await } else { next.run(request).await };
    let took = signs.clock.ticks().saturating_sub(began);
    signs.metrics.answered(&source, answer.status().as_u16(), took);
    answer
}

async fn starting() -> Response {
    let why = "this instance is starting; come back in a moment";
    let headers =
        [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, RETRY_SECS)];
    let body = json!({ "type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": why });
    (StatusCode::SERVICE_UNAVAILABLE, headers, body.to_string()).into_response()
}

/// A store that fails answers for itself, and what comes while stopping is still kept.
fn is_starting(readiness: &Readiness) -> bool {
    Part::ALL.into_iter().any(|part| part.is_needed() && readiness.state(part) == State::Starting)
}

/// 200 while the process lives. 503 when nothing is decided although the store works: then, and only
/// then, a restart helps.
async fn healthz(Axum(signs): Axum<Signs>) -> (StatusCode, &'static str) {
    let report = signs.readiness.report();
    let decisions = report.parts.get(&Part::Decisions);
    let stuck = decisions.filter(|condition| condition.state == State::Failed).is_some_and(|it| {
        let since = signs.clock.now().duration_since(it.since);
        Duration::try_from(since).is_ok_and(|since| since >= STUCK_MAX)
    });
    if stuck && signs.readiness.state(Part::Store).is_fine() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing is decided any more\n");
    }
    (StatusCode::OK, "ok\n")
}

/// 200 when this instance may take deliveries. What went wrong is told to those who may read.
async fn readyz(
    Axum(signs): Axum<Signs>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> (StatusCode, Json<Value>) {
    let report = signs.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut parts = json!(report.parts);
    if signs.door.may_read(peer, &headers).is_err()
        && let Some(parts) = parts.as_object_mut()
    {
        for part in parts.values_mut().filter_map(Value::as_object_mut) {
            part.remove("last_error");
        }
    }
    (status, Json(json!({ "ready": report.ready, "instance": *signs.instance, "parts": parts })))
}

async fn metrics(Axum(signs): Axum<Signs>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], signs.metrics.text()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::connect_info::MockConnectInfo;
    use axum::routing::post;
    use tower::ServiceExt as _;
    use untoil_clock::VirtualClock;

    use super::*;

    /// What is done before asking.
    type Change = fn(&Readiness);

    fn signs() -> (Arc<VirtualClock>, Signs) {
        let clock = Arc::new(VirtualClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let signs = Signs {
            clock: Arc::clone(&clock) as _,
            metrics: Arc::new(Metrics::new("1.2.3", Vec::new())),
            readiness: Readiness::new(Arc::clone(&clock) as _),
            sources: Arc::new(BTreeSet::from(["sns".to_owned()])),
            instance: "untoil-1".into(),
            door: Arc::new(Door::new(None)),
        };
        (clock, signs)
    }

    async fn ask(signs: &Signs, method: &str, path: &str) -> u16 {
        let intake =
            Router::new().route("/v1/events/{source}", post(async || StatusCode::ACCEPTED));
        let app = watched(intake, signs.clone()).merge(routes(signs.clone()));
        let app = app.layer(MockConnectInfo(SocketAddr::from(([127, 0, 0, 1], 5000))));
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let answer = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        answer.status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn each_sign_answers_for_what_it_is_about() {
        let all_ok: Change = |readiness| Part::ALL.into_iter().for_each(|part| readiness.ok(part));
        // What changed; `/healthz` at once and four minutes later, `/readyz`, and the intake.
        let table: [(&str, Change, [u16; 4]); 9] = [
            ("nothing is wrong", |_| {}, [200, 200, 200, 202]),
            ("store down", |it| it.failed(Part::Store, "full"), [200, 200, 503, 202]),
            ("decisions stuck", |it| it.failed(Part::Decisions, "stuck"), [200, 503, 200, 202]),
            (
                "decisions stuck for want of a store",
                |it| {
                    it.failed(Part::Store, "full");
                    it.failed(Part::Decisions, "stuck");
                },
                [200, 200, 503, 202],
            ),
            ("decisions late", |it| it.degraded(Part::Decisions, "late"), [200, 200, 200, 202]),
            ("AWS denied", |it| it.degraded(Part::Aws, "denied"), [200, 200, 200, 202]),
            ("Slack down", |it| it.degraded(Part::Slack, "down"), [200, 200, 200, 202]),
            ("Slack not configured", |it| it.off(Part::Slack), [200, 200, 200, 202]),
            ("stopping", Readiness::stop, [200, 200, 503, 202]),
        ];
        for (what, change, [at_once, later, ready, intake]) in table {
            let (clock, signs) = signs();
            all_ok(&signs.readiness);
            change(&signs.readiness);
            assert_eq!(ask(&signs, "GET", "/healthz").await, at_once, "{what}");
            assert_eq!(ask(&signs, "GET", "/readyz").await, ready, "{what}");
            assert_eq!(ask(&signs, "POST", "/v1/events/sns").await, intake, "{what}");
            clock.sleep(Duration::from_mins(4)).await;
            assert_eq!(ask(&signs, "GET", "/healthz").await, later, "{what}, later");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn until_everything_is_there_senders_are_asked_to_come_back() {
        let (_, signs) = signs();
        for part in [Part::Intake, Part::Store, Part::Rules] {
            assert_eq!(ask(&signs, "GET", "/readyz").await, 503);
            assert_eq!(ask(&signs, "POST", "/v1/events/sns").await, 503);
            assert_eq!(ask(&signs, "GET", "/healthz").await, 200, "it lives");
            signs.readiness.ok(part);
        }
        assert_eq!(ask(&signs, "GET", "/readyz").await, 200);
        assert_eq!(ask(&signs, "POST", "/v1/events/sns").await, 202);
        assert_eq!(ask(&signs, "POST", "/v1/events/anything").await, 202);
        let scraped = signs.metrics.text();
        for sample in [
            r#"untoil_intake_answers_total{source="sns",status="503"} 3"#,
            r#"untoil_intake_answers_total{source="sns",status="202"} 1"#,
            r#"untoil_intake_answers_total{source="unknown",status="202"} 1"#,
        ] {
            assert!(scraped.contains(sample), "{sample}: {scraped}");
        }
    }
}
