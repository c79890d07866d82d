//! `audit list|show|verify`: the journal as it is kept, also beside a running service, and its
//! archive files behind it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use untoil_journal::{
    Archive, Journal, Shelf, Verified, segments, verify, verify_archive, verify_files,
};
use untoil_model::{Body, DeliveryId, Entry, Seq, Stream};

use crate::cli::{Audit, Format, Only};
use crate::commands::store;
use crate::commands::trail::Trail;
use crate::config::Config;
use crate::{out, show};

/// Entries read at a time.
const PAGE: u64 = 1_000;
/// Most bytes of a delivery that are shown; alarms are far smaller.
const BODY_SHOWN_MAX: usize = 64 * 1024;

/// `audit`.
pub(crate) async fn run(config: &Config, what: &Audit, format: Format) -> anyhow::Result<ExitCode> {
    let archive = match what {
        Audit::List { archive, .. }
        | Audit::Show { archive, .. }
        | Audit::Verify { archive, .. } => {
            Archive::at(archive.clone().unwrap_or_else(|| config.archive()))
        }
    };
    if let Audit::Verify { only: Some(Only::Archive), .. } = what {
        return check_files(&archive, format);
    }
    let journal = &*store::open_read_only(config).await?;
    match what {
        Audit::List { last: Some(last), kind, .. } => {
            let trail = &mut Trail::of(journal, archive).await?;
            for entry in newest(trail, *last, kind.as_deref()).await? {
                tell(&entry, format);
            }
            Ok(ExitCode::SUCCESS)
        }
        Audit::List { after, limit, kind, last: None, .. } => {
            let trail = &mut Trail::of(journal, archive).await?;
            list(trail, (*after, *limit), kind.as_deref(), format).await
        }
        Audit::Show { seq, .. } => {
            one(&mut Trail::of(journal, archive).await?, Seq(*seq), format).await
        }
        Audit::Verify { only: Some(_), .. } => check(journal, None, format).await,
        Audit::Verify { only: None, .. } => check(journal, Some(&archive), format).await,
    }
}

