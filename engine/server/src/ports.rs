//! The two ports that are the server's own: words in the thread, and requests to other services.

use std::time::Duration;

use async_trait::async_trait;
use untoil_actions::{CallError, ChatWrites, HttpReply, HttpRequest, HttpWrites};
use untoil_guard::Clearance;

/// Longest answer that is kept.
const REPLY_BYTES_MAX: usize = 4 * 1024;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A rule's words to people: they stand in the `started` entry, from which the notifier says them in
/// the incident's thread. So they are durable before anything is sent, and never said twice.
#[derive(Debug)]
pub(crate) struct ThreadWords;

#[async_trait]
impl ChatWrites for ThreadWords {
    async fn say(&self, may: Clearance, _text: &str) -> Result<String, CallError> {
        Ok(may.marker())
    }
}

/// Requests over HTTP. Which hosts are allowed is checked by the action, at plan time and here not again.
#[derive(Debug)]
pub(crate) struct Requests {
    client: reqwest::Client,
}

impl Requests {
    /// A client that follows no redirects.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .retry(reqwest::retry::never())
            .user_agent("untoil")
            .build()?;
        Ok(Self { client })
    }
}

#[async_trait]
impl HttpWrites for Requests {
    async fn send(&self, _may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError> {
        let method: reqwest::Method = what.method.parse().map_err(|_| CallError::Refused {
            code: "bad_method".into(),
            why: format!("`{}` is no method", what.method),
            missing: None,
        })?;
        let request = self
            .client
            .request(method, &what.url)
            .header("idempotency-key", &what.key)
            .header("content-type", "application/json")
            .body(what.body.clone());
        let mut answer = request.send().await.map_err(|e| {
            let unsent = e.is_connect() || e.is_builder();
            let why = e.without_url().to_string();
            if unsent { CallError::NotSent { why } } else { CallError::Unknown { why } }
        })?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while body.len() < REPLY_BYTES_MAX {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                // The status is what counts; a body that breaks off is kept as far as it came.
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(REPLY_BYTES_MAX);
        Ok(HttpReply { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}
