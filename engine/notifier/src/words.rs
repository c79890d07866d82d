//! The words for what the engine has reasons, outcomes and endings for. Every variant has both languages.
//!
//! Korean sentences end in nouns, so that no particle has to fit a name that is put in.

use serde_json::Value;
use untoil_model::{
    AlarmState, Class, Ending, EngineMode, Mode, Reason, RunId, RunOutcome, Verify,
};

use crate::Voice;
use crate::escape::{clean, cut};
use crate::voice::say;

/// Runs that are named where many fill a limit.
const RUNS_NAMED: usize = 3;
/// Of a foreign text within a sentence: the whole is in the journal.
pub(crate) const QUOTE_UNITS_MAX: usize = 300;

/// The reason as a sentence, with the number that caused it.
#[expect(
    clippy::too_many_lines,
    reason = "one arm per reason; a table cut in two is harder to check"
)]
pub(crate) fn reason(voice: &Voice, reason: &Reason) -> String {
    let l = voice.language;
    match reason {
        Reason::Stale { age, max_age } => {
            let (age, max) = (voice.period(*age), voice.period(*max_age));
            say!(
                l,
                "지연 수신: 알람 변경 후 {age} 지남 (허용 {max})",
                "received late: the alarm changed {age} ago, {max} is allowed"
            )
        }
        Reason::ResolvedBeforeAct {} => l
            .pick("조치 전에 알람이 스스로 해제됨", "the alarm cleared before anything was done")
            .into(),
        Reason::KillSwitch { scope, by, reason } => {
            let (scope, by, why) = (quote(scope), quote(by), quote(reason));
            say!(
                l,
                "일시 정지 중: 범위 {scope}, 요청자 {by}, 사유 “{why}”",
                "paused: scope {scope}, by {by}, because “{why}”"
            )
        }
        Reason::DryRun {} => l
            .pick("엔진 dry_run 모드: 쓰기 없음", "the engine is in dry_run: it cannot write")
            .into(),
        Reason::Shadow {} => l
            .pick("규칙 shadow 모드: 계획만 기록", "the rule is in shadow: it only shows its plan")
            .into(),
        Reason::RuleOff {} => l.pick("규칙 꺼짐", "the rule is off").into(),
        Reason::ProtectedTarget { target } => {
            say!(l, "보호 대상: {target}", "{target} is protected")
        }
        Reason::SelfTarget { target } => {
            say!(
                l,
                "엔진 자신이 있는 대상: {target}",
                "{target} is, or contains, the engine itself"
            )
        }
        Reason::EmptyTargets {} => l
            .pick(
                "대상 없음: 빈 목록은 전체를 뜻하지 않음",
                "the plan names no target: an empty list is never “all”",
            )
            .into(),
        Reason::TooManyTargets { n, max } => {
            say!(
                l,
                "대상 수 초과: {n}개 (한 번에 최대 {max}개)",
                "too many targets: {n}, one run may act on {max}"
            )
        }
        Reason::Cooldown { target, until, last } => {
            let until = voice.time(*until);
            say!(
                l,
                "쿨다운 중: {target}, 기한 {until} (직전 실행 {last})",
                "cooling down: {target} rests until {until} (last run {last})"
            )
        }
        Reason::LimitRule { limit, used, runs, next_at } => {
            let (n, per, next, runs) =
                (limit.n, voice.period(limit.per), voice.time(*next_at), named(runs));
            say!(
                l,
                "규칙 한도 도달: {per} 안에 {n}회 중 {used}회 사용{runs}. 다음 가능 시각 {next}",
                "rule limit reached: {used} of {n} runs in {per} used{runs}. Next slot {next}"
            )
        }
        Reason::LimitTarget { target, limit, used, runs, next_at } => {
            let (n, per, next, runs) =
                (limit.n, voice.period(limit.per), voice.time(*next_at), named(runs));
            say!(
                l,
                "대상 한도 도달: {target}, {per} 안에 {n}회 중 {used}회 사용{runs}. 다음 가능 시각 {next}",
                "target limit reached: {used} of {n} runs in {per} used on {target}{runs}. Next slot {next}"
            )
        }
        Reason::LimitGlobal { limit, used, runs, next_at } => {
            let (n, per, next, runs) =
                (limit.n, voice.period(limit.per), voice.time(*next_at), named(runs));
            say!(
                l,
                "전체 한도 도달: {per} 안에 {n}회 중 {used}회 사용{runs}. 다음 가능 시각 {next}",
                "limit over all rules reached: {used} of {n} runs in {per} used{runs}. Next slot {next}"
            )
        }
        Reason::TargetBusy { target, holder } => {
            say!(l, "대상 사용 중: {target} (실행 {holder})", "{target} is held by run {holder}")
        }
        Reason::ApprovalMissing { plan, until } => {
            let (plan, until) = (short(plan), voice.time(*until));
            say!(
                l,
                "사람의 승인 대기: 계획 {plan}, 기한 {until}",
                "a person must approve plan {plan} by {until}"
            )
        }
        Reason::ApprovalExpired { after } => {
            let after = voice.period(*after);
            say!(l, "승인 만료: {after} 동안 응답 없음", "nobody answered within {after}")
        }
        Reason::ApprovalRejected { by } => {
            let by = quote(by);
            say!(l, "승인 거절: {by}", "rejected by {by}")
        }
        Reason::StalePlan { approved, now } => {
            let (approved, now) = (short(approved), short(now));
            say!(
                l,
                "계획 변경: 승인된 계획 {approved}, 현재 계획 {now}",
                "the plan changed: {approved} was approved, {now} would run"
            )
        }
        Reason::PrecheckFailed { check, detail } => {
            let (check, detail) = (quote(check), quote(detail));
            say!(
                l,
                "실행 직전 확인 실패: {check} ({detail})",
                "the check right before the call failed: {check} ({detail})"
            )
        }
        Reason::FactUnavailable { fact, why } => {
            let (fact, why) = (quote(fact), quote(why));
            say!(
                l,
                "사실 확인 불가: {fact} ({why})",
                "fact {fact} could not be read ({why}), so nothing is written"
            )
        }
        Reason::ParamInvalid { param, why } => {
            let (param, why) = (quote(param), quote(why));
            say!(
                l,
                "허용 범위 밖 값: {param} ({why})",
                "parameter {param} is out of bounds ({why})"
            )
        }
        Reason::UnknownOutcome { action, target, why } => {
            let why = quote(why);
            say!(
                l,
                "결과 알 수 없음: {action} · {target} ({why})",
                "nobody can tell whether {action} on {target} took effect ({why})"
            )
        }
        Reason::StepRefused { action, target, code, why } => {
            let (code, why) = (quote(code), quote(why));
            say!(
                l,
                "호출 거부됨: {action} · {target}, {code} ({why})",
                "{action} on {target} was refused: {code} ({why})"
            )
        }
        Reason::RuleFailed { rule, error } => {
            let error = quote(error);
            say!(
                l,
                "규칙 스크립트 실패: {rule} ({error})",
                "the script of rule {rule} failed ({error})"
            )
        }
        Reason::Ineffective { waited } => {
            let waited = voice.period(*waited);
            say!(
                l,
                "효과 없음: {waited} 동안 알람 미해제",
                "no effect: the alarm did not clear within {waited}"
            )
        }
        Reason::Harmful { detail } => {
            let detail = quote(detail);
            say!(l, "악화: {detail}", "it got worse: {detail}")
        }
        Reason::Inconclusive { detail } => {
            let detail = quote(detail);
            say!(l, "판단 불가: {detail}", "it cannot be told: {detail}")
        }
        Reason::LeaseOver { target, before, after } => {
            say!(
                l,
                "임시 변경 기한 만료, 알람 지속: {target} (원래 {before}, 현재 {after})",
                "the temporary change of {target} is over while the alarm still fires (was {before}, is {after})"
            )
        }
        Reason::LeaseChanged { target, expected, found } => {
            say!(
                l,
                "다른 사람이 변경한 값 유지: {target} (설정 {expected}, 현재 {found})",
                "{target} was changed by somebody else and is left alone (set to {expected}, found {found})"
            )
        }
        Reason::Unreadable { why } => {
            let why = quote(why);
            say!(l, "읽을 수 없는 수신: {why}", "a delivery could not be read: {why}")
        }
        Reason::Other { code, detail } => format!("{} ({})", quote(code), quote(detail)),
    }
}

