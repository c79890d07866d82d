//! What is counted, and what of an entry is.
//!
//! The table in `docs/observability.md` and the dashboard in `deploy/grafana` are checked against
//! [`Metrics::known`].

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use untoil_model::{Body, DeliveryId, Ending, Entry, Standing, StepOutcome, Verdict};

use crate::flows::FlowMetrics;
use crate::series::{Counts, Known, Levels, QUICK, Register, SLOW, Times};
use crate::stopwatch::Stopwatch;

/// What `Content-Type` the scraped text has.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Level = Gauge<f64, AtomicU64>;

/// Everything that this instance counts. Counters begin at zero with the process.
#[derive(Debug)]
pub struct Metrics {
    register: Mutex<Register>,
    stopwatch: Mutex<Stopwatch>,
    gates: Vec<&'static str>,
    pub(crate) intake: IntakeMetrics,
    pub(crate) journal: JournalMetrics,
    pub(crate) gauges: Gauges,
    pub(crate) health: HealthMetrics,
    decisions: Decisions,
    actions: Actions,
    aws_calls: Counts<3>,
    aws_time: Times<2>,
}

/// The way in.
#[derive(Debug)]
pub(crate) struct IntakeMetrics {
    answers: Counts<2>,
    answer_time: Times<1>,
    received: Counts<2>,
    decided: Counts<2>,
    decided_time: Times<1>,
    polls: Counts<2>,
    messages: Counts<2>,
}

/// What was decided.
#[derive(Debug)]
struct Decisions {
    alarms: Counts<2>,
    opened: Counts<1>,
    closed: Counts<1>,
    open_time: Times<1>,
    matched: Counts<1>,
    unmatched: Counts<0>,
    facts_missing: Counts<0>,
    plans: Counts<1>,
    rule_failures: Counts<1>,
    rules_broken: Counts<0>,
    judgements: Counts<3>,
    objections: Counts<2>,
    answers: Counts<1>,
    escalations: Counts<1>,
}

/// What was done.
#[derive(Debug)]
struct Actions {
    started: Counts<1>,
    finished: Counts<2>,
    step_time: Times<1>,
    call_delay: Times<0>,
    retries: Counts<1>,
    runs: Counts<2>,
    leases_dropped: Counts<0>,
}

/// The journal's door.
#[derive(Debug)]
pub(crate) struct JournalMetrics {
    entries: Counts<1>,
    pub(crate) writes: Counts<2>,
    pub(crate) write_time: Times<1>,
}

/// What is looked at every few seconds.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) parts: Levels,
    pub(crate) head: Level,
    pub(crate) incidents_open: Level,
    pub(crate) pending: Level,
    pub(crate) pending_oldest: Level,
    pub(crate) notifier_lag: Level,
    pub(crate) notifier_messages: Counts<1>,
    pub(crate) flows: FlowMetrics,
    pub(crate) memory: Level,
    pub(crate) files: Level,
}

/// What is told of the telling.
#[derive(Debug)]
pub(crate) struct HealthMetrics {
    pub(crate) beats: Counts<1>,
    pub(crate) beat_last: Level,
    pub(crate) beat_time: Times<0>,
    pub(crate) spans: Counts<1>,
}

impl Metrics {
    /// Nothing counted yet. `gates` are the guard's, in the order it asks them: the last one that a
    /// judgement names is the one that objected.
    #[must_use]
    pub fn new(version: &str, gates: Vec<&'static str>) -> Self {
        let mut register = Register::default();
        let help = "The running version";
        let info = Info::new([("version", version.to_owned())]);
        register.registry.register("untoil_build", help, info);
        register.know("untoil_build_info".into(), "info", (&["version"], help));
        let r = &mut register;
        Self {
            intake: IntakeMetrics::new(r),
            decisions: Decisions::new(r),
            actions: Actions::new(r),
            aws_calls: r.counts(
                "untoil_aws_calls",
                "Calls of AWS by what became of them",
                ["service", "operation", "outcome"],
            ),
            aws_time: r.times(
                ("untoil_aws_call", "Time a call of AWS took"),
                ["service", "operation"],
                QUICK,
            ),
            journal: JournalMetrics::new(r),
            gauges: Gauges::new(r),
            health: HealthMetrics::new(r),
            stopwatch: Mutex::default(),
            gates,
            register: Mutex::new(register),
        }
    }

