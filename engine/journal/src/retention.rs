//! What may leave the journal once it is in a file, and what is still needed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use untoil_model::{AlarmState, Body, Entry, IncidentId, Period, RunId, Seq, Stream, Verdict};

use crate::{Journal, JournalError};

/// The shortest time that entries can be kept: longer than any limit of the guard looks back (31
/// days), and than any transport brings a delivery again (SNS gives up after 23 days, SQS after 14).
pub const KEEP_MIN: Period = Period::hours(35 * 24);

/// How long a run that has ended is kept for the guard's ledger: its longest look back is 31 days.
pub const LEDGER_KEPT: Period = Period::hours(32 * 24);

/// How long the last word about an alarm that did not clear is kept: with it, a repetition of that
/// word a year later is still known as one. Without a bound, alarms of things that are long gone would
/// fill the journal.
pub const ALARM_KEPT: Period = Period::hours(400 * 24);

/// How many of an alarm's newest entries tell all that is known of it: its last transition, and what
/// closed its incident.
const ALARM_ENTRIES: usize = 3;

/// How many entries are read at a time.
const PAGE: usize = 500;

/// The key under which a reader notes something about an incident; such memos leave with it.
#[must_use]
pub fn incident_memo(incident: &IncidentId) -> String {
    format!("thread/{incident}")
}

/// A store that can let go of what is archived.
///
/// It refuses by itself to delete what no `archived` entry tells of, `archived` entries, what belongs
/// to an open incident, and deliveries that wait for their decision.
#[async_trait]
pub trait Retention: Send + Sync + std::fmt::Debug {
    /// What holds an archive up.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn waiting(&self) -> Result<Waiting, JournalError>;

    /// Deletes these entries, with their deliveries, and those of these closed incidents that have no
    /// entry left, with their memos; all of it or nothing. Idempotent. Says how many entries there
    /// were.
    ///
    /// # Errors
    /// [`JournalError`] when it is not known to be done.
    async fn prune(&self, prune: Prune) -> Result<u64, JournalError>;
}

/// Who still has to see what is in the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The oldest delivery that is not decided.
    pub pending: Option<Seq>,
    /// The reader that is furthest behind, and how far it has come.
    pub reader: Option<(String, Seq)>,
}

/// What is to be deleted together; at most [`Prune::ENTRIES_MAX`] entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prune {
    /// The places of entries.
    pub entries: Vec<Seq>,
    /// Incidents that may be left without entries.
    pub incidents: Vec<IncidentId>,
}

impl Prune {
    /// Deletions that a write waits for take a few milliseconds at most.
    pub const ENTRIES_MAX: usize = PAGE;

    /// Nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What must stay although it is archived. What may go stays so; what is needed may go later.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Up to where everything is in files.
    floor: Seq,
    now: Timestamp,
    open: BTreeSet<IncidentId>,
    /// When each run ended.
    ended: BTreeMap<RunId, Timestamp>,
    /// The newest word about each scope that was paused.
    scopes: BTreeMap<String, Seq>,
    /// A running guard asks whether its ledger has grown since this one.
    newest: Seq,
}

impl Needs {
    /// Up to where everything is in files.
    pub(crate) fn floor(&self) -> Seq {
        self.floor
    }

