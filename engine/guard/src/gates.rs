//! The gates, in their order, as one pure function.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use untoil_model::{
    AlarmState, Class, EngineMode, Incident, Mode, Period, Plan, Reason, Run, RunKind, Target,
    Verdict,
};

use crate::targets::{overlap, within};
use crate::{Ledger, Policy, limits};

/// What is to be judged: the newest part of an incident's run.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The incident; its newest part is the plan.
    pub incident: &'a Incident,
    /// What the engine as a whole may do.
    pub engine: EngineMode,
}

/// The verdict with everything that an auditor wants to see beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// Allow, hold or deny.
    pub verdict: Verdict,
    /// On whose authority: `rule disk-full@1a2b… (auto)`, `approved by kim`.
    pub authority: String,
    /// Each gate that was reached, with its numbers; and under [`RUN_GATE`] what kind of run it is.
    pub gates: BTreeMap<String, String>,
}

/// The key, among a judgement's gates, that says why the run exists: `remedy` or `return`.
pub const RUN_GATE: &str = "run";

/// What stands under [`RUN_GATE`] for a run that gives a lease back: such a run counts in no limit.
pub const RUN_RETURN: &str = "return";

/// One gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Its name, as it stands among a judgement's gates.
    pub name: &'static str,
    /// What it asks, in a line.
    pub asks: &'static str,
    check: Option<fn(&Sitting<'_>) -> Finding>,
}

impl Gate {
    /// Whether this version asks it; otherwise only its place is kept.
    #[must_use]
    pub fn in_force(&self) -> bool {
        self.check.is_some()
    }

    const fn new(
        name: &'static str,
        asks: &'static str,
        check: fn(&Sitting<'_>) -> Finding,
    ) -> Self {
        Self { name, asks, check: Some(check) }
    }

    const fn later(name: &'static str, asks: &'static str) -> Self {
        Self { name, asks, check: None }
    }
}

/// All gates in the order in which [`judge`] asks them. The first that objects gives the verdict.
///
/// `approval` comes before `target_lock`: a run that waits for a busy target must not let the
/// deadline of its approval slip, and everything before it spares people a plan that would be denied.
pub const GATES: [Gate; 19] = [
    Gate::new("staleness", "is the alarm recent enough to act on", staleness),
    Gate::new("resolved", "does the alarm still fire", resolved),
    Gate::new("kill_switch", "is nothing paused that the plan touches", kill_switch),
    Gate::new("engine_mode", "may the engine act at all", engine_mode),
    Gate::new("rule_mode", "may the rule act", rule_mode),
    Gate::later("freeze", "is no freeze declared"),
    Gate::later("calendar", "is it within the rule's hours"),
    Gate::later("maintenance", "is nobody working on the target"),
    Gate::later("storm", "is this no storm of alarms"),
    Gate::later("flapping", "is the alarm steady"),
    Gate::later("breaker", "has the rule worked lately"),
    Gate::new("targets", "does the plan name its targets, and few enough", targets),
    Gate::new("protected", "is no target protected, or the engine itself", protected),
    Gate::later("blast_radius", "is enough of the fleet left untouched"),
    Gate::later("change_budget", "has the service any budget of changes left"),
    Gate::new("cooldown", "has the target rested", limits::cooldown),
    Gate::new("limits", "is every sliding window free", limits::limits),
    Gate::new("approval", "has a person said yes, where one must", approval),
    Gate::new("target_lock", "does no other run hold the target", limits::target_lock),
];

/// What the gates look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sitting<'a> {
    pub(crate) incident: &'a Incident,
    pub(crate) run: &'a Run,
    pub(crate) plan: &'a Plan,
    pub(crate) engine: EngineMode,
    pub(crate) ledger: &'a Ledger,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Timestamp,
}

/// What a gate says: its numbers, and a verdict if it objects.
#[derive(Debug)]
pub(crate) struct Finding {
    note: String,
    objects: Option<Verdict>,
}

impl Finding {
    pub(crate) fn pass(note: impl Into<String>) -> Self {
        Self { note: note.into(), objects: None }
    }

    pub(crate) fn deny(note: impl Into<String>, reason: Reason) -> Self {
        Self { note: note.into(), objects: Some(Verdict::Deny { reason }) }
    }

