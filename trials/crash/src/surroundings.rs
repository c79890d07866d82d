//! What an instance finds around it: its configuration, its clock, a Slack that is dead.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::json;

use crate::http::{Answers, Reply, Request};
use crate::scenario::{Act, Plan};
use crate::sender::SECRET;

/// More than the journal of a trial needs.
pub(crate) const DISK: &str = "24m";
/// A real file system's share of its disk comes on top.
pub(crate) const REAL_DISK: &str = "40m";
/// The clock of the subcommands that look at what was left.
const OURS: &str = "ours";
/// Where Debian's libfaketime is.
pub(crate) const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// What is set for every program.
pub(crate) fn environment(folder: &Path, plan: &Plan) -> Vec<(String, String)> {
    let here = |name: &str| folder.join(name).display().to_string();
    // Long enough for alarms to come behind SIGTERM where that is played; other ends need not wait.
    let drains = plan.acts.iter().any(|one| matches!(one.act, Act::Drain | Act::Replace));
    let open = if drains { "1s" } else { "0s" };
    let bearer = json!({ "bearer": { "secrets": [{ "env": "TRIAL_SECRET" }] } });
    let table = [
        ("HOME", here("")),
        ("AWS_ACCESS_KEY_ID", "trial".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "trial".to_owned()),
        ("AWS_REGION", "ap-northeast-2".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("TRIAL_SECRET", SECRET.to_owned()),
        ("UNTOIL_MODE", "live".to_owned()),
        ("UNTOIL_DRAIN_OPEN", open.to_owned()),
        ("UNTOIL_DATA", here("data")),
        ("UNTOIL_RULES", here("rules")),
        ("UNTOIL_SLACK__LANGUAGE", "en".to_owned()),
        ("UNTOIL_SOURCES__GENERIC", bearer.to_string()),
    ];
    table.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What makes the time of day of a program an offset from ours; its monotonic clock stays.
pub(crate) fn moved_clock(folder: &Path) -> Result<Vec<(String, String)>> {
    set_clock(folder, OURS, 0)?;
    let table = [
        ("LD_PRELOAD", FAKETIME.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock_of(folder, OURS).display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ];
    Ok(table.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Sets the clock of an instance.
pub(crate) fn set_clock(folder: &Path, name: &str, offset: i64) -> Result<()> {
    let new = folder.join("clock.new");
    fs::write(&new, format!("{offset:+}\n"))?;
    // At once, so that nobody reads half of it.
    Ok(fs::rename(new, clock_of(folder, name))?)
}

/// Where the clock of an instance is.
pub(crate) fn clock_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("clock-{name}"))
}

/// A server that takes everything and answers nothing.
pub(crate) struct Dead;

impl Dead {
    /// What lets an instance take it, at a port, for Slack.
    pub(crate) fn variables(port: u16) -> Vec<(String, String)> {
        let table = [
            ("UNTOIL_SLACK__TOKEN", r#"{"env":"SLACK_TOKEN"}"#.to_owned()),
            ("SLACK_TOKEN", "xoxb-of-the-trials-0".to_owned()),
            ("UNTOIL_SLACK__CHANNEL", "C0123456789".to_owned()),
            ("UNTOIL_SLACK__API", format!("http://127.0.0.1:{port}/api")),
        ];
        table.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

impl Answers for Dead {
    async fn answer(&self, _request: Request) -> Reply {
        Reply::Silence
    }

    async fn answered(&self, _operation: &str) {}
}