    /// All of it in the OpenMetrics text format, of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut text, &register.registry).expect("a text takes all that is written");
        text
    }

    /// Every metric there is, whether it was counted yet or not.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner).known.clone()
    }

    /// The intake answered a sender. A source that is not configured is to be given as `unknown`.
    pub fn answered(&self, source: &str, status: u16, took: Duration) {
        self.intake.answers.add([source, &status.to_string()]);
        self.intake.answer_time.took([source], took);
    }

    /// A queue was asked for messages: there were some (`messages`), none (`empty`), or it `failed`.
    pub fn polled(&self, queue: &str, result: &str) {
        self.intake.polls.add([queue, result]);
    }

    /// Messages of a queue were `received`, `deleted`, given back or held (`hidden`), or should have
    /// been (`not_deleted`, `not_hidden`).
    pub fn messages(&self, queue: &str, what: &str, n: usize) {
        self.intake.messages.add_n([queue, what], u64::try_from(n).unwrap_or(u64::MAX));
    }

    /// AWS answered, or did not. `operation` is as IAM names it: `ssm:SendCommand`.
    pub fn called(&self, operation: &str, outcome: &str, took: Duration) {
        let (service, operation) = operation.split_once(':').unwrap_or(("other", operation));
        self.aws_calls.add([service, operation, outcome]);
        self.aws_time.took([service, operation], took);
    }

    /// A delivery is about to be kept. It may be decided before that is heard of, so it is timed from here;
    /// whether it is.
    pub(crate) fn arrives(&self, delivery: &DeliveryId, at: Timestamp) -> bool {
        self.stopwatch().arrives(delivery, at)
    }

    /// One that is timed was not kept, or had been before.
    pub(crate) fn stays_out(&self, delivery: &DeliveryId) {
        self.stopwatch().stays_out(delivery);
    }

    /// A delivery was kept, or was kept before.
    pub(crate) fn received(&self, delivery: &DeliveryId, is_new: bool) {
        let receipt = if is_new { "stored" } else { "seen" };
        self.intake.received.add([delivery.source.as_str(), receipt]);
        if is_new {
            self.journal.entries.add(["received"]);
        }
    }

    /// Entries were written together.
    pub(crate) fn wrote(&self, entries: &[Entry]) {
        for entry in entries {
            self.count(entry);
        }
        // The delivery is forgotten last: what it opened is timed from it, too.
        for entry in entries {
            let Some((delivery, said)) = decided(&entry.body) else { continue };
            let source = delivery.source.as_str();
            self.intake.decided.add([source, said]);
            if let Some(took) = self.stopwatch().decided(delivery, entry.at) {
                self.intake.decided_time.took([source], took);
            }
        }
    }

    /// What is kept of what was done lies close together from then on, so that the memory around it can be
    /// given back. For when nothing is done: deliveries wait while it copies what is timed, at most 24,576 places.
    pub fn rests(&self) {
        self.stopwatch().lie_close();
    }

    fn stopwatch(&self) -> std::sync::MutexGuard<'_, Stopwatch> {
        self.stopwatch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, entry: &Entry) {
        self.journal.entries.add([entry.body.kind()]);
        self.count_decision(entry);
        self.count_action(entry);
    }

    /// What an entry says of alarms, incidents, rules and the guard.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "one of two halves; entries by kind count all"
    )]
    fn count_decision(&self, entry: &Entry) {
        let Decisions { alarms, opened, closed, open_time, escalations, .. } = &self.decisions;
        match &entry.body {
            Body::Opened { alarm, delivery, .. } => {
                let source = alarm.source.as_str();
                alarms.add([source, "opened"]);
                opened.add([source]);
                if let Some(incident) = &entry.incident {
                    self.stopwatch().opened(incident, delivery);
                }
            }
            Body::Observed { alarm, standing, .. } | Body::Looked { alarm, standing } => {
                alarms.add([alarm.source.as_str(), standing_word(*standing)]);
            }
            Body::Unmatched {} => self.decisions.unmatched.add([]),
            Body::Matched { rule, .. } => self.decisions.matched.add([rule.as_str()]),
            Body::FactsRead { missing, .. } => {
                let n = u64::try_from(missing.len()).unwrap_or(u64::MAX);
                self.decisions.facts_missing.add_n([], n);
            }
            Body::Planned { plan, .. } => self.decisions.plans.add([plan.rule.as_str()]),
            Body::RuleFailed { rule, .. } => self.decisions.rule_failures.add([rule.as_str()]),
            Body::RuleBroken { .. } => self.decisions.rules_broken.add([]),
            Body::Judged { verdict, rule, gates, .. } => {
                let (word, reason) = verdict_words(verdict);
                self.decisions.judgements.add([rule.as_str(), word, reason]);
                if word != "allow" {
                    let asked = self.gates.iter().rev().find(|gate| gates.contains_key(**gate));
                    self.decisions.objections.add([asked.copied().unwrap_or("none"), word]);
                }
            }
            Body::Approved { .. } => self.decisions.answers.add(["approved"]),
            Body::Rejected { .. } => self.decisions.answers.add(["rejected"]),
            Body::Escalated { reason, .. } => escalations.add([reason.code()]),
            Body::Closed { ending } => {
                closed.add([ending_word(*ending)]);
                let incident = entry.incident.as_ref();
                let took = incident.and_then(|it| self.stopwatch().closed(it, entry.at));
                if let Some(took) = took {
                    open_time.took([ending_word(*ending)], took);
                }
            }
            _ => {}
        }
    }

    /// What an entry says of runs and steps.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "one of two halves; entries by kind count all"
    )]
    fn count_action(&self, entry: &Entry) {
        let actions = &self.actions;
        match &entry.body {
            Body::Started { step, does, .. } => {
                actions.started.add([does.action.as_str()]);
                let Some(incident) = &entry.incident else { return };
                let delay = self.stopwatch().started(incident, step, entry.at);
                if let Some(delay) = delay {
                    actions.call_delay.took([], delay);
                }
            }
            Body::Backoff { lost, .. } => {
                actions.retries.add([if *lost { "lost" } else { "no_effect" }]);
            }
            Body::Finished { step, does, outcome, .. } => {
                let action = does.action.as_str();
                actions.finished.add([action, outcome_word(outcome)]);
                if let Some(took) = self.stopwatch().finished(step, entry.at) {
                    actions.step_time.took([action], took);
                }
            }
            Body::Concluded { rule, outcome, .. } => {
                actions.runs.add([rule.as_str(), outcome.as_str()]);
            }
            Body::LeaseDropped { .. } => actions.leases_dropped.add([]),
            _ => {}
        }
    }
}

