//! Whether each configured source has been heard from, as the journal says.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_journal::{Journal, JournalError};
use untoil_model::{Actor, Body, Seq, Source, Stream};

use super::Lines;
use crate::config::{Config, QueueConfig, SourceConfig};

/// Entries that are looked through, newest first: some days of a busy journal, and a few seconds.
const ENTRIES_MAX: u64 = 200_000;
/// Entries held at once.
const PAGE: u64 = 5_000;

/// When each sender of a source was last heard.
type Heard = BTreeMap<Source, BTreeMap<String, Timestamp>>;

/// One line for each sender that was heard, and a finding for each source and topic that never was.
pub(super) async fn look(
    config: &Config,
    journal: Option<&dyn Journal>,
    now: Timestamp,
    lines: &mut Lines,
) {
    if config.sources.is_empty() && config.queues.is_empty() {
        return;
    }
    let Some(journal) = journal else {
        return lines.wrong("heard", "nobody, as far as is known: see `store`");
    };
    match heard(journal).await {
        Ok((heard, all)) => {
            for (name, source) in &config.sources {
                let none = BTreeMap::new();
                let senders = name.parse().ok().and_then(|source: Source| heard.get(&source));
                tell((name, source), senders.unwrap_or(&none), (now, all), lines);
            }
            for queue in &config.queues {
                let is_told = config.sources.contains_key(&queue.source);
                tell_queue((queue, is_told), &heard, (now, all), lines);
            }
        }
        Err(error) => lines.wrong("heard", format!("the journal cannot be read: {error}")),
    }
}

/// Whether the whole journal was looked through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Through,
    AtTheNewest,
}

/// From the newest entries back.
async fn heard(journal: &dyn Journal) -> Result<(Heard, Looked), JournalError> {
    let mut heard = Heard::new();
    let Some(newest) = journal.latest(&Stream::All, 1).await?.pop() else {
        return Ok((heard, Looked::Through));
    };
    let mut end = newest.seq.0;
    let floor = end.saturating_sub(ENTRIES_MAX);
    while end > floor {
        let start = end.saturating_sub(PAGE).max(floor);
        let limit = usize::try_from(end - start).unwrap_or(usize::MAX);
        let page = journal.read(&Stream::All, Seq(start), limit).await?;
        for entry in page.into_iter().filter(|entry| entry.seq.0 <= end) {
            if let (Body::Received { delivery, .. }, Actor::Sender(sender)) =
                (entry.body, entry.actor)
            {
                let senders = heard.entry(delivery.source).or_default();
                let last = senders.entry(sender).or_insert(entry.at);
                *last = entry.at.max(*last);
            }
        }
        end = start;
    }
    Ok((heard, if floor == 0 { Looked::Through } else { Looked::AtTheNewest }))
}

fn tell(
    (name, source): (&str, &SourceConfig),
    senders: &BTreeMap<String, Timestamp>,
    (now, looked): (Timestamp, Looked),
    lines: &mut Lines,
) {
    for (sender, at) in senders {
        lines.fine("heard", format!("`{name}` from {sender}, {} ago", ago(now, *at)));
    }
    let never = never(looked);
    let topics = source.sns.iter().flat_map(|sns| &sns.topics);
    let silent: Vec<&String> = topics.filter(|topic| !senders.contains_key(*topic)).collect();
    for topic in &silent {
        lines.wrong(
            "heard",
            format!(
                "`{name}` from {topic}: {never}; is it subscribed and confirmed? fire an alarm of it: \
                 `aws cloudwatch set-alarm-state --alarm-name NAME --state-value ALARM \
                 --state-reason test`"
            ),
        );
    }
    if senders.is_empty() && silent.is_empty() {
        lines.wrong(
            "heard",
            format!(
                "`{name}`: {never}; send a test from the sender to `/v1/events/{name}`, and see how \
                 it is read with `untoil try FILE --source {name}`"
            ),
        );
    }
}

/// A queue is a sender of its source. When it was heard is told with the source's others, if there are.
fn tell_queue(
    (queue, is_told): (&QueueConfig, bool),
    heard: &Heard,
    (now, looked): (Timestamp, Looked),
    lines: &mut Lines,
) {
    let QueueConfig { url, source } = queue;
    let senders = source.parse().ok().and_then(|source: Source| heard.get(&source));
    match senders.and_then(|senders| senders.get(url)) {
        Some(_) if is_told => {}
        Some(at) => {
            lines.fine("heard", format!("`{source}` from {url}, {} ago", ago(now, *at)));
        }
        None => lines.wrong(
            "heard",
            format!(
                "`{source}` from {url}: {}; is a topic or rule its sender, and may it send? fire an \
                 alarm, and see whether a message comes",
                never(looked)
            ),
        ),
    }
}

