//! What scripts see, what they cannot change, and what they give.

#![expect(clippy::unwrap_used, reason = "tests may fail")]
#![expect(
    clippy::needless_raw_string_hashes,
    reason = "`UPDATE_EXPECT=1` writes the goldens with hashes"
)]

use std::sync::Arc;

use expect_test::{Expect, expect};
use untoil_actions::Catalogue;
use untoil_model::{Alarm, FactValue, Facts, StepOutcome, StepResult, Target};
use untoil_sandbox::{Answer, MeteredAlloc, Question, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

fn sandbox() -> Sandbox {
    Sandbox::start(Arc::new(Catalogue::standard(vec!["example.com".into()])), 2).unwrap()
}

fn alarm() -> Alarm {
    serde_json::from_value(serde_json::json!({
        "key": "cloudwatch:arn:1", "source": "cloudwatch", "name": "backlog", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z", "namespace": "Remember/ContactSync",
        "metric": "PendingContacts", "dimensions": { "QueueName": "sync" },
        "labels": { "team": "platform" }, "value": 1200.0, "threshold": 500.0,
    }))
    .unwrap()
}

fn facts() -> Facts {
    let value = serde_json::json!({ "desired": 4, "running": 3, "load": 0.5, "ok": true, "deployments": [ { "status": "PRIMARY" } ] });
    let fact = FactValue {
        kind: "ecs.service".into(),
        source: "ecs:DescribeServices".into(),
        read_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        value,
    };
    Facts::from([("service".to_owned(), fact)])
}

fn results() -> Vec<StepResult> {
    let step = |action: &str| -> untoil_model::Step {
        serde_json::from_value(serde_json::json!({
            "action": action, "target": "ec2/i-0a1b2c3d", "class": "B", "settle": "10m",
        }))
        .unwrap()
    };
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let done = StepOutcome::Done { evidence: serde_json::json!({ "used_percent": 71 }) };
    let refused = StepOutcome::Refused { code: "busy".into(), why: "it is busy".into() };
    vec![
        StepResult { step: step("ssm.document"), outcome: done, at },
        StepResult { step: step("ecs.scale"), outcome: refused, at },
    ]
}

/// Actions whose terms these tests do not care about are granted with what they need.
const MANIFEST: &str = "
summary: A rule for a test
owner: platform
on: [{ source: cloudwatch }]
target: ecs/workers/contact-sync
may: [slack.message]
mode: shadow
";

fn ask(script: &str) -> Answer {
    let files = RuleFiles {
        name: "test".into(),
        manifest: Some(MANIFEST.into()),
        script: Some(script.into()),
    };
    let sandbox = sandbox();
    let rule = sandbox.build(&files).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(|d| d.rendered.clone()).collect::<Vec<_>>().join("\n"))
    });
    let (alarm, facts, results) = (Arc::new(alarm()), Arc::new(facts()), results());
    let target: Target = "ecs/workers/contact-sync".parse().unwrap();
    let question = if rule.has_next() {
        Question::Next { alarm: &alarm, target: &target, facts: &facts, results: &results }
    } else {
        Question::Plan { alarm: &alarm, target: &target, facts: &facts }
    };
    sandbox.ask_blocking(&rule, question)
}

