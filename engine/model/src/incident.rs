//! An incident: the fold of its entries. [`Incident::apply`] is the only transition function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Alarm, AlarmState, Body, Entry, Facts, Hash, IncidentId, Lease, Part, Plan, Progress, Reason,
    RuleName, RuleVersion, Run, RunId, RunKind, RunOutcome, Seq, Standing, StepOutcome, StepRef,
    Verdict,
};

/// How an incident ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A run of ours was effective.
    Healed,
    /// It cleared before, or without, any act of ours.
    HealedItself,
    /// It cleared after we had given up.
    HealedByOthers,
}

/// Where an incident stands in its way from firing to closed.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Opened; no rule was looked for yet.
    New,
    /// No rule answers.
    Unmatched,
    /// A rule answers and is to be asked.
    Matched,
    /// It proposed something that waits for its judgement.
    Proposed,
    /// The guard said: not yet.
    Held { reason: Reason, until: Timestamp },
    /// The guard said yes; steps go on.
    Running,
    /// All steps are done; waiting for the alarm to clear and to stay clear.
    Watching { since: Timestamp },
    /// Nothing more will be done; waiting for the alarm to clear.
    Stopped,
    /// The last run was effective and a lease is still out.
    Lent,
    /// Over.
    Closed(Ending),
}

/// What the engine has to do next for an incident. Live running and recovery ask the same question.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Look for a rule.
    Match,
    /// Read the rule's facts and ask it: `plan` where the run has no step yet, `next` after that.
    Ask,
    /// Have the newest part of the run judged.
    Judge,
    /// Judge again at `until`, or when a person has answered or the alarm has cleared.
    Wait {
        /// At the latest.
        until: Timestamp,
    },
    /// Record the intent of this step and make its call.
    Call {
        /// Which step.
        step: u32,
    },
    /// The intent is recorded and its end is not: after a crash, look; never call again blindly.
    Find {
        /// Which step.
        step: u32,
    },
    /// The call was accepted: follow it to its end.
    Settle {
        /// Which step.
        step: u32,
    },
    /// Steps cannot go on: conclude the run.
    Conclude,
    /// Verify: has the alarm cleared, and does it stay clear?
    Watch {
        /// When the last step finished.
        since: Timestamp,
    },
    /// Plan the return of the lease.
    GiveBack,
    /// The alarm has cleared and nothing is left to do: close.
    Close {
        /// How it ended.
        ending: Ending,
    },
    /// Wait for the world: the alarm, or a person.
    Nothing,
}

/// A summary of a run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// Its id.
    pub id: RunId,
    /// Why it existed.
    pub kind: RunKind,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Whether a step that writes may have taken effect.
    pub acted: bool,
}

/// One episode of an alarm, from firing to resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The last entry that was applied.
    pub seq: Seq,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The alarm as it opened the incident.
    pub first: Arc<Alarm>,
    /// The alarm as it was last heard of or looked at.
    pub alarm: Arc<Alarm>,
    /// Since when the alarm has been clear, if it is.
    pub clear_since: Option<Timestamp>,
    /// How often the sender has spoken of it since, duplicates included.
    pub repeats: u32,
    /// The rule that answers it.
    pub rule: Option<(RuleName, RuleVersion)>,
    /// The facts as last read.
    pub facts: Arc<Facts>,
    /// Facts that could not be read, and why.
    pub missing: BTreeMap<String, String>,
    /// The run that goes on.
    pub run: Option<Run>,
    /// The runs that are over.
    pub past: Vec<PastRun>,
    /// The newest plan that was to heal it; a return and later escalations go by it.
    pub remedy: Option<Arc<Plan>>,
    /// The last plan a person allowed: its hash and who.
    pub approved: Option<(Hash, String)>,
    /// The last plan a person refused: its hash and who.
    pub rejected: Option<(Hash, String)>,
    /// When a person last allowed or refused a plan of the run that goes on.
    pub answered_at: Option<Timestamp>,
    /// When the newest part was first held, while it is held.
    pub held_first: Option<Timestamp>,
    /// Since when it is held for the reason (by its code) that holds it now.
    pub held_since: Option<Timestamp>,
    /// How many tries of each step of the run that goes on have begun.
    pub tries: BTreeMap<u32, u32>,
    /// Steps of the going run with a try of which nobody can tell whether it took effect.
    pub lost: BTreeSet<u32>,
    /// The temporary change that is out.
    pub lease: Option<(Lease, Timestamp)>,
    /// Every reason for which a person was called.
    pub escalations: Vec<Reason>,
    /// The last denial.
    pub denied: Option<Reason>,
    phase: Phase,
}

