//! The HTTP API for people and for the command line: reading, answering, pausing, health.
//!
//! Reading needs no more than reaching the address. Whatever changes something needs the admin token
//! where one is set, and comes from loopback where none is; either way it carries a header that no
//! page in a browser can send across origins.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, State as Axum};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use untoil_clock::Clock;
use untoil_dispatcher::Bell;
use untoil_guard::{Answer, Guard, Say, Scope};
use untoil_journal::{Journal, JournalError, load};
use untoil_model::{Hash, IncidentId, Seq, Stream};
use untoil_notifier::NotifierHealth;

use crate::show;

/// The header that every changing request carries.
pub(crate) const MARK: &str = "x-untoil";
/// Most items of one answer.
const LIMIT_MAX: usize = 1_000;

/// What the API needs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct State(Arc<Inner>);

struct Inner {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    guard: Arc<Guard>,
    bell: Bell,
    health: watch::Receiver<NotifierHealth>,
    admin: Option<Hash>,
}

impl State {
    /// Puts it together. Of the admin token only its hash is kept.
    pub(crate) fn new(
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        guard: Arc<Guard>,
        (bell, health): (Bell, watch::Receiver<NotifierHealth>),
        admin: Option<String>,
    ) -> Self {
        let admin = admin.map(|token| Hash::of(token.as_bytes()));
        Self(Arc::new(Inner { journal, clock, guard, bell, health, admin }))
    }
}

/// The routes.
pub(crate) fn routes(state: State) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/incidents", get(incidents))
        .route("/v1/incidents/{id}", get(incident))
        .route("/v1/journal", get(journal))
        .route("/v1/incidents/{id}/approve", post(approve))
        .route("/v1/incidents/{id}/reject", post(reject))
        .route("/v1/pause", post(pause))
        .route("/v1/resume", post(resume))
        .with_state(state)
}

/// A problem of RFC 9457.
#[derive(Debug)]
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let title = status.canonical_reason().unwrap_or("problem");
        let body = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string())
            .into_response()
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(Axum(State(inner)): Axum<State>) -> Result<Json<Value>, Problem> {
    inner.journal.latest(&Stream::All, 1).await?;
    let health = inner.health.borrow().clone();
    let words = if health.is_degraded(inner.clock.now()) { "degraded" } else { "ok" };
    Ok(Json(json!({ "store": "ok", "notifier": words, "notifier_error": health.last_error })))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    open: bool,
    limit: Option<usize>,
    #[serde(default)]
    after: u64,
}

async fn incidents(
    Axum(State(inner)): Axum<State>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(50).min(LIMIT_MAX);
    let list = show::incidents(&*inner.journal, page.open, limit).await?;
    Ok(Json(list.iter().map(show::summary).collect()))
}

async fn incident(
    Axum(State(inner)): Axum<State>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id = parse_id(&id)?;
    let incident = load(&*inner.journal, &id).await?.ok_or_else(|| unknown(&id))?;
    let entries = show::story(&*inner.journal, &id).await?;
    let entries: Vec<Value> = entries.iter().map(show::entry_json).collect();
    Ok(Json(json!({ "incident": show::summary(&incident), "entries": entries })))
}

async fn journal(
    Axum(State(inner)): Axum<State>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(100).min(LIMIT_MAX);
    let entries = inner.journal.read(&Stream::All, Seq(page.after), limit).await?;
    Ok(Json(entries.iter().map(show::entry_json).collect()))
}

/// What a person says with an answer or a switch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Who says it.
    pub(crate) by: String,
    /// Why.
    #[serde(default)]
    pub(crate) note: String,
    /// What it is about, for switches.
    #[serde(default)]
    pub(crate) scope: Option<String>,
    /// The plan that was seen, by the first digits of its hash, for answers.
    #[serde(default)]
    pub(crate) plan: Option<String>,
}

async fn approve(
    Axum(State(inner)): Axum<State>,
    Path(id): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(said): Json<Said>,
) -> Result<Json<Value>, Problem> {
    may_change(&inner, peer, &headers)?;
    let id = parse_id(&id)?;
    let entry = inner.guard.answer(&id, &answer(Say::Approve, said), inner.clock.now()).await;
    let entry = entry.map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?;
    inner.bell.ring(id);
    Ok(Json(show::entry_json(&entry)))
}

async fn reject(
    Axum(State(inner)): Axum<State>,
    Path(id): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(said): Json<Said>,
) -> Result<Json<Value>, Problem> {
    may_change(&inner, peer, &headers)?;
    let id = parse_id(&id)?;
    let entry = inner.guard.answer(&id, &answer(Say::Reject, said), inner.clock.now()).await;
    let entry = entry.map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?;
    inner.bell.ring(id);
    Ok(Json(show::entry_json(&entry)))
}

fn answer(say: Say, said: Said) -> Answer {
    Answer { say, by: said.by, note: said.note, plan: said.plan }
}

async fn pause(
    Axum(State(inner)): Axum<State>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(said): Json<Said>,
) -> Result<Json<Value>, Problem> {
    may_change(&inner, peer, &headers)?;
    let scope = scope(&said)?;
    let entry = inner.guard.pause(&scope, &said.by, &said.note, inner.clock.now()).await;
    Ok(Json(show::entry_json(&entry.map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?)))
}

async fn resume(
    Axum(State(inner)): Axum<State>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(said): Json<Said>,
) -> Result<Json<Value>, Problem> {
    may_change(&inner, peer, &headers)?;
    let scope = scope(&said)?;
    let entry = inner.guard.unpause(&scope, &said.by, &said.note, inner.clock.now()).await;
    Ok(Json(show::entry_json(&entry.map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?)))
}

fn scope(said: &Said) -> Result<Scope, Problem> {
    let scope = said.scope.as_deref().unwrap_or("all");
    scope.parse().map_err(|e| Problem(StatusCode::BAD_REQUEST, format!("{e}")))
}

fn may_change(inner: &Inner, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(MARK) {
        let how = format!("send the header `{MARK}: 1`, which no page in a browser can forge");
        return Err(Problem(StatusCode::FORBIDDEN, how));
    }
    let Some(admin) = inner.admin else {
        return if peer.ip().is_loopback() {
            Ok(())
        } else {
            let how = "set `admin` in the configuration to change things from elsewhere".to_owned();
            Err(Problem(StatusCode::FORBIDDEN, how))
        };
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Hashes are compared, so the time it takes tells nothing of the token.
    if Hash::of(given.as_bytes()) == admin {
        Ok(())
    } else {
        let how = "send the admin token as `Authorization: Bearer …`".to_owned();
        Err(Problem(StatusCode::UNAUTHORIZED, how))
    }
}

fn parse_id(id: &str) -> Result<IncidentId, Problem> {
    id.parse().map_err(|e| Problem(StatusCode::BAD_REQUEST, format!("{e}")))
}

fn unknown(id: &IncidentId) -> Problem {
    Problem(StatusCode::NOT_FOUND, format!("there is no incident `{id}`"))
}
