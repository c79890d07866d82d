//! Entries and incidents as people and programs read them.

use serde_json::{Value, json};
use untoil_health::TraceId;
use untoil_journal::{Journal, JournalError, load};
use untoil_model::{Body, Entry, Incident, IncidentId, Seq, StepOutcome, Stream, Verdict};
use untoil_notifier::team_words;

/// Entries of one incident that are shown; far more than any has.
const STORY_MAX: usize = 5_000;
/// Incidents looked up at a time.
const PAGE: usize = 200;
/// Most open incidents that are looked at; with more of them open, a list helps nobody.
const OPEN_MAX: usize = 10_000;
/// Longest line of an entry's details, in characters; the whole of it is in the JSON.
const DETAIL_MAX: usize = 300;

/// Incidents, newest first.
pub(crate) async fn incidents(
    journal: &dyn Journal,
    open: bool,
    limit: usize,
) -> Result<Vec<Incident>, JournalError> {
    if open {
        return open_incidents(journal, limit).await;
    }
    let mut found = Vec::new();
    let mut before: Option<IncidentId> = None;
    while found.len() < limit {
        let page = journal.incidents(before.as_ref(), limit.min(PAGE)).await?;
        let Some(last) = page.last().cloned() else { break };
        for id in page {
            if let Some(incident) = load(journal, &id).await?
                && found.len() < limit
            {
                found.push(incident);
            }
        }
        before = Some(last);
    }
    Ok(found)
}

