//! One incident's entries as the spans of one trace. Pure: times and ids are the entries' own.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_model::{
    Alarm, Body, Entry, Facts, IncidentId, Plan, RunId, RunOutcome, Seq, Step, StepOutcome,
    StepRef, Verdict,
};

use crate::metrics::{ending_word, outcome_word, verdict_words};
use crate::{SpanId, TraceId};

/// Longest text of an attribute.
const TEXT_CHARS_MAX: usize = 200;

/// Something that took from one time to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its id.
    pub id: SpanId,
    /// The span that it is part of; none for the incident's own.
    pub parent: Option<SpanId>,
    /// What it is: `incident`, `receive`, `match`, `facts`, `plan`, `judge`, `held`, `run`, `step`,
    /// `call`, `settle`, `verify` or `escalate`.
    pub name: &'static str,
    /// Whether it is a call of another service.
    pub is_call: bool,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is known of it.
    pub attributes: BTreeMap<&'static str, String>,
    /// Why it did not go well.
    pub failed: Option<String>,
    /// The entry that ended it: who wrote that entry exports the span.
    pub ended_by: Seq,
}

/// The spans that have ended, in the order of their ends. `received_at` is when the delivery that
/// opened the incident came, where that is known.
#[must_use]
pub fn spans(
    incident: &IncidentId,
    received_at: Option<Timestamp>,
    entries: &[Entry],
) -> Vec<Span> {
    let trace = TraceId::of(incident);
    let begins = received_at.or_else(|| entries.first().map(|entry| entry.at));
    let mut tale = Tale {
        trace,
        root: SpanId::of(trace, "incident"),
        begins: begins.unwrap_or(Timestamp::UNIX_EPOCH),
        mark: begins.unwrap_or(Timestamp::UNIX_EPOCH),
        about: BTreeMap::from([("untoil.incident.id", incident.to_string())]),
        held: None,
        run: None,
        steps: BTreeMap::new(),
        spans: Vec::new(),
    };
    for entry in entries {
        tale.hear(entry);
    }
    tale.spans
}

/// What is known while the entries are told.
struct Tale {
    trace: TraceId,
    root: SpanId,
    begins: Timestamp,
    /// When the stage before ended.
    mark: Timestamp,
    /// What the incident's span will say.
    about: BTreeMap<&'static str, String>,
    /// Since when a plan is held, and why.
    held: Option<(Timestamp, String)>,
    run: Option<Running>,
    steps: BTreeMap<StepRef, Stepping>,
    spans: Vec<Span>,
}

struct Running {
    id: RunId,
    since: Timestamp,
    finished_at: Option<Timestamp>,
}

struct Stepping {
    since: Timestamp,
    called_at: Timestamp,
    sent_at: Option<Timestamp>,
    attempt: u32,
    about: BTreeMap<&'static str, String>,
}

impl Tale {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds begin and end no stage")]
    fn hear(&mut self, entry: &Entry) {
        match &entry.body {
            Body::Opened { alarm, .. } => self.opened(entry, alarm),
            Body::Unmatched {} => self.stage(entry, "match", [("untoil.rule", "none".into())]),
            Body::Matched { rule, .. } => {
                self.about.insert("untoil.rule", rule.to_string());
                self.stage(entry, "match", [("untoil.rule", rule.to_string())]);
            }
            Body::FactsRead { facts, missing } => self.facts(entry, facts, missing.len()),
            Body::Planned { run, plan, .. } => self.planned(entry, run, plan),
            Body::RuleFailed { rule, .. } => {
                self.stage(entry, "plan", [("untoil.rule", rule.to_string())]);
                self.fail("the rule's script failed".to_owned());
            }
            Body::Judged { run, verdict, .. } => self.judged(entry, run, verdict),
            Body::Started { step, attempt, does, marker, .. } => {
                self.started(entry, (step, *attempt), (does, marker));
            }
            Body::Sent { step, handle, .. } => self.sent(entry, step, handle),
            Body::Backoff { step, why, .. } => self.backed_off(entry, step, why),
            Body::Finished { step, outcome, .. } => self.finished(entry, step, outcome),
            Body::Concluded { run, outcome, .. } => self.concluded(entry, run, *outcome),
            Body::Escalated { reason, .. } => {
                self.mark = entry.at;
                self.stage(entry, "escalate", [("untoil.reason", reason.code().to_owned())]);
            }
            Body::Closed { ending } => {
                let mut about = self.about.clone();
                about.insert("untoil.ending", ending_word(*ending).to_owned());
                let (id, start) = (self.root, self.begins);
                self.push(entry, (id, None), ("incident", start), about);
            }
            _ => {}
        }
    }

