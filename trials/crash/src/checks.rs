//! What is compared afterwards: what the sender was told, what the journal says, what AWS did.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::aws::{Effect, Fate};
use crate::sender::{Kind, Ledger, SERVICES};

/// The journal, as far as it matters here. Entries are added in their order.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// The last entry that was read.
    pub(crate) upto: u64,
    received: BTreeMap<String, usize>,
    decided: BTreeMap<String, usize>,
    /// Intents: marker, target, and when.
    intents: BTreeMap<String, (String, Timestamp)>,
    /// Tries that the engine gave up as lost, because repeating them is harmless.
    lost: BTreeSet<String>,
    started_twice: Vec<String>,
    allowed: BTreeSet<String>,
    concluded: BTreeSet<String>,
    opened: BTreeMap<String, bool>,
    /// Steps whose outcome nobody knows.
    unknown: usize,
    escalated: usize,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The marker without its try.
fn step_of(marker: &str) -> &str {
    marker.rsplit_once(':').map_or(marker, |(step, _)| step)
}

impl Story {
    /// Reads one entry.
    pub(crate) fn add(&mut self, entry: &Value) {
        self.upto = entry["seq"].as_u64().unwrap_or(self.upto);
        let at = entry["at"].as_str().and_then(|at| at.parse().ok()).unwrap_or_default();
        let incident = text(&entry["incident"]);
        let Some((kind, body)) = entry["body"].as_object().and_then(|body| body.iter().next())
        else {
            return;
        };
        let message = text(&body["delivery"]["message"]);
        // What the sender called it, as the generic source and the queue write it.
        let own = message.strip_prefix("key:").or_else(|| message.strip_prefix("sqs:"));
        let message = own.map(str::to_owned).unwrap_or(message);
        match kind.as_str() {
            "received" => *self.received.entry(message).or_default() += 1,
            "opened" => {
                *self.decided.entry(message).or_default() += 1;
                self.opened.insert(incident, false);
            }
            "observed" | "unreadable" | "understood" => {
                *self.decided.entry(message).or_default() += 1;
            }
            "judged" => {
                self.opened.insert(incident, true);
                if body["verdict"].get("allow").is_some() {
                    self.allowed.insert(text(&body["run"]));
                }
            }
            "unmatched" | "rule_failed" | "closed" => drop(self.opened.insert(incident, true)),
            "escalated" => {
                self.escalated += 1;
                self.opened.insert(incident, true);
            }
            "started" => {
                let marker = text(&body["marker"]);
                let intent = (text(&body["does"]["target"]), at);
                if self.intents.insert(marker.clone(), intent).is_some() {
                    self.started_twice.push(marker);
                }
            }
            "backoff" if body["lost"] == true => {
                let (run, step) = (text(&body["step"]["run"]), &body["step"]["step"]);
                self.lost.insert(format!("untoil:{run}:{step}"));
            }
            "finished" => {
                self.unknown += usize::from(body["outcome"].get("unknown").is_some());
            }
            "concluded" => drop(self.concluded.insert(text(&body["run"]))),
            _ => {}
        }
    }

    /// Runs that were allowed and have not ended.
    pub(crate) fn open_runs(&self) -> usize {
        self.allowed.difference(&self.concluded).count()
    }

    /// Whether everything that the sender knows as kept is decided.
    pub(crate) fn is_decided(&self, ledger: &Ledger) -> bool {
        ledger.kept.keys().all(|id| self.decided.contains_key(id))
            && self.opened.values().all(|decided| *decided)
    }
}

/// What a trial came to.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Deliveries that were answered with 202 or 200.
    pub accepted: usize,
    /// Tries that were not answered, or refused for now.
    pub missed: usize,
    /// Accepted deliveries without a decision in the journal.
    pub undecided: usize,
    /// Changes in the world.
    pub effects: usize,
    /// Changes that one step made more than once.
    pub twice: usize,
    /// Changes whose intent is not in the journal, or came later than they did.
    pub unintended: usize,
    /// Steps of which nobody can tell whether they took effect; a person was called.
    pub unknown: usize,
    /// Runs that had not ended when the trial did.
    pub open: usize,
    /// Starts of the program.
    pub starts: usize,
    /// From the end of the last fault to a delivery taken by every instance, in milliseconds.
    pub back_ms: u128,
    /// The longest end in order after SIGTERM, in milliseconds.
    pub drain_ms: u128,
    /// What is worth telling, in words.
    pub notes: Vec<String>,
    /// All that must not be, in words.
    pub wrong: Vec<String>,
}

