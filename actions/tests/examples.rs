//! Every action's examples are run, and the reference page says what the catalogue says.

#![expect(clippy::unwrap_used, reason = "a broken example should stop the test where it breaks")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::expect_file;
use serde_json::Value;
use untoil_actions::{
    Ask, Bounds, Catalogue, Example, FactKind, Param, ParamKind, Proposal, Repeat, Spec,
};
use untoil_model::{Class, FactValue, Facts, Step, Target};

fn catalogue() -> Catalogue {
    Catalogue::standard(vec!["ops.example.com".into(), "http://127.0.0.1:9000".into()])
}

fn facts(json: &str) -> Facts {
    let facts: BTreeMap<String, Value> = serde_json::from_str(json).unwrap();
    let of = |(name, fact): (String, Value)| {
        let value = FactValue {
            kind: fact["kind"].as_str().unwrap().to_owned(),
            source: "an example".into(),
            read_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            value: fact["value"].clone(),
        };
        (name, value)
    };
    facts.into_iter().map(of).collect()
}

fn resolve(may: &[&str], facts_json: &str, proposal: &str) -> Result<Step, untoil_model::Reason> {
    let may: Vec<Bounds> = may.iter().map(|may| serde_json::from_str(may).unwrap()).collect();
    let proposal: Proposal = serde_json::from_str(proposal).unwrap();
    let target: Target = proposal.target.parse().unwrap();
    let facts = facts(facts_json);
    catalogue().resolve(&Ask { proposal: &proposal, may: &may, facts: &facts, target: &target })
}

fn given(example: &Example) -> String {
    match resolve(&[example.may], example.facts, example.proposal) {
        Ok(step) => step.says,
        Err(reason) => format!("refused: {}", reason.code()),
    }
}

#[test]
fn every_example_gives_what_it_says() {
    for action in catalogue().iter() {
        let spec = action.spec();
        assert!(spec.examples.len() >= 2, "`{}` shows at least one use and one refusal", spec.kind);
        for example in spec.examples {
            assert_eq!(given(example), example.gives, "{}: {}", spec.kind, example.title);
        }
    }
}

#[test]
fn the_bounds_of_an_example_that_works_pass_the_check_of_rules() {
    for action in catalogue().iter() {
        for example in action.spec().examples.iter().filter(|e| !e.gives.starts_with("refused")) {
            let bounds: Bounds = serde_json::from_str(example.may).unwrap();
            assert_eq!(action.check_bounds(&bounds), Ok(()), "{}", example.title);
        }
    }
}

#[test]
fn an_action_that_is_not_granted_is_refused() {
    for action in catalogue().iter() {
        for example in action.spec().examples {
            let reason = resolve(&[], example.facts, example.proposal).unwrap_err();
            assert_eq!(reason.code(), "param_invalid");
        }
    }
}

#[test]
fn one_of_several_grants_is_enough() {
    let small = r#"{"cluster":"w","service":"s","max":5,"step":1}"#;
    let large = r#"{"cluster":"w","service":"s","max":9,"step":4}"#;
    let facts = r#"{"s":{"kind":"ecs.service","value":{"cluster":"w","service":"s","desired":4}}}"#;
    let ask = r#"{"action":"ecs.scale","target":"ecs/w/s","params":{"by":3},"after":"0s"}"#;
    assert_eq!(resolve(&[small, large], facts, ask).unwrap().says, "desired count 4 → 7");
    let reason = resolve(&[small], facts, ask).unwrap_err();
    assert!(format!("{reason:?}").contains("changes 3; one step may change 1"), "{reason:?}");
}

