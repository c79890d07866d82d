//! The command line's way to a running service: answers and switches go through its guard.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::api::Said;
use crate::config::{Config, env};
use crate::door::MARK;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Posts to the running service; returns its answer, or what it refused with.
pub(crate) async fn post(config: &Config, path: &str, said: &Said) -> anyhow::Result<Value> {
    let fill = |client: &Client, url: String| client.post(url).header(MARK, "1").json(said);
    send(config, path, fill).await
}

/// Reads from the running service.
pub(crate) async fn get(config: &Config, path: &str) -> anyhow::Result<Value> {
    send(config, path, Client::get).await
}

async fn send(
    config: &Config,
    path: &str,
    fill: impl FnOnce(&Client, String) -> RequestBuilder,
) -> anyhow::Result<Value> {
    let base = env("UNTOIL_URL").unwrap_or_else(|| format!("http://{}", config.listen));
    let client = Client::builder().timeout(TIMEOUT).build()?;
    let mut request = fill(&client, format!("{base}{path}"));
    if let Some(admin) = &config.admin {
        request = request.bearer_auth(admin.read()?);
    }
    let answer = request.send().await.with_context(|| {
        format!("no service answers at {base}; start it with `untoil serve`, or set UNTOIL_URL")
    })?;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or(Value::Null);
    if !status.is_success() {
        let detail = body["detail"].as_str().unwrap_or("it gave no reason");
        bail!("{detail}");
    }
    Ok(body)
}

/// Who is at the keyboard.
pub(crate) fn user(by: Option<&str>) -> anyhow::Result<String> {
    let name = by.map(str::to_owned).or_else(|| env("USER")).or_else(|| env("LOGNAME"));
    name.context("who are you? give `--by NAME`")
}