    pub(crate) async fn read(
        journal: &dyn Journal,
        floor: Seq,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let mut needs = Self {
            floor,
            now,
            open: BTreeSet::new(),
            ended: BTreeMap::new(),
            scopes: BTreeMap::new(),
            newest: Seq::START,
        };
        loop {
            let page = journal.read(&Stream::Ledger, needs.newest, PAGE).await?;
            for entry in &page {
                needs.newest = entry.seq;
                if let Body::Concluded { run, .. } = &entry.body {
                    needs.ended.entry(run.clone()).or_insert(entry.at);
                } else if let Body::Paused { scope, .. } | Body::Resumed { scope, .. } = &entry.body
                {
                    needs.scopes.insert(scope.clone(), entry.seq);
                }
            }
            if page.len() < PAGE {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = journal.open_incidents(after.as_ref(), PAGE).await?;
            after = page.last().cloned();
            let more = page.len() == PAGE;
            needs.open.extend(page);
            if !more {
                return Ok(needs);
            }
        }
    }

    /// Which of a page of entries may go. Whoever deletes them must do so in their order: what ends
    /// something may go only with what began it.
    pub(crate) async fn free(
        &self,
        journal: &dyn Journal,
        page: &[Entry],
    ) -> Result<Prune, JournalError> {
        let incidents: BTreeSet<&IncidentId> =
            page.iter().filter_map(|entry| entry.incident.as_ref()).collect();
        let unfinished = self.unfinished(journal, incidents).await?;
        let words = self.words(journal, page).await?;
        let mut prune = Prune::default();
        let mut left = BTreeSet::new();
        for entry in page.iter().filter(|entry| entry.seq <= self.floor) {
            let of_open = entry.incident.as_ref().is_some_and(|id| unfinished.contains(id));
            let is_record = matches!(entry.body, Body::Archived { .. });
            if of_open || is_record || self.ledger_needs(entry) || words.contains(&entry.seq) {
                continue;
            }
            prune.entries.push(entry.seq);
            left.extend(entry.incident.clone());
        }
        prune.incidents.extend(left);
        Ok(prune)
    }

    /// Those incidents that are open, or have entries that are in no file yet.
    async fn unfinished(
        &self,
        journal: &dyn Journal,
        incidents: BTreeSet<&IncidentId>,
    ) -> Result<BTreeSet<IncidentId>, JournalError> {
        let streams: Vec<Stream> =
            incidents.iter().map(|id| Stream::Incident((*id).clone())).collect();
        let ends = journal.latest_each(&streams, 1).await?;
        let mut unfinished = BTreeSet::new();
        for (id, end) in incidents.into_iter().zip(ends) {
            if self.open.contains(id) || end.iter().any(|entry| entry.seq > self.floor) {
                unfinished.insert(id.clone());
            }
        }
        Ok(unfinished)
    }

    /// The last words about the page's alarms, where they must be remembered.
    async fn words(
        &self,
        journal: &dyn Journal,
        page: &[Entry],
    ) -> Result<BTreeSet<Seq>, JournalError> {
        let alarms: BTreeSet<_> = page.iter().filter_map(|entry| entry.alarm.as_ref()).collect();
        let streams: Vec<_> = alarms.into_iter().map(|key| Stream::Alarm(key.clone())).collect();
        let mut words = BTreeSet::new();
        for latest in journal.latest_each(&streams, ALARM_ENTRIES).await? {
            if latest.iter().find_map(state) == Some(AlarmState::Resolved) {
                continue;
            }
            let kept = latest.iter().filter(|entry| !self.is_past(entry.at, ALARM_KEPT));
            words.extend(kept.map(|entry| entry.seq));
        }
        Ok(words)
    }

    fn ledger_needs(&self, entry: &Entry) -> bool {
        if !entry.body.is_ledger() {
            return false;
        }
        if entry.seq == self.newest {
            return true;
        }
        if let Body::Judged { run, verdict: Verdict::Allow {}, .. } | Body::Concluded { run, .. } =
            &entry.body
        {
            return self.ended.get(run).is_none_or(|at| !self.is_past(*at, LEDGER_KEPT));
        }
        if let Body::Paused { scope, .. } = &entry.body {
            return self.scopes.get(scope) == Some(&entry.seq);
        }
        // What it released was paused before it, and goes with it or went before it.
        !matches!(entry.body, Body::Resumed { .. })
    }

    fn is_past(&self, at: Timestamp, kept: Period) -> bool {
        older(at, kept.duration(), self.now)
    }
}

/// The state that a word about an alarm tells.
fn state(entry: &Entry) -> Option<AlarmState> {
    if let Body::Opened { alarm, .. } | Body::Observed { alarm, .. } | Body::Looked { alarm, .. } =
        &entry.body
    {
        return Some(alarm.state);
    }
    None
}

/// Whether something is older than a time allows. What is from the future is not.
pub(crate) fn older(at: Timestamp, than: Duration, now: Timestamp) -> bool {
    at.checked_add(than).is_ok_and(|until| until <= now)
}