async fn list(
    trail: &mut Trail<'_>,
    (after, limit): (u64, usize),
    kind: Option<&str>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let (mut at, mut left) = (Seq(after), limit);
    while left > 0 {
        let page = trail.after(at).await?;
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
    trail: &mut Trail<'_>,
    last: usize,
    kind: Option<&str>,
) -> anyhow::Result<Vec<Entry>> {
    let head = trail.journal.latest(&Stream::All, 1).await?;
    let mut end = head.first().map_or(Seq::START, |entry| entry.seq);
    let mut found = Vec::new();
    while end > Seq::START && found.len() < last {
        let start = Seq(end.0.saturating_sub(PAGE));
        let page = between(trail, start, end).await?;
        let wanted = page.into_iter().rev();
        let wanted = wanted.filter(|entry| kind.is_none_or(|kind| entry.body.kind() == kind));
        found.extend(wanted.take(last - found.len()));
        end = start;
    }
    found.reverse();
    Ok(found)
}

/// Entries behind one place, up to another.
async fn between(trail: &mut Trail<'_>, start: Seq, end: Seq) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut at = start;
    while at < end {
        let page = trail.after(at).await?;
        let Some(last) = page.last() else { break };
        at = last.seq;
        found.extend(page.into_iter().filter(|entry| entry.seq <= end));
    }
    Ok(found)
}

async fn one(trail: &mut Trail<'_>, seq: Seq, format: Format) -> anyhow::Result<ExitCode> {
    let found = trail.one(seq, |entry| delivery(&entry.body).cloned()).await?;
    let mut json = show::entry_json(&found.entry);
    if let Some(file) = &found.file {
        json["file"] = json!(file);
    }
    let body = found.delivery.map(|delivery| delivery.body).unwrap_or_default();
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

/// What of the archive was checked with the store.
enum Files {
    /// Nothing is archived, or it was not asked for.
    None,
    /// The folder is not there; so many files are not checked.
    Away(usize, PathBuf),
    Checked(Shelf),
}

async fn check(
    journal: &dyn Journal,
    archive: Option<&Archive>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let verified = verify(journal).await?;
    let (entries, head) = match verified {
        Verified::Whole { entries, head } => (entries, head),
        Verified::Broken(broken) => {
            match format {
                Format::Text => out::say(&format!("broken: {broken}")),
                Format::Json => {
                    out::say(&json!({ "whole": false, "broken": broken.to_string() }).to_string());
                }
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let known = segments(journal).await?.context("the journal has changed meanwhile")?;
    let files = match archive.filter(|_| !known.is_empty()) {
        None => Files::None,
        Some(archive) if !archive.folder().is_dir() => {
            Files::Away(known.len(), archive.folder().to_owned())
        }
        Some(archive) => Files::Checked(verify_archive(journal, archive).await?),
    };
    let archived = known.last().map_or(0, |segment| segment.last.0);
    let mut json = json!({ "whole": true, "entries": entries, "head": head, "archived": archived });
    if format == Format::Text {
        let only = if archived > 0 { " in the store" } else { "" };
        out::say(&format!("{entries} entries, all{only} as they were written; head {head}"));
    }
    match files {
        Files::None => {
            if format == Format::Text && archived > 0 {
                out::say(&format!("entries 1 to {archived} are archived; no file was checked"));
            }
        }
        Files::Away(files, folder) => {
            if format == Format::Text {
                out::say(&format!(
                    "entries 1 to {archived} are in {files} file(s), which were not checked: \
                     there is no folder `{}`; name it with `--archive`",
                    folder.display()
                ));
            }
        }
        Files::Checked(shelf) => {
            json["whole"] = json!(shelf.flaws.is_empty());
            json["files"] = shelf_json(&shelf);
            if format == Format::Text {
                say_shelf(&shelf);
            }
            if !shelf.flaws.is_empty() {
                if format == Format::Json {
                    out::say(&json.to_string());
                }
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    if format == Format::Json {
        out::say(&json.to_string());
    }
    Ok(ExitCode::SUCCESS)
}

/// `audit verify --only archive`: without a store.
fn check_files(archive: &Archive, format: Format) -> anyhow::Result<ExitCode> {
    let folder = archive.folder().display().to_string();
    let shelf = verify_files(archive).with_context(|| format!("cannot read `{folder}`"))?;
    if shelf == Shelf::default() {
        anyhow::bail!(
            "there are no archive files in `{folder}`; name their folder with `--archive`"
        );
    }
    match format {
        Format::Text => {
            say_shelf(&shelf);
            if let Some((last, hash)) = shelf.end {
                out::say(&format!("the last entry in them is {last}, with hash {hash}"));
            }
        }
        Format::Json => {
            let whole = shelf.flaws.is_empty();
            out::say(&json!({ "whole": whole, "files": shelf_json(&shelf) }).to_string());
        }
    }
    Ok(if shelf.flaws.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn say_shelf(shelf: &Shelf) {
    for flaw in &shelf.flaws {
        out::say(&format!("broken: {flaw}"));
    }
    for file in &shelf.strangers {
        out::say(&format!("`{file}` is not one that this journal tells of; it was left out"));
    }
    let Shelf { files, entries, deliveries, .. } = shelf;
    out::say(&format!(
        "{entries} entries and {deliveries} deliveries in {files} archive file(s), \
         all as they were written"
    ));
}

fn shelf_json(shelf: &Shelf) -> serde_json::Value {
    let flaws: Vec<String> = shelf.flaws.iter().map(ToString::to_string).collect();
    json!({
        "files": shelf.files, "entries": shelf.entries, "deliveries": shelf.deliveries,
        "broken": flaws, "unknown": shelf.strangers,
    })
}
