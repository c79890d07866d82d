//! The words: one thread per incident, late while Slack is down, and never twice.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::service::{Untoil, eventually};
use crate::slack::FakeSlack;
use crate::stand_in::ministack;

async fn with(slack: &FakeSlack, aws: u16) -> Untoil {
    Cloud::at(aws).service().await;
    let mut untoil = Untoil::towards(aws);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.set("SLACK_BOT_TOKEN", "xoxb-no-real-token");
    untoil.set("UNTOIL_SLACK__TOKEN", r#"{"env":"SLACK_BOT_TOKEN"}"#);
    untoil.set("UNTOIL_SLACK__CHANNEL", "C0TEST");
    untoil.set("UNTOIL_SLACK__API", &slack.api);
    untoil.start().await;
    untoil
}

fn says(message: &Value, text: &str) -> bool {
    message["text"].as_str().unwrap().contains(text) || message["blocks"].to_string().contains(text)
}

/// The parent that stands for the incident.
fn parent(slack: &FakeSlack) -> Option<Value> {
    slack.threads().0.into_iter().find(|parent| says(parent, "contact-sync"))
}

/// Nothing was posted twice: each message tells entries of its own.
fn no_doubles(slack: &FakeSlack) {
    let all = slack.messages();
    let keys: BTreeSet<String> = all.iter().map(|one| one["metadata"].to_string()).collect();
    assert_eq!(keys.len(), all.len(), "{all:#?}");
}

#[tokio::test]
async fn an_incident_is_one_thread_whose_parent_is_edited_in_place() {
    let Some(ministack) = ministack().await else { return };
    let slack = FakeSlack::start().await;
    let untoil = with(&slack, ministack.port).await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;
    eventually("the parent says that it is over", || {
        parent(&slack).is_some_and(|parent| says(&parent, "Closed"))
    })
    .await;
    let (parents, replies) = slack.threads();
    let ours: Vec<_> = parents.iter().filter(|one| says(one, "contact-sync")).collect();
    assert_eq!(ours.len(), 1, "{parents:#?}");
    assert!(slack.edits() > 0);
    assert!(replies.len() >= 5, "{replies:#?}");
    assert!(replies.iter().all(|reply| reply["thread_ts"] == ours[0]["ts"]), "{replies:#?}");
    assert!(replies.iter().any(|reply| says(reply, "2 → 6")), "{replies:#?}");
    no_doubles(&slack);
}

#[tokio::test]
async fn while_slack_is_down_actions_go_on_and_the_words_come_later_once() {
    let Some(ministack) = ministack().await else { return };
    let slack = FakeSlack::start().await;
    slack.down(true);
    let mut untoil = with(&slack, ministack.port).await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;
    assert_eq!(Cloud::at(ministack.port).tasks().await.0, 6, "it acted");
    eventually("Slack was tried", || slack.refused() > 0).await;
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;
    // The queue is the journal, so it outlives the process.
    untoil.kill().await;
    untoil.start().await;
    assert_eq!(slack.messages().len(), 0);
    slack.down(false);
    eventually("the words arrive", || parent(&slack).is_some_and(|parent| says(&parent, "Closed")))
        .await;
    let ours: Vec<_> =
        slack.threads().0.into_iter().filter(|one| says(one, "contact-sync")).collect();
    assert_eq!(ours.len(), 1, "{ours:#?}");
    no_doubles(&slack);
}
