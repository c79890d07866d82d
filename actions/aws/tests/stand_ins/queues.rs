//! A topic, a queue and the consumer, against two independent stand-ins: what is published is kept
//! once and deleted, and what cannot be read goes to the dead-letter queue.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::SystemClock;
use untoil_intake::{Consumer, Decoders, Queue as _};
use untoil_journal::{Journal, MemoryJournal};
use untoil_model::{Body, DeliveryId, Seq, Stream};

use crate::server::{REGION, ministack, moto, reach};

/// A wait for something that a stand-in does by itself; on a busy machine it takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// The operator's own calls, in plain HTTP.
struct Broker {
    base: String,
    client: reqwest::Client,
}

impl Broker {
    fn at(port: u16) -> Self {
        Self { base: format!("http://127.0.0.1:{port}/"), client: reqwest::Client::new() }
    }

    fn scope(service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=test/20261122/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0"
        )
    }

    async fn sqs(&self, operation: &str, body: Value) -> Value {
        let sent = self.client.post(&self.base).header("authorization", Self::scope("sqs"));
        let sent = sent.header("x-amz-target", format!("AmazonSQS.{operation}"));
        let sent = sent.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
        let answer = sent.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{operation}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn sns(&self, pairs: &[(&str, &str)]) -> String {
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let sent = self.client.post(&self.base).header("authorization", Self::scope("sns"));
        let sent = sent.header("content-type", "application/x-www-form-urlencoded");
        let answer = sent.body(pairs.join("&")).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{pairs:?}: {status} {text}");
        text
    }

    /// A queue; answers its address and ARN.
    async fn queue(&self, name: &str, attributes: Value) -> (String, String) {
        let made =
            self.sqs("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await;
        let url = made["QueueUrl"].as_str().unwrap().to_owned();
        let wanted = json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] });
        let told = self.sqs("GetQueueAttributes", wanted).await;
        let arn = told["Attributes"]["QueueArn"].as_str().unwrap().to_owned();
        (url, arn)
    }

    /// How many messages a queue has, visible or hidden.
    async fn count(&self, url: &str) -> u64 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let wanted = json!({ "QueueUrl": url, "AttributeNames": names });
        let told = self.sqs("GetQueueAttributes", wanted).await;
        let number = |name: &&str| told["Attributes"][*name].as_str().unwrap().parse::<u64>();
        names.iter().map(|name| number(name).unwrap()).sum()
    }

    async fn topic(&self, queue_arn: &str) -> String {
        let made = self.sns(&[("Action", "CreateTopic"), ("Name", "alarms")]).await;
        let arn = made.split("<TopicArn>").nth(1).unwrap().split('<').next().unwrap().to_owned();
        let subscribe = [
            ("Action", "Subscribe"),
            ("TopicArn", &arn),
            ("Protocol", "sqs"),
            ("Endpoint", queue_arn),
        ];
        self.sns(&subscribe).await;
        arn
    }

    async fn publish(&self, topic: &str, message: &str) {
        self.sns(&[("Action", "Publish"), ("TopicArn", topic), ("Message", message)]).await;
    }
}

fn escaped(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            all.push(char::from(byte));
        } else {
            write!(all, "%{byte:02X}").unwrap();
        }
    }
    all
}

fn alarm(n: usize) -> String {
    let arn = format!("arn:aws:cloudwatch:{REGION}:123456789012:alarm:밀린 명함 {n}");
    json!({
        "AlarmName": format!("밀린 명함 {n}"), "AlarmArn": arn, "NewStateValue": "ALARM",
        "OldStateValue": "OK", "NewStateReason": "1 datapoint [250.0 (02/12/26 03:03:00)]",
        "StateChangeTime": "2026-12-02T03:04:05.678+0000", "Trigger": { "Dimensions": [] },
    })
    .to_string()
}

async fn kept(journal: &MemoryJournal) -> Vec<DeliveryId> {
    let entries = journal.read(&Stream::All, Seq(0), 10_000).await.unwrap();
    let received = entries.into_iter().filter_map(|entry| {
        let Body::Received { delivery, .. } = entry.body else { return None };
        Some(delivery)
    });
    received.collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}

/// The way of messages from a topic, from EventBridge's rules and from elsewhere, to the journal.
async fn the_whole_way(port: u16) {
    let broker = Broker::at(port);
    let (url, arn) = broker.queue("untoil", json!({})).await;
    let topic = broker.topic(&arn).await;
    let aws = reach(port).await;
    let journal = Arc::new(MemoryJournal::new());
    let queue = Arc::new(aws.queue(&url.parse().unwrap()));
    let consumer = || Consumer {
        queue: Arc::clone(&queue) as _,
        source: "aws".parse().unwrap(),
        decoders: Arc::new(Decoders::default()),
        journal: Arc::clone(&journal) as _,
        clock: Arc::new(SystemClock),
    };
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    // Two of them, as two instances would be.
    running.spawn(consumer().run(stop.clone()));
    running.spawn(consumer().run(stop.clone()));

    for n in 0..25 {
        broker.publish(&topic, &alarm(n)).await;
    }
    let event = json!({
        "id": "e1", "source": "aws.ec2", "time": "2026-12-02T03:04:05Z", "region": REGION,
        "detail-type": "EC2 Instance State-change Notification",
        "detail": { "instance-id": "i-0123456789abcdef0", "state": "stopped" },
    });
    let send = json!({ "QueueUrl": url, "MessageBody": event.to_string() });
    broker.sqs("SendMessage", send).await;
    until("kept", async || kept(&journal).await.len() == 26).await;
    until("deleted", async || broker.count(&url).await == 0).await;
    stop.cancel();
    running.join_all().await;

    let ids = kept(&journal).await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 26, "{ids:?}");
    assert_eq!(ids.iter().filter(|id| id.message.starts_with("sns:")).count(), 25, "{ids:?}");
    let decoders = Decoders::default();
    for id in &ids {
        let delivery = journal.delivery(id).await.unwrap().unwrap();
        let read = decoders.decode(&delivery).unwrap();
        assert!(matches!(read, untoil_intake::Decoded::Alarms(_)), "{read:?}");
    }
}