/// The delivery that an entry decides, and what it turned out to be.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "three kinds decide a delivery; the rest do not"
)]
pub(crate) fn decided(body: &Body) -> Option<(&DeliveryId, &'static str)> {
    match body {
        Body::Decoded { delivery, .. } => Some((delivery, "alarms")),
        Body::Understood { delivery, .. } => Some((delivery, "note")),
        Body::Unreadable { delivery, .. } => Some((delivery, "unreadable")),
        _ => None,
    }
}

fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Duplicate => "duplicate",
        Standing::OutOfOrder => "out_of_order",
        Standing::Again => "again",
        Standing::Cleared => "cleared",
        Standing::Lost => "lost",
        Standing::NothingOpen => "nothing_open",
    }
}

/// A verdict and its reason's code.
pub(crate) fn verdict_words(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Allow {} => ("allow", "none"),
        Verdict::Hold { reason, .. } => ("hold", reason.code()),
        Verdict::Deny { reason } => ("deny", reason.code()),
    }
}

/// How a step ended, in a word.
pub(crate) fn outcome_word(outcome: &StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Done { .. } => "done",
        StepOutcome::Refused { .. } => "refused",
        StepOutcome::Unknown { .. } => "unknown",
    }
}

/// How an incident ended, in a word.
pub(crate) fn ending_word(ending: Ending) -> &'static str {
    match ending {
        Ending::Healed => "healed",
        Ending::HealedItself => "healed_itself",
        Ending::HealedByOthers => "healed_by_others",
    }
}

impl IntakeMetrics {
    fn new(r: &mut Register) -> Self {
        Self {
            answers: r.counts(
                "untoil_intake_answers",
                "Answers to senders by HTTP status; 503 with `Retry-After` is an overload",
                ["source", "status"],
            ),
            answer_time: r.times(
                ("untoil_intake_answer", "Time from a request's headers to its answer"),
                ["source"],
                QUICK,
            ),
            received: r.counts(
                "untoil_deliveries_received",
                "Deliveries kept (`stored`) or kept before (`seen`)",
                ["source", "receipt"],
            ),
            decided: r.counts(
                "untoil_deliveries_decided",
                "Deliveries decided: they told of `alarms`, were a `note`, or `unreadable`",
                ["source", "said"],
            ),
            decided_time: r.times(
                ("untoil_delivery_decided", "Time from a delivery's receipt to its decision"),
                ["source"],
                QUICK,
            ),
            polls: r.counts(
                "untoil_queue_polls",
                "Receipts asked of queues: `messages` came, it was `empty`, or it `failed`",
                ["queue", "result"],
            ),
            messages: r.counts(
                "untoil_queue_messages",
                "Messages `received`, `deleted` and `hidden`, or `not_deleted` and `not_hidden`",
                ["queue", "what"],
            ),
        }
    }
}

