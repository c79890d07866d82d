//! What is published arrives over HTTP, and only what its sender signed is taken.
//!
//! What is shown by what: moto's own SNS publishes and signs, and the binary verifies it with nothing
//! but the topic configured ([`crate::road`] leads to its certificate); ministack's SNS cannot be
//! verified and is refused, while its `EventBridge` delivers through an API destination;
//! confirmations and subjects come from [`crate::sns`], which is ours.

use serde_json::json;

use crate::alarm::{backlog, message};
use crate::cloud::{Cloud, within};
use crate::proxy::Proxy;
use crate::road::Road;
use crate::service::{SECRET, Untoil, eventually};
use crate::sns::{Sns, TOPIC};
use crate::stand_in::{ministack, moto};

fn takes(untoil: &mut Untoil, topic: &str, origins: &[&str]) {
    let sns = json!({ "sns": { "topics": [topic], "stand_ins": origins } });
    untoil.set("UNTOIL_SOURCES__SNS", &sns.to_string());
}

#[tokio::test]
async fn an_alarm_published_in_moto_is_verified_scales_moto_out_and_heals() {
    let Some(moto) = moto().await else { return };
    let cloud = Cloud::at(moto.port);
    cloud.service().await;
    let topic = cloud.topic("alarms").await;
    let mut untoil = Untoil::towards(moto.port);
    let authority = untoil.path("authority.pem");
    let road = Road::to(moto.port, &authority).await;
    untoil.set("HTTPS_PROXY", &format!("http://127.0.0.1:{}", road.port));
    untoil.set("SSL_CERT_FILE", authority.to_str().unwrap());
    takes(&mut untoil, &topic, &[]);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    cloud.subscribe(&topic, &untoil.url("/v1/events/sns")).await;

    let id = cloud.publish(&topic, &message("ALARM")).await;
    untoil.until("finished", 1).await;
    assert_eq!(cloud.tasks().await.0, 6);
    let received = untoil.entries("received").await;
    assert!(received[0]["delivery"].to_string().contains(&id), "{received:?} is not {id}");
    cloud.publish(&topic, &message("OK")).await;
    assert_eq!(untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(cloud.tasks().await.0, 2);

    // Another topic of the same, equally well signing SNS.
    let strange = cloud.topic("strange").await;
    cloud.subscribe(&strange, &untoil.url("/v1/events/sns")).await;
    cloud.publish(&strange, &message("ALARM")).await;
    assert_eq!(untoil.entries("received").await.len(), 2, "a topic that is not listed is nobody");
}

#[tokio::test]
async fn what_ministacks_sns_sends_is_refused_and_not_confirmed() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    let topic = cloud.topic("alarms").await;
    let mut untoil = Untoil::towards(ministack.port);
    takes(&mut untoil, &topic, &[&format!("http://127.0.0.1:{}", ministack.port)]);
    untoil.start().await;
    let before = Proxy::before(untoil.port).await;
    let endpoint = format!("http://127.0.0.1:{}/v1/events/sns", before.port);
    cloud.subscribe(&topic, &endpoint).await;
    eventually("ministack asks for a confirmation", || !before.answers().is_empty()).await;
    assert_eq!(before.answers(), [403], "its signature is `FAKE`");
    let arn = [("Action", "ListSubscriptionsByTopic"), ("TopicArn", topic.as_str())];
    let arn = within(&cloud.query("sns", &arn).await, "<SubscriptionArn>", "</SubscriptionArn>");
    let pending = [("Action", "GetSubscriptionAttributes"), ("SubscriptionArn", arn.as_str())];
    let pending = cloud.query("sns", &pending).await;
    let pending = within(&pending, "<key>PendingConfirmation</key>", "</entry>");
    assert!(pending.contains("true"), "{pending}");
    cloud.publish(&topic, &message("ALARM")).await;
    assert_eq!(untoil.entries("received").await.len(), 0);
}

