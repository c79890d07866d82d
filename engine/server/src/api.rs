//! The HTTP API for people and for the command line: reading, answering, pausing.
//!
//! Reading and changing need the admin token where one is set, and come from this machine where none
//! is: [`Door`].

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, State as Axum};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use untoil_clock::Clock;
use untoil_dispatcher::Bell;
use untoil_guard::{Answer, Guard, Say, Scope};
use untoil_journal::{Journal, JournalError, load};
use untoil_model::{IncidentId, Seq, Stream};

use crate::door::{Door, Refusal};
use crate::show;

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
    door: Door,
}

impl State {
    /// Puts it together.
    pub(crate) fn new(
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        guard: Arc<Guard>,
        bell: Bell,
        door: Door,
    ) -> Self {
        Self(Arc::new(Inner { journal, clock, guard, bell, door }))
    }
}

/// The routes.
pub(crate) fn routes(state: State) -> Router {
    Router::new()
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

impl From<Refusal> for Problem {
    fn from((status, why): Refusal) -> Self {
        Self(status, why)
    }
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
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    inner.door.may_read(peer, &headers)?;
    let limit = page.limit.unwrap_or(50).min(LIMIT_MAX);
    let list = show::incidents(&*inner.journal, page.open, limit).await?;
    told(&*inner.journal, list.iter().map(|incident| incident.seq)).await?;
    Ok(Json(list.iter().map(show::summary).collect()))
}

async fn incident(
    Axum(State(inner)): Axum<State>,
    Path(id): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    inner.door.may_read(peer, &headers)?;
    let id = parse_id(&id)?;
    let incident = load(&*inner.journal, &id).await?.ok_or_else(|| unknown(&id))?;
    let entries = show::story(&*inner.journal, &id).await?;
    let shown = entries.iter().map(|entry| entry.seq).chain([incident.seq]);
    told(&*inner.journal, shown).await?;
    let entries: Vec<Value> = entries.iter().map(show::entry_json).collect();
    Ok(Json(json!({ "incident": show::summary(&incident), "entries": entries })))
}

async fn journal(
    Axum(State(inner)): Axum<State>,
    Query(page): Query<Page>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    inner.door.may_read(peer, &headers)?;
    let limit = page.limit.unwrap_or(100).min(LIMIT_MAX);
    let entries = inner.journal.read(&Stream::All, Seq(page.after), limit).await?;
    told(&*inner.journal, entries.iter().map(|entry| entry.seq)).await?;
    Ok(Json(entries.iter().map(show::entry_json).collect()))
}

/// What is known by entries leaves the process only when they are on the disk: what somebody has seen is
/// not lost.
async fn told(
    journal: &dyn Journal,
    places: impl IntoIterator<Item = Seq>,
) -> Result<(), JournalError> {
    match places.into_iter().max() {
        Some(last) => journal.durable(last).await,
        None => Ok(()),
    }
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
    inner.door.may_change(peer, &headers)?;
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
    inner.door.may_change(peer, &headers)?;
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
    inner.door.may_change(peer, &headers)?;
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
    inner.door.may_change(peer, &headers)?;
    let scope = scope(&said)?;
    let entry = inner.guard.unpause(&scope, &said.by, &said.note, inner.clock.now()).await;
    Ok(Json(show::entry_json(&entry.map_err(|e| Problem(StatusCode::CONFLICT, e.to_string()))?)))
}

fn scope(said: &Said) -> Result<Scope, Problem> {
    let scope = said.scope.as_deref().unwrap_or("all");
    scope.parse().map_err(|e| Problem(StatusCode::BAD_REQUEST, format!("{e}")))
}

fn parse_id(id: &str) -> Result<IncidentId, Problem> {
    id.parse().map_err(|e| Problem(StatusCode::BAD_REQUEST, format!("{e}")))
}

fn unknown(id: &IncidentId) -> Problem {
    Problem(StatusCode::NOT_FOUND, format!("there is no incident `{id}`"))
}