/// What a person can do about it, where the reason itself does not say.
pub(crate) fn advice(voice: &Voice, reason: &Reason) -> String {
    let l = voice.language;
    let advice = match reason {
        Reason::KillSwitch { scope, .. } => {
            let command = resume(scope);
            return say!(l, "재개: {command}", "to go on: {command}");
        }
        Reason::UnknownOutcome { .. } => l.pick(
            "AWS에서 실제 결과 확인 필요. 엔진은 다시 시도하지 않음",
            "look in AWS whether it happened; the engine does not try again",
        ),
        Reason::StepRefused { .. } => {
            l.pick("권한 또는 대상 상태 확인 필요", "check the permission or the target's state")
        }
        Reason::RuleFailed { .. } | Reason::ParamInvalid { .. } | Reason::EmptyTargets {} => {
            l.pick("규칙 수정 필요", "the rule needs a fix")
        }
        Reason::Ineffective { .. } | Reason::Harmful { .. } | Reason::Inconclusive { .. } => l
            .pick(
                "같은 조치의 자동 재시도 없음. 직접 확인 필요",
                "the engine does not try the same again; please look",
            ),
        Reason::LeaseOver { .. } | Reason::LeaseChanged { .. } => {
            l.pick("값 유지 여부 결정 필요", "decide whether the value should stay")
        }
        Reason::Unreadable { .. } => l.pick("원본은 보관됨", "the original is kept"),
        Reason::Stale { .. }
        | Reason::ResolvedBeforeAct {}
        | Reason::DryRun {}
        | Reason::Shadow {}
        | Reason::RuleOff {}
        | Reason::ProtectedTarget { .. }
        | Reason::SelfTarget { .. }
        | Reason::TooManyTargets { .. }
        | Reason::Cooldown { .. }
        | Reason::LimitRule { .. }
        | Reason::LimitTarget { .. }
        | Reason::LimitGlobal { .. }
        | Reason::TargetBusy { .. }
        | Reason::ApprovalMissing { .. }
        | Reason::ApprovalExpired { .. }
        | Reason::ApprovalRejected { .. }
        | Reason::StalePlan { .. }
        | Reason::PrecheckFailed { .. }
        | Reason::FactUnavailable { .. }
        | Reason::Other { .. } => {
            l.pick("자동 조치 없음. 직접 확인 필요", "nothing is done automatically; please look")
        }
    };
    advice.to_owned()
}

