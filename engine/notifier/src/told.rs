//! The single replies of a thread: one function for each thing there is to tell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use untoil_model::{
    Actor, Alarm, Ending, Facts, Hash, IncidentId, Plan, Reason, RuleName, RunKind, RunOutcome,
    Sample, Step, StepOutcome, Target,
};

use crate::escape::{clean, cut};
use crate::voice::say;
use crate::{Story, Text, Voice, words};

/// Facts shown in a reply; the journal has them all.
const FACTS_SHOWN: usize = 12;
/// Steps of a plan shown in a reply.
const STEPS_SHOWN: usize = 12;
/// Samples of a verification shown in a reply: the newest.
const SAMPLES_SHOWN: usize = 6;
/// Output of a step shown in a reply.
const OUTPUT_UNITS_MAX: usize = 1_500;
/// One line of a fact or of a step's numbers.
const LINE_UNITS_MAX: usize = 400;
/// Of a rule's own words: as many as an action may carry.
const SAID_UNITS_MAX: usize = 2_000;

/// A reply before it has its place.
pub(crate) struct Told {
    pub(crate) headline: Text,
    pub(crate) body: Vec<Text>,
}

/// Whether the thread has just said the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Already,
    NotYet,
}

/// A hold.
pub(crate) struct Held<'a> {
    pub(crate) reason: &'a Reason,
    pub(crate) until: Timestamp,
}

fn told(emoji: &str, title: &str, body: Vec<Text>) -> Told {
    let headline = Text::new().words(format!("{emoji} ")).bold(title);
    Told { headline, body: body.into_iter().filter(|text| !text.is_empty()).collect() }
}

fn line(text: impl AsRef<str>) -> Text {
    Text::new().words(text)
}

/// Lines of one paragraph.
fn lines(lines: impl IntoIterator<Item = Text>) -> Text {
    let mut out = Text::new();
    for (n, line) in lines.into_iter().enumerate() {
        out = if n == 0 { line } else { out.line().then(line) };
    }
    out
}

/// The alarm in one line: its value against its threshold, or its state.
pub(crate) fn first_sight(voice: &Voice, alarm: &Alarm) -> String {
    let metric = alarm.metric.as_deref().map(words::quote).unwrap_or_default();
    match (alarm.value, alarm.threshold) {
        (Some(value), Some(threshold)) => {
            let (value, threshold) = (words::number(value), words::number(threshold));
            say!(
                voice.language,
                "{metric} 값 {value} (기준 {threshold})",
                "{metric} is {value} (threshold {threshold})"
            )
        }
        (Some(value), None) => {
            let value = words::number(value);
            say!(voice.language, "{metric} 값 {value}", "{metric} is {value}")
        }
        (None, _) if !alarm.reason.is_empty() => words::quote(&alarm.reason),
        (None, _) => words::state(voice, alarm.state).to_owned(),
    }
}

pub(crate) fn evidence(voice: &Voice, alarm: &Alarm, skewed_from: Option<Timestamp>) -> Told {
    let l = voice.language;
    let mut rows = vec![line(first_sight(voice, alarm))];
    let changed = voice.time(alarm.changed_at);
    let (source, state) = (&alarm.source, words::state(voice, alarm.state));
    rows.push(line(say!(l, "{source} · {state} {changed}", "{source} · {state} {changed}")));
    if let Some(claimed) = skewed_from {
        let claimed = voice.time(claimed);
        rows.push(line(say!(
            l,
            "보낸 쪽이 알린 시각은 {claimed}, 수신 시각 사용",
            "its sender says {claimed}; the time of receipt is used"
        )));
    }
    let place = alarm.namespace.iter().chain(&alarm.region).chain(&alarm.account);
    let place: Vec<_> = place.map(|text| words::quote(text)).collect();
    if !place.is_empty() {
        rows.push(line(place.join(" · ")));
    }
    let dimensions: Vec<_> = alarm
        .dimensions
        .iter()
        .take(FACTS_SHOWN)
        .map(|(name, value)| format!("{} {}", words::quote(name), words::quote(value)))
        .collect();
    rows.push(line(dimensions.join(", ")));
    let mut body = vec![lines(rows.into_iter().filter(|row| !row.plain().is_empty()))];
    // With a value the first line is that value; the sender's own words are further evidence.
    if alarm.value.is_some() && !alarm.reason.is_empty() {
        body.push(line("“").words(cut(&clean(&alarm.reason), OUTPUT_UNITS_MAX)).words("”"));
    }
    if !alarm.description.is_empty() {
        let title = l.pick("작성자 설명: ", "Its author says: ");
        body.push(line(title).words(cut(&clean(&alarm.description), OUTPUT_UNITS_MAX)));
    }
    told("🔎", l.pick("무엇을 봤나", "What was seen"), body)
}

