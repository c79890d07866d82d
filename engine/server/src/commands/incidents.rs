//! `incidents` and `why`.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use untoil_journal::{Journal, load};
use untoil_model::IncidentId;

use crate::cli::{Format, Incidents, Why};
use crate::commands::store;
use crate::config::Config;
use crate::{out, show};

/// How far back an incident is looked for by the end of its id.
const SEARCH_MAX: usize = 10_000;

/// `incidents`.
pub(crate) async fn list(
    config: &Config,
    what: &Incidents,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let journal = &*store::open_read_only(config).await?;
    let incidents = show::incidents(journal, what.open, what.limit).await?;
    match format {
        Format::Json => {
            let list: Vec<Value> = incidents.iter().map(show::summary).collect();
            out::say(&Value::Array(list).to_string());
        }
        Format::Text if incidents.is_empty() => out::say("no incidents"),
        Format::Text => {
            for incident in &incidents {
                out::say(&show::incident_line(incident));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `why`.
pub(crate) async fn why(config: &Config, what: &Why, format: Format) -> anyhow::Result<ExitCode> {
    let journal = &*store::open_read_only(config).await?;
    let id = find(journal, &what.incident).await?;
    let incident =
        load(journal, &id).await?.with_context(|| format!("there is no incident `{id}`"))?;
    let entries = show::story(journal, &id).await?;
    match format {
        Format::Json => {
            let entries: Vec<Value> = entries.iter().map(show::entry_json).collect();
            out::say(
                &json!({ "incident": show::summary(&incident), "entries": entries }).to_string(),
            );
        }
        Format::Text => {
            out::say(&show::incident_line(&incident));
            for entry in &entries {
                out::say(&show::entry_line(entry));
                for line in show::entry_details(entry) {
                    out::say(&line);
                }
            }
            for reason in &incident.escalations {
                out::say(&format!("a person was called: {reason}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The incident that is meant by an id or the end of one.
async fn find(journal: &dyn Journal, text: &str) -> anyhow::Result<IncidentId> {
    match whole(text)? {
        Some(id) => Ok(id),
        None => by_end(journal.incidents(None, SEARCH_MAX).await?, text),
    }
}

/// The id that a text is, unless it is the end of one.
pub(super) fn whole(text: &str) -> anyhow::Result<Option<IncidentId>> {
    let text = text.trim().to_ascii_uppercase();
    if text.len() == 26 {
        return Ok(Some(text.parse()?));
    }
    if text.len() < 4 {
        bail!("`{text}` is too short: give the incident's id, or at least its last 4 characters");
    }
    Ok(None)
}

/// The one incident whose id ends so.
pub(super) fn by_end(all: Vec<IncidentId>, text: &str) -> anyhow::Result<IncidentId> {
    let text = text.trim().to_ascii_uppercase();
    let mut matching = all.into_iter().filter(|id| id.as_str().ends_with(&text));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => bail!("more than one incident ends with `{text}`: give more of it"),
        (None, _) => bail!("no incident ends with `{text}`; `untoil incidents` lists them"),
    }
}
