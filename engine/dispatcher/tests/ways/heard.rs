//! What senders say, and how often, and in which order.

use expect_test::expect;
use untoil_world::AlarmSpec;

use crate::lab::Lab;
use crate::rules::HOST;

#[tokio::test(start_paused = true)]
async fn duplicates_and_old_words_change_nothing() {
    let mut lab = Lab::new();
    let fires = lab.body(&[("disk", "firing")], (0, None));
    lab.post("generic", &fires).await;
    lab.mins(1).await;
    lab.post("generic", &fires).await;
    lab.says_at("disk", "resolved", (120, None)).await;
    lab.mins(1).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    lab.post("generic", &fires).await;
    lab.mins(1).await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        01:00 - received generic/m2
        01:00 - decoded generic/m2
        01:00 A observed disk is firing, Duplicate
        01:00 - received generic/m3
        01:00 - decoded generic/m3
        01:00 A observed disk is resolved, OutOfOrder
        02:00 - received generic/m4
        02:00 - decoded generic/m4
        02:00 A observed disk is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
        08:00 - received generic/m5
        08:00 - decoded generic/m5
        08:00 - observed disk is firing, OutOfOrder
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_too_late_was_not_healed_by_us() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(12).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        10:22 A concluded ineffective: ineffective
        10:22 A escalated ineffective (the alarm did not clear within 10m) → oncall
        12:00 - received generic/m2
        12:00 - decoded generic/m2
        12:00 A observed disk is resolved, Cleared
        12:00 A closed HealedByOthers
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_fires_again_while_it_should_stay_clear_is_not_healed() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(2).await;
    lab.says("disk", "resolved").await;
    lab.mins(3).await;
    lab.says("disk", "firing").await;
    lab.mins(10).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is resolved, Cleared
        05:00 - received generic/m3
        05:00 - decoded generic/m3
        05:00 A observed disk is firing, Again
        10:22 A concluded ineffective: ineffective
        10:22 A escalated ineffective (the alarm did not clear within 10m) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn no_data_is_not_success() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(2).await;
    lab.says("disk", "no_data").await;
    lab.mins(12).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is no_data, Lost
        10:22 A concluded inconclusive: inconclusive
        10:22 A escalated inconclusive (it cannot be told whether it helped: the alarm had no data for 10m) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_grows_after_the_run_is_harm() {
    let mut lab = Lab::new();
    lab.says_at("disk", "firing", (0, Some(20.0))).await;
    lab.mins(5).await;
    lab.says_at("disk", "firing", (0, Some(40.0))).await;
    lab.mins(12).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing at 20
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        05:00 - received generic/m2
        05:00 - decoded generic/m2
        05:00 A observed disk is firing at 40, Again
        10:22 A concluded harmful: harmful
        10:22 A escalated harmful (it got worse: the value moved from 10.000 to 30.000 beyond its threshold) → oncall
    "#]]).await;
}

/// A delivery of Alertmanager about one alert, which its first `startsAt` is kept in.
fn alert(status: &str, ends_at: &str) -> String {
    let alert = serde_json::json!({
        "status": status, "labels": { "alertname": "nobody knows" }, "annotations": {},
        "startsAt": "2026-01-05T00:00:00Z", "endsAt": ends_at,
        "generatorURL": "", "fingerprint": "0123456789abcdef",
    });
    serde_json::json!({
        "version": "4", "groupKey": "{}:{}", "status": status, "receiver": "untoil",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": [alert],
    })
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fires_again_with_its_old_start_opens_again() {
    let mut lab = Lab::new();
    let fires = alert("firing", "0001-01-01T00:00:00Z");
    lab.post("alertmanager", &fires).await;
    lab.mins(5).await;
    // Prometheus is cut off, and its alert is taken for resolved.
    lab.post("alertmanager", &alert("resolved", "2026-01-05T00:05:00Z")).await;
    lab.mins(1).await;
    // A late copy by the other of a pair.
    lab.post("alertmanager", &fires).await;
    lab.mins(4).await;
    lab.post("alertmanager", &fires).await;
    lab.mins(5).await;
    lab.post("alertmanager", &fires).await;
    lab.mins(1).await;
    // It was over before we heard that it fires again.
    lab.post("alertmanager", &alert("resolved", "2026-01-05T00:09:00Z")).await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received alertmanager/m1
        00:00 - decoded alertmanager/m1
        00:00 A opened nobody knows is firing
        00:00 A unmatched
        05:00 - received alertmanager/m2
        05:00 - decoded alertmanager/m2
        05:00 A observed nobody knows is resolved, Cleared
        05:00 A closed HealedItself
        06:00 - received alertmanager/m3
        06:00 - decoded alertmanager/m3
        06:00 - observed nobody knows is firing, OutOfOrder
        10:00 - received alertmanager/m4
        10:00 - decoded alertmanager/m4
        10:00 B opened nobody knows is firing
        10:00 B unmatched
        15:00 - received alertmanager/m5
        15:00 - decoded alertmanager/m5
        15:00 B observed nobody knows is firing, OutOfOrder
        16:00 - received alertmanager/m6
        16:00 - decoded alertmanager/m6
        16:00 B observed nobody knows is resolved, Cleared
        16:00 B closed HealedItself
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn two_alarms_of_one_delivery_are_two_incidents() {
    let mut lab = Lab::new();
    let alerts = ["one", "two"].map(|name| {
        serde_json::json!({
            "status": "firing", "labels": { "alertname": name }, "annotations": {},
            "startsAt": "2026-01-05T00:00:00Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "", "fingerprint": format!("{name}-0123456789"),
        })
    });
    let body = serde_json::json!({
        "version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "untoil",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "",
        "alerts": alerts,
    });
    lab.post("alertmanager", &body.to_string()).await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received alertmanager/m1
        00:00 - decoded alertmanager/m1
        00:00 A opened one is firing
        00:00 A unmatched
        00:00 B opened two is firing
        00:00 B unmatched
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_cannot_be_read_is_kept_and_decided() {
    let mut lab = Lab::new();
    lab.post("generic", "{\"alarms\": [{}]").await;
    lab.post("generic", "{\"alarms\": []}").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - unreadable generic/m1: not as documented: missing field `key` at line 1 column 14
        00:00 - received generic/m2
        00:00 - understood generic/m2: a delivery without alarms
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_was_deleted_reaches_people() {
    let mut lab = Lab::new();
    for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
        let body = serde_json::json!({
            "Type": kind, "MessageId": "m", "Message": "You have chosen", "Token": "t",
            "TopicArn": "arn:aws:sns:ap-northeast-2:123456789012:alarms",
            "Timestamp": "2026-01-05T00:00:00Z",
        });
        lab.post("sns", &body.to_string()).await;
    }
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received sns/m1
        00:00 - understood sns/m1: SNS asks to confirm the subscription to `arn:aws:sns:ap-northeast-2:123456789012:alarms`: the intake answers at once, and SNS asks again until it did
        00:00 - received sns/m2
        00:00 - understood sns/m2: the subscription to `arn:aws:sns:ap-northeast-2:123456789012:alarms` was deleted: its alarms do not arrive any more; subscribe again if that was not meant
        00:00 - escalated subscription_deleted (subscription_deleted: the subscription to `arn:aws:sns:ap-northeast-2:123456789012:alarms` was deleted: its alarms do not arrive any more; subscribe again if that was not meant) → nobody
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_nobody_answers_is_recorded_and_closed_when_it_clears() {
    let mut lab = Lab::new();
    lab.says("nobody knows", "firing").await;
    lab.mins(1).await;
    lab.says("nobody knows", "resolved").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened nobody knows is firing
        00:00 A unmatched
        01:00 - received generic/m2
        01:00 - decoded generic/m2
        01:00 A observed nobody knows is resolved, Cleared
        01:00 A closed HealedItself
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_cloudwatch_alarm_that_never_says_ok_is_looked_at() {
    let mut lab = Lab::new();
    let of = [("InstanceId", HOST), ("path", "/")];
    lab.world.alarm_for(AlarmSpec {
        name: "disk of the web".into(),
        namespace: "CWAgent".into(),
        metric: "disk_used_percent".into(),
        dimensions: of.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        threshold: 85.0,
        periods: 1,
    });
    lab.mins(2).await;
    let fires = lab.world.transitions().remove(0);
    lab.post("cloudwatch", &fires.message().to_string()).await;
    lab.mins(10).await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        02:00 - received cloudwatch/m1
        02:00 - decoded cloudwatch/m1
        02:00 A opened disk of the web is firing at 90
        02:00 A matched disk
        02:00 A facts_read host
        02:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        02:00 A judged allow
        02:00 A started untoil:A-1:0:1
        02:00 A sent
        02:22 A finished done reached
        03:22 A looked disk of the web is resolved, Cleared
        08:22 A concluded effective
        08:22 A closed Healed
    "#]]).await;
}