pub(crate) fn cleared(voice: &Voice, alarm: &Alarm) -> Told {
    let l = voice.language;
    told("🔔", l.pick("알람 해제", "The alarm cleared"), vec![line(said_of(voice, alarm))])
}

pub(crate) fn lost(voice: &Voice, alarm: &Alarm) -> Told {
    let l = voice.language;
    let body = l.pick("데이터 없음은 해결이 아님", "no data is not success");
    told(
        "❔",
        l.pick("알람 데이터 없음", "The alarm has no data"),
        vec![line(said_of(voice, alarm)), line(body)],
    )
}

fn said_of(voice: &Voice, alarm: &Alarm) -> String {
    let changed = voice.time(alarm.changed_at);
    let sight = first_sight(voice, alarm);
    format!("{sight} · {changed}")
}

pub(crate) fn unmatched(voice: &Voice) -> Told {
    let l = voice.language;
    let body = line(l.pick("아무 조치 없음. 규칙 작성: ", "nothing is done. Write a rule: "))
        .code("docs/rules.md");
    told("🤷", l.pick("맞는 규칙 없음", "No rule answers"), vec![body])
}

pub(crate) fn facts(voice: &Voice, facts: &Facts, missing: &BTreeMap<String, String>) -> Told {
    let l = voice.language;
    let rows = facts.iter().take(FACTS_SHOWN).map(|(name, fact)| {
        let text = cut(&clean(&words::value(&fact.value)), LINE_UNITS_MAX);
        let source = words::quote(&fact.source);
        Text::new().words("• ").bold(words::quote(name)).words(format!(": {text} ({source})"))
    });
    let gone = missing.iter().take(FACTS_SHOWN).map(|(name, why)| {
        let (name, why) = (words::quote(name), words::quote(why));
        line(say!(l, "⚠️ 확인 불가 {name}: {why}", "⚠️ not read, {name}: {why}"))
    });
    told("📋", l.pick("확인한 사실", "Facts read"), vec![lines(rows.chain(gone))])
}

/// A step in one line.
pub(crate) fn step_line(step: &Step) -> String {
    let (action, target) = (&step.action, &step.target);
    if step.says.is_empty() {
        format!("{action} · {target}")
    } else {
        format!("{action} · {target} · {}", words::quote(&step.says))
    }
}

/// A step without its target, where that is said already.
pub(crate) fn step_says(step: &Step) -> String {
    let says = if step.says.is_empty() { step.action.as_str() } else { &step.says };
    words::quote(says)
}

pub(crate) fn plan(voice: &Voice, plan: &Plan, part: u32) -> Told {
    let l = voice.language;
    if plan.steps.is_empty() {
        let text = if part == 0 {
            l.pick("규칙 판단: 할 일 없음", "the rule sees nothing to do")
        } else {
            l.pick("규칙 판단: 더 할 일 없음", "the rule sees nothing more to do")
        };
        return told("📝", l.pick("계획 없음", "No plan"), vec![line(text)]);
    }
    let title = match (plan.kind, part) {
        (RunKind::Return, _) => l.pick("임시 변경 되돌리기", "Giving the temporary change back"),
        (RunKind::Remedy, 0) => l.pick("무엇을 하려는가", "What it is going to do"),
        (RunKind::Remedy, _) => l.pick("다음에 무엇을 하려는가", "What it is going to do next"),
    };
    let steps = plan.steps.iter().take(STEPS_SHOWN).enumerate().map(|(n, step)| {
        let mut row = line(format!("{}. {}", n + 1, step_line(step)));
        if step.after > untoil_model::Period::ZERO {
            let after = voice.period(step.after);
            row = row.words(say!(l, " ({after} 후)", " (after {after})"));
        }
        if let Some(lease) = &step.lease {
            let (before, term) = (lease.before, voice.period(lease.term));
            row = row.words(say!(
                l,
                " (임시: 최대 {term}, 이후 {before})",
                " (on loan: {term} at most, then back to {before})"
            ));
        }
        row
    });
    let mut rows: Vec<Text> = steps.collect();
    let more = plan.steps.len().saturating_sub(STEPS_SHOWN);
    if more > 0 {
        rows.push(line(say!(l, "… {more}단계 더", "… and {more} more steps")));
    }
    let (class, mode) = (words::class(voice, plan.class()), words::mode(voice, plan.mode));
    let limits = &plan.limits;
    let (tn, tp) = (limits.target.n, voice.period(limits.target.per));
    let (rn, rp, rest) =
        (limits.rule.n, voice.period(limits.rule.per), voice.period(limits.cooldown));
    let verify = words::verify(voice, plan.verify);
    let terms = lines([
        line(say!(l, "{class} · 모드 {mode}", "{class} · mode {mode}")),
        line(say!(
            l,
            "한도: 대상 {tp} {tn}회, 규칙 {rp} {rn}회, 쿨다운 {rest}",
            "Limits: {tn} per {tp} on the target, {rn} per {rp} for the rule, {rest} of rest"
        )),
        line(say!(l, "성공 기준: {verify}", "Success: {verify}")),
    ]);
    told("📝", title, vec![lines(rows), terms])
}

