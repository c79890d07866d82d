//! Whatever text stands in the configuration or the policy, reading it ends in a value.

use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config as Cases;

use entries::{configured, ruled};

#[path = "../../tests/entries/config.rs"]
mod entries;

/// One that has every kind of key.
const FULL: &str = r#"listen: 127.0.0.1:8460
mode: dry_run
drain: 25s
drain_open: 5s
store: { postgres: { url: { env: UNTOIL_DATABASE_URL }, schema: ops } }
retention: { keep: 90d }
proxies: ["10.0.0.0/8"]
admin: { file: /run/secrets/untoil-admin }
deadman: { every: 1m, within: 30s }
otlp: { endpoint: "http://127.0.0.1:4318", headers: { api-key: { env: KEY } } }
sources:
  sns: { sns: { topics: ["arn:aws:sns:ap-northeast-2:123456789012:alarms"] } }
  grafana-seoul: { decoder: grafana, bearer: { secrets: [{ env: A }] }, rate: 600 per 1m }
  orders:
    envelope: cloudevents
    networks: ["198.51.100.0/24"]
    hmac: { header: X-Sign, secrets: [{ env: B }], time: { header: X-Time, tolerance: 5m } }
    mapping: { key: /subject, state: { from: /type, firing: [a], resolved: [b] }, changed_at: /time }
queues:
  - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
    source: orders
---
UNTOIL_SLACK__CHANNEL=C0123
UNTOIL_SOURCES__PAGERDUTY={"pagerduty":{"secrets":[{"env":"P"}]}}
"#;

/// A text with a piece of it replaced.
fn changed(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let put = prop::sample::select(vec![
        "",
        ":",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "&a",
        "*a",
        "<<: ",
        "\"",
        "'",
        "#",
        "~",
        "null",
        "yes",
        "-1",
        "1e999",
        "9999999999999999999",
        "0s",
        "999999999999d",
        "\u{0}",
        "한글",
    ]);
    (any::<prop::sample::Index>(), 0..12_usize, put).prop_map(move |(at, cut, put)| {
        let mut bytes = text.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..(at + cut).min(text.len()), put.bytes());
        bytes
    })
}

#[test]
fn the_texts_that_are_changed_are_read() {
    let text = FULL.split_once("---\n").unwrap().0;
    assert_eq!(super::Config::read(text, &[]).unwrap().sources.len(), 3);
    configured(FULL.as_bytes());
    ruled(include_bytes!("../../../../rules/policy.yaml"));
}

proptest! {
    #![proptest_config(Cases { cases: 256, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn any_configuration_is_refused_or_says_the_same_when_written(input in changed(FULL)) {
        configured(&input);
    }

    #[test]
    fn any_policy_is_refused_or_says_the_same_when_written(
        input in changed(include_str!("../../../../rules/policy.yaml")),
    ) {
        ruled(&input);
    }

    #[test]
    fn any_text_is_refused_or_read(input in "\\PC{0,200}|[\\[{:,\\n \"]{0,200}") {
        configured(input.as_bytes());
        ruled(input.as_bytes());
    }
}