#[test]
fn broken_bounds_are_told_to_the_author() {
    let cases = [
        (
            "ecs.scale",
            r#"{"cluster":"w","service":"s","max":5}"#,
            "`step` of `ecs.scale`: it is missing",
        ),
        (
            "ecs.scale",
            r#"{"cluster":"w","service":"s","max":5,"step":1,"min":6}"#,
            "`min` of `ecs.scale` is 6, above its `max` 5",
        ),
        (
            "ecs.scale",
            r#"{"cluster":"w","service":"s","max":"20","step":1}"#,
            "`max` of `ecs.scale`: it must be a whole number",
        ),
        (
            "ecs.scale",
            r#"{"cluster":"w","service":"s","max":5,"step":1,"leese":"2h"}"#,
            "`leese` of `ecs.scale`: there is no such argument; it takes `cluster`, `service`, `max`, `min`, `step`, `lease`, `shrink`",
        ),
        (
            "ssm.document",
            r#"{"document":"AWS-RunShellScript"}"#,
            "`AWS-RunShellScript` is not one of the fixed documents: `untoil-cpu-culprit`, `untoil-disk-diag`, `untoil-disk-reclaim`, `untoil-restart-unit`",
        ),
        (
            "ssm.document",
            r#"{"document":"untoil-disk-diag","timeout":"5s"}"#,
            "`timeout` of `ssm.document` is 5s; use 30s to 1h",
        ),
        (
            "ssm.document",
            r#"{"document":"untoil-restart-unit","params":{"Unit":"sshd.service"}}"#,
            "`Unit` of `untoil-restart-unit`: `sshd.service` is not a `Unit`: use one of `ds_agent.service`, `newrelic-infra.service`, `amazon-ssm-agent.service`, `snap.amazon-ssm-agent.amazon-ssm-agent.service`",
        ),
        (
            "ssm.automation",
            r#"{"document":"X","version":"$LATEST"}"#,
            "`version` of `ssm.automation`: `$LATEST` is not a number",
        ),
        (
            "http.request",
            r#"{"host":"evil.example"}"#,
            "`evil.example` is not one of the allowed hosts; add it to `http_hosts`",
        ),
        (
            "asg.replace_instance",
            r#"{"group":"web","min_healthy":10}"#,
            "`min_healthy` of `asg.replace_instance`: 10 is not between 50 and 100",
        ),
    ];
    for (kind, bounds, expected) in cases {
        let bounds: Bounds = serde_json::from_str(bounds).unwrap();
        let said = catalogue().get(kind).unwrap().check_bounds(&bounds).unwrap_err();
        assert_eq!(said, expected);
    }
}

#[test]
fn a_url_that_two_parsers_could_read_in_two_ways_is_refused() {
    let may = r#"{"host":"ops.example.com","path":"/v1/"}"#;
    for url in [
        "https://ops.example.com/v2/x",
        "https://ops.example.com/v1/../v2/x",
        "https://ops.example.com/v1/%2e%2E/x",
        "https://ops.example.com/v1/%2F../x",
        "https://ops.example.com./v1/x",
        "https://OPS.example.com/v1/x",
        "https://ops.example.com:443/v1/x",
        "https://ops.example.com\\@evil.example/v1/x",
        "https://user@ops.example.com/v1/x",
        "https://ops.example.com#@evil.example/v1/x",
        "https://evil.example/v1/ops.example.com",
        "http://ops.example.com/v1/x",
        "//ops.example.com/v1/x",
        "https:///v1/x",
        "https://ops.example.com/v1/a b",
        "https://ops.example.com/v1/é",
    ] {
        let ask = serde_json::json!({ "action": "http.request", "target": "cache/x", "after": "0s",
            "params": { "method": "POST", "url": url } });
        assert!(resolve(&[may], "{}", &ask.to_string()).is_err(), "{url}");
    }
    let ask = r#"{"action":"http.request","target":"cache/x","params":{"method":"PUT","url":"http://127.0.0.1:9000/x"},"after":"0s"}"#;
    let may = r#"{"host":"http://127.0.0.1:9000","class":"B"}"#;
    assert_eq!(resolve(&[may], "{}", ask).unwrap().class, Class::B);
}

