//! Slack's Web API over HTTP: four methods, bounded in time and size, and its errors by what they mean.
//!
//! Slack has no idempotency key for `chat.postMessage`. Each message carries its [`Key`] as
//! metadata, and [`Chat::find`] reads it back with `include_all_metadata` (slackapi/python-slack-sdk
//! issue 1501: without that flag the payload is left out).

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use reqwest::{Client, StatusCode, Url, header};
use serde_json::{Value, json};

use crate::blocks::key_of;
use crate::escape::cut;
use crate::{Chat, ChatError, Found, Key, Message, Pace, Posted};

/// Slack's own address.
pub const SLACK_API: &str = "https://slack.com/api/";
/// A call that has no answer after this is lost. Slack answers in well under a second.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer larger than this is not Slack's: 50 messages of the largest size fit.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Messages per page when looking for one.
const PAGE: usize = 50;
/// Pages looked through: older messages were not posted by the attempt in question.
const PAGES_MAX: usize = 10;
/// Where `Retry-After` is missing or wrong.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(30);
/// A longer `Retry-After` is cut: looking early costs one call.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);

/// Slack, by a bot token.
pub struct Slack {
    client: Client,
    base: Url,
    token: header::HeaderValue,
}

impl std::fmt::Debug for Slack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slack").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// How Slack is reached.
pub struct SlackConfig {
    /// The API's address, [`SLACK_API`] unless a stand-in is used. Ends with `/`.
    pub base: String,
    /// The bot token, `xoxb-…`.
    pub token: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl SlackConfig {
    /// Slack itself, by this token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self { base: SLACK_API.to_owned(), token, timeout: TIMEOUT }
    }
}

impl std::fmt::Debug for SlackConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlackConfig").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Slack {
    /// A client.
    ///
    /// # Errors
    /// When the address or the token cannot be one; the token is never part of the text.
    pub fn new(config: SlackConfig) -> Result<Self, String> {
        let mut base = config.base;
        if !base.ends_with('/') {
            base.push('/');
        }
        let base =
            Url::parse(&base).map_err(|error| format!("`{base}` is not an address: {error}"))?;
        let mut token =
            header::HeaderValue::from_str(&format!("Bearer {}", config.token.trim()))
                .map_err(|_| "the Slack token holds characters that no token has".to_owned())?;
        token.set_sensitive(true);
        let client = Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("the HTTP client cannot be made: {error}"))?;
        Ok(Self { client, base, token })
    }

    /// Asks who the token belongs to: `doctor`'s question. Returns the bot's and the team's name.
    ///
    /// # Errors
    /// [`ChatError`].
    pub async fn who(&self) -> Result<(String, String), ChatError> {
        let answer = self.call("auth.test", Sent::Json(json!({}))).await?;
        let name = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        Ok((name("user"), name("team")))
    }

    async fn call(&self, method: &str, sent: Sent) -> Result<Value, ChatError> {
        let mut url =
            self.base.join(method).map_err(|error| ChatError::Message(error.to_string()))?;
        let request = match sent {
            Sent::Json(body) => self.client.post(url).json(&body),
            Sent::Form(pairs) => {
                // The methods that read take forms and no JSON; a query is written as a form is.
                url.query_pairs_mut().extend_pairs(pairs);
                let form = url.query().unwrap_or_default().to_owned();
                url.set_query(None);
                let kind = "application/x-www-form-urlencoded";
                self.client.post(url).header(header::CONTENT_TYPE, kind).body(form)
            }
        };
        let request = request.header(header::AUTHORIZATION, self.token.clone());
        let mut answer = request.send().await.map_err(|error| lost(&error))?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ChatError::Throttled { retry_after: retry_after(answer.headers()) });
        }
        if status.is_server_error() {
            return Err(ChatError::Unknown(format!("HTTP {}", status.as_u16())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| lost(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                return Err(ChatError::Unknown("its answer is larger than 4 MiB".into()));
            }
        }
        if !status.is_success() {
            return Err(ChatError::Setup(format!("HTTP {}", status.as_u16())));
        }
        let value: Value = serde_json::from_slice(&body)
            .map_err(|_| ChatError::Unknown("its answer is not JSON".into()))?;
        if value["ok"] == Value::Bool(true) {
            return Ok(value);
        }
        Err(refusal(value["error"].as_str().unwrap_or("no error code")))
    }
}

enum Sent {
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

/// A request that failed on its way. Without its address, which may hold a stand-in's secrets.
fn lost(error: &reqwest::Error) -> ChatError {
    if error.is_builder() {
        return ChatError::Message("the request cannot be made".into());
    }
    if error.is_connect() {
        return ChatError::Unreachable("no connection".into());
    }
    let why = if error.is_timeout() { "no answer in time" } else { "the connection broke" };
    ChatError::Unknown(why.into())
}

fn retry_after(headers: &header::HeaderMap) -> Duration {
    let secs =
        headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    secs.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs).min(RETRY_AFTER_MAX)
}