impl Counts {
    /// Adds another trial's.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.missed += other.missed;
        self.undecided += other.undecided;
        self.effects += other.effects;
        self.twice += other.twice;
        self.unintended += other.unintended;
        self.unknown += other.unknown;
        self.open += other.open;
        self.starts += other.starts;
        self.back_ms = self.back_ms.max(other.back_ms);
        self.drain_ms = self.drain_ms.max(other.drain_ms);
        self.notes.extend(other.notes.iter().cloned());
        self.wrong.extend(other.wrong.iter().cloned());
    }
}

/// Whether our clock and the engine's are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// Times can be compared.
    Same,
    /// The engine's was moved.
    Apart,
}

/// Compares the three.
pub(crate) fn compare(
    story: &Story,
    ledger: &Ledger,
    effects: &[Effect],
    clocks: Clocks,
) -> Counts {
    let mut counts = Counts {
        accepted: ledger.kept.len(),
        missed: ledger.missed,
        unknown: story.unknown,
        open: story.open_runs(),
        wrong: ledger.wrong.clone(),
        ..Counts::default()
    };
    for id in ledger.kept.keys() {
        let (received, decided) = (story.received.get(id), story.decided.get(id));
        if (received, decided) != (Some(&1), Some(&1)) {
            counts.undecided += usize::from(decided.is_none());
            let said = format!("`{id}` was accepted; received {received:?}, decided {decided:?}");
            counts.wrong.push(said);
        }
    }
    for (incident, _) in story.opened.iter().filter(|(_, decided)| !**decided) {
        counts.undecided += 1;
        counts.wrong.push(format!("incident {incident} has no judgement"));
    }
    for marker in &story.started_twice {
        counts.wrong.push(format!("`{marker}` was started twice"));
    }
    let mut of_steps = BTreeMap::<&str, usize>::new();
    let mut of_targets = BTreeMap::<&str, usize>::new();
    for effect in effects {
        let changed = usize::from(effect.fate == Fate::Changed);
        counts.effects += changed;
        match &effect.marker {
            Some(marker) => {
                *of_steps.entry(step_of(marker)).or_default() += changed;
                let intent = story.intents.get(marker);
                let late = intent.is_some_and(|(_, at)| *at > effect.at && clocks == Clocks::Same);
                if intent.is_none() || late {
                    counts.unintended += 1;
                    let said = format!("`{marker}` was called without an earlier intent");
                    counts.wrong.push(said);
                }
            }
            None => *of_targets.entry(&effect.on).or_default() += changed,
        }
    }
    repeated(&mut counts, story, (&of_steps, &of_targets));
    calls(&mut counts, story, effects);
    counts
}

/// One change for each step; of ECS, which carries no marker, no more changes of a target than steps
/// that were begun on it.
fn repeated(
    counts: &mut Counts,
    story: &Story,
    (of_steps, of_targets): (&BTreeMap<&str, usize>, &BTreeMap<&str, usize>),
) {
    for (step, n) in of_steps.iter().filter(|(_, n)| **n > 1) {
        counts.twice += n - 1;
        counts.wrong.push(format!("`{step}` took effect {n} times"));
    }
    let mut steps = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (marker, (target, _)) in &story.intents {
        let service = target.rsplit('/').next().unwrap_or_default();
        steps.entry(service).or_default().insert(step_of(marker));
    }
    for (target, n) in of_targets {
        let begun = steps.get(target).map_or(0, BTreeSet::len);
        if begun == 0 {
            counts.unintended += n;
            counts.wrong.push(format!("`{target}` was changed without an intent"));
        } else if *n > begun {
            counts.twice += n - begun;
            counts.wrong.push(format!("`{target}` was changed {n} times by {begun} steps"));
        }
    }
}

/// A call is made again only where the journal says that the first one was given up as lost.
fn calls(counts: &mut Counts, story: &Story, effects: &[Effect]) {
    let mut seen = BTreeSet::new();
    for marker in effects.iter().filter_map(|effect| effect.marker.as_ref()) {
        let step = step_of(marker);
        if !seen.insert(step) && !story.lost.contains(step) {
            counts.wrong.push(format!("`{step}` was called again without having been lost"));
        }
    }
}