    pub(crate) fn hold(note: impl Into<String>, reason: Reason, until: Timestamp) -> Self {
        Self { note: note.into(), objects: Some(Verdict::Hold { reason, until }) }
    }
}

/// Judges a plan. Pure: the same arguments give the same opinion.
#[must_use]
pub fn judge(request: &Request<'_>, ledger: &Ledger, policy: &Policy, now: Timestamp) -> Opinion {
    let Request { incident, engine } = *request;
    let Some((run, plan)) = incident.run.as_ref().and_then(|run| Some((run, &run.part()?.plan)))
    else {
        let verdict = Verdict::Deny { reason: Reason::EmptyTargets {} };
        return Opinion { verdict, authority: "none".to_owned(), gates: BTreeMap::new() };
    };
    let sitting = Sitting { incident, run, plan, engine, ledger, policy, now };
    let kind = match plan.kind {
        RunKind::Remedy => "remedy",
        RunKind::Return => RUN_RETURN,
    };
    let mut gates = BTreeMap::from([(RUN_GATE.to_owned(), kind.to_owned())]);
    let mut verdict = Verdict::Allow {};
    for gate in &GATES {
        let Some(check) = gate.check else { continue };
        let Finding { note, objects } = check(&sitting);
        gates.insert(gate.name.to_owned(), note);
        if let Some(objection) = objects {
            verdict = objection;
            break;
        }
    }
    Opinion { verdict, authority: sitting.authority(), gates }
}

impl<'a> Sitting<'a> {
    /// Whether a person must say yes to this plan.
    pub(crate) fn needs_approval(&self) -> bool {
        self.plan.writes() && (self.plan.mode == Mode::Approve || self.plan.class() == Class::D)
    }

    /// Who allowed exactly this plan, if anybody did.
    fn approved_by(&self) -> Option<&'a str> {
        // Hashing a plan costs more than all the gates together, and most plans ask nobody.
        let (plan, by) = self.incident.approved.as_ref()?;
        (*plan == self.plan.hash()).then_some(by)
    }

    fn authority(&self) -> String {
        match self.approved_by() {
            Some(by) if self.needs_approval() => format!("approved by {by}"),
            _ => {
                let Plan { rule, version, mode, .. } = self.plan;
                format!("rule {rule}@{} ({})", version.as_str(), mode.as_str())
            }
        }
    }

    /// What the plan writes to: where limits and protection look. Empty for a plan that only reads.
    pub(crate) fn written(&self) -> BTreeSet<&'a Target> {
        written(self.plan)
    }

    /// All that the run would hold.
    pub(crate) fn locks(&self) -> Vec<&'a Target> {
        locks(self.plan)
    }
}

/// All that a run of this plan holds: target, parents and whatever else its steps write to.
pub(crate) fn locks(plan: &Plan) -> Vec<&Target> {
    let mut all = vec![&plan.target];
    all.extend(&plan.parents);
    all.extend(written(plan));
    all.sort();
    all.dedup();
    all
}

/// The distinct targets of a plan's writing steps.
fn written(plan: &Plan) -> BTreeSet<&Target> {
    plan.steps.iter().filter(|step| step.class.writes()).map(|step| &step.target).collect()
}

/// All targets that a plan names.
pub(crate) fn named(plan: &Plan) -> Vec<&Target> {
    let mut all = vec![&plan.target];
    all.extend(&plan.parents);
    all.extend(plan.steps.iter().map(|step| &step.target));
    all
}

/// The time from `then` to `now` in whole seconds; none if `then` lies ahead.
pub(crate) fn since(then: Timestamp, now: Timestamp) -> Period {
    let passed = now.duration_since(then).max(SignedDuration::ZERO);
    Period::secs(passed.unsigned_abs().as_secs())
}

/// `at` + `period`, at most the end of time.
pub(crate) fn after(at: Timestamp, period: Period) -> Timestamp {
    at.saturating_add(period.duration()).unwrap_or(Timestamp::MAX)
}