    fn opened(&mut self, entry: &Entry, alarm: &Alarm) {
        self.about.insert("untoil.source", alarm.source.to_string());
        self.about.insert("untoil.alarm.name", cut(&alarm.name));
        self.stage(entry, "receive", [("untoil.source", alarm.source.to_string())]);
    }

    /// Facts are written together with the plan that they were read for; each has its own time.
    fn facts(&mut self, entry: &Entry, facts: &Facts, missing: usize) {
        let about = [
            ("untoil.facts", facts.keys().cloned().collect::<Vec<_>>().join(" ")),
            ("untoil.facts.missing", missing.to_string()),
        ];
        let read_at = facts.values().map(|fact| fact.read_at).max().unwrap_or(entry.at);
        self.stage(entry, "facts", about);
        if let Some(span) = self.spans.last_mut() {
            span.end = read_at.clamp(span.start, entry.at.max(span.start));
            self.mark = span.end;
        }
        if missing > 0 {
            self.fail(format!("{missing} could not be read"));
        }
    }

    fn planned(&mut self, entry: &Entry, run: &RunId, plan: &Plan) {
        let about = [
            ("untoil.rule", plan.rule.to_string()),
            ("untoil.rule.version", plan.version.to_string()),
            ("untoil.mode", plan.mode.as_str().to_owned()),
            ("untoil.target", cut(plan.target.as_str())),
            ("untoil.steps", plan.steps.len().to_string()),
            ("untoil.run.id", run.to_string()),
        ];
        self.stage(entry, "plan", about);
    }

    fn judged(&mut self, entry: &Entry, run: &RunId, verdict: &Verdict) {
        if let Some((since, reason)) = self.held.take() {
            self.mark = since;
            self.stage(entry, "held", [("untoil.reason", reason)]);
        }
        let (word, reason) = verdict_words(verdict);
        let about = [
            ("untoil.run.id", run.to_string()),
            ("untoil.verdict", word.to_owned()),
            ("untoil.reason", reason.to_owned()),
        ];
        self.stage(entry, "judge", about);
        match verdict {
            Verdict::Allow {} => {
                if self.run.as_ref().is_none_or(|running| running.id != *run) {
                    self.run =
                        Some(Running { id: run.clone(), since: entry.at, finished_at: None });
                }
            }
            Verdict::Hold { .. } => self.held = Some((entry.at, reason.to_owned())),
            Verdict::Deny { .. } => {}
        }
    }

    fn started(
        &mut self,
        entry: &Entry,
        (step, attempt): (&StepRef, u32),
        (does, marker): (&Step, &str),
    ) {
        let about = BTreeMap::from([
            ("untoil.run.id", step.run.to_string()),
            ("untoil.step", step.step.to_string()),
            ("untoil.action", does.action.to_string()),
            ("untoil.target", cut(does.target.as_str())),
            ("untoil.marker", marker.to_owned()),
            ("untoil.attempt", attempt.to_string()),
        ]);
        let since = self.steps.get(step).map_or(entry.at, |stepping| stepping.since);
        let stepping = Stepping { since, called_at: entry.at, sent_at: None, attempt, about };
        self.steps.insert(step.clone(), stepping);
    }

    fn sent(&mut self, entry: &Entry, step: &StepRef, handle: &str) {
        let Some(stepping) = self.steps.get_mut(step) else { return };
        stepping.sent_at = Some(entry.at);
        let mut about = stepping.about.clone();
        about.insert("untoil.handle", cut(handle));
        self.call(entry, step, about);
    }

    /// The span of a call, up to this entry.
    fn call(&mut self, entry: &Entry, step: &StepRef, about: BTreeMap<&'static str, String>) {
        let Some(stepping) = self.steps.get(step) else { return };
        let what = format!("call/{step}/{}", stepping.attempt);
        let ids = (SpanId::of(self.trace, &what), Some(self.step_id(step)));
        self.push(entry, ids, ("call", stepping.called_at), about);
        if let Some(span) = self.spans.last_mut() {
            span.is_call = true;
        }
    }

