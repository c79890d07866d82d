//! What authors read when a rule is wrong.

#![expect(clippy::unwrap_used, clippy::too_many_lines, reason = "tests may fail; goldens are long")]
#![expect(
    clippy::needless_raw_string_hashes,
    reason = "`UPDATE_EXPECT=1` writes the goldens with hashes"
)]

use std::sync::{Arc, LazyLock};

use expect_test::{Expect, expect};
use untoil_actions::Catalogue;
use untoil_sandbox::{MeteredAlloc, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap());

const MANIFEST: &str = "\
summary: Scale the contact-sync workers out
owner: platform
on:
  - source: cloudwatch
    namespace: Remember/ContactSync
    metric: PendingContacts
target: ecs/workers/contact-sync
facts:
  service: { ecs.service: { cluster: workers, service: contact-sync } }
may:
  - ecs.scale: { cluster: workers, service: contact-sync, max: 20, step: 4, lease: 2h }
mode: shadow
limits: { target: 3 per 24h, rule: 6 per 1h, cooldown: 30m }
verify: { clears_within: 20m, holds_for: 5m }
escalate: { mention: platform-oncall }
saves: 30m
";

const SCRIPT: &str = "fn plan(alarm, facts) {\n    ecs::scale_by(alarm.target, 4)\n}\n";

fn findings(manifest: &str, script: &str) -> String {
    let files = RuleFiles {
        name: "sync".into(),
        manifest: Some(manifest.into()),
        script: Some(script.into()),
    };
    let found = match SANDBOX.build(&files) {
        Ok(rule) => rule.warnings,
        Err(found) => found,
    };
    found.iter().map(|found| found.rendered.clone()).collect::<Vec<_>>().join("\n")
}

/// The manifest with one text replaced, checked with the good script.
fn manifest(from: &str, to: &str, want: &Expect) {
    assert!(MANIFEST.contains(from), "{from}");
    want.assert_eq(&findings(&MANIFEST.replacen(from, to, 1), SCRIPT));
}

/// A body of `plan`, checked with the good manifest, which is used elsewhere in it.
fn body(body: &str, want: &Expect) {
    let script =
        format!("fn plan(alarm, facts) {{\n{body}\n    ecs::scale_by(alarm.target, 4)\n}}\n");
    want.assert_eq(&findings(MANIFEST, &script));
}

#[test]
fn the_example_of_the_documentation_has_no_findings() {
    assert_eq!(findings(MANIFEST, SCRIPT), "");
    let page = include_str!("../../docs/rules.md");
    let block =
        |begin: &str| page.split(begin).nth(1).unwrap().split("```").next().unwrap().to_owned();
    let found = findings(
        &block("```yaml\n").replace("  - ecs.scale", "  - slack.message\n  - ecs.scale"),
        &block("```rhai\n"),
    );
    assert_eq!(found, "");
}

