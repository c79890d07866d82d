//! `test`: the rules' own tests, on a simulated AWS and a virtual clock.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::cli::{Format, Rules};
use crate::config::Config;
use crate::out;
use crate::rule_tests::{self, Report, RuleReport, TestReport};

/// `test`: a line for each test, the story of each that failed, and how many there were. Exit 1 when
/// one failed, and when there are none.
pub(crate) async fn run(config: &Config, what: &Rules, format: Format) -> anyhow::Result<ExitCode> {
    let dir = what.rules.clone().unwrap_or_else(|| config.rules.clone());
    if !dir.is_dir() {
        anyhow::bail!("there is no folder `{}`; give the folder of rules", dir.display());
    }
    let hosts = config.http_hosts.clone();
    let running = tokio::task::spawn_blocking(move || {
        rule_tests::run(&dir, &hosts, |rule| {
            if format == Format::Text {
                tell(rule);
            }
        })
    });
    let report = running.await??;
    let (passed, failed) = report.counts();
    match format {
        Format::Text if passed + failed == 0 => {
            out::complain("there are no tests: write a `tests.yaml` beside each rule");
        }
        Format::Text => out::say(&format!("{passed} passed, {failed} failed")),
        Format::Json => out::say(&whole(&report).to_string()),
    }
    Ok(exit((passed, failed)))
}

/// Fine only if something was tested: a folder without tests is a finding.
fn exit((passed, failed): (usize, usize)) -> ExitCode {
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A rule's tests for people.
fn tell(rule: &RuleReport) {
    let name = &rule.rule;
    if let Some(why) = &rule.broken {
        out::say(&format!("FAILED   {name}"));
        indented(why.lines(), 2);
        return;
    }
    for test in &rule.tests {
        if test.misses.is_empty() {
            out::say(&format!("ok       {name}: {}", test.name));
            continue;
        }
        out::say(&format!("FAILED   {name}: {}", test.name));
        indented(test.misses.iter().map(String::as_str), 2);
        if !test.story.is_empty() {
            indented(["what happened:"].into_iter(), 2);
            indented(test.story.iter().map(String::as_str), 4);
        }
    }
    for warning in warnings(rule) {
        out::say(&format!("warning  {name}: {warning}"));
    }
}

fn indented<'a>(lines: impl Iterator<Item = &'a str>, by: usize) {
    lines.for_each(|line| out::say(&format!("{:by$}{line}", "")));
}

/// What the tests leave out.
fn warnings(rule: &RuleReport) -> Vec<&'static str> {
    if rule.broken.is_some() {
        return Vec::new();
    }
    if rule.tests.is_empty() {
        return vec!["it has no tests; write a `tests.yaml` beside it"];
    }
    let mut warnings = Vec::new();
    if !rule.plan_asked {
        warnings.push("no test has its `plan` asked");
    }
    if rule.next_asked == Some(false) {
        warnings.push("no test has its `next` asked");
    }
    warnings
}

/// Everything for programs.
fn whole(report: &Report) -> Value {
    let (passed, failed) = report.counts();
    let rules: Vec<Value> = report.rules.iter().map(rule).collect();
    json!({ "passed": passed, "failed": failed, "rules": rules })
}

fn rule(rule: &RuleReport) -> Value {
    let tests: Vec<Value> = rule.tests.iter().map(test).collect();
    json!({
        "rule": rule.rule,
        "broken": rule.broken,
        "tests": tests,
        "plan_asked": rule.plan_asked,
        "next_asked": rule.next_asked,
        "warnings": warnings(rule),
    })
}

fn test(test: &TestReport) -> Value {
    json!({
        "name": test.name,
        "passed": test.misses.is_empty(),
        "misses": test.misses,
        "story": test.story,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_all_pass_are_fine_and_none_are_not() {
        let table = [((3, 0), true), ((3, 1), false), ((0, 1), false), ((0, 0), false)];
        for (counts, fine) in table {
            let expected = if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            assert_eq!(format!("{:?}", exit(counts)), format!("{expected:?}"), "{counts:?}");
        }
    }

    #[test]
    fn what_the_tests_leave_out_is_said() {
        let none = RuleReport {
            rule: "r".into(),
            broken: None,
            tests: Vec::new(),
            plan_asked: false,
            next_asked: Some(false),
        };
        assert_eq!(warnings(&none), ["it has no tests; write a `tests.yaml` beside it"]);
        let test = TestReport { name: "t".into(), misses: Vec::new(), story: Vec::new() };
        let half = RuleReport { tests: vec![test], plan_asked: true, ..none };
        assert_eq!(warnings(&half), ["no test has its `next` asked"]);
        assert_eq!(
            rule(&half)["tests"],
            json!([{ "name": "t", "passed": true, "misses": [], "story": [] }])
        );
    }
}