#[test]
fn restarting_a_security_control_or_the_courier_is_of_a_higher_class() {
    let may = r#"{"document":"untoil-restart-unit"}"#;
    for (unit, class) in [
        ("newrelic-infra.service", Class::B),
        ("ds_agent.service", Class::C),
        ("amazon-ssm-agent.service", Class::C),
    ] {
        let ask = serde_json::json!({ "action": "ssm.document", "target": "ec2/i-0a1b2c3d",
            "after": "0s", "params": { "document": "untoil-restart-unit", "params": { "Unit": unit } } });
        assert_eq!(resolve(&[may], "{}", &ask.to_string()).unwrap().class, class, "{unit}");
    }
    let may = r#"{"document":"untoil-cpu-culprit"}"#;
    let ask = r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d","params":{"document":"untoil-cpu-culprit"},"after":"0s"}"#;
    let step = resolve(&[may], "{}", ask).unwrap();
    assert_eq!(step.class, Class::A);
    assert_eq!(step.settle.as_secs(), 60 + 120 + 60);
}

fn table(out: &mut String, what: &str, params: &[Param]) {
    if params.is_empty() {
        writeln!(out, "{what}: none.\n").unwrap();
        return;
    }
    writeln!(out, "| {what} | type | | |\n| --- | --- | --- | --- |").unwrap();
    for Param { name, kind, required, doc } in params {
        let kind = match kind {
            ParamKind::Text(max) => format!("text, up to {max}"),
            ParamKind::Whole(least, most) => format!("{least} to {most}"),
            ParamKind::Table => "table of texts".into(),
            ParamKind::Time => "time".into(),
            ParamKind::Flag => "true or false".into(),
        };
        let needed = if *required { "required" } else { "" };
        writeln!(out, "| `{name}` | {kind} | {needed} | {doc} |").unwrap();
    }
    out.push('\n');
}

fn page(spec: &Spec, out: &mut String) {
    let action = catalogue();
    let action = action.get(spec.kind).unwrap();
    writeln!(out, "## `{}`\n\n{} Class {:?}.\n", spec.kind, spec.summary, action.class()).unwrap();
    table(out, "parameter", spec.params);
    table(out, "bound in `may:`", spec.bounds);
    let bounds: Bounds = serde_json::from_str(spec.examples[0].may).unwrap();
    let needs = action.needs(&bounds);
    if needs.is_empty() {
        out.push_str("IAM: nothing.\n\n");
    } else {
        writeln!(out, "IAM, for `{}`:\n", spec.examples[0].may).unwrap();
        for need in needs {
            writeln!(out, "- `{}` on `{}`", need.action, need.resource).unwrap();
        }
        out.push('\n');
    }
    out.push_str(match spec.repeat {
        Repeat::Safe => {
            "If its outcome is unknown: looked for, and tried again if it did not go out.\n\n"
        }
        Repeat::Never => {
            "If its outcome is unknown: looked for, never tried again; a person is asked.\n\n"
        }
    });
    for example in spec.examples {
        writeln!(
            out,
            "- {}: `{}` with `{}` → {}",
            example.title, example.proposal, example.may, example.gives
        )
        .unwrap();
    }
    out.push('\n');
}

#[test]
fn the_reference_page_says_what_the_catalogue_says() {
    let mut out = String::from(
        "# Actions and facts\n\nMade from the catalogue by a test (`UPDATE_EXPECT=1 cargo test -p untoil-actions`); do not edit.\n\n\
         A rule's script proposes; its `may:` bounds what is allowed; relative values become absolute ones before the guard judges.\n\n",
    );
    for action in catalogue().iter() {
        page(action.spec(), &mut out);
    }
    out.push_str("# Facts\n\n");
    for kind in FactKind::ALL {
        writeln!(out, "## `{}`\n", kind.name()).unwrap();
        table(&mut out, "argument", kind.params());
        let fields: Vec<_> = kind.fields().iter().map(|field| format!("`{field}`")).collect();
        writeln!(out, "Fields: {}.\n", fields.join(", ")).unwrap();
    }
    let out = out.trim_end().to_owned() + "\n";
    expect_file!["../../docs/actions.md"].assert_eq(&out);
}
