//! Tests of the runner itself: the shipped rules pass, and what should fail does.

use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::{Report, RuleReport, run};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules")
}

/// A folder with a copy of one shipped rule, the text of its tests changed.
fn altered(rule: &str, change: impl Fn(&str) -> String) -> TempDir {
    let dir = TempDir::new().unwrap();
    let copy = dir.path().join(rule);
    fs::create_dir(&copy).unwrap();
    for file in ["rule.yaml", "rule.rhai", "tests.yaml"] {
        let text = fs::read_to_string(shipped().join(rule).join(file)).unwrap();
        let changed = if file == "tests.yaml" { change(&text) } else { text.clone() };
        assert!(file != "tests.yaml" || changed != text, "the change finds its place");
        fs::write(copy.join(file), changed).unwrap();
    }
    dir
}

/// A folder of rules that answer generic alarms by a word.
fn small(rules: &[(&str, &str, &str)]) -> TempDir {
    const MANIFEST: &str = "summary: Says a word
owner: platform
on: [{ source: generic }, { source: alertmanager }]
target: host/web-1
may: [slack.message: {}]
mode: auto
limits: { target: 3 per 24h, rule: 6 per 1h, cooldown: 30m }
verify: { clears_within: 20m, holds_for: 5m }
escalate: { mention: platform-oncall }
";
    let dir = TempDir::new().unwrap();
    for (name, script, tests) in rules {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("rule.yaml"), MANIFEST).unwrap();
        fs::write(folder.join("rule.rhai"), script).unwrap();
        if !tests.is_empty() {
            fs::write(folder.join("tests.yaml"), tests).unwrap();
        }
    }
    dir
}

const SAYS: &str = "fn plan(alarm, facts) { [slack::message(`hello ${alarm.name}`)] }\n";

const ONE_TEST: &str = "- name: it speaks
  when:
    - { at: 0s, alarm: { source: generic, name: web-1 down, state: firing } }
    - { at: 5m, alarm: { state: resolved } }
  then: { plan: [{ action: slack.message }], says: [hello web-1 down], closed: healed_by_others }
";

fn ran(dir: &Path) -> Report {
    run(dir, &[], |_| {}).unwrap()
}

/// Every test that failed and every rule whose tests cannot be run, in words.
fn failures(report: &Report) -> String {
    let mut lines = Vec::new();
    for RuleReport { rule, broken, tests, .. } in &report.rules {
        lines.extend(broken.iter().map(|why| format!("{rule}\n{why}")));
        for test in tests.iter().filter(|test| !test.misses.is_empty()) {
            lines.push(format!("{rule}: {}", test.name));
            lines.extend(test.misses.iter().map(|miss| format!("  {miss}")));
        }
    }
    lines.join("\n")
}

fn fails_with(report: &Report, expected: &Expect) {
    expected.assert_eq(&failures(report));
}

#[test]
fn every_shipped_rule_passes_its_tests_and_is_asked_everything() {
    let report = ran(&shipped());
    fails_with(&report, &expect![""]);
    assert_eq!(report.rules.len(), 3);
    for rule in &report.rules {
        assert!(rule.tests.len() >= 8, "{} has {} tests", rule.rule, rule.tests.len());
        assert!(rule.plan_asked && rule.next_asked != Some(false), "{}", rule.rule);
        assert!(rule.tests.iter().all(|test| test.story.is_empty()));
    }
}

