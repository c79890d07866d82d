//! Alarms that come by a queue, through the real binary and two independent stand-ins of SQS.
//!
//! SNS → SQS and bare messages as both stand-ins do it. `EventBridge` → SQS: moto lets anybody put
//! events of `aws.cloudwatch`, which AWS does not; ministack refuses them as AWS does, so there the
//! event travels inside one of ours. A proxy makes the minute for which a message is hidden a second.

use serde_json::{Value, json};

use crate::alarm::{backlog, message};
use crate::cloud::{Cloud, within};
use crate::proxy::{Fault, Proxy};
use crate::service::{Untoil, eventually};
use crate::stand_in::{StandIn, guarded_ministack, ministack, moto};

/// What the doctor tries though no rule of these tests needs it; the first needs no permission.
const DOCTORS: [&str; 7] = [
    "GetCallerIdentity",
    "DescribeInstanceInformation",
    "ListCommands",
    "DescribeDocument",
    "DescribeAutoScalingInstances",
    "DescribeAutoScalingGroups",
    "GetMetricData",
];

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
    is_told(&it).await;
    is_granted(&it).await;
}

/// What came is counted, and the doctor finds the queue in order.
async fn is_told(it: &Setting) {
    let queue = it.arn.rsplit(':').take(2).collect::<Vec<_>>();
    let queue = format!("{}/{}", queue[1], queue[0]);
    let counted = it.untoil.text("/metrics").await;
    for what in ["received", "deleted"] {
        let sample = format!(r#"untoil_queue_messages_total{{queue="{queue}",what="{what}"}} 3"#);
        assert!(counted.contains(&sample), "{sample}: {counted}");
    }
    assert_eq!(it.untoil.get("/readyz").await["parts"]["queues"]["state"], "ok");
    let checks = it.untoil.run(&["doctor", "--format", "json"]).await;
    let checks: Value = serde_json::from_str(&checks.out).unwrap();
    let about: Vec<&Value> = checks["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["says"].as_str().unwrap().contains(&it.arn))
        .collect();
    assert!(about.len() == 3 && about.iter().all(|check| check["ok"] == true), "{about:?}");
    let heard = format!("`aws` from {}, ", it.url);
    assert!(checks.to_string().contains(&heard), "{heard}: {checks}");
}

/// Whatever was called is in the policy that `untoil iam` prints.
async fn is_granted(it: &Setting) {
    let policy = it.untoil.json(&["iam"]).await;
    let statements = policy["Statement"].as_array().unwrap();
    let granted = |operation: &str, on: &str| {
        statements.iter().any(|statement| {
            let is_one = |value: &Value, wanted: &dyn Fn(&str) -> bool| {
                value.as_array().unwrap().iter().any(|one| wanted(one.as_str().unwrap()))
            };
            is_one(&statement["Action"], &|action| action.ends_with(&format!(":{operation}")))
                && is_one(&statement["Resource"], &|resource| on.is_empty() || resource == on)
        })
    };
    for asked in it.proxy.asked() {
        let operation = asked.trim_end_matches("Batch");
        let of_sqs = operation.contains("Message") || operation == "GetQueueAttributes";
        let on = if of_sqs { it.arn.as_str() } else { "" };
        assert!(DOCTORS.contains(&operation) || granted(operation, on), "{asked}: {policy}");
    }
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

/// With the policy that `untoil iam` prints it takes messages; with one for another queue it says so.
#[tokio::test]
async fn the_policy_that_iam_prints_is_enough_and_without_it_the_queue_is_told() {
    let Some(ministack) = guarded_ministack().await else { return };
    let mut it = Setting::towards(&ministack).await;
    let iam = async |pairs: &[(&str, &str)]| {
        it.cloud
            .query("iam", &[pairs, &[("UserName", "untoil"), ("Version", "2010-05-08")]].concat())
            .await
    };
    iam(&[("Action", "CreateUser")]).await;
    let key = iam(&[("Action", "CreateAccessKey")]).await;
    let grant = async |policy: &str| {
        let put = [("Action", "PutUserPolicy"), ("PolicyName", "p"), ("PolicyDocument", policy)];
        iam(&put).await;
    };
    // AWS asks of a batch whether the single call is allowed; ministack asks by the batch's name.
    let policy = it.untoil.json(&["iam"]).await.to_string();
    let single = r#""sqs:DeleteMessage""#;
    let policy = policy.replace(single, &format!(r#"{single},"sqs:DeleteMessageBatch""#));
    let other = policy.replace(&it.arn, &format!("{}-2", it.arn));
    grant(&other).await;
    it.untoil.set("AWS_ACCESS_KEY_ID", &within(&key, "<AccessKeyId>", "</AccessKeyId>"));
    let secret = within(&key, "<SecretAccessKey>", "</SecretAccessKey>");
    it.untoil.set("AWS_SECRET_ACCESS_KEY", &secret);
    it.untoil.set("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{}", ministack.port));
    it.untoil.start().await;
    it.send(&message("ALARM")).await;

    let queues = async || it.untoil.get("/readyz").await["parts"]["queues"].clone();
    let mut told = queues().await;
    for _ in 0..600 {
        if told["state"] == "failed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        told = queues().await;
    }
    let missing = format!("grant `sqs:ReceiveMessage` on `{}`", it.arn);
    assert!(told["last_error"].as_str().unwrap_or_default().contains(&missing), "{told}");
    assert_eq!(it.untoil.get("/readyz").await["ready"], true, "others send by HTTP");
    let doctor = it.untoil.run(&["doctor"]).await;
    let missing = format!("grant `sqs:GetQueueAttributes` on `{}`", it.arn);
    assert!(doctor.status == 1 && doctor.out.contains(&missing), "{doctor:?}");

    grant(&policy).await;
    it.untoil.until("opened", 1).await;
    it.until_waiting(&it.url, 0).await;
    let doctor = it.untoil.run(&["doctor"]).await;
    assert!(doctor.out.contains(&format!("ok     queue          {}", it.arn)), "{doctor:?}");
    assert_eq!(queues().await["state"], "ok");
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
