//! What the log would say again and again it says once a minute.
//!
//! While the database is away, every part that needs it fails every second, and every incident too:
//! that it lasts is told by readiness and the metrics, and a log full of it hides the rest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tracing::{Level, Metadata};
use untoil_clock::Clock;
use untoil_model::Hash;

/// For so long what was said is not said again.
const QUIET: Duration = Duration::from_mins(1);
/// Lines that are remembered. Where more different ones come within a minute, the rest are written.
const LINES_MAX: usize = 256;

/// What a `JournalError::Unavailable` says first; the rest is the store's own word.
pub(super) const STORE_AWAY: &str = "the journal's store failed";

/// What was said lately.
#[derive(Debug)]
pub(super) struct Repeats {
    clock: Arc<dyn Clock>,
    said: Mutex<BTreeMap<Hash, Said>>,
}

/// When, in ticks, and how often it was left out since.
#[derive(Debug)]
struct Said {
    at: Duration,
    left_out: u64,
}

impl Repeats {
    /// Nothing was said yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, said: Mutex::default() }
    }

    /// Whether to write a line: then how many like it were left out since the last of them.
    pub(super) fn left_out(
        &self,
        about: &Metadata<'_>,
        fields: &BTreeMap<String, Value>,
    ) -> Option<u64> {
        let Some(line) = line(about, fields) else { return Some(0) };
        let now = self.clock.ticks();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_quiet = |said: &Said| now.saturating_sub(said.at) < QUIET;
        if let Some(before) = said.get_mut(&line) {
            if is_quiet(before) {
                before.left_out += 1;
                return None;
            }
            let left_out = before.left_out;
            *before = Said { at: now, left_out: 0 };
            return Some(left_out);
        }
        if said.len() >= LINES_MAX {
            said.retain(|_, said| is_quiet(said));
        }
        if said.len() < LINES_MAX {
            said.insert(line, Said { at: now, left_out: 0 });
        }
        Some(0)
    }
}

/// What two lines have in common that say the same: where they come from, their message and their
/// error, whatever they are about; all there is without an error. None for what is always written: what is
/// no trouble, and how a part of the whole has changed.
fn line(about: &Metadata<'_>, fields: &BTreeMap<String, Value>) -> Option<Hash> {
    let is_trouble = *about.level() == Level::WARN || *about.level() == Level::ERROR;
    if !is_trouble || fields.contains_key("part") {
        return None;
    }
    let place = (about.target(), about.file(), about.line());
    Some(match fields.get("error") {
        Some(error) => {
            // That the store is away is one trouble: a database says many things while it starts.
            let away = error.as_str().is_some_and(|error| error.contains(STORE_AWAY));
            let error = if away { &Value::Null } else { error };
            Hash::of_json(&(place, fields.get("message"), error))
        }
        None => Hash::of_json(&(place, fields)),
    })
}