fn staleness(cx: &Sitting<'_>) -> Finding {
    if cx.plan.kind == RunKind::Return {
        return Finding::pass("a return has no age");
    }
    if !cx.run.steps.is_empty() {
        return Finding::pass("the run has begun");
    }
    // A plan that was on time and then held, in bounds, has not become stale by waiting. One whose
    // hold ran out while nobody looked has: the engine was down, and the world has moved on.
    let held_until = match cx.run.part().and_then(|part| part.verdict.as_ref()) {
        Some(Verdict::Hold { until, .. }) => Some(after(*until, cx.policy.call_within)),
        Some(Verdict::Allow {} | Verdict::Deny { .. }) | None => None,
    };
    let asked_at = match (cx.incident.held_first, held_until) {
        (Some(first), Some(until)) if cx.now <= until => first,
        _ => cx.now,
    };
    let max_age = cx.plan.max_age;
    let changed_at = cx.incident.alarm.changed_at;
    let age = since(changed_at, asked_at);
    let note = format!("{age} old, at most {max_age}");
    // Compared to the fraction of a second, not by `age`, which is cut to whole ones.
    if asked_at > after(changed_at, max_age) {
        return Finding::deny(note, Reason::Stale { age, max_age });
    }
    Finding::pass(note)
}

fn resolved(cx: &Sitting<'_>) -> Finding {
    let state = cx.incident.alarm.state.as_str();
    let acted = cx.incident.run.as_ref().is_some_and(Run::has_acted);
    match (cx.plan.kind, cx.incident.alarm.state) {
        (RunKind::Remedy, AlarmState::Resolved) => {
            Finding::deny(state, Reason::ResolvedBeforeAct {})
        }
        (RunKind::Remedy, AlarmState::NoData) if !acted => Finding::deny(state, no_data()),
        (RunKind::Remedy, AlarmState::NoData | AlarmState::Firing)
        | (RunKind::Return, AlarmState::Resolved) => Finding::pass(state),
        (RunKind::Return, AlarmState::Firing | AlarmState::NoData) => {
            Finding::deny(state, not_clear(state))
        }
    }
}

/// Nobody knows whether there is anything to heal.
pub(crate) fn no_data() -> Reason {
    let detail = "the alarm has no data, so nobody knows whether it still fires".to_owned();
    Reason::PrecheckFailed { check: "alarm_firing".to_owned(), detail }
}

/// A lease is not given back while its alarm fires, or nobody knows.
pub(crate) fn not_clear(state: &str) -> Reason {
    let detail = format!("the alarm is `{state}` again, so the lease is not given back");
    Reason::PrecheckFailed { check: "alarm_clear".to_owned(), detail }
}

/// The pause that stops this plan, if any.
pub(crate) fn paused(ledger: &Ledger, plan: &Plan) -> Option<Reason> {
    let (scope, by, reason) = ledger.pause(&plan.rule, &named(plan))?;
    let [scope, by, reason] = [scope, by, reason].map(str::to_owned);
    Some(Reason::KillSwitch { scope, by, reason })
}

fn kill_switch(cx: &Sitting<'_>) -> Finding {
    match paused(cx.ledger, cx.plan) {
        Some(reason) => Finding::deny("paused", reason),
        None => Finding::pass(format!("none of {} pauses applies", cx.ledger.paused.len())),
    }
}

fn engine_mode(cx: &Sitting<'_>) -> Finding {
    match cx.engine {
        EngineMode::DryRun => Finding::deny("dry_run", Reason::DryRun {}),
        EngineMode::Live => Finding::pass("live"),
    }
}

fn rule_mode(cx: &Sitting<'_>) -> Finding {
    let mode = cx.plan.mode.as_str();
    match cx.plan.mode {
        Mode::Off => Finding::deny(mode, Reason::RuleOff {}),
        Mode::Shadow if cx.plan.writes() => Finding::deny(mode, Reason::Shadow {}),
        Mode::Shadow => Finding::pass("shadow, and it only reads"),
        Mode::Approve | Mode::Auto => Finding::pass(mode),
    }
}

