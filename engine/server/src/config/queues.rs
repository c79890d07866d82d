//! `queues`: where messages are taken from.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use untoil_aws::QueueAddress;
use untoil_health::HEARTBEAT;
use untoil_model::Source;

use crate::config::{Config, decoders};

/// Most queues: each has a connection that waits.
const QUEUES_MAX: usize = 16;

/// A queue of SQS that messages are taken from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueConfig {
    /// Its address.
    pub(crate) url: String,
    /// The source that its messages are read as.
    #[serde(default = "default_source")]
    pub(crate) source: String,
}

/// What AWS publishes, wrapped by SNS or not.
fn default_source() -> String {
    "aws".into()
}

/// The queues that messages are taken from, with the source that each is read as.
pub(crate) fn queues(config: &Config) -> anyhow::Result<Vec<(Source, QueueAddress)>> {
    let count = config.queues.len();
    if count > QUEUES_MAX {
        bail!("`queues` has {count}; at most {QUEUES_MAX} are taken from: let topics share one");
    }
    let decoders = decoders(config)?;
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (n, QueueConfig { url, source }) in (1..).zip(&config.queues) {
        let place = || format!("in `queues`, entry {n}");
        let address: QueueAddress = url.parse().with_context(place)?;
        let named: Source = source.parse().with_context(place)?;
        if source == HEARTBEAT {
            bail!("{}: `source: {HEARTBEAT}` is the engine's own; name another", place());
        }
        if !decoders.reads(&named) {
            bail!(
                "{}: nothing reads source `{source}`; leave `source` out for what AWS publishes, or \
                 name a decoder or one of `sources`",
                place()
            );
        }
        if !seen.insert(address.clone()) {
            bail!(
                "{}: `{url}` is there already; one entry takes from it, in each instance",
                place()
            );
        }
        all.push((named, address));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

    use expect_test::Expect;

    use super::*;

    const SQS: &str = "https://sqs.ap-northeast-2.amazonaws.com/123456789012";

    #[test]
    fn a_queue_is_read_as_what_aws_publishes_unless_it_names_a_source() {
        let text = format!(
            "queues:\n  - url: {SQS}/untoil\n  - {{ url: {SQS}/crm, source: crm }}\n\
             sources: {{ crm: {{ bearer: {{ secrets: [] }}, decoder: grafana }} }}\n"
        );
        let config = Config::read(&text, &[]).unwrap();
        let all = queues(&config).unwrap();
        let told: Vec<_> = all.iter().map(|(source, it)| (source.as_str(), it.arn("-"))).collect();
        let arn = "arn:aws:sqs:ap-northeast-2:123456789012";
        assert_eq!(told, [("aws", format!("{arn}:untoil")), ("crm", format!("{arn}:crm"))]);
    }

    /// What is said of each of these texts.
    fn check(mistakes: &[String], says: &Expect) {
        let mut told = String::new();
        for text in mistakes {
            let error = Config::read(text, &[]).unwrap_err();
            let text = if text.len() > 500 { "(17 queues)\n" } else { text };
            told.extend([text, &format!("=> {error:#}\n\n")]);
        }
        says.assert_eq(&told);
    }

    #[test]
    fn what_is_no_list_of_queues_is_shown_with_a_caret() {
        let mistakes = [
            format!("queues: {SQS}/untoil\n"),
            format!("queues: [{SQS}/untoil]\n"),
            format!("queues:\n  - urll: {SQS}/untoil\n"),
            format!("queues:\n  - url: {SQS}/untoil\n    delete: false\n"),
            "queues:\n  - source: aws\n".to_owned(),
        ];
        check(
            &mistakes,
            &expect_test::expect![[r#"
            queues: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
            => error: line 1 column 9: expected sequence start
             --> <input>:1:9
              |
            1 | queues: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
              |         ^ expected sequence start

            queues: [https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil]
            => error: line 1 column 10: expected mapping start
             --> <input>:1:10
              |
            1 | queues: [https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil]
              |          ^ expected mapping start

            queues:
              - urll: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
            => error: line 2 column 5: unknown field `urll`, expected one of url, source
             --> <input>:2:5
              |
            1 | queues:
            2 |   - urll: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoi…
              |     ^ unknown field `urll`, expected one of url, source

            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
                delete: false
            => error: line 3 column 5: unknown field `delete`, expected one of url, source
             --> <input>:3:5
              |
            1 | queues:
            2 |   - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
            3 |     delete: false
              |     ^ unknown field `delete`, expected one of url, source

            queues:
              - source: aws
            => error: line 2 column 5: missing field `url`
             --> <input>:2:5
              |
            1 | queues:
            2 |   - source: aws
              |     ^ missing field `url`

        "#]],
        );
    }

    #[test]
    fn what_is_no_address_is_told_with_the_way_out() {
        let mistakes = [
            "untoil",
            "arn:aws:sqs:ap-northeast-2:123456789012:untoil",
            "http://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil",
            "https://sqs.ap-northeast-2.amazonaws.com/untoil",
        ];
        let mistakes = mistakes.map(|url| format!("queues:\n  - url: {url}\n"));
        check(
            &mistakes,
            &expect_test::expect![[r#"
            queues:
              - url: untoil
            => in `queues`, entry 1: `untoil` is not the address of a queue; `aws sqs get-queue-url --queue-name NAME` tells it: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`

            queues:
              - url: arn:aws:sqs:ap-northeast-2:123456789012:untoil
            => in `queues`, entry 1: `arn:aws:sqs:ap-northeast-2:123456789012:untoil` is an ARN; give the address: `https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil`

            queues:
              - url: http://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
            => in `queues`, entry 1: `http://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil` is not encrypted; write `https://…`

            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/untoil
            => in `queues`, entry 1: `https://sqs.ap-northeast-2.amazonaws.com/untoil` is not the address of a queue; `aws sqs get-queue-url --queue-name NAME` tells it: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`

        "#]],
        );
    }

    #[test]
    fn a_strange_source_a_queue_twice_and_too_many_are_told_with_the_way_out() {
        let mut many = "queues:\n".to_owned();
        for n in 0..17 {
            many.extend(["  - url: ", SQS, "/untoil-", &n.to_string(), "\n"]);
        }
        let mistakes = [
            format!("queues:\n  - url: {SQS}/untoil\n    source: graphana\n"),
            format!("queues:\n  - url: {SQS}/untoil\n    source: 'a b'\n"),
            format!("queues:\n  - url: {SQS}/untoil\n    source: heartbeat\n"),
            format!("queues:\n  - url: {SQS}/untoil\n  - url: {SQS}/untoil\n    source: sns\n"),
            many,
        ];
        check(
            &mistakes,
            &expect_test::expect![[r#"
            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
                source: graphana
            => in `queues`, entry 1: nothing reads source `graphana`; leave `source` out for what AWS publishes, or name a decoder or one of `sources`

            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
                source: 'a b'
            => in `queues`, entry 1: `a b` is no source: use 1 to 40 of a-z, 0-9, `-`, `_`

            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
                source: heartbeat
            => in `queues`, entry 1: `source: heartbeat` is the engine's own; name another

            queues:
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
              - url: https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil
                source: sns
            => in `queues`, entry 2: `https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil` is there already; one entry takes from it, in each instance

            (17 queues)
            => `queues` has 17; at most 16 are taken from: let topics share one

        "#]],
        );
    }

    #[test]
    fn a_mistake_in_the_environment_is_told_as_well() {
        let set = |value: &str| vec![("UNTOIL_QUEUES".to_owned(), value.to_owned())];
        let told = ["[]x", r#"[{"url":"untoil"}]"#, r#"[{"urll":"untoil"}]"#].map(|value| {
            let error = Config::read("", &set(value)).unwrap_err();
            format!("{value}\n=> {error:#}\n\n")
        });
        expect_test::expect![[r#"
            []x
            => in `UNTOIL_QUEUES`: invalid type: string "[]x", expected a sequence

            [{"url":"untoil"}]
            => in `queues`, entry 1: `untoil` is not the address of a queue; `aws sqs get-queue-url --queue-name NAME` tells it: `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`

            [{"urll":"untoil"}]
            => in `UNTOIL_QUEUES`: unknown field `urll`, expected `url` or `source`

        "#]].assert_eq(&told.concat());
    }
}
