//! Acting over HTTP: the stand-in that is called, and the one client that all servers call it with.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, bail};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::load::Connection;

/// A stand-in for what is acted on. It notes who was called, and when.
pub(crate) struct Acted {
    pub(crate) address: SocketAddr,
    pub(crate) calls: mpsc::UnboundedReceiver<(String, Instant)>,
    _serving: JoinSet<()>,
}

impl Acted {
    pub(crate) async fn start() -> Result<Self> {
        let (sender, calls) = mpsc::unbounded_channel();
        let app = Router::new().route("/act/{instance}", post(note)).with_state(sender);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // It serves until the measurement ends.
            axum::serve(listener, app).await.ok();
        });
        Ok(Self { address, calls, _serving: serving })
    }
}

async fn note(
    State(calls): State<mpsc::UnboundedSender<(String, Instant)>>,
    Path(instance): Path<String>,
) -> StatusCode {
    let now = Instant::now();
    // Nobody listens any more once everything is measured.
    calls.send((instance, now)).ok();
    StatusCode::OK
}

/// Kept connections to the stand-in, as many as are needed at once.
#[derive(Debug)]
pub(crate) struct Callers {
    address: SocketAddr,
    free: Mutex<Vec<Connection>>,
}

impl Callers {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self { address, free: Mutex::default() }
    }

    /// Calls for a host, and waits for the answer.
    pub(crate) async fn call(&self, instance: &str, document: &str) -> Result<()> {
        let free = self.free.lock().await.pop();
        let mut connection = match free {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let body = serde_json::json!({ "document": document, "instance": instance }).to_string();
        let path = format!("/act/{instance}");
        let status = connection.post(&path, "content-type: application/json\r\n", body.as_bytes());
        let status = status.await?;
        if status != 200 {
            bail!("the stand-in answered {status}");
        }
        self.free.lock().await.push(connection);
        Ok(())
    }
}
