//! `audit list|show|verify`: the journal as it is kept, also beside a running service.

use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use untoil_journal::{Journal, Verified, verify};
use untoil_model::{Body, DeliveryId, Entry, Seq, Stream};

use crate::cli::{Audit, Format};
use crate::commands::store;
use crate::config::Config;
use crate::{out, show};

/// Entries read at a time.
const PAGE: usize = 1_000;
/// Most bytes of a delivery that are shown; alarms are far smaller.
const BODY_SHOWN_MAX: usize = 64 * 1024;

/// `audit`.
pub(crate) async fn run(config: &Config, what: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let journal = &*store::open_read_only(config).await?;
    match what {
        Audit::List { last: Some(last), kind, after: _, limit: _ } => {
            for entry in newest(journal, *last, kind.as_deref()).await? {
                tell(&entry, format);
            }
            Ok(ExitCode::SUCCESS)
        }
        Audit::List { after, limit, kind, last: None } => {
            list(journal, (*after, *limit), kind.as_deref(), format).await
        }
        Audit::Show { seq } => one(journal, *seq, format).await,
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
            tell(entry, format);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(entry: &Entry, format: Format) {
    match format {
        Format::Text => out::say(&show::entry_line(entry)),
        Format::Json => out::say(&show::entry_json(entry).to_string()),
    }
}

/// The newest entries, of one kind or any, oldest first: pages are read back from the end.
async fn newest(
    journal: &dyn Journal,
    last: usize,
    kind: Option<&str>,
) -> anyhow::Result<Vec<Entry>> {
    let head = journal.latest(&Stream::All, 1).await?;
    let mut end = head.first().map_or(Seq::START, |entry| entry.seq);
    let mut found = Vec::new();
    while end > Seq::START && found.len() < last {
        let start = Seq(end.0.saturating_sub(PAGE as u64));
        let page = journal.read(&Stream::All, start, PAGE).await?;
        let wanted = page.into_iter().rev().filter(|entry| entry.seq <= end);
        let wanted = wanted.filter(|entry| kind.is_none_or(|kind| entry.body.kind() == kind));
        found.extend(wanted.take(last - found.len()));
        end = start;
    }
    found.reverse();
    Ok(found)
}

async fn one(journal: &dyn Journal, seq: u64, format: Format) -> anyhow::Result<ExitCode> {
    let before = Seq(seq.saturating_sub(1));
    let entry = journal.read(&Stream::All, before, 1).await?.into_iter().next();
    let entry = entry
        .filter(|entry| entry.seq.0 == seq)
        .with_context(|| format!("there is no entry {seq}"))?;
    let mut json = show::entry_json(&entry);
    let delivery = match delivery(&entry.body) {
        Some(id) => journal.delivery(id).await?,
        None => None,
    };
    let body = delivery.map(|delivery| delivery.body).unwrap_or_default();
    let kept = body.get(..BODY_SHOWN_MAX).unwrap_or(&body);
    if format == Format::Json && !body.is_empty() {
        json["delivery_body"] = match std::str::from_utf8(kept) {
            Ok(text) => json!({ "text": text, "bytes": body.len() }),
            Err(_) => json!({ "base64": BASE64_STANDARD.encode(kept), "bytes": body.len() }),
        };
    }
    out::say(&serde_json::to_string_pretty(&json)?);
    if format == Format::Text && !body.is_empty() {
        out::say(&format!("\nreceived, the first {} of {} bytes:", kept.len(), body.len()));
        for line in String::from_utf8_lossy(kept).lines() {
            out::say(&show::clean(line));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The delivery that an entry is about as a whole.
fn delivery(body: &Body) -> Option<&DeliveryId> {
    if let Body::Received { delivery, .. }
    | Body::Unreadable { delivery, .. }
    | Body::Understood { delivery, .. }
    | Body::Decoded { delivery, .. } = body
    {
        Some(delivery)
    } else {
        None
    }
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