/// What is given back unread twice is the queue's to move.
async fn the_way_of_the_unreadable(port: u16) {
    let broker = Broker::at(port);
    let (dead, dead_arn) = broker.queue("dead", json!({})).await;
    let redrive = json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": "2" }).to_string();
    let (url, _) = broker.queue("unread", json!({ "RedrivePolicy": redrive })).await;
    let queue = reach(port).await.queue(&url.parse().unwrap());
    let send = json!({ "QueueUrl": url, "MessageBody": "{\"NewStateValue\":1}" });
    broker.sqs("SendMessage", send).await;
    for receipts in 1..=2 {
        let message = queue.receive().await.unwrap().remove(0);
        assert_eq!(message.receipts, receipts);
        queue.hide(&[message.receipt], Duration::ZERO).await.unwrap();
    }
    let third = tokio::time::timeout(Duration::from_secs(2), queue.receive()).await;
    assert!(third.is_err() || third.unwrap().unwrap().is_empty());
    until("moved to the dead-letter queue", async || broker.count(&dead).await == 1).await;
}

/// An event in binary mode: its attributes are the message's, from SNS or by itself.
async fn the_way_of_an_event(port: u16) {
    let broker = Broker::at(port);
    let (url, arn) = broker.queue("events", json!({})).await;
    let queue = reach(port).await.queue(&url.parse().unwrap());
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/ops"),
        ("ce-type", "kr.example.backup"),
        ("ce-subject", "야간"),
        ("content-type", "application/json"),
    ];
    let data = r#"{"state":"firing"}"#;
    let texts = attributes.map(|(name, value)| {
        (name.to_owned(), json!({ "DataType": "String", "StringValue": value }))
    });
    let send = json!({ "QueueUrl": url, "MessageBody": data,
        "MessageAttributes": serde_json::Map::from_iter(texts) });
    broker.sqs("SendMessage", send).await;
    let topic = broker.topic(&arn).await;
    let mut publish: Vec<(String, String)> =
        [("Action", "Publish"), ("TopicArn", &topic), ("Message", data)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    for (n, (name, value)) in (1..).zip(attributes) {
        for (field, said) in
            [("Name", name), ("Value.DataType", "String"), ("Value.StringValue", value)]
        {
            publish.push((format!("MessageAttributes.entry.{n}.{field}"), said.to_owned()));
        }
    }
    let pairs: Vec<_> = publish.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    broker.sns(&pairs).await;

    let journal = Arc::new(MemoryJournal::new());
    let consumer = Consumer {
        queue: Arc::new(queue),
        source: "cloudevents".parse().unwrap(),
        decoders: Arc::new(Decoders::default()),
        journal: Arc::clone(&journal) as _,
        clock: Arc::new(SystemClock),
    };
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    running.spawn(consumer.run(stop.clone()));
    until("kept", async || !kept(&journal).await.is_empty()).await;
    until("deleted", async || broker.count(&url).await == 0).await;
    stop.cancel();
    running.join_all().await;
    let ids = kept(&journal).await;
    assert_eq!(ids.len(), 1, "the same event by two ways is one message: {ids:?}");
    let delivery = journal.delivery(&ids[0]).await.unwrap().unwrap();
    let untoil_intake::Decoded::Alarms(alarms) = Decoders::default().decode(&delivery).unwrap()
    else {
        panic!("{delivery:?}")
    };
    assert_eq!(alarms[0].key.as_str(), "cloudevents:/ops 야간");
}

#[tokio::test]
async fn an_event_comes_by_motos_queue_with_its_attributes() {
    let Some(moto) = moto().await else { return };
    the_way_of_an_event(moto.port).await;
}

#[tokio::test]
async fn an_event_comes_by_ministacks_queue_with_its_attributes() {
    let Some(ministack) = ministack("false").await else { return };
    the_way_of_an_event(ministack.port).await;
}

#[tokio::test]
async fn what_a_topic_publishes_is_kept_once_by_way_of_motos_queue() {
    let Some(moto) = moto().await else { return };
    the_whole_way(moto.port).await;
    the_way_of_the_unreadable(moto.port).await;
}

#[tokio::test]
async fn what_a_topic_publishes_is_kept_once_by_way_of_ministacks_queue() {
    let Some(ministack) = ministack("false").await else { return };
    the_whole_way(ministack.port).await;
    the_way_of_the_unreadable(ministack.port).await;
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_an_error_with_its_reason() {
    let Some(moto) = moto().await else { return };
    let queue =
        reach(moto.port).await.queue(&"http://127.0.0.1:1/123456789012/nobody".parse().unwrap());
    let error = queue.receive().await.unwrap_err();
    assert!(!error.to_string().is_empty());
    let error = queue.delete(&["r".to_owned()]).await.unwrap_err();
    assert!(!error.to_string().is_empty());
}