/// Evaluates an expression in `plan` and gives what it prints.
fn eval(expression: &str) -> String {
    // Under other names, so that the checker leaves the facts alone: this manifest declares none.
    let answer = ask(&format!(
        "fn look(a, f) {{ print({expression}); }} fn plan(alarm, facts) {{ look(alarm, facts); [] }}"
    ));
    match answer.proposals {
        Ok(_) => answer.printed.join("\n"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn every_field_of_the_alarm_and_the_facts_can_be_read() {
    let table = [
        ("alarm.key", "cloudwatch:arn:1"),
        ("alarm.source", "cloudwatch"),
        ("alarm.name", "backlog"),
        ("alarm.state", "firing"),
        ("alarm.severity == ()", "true"),
        ("alarm.reason == \"\"", "true"),
        ("alarm.description.len", "0"),
        ("alarm.account ?? \"none\"", "none"),
        ("alarm.region == ()", "true"),
        ("alarm.namespace", "Remember/ContactSync"),
        ("alarm.metric", "PendingContacts"),
        ("alarm.dimensions.QueueName", "sync"),
        ("alarm.labels[\"team\"]", "platform"),
        ("alarm.labels.get(\"nope\") == ()", "true"),
        ("\"team\" in alarm.labels", "true"),
        ("\"nope\" in alarm.labels", "false"),
        ("alarm.labels.keys()", "[\"team\"]"),
        ("alarm.value > alarm.threshold", "true"),
        ("alarm.value * 2", "2400.0"),
        ("alarm.link == ()", "true"),
        ("alarm.target", "ecs/workers/contact-sync"),
        ("all.service.desired + 1", "5"),
        ("all.service.load", "0.5"),
        ("all.service.ok", "true"),
        ("all.service.deployments[0].status", "PRIMARY"),
        ("all.service.deployments[-1].status", "PRIMARY"),
        ("all.service.deployments.len()", "1"),
    ];
    for (expression, want) in table {
        let expression = expression.replace("alarm.", "a.").replace("all.", "f.");
        assert_eq!(eval(&expression), want, "{expression}");
    }
    let unknown = "error: Unknown property 'nope' - a getter is not registered for type 'Alarm'";
    assert_eq!(eval("a.nope"), unknown);
}

#[test]
fn nothing_that_a_script_was_given_can_be_written() {
    // Through another name and a helper function: what the checker cannot see must fail or have no effect.
    let writes = [
        "a.name = \"x\"",
        "a.newkey = 1",
        "a[\"newkey\"] = 1",
        "a.labels.team = \"x\"",
        "a.labels[\"team\"] = \"x\"",
        "a.labels.newkey = 1",
        "a.dimensions.QueueName += \"x\"",
        "a.name += \"x\"",
        "a.value += 1",
        "a.labels = #{}",
        "f.service.desired = 99",
        "f[\"service\"] = 1",
        "f.service.deployments[0].status = \"x\"",
        "f.service.deployments[0] = 1",
        "f.service.deployments.push(1)",
        "f.service.deployments.clear()",
        "f.newkey = 1",
    ];
    for write in writes {
        let script = format!(
            "fn touch(a, f) {{ try {{ {write}; print(\"took it\"); }} catch {{ print(\"refused\"); }} }}
             fn plan(alarm, facts) {{
                 touch(alarm, facts);
                 let other = alarm;
                 print(`${{other.name}} ${{other.labels}} ${{other.dimensions}} ${{other.value}} ${{(facts)}}`);
                 []
             }}"
        );
        let answer = ask(&script);
        assert!(answer.proposals.is_ok(), "{write}: {:?}", answer.proposals);
        let want = "backlog {\"team\":\"platform\"} {\"QueueName\":\"sync\"} 1200.0 {\"service\":{\"deployments\":[{\"status\":\"PRIMARY\"}],\"desired\":4,\"load\":0.5,\"ok\":true,\"running\":3}}";
        assert_eq!(answer.printed.last().unwrap(), want, "{write}: {:?}", answer.printed);
        assert_eq!(answer.printed[0], "refused", "{write}");
    }
    // A copy of a text can be written to, which changes nothing but the copy.
    let answer = ask(
        "fn touch(a) { a.name[0] = 'z'; } fn plan(alarm, facts) { touch(alarm); print(alarm.name); [] }",
    );
    assert_eq!(answer.printed, ["backlog"]);
}

#[test]
fn steps_come_out_as_the_script_wrote_them() {
    let answer = ask("const TEXT = \"hello\";
         fn plan(alarm, facts) {
             let first = slack::message(`${global::TEXT} ${alarm.name}`);
             [first, slack::message(\"again\").after(\"60s\")]
         }");
    let proposals = answer.proposals.unwrap();
    assert_eq!(proposals.len(), 2);
    assert_eq!(proposals[0].action.as_str(), "slack.message");
    assert_eq!(proposals[0].target, "ecs/workers/contact-sync");
    assert_eq!(proposals[0].params["text"], "hello backlog");
    assert_eq!(proposals[1].after.as_secs(), 60);
}

#[test]
fn next_sees_the_results_and_may_end_the_plan() {
    let answer = ask(
        "fn plan(alarm, facts) { [] }
         fn next(alarm, facts, results) {
             for result in results { print(`${result.action} ${result.target} ${result.ok} ${result.outcome}`); }
             print(results[0].evidence.used_percent);
             print(results[1].evidence.code);
             if results[0].ok { slack::message(\"done\") } else { [] }
         }",
    );
    assert_eq!(answer.proposals.unwrap().len(), 1);
    expect![[r"
        ssm.document ec2/i-0a1b2c3d true done
        ecs.scale ec2/i-0a1b2c3d false refused
        71
        busy"]]
    .assert_eq(&answer.printed.join("\n"));
}

#[test]
fn what_authors_write_passes_the_checker_and_runs() {
    let bodies = [
        "let n = alarm.value.to_int(); print(n)",
        "let name = alarm.name.to_upper(); print(name.sub_string(0, 3)); print(name.contains(\"LOG\"))",
        "let host = alarm.dimensions.get(\"Host\") ?? \"none\"; print(host)",
        "for (key, at) in alarm.labels.keys() { print(`${at} ${key}`); }",
        "for n in 0..3 { if n == 1 { continue; } print(n); }",
        "let wanted = \"a\"; let found = [\"a\", \"b\"].filter(|x| x == wanted); print(found.len)",
        "let parts = \"a,b\".split(\",\"); print(parts[1]); parts.push(\"c\"); print(parts.len())",
        "switch alarm.state { \"firing\" => print(1), \"resolved\" | \"no_data\" => print(2), _ => print(3) }",
        "let n = max(1, min(5, 3)); print(n.abs()); print(global::STEP - global::BACK)",
        "let m = #{ a: 1, b: #{ c: [2] } }; m.d = 4; print(m.b.c[0] + m.d); print(\"a\" in m)",
        "let t = helper(alarm, 2); print(t)",
        "let x = if alarm.value > 3.5 { \"high\" } else { \"low\" }; print(x)",
        "try { throw \"no\"; } catch (why) { print(why); }",
        "let i = 0; while i < 3 { i += 1; } do { i -= 1; } until i == 0; print(i)",
        "print(type_of(1)); print(parse_int(\"42\") + 1); print(2.6.round().to_int()); debug(alarm.name)",
        "let list = [3, 1, 2]; list.sort(); print(list); print(list.map(|n| n * 2).reduce(|a, b| a + b, 0))",
        "if alarm.severity == () || alarm.severity == \"critical\" { print(\"x\"); }",
        "if \"team\" in alarm.labels && alarm.labels.team == \"platform\" { print(alarm.labels.team); }",
    ];
    for body in bodies {
        let answer = ask(&format!(
            "const STEP = 4;\nconst BACK = -2;\nconst NAMES = [\"a\", \"b\"];
             /// Says it n times.
             fn helper(alarm, n) {{ let t = \"\"; for _i in 0..n {{ t += alarm.name; }} t }}
             fn plan(alarm, facts) {{\n{body};\n[]\n}}"
        ));
        assert!(answer.proposals.is_ok(), "{body}: {:?}", answer.proposals);
        assert!(!answer.printed.is_empty(), "{body}");
    }
}

fn fails(body: &str, want: &Expect) {
    let answer = ask(&format!("fn plan(alarm, facts) {{\n{body}\n}}"));
    let error = answer.proposals.unwrap_err();
    want.assert_eq(&format!("{:?}: {}", error.fault, error.rendered));
}

#[test]
fn failures_name_their_place() {
    fails(
        "    look(facts)\n}\nfn look(f) {\n    f.service.desird",
        &expect![[r#"
            Failed: error: `facts.service` has no `desird` (did you mean `desired`?)
             --> test/rule.rhai:5:15
              |
            5 |     f.service.desird
              |               ^^^^^^"#]],
    );
    fails(
        "    throw `no worker in ${alarm.metric}`;",
        &expect![[r#"
            Failed: error: no worker in PendingContacts
             --> test/rule.rhai:2:5
              |
            2 |     throw `no worker in ${alarm.metric}`;
              |     ^^^^^"#]],
    );
    fails(
        "    slack::message(alarm.value)",
        &expect![[r#"
            Failed: error: `slack::message(text)` wants a text as `text`, not a decimal number
             --> test/rule.rhai:2:12
              |
            2 |     slack::message(alarm.value)
              |            ^^^^^^^"#]],
    );
    fails(
        "    slack::message(\"x\").after(\"soon\")",
        &expect![[r#"
            Failed: error: `soon` is not a length of time: write a whole number and s, m, h or d, up to 400d
             --> test/rule.rhai:2:25
              |
            2 |     slack::message("x").after("soon")
              |                         ^^^^^"#]],
    );
    fails("    [1]", &expect!["Shape: error: expected a step, found a whole number"]);
    fails(
        "    let _x = 1;",
        &expect!["Shape: error: it gave nothing: a rule that has nothing to do gives `[]`"],
    );
}

#[test]
fn printing_is_kept_within_bounds() {
    let answer = ask("fn plan(alarm, facts) { for i in 0..200 { print(`line ${i}`); } [] }");
    assert_eq!(answer.printed.len(), 50);
    assert_eq!(answer.printed[0], "line 0");
    assert_eq!(answer.printed[49], "… (more was printed than is kept)");
    let answer = ask(
        "fn plan(alarm, facts) { let s = \"\"; s.pad(5000, 'x'); print(s); print(\"after\"); [] }",
    );
    assert_eq!(answer.printed, ["… (more was printed than is kept)"]);
}

#[tokio::test(start_paused = true)]
async fn paused_time_stands_still_while_a_rule_is_asked() {
    let sandbox = sandbox();
    let files = RuleFiles {
        name: "test".into(),
        manifest: Some(MANIFEST.into()),
        script: Some("fn plan(alarm, facts) { for i in 0..20000 { } [] }".into()),
    };
    let rule = sandbox.build(&files).unwrap();
    let (alarm, facts) = (Arc::new(alarm()), Arc::new(facts()));
    let target: Target = "ecs/workers/contact-sync".parse().unwrap();
    let before = tokio::time::Instant::now();
    let question = Question::Plan { alarm: &alarm, target: &target, facts: &facts };
    let asking = sandbox.ask_on_paused_time(&rule, question);
    let answer = tokio::time::timeout(std::time::Duration::from_hours(1), asking).await.unwrap();
    assert!(answer.proposals.unwrap().is_empty());
    assert_eq!(before.elapsed(), std::time::Duration::ZERO);
}

#[tokio::test]
async fn a_burst_waits_for_its_turn_and_nobody_is_refused() {
    let sandbox = sandbox();
    let script = "fn plan(alarm, facts) { let n = 0; while n < 2000 { n += 1; } [] }";
    let files = RuleFiles {
        name: "r".into(),
        manifest: Some(MANIFEST.into()),
        script: Some(script.into()),
    };
    let rule = Arc::new(sandbox.build(&files).unwrap());
    let mut asked = tokio::task::JoinSet::new();
    // More than may wait before the threads.
    for _ in 0..1_000 {
        let (sandbox, rule) = (sandbox.clone(), Arc::clone(&rule));
        asked.spawn(async move {
            let (alarm, facts) = (Arc::new(alarm()), Arc::new(facts()));
            let target: Target = "ecs/workers/contact-sync".parse().unwrap();
            let question = Question::Plan { alarm: &alarm, target: &target, facts: &facts };
            sandbox.ask(&rule, question).await.proposals
        });
    }
    let refused: Vec<_> = asked.join_all().await.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused, []);
}