pub(crate) fn rule_failed(voice: &Voice, rule: &RuleName, error: &str) -> Told {
    let l = voice.language;
    let title = l.pick("규칙 스크립트 실패", "The rule's script failed");
    told("💥", title, vec![Text::new().code(rule.as_str()).fence(cut(error, OUTPUT_UNITS_MAX))])
}

pub(crate) fn allowed(voice: &Voice, rule: &RuleName, version: &str, authority: &str) -> Told {
    let l = voice.language;
    let mut by =
        line(l.pick("근거: 규칙 ", "By rule ")).code(rule.as_str()).words(format!(" {version}"));
    if !authority.is_empty() {
        by = by.words(" · ").words(words::quote(authority));
    }
    told("▶️", l.pick("허용", "Allowed"), vec![by])
}

pub(crate) fn denied(voice: &Voice, reason: &Reason) -> Told {
    let l = voice.language;
    let code = reason.code();
    let emoji = if reason.escalates() { "⛔" } else { "⚪" };
    told(
        emoji,
        l.pick("조치하지 않음", "Not done"),
        vec![line(words::reason(voice, reason)).words(" · ").code(code)],
    )
}

pub(crate) fn held(voice: &Voice, held: &Held<'_>, id: &IncidentId) -> Told {
    let l = voice.language;
    let reason = line(words::reason(voice, held.reason));
    if let Reason::ApprovalMissing { plan, .. } = held.reason {
        let body = vec![reason, how_to_answer(voice, id, plan)];
        return told("✋", l.pick("승인 필요", "Approval needed"), body);
    }
    let until = voice.time(held.until);
    let next = say!(l, "늦어도 {until} 다시 판단", "judged again by {until}");
    told(
        "⏸️",
        l.pick("대기", "Not yet"),
        vec![reason.words(" · ").code(held.reason.code()), line(next)],
    )
}

/// How a person answers a held plan. Buttons come with another issue.
pub(crate) fn how_to_answer(voice: &Voice, id: &IncidentId, plan: &str) -> Text {
    let l = voice.language;
    // The plan's number binds the answer to what was read here.
    let plan = words::short(plan);
    let yes = line(l.pick("승인 ", "Yes: ")).code(format!("untoil approve {id} --plan {plan}"));
    yes.words(l.pick(" · 거절 ", " · no: ")).code(format!("untoil reject {id}"))
}

pub(crate) fn answered(voice: &Voice, by: &Actor, plan: Hash, note: &str, emoji: &str) -> Told {
    let l = voice.language;
    let who = match by {
        Actor::Human(name) | Actor::Engine(name) | Actor::Sender(name) => words::quote(name),
    };
    let title = match emoji {
        "👍" => say!(l, "승인: {who}", "Approved by {who}"),
        _ => say!(l, "거절: {who}", "Rejected by {who}"),
    };
    let hash = plan.short();
    let plan = line(l.pick("계획 ", "plan ")).code(hash);
    let note = if note.trim().is_empty() {
        Text::new()
    } else {
        line(format!("“{}”", words::quote(note)))
    };
    told(emoji, &title, vec![plan, note])
}

