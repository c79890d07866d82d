//! `archive`: moves what is old out of the journal into compressed files, once.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;
use untoil_clock::{Clock as _, SystemClock};
use untoil_journal::{Archive, Archiver, Did, Haste, Held, Journal, Retention};
use untoil_model::{Actor, Period};

use crate::cli::{self, Format};
use crate::commands::store;
use crate::config::Config;
use crate::out;

/// `archive`.
pub(crate) async fn run(
    config: &Config,
    what: &cli::Archive,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let Some(keep) = what.keep.or(config.retention.keep) else {
        bail!("nothing is old: set `retention.keep`, or say `--keep 90d`");
    };
    store::is_there(config)?;
    let opened = store::open(config).await.context(
        "the journal must not be in use by a service: with `retention.keep` it archives by itself",
    )?;
    let (journal, _roster, retention) = opened;
    let mut archiver = archiver(config, (journal, retention), keep)?;
    let (mut files, mut entries, mut rows) = (0_u64, 0_u64, 0_u64);
    let held = loop {
        let did = if what.clock_is_right {
            archiver.step(SystemClock.now(), Haste::Now).await?
        } else {
            archiver.go_on(&SystemClock, Haste::Now).await?
        };
        match did {
            Did::Archived(segment) => {
                files += 1;
                entries += segment.last.0 - segment.first.0 + 1;
                if format == Format::Text {
                    let (file, first, last) = (&segment.file, segment.first, segment.last);
                    out::say(&format!("{file}: entries {first} to {last}"));
                }
            }
            Did::Pruned(pruned) => rows += pruned,
            Did::Passed(..) => {}
            Did::Nothing(held) => break held,
        }
    };
    tell(config, (files, entries, rows), held, format);
    Ok(ExitCode::SUCCESS)
}

fn tell(
    config: &Config,
    (files, entries, rows): (u64, u64, u64),
    held: Option<Held>,
    format: Format,
) {
    let folder = config.archive();
    let held = held.map(|held| match held {
        Held::Pending(seq) => format!("the delivery of entry {seq} is not decided yet"),
        Held::Reader(name, seq) => format!("the reader `{name}` has come to entry {seq} only"),
    });
    match format {
        Format::Text => {
            let folder = folder.display();
            out::say(&format!(
                "{entries} entries archived in {files} new file(s) in `{folder}`; \
                 {rows} deleted from the journal"
            ));
            if let Some(held) = held {
                out::say(&format!("older ones than are kept stay for now: {held}"));
            }
        }
        Format::Json => out::say(
            &json!({
                "archived": entries, "files": files, "deleted": rows,
                "folder": folder, "held_by": held,
            })
            .to_string(),
        ),
    }
}

/// What archives this configuration's journal.
pub(crate) fn archiver(
    config: &Config,
    stores: (Arc<dyn Journal>, Arc<dyn Retention>),
    keep: Period,
) -> anyhow::Result<Archiver> {
    let actor = Actor::Engine(config.instance.clone());
    let archiver = Archiver::new(stores, Archive::at(config.archive()), keep, actor)?;
    // With a token nobody reads the terminal, and without one nobody tells Slack.
    let retired = if config.slack.token.is_some() { "terminal" } else { "slack" };
    Ok(archiver.not_waiting_for(vec![retired.to_owned()]))
}