/// The alarms' targets that the stand-in calls services.
pub(crate) fn services(alarms: usize) -> Vec<(String, &'static str)> {
    let ours = (0..alarms.min(SERVICES)).filter(|n| Kind::of(*n) != Kind::Command);
    ours.map(|n| (Kind::target(n), Kind::of(n).metric())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(seq: u64, body: &Value) -> Value {
        json!({ "seq": seq, "at": "2026-11-22T00:00:00Z", "incident": "one", "body": body })
    }

    fn whole() -> (Story, Ledger) {
        let mut story = Story::default();
        let delivery = json!({ "source": "generic", "message": "key:fires-1" });
        for (n, body) in [
            json!({ "received": { "delivery": delivery } }),
            json!({ "opened": { "delivery": delivery } }),
            json!({ "judged": { "run": "r", "verdict": { "allow": {} } } }),
            json!({ "started": { "marker": "untoil:r:0:1", "does": { "target": "ec2/i-1" } } }),
            json!({ "concluded": { "run": "r" } }),
        ]
        .into_iter()
        .enumerate()
        {
            story.add(&entry(n as u64, &body));
        }
        let kept = BTreeMap::from([("fires-1".to_owned(), Timestamp::UNIX_EPOCH)]);
        (story, Ledger { kept, ..Ledger::default() })
    }

    fn effect(marker: Option<&str>, on: &str) -> Effect {
        let (on, marker) = (on.to_owned(), marker.map(str::to_owned));
        Effect { at: Timestamp::now(), on, what: "x".to_owned(), marker, fate: Fate::Changed }
    }

    #[test]
    fn a_story_that_is_right_has_nothing_wrong() {
        let (story, ledger) = whole();
        let counts = compare(&story, &ledger, &[effect(Some("untoil:r:0:1"), "i-1")], Clocks::Same);
        assert_eq!(counts.wrong, [""; 0]);
        assert!(story.is_decided(&ledger) && story.open_runs() == 0);
        assert_eq!((counts.accepted, counts.effects), (1, 1));
    }

    #[test]
    fn each_promise_can_be_broken() {
        let one = effect(Some("untoil:r:0:1"), "i-1");
        let (story, ledger) = whole();
        let twice = compare(&story, &ledger, &[one.clone(), one.clone()], Clocks::Same);
        assert_eq!(twice.twice, 1, "{:?}", twice.wrong);
        let other = effect(Some("untoil:r:1:1"), "i-1");
        let unintended = compare(&story, &ledger, &[other], Clocks::Same);
        assert_eq!(unintended.unintended, 1, "{:?}", unintended.wrong);
        let service = effect(None, "service-2");
        let unintended = compare(&story, &ledger, &[service], Clocks::Same);
        assert_eq!(unintended.unintended, 1, "{:?}", unintended.wrong);
        let early = Effect { at: Timestamp::UNIX_EPOCH, ..one };
        let unintended = compare(&story, &ledger, std::slice::from_ref(&early), Clocks::Same);
        assert_eq!(unintended.unintended, 1, "{:?}", unintended.wrong);
        assert_eq!(compare(&story, &ledger, &[early], Clocks::Apart).unintended, 0);
        let mut ledger = ledger;
        ledger.kept.insert("fires-2".to_owned(), Timestamp::UNIX_EPOCH);
        let undecided = compare(&story, &ledger, &[], Clocks::Same);
        assert_eq!((undecided.undecided, undecided.wrong.len()), (1, 1));
        assert!(!story.is_decided(&ledger));
    }

    #[test]
    fn a_service_is_changed_once_for_each_step_begun_on_it() {
        let (mut story, ledger) = whole();
        let body = json!({ "marker": "untoil:q:0:1", "does": { "target": "ecs/trial/service-2" } });
        story.add(&entry(9, &json!({ "started": body })));
        let once = effect(None, "service-2");
        let good = compare(&story, &ledger, std::slice::from_ref(&once), Clocks::Same);
        assert_eq!(good.wrong, [""; 0]);
        let bad = compare(&story, &ledger, &[once.clone(), once], Clocks::Same);
        assert_eq!(bad.twice, 1, "{:?}", bad.wrong);
    }
}
