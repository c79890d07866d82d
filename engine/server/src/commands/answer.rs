//! `approve`, `reject`, `pause`, `resume`: through the running service.

use std::process::ExitCode;

use serde_json::Value;

use crate::api::Said;
use crate::cli::{Answer, Format, Pause};
use crate::config::Config;
use crate::{client, out};

/// `approve` and `reject`.
pub(crate) async fn answer(
    config: &Config,
    verb: &str,
    what: &Answer,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let by = client::user(what.by.as_deref())?;
    let said = Said { by, note: what.note.clone(), scope: None, plan: what.plan.clone() };
    let path = format!("/v1/incidents/{}/{verb}", what.incident);
    let entry = client::post(config, &path, &said).await?;
    tell(&entry, &format!("{verb}: entry {} of the journal", entry["seq"]), format);
    Ok(ExitCode::SUCCESS)
}

/// `pause` and `resume`.
pub(crate) async fn switch(
    config: &Config,
    verb: &str,
    what: &Pause,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let by = client::user(what.by.as_deref())?;
    let said = Said { by, note: what.reason.clone(), scope: Some(what.scope.clone()), plan: None };
    let entry = client::post(config, &format!("/v1/{verb}"), &said).await?;
    let line = format!("{verb} `{}`: entry {} of the journal", what.scope, entry["seq"]);
    tell(&entry, &line, format);
    Ok(ExitCode::SUCCESS)
}

fn tell(entry: &Value, line: &str, format: Format) {
    match format {
        Format::Text => out::say(line),
        Format::Json => out::say(&entry.to_string()),
    }
}
