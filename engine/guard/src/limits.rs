//! Rest, sliding windows and locks: the gates that look at what was allowed before.

use jiff::Timestamp;
use untoil_model::{Period, Rate, Reason, RunId, RunKind, RunOutcome};

use crate::gates::{Finding, Sitting, after};
use crate::ledger::{Counted, LOOK_BACK};

/// The longest rest that doubling leads to.
const REST_MAX: Period = Period::hours(24);

/// Whether this run's place in the limits was given by an earlier part, or is not needed.
fn counted_already(cx: &Sitting<'_>) -> Option<&'static str> {
    if cx.plan.kind == RunKind::Return {
        return Some("a return is not counted");
    }
    let reserved = cx.ledger.runs.get(&cx.run.id)?;
    if cx.plan.writes() {
        reserved.writes_at.map(|_| "counted with an earlier part")
    } else {
        Some("counted with an earlier part")
    }
}

/// Rest after the end of a run: the rule's own on the target, doubled by each that did not help, and
/// a short one after any rule's run there.
pub(crate) fn cooldown(cx: &Sitting<'_>) -> Finding {
    if !cx.plan.writes() {
        return Finding::pass("it only reads");
    }
    if let Some(why) = counted_already(cx) {
        return Finding::pass(why);
    }
    let target = &cx.plan.target;
    let mut over = cx.ledger.over(&cx.plan.rule, target).peekable();
    let last = over.peek().and_then(|run| Some((run.ended?.0, run.run.clone())));
    let failed = over
        .take_while(|run| run.ended.is_none_or(|(_, how)| how != RunOutcome::Effective))
        // A run that was let go before it acted, or of which nobody can tell, proves nothing.
        .filter(|run| run.ended.is_none_or(|(_, how)| how != RunOutcome::Inconclusive))
        // 2^17 s is more than `REST_MAX`: further doubling changes nothing.
        .take(17)
        .count();
    let own = doubled(cx.plan.limits.cooldown, failed);
    if let Some((at, last)) = last {
        let until = after(at, own);
        if cx.now < until {
            let note = format!("rests {own} after {failed} that did not help");
            return Finding::deny(note, Reason::Cooldown { target: target.clone(), until, last });
        }
    }
    let since = cx.now.saturating_sub(cx.policy.rest.duration()).unwrap_or(Timestamp::MIN);
    let mut acted: Vec<_> = cx.written().into_iter().collect();
    acted.push(target);
    if let Some((at, last)) = cx.ledger.rest(&acted, since) {
        let until = after(at, cx.policy.rest);
        let note = format!("rests {} after any run", cx.policy.rest);
        return Finding::deny(note, Reason::Cooldown { target: target.clone(), until, last });
    }
    Finding::pass(format!("{own} after {failed} that did not help, {} after any", cx.policy.rest))
}

/// `base` doubled `n` times, at most a day; a longer `base` stays as it is.
fn doubled(base: Period, n: usize) -> Period {
    let secs = (0..n).fold(base.as_secs(), |secs, _| secs.saturating_mul(2));
    Period::secs(secs.min(REST_MAX.as_secs()).max(base.as_secs()))
}

/// A window that is full.
struct Full {
    used: u32,
    runs: Vec<RunId>,
    next_at: Timestamp,
}

/// Every sliding window that the run would count in.
pub(crate) fn limits(cx: &Sitting<'_>) -> Finding {
    if let Some(why) = counted_already(cx) {
        return Finding::pass(why);
    }
    let rates = if cx.plan.writes() { &cx.policy.global } else { &cx.policy.diagnoses };
    let own = [cx.plan.limits.target, cx.plan.limits.rule];
    let all = rates.iter().chain(own.iter().filter(|_| cx.plan.writes()));
    if let Some(long) = all.into_iter().find(|rate| rate.per > LOOK_BACK) {
        let why =
            format!("`{long}` looks back further than {LOOK_BACK}, which is all that is kept");
        let reason = Reason::ParamInvalid { param: "limits".to_owned(), why };
        return Finding::deny("too long a window", reason);
    }
    let mut notes = Vec::new();
    if cx.plan.writes() {
        let (rule, target) = (&cx.plan.rule, &cx.plan.target);
        let [limit, rule_limit] = own;
        if let Some(Full { used, runs, next_at }) =
            full(cx, Counted::Target(rule, target), limit, &mut notes)
        {
            let target = target.clone();
            let reason = Reason::LimitTarget { target, limit, used, runs, next_at };
            return Finding::deny(notes.join(", "), reason);
        }
        let limit = rule_limit;
        if let Some(Full { used, runs, next_at }) = full(cx, Counted::Rule(rule), limit, &mut notes)
        {
            let reason = Reason::LimitRule { limit, used, runs, next_at };
            return Finding::deny(notes.join(", "), reason);
        }
    }
    let counted = if cx.plan.writes() { Counted::Global } else { Counted::Diagnoses };
    for limit in rates.iter().copied() {
        if let Some(Full { used, runs, next_at }) = full(cx, counted, limit, &mut notes) {
            let reason = Reason::LimitGlobal { limit, used, runs, next_at };
            return Finding::deny(notes.join(", "), reason);
        }
    }
    Finding::pass(notes.join(", "))
}

fn full(
    cx: &Sitting<'_>,
    counted: Counted<'_>,
    limit: Rate,
    notes: &mut Vec<String>,
) -> Option<Full> {
    let window = cx.ledger.window(counted, limit.per, cx.now);
    let used = u32::try_from(window.count()).unwrap_or(u32::MAX);
    let what = match counted {
        Counted::Target(..) => "target",
        Counted::Rule(_) => "rule",
        Counted::Global => "global",
        Counted::Diagnoses => "diagnoses",
    };
    notes.push(format!("{what} {used} of {limit}"));
    if used < limit.n {
        return None;
    }
    // There is room again once all but `n` - 1 have left the window.
    let last_out = usize::try_from(used - limit.n).unwrap_or(usize::MAX);
    let last_out = window.moments().nth(last_out);
    let next_at = last_out.map_or(Timestamp::MAX, |(at, _)| after(*at, limit.per));
    Some(Full { used, runs: window.moments().map(|(_, run)| run.clone()).collect(), next_at })
}

/// One writing run per target and whatever it belongs to.
pub(crate) fn target_lock(cx: &Sitting<'_>) -> Finding {
    if !cx.plan.writes() {
        return Finding::pass("it only reads");
    }
    let Some((target, holder)) = cx.ledger.holder(&cx.run.id, &cx.locks()) else {
        return Finding::pass("free");
    };
    let reason = Reason::TargetBusy { target: target.clone(), holder: holder.clone() };
    let waiting = cx.incident.held().is_some_and(|held| matches!(held, Reason::TargetBusy { .. }));
    let since = cx.incident.held_since.filter(|_| waiting).unwrap_or(cx.now);
    let until = after(since, cx.policy.busy_wait);
    if cx.now >= until {
        return Finding::deny(format!("waited {}", cx.policy.busy_wait), reason);
    }
    Finding::hold(format!("waits since {since}"), reason, until)
}
