//! Alarms that come by a queue, through the real binary and two independent stand-ins of SQS.
//!
//! SNS → SQS and bare messages as both stand-ins do it. `EventBridge` → SQS: moto lets anybody put
//! events of `aws.cloudwatch`, which AWS does not; ministack refuses them as AWS does, so there the
//! event travels inside one of ours. A proxy makes the minute for which a message is hidden a second.

use serde_json::json;

use crate::alarm::{backlog, message};
use crate::cloud::Cloud;
use crate::proxy::{Fault, Proxy};
use crate::service::{Untoil, eventually};
use crate::stand_in::{StandIn, ministack, moto};

/// Whose events a stand-in lets us put.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Events {
    /// AWS's own, too.
    Anybodys,
    /// Only ours.
    Ours,
}

/// A queue, the way to it, and the service that takes from it.
struct Setting {
    cloud: Cloud,
    proxy: Proxy,
    untoil: Untoil,
    url: String,
    arn: String,
    dead: String,
}

impl Setting {
    async fn towards(stand_in: &StandIn) -> Self {
        let cloud = Cloud::at(stand_in.port);
        cloud.service().await;
        let (dead, dead_arn) = cloud.queue("untoil-dead", json!({})).await;
        let redrive = json!({ "deadLetterTargetArn": dead_arn, "maxReceiveCount": "3" });
        let redrive = json!({ "RedrivePolicy": redrive.to_string() });
        let (url, arn) = cloud.queue("untoil", redrive).await;
        let proxy = Proxy::before(stand_in.port).await;
        proxy.replace(r#""VisibilityTimeout":60"#, r#""VisibilityTimeout":1"#);
        let mut untoil = Untoil::towards(proxy.port);
        untoil.set("UNTOIL_QUEUES", &json!([{ "url": url }]).to_string());
        untoil.ship("contact-sync-backlog", "auto");
        Self { cloud, proxy, untoil, url, arn, dead }
    }

    async fn send(&self, body: &str) {
        let send = json!({ "QueueUrl": self.url, "MessageBody": body });
        self.cloud.sqs("SendMessage", send).await;
    }

    async fn until_waiting(&self, url: &str, n: u64) {
        for _ in 0..600 {
            if self.cloud.waiting(url).await == n {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("`{url}` does not come to {n} messages: {}", self.untoil.said("stderr"));
    }

    /// A rule of `EventBridge` that leads to the queue.
    async fn rule(&self, events: Events) {
        let (source, path) = match events {
            Events::Anybodys => ("aws.cloudwatch", "$"),
            Events::Ours => ("test", "$.detail"),
        };
        let pattern = json!({ "source": [source] }).to_string();
        let rule = json!({ "Name": "alarms", "EventPattern": pattern });
        self.cloud.json("events", "AWSEvents.PutRule", rule).await;
        let target = json!({ "Id": "untoil", "Arn": self.arn, "InputPath": path });
        let targets = json!({ "Rule": "alarms", "Targets": [target] });
        self.cloud.json("events", "AWSEvents.PutTargets", targets).await;
    }

    async fn put(&self, events: Events, state: &str, value: f64) {
        let event = backlog(state, value);
        let entry = match events {
            Events::Anybodys => json!({ "Source": event["source"], "Resources": event["resources"],
                "DetailType": event["detail-type"], "Detail": event["detail"].to_string() }),
            Events::Ours => {
                json!({ "Source": "test", "DetailType": "alarm", "Detail": event.to_string() })
            }
        };
        let put = json!({ "Entries": [entry] });
        let answer = self.cloud.json("events", "AWSEvents.PutEvents", put).await;
        assert_eq!(answer["FailedEntryCount"].as_u64().unwrap_or_default(), 0, "{answer}");
    }
}

/// SNS fires, a bare message repeats it, `EventBridge` says that it is over.
async fn heals_by_way_of_a_queue(stand_in: StandIn, events: Events) {
    let mut it = Setting::towards(&stand_in).await;
    let topic = it.cloud.topic("alarms").await;
    it.cloud.subscribe_queue(&topic, &it.arn).await;
    it.rule(events).await;
    it.untoil.start().await;

    let id = it.cloud.publish(&topic, &message("ALARM")).await;
    it.untoil.until("finished", 1).await;
    assert_eq!(it.cloud.tasks().await.0, 6);
    it.send(&message("ALARM")).await;
    it.untoil.until("observed", 1).await;
    it.put(events, "OK", 120.0).await;
    assert_eq!(it.untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(it.cloud.tasks().await.0, 2, "the lease was given back");

    it.until_waiting(&it.url, 0).await;
    assert_eq!(it.cloud.waiting(&it.dead).await, 0);
    assert_eq!(it.proxy.count("UpdateService"), 2, "once up, once down");
    let received = it.untoil.entries("received").await;
    let told: Vec<String> = received.iter().map(|one| one["delivery"].to_string()).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains(&format!("sns:{id}")), "{told:?} is not of SNS's {id}");
    assert!(told[1..].iter().all(|one| one.contains("sqs:")), "{told:?}");
    assert_eq!(it.untoil.entries("opened").await.len(), 1);
    assert_eq!(it.untoil.run(&["audit", "verify"]).await.status, 0);
}

/// What cannot be read is shown to people once, and moved by the queue's own redrive policy.
async fn leaves_the_unreadable_to_the_dead_letter_queue(stand_in: StandIn) {
    let mut it = Setting::towards(&stand_in).await;
    it.untoil.start().await;
    it.send(r#"{"AlarmName":"밀린 명함","NewStateValue":"BAD"}"#).await;
    it.untoil.until("unreadable", 1).await;
    it.send(&message("ALARM")).await;
    it.untoil.until("opened", 1).await;
    it.until_waiting(&it.dead, 1).await;
    it.until_waiting(&it.url, 0).await;
    assert_eq!(it.untoil.entries("received").await.len(), 2, "seen again, it is not kept again");
    assert_eq!(it.untoil.entries("unreadable").await.len(), 1);
    assert_eq!(it.proxy.count("DeleteMessageBatch"), 1, "only what was read");
}

/// Killed when the journal has a message, and before the queue has lost it.
async fn does_not_decide_again_what_it_could_not_delete(stand_in: StandIn) {
    let mut it = Setting::towards(&stand_in).await;
    it.untoil.start().await;
    it.proxy.set("DeleteMessageBatch", Fault::Lost);
    it.send(&message("ALARM")).await;
    eventually("it wants to delete", || it.proxy.count("DeleteMessageBatch") == 1).await;
    assert_eq!(it.untoil.entries("received").await.len(), 1, "first the journal has it");
    it.untoil.until("finished", 1).await;
    it.untoil.kill().await;
    assert_eq!(it.cloud.waiting(&it.url).await, 1);

    it.proxy.clear();
    it.untoil.start().await;
    it.until_waiting(&it.url, 0).await;
    it.send(&message("OK")).await;
    assert_eq!(it.untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(it.cloud.waiting(&it.dead).await, 0);
    assert_eq!(it.untoil.entries("received").await.len(), 2, "the alarm's and the end's");
    assert_eq!(it.untoil.entries("opened").await.len(), 1);
    assert_eq!(it.proxy.count("UpdateService"), 2, "once up, once down");
    assert_eq!(it.untoil.run(&["audit", "verify"]).await.status, 0);
}

/// SIGTERM while it waits for messages, and while one is being deleted.
async fn ends_in_order(stand_in: StandIn) {
    let mut it = Setting::towards(&stand_in).await;
    it.untoil.start().await;
    it.send(&message("ALARM")).await;
    it.untoil.until("finished", 1).await;
    it.until_waiting(&it.url, 0).await;
    let began = tokio::time::Instant::now();
    it.untoil.terminate().await;
    assert_eq!(it.untoil.ended().await, 0, "{}", it.untoil.said("stderr"));
    assert!(began.elapsed().as_secs() < 15, "it does not wait for the queue's 20 s");

    it.untoil.start().await;
    it.proxy.set("DeleteMessageBatch", Fault::Slow(std::time::Duration::from_secs(2)));
    it.send(&message("OK")).await;
    eventually("it is deleting", || it.proxy.count("DeleteMessageBatch") == 2).await;
    it.untoil.terminate().await;
    assert_eq!(it.untoil.ended().await, 0, "{}", it.untoil.said("stderr"));
    it.proxy.clear();
    assert_eq!(it.cloud.waiting(&it.url).await, 0, "what is in hand is deleted");
    let last = it.untoil.run(&["audit", "list", "--last", "1", "--format", "json"]).await;
    assert!(last.out.contains("engine_stopped"), "{last:?}");
}

#[tokio::test]
async fn an_alarm_that_comes_by_motos_queue_heals() {
    let Some(moto) = moto().await else { return };
    heals_by_way_of_a_queue(moto, Events::Anybodys).await;
}

#[tokio::test]
async fn an_alarm_that_comes_by_ministacks_queue_heals() {
    let Some(ministack) = ministack().await else { return };
    heals_by_way_of_a_queue(ministack, Events::Ours).await;
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_motos_dead_letter_queue() {
    let Some(moto) = moto().await else { return };
    leaves_the_unreadable_to_the_dead_letter_queue(moto).await;
}

#[tokio::test]
async fn what_cannot_be_read_goes_to_ministacks_dead_letter_queue() {
    let Some(ministack) = ministack().await else { return };
    leaves_the_unreadable_to_the_dead_letter_queue(ministack).await;
}

#[tokio::test]
async fn killed_before_the_deletion_it_decides_nothing_twice_from_motos_queue() {
    let Some(moto) = moto().await else { return };
    does_not_decide_again_what_it_could_not_delete(moto).await;
}

#[tokio::test]
async fn killed_before_the_deletion_it_decides_nothing_twice_from_ministacks_queue() {
    let Some(ministack) = ministack().await else { return };
    does_not_decide_again_what_it_could_not_delete(ministack).await;
}

#[tokio::test]
async fn sigterm_ends_it_in_order_at_motos_queue() {
    let Some(moto) = moto().await else { return };
    ends_in_order(moto).await;
}

#[tokio::test]
async fn sigterm_ends_it_in_order_at_ministacks_queue() {
    let Some(ministack) = ministack().await else { return };
    ends_in_order(ministack).await;
}
