//! What people say: approve, pause, resume; and what a dry run may not do.

use serde_json::json;

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::proxy::Proxy;
use crate::service::Untoil;
use crate::stand_in::ministack;

/// Words first, and three seconds later a write.
const TWO_STEPS: &str = r#"
fn plan(alarm, facts) {
    [slack::message("first"), ecs::scale_by("ecs/workers/contact-sync", 1).after("3s")]
}
"#;
const MANIFEST: &str = "
summary: Two steps, one after the other
owner: platform
on:
  - source: cloudwatch
    namespace: Remember/ContactSync
    metric: PendingContacts
target: ecs/workers/contact-sync
facts:
  service: { ecs.service: { cluster: workers, service: contact-sync } }
may:
  - ecs.scale: { cluster: workers, service: contact-sync, max: 20, step: 4, lease: 2h }
  - slack.message: {}
mode: auto
limits: { target: 3 per 24h, rule: 6 per 1h, cooldown: 0s }
verify: { clears_within: 1m, holds_for: 1s }
escalate: { mention: platform-oncall }
";

#[tokio::test]
async fn a_dry_run_calls_nothing_that_writes() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    let judged = untoil.until("judged", 1).await;
    assert!(judged[0]["verdict"].to_string().contains("dry_run"), "{judged:?}");
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;
    assert!(proxy.count("DescribeServices") > 0, "it looked");
    assert_eq!(proxy.writes(), [""; 0], "and wrote nothing");
    assert_eq!(cloud.tasks().await.0, 2);
    assert_eq!(untoil.entries("started").await.len(), 0);
}

#[tokio::test]
async fn a_plan_waits_for_a_person_and_their_name_is_in_the_journal() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let mut untoil = Untoil::towards(ministack.port);
    untoil.ship("contact-sync-backlog", "approve");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    let judged = untoil.until("judged", 1).await;
    assert!(judged[0]["verdict"].get("hold").is_some(), "{judged:?}");
    assert_eq!(cloud.tasks().await.0, 2);
    let id = untoil.incident().await["id"].as_str().unwrap().to_owned();
    let said = untoil.run(&["approve", &id[20..], "--by", "kim", "--note", "go on"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    untoil.until("finished", 1).await;
    assert_eq!(cloud.tasks().await.0, 6);
    let again = untoil.run(&["approve", &id, "--by", "lee"]).await;
    assert_eq!(again.status, 1, "nothing waits any more: {again:?}");
    let approved = untoil.journal().await;
    let approved: Vec<_> =
        approved.iter().filter(|e| e["body"].get("approved").is_some()).collect();
    assert_eq!((approved.len(), &approved[0]["actor"]), (1, &json!({ "human": "kim" })));
    assert_eq!(approved[0]["body"]["approved"]["note"], "go on");
}

#[tokio::test]
async fn a_plan_that_is_rejected_is_not_run() {
    let Some(ministack) = ministack().await else { return };
    Cloud::at(ministack.port).service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.ship("contact-sync-backlog", "approve");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("judged", 1).await;
    let id = untoil.incident().await["id"].as_str().unwrap().to_owned();
    let said = untoil.run(&["reject", &id, "--by", "kim"]).await;
    assert_eq!(said.status, 0, "{said:?}");
    let judged = untoil.until("judged", 2).await;
    assert!(judged[1]["verdict"]["deny"]["reason"].to_string().contains("kim"), "{judged:?}");
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;
    assert!(untoil.run(&["incidents"]).await.out.contains(&id));
    assert!(untoil.run(&["incidents", "--open"]).await.out.starts_with("no incidents"));
    assert_eq!(proxy.writes(), [""; 0]);
}

#[tokio::test]
async fn a_pause_between_two_steps_stops_the_second_and_resume_lets_the_next_run_go() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.write("two-steps", MANIFEST, TWO_STEPS);
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;
    let pause = untoil.run(&["pause", "--reason", "deploying", "--by", "kim"]).await;
    assert_eq!(pause.status, 0, "{pause:?}");
    let finished = untoil.until("finished", 2).await;
    assert_eq!(finished[0]["does"]["action"], "slack.message");
    assert_eq!(finished[1]["outcome"]["refused"]["code"], "kill_switch", "{finished:?}");
    let escalated = untoil.until("escalated", 1).await;
    assert!(escalated[0].to_string().contains("deploying"), "{escalated:?}");
    assert_eq!(proxy.writes(), [""; 0]);
    assert!(untoil.said("stdout").contains("first"), "{}", untoil.said("stdout"));

    assert_eq!(untoil.run(&["resume", "--reason", "done", "--by", "kim"]).await.status, 0);
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_300.0)).await, 202);
    untoil.until("finished", 4).await;
    assert_eq!(cloud.tasks().await.0, 3);
    assert_eq!(untoil.entries("paused").await[0]["reason"], "deploying");
    assert_eq!(untoil.entries("resumed").await.len(), 1);
}

#[tokio::test]
async fn with_a_token_nothing_is_read_or_changed_without_it() {
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_ADMIN", r#"{ "env": "UNTOIL_ADMIN_TOKEN" }"#);
    untoil.set("UNTOIL_ADMIN_TOKEN", "the-token-of-this-test");
    untoil.start().await;
    let client = reqwest::Client::new();
    for path in ["/v1/incidents", "/v1/incidents/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/v1/journal"] {
        let answer = client.get(untoil.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    let sent = client.get(untoil.url("/v1/journal")).bearer_auth("the-token-of-this-test");
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let said = untoil.run(&["approve", "ABCDEF", "--by", "kim"]).await;
    assert!(said.status == 1 && said.err.contains("no incident ends"), "{said:?}");
    let said = untoil.run(&["pause", "--reason", "x", "--by", "kim"]).await;
    assert_eq!(said.status, 0, "{said:?}");
}

#[tokio::test]
async fn without_a_token_a_name_of_somebody_else_and_a_proxy_are_refused() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let client = reqwest::Client::new();
    let body = json!({ "by": "kim", "note": "x", "scope": "all" });
    for (name, value) in [("host", "rebound.example"), ("x-forwarded-for", "10.0.0.7")] {
        let pause = client.post(untoil.url("/v1/pause")).header("x-untoil", "1");
        let answer = pause.header(name, value).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{name}");
        let read = client.get(untoil.url("/v1/journal")).header(name, value);
        assert_eq!(read.send().await.unwrap().status(), 403, "{name}");
    }
    assert_eq!(untoil.entries("paused").await.len(), 0);
}