pub(crate) fn result(
    voice: &Voice,
    does: &Step,
    outcome: &StepOutcome,
    took: Option<String>,
) -> Told {
    let l = voice.language;
    let mut what = line(step_line(does));
    if let Some(took) = took {
        what = what.words(say!(l, " · 소요 {took}", " · took {took}"));
    }
    match outcome {
        // The thread is where a rule's words are said; until now only the journal had them.
        StepOutcome::Done { .. } if does.action.as_str() == "slack.message" => {
            let text = does.params.get("text").and_then(Value::as_str).unwrap_or(&does.says);
            let body = vec![line(cut(&clean(text), SAID_UNITS_MAX))];
            told("💬", l.pick("규칙의 말", "The rule says"), body)
        }
        StepOutcome::Done { evidence } => {
            let mut body = vec![what];
            body.extend(numbers(evidence));
            told("☑️", l.pick("실행 결과: 완료", "Result: done"), body)
        }
        StepOutcome::Refused { code, why } => {
            let body = vec![
                what,
                Text::new().code(words::quote(code)).words(" ").words(words::quote(why)),
            ];
            told("❌", l.pick("실행 결과: 거부됨", "Result: refused"), body)
        }
        StepOutcome::Unknown { why } => {
            let body = vec![what, line(words::quote(why))];
            told("❔", l.pick("실행 결과: 알 수 없음", "Result: nobody can tell"), body)
        }
    }
}

/// What a step answered: short values in a line, output in a fence.
fn numbers(evidence: &Value) -> Vec<Text> {
    let mut short = Vec::new();
    let mut long = Vec::new();
    match evidence {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Null => {}
                    Value::String(text) if text.trim().contains('\n') => long.push(text.as_str()),
                    Value::String(_)
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_) => short.push(format!("{name} {}", words::value(value))),
                }
            }
        }
        Value::String(text) => long.push(text.as_str()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => short.push(words::value(evidence)),
    }
    let mut body = Vec::new();
    if !short.is_empty() {
        body.push(line(cut(&clean(&short.join(" · ")), LINE_UNITS_MAX * 2)));
    }
    body.extend(
        long.into_iter().take(2).map(|text| Text::new().fence(cut(text, OUTPUT_UNITS_MAX))),
    );
    body
}

pub(crate) fn verification(
    voice: &Voice,
    outcome: RunOutcome,
    why: Option<&Reason>,
    samples: &[Sample],
) -> Told {
    let l = voice.language;
    let (emoji, word) = words::outcome(voice, outcome);
    let title = say!(l, "확인 결과: {word}", "Verification: {word}");
    let newest = samples.iter().skip(samples.len().saturating_sub(SAMPLES_SHOWN));
    let rows = newest.map(|sample| {
        let (at, what, saw) =
            (voice.time(sample.at), words::quote(&sample.what), words::quote(&sample.saw));
        line(format!("{at} · {what}: {saw}"))
    });
    let why = why.map(|reason| line(words::reason(voice, reason))).unwrap_or_default();
    told(emoji, &title, vec![why, lines(rows)])
}

pub(crate) fn lease_dropped(voice: &Voice, target: &Target, reason: &Reason) -> Told {
    let l = voice.language;
    let title =
        l.pick("임시 변경: 자동으로 되돌리지 않음", "The temporary change is not given back");
    told("🪝", title, vec![line(target.as_str()), line(words::reason(voice, reason))])
}

pub(crate) fn escalation(
    voice: &Voice,
    reason: &Reason,
    mention: Option<&str>,
    said: Said,
) -> Told {
    let l = voice.language;
    let mut first = Text::new();
    if let Some(name) = mention {
        first = first.mention(name, voice.mentions.get(name)).words(" ");
    }
    first = match said {
        Said::NotYet => first.words(words::reason(voice, reason)),
        Said::Already => first.code(reason.code()),
    };
    let title = l.pick("사람이 필요합니다", "A person is needed");
    told("🚨", title, vec![first, line(words::advice(voice, reason))])
}

pub(crate) fn summary(voice: &Voice, story: &Story, ending: Ending, at: Timestamp) -> Told {
    let l = voice.language;
    let how = words::ending(voice, ending);
    let took = voice.between(story.incident.opened_at, at);
    let mut rows = vec![line(say!(l, "지속 시간 {took}", "It lasted {took}"))];
    if story.done.is_empty() {
        rows.push(line(l.pick("조치 없음", "Nothing was changed")));
    }
    rows.extend(story.done.iter().map(|act| line(say!(l, "한 일: {act}", "Done: {act}"))));
    let calls = story.incident.escalations.len();
    if calls > 0 {
        rows.push(line(say!(l, "사람 호출 {calls}회", "People were called {calls} times")));
    }
    rows.push(
        line(l.pick("왜 그랬는지: ", "Why: ")).code(format!("untoil why {}", story.incident.id)),
    );
    told("🏁", &say!(l, "종료: {how}", "Closed: {how}"), vec![lines(rows)])
}