impl Incident {
    /// The incident that an `opened` entry begins; `None` for any other entry.
    #[must_use]
    pub fn open(entry: &Entry) -> Option<Self> {
        let (Some(id), Body::Opened { alarm, .. }) = (&entry.incident, &entry.body) else {
            return None;
        };
        Some(Self {
            id: id.clone(),
            seq: entry.seq,
            opened_at: entry.at,
            first: Arc::clone(alarm),
            alarm: Arc::clone(alarm),
            clear_since: None,
            repeats: 0,
            rule: None,
            facts: Arc::default(),
            missing: BTreeMap::new(),
            run: None,
            past: Vec::new(),
            remedy: None,
            approved: None,
            rejected: None,
            answered_at: None,
            held_first: None,
            held_since: None,
            tries: BTreeMap::new(),
            lost: BTreeSet::new(),
            lease: None,
            escalations: Vec::new(),
            denied: None,
            phase: Phase::New,
        })
    }

    /// Folds one incident's entries, in order; `None` if the first does not open it.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<Self> {
        let mut entries = entries.into_iter();
        let mut incident = Self::open(entries.next()?)?;
        for entry in entries {
            incident.apply(entry);
        }
        Some(incident)
    }

    /// Moves on by one entry. Entries of other incidents, and those already applied, change nothing.
    pub fn apply(&mut self, entry: &Entry) {
        if entry.incident.as_ref() != Some(&self.id) || entry.seq <= self.seq {
            return;
        }
        self.seq = entry.seq;
        if let Phase::Closed(_) = self.phase {
            return;
        }
        match &entry.body {
            Body::Observed { alarm, standing, .. } | Body::Looked { alarm, standing } => {
                self.hear(entry, alarm, *standing);
            }
            Body::Unmatched {} => self.phase = Phase::Unmatched,
            Body::Matched { rule, version, .. } => {
                self.rule = Some((rule.clone(), version.clone()));
                self.denied = None;
                self.phase = Phase::Matched;
            }
            Body::FactsRead { facts, missing } => {
                self.facts = facts.clone();
                self.missing = missing.clone();
            }
            Body::RuleFailed { error, .. } => self.rule_failed(error),
            Body::Approved { plan, .. } => {
                self.approved = Some((*plan, entry.actor.to_string()));
                self.answered_at = Some(entry.at);
            }
            Body::Rejected { plan, .. } => {
                self.rejected = Some((*plan, entry.actor.to_string()));
                self.answered_at = Some(entry.at);
            }
            Body::Planned { run, plan, .. } => self.planned(entry.at, run, plan),
            Body::Judged { run, verdict, .. } => self.judged(entry.at, run, verdict),
            Body::Started { step, attempt, marker, .. } => {
                let (attempt, marker) = (*attempt, marker.clone());
                self.step(entry.at, step, Progress::Started { at: entry.at, attempt, marker });
            }
            Body::Sent { step, handle, .. } => {
                self.step(entry.at, step, Progress::Sent { at: entry.at, handle: handle.clone() });
            }
            Body::Backoff { step, lost, .. } => {
                self.lost.extend(lost.then_some(step.step));
                self.step(entry.at, step, Progress::Waiting);
            }
            Body::Finished { step, outcome, .. } => {
                let outcome = outcome.clone();
                self.step(entry.at, step, Progress::Finished { at: entry.at, outcome });
            }
            Body::Concluded { run, outcome, .. } => self.conclude(run, *outcome),
            Body::LeaseDropped { .. } => {
                self.lease = None;
                if self.phase == Phase::Lent {
                    self.phase = Phase::Stopped;
                }
            }
            Body::Escalated { reason, .. } => self.escalations.push(reason.clone()),
            Body::Closed { ending } => self.phase = Phase::Closed(*ending),
            Body::Opened { .. }
            | Body::EngineStarted { .. }
            | Body::EngineStopped {}
            | Body::RuleLoaded { .. }
            | Body::RuleBroken { .. }
            | Body::RuleRemoved { .. }
            | Body::Archived { .. }
            | Body::Paused { .. }
            | Body::Resumed { .. }
            | Body::Received { .. }
            | Body::Unreadable { .. }
            | Body::Understood { .. }
            | Body::Decoded { .. } => {}
        }
    }

    fn hear(&mut self, entry: &Entry, alarm: &Arc<Alarm>, standing: Standing) {
        self.repeats = self.repeats.saturating_add(1);
        match standing {
            Standing::Duplicate | Standing::OutOfOrder | Standing::NothingOpen => {}
            Standing::Again => {
                // Senders that tell of changes only would not say `firing` twice in a row: the word
                // in between was lost or never sent, so this is an episode of its own.
                let unheard =
                    alarm.tells_changes_only() && alarm.changed_at > self.alarm.changed_at;
                self.alarm = alarm.clone();
                let cleared = self.clear_since.take().is_some();
                let idle = matches!(self.phase, Phase::Lent | Phase::Stopped | Phase::Unmatched);
                if idle && self.run.is_none() && (cleared || unheard) {
                    self.phase = Phase::New;
                }
            }
            Standing::Cleared => {
                self.alarm = alarm.clone();
                self.clear_since.get_or_insert(entry.at);
            }
            Standing::Lost => {
                // No data is not success: the alarm is neither clear nor known to fire.
                self.alarm = alarm.clone();
                self.clear_since = None;
            }
        }
    }

    fn planned(&mut self, at: Timestamp, run: &RunId, plan: &Arc<Plan>) {
        if plan.kind == RunKind::Remedy {
            self.remedy = Some(plan.clone());
        }
        self.held_first = None;
        self.held_since = None;
        let fresh = self.run.as_ref().is_none_or(|going| going.id != *run);
        // An answer is good for one plan once: it outlives only a plan that was never allowed.
        let allowed = |part: &Part| matches!(part.verdict, Some(Verdict::Allow {}));
        if fresh || self.run.as_ref().and_then(Run::part).is_some_and(allowed) {
            self.approved = None;
            self.rejected = None;
            self.answered_at = None;
        }
        if fresh {
            self.tries.clear();
            self.lost.clear();
            let (id, kind) = (run.clone(), plan.kind);
            self.run = Some(Run { id, kind, parts: Vec::new(), steps: Vec::new(), failed: None });
        }
        if let Some(going) = &mut self.run {
            going.parts.push(Part { plan: plan.clone(), verdict: None });
        }
        self.phase = if plan.steps.is_empty() {
            let since = self.run.as_ref().and_then(Run::finished_at).unwrap_or(at);
            Phase::Watching { since }
        } else {
            Phase::Proposed
        };
    }

    fn judged(&mut self, at: Timestamp, run: &RunId, verdict: &Verdict) {
        let Some(going) = self.run.as_mut().filter(|going| going.id == *run) else { return };
        let Some(part) = going.parts.last_mut() else { return };
        let before = part.verdict.replace(verdict.clone());
        (self.held_first, self.held_since) = match (before, verdict) {
            (Some(Verdict::Hold { reason: before, .. }), Verdict::Hold { reason, .. })
                if before.code() == reason.code() =>
            {
                (self.held_first, self.held_since)
            }
            (_, Verdict::Hold { .. }) => (self.held_first.or(Some(at)), Some(at)),
            (_, Verdict::Allow {} | Verdict::Deny { .. }) => (None, None),
        };
        match verdict {
            Verdict::Allow {} => {
                let steps = part.plan.steps.iter().cloned().map(Arc::new);
                going.steps.extend(steps.map(|step| (step, Progress::Waiting)));
                self.phase = Phase::Running;
            }
            Verdict::Hold { reason, until } => {
                self.phase = Phase::Held { reason: reason.clone(), until: *until };
            }
            Verdict::Deny { reason } => {
                self.denied = Some(reason.clone());
                // A run that has begun is still concluded; one that has not is dropped.
                if going.steps.is_empty() {
                    self.stop_run();
                } else {
                    self.phase = Phase::Running;
                }
            }
        }
    }

    fn step(&mut self, now: Timestamp, at: &StepRef, progress: Progress) {
        let Some(run) = self.run.as_mut().filter(|run| run.id == at.run) else { return };
        let n = usize::try_from(at.step).unwrap_or(usize::MAX);
        let Some(slot) = run.steps.get_mut(n) else { return };
        if let Progress::Started { attempt, .. } = &progress {
            let tries = self.tries.entry(at.step).or_default();
            *tries = (*tries).max(*attempt);
        }
        // The first end that is told is the step's end: another instance may tell one, too.
        let ended = matches!(slot.1, Progress::Finished { .. });
        if matches!(slot.1, Progress::Finished { outcome: StepOutcome::Done { .. }, .. }) {
            return;
        }
        // From the moment the call was accepted the change is out, however the step ends.
        let out = match &progress {
            Progress::Sent { .. }
            | Progress::Finished { outcome: StepOutcome::Done { .. }, .. } => true,
            Progress::Waiting | Progress::Started { .. } | Progress::Finished { .. } => false,
        };
        if let (true, Some(lease)) = (out, &slot.0.lease) {
            let first = self.lease.as_ref().filter(|(out, _)| out.target == lease.target);
            let before = first.map_or(lease.before, |(out, _)| out.before);
            self.lease = Some((Lease { before, ..lease.clone() }, now));
        }
        if ended {
            return;
        }
        slot.1 = progress;
        let all_done = run.steps.iter().all(|(_, progress)| {
            matches!(progress, Progress::Finished { outcome: StepOutcome::Done { .. }, .. })
        });
        if all_done && !run.part().is_some_and(|part| part.plan.more) {
            self.phase = Phase::Watching { since: now };
        }
    }

    fn conclude(&mut self, id: &RunId, outcome: RunOutcome) {
        let Some(run) = self.run.take_if(|run| run.id == *id) else { return };
        let returned = run.kind == RunKind::Return && outcome == RunOutcome::Effective;
        let (kind, acted) = (run.kind, run.has_acted());
        self.past.push(PastRun { id: run.id, kind, outcome, acted });
        if returned {
            self.lease = None;
        }
        self.phase = match (kind, &self.lease) {
            // It fires again while the lease was being given back: the rule is asked anew.
            (RunKind::Return, Some(_)) if !self.is_clear() => Phase::New,
            (RunKind::Remedy, Some(_)) if outcome == RunOutcome::Effective => Phase::Lent,
            (RunKind::Remedy | RunKind::Return, _) => Phase::Stopped,
        };
    }

    /// A run that has begun holds its target until it is concluded; one that has not is dropped.
    fn rule_failed(&mut self, error: &str) {
        match &mut self.run {
            Some(run) if !run.steps.is_empty() => {
                run.failed = Some(error.to_owned());
                self.phase = Phase::Running;
            }
            Some(_) | None => self.stop_run(),
        }
    }

    fn stop_run(&mut self) {
        self.phase = Phase::Stopped;
        if let Some(run) = self.run.take() {
            // A return that is not even begun will not be tried again by itself.
            let outcome = match run.kind {
                RunKind::Remedy => RunOutcome::Inconclusive,
                RunKind::Return => RunOutcome::Ineffective,
            };
            let acted = run.has_acted();
            self.past.push(PastRun { id: run.id, kind: run.kind, outcome, acted });
        }
    }

    /// The next run's id.
    #[must_use]
    pub fn next_run(&self) -> RunId {
        match &self.run {
            Some(run) => run.id.clone(),
            None => {
                self.id.run(u32::try_from(self.past.len()).unwrap_or(u32::MAX).saturating_add(1))
            }
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        if let Phase::Closed(ending) = self.phase { Some(ending) } else { None }
    }

    /// Why it is held, if it is.
    pub fn held(&self) -> Option<&Reason> {
        if let Phase::Held { reason, .. } = &self.phase { Some(reason) } else { None }
    }

    /// Until when it is held at the latest, if it is.
    pub fn held_until(&self) -> Option<Timestamp> {
        if let Phase::Held { until, .. } = self.phase { Some(until) } else { None }
    }

    /// One word for lists: `new`, `unmatched`, `planned`, `held`, `running`, `watching`, `open`, `lent`, `closed`.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::New | Phase::Matched => "new",
            Phase::Unmatched => "unmatched",
            Phase::Proposed => "planned",
            Phase::Held { .. } => "held",
            Phase::Running => "running",
            Phase::Watching { .. } => "watching",
            Phase::Stopped => "open",
            Phase::Lent => "lent",
            Phase::Closed(_) => "closed",
        }
    }

    /// Whether the alarm is clear as far as anybody said.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.alarm.state == AlarmState::Resolved
    }

    fn ending_now(&self) -> Ending {
        // Giving a lease back goes well whether or not what was lent had helped.
        let healed = |run: &PastRun| {
            run.kind == RunKind::Remedy && run.outcome == RunOutcome::Effective && run.acted
        };
        if self.past.iter().any(healed) {
            Ending::Healed
        } else if self.escalations.is_empty() {
            Ending::HealedItself
        } else {
            Ending::HealedByOthers
        }
    }

    /// What has to be done next. The same for a live engine and for one that has just started again.
    #[must_use]
    pub fn work(&self) -> Work {
        match &self.phase {
            // A new episode that ended before its rule was asked: what an earlier one lent is still out.
            Phase::New | Phase::Matched | Phase::Unmatched if self.is_clear() => match self.lease {
                Some(_) => Work::GiveBack,
                None => Work::Close { ending: self.ending_now() },
            },
            Phase::New => Work::Match,
            Phase::Matched => Work::Ask,
            Phase::Proposed => Work::Judge,
            Phase::Held { reason, until } => {
                let asked =
                    matches!(reason, Reason::ApprovalMissing { .. } | Reason::StalePlan { .. });
                let answered = asked
                    && self.held_plan().is_some_and(|plan| {
                        let said = |answer: &Option<(Hash, String)>| {
                            answer.as_ref().is_some_and(|(hash, _)| *hash == plan)
                        };
                        said(&self.approved) || said(&self.rejected)
                    });
                let remedy = self.run.as_ref().is_some_and(|run| run.kind == RunKind::Remedy);
                if answered || (remedy && self.is_clear()) {
                    Work::Judge
                } else {
                    Work::Wait { until: *until }
                }
            }
            Phase::Running => self.step_work(),
            Phase::Watching { since } => Work::Watch { since: *since },
            Phase::Lent | Phase::Stopped if self.is_clear() && self.owes() => Work::GiveBack,
            Phase::Lent | Phase::Stopped if self.is_clear() => {
                Work::Close { ending: self.ending_now() }
            }
            Phase::Lent | Phase::Unmatched | Phase::Stopped | Phase::Closed(_) => Work::Nothing,
        }
    }

    /// Whether a lease is out that the engine can still try to give back.
    fn owes(&self) -> bool {
        let failed = self.past.last().is_some_and(|run| {
            run.kind == RunKind::Return && run.outcome == RunOutcome::Ineffective
        });
        self.lease.is_some() && !failed
    }

    fn held_plan(&self) -> Option<Hash> {
        self.run.as_ref().and_then(Run::part).map(|part| part.plan.hash())
    }

    fn step_work(&self) -> Work {
        let Some(run) = &self.run else { return Work::Nothing };
        let denied =
            run.part().is_some_and(|part| matches!(part.verdict, Some(Verdict::Deny { .. })));
        for (n, (_, progress)) in run.steps.iter().enumerate() {
            let step = u32::try_from(n).unwrap_or(u32::MAX);
            match progress {
                Progress::Waiting => return Work::Call { step },
                Progress::Started { .. } => return Work::Find { step },
                Progress::Sent { .. } => return Work::Settle { step },
                Progress::Finished { outcome: StepOutcome::Done { .. }, .. } => {}
                Progress::Finished { .. } => return Work::Conclude,
            }
        }
        if denied || run.failed.is_some() {
            // What was done is verified all the same.
            let acted = run.kind == RunKind::Remedy && run.has_acted();
            return match run.finished_at().filter(|_| acted) {
                Some(since) => Work::Watch { since },
                None => Work::Conclude,
            };
        }
        // All done and the rule wants to be asked again; otherwise the phase would be `Watching`.
        Work::Ask
    }
}
