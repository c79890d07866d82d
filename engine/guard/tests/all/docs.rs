//! `docs/guard.md` says what the code does.

use std::path::Path;

use crate::scene::*;
use untoil_guard::{GATES, Policy};
use untoil_model::*;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guard.md");
    std::fs::read_to_string(path).unwrap()
}

/// The first cells of a table's rows under a heading, without their backticks.
fn first_cells(page: &str, heading: &str) -> Vec<String> {
    let section = page.split_once(heading).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

/// One of each reason. The match below does not compile when one is missing from it.
fn reasons() -> Vec<Reason> {
    let (target, run) = (host(1), IncidentId::derive(at(0), &"a:b".parse().unwrap(), "x").run(1));
    let (limit, next_at, until) = (Rate { n: 1, per: Period::mins(1) }, at(0), at(0));
    let (text, period) = (String::new, Period::ZERO);
    let action: ActionKind = "ssm.document".parse().unwrap();
    let runs = Vec::new;
    vec![
        Reason::Stale { age: period, max_age: period },
        Reason::ResolvedBeforeAct {},
        Reason::KillSwitch { scope: text(), by: text(), reason: text() },
        Reason::DryRun {},
        Reason::Shadow {},
        Reason::RuleOff {},
        Reason::ProtectedTarget { target: target.clone() },
        Reason::SelfTarget { target: target.clone() },
        Reason::EmptyTargets {},
        Reason::TooManyTargets { n: 2, max: 1 },
        Reason::Cooldown { target: target.clone(), until, last: run.clone() },
        Reason::LimitRule { limit, used: 1, runs: runs(), next_at },
        Reason::LimitTarget { target: target.clone(), limit, used: 1, runs: runs(), next_at },
        Reason::LimitGlobal { limit, used: 1, runs: runs(), next_at },
        Reason::TargetBusy { target: target.clone(), holder: run },
        Reason::ApprovalMissing { plan: text(), until },
        Reason::ApprovalExpired { after: period },
        Reason::ApprovalRejected { by: text() },
        Reason::StalePlan { approved: text(), now: text() },
        Reason::PrecheckFailed { check: text(), detail: text() },
        Reason::FactUnavailable { fact: text(), why: text() },
        Reason::ParamInvalid { param: text(), why: text() },
        Reason::UnknownOutcome { action: action.clone(), target: target.clone(), why: text() },
        Reason::StepRefused { action, target: target.clone(), code: text(), why: text() },
        Reason::RuleFailed { rule: "a".parse().unwrap(), error: text() },
        Reason::Ineffective { waited: period },
        Reason::Harmful { detail: text() },
        Reason::Inconclusive { detail: text() },
        Reason::LeaseOver { target: target.clone(), before: 1, after: 2 },
        Reason::LeaseChanged { target, expected: 1, found: 2 },
        Reason::Unreadable { why: text() },
    ]
}

#[test]
fn the_page_lists_every_reason_code_and_no_other() {
    let page = page();
    let codes: Vec<String> = reasons().iter().map(|reason| reason.code().to_owned()).collect();
    assert_eq!(first_cells(&page, "## Reason codes"), codes);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/src/reason.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let body =
        source.split_once("pub fn code").unwrap().1.split("pub fn escalates").next().unwrap();
    let all = body.matches(" => \"").count();
    assert_eq!(codes.len(), all, "a reason was added: list it above and in docs/guard.md");
}

#[test]
fn the_page_marks_the_quiet_reasons() {
    let page = page();
    for reason in reasons() {
        let row = format!("\n| `{}` |", reason.code());
        let table = page.split_once("## Reason codes").unwrap().1;
        let row = table.split_once(&row).unwrap().1.lines().next().unwrap();
        assert_eq!(row.contains("(quiet)"), !reason.escalates(), "{}", reason.code());
    }
}

#[test]
fn the_page_lists_the_gates_in_their_order_and_which_are_in_force() {
    let page = page();
    let rows: Vec<&str> = page.lines().collect();
    let names: Vec<_> = GATES.iter().map(|gate| gate.name.to_owned()).collect();
    assert_eq!(first_cells(&page, "## The gates, in their order"), names);
    for gate in GATES {
        let start = format!("| `{}` | {} |", gate.name, gate.asks);
        let row =
            rows.iter().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("{start}"));
        assert_eq!(row.ends_with("| *later* |"), !gate.in_force(), "{row}");
    }
}

#[test]
fn the_page_gives_the_defaults() {
    let page = page();
    let json = serde_json::to_value(Policy::default()).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    let mut listed = first_cells(&page, "## Defaults");
    listed.sort();
    assert_eq!(listed, keys);
    for (key, value) in json.as_object().unwrap() {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        let values = values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), |t| format!("`{t}`")));
        let cell = values.collect::<Vec<_>>().join(", ");
        let cell = if cell.is_empty() { "none" } else { &cell };
        let row = format!("| `{key}` | {cell} |");
        assert!(page.contains(&row), "{row}");
    }
    let Limits { target, rule, cooldown } = Limits::default();
    let rule = format!("`target: {target}`, `rule: {rule}`, `cooldown: {cooldown}`");
    assert!(page.contains(&rule), "{rule}");
}
