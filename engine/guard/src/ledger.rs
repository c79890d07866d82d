//! What was allowed, what is still going on, and what is paused: the fold of the ledger stream.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_model::{Body, Entry, RuleName, RunId, RunOutcome, Seq, Target, Verdict};

/// One run that was allowed to write, or to diagnose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The run.
    pub run: RunId,
    /// When its first part was allowed.
    pub at: Timestamp,
    /// By which rule.
    pub rule: RuleName,
    /// On what.
    pub target: Target,
    /// What that belongs to.
    pub parents: Vec<Target>,
    /// Since when it counts as writing, if it does.
    pub writes_at: Option<Timestamp>,
    /// When and how it ended, if it has.
    pub ended: Option<(Timestamp, RunOutcome)>,
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
}

impl Ledger {
    /// Moves on by one entry of the ledger stream. Entries already folded in change nothing.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.seq <= self.seq {
            return;
        }
        self.seq = entry.seq;
        match &entry.body {
            Body::Judged {
                run, verdict: Verdict::Allow {}, rule, target, parents, writes, ..
            } => {
                let reservation = self.runs.entry(run.clone()).or_insert_with(|| Reservation {
                    run: run.clone(),
                    at: entry.at,
                    rule: rule.clone(),
                    target: target.clone(),
                    parents: parents.clone(),
                    writes_at: None,
                    ended: None,
                });
                if *writes {
                    reservation.writes_at.get_or_insert(entry.at);
                }
            }
            Body::Concluded { run, outcome, .. } => {
                if let Some(reservation) = self.runs.get_mut(run) {
                    reservation.ended = Some((entry.at, *outcome));
                }
            }
            Body::Paused { scope, reason } => {
                self.paused.insert(scope.clone(), (entry.actor.to_string(), reason.clone()));
            }
            Body::Resumed { scope, .. } => {
                self.paused.remove(scope);
            }
            _ => {}
        }
    }
}