impl Decisions {
    fn new(r: &mut Register) -> Self {
        Self {
            alarms: r.counts(
                "untoil_alarms",
                "Words about alarms by what they mean for what is known of them",
                ["source", "standing"],
            ),
            opened: r.counts("untoil_incidents_opened", "Incidents opened", ["source"]),
            closed: r.counts("untoil_incidents_closed", "Incidents closed", ["ending"]),
            open_time: r.times(
                ("untoil_incident_open", "Time from an incident's opening to its closing"),
                ["ending"],
                SLOW,
            ),
            matched: r.counts("untoil_incidents_matched", "Alarms a rule answers", ["rule"]),
            unmatched: r.counts("untoil_incidents_unmatched", "Alarms no rule answers", []),
            facts_missing: r.counts("untoil_facts_missing", "Facts that could not be read", []),
            plans: r.counts("untoil_plans", "Plans that rules proposed", ["rule"]),
            rule_failures: r.counts("untoil_rule_failures", "Scripts that failed", ["rule"]),
            rules_broken: r.counts("untoil_rules_broken", "Rules that could not be loaded", []),
            judgements: r.counts(
                "untoil_judgements",
                "The guard's verdicts with the reason's code",
                ["rule", "verdict", "reason"],
            ),
            objections: r.counts(
                "untoil_gate_objections",
                "Plans that a gate of the guard held or denied",
                ["gate", "verdict"],
            ),
            answers: r.counts("untoil_answers", "Plans that people answered", ["answer"]),
            escalations: r.counts("untoil_escalations", "Times a person was called", ["reason"]),
        }
    }
}

impl Actions {
    fn new(r: &mut Register) -> Self {
        Self {
            started: r.counts("untoil_steps_started", "Tries of steps begun", ["action"]),
            finished: r.counts(
                "untoil_steps_finished",
                "Steps ended by how",
                ["action", "outcome"],
            ),
            step_time: r.times(
                ("untoil_step", "Time from a step's start to its end"),
                ["action"],
                SLOW,
            ),
            call_delay: r.times(
                ("untoil_alarm_to_call", "Time from an alarm's receipt to its first call"),
                [],
                QUICK,
            ),
            retries: r.counts(
                "untoil_step_retries",
                "Calls to be tried again, with `no_effect` or `lost`",
                ["why"],
            ),
            runs: r.counts("untoil_runs", "Runs concluded by outcome", ["rule", "outcome"]),
            leases_dropped: r.counts(
                "untoil_leases_dropped",
                "Leases that the engine will not give back",
                [],
            ),
        }
    }
}

impl JournalMetrics {
    fn new(r: &mut Register) -> Self {
        Self {
            entries: r.counts("untoil_entries", "Entries this instance wrote", ["kind"]),
            writes: r.counts(
                "untoil_journal_writes",
                "Writes by result; `overloaded` is a full queue",
                ["operation", "result"],
            ),
            write_time: r.times(
                (
                    "untoil_journal_write",
                    "Time a write took until it was on the disk; `append_ahead` does not wait for it",
                ),
                ["operation"],
                QUICK,
            ),
        }
    }
}

impl Gauges {
    fn new(r: &mut Register) -> Self {
        let entries = || Some(Unit::Other("entries".into()));
        Self {
            parts: r.levels("untoil_part_ok", "Parts that work, as `/readyz` tells", "part"),
            head: r.level("untoil_journal", "Length of the journal", entries()),
            incidents_open: r.level("untoil_incidents_open", "Open incidents, at most 10000", None),
            pending: r.level(
                "untoil_deliveries_pending",
                "Deliveries not yet decided, of all instances, at most 1000",
                None,
            ),
            pending_oldest: r.level(
                "untoil_delivery_pending_oldest",
                "Age of the oldest delivery that this instance is to decide",
                Some(Unit::Seconds),
            ),
            notifier_lag: r.level(
                "untoil_notifier_lag",
                "Entries that people were not told of yet",
                entries(),
            ),
            notifier_messages: r.counts(
                "untoil_notifier_messages",
                "Messages and edits `delivered` or `passed_over`",
                ["result"],
            ),
            flows: FlowMetrics::new(r),
            memory: r.level(
                "process_resident_memory",
                "Resident memory of the process",
                Some(Unit::Bytes),
            ),
            files: r.level("process_open_fds", "Open files and connections", None),
        }
    }
}

impl HealthMetrics {
    fn new(r: &mut Register) -> Self {
        Self {
            beats: r.counts("untoil_deadman_beats", "Dead-man signals by result", ["result"]),
            beat_last: r.level(
                "untoil_deadman_last_success_timestamp",
                "When a delivery last went the whole way in time, as Unix time",
                Some(Unit::Seconds),
            ),
            beat_time: r.times(
                ("untoil_deadman_way", "Time the dead-man's delivery took to its decision"),
                [],
                QUICK,
            ),
            spans: r.counts("untoil_trace_spans", "Spans by what became of them", ["result"]),
        }
    }
}
