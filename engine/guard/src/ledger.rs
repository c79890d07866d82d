//! What was allowed, what is still going on, and what is paused: the fold of the ledger stream.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_model::{
    Body, Entry, Period, RuleName, RunId, RunKind, RunOutcome, Seq, Target, Verdict,
};

use crate::held::{Freed, Held};
use crate::moments::{Moment, Moments};
use crate::targets::{overlap, within};
use crate::{RUN_GATE, RUN_RETURN};

/// One run that was allowed to write, or to diagnose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The run.
    pub run: RunId,
    /// Why it exists. A return holds its lock and counts in no limit.
    pub kind: RunKind,
    /// When its first part was allowed.
    pub at: Timestamp,
    /// When its newest part was allowed.
    pub allowed_at: Timestamp,
    /// By which rule.
    pub rule: RuleName,
    /// On what.
    pub target: Target,
    /// What that belongs to, and whatever else its steps act on: locked with it.
    pub parents: Vec<Target>,
    /// Since when it counts as writing, if it does.
    pub writes_at: Option<Timestamp>,
    /// When and how it ended, if it has.
    pub ended: Option<(Timestamp, RunOutcome)>,
    /// The place of the entry that ended it.
    pub ended_at: Option<Seq>,
}

impl Reservation {
    /// All that it holds while it goes on.
    pub fn holds(&self) -> impl Iterator<Item = &Target> {
        std::iter::once(&self.target).chain(&self.parents)
    }
}

/// The guard's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The last entry folded in.
    pub seq: Seq,
    /// Runs by id, those that are over only as long as a limit can look back.
    pub runs: BTreeMap<RunId, Reservation>,
    /// What is paused: scope → who and why.
    pub paused: BTreeMap<String, (String, String)>,
    /// What the runs that write and are not over hold.
    held: Held,
    /// Remedies that write, by when they began to.
    writes: Moments,
    by_rule: BTreeMap<RuleName, Moments>,
    by_target: BTreeMap<(RuleName, Target), Moments>,
    /// Runs that began by reading only, by when.
    diagnoses: Moments,
    /// Runs that are over, by when they ended.
    ended: Moments,
    /// Of these the ones that wrote, by their target.
    rests: BTreeMap<Target, Moments>,
    /// When what runs that wrote had held was last given free.
    freed: Freed,
}

/// How a reservation is taken back.
#[derive(Debug)]
pub(crate) struct Undo {
    run: RunId,
    at: Timestamp,
    /// What there was of the run before.
    before: Option<Reservation>,
    /// Where it began to count.
    counts: Option<Counts>,
}

/// Where a reservation counts.
#[derive(Debug)]
enum Counts {
    /// As one that writes, of this rule on this target.
    Writes((RuleName, Target)),
    /// As one that only reads.
    Diagnosis,
}

/// Which reservations a limit counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted<'a> {
    /// Writing runs of one rule on one target.
    Target(&'a RuleName, &'a Target),
    /// Writing runs of one rule.
    Rule(&'a RuleName),
    /// All writing runs.
    Global,
    /// All runs that only read when they began.
    Diagnoses,
}

/// The longest a limit can look back. Runs that ended longer ago than this are forgotten, so a plan
/// or policy with a longer window is refused rather than counted short.
pub(crate) const LOOK_BACK: Period = Period::hours(31 * 24);