/// What an `ok: false` means (docs.slack.dev, the error lists of the four methods).
fn refusal(code: &str) -> ChatError {
    match code {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => {
            ChatError::Throttled { retry_after: RETRY_AFTER_DEFAULT }
        }
        "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org" => ChatError::Unknown(code.to_owned()),
        "msg_too_long"
        | "msg_blocks_too_long"
        | "invalid_blocks"
        | "invalid_blocks_format"
        | "no_text"
        | "too_many_attachments"
        | "invalid_metadata_format"
        | "invalid_metadata_schema"
        | "metadata_too_large"
        | "metadata_must_be_sent_from_app"
        | "message_not_found"
        | "thread_not_found"
        | "cant_update_message"
        | "edit_window_closed"
        | "duplicate_message_not_found" => ChatError::Message(code.to_owned()),
        // Whatever else it may be, it is said of the token, its scopes or the channel.
        other => ChatError::Setup(cut(&crate::escape::clean(other), 80)),
    }
}

/// Whether the same words without blocks might be taken.
fn blames_the_form(error: &ChatError) -> bool {
    match error {
        ChatError::Message(code) => {
            matches!(
                code.as_str(),
                "invalid_blocks" | "invalid_blocks_format" | "msg_blocks_too_long"
            )
        }
        ChatError::Throttled { .. }
        | ChatError::Unreachable(_)
        | ChatError::Unknown(_)
        | ChatError::Setup(_) => false,
    }
}

fn body(channel: &str, message: &Message) -> Value {
    json!({
        "channel": channel,
        "text": message.fallback(),
        "blocks": message.blocks(),
        "metadata": message.metadata(),
        "parse": "none",
        "link_names": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

#[async_trait]
impl Chat for Slack {
    async fn post(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        message: &Message,
    ) -> Result<Posted, ChatError> {
        let channel = thread.map_or(channel, |thread| &thread.channel);
        let mut body = body(channel, message);
        if let Some(thread) = thread {
            body["thread_ts"] = Value::String(thread.ts.clone());
        }
        let answer = match self.call("chat.postMessage", Sent::Json(body.clone())).await {
            Err(error) if blames_the_form(&error) => {
                body["blocks"] = json!([]);
                self.call("chat.postMessage", Sent::Json(body)).await?
            }
            answer => answer?,
        };
        let name = |key: &str| answer[key].as_str().map(str::to_owned);
        match (name("channel"), name("ts")) {
            (Some(channel), Some(ts)) => Ok(Posted { channel, ts }),
            _ => Err(ChatError::Unknown("its answer names no message".into())),
        }
    }

    async fn update(&self, at: &Posted, message: &Message) -> Result<(), ChatError> {
        let mut body = body(&at.channel, message);
        body["ts"] = Value::String(at.ts.clone());
        self.call("chat.update", Sent::Json(body)).await.map(drop)
    }

    async fn find(
        &self,
        channel: &str,
        thread: Option<&Posted>,
        key: &Key,
        since: Timestamp,
    ) -> Result<Option<Found>, ChatError> {
        let method =
            if thread.is_some() { "conversations.replies" } else { "conversations.history" };
        let channel = thread.map_or(channel, |thread| &thread.channel);
        let mut cursor = String::new();
        for _page in 0..PAGES_MAX {
            let mut pairs = vec![
                ("channel", channel.to_owned()),
                ("include_all_metadata", "true".to_owned()),
                ("limit", PAGE.to_string()),
                ("oldest", since.as_second().max(0).to_string()),
            ];
            if let Some(thread) = thread {
                pairs.push(("ts", thread.ts.clone()));
            }
            if !cursor.is_empty() {
                pairs.push(("cursor", cursor.clone()));
            }
            let answer = self.call(method, Sent::Form(pairs)).await?;
            for message in answer["messages"].as_array().into_iter().flatten() {
                let Some(found) = key_of(&message["metadata"]).filter(|found| found.is(key)) else {
                    continue;
                };
                let Some(ts) = message["ts"].as_str() else { continue };
                let posted = Posted { channel: channel.to_owned(), ts: ts.to_owned() };
                return Ok(Some(Found { posted, key: found }));
            }
            let next = answer["response_metadata"]["next_cursor"].as_str().unwrap_or_default();
            next.clone_into(&mut cursor);
            if cursor.is_empty() {
                break;
            }
        }
        Ok(None)
    }

    fn pace(&self) -> Pace {
        // One post a second and channel; `chat.update` is tier 3, 50 a minute for the workspace.
        Pace { post_every: Duration::from_secs(1), edit_every: Duration::from_millis(1_200) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_whether_to_try_again() {
        for (code, expected) in [
            ("ratelimited", ChatError::Throttled { retry_after: RETRY_AFTER_DEFAULT }),
            ("internal_error", ChatError::Unknown("internal_error".into())),
            ("invalid_blocks", ChatError::Message("invalid_blocks".into())),
            ("message_not_found", ChatError::Message("message_not_found".into())),
            ("channel_not_found", ChatError::Setup("channel_not_found".into())),
            ("not_in_channel", ChatError::Setup("not_in_channel".into())),
            ("invalid_auth", ChatError::Setup("invalid_auth".into())),
            ("something_new", ChatError::Setup("something_new".into())),
        ] {
            assert_eq!(refusal(code), expected, "{code}");
        }
    }

    #[test]
    fn neither_the_client_nor_its_errors_show_the_token() {
        let slack = Slack::new(SlackConfig::new("xoxb-not-a-real-token".into())).unwrap();
        assert!(!format!("{slack:?}").contains("xoxb"));
        let config = SlackConfig::new("xoxb-\u{7}".into());
        assert!(!format!("{config:?}").contains("xoxb"));
        assert!(!Slack::new(config).unwrap_err().contains("xoxb"));
    }
}
