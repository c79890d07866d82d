//! The team's own words, derived from what senders say.

use untoil_intake::{Decoded, Decoders, Enrichment};
use untoil_model::Alarm;

use crate::goldens::delivery;

const RULES: &str = r#"
- when: { name: '^\[(?<p>P1)\] (?<service>[a-z-]+)' }
  set: { severity: critical, service: "{service}" }
- when: { name: '^\[P(\d)\]' }
  set: { severity: "p{1}" }
- set:
    environment: { of: account, words: { "123456789012": prod, "210987654321": staging } }
    owner: "{labels.Team}"
- when: { namespace: '^AWS/(RDS|DynamoDB)$' }
  set: { owner: data, service: "{1}-{dimensions.DBInstanceIdentifier}" }
- when: { labels: { env: . } }
  set: { environment: "{labels.env}" }
- when: { severity: '^(?i:sev1)$' }
  set: { severity: critical }
  override: true
"#;

fn decoders(rules: &str) -> Decoders {
    let enrichment: Enrichment = serde_yaml::from_str(rules).unwrap();
    Decoders::default().enriched(enrichment)
}

/// The alarm of a body in our own JSON with these fields, and where its derived words came from.
fn read(decoders: &Decoders, fields: &str) -> (Alarm, Vec<String>) {
    let body = format!(
        r#"{{"alarms": [{{"key": "k", "state": "firing", "changed_at": "2026-11-02T03:04:05Z", {fields}}}]}}"#
    );
    let (Decoded::Alarms(alarms), origins) =
        decoders.explain(&delivery("generic", body.into_bytes())).unwrap()
    else {
        panic!("{fields}");
    };
    let origins = origins.into_iter().flatten().filter(|origin| origin.from.contains("enrich"));
    (
        alarms[0].clone(),
        origins.map(|origin| format!("{}: {}", origin.field, origin.from)).collect(),
    )
}

fn words(alarm: &Alarm) -> [Option<&str>; 4] {
    let label = |key: &str| alarm.labels.get(key).map(String::as_str);
    [alarm.severity.as_deref(), label("service"), label("environment"), label("owner")]
}

#[test]
fn the_first_rule_that_says_something_for_a_field_counts() {
    let decoders = decoders(RULES);
    for (fields, expected) in [
        (r#""name": "disk""#, [None; 4]),
        (r#""name": "[P1] card-api 5xx""#, [Some("critical"), Some("card-api"), None, None]),
        (r#""name": "[P1] 명함""#, [Some("p1"), None, None, None]),
        (r#""name": "[P2] card-api""#, [Some("p2"), None, None, None]),
        (r#""name": "a", "account": "123456789012""#, [None, None, Some("prod"), None]),
        (
            r#""name": "a", "account": "1", "labels": {"env": "dev"}"#,
            [None, None, Some("dev"), None],
        ),
        (
            r#""name": "a", "namespace": "AWS/RDS", "labels": {"Team": "cards"}, "dimensions": {"DBInstanceIdentifier": "db-1"}"#,
            [None, Some("RDS-db-1"), None, Some("cards")],
        ),
        (
            r#""name": "a", "namespace": "AWS/RDS", "labels": {"Team": " "}"#,
            [None, None, None, Some("data")],
        ),
        // What the sender said stays, unless a rule overrides it.
        (
            r#""name": "[P1] a", "severity": "low", "labels": {"service": "x"}"#,
            [Some("low"), Some("x"), None, None],
        ),
        (r#""name": "[P1] a", "severity": "SEV1""#, [Some("critical"), Some("a"), None, None]),
        (r#""name": "a", "severity": "SEV10""#, [Some("SEV10"), None, None, None]),
    ] {
        let (alarm, _) = read(&decoders, fields);
        assert_eq!(words(&alarm), expected, "{fields}");
    }
}

#[test]
fn a_derived_word_remembers_its_rule() {
    let (_, origins) = read(
        &decoders(RULES),
        r#""name": "[P1] card-api", "severity": "SEV1", "account": "123456789012""#,
    );
    assert_eq!(
        origins,
        [
            "labels.environment: `enrich` rule 3 in `policy.yaml`",
            "labels.service: `enrich` rule 1 in `policy.yaml`",
            "severity: `enrich` rule 6 in `policy.yaml`",
        ]
    );
}

#[test]
fn mistakes_in_rules_are_named_with_the_way_out() {
    let many = "- set: { owner: a }\n".repeat(101);
    for (rules, wanted) in [
        ("- when: { name: a }\n  set: {}", "`set` sets nothing"),
        ("- when: { nam: a }\n  set: { owner: a }", "nam"),
        ("- when: { name: a }\n  set: { team: a }", "team"),
        ("- when: { name: '[P1' }\n  set: { owner: a }", "no regular expression: unclosed"),
        ("- when: { name: '(\\w{100}){100}' }\n  set: { owner: a }", "no regular expression"),
        ("- when: { name: a }\n  set: { owner: '{1}' }", "no group"),
        ("- when: { name: (a) }\n  set: { owner: '{2}' }", "none of the pattern's 1"),
        ("- when: { name: (a), source: (b) }\n  set: { owner: '{1}' }", "several patterns"),
        ("- set: { owner: '{team}' }", "neither a group of a pattern nor a field"),
        ("- set: { owner: '{name' }", "not closed"),
        ("- set: { owner: { of: acount, words: { a: b } } }", "`acount` is no field"),
        ("- set: { owner: { of: account, words: {} } }", "0 words"),
        (&many, "101 rules"),
    ] {
        let error = serde_yaml::from_str::<Enrichment>(rules).unwrap_err().to_string();
        assert!(error.contains(wanted), "{rules}: {error}");
    }
}
