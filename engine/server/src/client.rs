//! The command line's way to a running service: answers and switches go through its guard.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::api::Said;
use crate::config::{Config, env};
use crate::door::MARK;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Posts to the running service; returns its answer, or what it refused with.
pub(crate) async fn post(config: &Config, path: &str, said: &Said) -> anyhow::Result<Value> {
    let base = env("UNTOIL_URL").unwrap_or_else(|| format!("http://{}", config.listen));
    let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
    let mut request = client.post(format!("{base}{path}")).header(MARK, "1").json(said);
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
