//! `audit list|show|verify`: the journal as it is kept, also beside a running service.

use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;
use untoil_journal::{Journal, Verified, verify};
use untoil_model::{Seq, Stream};

use crate::cli::{Audit, Format};
use crate::commands::store;
use crate::config::Config;
use crate::{out, show};

/// Entries read at a time.
const PAGE: usize = 1_000;

/// `audit`.
pub(crate) async fn run(config: &Config, what: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let journal = &*store::open_read_only(config).await?;
    match what {
        Audit::List { after, limit, kind } => {
            list(journal, (*after, *limit), kind.as_deref(), format).await
        }
        Audit::Show { seq } => {
            let before = Seq(seq.saturating_sub(1));
            let entry = journal.read(&Stream::All, before, 1).await?.into_iter().next();
            let entry = entry
                .filter(|entry| entry.seq.0 == *seq)
                .with_context(|| format!("there is no entry {seq}"))?;
            out::say(&serde_json::to_string_pretty(&show::entry_json(&entry))?);
            Ok(ExitCode::SUCCESS)
        }
        Audit::Verify => check(journal, format).await,
    }
}

async fn list(
    journal: &dyn Journal,
    (after, limit): (u64, usize),
    kind: Option<&str>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let (mut at, mut left) = (Seq(after), limit);
    while left > 0 {
        let page = journal.read(&Stream::All, at, PAGE).await?;
        let Some(last) = page.last() else { break };
        at = last.seq;
        let wanted = page.iter().filter(|entry| kind.is_none_or(|kind| entry.body.kind() == kind));
        for entry in wanted.take(left) {
            left -= 1;
            match format {
                Format::Text => out::say(&show::entry_line(entry)),
                Format::Json => out::say(&show::entry_json(entry).to_string()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn check(journal: &dyn Journal, format: Format) -> anyhow::Result<ExitCode> {
    match verify(journal).await? {
        Verified::Whole { entries, head } => {
            match format {
                Format::Text => {
                    out::say(&format!("{entries} entries, all as they were written; head {head}"));
                }
                Format::Json => out::say(
                    &json!({ "whole": true, "entries": entries, "head": head }).to_string(),
                ),
            }
            Ok(ExitCode::SUCCESS)
        }
        Verified::Broken(broken) => {
            match format {
                Format::Text => out::say(&format!("broken: {broken}")),
                Format::Json => {
                    out::say(&json!({ "whole": false, "broken": broken.to_string() }).to_string());
                }
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
