//! The index finds exactly what a look at every rule finds, in a fixed order.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use untoil_actions::Catalogue;
use untoil_model::Alarm;
use untoil_sandbox::{MeteredAlloc, Rule, RuleBook, RuleFiles, Sandbox};

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

static SANDBOX: LazyLock<Sandbox> =
    LazyLock::new(|| Sandbox::start(Arc::new(Catalogue::standard(vec![])), 1).unwrap());

fn rule(name: &str, on: &str) -> Arc<Rule> {
    let manifest = format!(
        "summary: s\nowner: o\non: {on}\ntarget: asg/web\nmay: [slack.message]\nmode: shadow\n"
    );
    let files = RuleFiles {
        name: name.into(),
        manifest: Some(manifest.into()),
        script: Some("fn plan(alarm, facts) { slack::message(\"x\") }".into()),
    };
    Arc::new(SANDBOX.build(&files).unwrap_or_else(|found| panic!("{}", found[0])))
}

fn alarm(source: &str, namespace: Option<&str>, metric: Option<&str>, name: &str) -> Alarm {
    let mut alarm: Alarm = serde_json::from_value(serde_json::json!({
        "key": "k", "source": source, "name": name, "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z", "labels": { "team": "platform" },
    }))
    .unwrap();
    alarm.namespace = namespace.map(str::to_owned);
    alarm.metric = metric.map(str::to_owned);
    alarm
}

fn names(found: &[&Arc<Rule>]) -> Vec<String> {
    found.iter().map(|rule| rule.name.to_string()).collect()
}

#[test]
fn the_most_particular_rule_comes_first_then_the_name() {
    let book = RuleBook::new([
        rule("z-any", "[{ source: '*', name: '*' , namespace: 'A*' }]"),
        rule("b-two", "[{ source: s, namespace: AB }]"),
        rule("a-two", "[{ source: s, namespace: AB }]"),
        rule("c-three", "[{ source: other }, { source: s, namespace: AB, metric: M }]"),
        rule("d-label", "[{ source: s, namespace: 'A*', labels: { team: platform } }]"),
        rule("e-absent", "[{ source: s, severity: '*' }]"),
        rule("f-label", "[{ labels: { nope: '*' } }]"),
    ]);
    let found = book.matching(&alarm("s", Some("AB"), Some("M"), "n"));
    assert_eq!(names(&found), ["c-three", "d-label", "a-two", "b-two", "z-any"]);
    assert_eq!(names(&book.matching(&alarm("other", None, None, "n"))), ["c-three"]);
    assert!(book.matching(&alarm("nobody", None, None, "n")).is_empty());
}

#[test]
fn among_thousands_of_rules_an_alarm_finds_its_own() {
    let one = rule("one", "[{ source: s, name: n }]");
    let book = RuleBook::new((0..3000).map(|i| {
        let mut rule = Rule::clone(&one);
        rule.name = format!("rule-{i:04}").parse().unwrap();
        rule.manifest.on[0].name = Some(format!("alarm-{}", i % 1500).parse().unwrap());
        Arc::new(rule)
    }));
    for i in 0..1500 {
        let found = book.matching(&alarm("s", None, None, &format!("alarm-{i}")));
        assert_eq!(names(&found), [format!("rule-{i:04}"), format!("rule-{:04}", i + 1500)]);
        let nobodys = alarm("s", None, None, &format!("alarm-{}", i + 1500));
        assert!(book.matching(&nobodys).is_empty());
    }
}

/// Two of these are more than a matcher holds itself.
static LONG: LazyLock<&str> = LazyLock::new(|| format!("{}b", "a".repeat(30)).leak());

fn pattern() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        2 => Just(None),
        3 => prop::sample::select(vec!["a", "b", "ab", *LONG]).prop_map(|text| Some(text.to_owned())),
        2 => prop::sample::select(vec!["'*'", "a*", "'*b'"]).prop_map(|text| Some(text.to_owned())),
    ]
}

/// Of the team that all alarms here are of, of another, or nothing.
fn team() -> impl Strategy<Value = Option<String>> {
    prop::sample::select(vec![None, None, Some("platform"), Some("'*form'"), Some("other")])
        .prop_map(|team| team.map(|team| format!("{{ team: {team} }}")))
}

fn matcher() -> impl Strategy<Value = String> {
    let fields = (pattern(), pattern(), pattern(), pattern(), team());
    fields.prop_filter_map("matches all", |fields| {
        let named = [
            ("source", fields.0),
            ("namespace", fields.1),
            ("metric", fields.2),
            ("name", fields.3),
            ("labels", fields.4),
        ];
        let parts: Vec<String> = named
            .into_iter()
            .filter_map(|(key, value)| value.map(|value| format!("{key}: {value}")))
            .collect();
        let is_all = parts.iter().all(|part| part.ends_with("'*'"));
        (!is_all).then(|| format!("{{ {} }}", parts.join(", ")))
    })
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(vec!["a", "b", "ab", "c", *LONG]).prop_map(str::to_owned))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_index_finds_what_a_look_at_every_rule_finds(
        rules in prop::collection::vec(prop::collection::vec(matcher(), 1..3), 0..12),
        alarms in prop::collection::vec((text(), text(), text(), text()), 1..12),
    ) {
        let rules: Vec<Arc<Rule>> = rules
            .iter()
            .enumerate()
            .map(|(at, on)| rule(&format!("rule-{at:02}"), &format!("[{}]", on.join(", "))))
            .collect();
        let book = RuleBook::new(rules.clone());
        for (source, namespace, metric, name) in alarms {
            let alarm = alarm(
                source.as_deref().unwrap_or("z"), namespace.as_deref(), metric.as_deref(), name.as_deref().unwrap_or(""),
            );
            let found = names(&book.matching(&alarm));
            let mut sorted = found.clone();
            sorted.sort();
            let linear: Vec<String> =
                rules.iter().filter(|rule| rule.answers(&alarm)).map(|rule| rule.name.to_string()).collect();
            prop_assert_eq!(sorted, linear);
            prop_assert_eq!(found, names(&book.matching(&alarm)));
        }
    }
}
