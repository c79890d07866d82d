//! The minimal reference: it parses an alarm, stores it durably, looks its rule up by hash, and acts by
//! one HTTP request. It authenticates nobody, judges nothing, limits nothing, and records only what came.

#[expect(clippy::disallowed_types, reason = "looked up by key only, never iterated")]
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::acting::Callers;
use crate::reference::{Insert, insert, inserts};

/// What of the generic form it needs.
#[derive(Deserialize)]
struct Body {
    alarms: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    namespace: String,
    metric: String,
    state: String,
    dimensions: Dimensions,
}

#[derive(Deserialize)]
struct Dimensions {
    #[serde(rename = "InstanceId")]
    instance: String,
}

#[derive(Clone)]
struct Reference {
    queue: mpsc::Sender<Insert>,
    #[expect(clippy::disallowed_types, reason = "as above")]
    rules: Arc<HashMap<(String, String), &'static str>>,
    callers: Arc<Callers>,
    acting: TaskTracker,
}

/// The reference as a server; it acts on `act`.
pub(crate) fn minimal(folder: &Path, act: SocketAddr) -> Result<Router> {
    let rule = ("CWAgent".to_owned(), "disk_used_percent".to_owned());
    let reference = Reference {
        queue: inserts(folder)?,
        rules: Arc::new([(rule, "untoil-disk-reclaim")].into()),
        callers: Arc::new(Callers::of(act)),
        acting: TaskTracker::new(),
    };
    Ok(Router::new().route("/v1/events/{source}", post(take)).with_state(reference))
}

async fn take(State(all): State<Reference>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(said) = serde_json::from_slice::<Body>(&body) else { return StatusCode::BAD_REQUEST };
    let status = insert(State(all.queue.clone()), headers, body).await;
    if status == StatusCode::ACCEPTED {
        // It answers first and acts then, as untoil does.
        all.acting.clone().spawn(async move { act(&all, said).await });
    }
    status
}

async fn act(all: &Reference, body: Body) {
    for said in body.alarms {
        let rule = all.rules.get(&(said.namespace, said.metric));
        if let Some(document) = rule.filter(|_| said.state == "firing") {
            // What did not come is missed by who measures.
            all.callers.call(&said.dimensions.instance, document).await.ok();
        }
    }
}