impl Ledger {
    /// Moves on by one entry of the ledger stream. Other entries, and those already folded in, change
    /// nothing.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.seq <= self.seq || !entry.body.is_ledger() {
            return;
        }
        self.seq = entry.seq;
        if let Body::Judged { .. } = &entry.body {
            drop(self.reserve(entry));
        } else if let Body::Concluded { run, outcome, .. } = &entry.body {
            self.end(run, (entry.seq, entry.at), *outcome);
        } else if let Body::Paused { scope, reason } = &entry.body {
            self.paused.insert(scope.clone(), (entry.actor.to_string(), reason.clone()));
        } else if let Body::Resumed { scope, .. } = &entry.body {
            self.paused.remove(scope);
        }
    }

    /// Makes the reservation that an entry is, whether or not it is in the journal, and says how to take
    /// it back. One that is made again changes nothing.
    pub(crate) fn reserve(&mut self, entry: &Entry) -> Option<Undo> {
        let Body::Judged {
            run,
            verdict: Verdict::Allow {},
            rule,
            target,
            parents,
            writes,
            gates,
            ..
        } = &entry.body
        else {
            return None;
        };
        let returns = gates.get(RUN_GATE).is_some_and(|kind| kind == RUN_RETURN);
        let before = self.runs.get(run).cloned();
        let fresh = before.is_none();
        let reservation = self.runs.entry(run.clone()).or_insert_with(|| Reservation {
            run: run.clone(),
            kind: if returns { RunKind::Return } else { RunKind::Remedy },
            at: entry.at,
            allowed_at: entry.at,
            rule: rule.clone(),
            target: target.clone(),
            parents: Vec::new(),
            writes_at: None,
            ended: None,
            ended_at: None,
        });
        reservation.allowed_at = entry.at;
        for parent in parents {
            if !reservation.parents.contains(parent) {
                reservation.parents.push(parent.clone());
            }
        }
        let begins_to_write = *writes && reservation.writes_at.is_none();
        if begins_to_write {
            reservation.writes_at = Some(entry.at);
        }
        if reservation.writes_at.is_some() && reservation.ended.is_none() {
            for target in reservation.holds() {
                self.held.hold(run, target);
            }
        }
        let slot = (entry.at, run.clone());
        let mut counts = None;
        if begins_to_write && !returns {
            let on = (rule.clone(), reservation.target.clone());
            self.writes.insert(slot.clone());
            self.by_rule.entry(rule.clone()).or_default().insert(slot.clone());
            self.by_target.entry(on.clone()).or_default().insert(slot);
            counts = Some(Counts::Writes(on));
        } else if fresh && !*writes {
            self.diagnoses.insert(slot);
            counts = Some(Counts::Diagnosis);
        }
        Some(Undo { run: run.clone(), at: entry.at, before, counts })
    }

    /// Takes a reservation back that was the last one to be made.
    pub(crate) fn take_back(&mut self, undo: Undo) {
        let Undo { run, at, before, counts } = undo;
        let holds = |one: &Reservation| one.writes_at.is_some() && one.ended.is_none();
        if let Some(made) = self.runs.remove(&run).filter(holds) {
            self.held.release(&run, made.holds());
        }
        let slot = (at, run);
        match counts {
            Some(Counts::Writes((rule, target))) => {
                self.writes.remove(&slot);
                forget(&mut self.by_rule, &rule, &slot);
                forget(&mut self.by_target, &(rule, target), &slot);
            }
            Some(Counts::Diagnosis) => self.diagnoses.remove(&slot),
            None => {}
        }
        if let Some(before) = before {
            for target in before.holds().filter(|_| holds(&before)) {
                self.held.hold(&slot.1, target);
            }
            self.runs.insert(slot.1, before);
        }
    }

    fn end(&mut self, run: &RunId, (seq, at): (Seq, Timestamp), outcome: RunOutcome) {
        let Some(reservation) = self.runs.get_mut(run).filter(|run| run.ended.is_none()) else {
            return;
        };
        reservation.ended = Some((at, outcome));
        reservation.ended_at = Some(seq);
        self.held.release(run, reservation.holds());
        self.ended.insert((at, run.clone()));
        if reservation.writes_at.is_some() {
            let rests = self.rests.entry(reservation.target.clone()).or_default();
            rests.insert((at, run.clone()));
            self.freed.note(reservation.holds(), seq);
        }
    }

    /// Forgets runs that ended longer ago than any limit can look back.
    pub fn prune(&mut self, now: Timestamp) {
        let horizon = now.saturating_sub(LOOK_BACK.duration()).unwrap_or(Timestamp::MIN);
        while let Some((at, run)) = self.ended.first().filter(|(at, _)| *at <= horizon).cloned() {
            let end = (at, run.clone());
            self.ended.remove(&end);
            let Some(over) = self.runs.remove(&run) else { continue };
            self.diagnoses.remove(&(over.at, run.clone()));
            if let Some(writes_at) = over.writes_at {
                let slot = (writes_at, run);
                if let Some(seq) = over.ended_at {
                    self.freed.forget(over.holds(), seq);
                }
                forget(&mut self.rests, &over.target, &end);
                self.writes.remove(&slot);
                forget(&mut self.by_rule, &over.rule, &slot);
                forget(&mut self.by_target, &(over.rule, over.target), &slot);
            }
        }
    }

    /// The reservations in the window (`now` − `per`, now].
    ///
    /// Those after `now` count, too: a clock that was set back must not make room.
    pub(crate) fn window(&self, scope: Counted<'_>, per: Period, now: Timestamp) -> Window<'_> {
        let moments = match scope {
            Counted::Target(rule, target) => self.by_target.get(&(rule.clone(), target.clone())),
            Counted::Rule(rule) => self.by_rule.get(rule),
            Counted::Global => Some(&self.writes),
            Counted::Diagnoses => Some(&self.diagnoses),
        };
        let after = now.saturating_sub(per.duration()).unwrap_or(Timestamp::MIN);
        Window { moments, after }
    }

    /// The remedies of a rule on a target that wrote and are over, newest first.
    ///
    /// The lock lets them follow one another, so the order of their beginnings is that of their ends.
    pub(crate) fn over<'a>(
        &'a self,
        rule: &RuleName,
        target: &Target,
    ) -> impl Iterator<Item = &'a Reservation> {
        let slots = self.by_target.get(&(rule.clone(), target.clone()));
        let runs = slots.into_iter().flat_map(|slots| slots.iter().rev());
        runs.filter_map(|(_, run)| self.runs.get(run)).filter(|run| run.ended.is_some())
    }

    /// When the writing run that ended last, after `after`, on one of these targets ended, and which.
    pub(crate) fn rest(&self, targets: &[&Target], after: Timestamp) -> Option<Moment> {
        let newest = targets.iter().filter_map(|target| self.rests.get(*target)?.last());
        newest.filter(|(at, _)| *at > after).max().cloned()
    }

    /// Another run that goes on and holds one of these targets, with the target it holds.
    pub(crate) fn holder(&self, run: &RunId, wanted: &[&Target]) -> Option<(&Target, &RunId)> {
        let other = self.runs.get(self.held.first_but(run, wanted)?)?;
        let held = other.holds().find(|held| wanted.iter().any(|want| overlap(held, want)))?;
        Some((held, &other.run))
    }

    /// When the run's newest part was allowed, if one was and the run is not over.
    pub(crate) fn allowed_at(&self, run: &RunId) -> Option<Timestamp> {
        self.runs.get(run).filter(|run| run.ended.is_none()).map(|run| run.allowed_at)
    }

    /// The same, once a judgement at `at` that allows the run is folded in.
    pub(crate) fn would_allow(&self, run: &RunId, at: Timestamp) -> Option<Timestamp> {
        let is_over = self.runs.get(run).is_some_and(|run| run.ended.is_some());
        (!is_over).then_some(at)
    }

    /// Whether a run that wrote, and held something that gets in the way of one of these, has ended
    /// behind `seen`: what was looked at before then may be what it was no more.
    pub(crate) fn ended_since(&self, seen: Seq, wanted: &[&Target]) -> bool {
        self.freed.last(wanted).is_some_and(|last| last > seen)
    }

    /// The pause that covers this rule or one of these targets, as scope, by whom and why.
    ///
    /// A scope that this version cannot read pauses everything.
    pub(crate) fn pause(&self, rule: &RuleName, targets: &[&Target]) -> Option<(&str, &str, &str)> {
        let covers = |scope: &str| match scope.parse::<crate::Scope>() {
            Ok(crate::Scope::All) | Err(_) => true,
            Ok(crate::Scope::Rule(paused)) => paused == *rule,
            Ok(crate::Scope::Target(paused)) => {
                targets.iter().any(|target| within(target, &paused))
            }
        };
        let hit = self.paused.iter().find(|(scope, _)| covers(scope));
        hit.map(|(scope, (by, why))| (scope.as_str(), by.as_str(), why.as_str()))
    }
}