/// Those that are open, newest first; what is closed is not looked at.
async fn open_incidents(
    journal: &dyn Journal,
    limit: usize,
) -> Result<Vec<Incident>, JournalError> {
    let mut ids: Vec<IncidentId> = Vec::new();
    while ids.len() < OPEN_MAX {
        let page = journal.open_incidents(ids.last(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        ids.extend(page);
    }
    let mut found = Vec::new();
    for id in ids.iter().rev().take(limit) {
        if let Some(incident) = load(journal, id).await?
            && !incident.is_closed()
        {
            found.push(incident);
        }
    }
    Ok(found)
}

/// Every entry of an incident.
pub(crate) async fn story(
    journal: &dyn Journal,
    id: &IncidentId,
) -> Result<Vec<Entry>, JournalError> {
    journal.read(&Stream::Incident(id.clone()), Seq::START, STORY_MAX).await
}

/// An incident in one object.
pub(crate) fn summary(incident: &Incident) -> Value {
    let past = incident.past.iter().map(|run| {
        json!({ "run": run.id, "kind": run.kind, "outcome": run.outcome, "acted": run.acted })
    });
    json!({
        "id": incident.id,
        "trace": TraceId::of(&incident.id).to_string(),
        "alarm": incident.alarm.name,
        "key": incident.alarm.key,
        "state": incident.alarm.state,
        "phase": incident.phase(),
        "ending": incident.ending(),
        "rule": incident.rule.as_ref().map(|(rule, _)| rule),
        "opened_at": incident.opened_at,
        "repeats": incident.repeats,
        "runs": past.collect::<Vec<_>>(),
        "denied": incident.denied.as_ref().map(ToString::to_string),
        "held": incident.held().map(ToString::to_string),
        "escalations": incident.escalations.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "lease": incident.lease.as_ref().map(|(lease, since)| {
            json!({ "target": lease.target, "before": lease.before, "after": lease.after, "since": since })
        }),
    })
}

/// An incident in one line.
pub(crate) fn incident_line(incident: &Incident) -> String {
    let ending = match (incident.ending(), &incident.denied, incident.past.last()) {
        (Some(ending), _, _) => word(&ending),
        (None, Some(reason), _) => format!("denied: {}", reason.code()),
        (None, None, Some(run)) => run.outcome.as_str().to_owned(),
        (None, None, None) => incident.phase().to_owned(),
    };
    let rule = incident.rule.as_ref().map_or("-", |(rule, _)| rule.as_str());
    let at = incident.opened_at.strftime("%Y-%m-%d %H:%M:%SZ");
    format!(
        "{}  {at}  {:<9} {:<26} {:<22} {}",
        incident.id,
        incident.phase(),
        ending,
        rule,
        clean(&incident.alarm.name)
    )
}

/// An entry in one object: its canonical text, with its hashes.
pub(crate) fn entry_json(entry: &Entry) -> Value {
    let mut value: Value = serde_json::from_str(&entry.text()).unwrap_or(Value::Null);
    if let Value::Object(map) = &mut value {
        map.insert("prev".into(), json!(entry.prev));
        map.insert("hash".into(), json!(entry.hash));
    }
    value
}

/// An entry in one line.
pub(crate) fn entry_line(entry: &Entry) -> String {
    let at = entry.at.strftime("%Y-%m-%d %H:%M:%S%.3fZ");
    let what = body(&entry.body);
    format!("{:>6}  {at}  {:<14} {}", entry.seq.0, entry.body.kind(), clean(&what))
}

/// What `why` says beneath an entry's line: gates with their numbers, facts, the marker to look for,
/// what the script printed.
pub(crate) fn entry_details(entry: &Entry) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    if let Body::Judged { gates, .. } = &entry.body {
        lines.extend(gates.iter().map(|(gate, says)| format!("{gate}: {says}")));
    }
    if let Body::FactsRead { facts, missing } = &entry.body {
        lines.extend(facts.iter().map(|(fact, value)| format!("{fact} = {}", json!(value))));
        lines.extend(missing.iter().map(|(fact, why)| format!("{fact} is missing: {why}")));
    }
    if let Body::Started { marker, .. } = &entry.body {
        lines.push(format!("marker {marker}"));
    }
    if let Body::Planned { printed, .. } | Body::RuleFailed { printed, .. } = &entry.body {
        lines.extend(printed.iter().map(|line| format!("printed: {line}")));
    }
    lines.iter().map(|line| format!("          {}", clean(&cut(line)))).collect()
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Text from outside, made harmless for a terminal: no control or direction characters.
pub(crate) fn clean(text: &str) -> String {
    let bidi = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || bidi(c) { ' ' } else { c }).collect()
}

/// What an entry says, in English and in short; the whole of it is in the JSON.
#[expect(
    clippy::too_many_lines,
    reason = "one line for each kind of entry; a table would hide which are missing"
)]
fn body(body: &Body) -> String {
    match body {
        Body::EngineStarted { version, mode, .. } => {
            format!("untoil {version} starts in {} mode", mode.as_str())
        }
        Body::EngineStopped {} => "stopped in order".to_owned(),
        Body::RuleLoaded { rule, version, mode } => format!("{rule}@{version} ({})", mode.as_str()),
        Body::RuleBroken { rule, error, kept } => match kept {
            Some(kept) => format!("{rule}: {error}; version {kept} goes on"),
            None => format!("{rule}: {error}"),
        },
        Body::RuleRemoved { rule } => rule.to_string(),
        Body::Paused { scope, reason } | Body::Resumed { scope, reason } => {
            format!("{scope}: {reason}")
        }
        Body::Received { delivery, bytes, .. } => format!("{delivery}, {bytes} bytes"),
        Body::Unreadable { delivery, why } => format!("{delivery}: {why}"),
        Body::Understood { delivery, what } => format!("{delivery}: {what}"),
        Body::Decoded { delivery, alarms } => format!("{delivery}: {alarms} alarm(s)"),
        Body::Opened { alarm, .. } => {
            let value = alarm.value.map(|value| format!(", value {value}")).unwrap_or_default();
            let said = alarm.severity.as_deref().into_iter().chain(team_words(alarm));
            let is = format!("{} is {}{value}", alarm.name, alarm.state.as_str());
            said.fold(is, |line, word| line + ", " + word)
        }
        Body::Observed { alarm, standing, .. } | Body::Looked { alarm, standing } => {
            format!("{} is {} ({})", alarm.name, alarm.state.as_str(), word(standing))
        }
        Body::Unmatched {} => "no rule answers it".to_owned(),
        Body::Matched { rule, version, passed } => match passed.as_slice() {
            [] => format!("{rule}@{version}"),
            others => format!("{rule}@{version}, before {} other(s)", others.len()),
        },
        Body::FactsRead { facts, missing } => {
            let names: Vec<&str> = facts.keys().map(String::as_str).collect();
            let gone: Vec<&str> = missing.keys().map(String::as_str).collect();
            format!("read: {}; missing: {}", list(&names), list(&gone))
        }
        Body::Planned { part, plan, .. } => {
            let steps: Vec<String> = plan
                .steps
                .iter()
                .map(|step| format!("{} on {}: {}", step.action, step.target, step.says))
                .collect();
            match steps.as_slice() {
                [] => format!("part {part}: nothing more to do"),
                steps => format!("part {part}: {}", steps.join("; ")),
            }
        }
        Body::RuleFailed { rule, error, .. } => format!("{rule}: {error}"),
        Body::Judged { verdict, authority, .. } => match verdict {
            Verdict::Allow {} => format!("allowed by {authority}"),
            Verdict::Hold { reason, until } => format!("held until {until}: {reason}"),
            Verdict::Deny { reason } => format!("denied ({}): {reason}", reason.code()),
        },
        Body::Approved { plan, note } => format!("plan {}: {note}", plan.short()),
        Body::Rejected { plan, note } => format!("plan {}: {note}", plan.short()),
        Body::Started { step, attempt, does, .. } => {
            format!(
                "step {}, try {attempt}: {} on {}: {}",
                step.step, does.action, does.target, does.says
            )
        }
        Body::Sent { step, handle, .. } => format!("step {}: accepted as {handle}", step.step),
        Body::Backoff { step, attempt, why, .. } => {
            format!("step {}, try {attempt} had no effect, once more later: {why}", step.step)
        }
        Body::Finished { step, outcome, .. } => match outcome {
            StepOutcome::Done { evidence } => format!("step {}: done {evidence}", step.step),
            StepOutcome::Refused { code, why } => {
                format!("step {}: refused ({code}) {why}", step.step)
            }
            StepOutcome::Unknown { why } => format!("step {}: unknown outcome: {why}", step.step),
        },
        Body::Concluded { outcome, why, .. } => match why {
            Some(why) => format!("{}: {why}", outcome.as_str()),
            None => outcome.as_str().to_owned(),
        },
        Body::LeaseDropped { target, reason } => format!("{target} is not given back: {reason}"),
        Body::Escalated { reason, mention } => match mention {
            Some(mention) => format!("to {mention}: {reason}"),
            None => reason.to_string(),
        },
        Body::Closed { ending } => word(ending),
        Body::Archived { first, last, file, .. } => {
            format!("entries {first} to {last} are in the file {file}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_teams_own_words_stand_beside_the_alarm() {
        let alarm = json!({
            "key": "k", "source": "cloudwatch", "name": "[P1] card-api", "state": "firing",
            "changed_at": "2026-11-02T03:04:05Z", "severity": "critical", "value": 7.5,
            "labels": { "owner": "cards", "environment": "prod", "team": "a" }
        });
        let alarm = std::sync::Arc::new(serde_json::from_value(alarm).unwrap());
        let source = "sns".parse().unwrap();
        let delivery = untoil_model::DeliveryId { source, message: "m".into() };
        let opened = Body::Opened { delivery, alarm, skewed_from: None };
        assert_eq!(body(&opened), "[P1] card-api is firing, value 7.5, critical, prod, cards");
    }

    #[test]
    fn details_are_cut_when_long_and_harmless_for_a_terminal() {
        let rule = "disk-full".parse().unwrap();
        let printed = vec!["a".repeat(1_000), "\u{1b}[2J".to_owned()];
        let body = Body::RuleFailed { rule, error: "x".into(), printed };
        let actor = untoil_model::Actor::Engine("untoil-1".into());
        let draft = untoil_model::Draft::new(jiff::Timestamp::UNIX_EPOCH, actor, body);
        let (entry, _) = Entry::seal(draft, Seq(1), untoil_model::Hash::GENESIS);
        let lines = entry_details(&entry);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("a…") && lines[0].chars().count() < DETAIL_MAX + 20);
        assert_eq!(lines[1].trim(), "printed:  [2J");
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor_or_turn_lines_round() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}c\n디스크"), "a [2Jb c 디스크");
    }
}