    fn backed_off(&mut self, entry: &Entry, step: &StepRef, why: &str) {
        let Some(stepping) = self.steps.get(step) else { return };
        if stepping.sent_at.is_none() {
            let about = stepping.about.clone();
            self.call(entry, step, about);
            self.fail(cut(why));
        }
    }

    fn finished(&mut self, entry: &Entry, step: &StepRef, outcome: &StepOutcome) {
        let Some(stepping) = self.steps.get(step) else { return };
        let why = match outcome {
            StepOutcome::Done { .. } => None,
            StepOutcome::Refused { code, .. } => Some(format!("refused: {}", cut(code))),
            StepOutcome::Unknown { why } => Some(format!("unknown: {}", cut(why))),
        };
        let (since, attempt) = (stepping.since, stepping.attempt);
        let mut about = stepping.about.clone();
        match stepping.sent_at {
            None => self.call(entry, step, about.clone()),
            Some(sent_at) => {
                let id = SpanId::of(self.trace, &format!("settle/{step}/{attempt}"));
                let parent = Some(self.step_id(step));
                self.push(entry, (id, parent), ("settle", sent_at), BTreeMap::new());
            }
        }
        if let Some(why) = &why {
            self.fail(why.clone());
        }
        about.insert("untoil.outcome", outcome_word(outcome).to_owned());
        let ids = (self.step_id(step), Some(self.run_id(&step.run)));
        self.push(entry, ids, ("step", since), about);
        if let Some(why) = why {
            self.fail(why);
        }
        self.steps.remove(step);
        self.mark = entry.at;
        if let Some(running) = &mut self.run {
            running.finished_at = Some(entry.at);
        }
    }

    fn concluded(&mut self, entry: &Entry, run: &RunId, outcome: RunOutcome) {
        let Some(running) = self.run.take().filter(|running| running.id == *run) else { return };
        let about = BTreeMap::from([("untoil.outcome", outcome.as_str().to_owned())]);
        let id = self.run_id(run);
        if let Some(finished_at) = running.finished_at {
            let verify = SpanId::of(self.trace, &format!("verify/{run}"));
            self.push(entry, (verify, Some(id)), ("verify", finished_at), about.clone());
        }
        let (parent, mut about) = (Some(self.root), about);
        about.insert("untoil.run.id", run.to_string());
        self.push(entry, (id, parent), ("run", running.since), about);
        match outcome {
            RunOutcome::Effective => {}
            RunOutcome::Ineffective | RunOutcome::Harmful | RunOutcome::Inconclusive => {
                self.fail(outcome.as_str().to_owned());
            }
        }
        self.mark = entry.at;
    }

    fn run_id(&self, run: &RunId) -> SpanId {
        SpanId::of(self.trace, &format!("run/{run}"))
    }

    fn step_id(&self, step: &StepRef) -> SpanId {
        SpanId::of(self.trace, &format!("step/{step}"))
    }

    /// A stage of the incident, from the end of the one before.
    fn stage<const N: usize>(
        &mut self,
        entry: &Entry,
        name: &'static str,
        about: [(&'static str, String); N],
    ) {
        let id = SpanId::of(self.trace, &format!("{name}/{}", entry.seq));
        let ids = (id, Some(self.root));
        self.push(entry, ids, (name, self.mark), BTreeMap::from(about));
        self.mark = entry.at;
    }

    fn push(
        &mut self,
        entry: &Entry,
        (id, parent): (SpanId, Option<SpanId>),
        (name, start): (&'static str, Timestamp),
        attributes: BTreeMap<&'static str, String>,
    ) {
        // The time of day may have been set back in between.
        let end = entry.at.max(start);
        let ended_by = entry.seq;
        let (is_call, failed) = (false, None);
        self.spans.push(Span {
            id,
            parent,
            name,
            is_call,
            start,
            end,
            attributes,
            failed,
            ended_by,
        });
    }

    fn fail(&mut self, why: String) {
        if let Some(span) = self.spans.last_mut() {
            span.failed = Some(why);
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