#[tokio::test]
async fn an_event_put_in_ministack_arrives_through_its_api_destination() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let mut untoil = Untoil::towards(ministack.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    let events = async |operation: &str, body| {
        cloud.json("events", &format!("AWSEvents.{operation}"), body).await
    };
    let key =
        json!({ "ApiKeyAuthParameters": { "ApiKeyName": "X-Api-Key", "ApiKeyValue": SECRET } });
    let connection =
        json!({ "Name": "untoil", "AuthorizationType": "API_KEY", "AuthParameters": key });
    let connection = events("CreateConnection", connection).await;
    let destination = json!({ "Name": "untoil", "ConnectionArn": connection["ConnectionArn"],
        "InvocationEndpoint": untoil.url("/v1/events/cloudwatch"), "HttpMethod": "POST" });
    let destination = events("CreateApiDestination", destination).await;
    let pattern = json!({ "source": ["test"] });
    events("PutRule", json!({ "Name": "alarms", "EventPattern": pattern.to_string() })).await;
    // Nobody but AWS may put events of `aws.cloudwatch`, so the event travels inside one of ours.
    let target = json!({ "Id": "untoil", "InputPath": "$.detail", "Arn": destination["ApiDestinationArn"],
        "RoleArn": "arn:aws:iam::000000000000:role/events" });
    events("PutTargets", json!({ "Rule": "alarms", "Targets": [target] })).await;

    let put = async |state: &str, value| {
        let event = backlog(state, value);
        let entry = json!({ "Source": "test", "DetailType": "alarm", "Detail": event.to_string() });
        let answer = events("PutEvents", json!({ "Entries": [entry] })).await;
        assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    };
    put("ALARM", 9_120.0).await;
    untoil.until("finished", 1).await;
    assert_eq!(cloud.tasks().await.0, 6);
    put("OK", 120.0).await;
    assert_eq!(untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(cloud.tasks().await.0, 2);
}

#[tokio::test]
async fn a_subscription_is_confirmed_and_a_signed_alarm_opens_an_incident() {
    let sns = Sns::start().await;
    let mut untoil = Untoil::towards(1);
    takes(&mut untoil, TOPIC, &[&sns.origin]);
    untoil.start().await;
    let url = untoil.url("/v1/events/sns");
    let confirmation = sns.message("SubscriptionConfirmation", "m-0", "You have chosen …");
    let mut forged = confirmation.clone();
    forged["Token"] = json!("another");
    assert_eq!(sns.post(&url, &forged).await, 403);
    assert_eq!(sns.confirmed(), [""; 0], "nothing is visited before it is verified");
    assert_eq!(sns.post(&url, &confirmation).await, 202);
    assert_eq!(
        sns.confirmed(),
        [format!("Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37")]
    );
    untoil.until("understood", 1).await;

    let alarm = sns.message("Notification", "m-1", &message("ALARM"));
    assert_eq!(sns.post(&url, &alarm).await, 202);
    assert_eq!(sns.post(&url, &alarm).await, 200, "SNS delivers at least once");
    let opened = untoil.until("opened", 1).await;
    assert_eq!(opened[0]["alarm"]["name"], "contact-sync-backlog");
    assert_eq!(opened[0]["alarm"]["value"], 9_120.0);
    untoil.until("unmatched", 1).await;
    let unreadable =
        sns.message("Notification", "m-2", r#"{"AlarmName":"x","NewStateValue":"BAD"}"#);
    assert_eq!(sns.post(&url, &unreadable).await, 202, "what its sender signed is kept");
    untoil.until("unreadable", 1).await;
}

#[tokio::test]
async fn a_delivery_is_taken_while_many_connections_never_end_their_headers() {
    use tokio::io::AsyncWriteExt as _;

    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut one = tokio::net::TcpStream::connect(("127.0.0.1", untoil.port)).await.unwrap();
        one.write_all(b"POST /v1/events/cloudwatch HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(one);
    }
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    assert_eq!(untoil.entries("received").await.len(), 1);
}
