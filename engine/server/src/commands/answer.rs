//! `approve`, `reject`, `pause`, `resume`: through the running service.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;
use untoil_model::IncidentId;

use crate::api::Said;
use crate::cli::{Answer, Format, Pause};
use crate::commands::incidents;
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
    let id = match incidents::whole(&what.incident)? {
        Some(id) => id,
        None => open(config, &what.incident).await?,
    };
    let path = format!("/v1/incidents/{id}/{verb}");
    let entry = client::post(config, &path, &said).await?;
    tell(&entry, &format!("{verb}: entry {} of the journal", entry["seq"]), format);
    Ok(ExitCode::SUCCESS)
}

/// The open incident whose id ends so, as the running service knows it.
async fn open(config: &Config, text: &str) -> anyhow::Result<IncidentId> {
    let all = client::get(config, "/v1/incidents?open=true&limit=1000").await?;
    let ids = all.as_array().into_iter().flatten().filter_map(|one| one["id"].as_str());
    let ids: Vec<IncidentId> = ids.map(str::parse).collect::<Result<_, _>>()?;
    incidents::by_end(ids, text).context("among the open ones")
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
