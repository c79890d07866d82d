//! `/healthz`, `/readyz` and `/metrics`, and what counts the intake's answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State as Axum};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
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

/// The intake's routes, counted, and closed until everything is ready.
pub(crate) fn watched(intake: Router, signs: Signs) -> Router {
    intake.layer(axum::middleware::from_fn_with_state(signs, answer))
}

async fn answer(Axum(signs): Axum<Signs>, request: Request, next: Next) -> Response {
    let source = request.uri().path().rsplit('/').next().unwrap_or_default();
    let known = signs.sources.contains(source);
    let source = if known { source.to_owned() } else { "unknown".to_owned() };
    let began = signs.clock.ticks();
    let answer = if is_starting(&signs.readiness) {
        let why = "this instance is starting; come back in a moment";
        let headers =
            [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, RETRY_SECS)];
        let body = json!({ "type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": why });
        (StatusCode::SERVICE_UNAVAILABLE, headers, body.to_string()).into_response()
    } else {
        next.run(request).await
    };
    let took = signs.clock.ticks().saturating_sub(began);
    signs.metrics.answered(&source, answer.status().as_u16(), took);
    answer
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
