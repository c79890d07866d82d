//! Scripts and manifests made of shuffled tokens never panic the engine, hang it or lose a thread.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

mod entries;

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use untoil_actions::Catalogue;
use untoil_model::{Alarm, Facts, Target};
use untoil_sandbox::{Fault, MeteredAlloc, Question, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap());

const MANIFEST: &str = "
summary: A rule for a test
owner: platform
on: [{ source: cloudwatch, labels: { team: plat* } }]
target: ec2/i-0a1b2c3d
may: [slack.message]
mode: shadow
limits: { target: 3 per 24h, cooldown: 30m }
verify: { clears_within: 20m, holds_for: 5m }
escalate: { mention: platform-oncall }
saves: 30m
";

const TOKENS: &[&str] = &[
    "let",
    "const",
    "fn",
    "if",
    "else",
    "for",
    "in",
    "while",
    "loop",
    "break",
    "return",
    "throw",
    "try",
    "catch",
    "switch",
    "alarm",
    "facts",
    "a",
    "b",
    "x",
    "f",
    "=",
    "==",
    "<",
    "+",
    "-",
    "*",
    "/",
    "%",
    "+=",
    ".",
    "?.",
    "??",
    ",",
    ";",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "#{",
    ":",
    "::",
    "=>",
    "|x|",
    "||",
    "&&",
    "!",
    "0",
    "1",
    "2.5",
    "\"s\"",
    "'c'",
    "`t${a}`",
    "()",
    "true",
    "0..9",
    "name",
    "labels",
    "len()",
    "push(1)",
    "pad(9, \"\")",
    "map(|x| x)",
    "sort(|a, b| 1)",
    "replace(\"a\", \"b\")",
    "slack::message(\"x\")",
    ".after(\"1s\")",
    "print(a)",
    "a[0]",
    "a.k",
];

fn tokens() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TOKENS), 1..24).prop_map(|tokens| tokens.join(" "))
}

fn files(manifest: &str, script: &str) -> RuleFiles {
    RuleFiles { name: "test".into(), manifest: Some(manifest.into()), script: Some(script.into()) }
}

fn check(script: &str) {
    let rule = match SANDBOX.build(&files(MANIFEST, script)) {
        Ok(rule) => rule,
        Err(found) => {
            let panicked =
                found.iter().any(|found| found.message.contains("could not be compiled"));
            assert!(!panicked, "{script}");
            return;
        }
    };
    let alarm: Alarm = serde_json::from_value(serde_json::json!({
        "key": "k", "source": "cloudwatch", "name": "n", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    let (alarm, facts) = (Arc::new(alarm), Arc::new(Facts::new()));
    let target: Target = "ec2/i-0a1b2c3d".parse().unwrap();
    let question = Question::Plan { alarm: &alarm, target: &target, facts: &facts };
    let answer = SANDBOX.ask_blocking(&rule, question);
    if let Err(error) = answer.proposals {
        assert_ne!(error.fault, Fault::Engine, "{script}");
        assert!(error.rendered.len() <= 4096 + 64);
    }
}

/// The shipped rules as the entry point takes them: manifest, a line `---`, script.
fn shipped() -> Vec<Vec<u8>> {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules");
    let mut all: Vec<Vec<u8>> = std::fs::read_dir(rules)
        .unwrap()
        .filter_map(|entry| {
            let folder = entry.unwrap().path();
            let manifest = std::fs::read(folder.join("rule.yaml")).ok()?;
            Some([manifest, std::fs::read(folder.join("rule.rhai")).ok()?].join(&b"\n---\n"[..]))
        })
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// A shipped rule with bytes cut out, put in, or taken from elsewhere in it.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let index = any::<prop::sample::Index>;
    let bytes = prop::collection::vec(any::<u8>(), 0..6);
    let put = prop_oneof![bytes.prop_map(Ok), index().prop_map(Err)];
    (prop::sample::select(shipped()), index(), 0..40_usize, put).prop_map(|(base, at, cut, put)| {
        let mut all = base.clone();
        let at = at.index(all.len());
        let put = put.unwrap_or_else(|from: prop::sample::Index| {
            base[from.index(base.len())..].iter().take(60).copied().collect()
        });
        all.splice(at..(at + cut).min(base.len()), put);
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn changed_rules_end_in_a_rule_or_in_findings(input in changed()) {
        entries::built(&input);
    }

    #[test]
    fn shuffled_tokens_never_panic_or_hang(lines in prop::collection::vec(tokens(), 1..4)) {
        check(&format!("fn plan(alarm, facts) {{ let a = [1]; let b = #{{k: 1}}; let f = |x| x; {}; [] }}", lines.join(";\n")));
        prop_assert_eq!(SANDBOX.threads_given_up(), 0);
    }

    #[test]
    fn cut_and_spliced_manifests_never_panic(at in 0..400_usize, with in "[a-z{}\\[\\]:,&*!|>'\" \n-]{0,6}", len in 0..20_usize) {
        let chars: Vec<char> = MANIFEST.chars().collect();
        let at = at.min(chars.len());
        let end = (at + len).min(chars.len());
        let text: String = chars[..at].iter().chain(with.chars().collect::<Vec<_>>().iter()).chain(&chars[end..]).collect();
        match SANDBOX.build(&files(&text, "fn plan(alarm, facts) { [] }")) {
            Ok(rule) => prop_assert_eq!(rule.manifest.owner.is_empty(), false),
            Err(found) => prop_assert!(!found.is_empty()),
        }
    }
}
