//! What must be true after every seed, worked out from the record of the outside world and from the
//! entries alone: none of this asks the guard or the runner.

mod calls;
mod decisions;
mod ends;
mod limits;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use untoil_guard::Policy;
use untoil_journal::{Journal, MemoryJournal, load};
use untoil_model::{
    Body, DeliveryId, EngineMode, Entry, Incident, IncidentId, Mode, Plan, Reason, RuleName,
    RuleVersion, RunId, Seq, Stream, Work,
};
use untoil_world::{Call, Effect};

use crate::chat::Said;
use crate::disk::Adoption;
use crate::network::Departure;

/// Most entries and incidents that are looked at; a seed has a few thousand.
const ENTRIES_MAX: usize = 1_000_000;
/// The reader that the notifiers keep their place under.
const READER: &str = "slack";

/// All that a seed left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) entries: Vec<Entry>,
    pub(crate) pending: Vec<DeliveryId>,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) accepted: BTreeSet<DeliveryId>,
    pub(crate) calls: Vec<Call>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) departures: Vec<Departure>,
    pub(crate) adoptions: Vec<Adoption>,
    pub(crate) said: Vec<Said>,
    /// Senders and people that are still at it.
    pub(crate) posting: usize,
    pub(crate) modes: BTreeMap<RuleName, Mode>,
    /// The versions of the rules' other texts.
    pub(crate) others: BTreeSet<RuleVersion>,
    pub(crate) policy: Policy,
    pub(crate) mode: EngineMode,
    /// Whether clocks were so wrong that an alarm's words may have been put out of order.
    pub(crate) is_wild: bool,
}

/// Everything that is wrong.
pub(crate) fn all(outcome: &Outcome) -> Vec<String> {
    let checks: [fn(&Outcome) -> Vec<String>; 18] = [
        decisions::accepted_is_kept,
        decisions::kept_is_decided_once,
        decisions::one_incident_at_a_time,
        decisions::told_once,
        decisions::planned_by_one_text,
        decisions::written_by_its_holder,
        calls::nothing_takes_effect_twice,
        calls::no_call_without_authority,
        calls::calls_are_made_while_the_tenure_lasts,
        calls::nothing_paused_begins,
        calls::modes_hold,
        limits::limits_hold_in_the_journal,
        limits::limits_hold_in_the_world,
        limits::locks_hold,
        words::people_hear,
        words::nothing_is_told_that_may_be_lost,
        ends::everybody_folds_the_same,
        ends::everything_comes_to_rest,
    ];
    checks.iter().flat_map(|check| check(outcome)).collect()
}

impl Outcome {
    /// The plans of each run, by part.
    fn plans(&self) -> BTreeMap<(&RunId, u32), &Plan> {
        let mut plans = BTreeMap::new();
        for entry in &self.entries {
            if let Body::Planned { run, part, plan, .. } = &entry.body {
                plans.insert((run, *part), &**plan);
            }
        }
        plans
    }
}

/// `run:step` of a marker, without its attempt.
fn step_of(marker: &str) -> &str {
    marker.rsplit_once(':').map_or(marker, |(step, _)| step)
}

/// The run of a marker.
fn run_of(marker: &str) -> &str {
    marker.split(':').nth(1).unwrap_or_default()
}

/// All entries.
pub(crate) async fn entries(journal: &MemoryJournal) -> Vec<Entry> {
    journal.read(&Stream::All, Seq::START, ENTRIES_MAX).await.unwrap_or_default()
}

/// What waits for a decision.
pub(crate) async fn pending(journal: &MemoryJournal) -> Vec<DeliveryId> {
    journal.pending(ENTRIES_MAX).await.unwrap_or_default()
}

/// Every incident as a fresh reader folds it.
pub(crate) async fn incidents(journal: &MemoryJournal) -> Vec<Incident> {
    let mut all = Vec::new();
    for id in journal.incidents(None, ENTRIES_MAX).await.unwrap_or_default() {
        all.extend(load(journal, &id).await.ok().flatten());
    }
    all
}

async fn open(journal: &MemoryJournal) -> Vec<Incident> {
    let mut all = Vec::new();
    let mut after: Option<IncidentId> = None;
    while let Ok(page) = journal.open_incidents(after.as_ref(), ENTRIES_MAX).await {
        let Some(last) = page.last().cloned() else { break };
        for id in page {
            all.extend(load(journal, &id).await.ok().flatten());
        }
        after = Some(last);
    }
    all
}

/// Whether nothing more happens by itself, as far as the journal tells.
pub(crate) async fn at_rest(journal: &MemoryJournal) -> bool {
    let told = journal.cursor(READER).await.unwrap_or_default();
    told >= *journal.head().borrow()
        && pending(journal).await.is_empty()
        && open(journal).await.iter().all(|incident| why_open(incident).is_ok())
}

/// Why an incident may stay open for ever, or why it may not.
fn why_open(incident: &Incident) -> Result<(), String> {
    let told = incident.escalations.iter().any(|reason| matches!(reason, Reason::LeaseOver { .. }));
    let work = incident.work();
    if incident.is_closed() {
        return Ok(());
    }
    if work != Work::Nothing {
        return Err(format!("{} still has {work:?} to do", incident.id));
    }
    if incident.lease.is_some() && !told {
        return Err(format!("{} has a lease out and nobody was told", incident.id));
    }
    if incident.alarm.namespace.as_deref() != Some("Sim/Nobody") {
        let (alarm, state) = (&incident.alarm.name, incident.alarm.state.as_str());
        return Err(format!("{} is open, and `{alarm}` is taken for {state}", incident.id));
    }
    Ok(())
}