/// The command that ends a pause of this scope; it refuses to do so without a reason.
pub(crate) fn resume(scope: &str) -> String {
    format!("untoil resume {} --reason \"…\"", quote(scope))
}

fn named(runs: &[RunId]) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let mut text = runs.iter().take(RUNS_NAMED).map(RunId::as_str).collect::<Vec<_>>().join(", ");
    if runs.len() > RUNS_NAMED {
        text.push_str(", …");
    }
    format!(" ({text})")
}

/// A foreign text within a sentence.
pub(crate) fn quote(text: &str) -> String {
    cut(&clean(text), QUOTE_UNITS_MAX)
}

/// A hash as people compare it.
pub(crate) fn short(hash: &str) -> String {
    clean(hash).chars().take(16).collect()
}

/// A value of an alarm, to two decimals.
pub(crate) fn number(value: f64) -> String {
    if value.abs() >= 1e12 {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A JSON value in one line: scalars as they are, the members of an object as `name value`.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let parts = members.iter().map(|(name, value)| format!("{name} {}", scalar(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            scalar(value)
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(n) => match n.as_f64() {
            Some(float) if n.is_f64() => number(float),
            _ => n.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

pub(crate) fn ending(voice: &Voice, ending: Ending) -> &'static str {
    match ending {
        Ending::Healed => voice.language.pick("조치로 해결", "healed by untoil"),
        Ending::HealedItself => voice.language.pick("스스로 해제", "cleared by itself"),
        Ending::HealedByOthers => {
            voice.language.pick("자동 조치 밖에서 해결", "cleared after untoil had given up")
        }
    }
}

pub(crate) fn outcome(voice: &Voice, outcome: RunOutcome) -> (&'static str, &'static str) {
    match outcome {
        RunOutcome::Effective => ("✅", voice.language.pick("효과 있음", "effective")),
        RunOutcome::Ineffective => ("⚠️", voice.language.pick("효과 없음", "ineffective")),
        RunOutcome::Harmful => ("⛔", voice.language.pick("악화", "harmful")),
        RunOutcome::Inconclusive => ("❔", voice.language.pick("판단 불가", "inconclusive")),
    }
}

pub(crate) fn state(voice: &Voice, state: AlarmState) -> &'static str {
    match state {
        AlarmState::Firing => voice.language.pick("발생", "Firing"),
        AlarmState::Resolved => voice.language.pick("해제", "Resolved"),
        AlarmState::NoData => voice.language.pick("데이터 없음", "No data"),
    }
}

pub(crate) fn class(voice: &Voice, class: Class) -> &'static str {
    match class {
        Class::N => voice.language.pick("등급 N: 알림만", "class N: tells people"),
        Class::A => voice.language.pick("등급 A: 읽기 전용", "class A: reads only"),
        Class::B => {
            voice.language.pick("등급 B: 되돌릴 수 있는 변경", "class B: bounded, reversible")
        }
        Class::C => voice.language.pick("등급 C: 잠시 영향 가능", "class C: users may notice"),
        Class::D => {
            voice.language.pick("등급 D: 되돌릴 수 없음", "class D: irreversible or costly")
        }
    }
}

pub(crate) fn mode(voice: &Voice, mode: Mode) -> &'static str {
    match mode {
        Mode::Off => voice.language.pick("off (꺼짐)", "off"),
        Mode::Shadow => voice.language.pick("shadow (계획만)", "shadow (plans only)"),
        Mode::Approve => voice.language.pick("approve (승인 후)", "approve (a person says yes)"),
        Mode::Auto => voice.language.pick("auto (자동)", "auto"),
    }
}

pub(crate) fn engine_mode(voice: &Voice, mode: EngineMode) -> &'static str {
    match mode {
        EngineMode::DryRun => {
            voice.language.pick("dry_run (쓰기 없음)", "dry_run (it cannot write)")
        }
        EngineMode::Live => voice.language.pick("live (조치 가능)", "live (it may act)"),
    }
}

pub(crate) fn verify(voice: &Voice, verify: Verify) -> String {
    let (clears, holds) = (voice.period(verify.clears_within), voice.period(verify.holds_for));
    say!(
        voice.language,
        "{clears} 안에 알람 해제, 이후 {holds} 유지",
        "the alarm clears within {clears} and stays clear for {holds}"
    )
}
