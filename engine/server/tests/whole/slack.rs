//! A fake Slack: the four methods that the notifier uses, and a switch that takes it away.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Debug, Default)]
struct Channel {
    down: bool,
    refused: u32,
    messages: Vec<Value>,
    edits: u32,
}

/// A running fake Slack. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct FakeSlack {
    pub(crate) api: String,
    channel: Arc<Mutex<Channel>>,
    _task: JoinSet<()>,
}

impl FakeSlack {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let api = format!("http://127.0.0.1:{}/api", listener.local_addr().unwrap().port());
        let channel = Arc::new(Mutex::new(Channel::default()));
        let app = Router::new().route("/api/{method}", post(answer)).with_state(channel.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { api, channel, _task: task }
    }

    /// Answers 503 from now on, or works again.
    pub(crate) fn down(&self, down: bool) {
        self.channel.lock().unwrap().down = down;
    }

    /// How often it was asked while it was down.
    pub(crate) fn refused(&self) -> u32 {
        self.channel.lock().unwrap().refused
    }

    /// Every message as it stands, in its order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.channel.lock().unwrap().messages.clone()
    }

    /// How often a message was edited.
    pub(crate) fn edits(&self) -> u32 {
        self.channel.lock().unwrap().edits
    }

    /// The messages that begin a thread, and those that answer in one.
    pub(crate) fn threads(&self) -> (Vec<Value>, Vec<Value>) {
        self.messages().into_iter().partition(|message| message["thread_ts"].is_null())
    }
}

async fn answer(
    State(channel): State<Arc<Mutex<Channel>>>,
    Path(method): Path<String>,
    body: Bytes,
) -> Response {
    let mut channel = channel.lock().unwrap();
    if channel.down {
        channel.refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut sent: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = match method.as_str() {
        "chat.postMessage" => {
            let ts = format!("1700000000.{:06}", channel.messages.len());
            sent["ts"] = json!(ts);
            channel.messages.push(sent);
            json!({ "ok": true, "channel": "C0TEST", "ts": ts })
        }
        "chat.update" => {
            channel.edits += 1;
            let old = channel.messages.iter_mut().find(|old| old["ts"] == sent["ts"]);
            match old {
                Some(old) => *old = sent,
                None => return refusal("message_not_found"),
            }
            json!({ "ok": true })
        }
        "conversations.history" | "conversations.replies" => {
            json!({ "ok": true, "messages": channel.messages })
        }
        "auth.test" => json!({ "ok": true, "user": "untoil", "team": "test" }),
        _ => return refusal("unknown_method"),
    };
    axum::Json(answer).into_response()
}

fn refusal(code: &str) -> Response {
    axum::Json(json!({ "ok": false, "error": code })).into_response()
}