/// The reservations that a limit counts. They are counted without being looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    moments: Option<&'a Moments>,
    after: Timestamp,
}

impl<'a> Window<'a> {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.moments.map_or(0, |moments| moments.count(self.after))
    }

    /// They, oldest first.
    pub(crate) fn moments(&self) -> impl Iterator<Item = &'a Moment> {
        let after = self.after;
        self.moments.into_iter().flat_map(move |moments| moments.later(after))
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, Moments>, key: &K, slot: &Moment) {
    if let Some(moments) = index.get_mut(key) {
        moments.remove(slot);
        if moments.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use untoil_model::{Actor, Hash};

    use super::*;

    /// An entry that allows the `run`th run.
    fn allowed(
        seq: u64,
        (run, target, parent): (u8, u8, Option<u8>),
        (writes, returns): (bool, bool),
    ) -> Entry {
        let host = |n: u8| -> Target { format!("ec2/i-0000000{n}").parse().unwrap() };
        let kind = if returns { RUN_RETURN } else { "remedy" };
        let body = Body::Judged {
            run: format!("01KE5QM0X08E4ZE0ZHZ8G2M2RD-{run}").parse().unwrap(),
            part: 0,
            verdict: Verdict::Allow {},
            rule: format!("rule-{}", run % 2).parse().unwrap(),
            target: host(target),
            parents: parent.map(host).into_iter().collect(),
            writes,
            authority: String::new(),
            gates: [(RUN_GATE.to_owned(), kind.to_owned())].into(),
        };
        let at = Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap();
        let (seq, actor, hash) = (Seq(seq), Actor::Engine("test".into()), Hash::GENESIS);
        Entry { seq, at, actor, incident: None, alarm: None, body, prev: hash, hash }
    }

    proptest! {
        #[test]
        fn what_is_taken_back_was_never_reserved(
            all in prop::collection::vec(
                ((0..4_u8, 0..3_u8, prop::option::of(0..3_u8)), any::<(bool, bool)>()), 0..12),
            kept in 0..12_usize,
            ends in prop::option::of(0..4_u8),
        ) {
            let mut seq = 0;
            let mut entries = all.into_iter().map(|(which, how)| {
                seq += 1;
                allowed(seq, which, how)
            });
            let mut ledger = Ledger::default();
            entries.by_ref().take(kept).for_each(|entry| ledger.apply(&entry));
            if let Some(run) = ends {
                let run = format!("01KE5QM0X08E4ZE0ZHZ8G2M2RD-{run}").parse().unwrap();
                ledger.end(&run, (Seq(99), Timestamp::UNIX_EPOCH), RunOutcome::Effective);
            }
            let before = ledger.clone();
            let undo: Vec<Undo> = entries.filter_map(|entry| ledger.reserve(&entry)).collect();
            undo.into_iter().rev().for_each(|undo| ledger.take_back(undo));
            prop_assert_eq!(ledger, before);
        }
    }
}