fn targets(cx: &Sitting<'_>) -> Finding {
    if cx.plan.steps.is_empty() {
        return Finding::deny("no steps", Reason::EmptyTargets {});
    }
    if cx.plan.kind == RunKind::Return
        && let Some(reason) = not_the_lease(cx)
    {
        return Finding::deny("not the lease", reason);
    }
    let earlier = cx.run.steps.iter().map(|(step, _)| step);
    let earlier = earlier.filter(|step| step.class.writes()).map(|step| &step.target);
    let mut all = cx.written();
    if !all.is_empty() {
        all.extend(earlier);
    }
    let n = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let max =
        if cx.needs_approval() { cx.policy.targets_max_approved } else { cx.policy.targets_max };
    let note = format!("writes to {n}, at most {max}");
    if n > max {
        return Finding::deny(note, Reason::TooManyTargets { n, max });
    }
    Finding::pass(note)
}

/// A return skips the limits, so it may do nothing but give the lease back.
fn not_the_lease(cx: &Sitting<'_>) -> Option<Reason> {
    let fails = |detail: String| Some(Reason::PrecheckFailed { check: "lease".to_owned(), detail });
    let Some((lease, _)) = &cx.incident.lease else {
        return fails("no lease is out, so there is nothing to give back".to_owned());
    };
    let writes = cx.plan.steps.iter().filter(|step| step.class.writes());
    let mut other =
        writes.filter(|step| step.action != lease.action || step.target != lease.target);
    let step = other.next()?;
    fails(format!(
        "`{}` on `{}` is not the lease `{}` on `{}`",
        step.action, step.target, lease.action, lease.target
    ))
}

fn protected(cx: &Sitting<'_>) -> Finding {
    if !cx.plan.writes() {
        return Finding::pass("it only reads");
    }
    match protection(cx.plan, cx.policy) {
        Some(reason) => Finding::deny("protected", reason),
        None => {
            let n = cx.policy.itself.len() + cx.policy.protected.len();
            Finding::pass(format!("none of {n} applies"))
        }
    }
}

/// What forbids a plan to write to its targets, whatever anybody says.
pub(crate) fn protection(plan: &Plan, policy: &Policy) -> Option<Reason> {
    if !plan.writes() {
        return None;
    }
    let acted: Vec<_> = std::iter::once(&plan.target).chain(written(plan)).collect();
    let hit = |list: &[Target]| {
        list.iter().find_map(|kept| {
            // Acting on what contains it, or on what belongs to it, touches it.
            let target = acted.iter().find(|target| overlap(target, kept)).copied();
            let parent = || plan.parents.iter().find(|parent| within(parent, kept));
            target.or_else(parent).cloned()
        })
    };
    if let Some(target) = hit(&policy.itself) {
        return Some(Reason::SelfTarget { target });
    }
    hit(&policy.protected).map(|target| Reason::ProtectedTarget { target })
}

/// How long an approval of this plan may take, and how long it is good for.
pub(crate) fn approval_term(plan: &Plan, policy: &Policy) -> Period {
    match plan.class() {
        Class::D => policy.approval_d,
        Class::N | Class::A | Class::B | Class::C => policy.approval,
    }
}

fn approval(cx: &Sitting<'_>) -> Finding {
    if !cx.needs_approval() {
        return Finding::pass("not needed");
    }
    let hash = cx.plan.hash();
    let term = approval_term(cx.plan, cx.policy);
    if let Some((_, by)) = cx.incident.rejected.as_ref().filter(|(plan, _)| *plan == hash) {
        return Finding::deny("rejected", Reason::ApprovalRejected { by: by.clone() });
    }
    let expired = || Finding::deny("expired", Reason::ApprovalExpired { after: term });
    if let Some(by) = cx.approved_by() {
        let good = cx.incident.answered_at.is_some_and(|at| cx.now <= after(at, term));
        return if good { Finding::pass(format!("by {by}")) } else { expired() };
    }
    let asked = cx.incident.held().is_some_and(is_asking);
    let asked_at = cx.incident.held_since.filter(|_| asked).unwrap_or(cx.now);
    let until = after(asked_at, term);
    if cx.now >= until {
        return expired();
    }
    let now = hash.short();
    let reason = match &cx.incident.approved {
        Some((other, _)) => Reason::StalePlan { approved: other.short(), now },
        None => Reason::ApprovalMissing { plan: now, until },
    };
    Finding::hold(format!("asked, until {until}"), reason, until)
}

/// Whether a plan held for this reason waits for a person's answer.
pub(crate) fn is_asking(reason: &Reason) -> bool {
    matches!(reason, Reason::ApprovalMissing { .. } | Reason::StalePlan { .. })
}