#[test]
fn an_expectation_that_does_not_hold_fails_its_test_and_tells_what_happened() {
    let dir = altered("contact-sync-backlog", |text| {
        text.replacen("params: { to: 8 }", "params: { to: 9 }", 1)
            .replacen("outcome: effective", "outcome: harmful", 1)
            .replacen("closed: healed", "closed: healed_itself", 1)
            .replacen("desired: 4, running: 4", "desired: 5, running: 6", 1)
            .replacen("[opened, matched, facts_read,", "[matched, opened,", 1)
    });
    let report = ran(dir.path());
    fails_with(
        &report,
        &expect![[r#"
        contact-sync-backlog: a backlog gets four more workers, and they go once it is over
          plan, step 1, `to`: expected 9, found 8
          outcome: expected harmful, found effective
          closed: expected healed_itself, found healed
          entries: expected `opened` after `matched`, found none
          world, desired of workers/contact-sync: expected 5, found 4
          world, running of workers/contact-sync: expected 6, found 4"#]],
    );
    let failed = report.rules[0].tests.iter().find(|test| !test.misses.is_empty()).unwrap();
    assert!(failed.story.iter().any(|line| line.contains("desired count 4 → 8")));
    let (passed, wrong) = report.counts();
    assert_eq!((passed, wrong), (report.rules[0].tests.len() - 1, 1));
}

#[test]
fn limits_calls_words_and_hosts_are_looked_at() {
    let dir = altered("disk-full", |text| {
        text.replace("deny:limit_target", "deny:limit_rule")
            .replace("escalated: [limit_target]", "escalated: [cooldown]")
            .replace("ssm:SendCommand: 0", "ssm:SendCommand: 1")
            .replace("SSM does not reach", "nobody is home")
            .replace("{ /: 80 }", "{ /: 70 }")
            .replace("never: [closed]", "never: [escalated]")
            .replace("params: { Mount: /var/log }", "params: { Mount: /var }")
    });
    fails_with(
        &ran(dir.path()),
        &expect![[r#"
        disk-full: a filling disk is brought below 80 % and the alarm clears
          world, percent used of / on i-0a1b2c3d4e5f67890: expected at most 70, found 79
        disk-full: the mount comes from the alarm
          plan, step 1, `params`: expected {"Mount":"/var"}, found {"Mount":"/var/log","TargetUsedPct":"80"}
        disk-full: a disk full of other things stays full and a person is called
          never: expected no `escalated`, found one
        disk-full: the fourth time in a day is denied
          judged: expected deny:limit_rule, found deny:limit_target
          escalated: expected `cooldown`, found limit_target
        disk-full: a person who says no is heard, and the disk is theirs
          calls of ssm:SendCommand: expected 1, found 0
        disk-full: a host that SSM has lost is left to a person
          says: expected `nobody is home`, found SSM does not reach ec2/i-0a1b2c3d4e5f67890 (ConnectionLost): its disk may be full already; grow it or replace the host
          calls of ssm:SendCommand: expected 1, found 0"#]],
    );
}

#[test]
fn an_unknown_key_is_an_error_with_its_place() {
    for (known, unknown) in [
        ("  mode: auto", "  mood: auto"),
        ("desired: 4", "desird: 4"),
        ("judged: allow", "judgd: allow"),
    ] {
        let dir = altered("contact-sync-backlog", |text| text.replacen(known, unknown, 1));
        let report = ran(dir.path());
        let why = report.rules[0].broken.as_deref().unwrap();
        let word = unknown.trim().split(':').next().unwrap();
        assert!(why.contains(&format!("unknown field `{word}`")), "{why}");
        assert!(why.contains("line ") && why.contains('^'), "{why}");
        assert_eq!(report.counts(), (0, 1));
    }
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let table = [
        ("never: [closed]", "never: [closd]", "unknown variant `closd`"),
        ("judged: allow", "judged: allowed", "`allowed` is no judgement"),
        (
            "calls: { ecs:UpdateService: 0 }",
            "calls: { ecs.UpdateService: 0 }",
            "no call `ecs.UpdateService`",
        ),
        ("- at: 9m", "- at: 9 minutes", "not a length of time"),
        ("alarm: { state: resolved, value: 310 }", "answer: perhaps", "unknown variant `perhaps`"),
        ("      alarm: { state: resolved, value: 310 }\n", "", "nothing happens at 9m"),
        ("source: cloudwatch", "source: pigeon", "unknown variant `pigeon`"),
        (
            "name: near the maximum only what is left is asked for",
            "name: as shipped it only says what it would do",
            "two tests are called",
        ),
        ("mode: auto", "mode: auto\n  mode: auto", "duplicate"),
    ];
    for (from, to, message) in table {
        let dir = altered("contact-sync-backlog", |text| text.replacen(from, to, 1));
        let report = ran(dir.path());
        let why = report.rules[0].broken.as_deref().unwrap_or("nothing is broken");
        assert!(why.contains(message), "{to}: {why}");
    }
}

#[test]
fn what_a_sender_or_the_world_cannot_be_fails_its_test() {
    let table = [
        ("        metric: PendingContacts\n", "", "needs a `metric`"),
        ("desired: 8, running: 5", "desired: 8, running: 9", "cannot run 9 of 8 tasks"),
        ("workers/contact-sync: { desired: 4 }\n", "workers: { desired: 4 }\n", "is no service"),
        (
            "    - at: 9m\n      alarm: { state: resolved, value: 310 }",
            "    - { at: 9m, answer: approve }",
            "the answer at 9m was not taken: no plan waits for one",
        ),
    ];
    for (from, to, message) in table {
        let dir = altered("contact-sync-backlog", |text| text.replacen(from, to, 1));
        let failures = failures(&ran(dir.path()));
        assert!(failures.contains(message), "{to}: {failures}");
    }
}

#[test]
fn a_script_that_hangs_fails_its_test_and_the_next_one_runs() {
    let hangs = "fn plan(alarm, facts) { while true {} [] }\n";
    let dir = small(&[("a-hangs", hangs, ONE_TEST), ("b-speaks", SAYS, ONE_TEST)]);
    let report = ran(dir.path());
    assert_eq!(report.counts(), (1, 1));
    let (hung, fine) = (&report.rules[0].tests[0], &report.rules[1].tests[0]);
    assert!(hung.misses[0].starts_with("plan: expected 1 step(s), found none"), "{hung:?}");
    assert!(hung.story.iter().any(|line| line.contains("rule_failed")), "{hung:?}");
    assert!(fine.misses.is_empty(), "{fine:?}");
}

#[test]
fn another_rule_for_the_same_alarm_does_not_answer_in_its_place() {
    let other = SAYS.replace("hello", "goodbye");
    let dir = small(&[("a-other", &other, ""), ("b-speaks", SAYS, ONE_TEST)]);
    let report = ran(dir.path());
    assert_eq!(failures(&report), "");
    assert!(report.rules[0].tests.is_empty() && !report.rules[0].plan_asked);
}

#[test]
fn any_senders_own_body_can_be_an_event() {
    let tests = r#"- name: alertmanager speaks, too
  when:
    - at: 0s
      event:
        source: alertmanager
        body:
          version: "4"
          groupKey: "{}:{alertname=\"web-1 down\"}"
          status: firing
          receiver: untoil
          groupLabels: { alertname: web-1 down }
          commonLabels: { alertname: web-1 down }
          commonAnnotations: {}
          externalURL: http://alertmanager.test
          truncatedAlerts: 0
          alerts:
            - status: firing
              labels: { alertname: web-1 down }
              annotations: {}
              startsAt: "2026-01-05T00:00:00Z"
              endsAt: "0001-01-01T00:00:00Z"
              generatorURL: http://prometheus.test
              fingerprint: 0123456789abcdef
    - { at: 1m, event: { source: generic, body: no JSON at all } }
  then:
    plan: [{ action: slack.message, target: host/web-1 }]
    says: [hello web-1 down]
    entries: [opened, matched, planned, judged, concluded, unreadable]
"#;
    let dir = small(&[("b-speaks", SAYS, tests)]);
    assert_eq!(failures(&ran(dir.path())), "");
}

#[test]
fn a_rule_that_cannot_be_loaded_fails() {
    let dir = small(&[("broken", "fn plan(alarm) { }\n", ONE_TEST)]);
    let report = ran(dir.path());
    assert_eq!(report.counts(), (0, 1));
    assert!(failures(&report).contains("the rule cannot be loaded"), "{}", failures(&report));
}

#[test]
fn runs_done_before_are_counted_at_their_time() {
    let at = |ago: &str| {
        altered("disk-full", |text| {
            text.replace("times: 3, ago: 4h", &format!("times: 3, ago: {ago}"))
        })
    };
    // The oldest of the three is two hours older than the newest.
    assert_eq!(failures(&ran(at("21h").path())), "");
    assert!(failures(&ran(at("22h").path())).contains("expected deny:limit_target, found allow"));
}

#[test]
fn groups_metrics_and_refusals_are_there_as_described() {
    const MANIFEST: &str = "summary: Adds an instance while the queue is long
owner: platform
on: [{ source: generic }]
target: asg/web
facts:
  group: { asg.group: { group: web } }
  queue: { cloudwatch.metric: { namespace: Shop, metric: Waiting, period: 1m, window: 10m } }
may:
  - asg.set_desired: { group: web, max: 6, step: 2 }
  - slack.message: {}
mode: auto
limits: { target: 3 per 24h, rule: 6 per 1h, cooldown: 30m }
verify: { clears_within: 20m, holds_for: 5m }
";
    const SCRIPT: &str = "fn plan(alarm, facts) {
    if facts.queue.latest > 100.0 {
        return [asg::set_desired(alarm.target, facts.group.desired + 1)];
    }
    [slack::message(`only ${facts.queue.latest} wait`)]
}
";
    let test = |name: &str, (value, more): (u32, &str), then: &str| {
        let world = format!(
            "{{ groups: {{ web: {{ min: 1, max: 6, desired: 3 }} }}, metrics: [{{ namespace: Shop, metric: Waiting, value: {value} }}]{more} }}"
        );
        format!(
            "- name: {name}\n  world: {world}\n  when: [{{ at: 1m, alarm: {{ source: generic, name: long queue, state: firing }} }}]\n  then: {then}\n"
        )
    };
    let refusals = ", refusals: [{ call: autoscaling:SetDesiredCapacity, code: ScalingActivityInProgress, times: 1 }]";
    let tests = [
        test(
            "one more",
            (500, ""),
            "{ plan: [{ action: asg.set_desired, params: { to: 4 } }], outcome: ineffective }",
        ),
        test(
            "refused",
            (500, refusals),
            "{ escalated: [step_refused], calls: { autoscaling:SetDesiredCapacity: 1 } }",
        ),
        test("short", (7, ""), "{ says: [only 7], calls: { autoscaling:SetDesiredCapacity: 0 } }"),
    ];
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("adds");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("rule.yaml"), MANIFEST).unwrap();
    fs::write(folder.join("rule.rhai"), SCRIPT).unwrap();
    fs::write(folder.join("tests.yaml"), tests.concat()).unwrap();
    let report = ran(dir.path());
    assert_eq!(failures(&report), "");
    assert_eq!(report.counts(), (3, 0));
}