fn never(looked: Looked) -> String {
    match looked {
        Looked::Through => "never".to_owned(),
        Looked::AtTheNewest => format!("not in the newest {ENTRIES_MAX} entries"),
    }
}

/// A span in its largest unit.
fn ago(now: Timestamp, at: Timestamp) -> String {
    let secs = now.duration_since(at).as_secs().max(0);
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

    use untoil_journal::{Batch, MemoryJournal};
    use untoil_model::{Delivery, DeliveryId, Draft};

    use super::*;

    const NOW: &str = "2026-11-02T03:05:00Z";

    #[tokio::test]
    async fn each_sender_is_told_with_its_age_and_each_silent_one_with_a_way_to_test_it() {
        let journal = MemoryJournal::new();
        let now: Timestamp = NOW.parse().unwrap();
        let topic = "arn:aws:sns:ap-northeast-2:123456789012:alarms";
        let queue = |name| format!("https://sqs.ap-northeast-2.amazonaws.com/123456789012/{name}");
        for (n, source, sender, at) in [
            (1, "sns", topic, "2026-10-30T03:05:00Z"),
            (2, "sns", topic, "2026-11-01T03:05:00Z"),
            (3, "grafana", "grafana-2", "2026-11-02T03:02:30Z"),
            (4, "grafana", "grafana-1", "2026-11-02T03:04:50Z"),
            (5, "aws", &queue("untoil"), "2026-11-02T03:04:40Z"),
            (6, "grafana", &queue("grafana"), "2026-11-02T03:04:30Z"),
        ] {
            let delivery = Delivery {
                id: DeliveryId { source: source.parse().unwrap(), message: format!("m{n}") },
                sender: sender.into(),
                received_at: at.parse().unwrap(),
                headers: BTreeMap::new(),
                body: b"{}".to_vec(),
            };
            journal.receive(delivery).await.unwrap();
            let other = Draft::new(now, Actor::Engine("a".into()), Body::EngineStopped {});
            journal.append(Batch::of(vec![other])).await.unwrap();
        }
        let text = format!(
            "sources:\n  sns: {{ sns: {{ topics: [\"{topic}\", \"{topic}-2\"] }} }}\n  \
             grafana: {{ bearer: {{ secrets: [] }} }}\n  zabbix: {{ bearer: {{ secrets: [] }} }}\n\
             queues:\n  - url: {}\n  - {{ url: {}, source: grafana }}\n  - url: {}\n",
            queue("untoil"),
            queue("grafana"),
            queue("silent"),
        );
        let config = Config::read(&text, &[]).unwrap();
        let (heard, looked) = heard(&journal).await.unwrap();
        assert!(looked == Looked::Through);
        let (mut lines, none) = (Lines::default(), BTreeMap::new());
        for (name, source) in &config.sources {
            let senders = heard.get(&name.parse::<Source>().unwrap()).unwrap_or(&none);
            tell((name, source), senders, (now, looked), &mut lines);
        }
        for queue in &config.queues {
            let is_told = config.sources.contains_key(&queue.source);
            tell_queue((queue, is_told), &heard, (now, looked), &mut lines);
        }
        let told: Vec<String> = lines
            .0
            .iter()
            .map(|line| format!("{} {}\n", if line.fine { "ok" } else { "WRONG" }, line.says))
            .collect();
        expect_test::expect![[r#"
            ok `grafana` from grafana-1, 10 s ago
            ok `grafana` from grafana-2, 2 min ago
            ok `grafana` from https://sqs.ap-northeast-2.amazonaws.com/123456789012/grafana, 30 s ago
            ok `sns` from arn:aws:sns:ap-northeast-2:123456789012:alarms, 24 h ago
            WRONG `sns` from arn:aws:sns:ap-northeast-2:123456789012:alarms-2: never; is it subscribed and confirmed? fire an alarm of it: `aws cloudwatch set-alarm-state --alarm-name NAME --state-value ALARM --state-reason test`
            WRONG `zabbix`: never; send a test from the sender to `/v1/events/zabbix`, and see how it is read with `untoil try FILE --source zabbix`
            ok `aws` from https://sqs.ap-northeast-2.amazonaws.com/123456789012/untoil, 20 s ago
            WRONG `aws` from https://sqs.ap-northeast-2.amazonaws.com/123456789012/silent: never; is a topic or rule its sender, and may it send? fire an alarm, and see whether a message comes
        "#]]
        .assert_eq(&told.concat());
    }
}