#[test]
fn mistakes_in_yaml_are_shown_where_they_are() {
    manifest(
        "owner: platform",
        "owner: platform\nowner: other",
        &expect![[r#"
        error[R101]: duplicate mapping key: owner, set DuplicateKeyPolicy in Options if acceptable
         --> sync/rule.yaml:3:1
          |
        3 | owner: other
          | ^^^^^"#]],
    );
    manifest(
        "owner: platform",
        "owner: &a platform",
        &expect![[r#"
        error[R101]: manifests have no anchors; put a text that begins with `&` in quotes
         --> sync/rule.yaml:2:11
          |
        2 | owner: &a platform
          |           ^^^^^^^^"#]],
    );
    manifest(
        "owner: platform",
        "owner: *a",
        &expect![[r#"
        error[R101]: manifests have no aliases; put a text that begins with `*` in quotes
         --> sync/rule.yaml:2:8
          |
        2 | owner: *a
          |        ^^"#]],
    );
    manifest(
        "owner: platform",
        "<<: { owner: platform }",
        &expect![[r#"
        error[R101]: manifests have no merge keys `<<`; write the keys out
         --> sync/rule.yaml:2:1
          |
        2 | <<: { owner: platform }
          | ^^"#]],
    );
    manifest(
        "owner: platform",
        "owner: [platform",
        &expect![[r#"
        error[R101]: illegal placement of ':' indicator
         --> sync/rule.yaml:3:3
          |
        3 | on:
          |   ^"#]],
    );
}

#[test]
fn mistakes_in_the_manifest_are_shown_where_they_are() {
    manifest(
        "saves:",
        "save:",
        &expect![[r#"
        error[R102]: unknown key `save` in the manifest
          --> sync/rule.yaml:16:1
           |
        16 | save: 30m
           | ^^^^ did you mean `saves`?"#]],
    );
    manifest(
        "owner: platform\n",
        "",
        &expect![[r#"
        error[R103]: missing key `owner`
         --> sync/rule.yaml:1:1
          |
        1 | summary: Scale the contact-sync workers out
          | ^
          |
          = help: add `owner: platform`"#]],
    );
    manifest(
        "owner: platform",
        "owner: 5",
        &expect![[r#"
        error[R104]: expected a text, found a number
         --> sync/rule.yaml:2:8
          |
        2 | owner: 5
          |        ^
          |
          = help: write it in quotes if it is meant as a text"#]],
    );
    manifest("owner: platform", "owner: yes", &expect![]);
    manifest(
        "mode: shadow",
        "mode: shadwo",
        &expect![[r#"
        error[R104]: no mode `shadwo`
          --> sync/rule.yaml:12:7
           |
        12 | mode: shadwo
           |       ^^^^^^ did you mean `shadow`?"#]],
    );
    manifest(
        "3 per 24h",
        "3 in 24h",
        &expect![[r#"
        error[R104]: `3 in 24h` is not a limit: write it as `3 per 24h`
          --> sync/rule.yaml:13:19
           |
        13 | limits: { target: 3 in 24h, rule: 6 per 1h, cooldown: 30m }
           |                   ^^^^^^^^"#]],
    );
    manifest(
        "30m }",
        "30 min }",
        &expect![[r#"
        error[R104]: `30 min` is not a length of time: write a whole number and s, m, h or d, up to 400d
          --> sync/rule.yaml:13:56
           |
        13 | limits: { target: 3 per 24h, rule: 6 per 1h, cooldown: 30 min }
           |                                                        ^^^^^^"#]],
    );
    manifest(
        "    metric:",
        "    metrics:",
        &expect![[r#"
        error[R102]: unknown key `metrics` in `on`
         --> sync/rule.yaml:6:5
          |
        6 |     metrics: PendingContacts
          |     ^^^^^^^ did you mean `metric`?"#]],
    );
    manifest(
        "metric: PendingContacts",
        "metric: 'Pending?'",
        &expect![[r#"
        error[R104]: only `*` is special in a pattern; `?`, `[…]` and `{…}` are not supported
         --> sync/rule.yaml:6:13
          |
        6 |     metric: 'Pending?'
          |             ^^^^^^^^^^"#]],
    );
    manifest(
        "target: ecs/workers/contact-sync",
        "target: ecs/workers/{alarm.lables.x}",
        &expect![[r#"
        error[R105]: alarms have no field `lables`
         --> sync/rule.yaml:7:28
          |
        7 | target: ecs/workers/{alarm.lables.x}
          |                            ^^^^^^ did you mean `labels`?"#]],
    );
    manifest(
        "target: ecs/workers/contact-sync",
        "target: ecs/workers",
        &expect![[r#"
        error[R104]: `ecs/workers` is not a target: a service is `ecs/cluster/service`
         --> sync/rule.yaml:7:9
          |
        7 | target: ecs/workers
          |         ^^^^^^^^^^^"#]],
    );
    manifest(
        "target: ecs/workers/contact-sync",
        "target: ec2/{alarm.dimensions}",
        &expect![[r#"
        error[R108]: name one of them, such as `{alarm.dimensions.InstanceId}`
         --> sync/rule.yaml:7:14
          |
        7 | target: ec2/{alarm.dimensions}
          |              ^^^^^^^^^^^^^^^^"#]],
    );
    manifest(
        "ecs.service:",
        "ecs.servcie:",
        &expect![[r#"
        error[R106]: no fact `ecs.servcie`
         --> sync/rule.yaml:9:14
          |
        9 |   service: { ecs.servcie: { cluster: workers, service: contact-sync } }
          |              ^^^^^^^^^^^ did you mean `ecs.service`?"#]],
    );
    manifest(
        "{ cluster: workers, service: contact-sync } }",
        "{ clutser: workers, service: contact-sync } }",
        &expect![[r#"
        error[R107]: `ecs.service` takes no `clutser`
         --> sync/rule.yaml:9:29
          |
        9 |   service: { ecs.service: { clutser: workers, service: contact-sync } }
          |                             ^^^^^^^ did you mean `cluster`?
        error[R107]: `ecs.service` needs `cluster`
         --> sync/rule.yaml:9:14
          |
        9 |   service: { ecs.service: { clutser: workers, service: contact-sync } }
          |              ^^^^^^^^^^^
          |
          = help: `cluster`: name of the cluster"#]],
    );
    manifest(
        "ecs.scale:",
        "ecs.scael:",
        &expect![[r#"
        error[R301]: no action `ecs.scael`
          --> sync/rule.yaml:11:5
           |
        11 |   - ecs.scael: { cluster: workers, service: contact-sync, max: 20, step: 4, lease: 2h }
           |     ^^^^^^^^^ did you mean `ecs.scale`?"#]],
    );
    manifest(
        "max: 20",
        "maxx: 20",
        &expect![[r#"
        error[R302]: `ecs.scale` takes no `maxx`
          --> sync/rule.yaml:11:59
           |
        11 |   - ecs.scale: { cluster: workers, service: contact-sync, maxx: 20, step: 4, lease: 2h }
           |                                                           ^^^^ did you mean `max`?
        error[R302]: `ecs.scale` needs `max`
          --> sync/rule.yaml:11:5
           |
        11 |   - ecs.scale: { cluster: workers, service: contact-sync, maxx: 20, step: 4, lease: 2h }
           |     ^^^^^^^^^
           |
           = help: `max`: the largest count that a rule may set"#]],
    );
    manifest(
        "max: 20",
        "max: -1",
        &expect![[r#"
        error[R302]: `max` of `ecs.scale`: -1 is not between 1 and 1000
          --> sync/rule.yaml:11:59
           |
        11 |   - ecs.scale: { cluster: workers, service: contact-sync, max: -1, step: 4, lease: 2h }
           |                                                           ^^^^^^^"#]],
    );
    manifest(
        "may:\n",
        "may:\n  - slack.message\n",
        &expect![[r#"
        warning[R304]: `slack.message` is granted, but the script never proposes it
          --> sync/rule.yaml:11:5
           |
        11 |   - slack.message
           |     ^^^^^^^^^^^^^
           |
           = help: grant only what the script needs"#]],
    );
}

#[test]
fn mistakes_in_the_script_are_shown_where_they_are() {
    body(
        "    let x = alarm.nmae;",
        &expect![[r#"
        warning[R211]: `x` is never used
         --> sync/rule.rhai:2:9
          |
        2 |     let x = alarm.nmae;
          |         ^
          |
          = help: remove it, or name it `_x`
        error[R208]: alarms have no field `nmae`
         --> sync/rule.rhai:2:19
          |
        2 |     let x = alarm.nmae;
          |                   ^^^^ did you mean `name`?"#]],
    );
    body(
        "    let x = facts.servce.desired; print(x);",
        &expect![[r#"
        error[R209]: the manifest declares no fact `servce`
         --> sync/rule.rhai:2:19
          |
        2 |     let x = facts.servce.desired; print(x);
          |                   ^^^^^^ did you mean `service`?"#]],
    );
    body(
        "    let x = facts.service.desird; print(x);",
        &expect![[r#"
        error[R209]: `ecs.service` has no field `desird`
         --> sync/rule.rhai:2:27
          |
        2 |     let x = facts.service.desird; print(x);
          |                           ^^^^^^ did you mean `desired`?"#]],
    );
    body(
        "    if alarm.name == 5 { return []; }",
        &expect![[r#"
        error[R210]: a text is compared with a number, which is never so
         --> sync/rule.rhai:2:19
          |
        2 |     if alarm.name == 5 { return []; }
          |                   ^"#]],
    );
    body(
        "    pritn(alarm.name);",
        &expect![[r#"
        error[R206]: no function `pritn`
         --> sync/rule.rhai:2:5
          |
        2 |     pritn(alarm.name);
          |     ^^^^^ did you mean `print`?"#]],
    );
    body(
        "    print(alarm.name, 1);",
        &expect![[r#"
        error[R207]: `print` takes 0 or 1 arguments, not 2
         --> sync/rule.rhai:2:5
          |
        2 |     print(alarm.name, 1);
          |     ^^^^^"#]],
    );
    body(
        "    ecs::scale_buy(alarm.target, 1);",
        &expect![[r#"
        error[R206]: no function `ecs::scale_buy`
         --> sync/rule.rhai:2:5
          |
        2 |     ecs::scale_buy(alarm.target, 1);
          |     ^^^^^^^^^^^^^^ did you mean `scale_by`?"#]],
    );
    body(
        "    ecss::scale_by(alarm.target, 1);",
        &expect![[r#"
        error[R206]: no module `ecss`
         --> sync/rule.rhai:2:5
          |
        2 |     ecss::scale_by(alarm.target, 1);
          |     ^^^^ did you mean `ecs`?"#]],
    );
    body(
        "    ecs::scale_by(alarm.target);",
        &expect![[r#"
        error[R207]: `ecs::scale_by` does not take 1 arguments
         --> sync/rule.rhai:2:5
          |
        2 |     ecs::scale_by(alarm.target);
          |     ^^^^^^^^^^^^^
          |
          = help: write `ecs::scale_by(target, by)`"#]],
    );
    body(
        "    slack::message(alarm.name);",
        &expect![[r#"
        error[R303]: `slack.message` is not granted by `may`
         --> sync/rule.rhai:2:5
          |
        2 |     slack::message(alarm.name);
          |     ^^^^^^^^^^^^^^
          |
          = help: add `- slack.message: { … }` to `may` in rule.yaml"#]],
    );
    body(
        "    alarm.labels.team = \"x\";",
        &expect![[r#"
        error[R213]: `alarm` can only be read
         --> sync/rule.rhai:2:5
          |
        2 |     alarm.labels.team = "x";
          |     ^^^^^"#]],
    );
    body(
        "    eval(\"1\");",
        &expect![[r#"
        error[R212]: rules may not use `eval`
         --> sync/rule.rhai:2:5
          |
        2 |     eval("1");
          |     ^^^^"#]],
    );
    body(
        "    print(nope);",
        &expect![[r#"
        error[R201]: no variable `nope`
         --> sync/rule.rhai:2:11
          |
        2 |     print(nope);
          |           ^^^^
          |
          = help: known are `alarm`, `facts` and `results`"#]],
    );
    body(
        "    let x = ;",
        &expect![[r#"
        error[R201]: unexpected ';'
         --> sync/rule.rhai:2:13
          |
        2 |     let x = ;
          |             ^"#]],
    );
    body(
        "    if alarm[\"name\"] == \"x\" { return []; }",
        &expect![[r#"
        error[R208]: the alarm has fields, not items: write `alarm.name`
         --> sync/rule.rhai:2:8
          |
        2 |     if alarm["name"] == "x" { return []; }
          |        ^^^^^"#]],
    );
}

#[test]
fn mistakes_in_the_shape_of_the_script_are_shown() {
    let script = |text: &str, want: &Expect| want.assert_eq(&findings(MANIFEST, text));
    script(
        "fn plna(alarm, facts) { ecs::scale_by(alarm.target, 4) }",
        &expect![[r#"
        error[R203]: the script has no function `plan`
         --> sync/rule.rhai
          = help: add `fn plan(alarm, facts) { [] }`"#]],
    );
    script(
        "fn plan(alarm) { ecs::scale_by(alarm.target, 4) }",
        &expect![[r#"
        error[R204]: `plan` takes 2 parameters
         --> sync/rule.rhai:1:4
          |
        1 | fn plan(alarm) { ecs::scale_by(alarm.target, 4) }
          |    ^^^^
          |
          = help: write `fn plan(alarm, facts)`"#]],
    );
    script(
        "let x = 1;\nfn plan(alarm, facts) { ecs::scale_by(alarm.target, 4) }",
        &expect![[r#"
        error[R205]: only functions and constants with fixed values can stand here
         --> sync/rule.rhai:1:1
          |
        1 | let x = 1;
          | ^^^
          |
          = help: move it into `fn plan(alarm, facts)`
        warning[R211]: `x` is never used
         --> sync/rule.rhai:1:5
          |
        1 | let x = 1;
          |     ^
          |
          = help: remove it, or name it `_x`"#]],
    );
    script(
        "const N = 4;\nfn plan(alarm, facts) { ecs::scale_by(alarm.target, N) }",
        &expect![[r#"
        error[R201]: no variable `N`
         --> sync/rule.rhai:2:53
          |
        2 | fn plan(alarm, facts) { ecs::scale_by(alarm.target, N) }
          |                                                     ^
          |
          = help: a constant is read in functions as `global::N`"#]],
    );
    script(
        "fn plan(alarm, facts) {\n    ecs::scale_by(alarm.target, 4)\n\n\n",
        &expect![[r#"
        error[R201]: expecting ';' to terminate this statement
         --> sync/rule.rhai:2:34
          |
        2 |     ecs::scale_by(alarm.target, 4)
          |                                  ^"#]],
    );
}
