//! A journal as text: when, what, and the facts that matter.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use untoil_model::{Alarm, Body, Entry, Reason, StepOutcome, Verdict};

/// One line for each entry. Incidents are called `A`, `B`, … and plans by their incident.
pub(crate) fn tell(entries: &[Entry], start: Timestamp) -> String {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut plans: BTreeMap<String, String> = BTreeMap::new();
    let mut text = String::new();
    for entry in entries {
        if let Body::Opened { .. } = entry.body
            && let Some(id) = &entry.incident
        {
            let letter = char::from(b'A' + u8::try_from(names.len()).unwrap());
            names.entry(id.to_string()).or_insert_with(|| letter.into());
        }
        if let Body::Planned { plan, .. } = &entry.body {
            plans.insert(plan.hash().to_string()[..12].to_owned(), "PLAN".into());
        }
        let of = entry.incident.as_ref().map_or("-", |id| names[&id.to_string()].as_str());
        let line =
            format!("{} {of} {} {}", since(entry.at, start), entry.body.kind(), facts(entry));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (long, short) in names.iter().chain(&plans) {
        text = text.replace(long, short);
    }
    text
}

fn since(at: Timestamp, start: Timestamp) -> String {
    let secs = at.duration_since(start).max(SignedDuration::ZERO).as_secs();
    format!("{:02}:{:02}", secs / 60, secs % 60)
}

fn alarm(alarm: &Alarm) -> String {
    let value = alarm.value.map(|value| format!(" at {value}")).unwrap_or_default();
    format!("{} is {}{value}", alarm.name, alarm.state.as_str())
}

fn outcome(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::Done { evidence } => {
            let code = evidence.get("code").and_then(|code| code.as_str());
            format!("done {}", code.map_or_else(|| evidence.to_string(), str::to_owned))
        }
        StepOutcome::Refused { code, why } => format!("refused {code}: {why}"),
        StepOutcome::Unknown { why } => format!("unknown: {why}"),
    }
}

fn verdict(verdict: &Verdict, start: impl Fn(Timestamp) -> String) -> String {
    match verdict {
        Verdict::Allow {} => "allow".into(),
        Verdict::Hold { reason, until } => {
            format!("hold until {}: {}", start(*until), words(reason))
        }
        Verdict::Deny { reason } => format!("deny: {}", words(reason)),
    }
}

fn words(reason: &Reason) -> String {
    format!("{} ({reason})", reason.code())
}

fn facts(entry: &Entry) -> String {
    match &entry.body {
        Body::Received { delivery, .. } | Body::Decoded { delivery, .. } => delivery.to_string(),
        Body::Unreadable { delivery, why } => format!("{delivery}: {why}"),
        Body::Understood { delivery, what } => format!("{delivery}: {what}"),
        Body::Opened { alarm: a, .. } => alarm(a),
        Body::Observed { alarm: a, standing, .. } | Body::Looked { alarm: a, standing } => {
            format!("{}, {standing:?}", alarm(a))
        }
        Body::Matched { rule, .. } => rule.to_string(),
        Body::FactsRead { facts, missing } => {
            let read = facts.keys().cloned().collect::<Vec<_>>().join(" ");
            missing.iter().fold(read, |text, (name, why)| format!("{text} without {name}: {why}"))
        }
        Body::Planned { run, part, plan, .. } => {
            let steps: Vec<_> =
                plan.steps.iter().map(|s| format!("{} {}", s.action, s.says)).collect();
            format!("{run} part {part}: {}", steps.join("; "))
        }
        Body::RuleFailed { error, printed, .. } => format!("{error}; printed {printed:?}"),
        Body::Judged { verdict: said, .. } => {
            verdict(said, |at| at.strftime("%H:%M:%S").to_string())
        }
        Body::Approved { .. } | Body::Rejected { .. } => format!("by {}", entry.actor),
        Body::Started { marker, .. } => marker.clone(),
        Body::Sent { .. } => String::new(),
        Body::Backoff { why, .. } => why.clone(),
        Body::Finished { outcome: how, .. } => outcome(how),
        Body::Concluded { outcome, why, .. } => {
            format!(
                "{}{}",
                outcome.as_str(),
                why.as_ref().map(|why| format!(": {}", why.code())).unwrap_or_default()
            )
        }
        Body::LeaseDropped { target, reason } => format!("{target}: {}", reason.code()),
        Body::Escalated { reason, mention } => {
            format!("{} → {}", words(reason), mention.as_deref().unwrap_or("nobody"))
        }
        Body::Closed { ending } => format!("{ending:?}"),
        Body::Paused { scope, .. } | Body::Resumed { scope, .. } => {
            format!("{scope} by {}", entry.actor)
        }
        Body::Unmatched {}
        | Body::EngineStarted { .. }
        | Body::EngineStopped {}
        | Body::RuleLoaded { .. }
        | Body::RuleBroken { .. }
        | Body::RuleRemoved { .. }
        | Body::Archived { .. } => String::new(),
    }
}
