//! An alarm heals, end to end: over HTTP in, over the SDK out, and the stand-in agrees.

use crate::alarm::{backlog, disk};
use crate::cloud::Cloud;
use crate::proxy::Proxy;
use crate::service::Untoil;
use crate::ssm::Host;
use crate::stand_in::{ministack, moto};

/// A host's id.
pub(crate) const INSTANCE: &str = "i-0a1b2c3d4e5f67890";

/// Backlog → scaled out → cleared → given back → closed, with what the stand-in says at each turn.
async fn scales_out_and_back(port: u16) {
    let cloud = Cloud::at(port);
    cloud.service().await;
    let proxy = Proxy::before(port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;

    let (before, _) = cloud.tasks().await;
    let event = backlog("ALARM", 9_120.0);
    assert_eq!(untoil.post(&event).await, 202);
    assert_eq!(untoil.post(&event).await, 200, "the same delivery again");
    let finished = untoil.until("finished", 1).await;
    let evidence = &finished[0]["outcome"]["done"]["evidence"];
    assert_eq!(cloud.tasks().await, (6, 6));
    assert_eq!((&evidence["before"], &evidence["after"]), (&before.into(), &6.into()));
    assert_eq!(evidence["running"], 6);
    let facts = untoil.until("facts_read", 1).await;
    assert_eq!(facts[0]["facts"]["service"]["value"]["desired"], before);

    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    let closed = untoil.until("closed", 1).await;
    assert_eq!(closed[0]["ending"], "healed");
    assert_eq!(cloud.tasks().await, (before, before), "the lease was given back");
    assert_eq!(proxy.writes(), ["UpdateService", "UpdateService"], "once up, once down");
    let outcomes = untoil.entries("concluded").await;
    let outcomes: Vec<_> = outcomes.iter().map(|run| run["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["effective", "effective"]);
    let incident = untoil.incident().await;
    assert_eq!((&incident["phase"], &incident["ending"]), (&"closed".into(), &"healed".into()));
    assert_eq!(incident["lease"], serde_json::Value::Null);
    let thread = untoil.said("stdout");
    assert!(thread.contains("2 → 6") && thread.contains("6 → 2"), "{thread}");
}

#[tokio::test]
async fn a_backlog_scales_a_service_of_ministack_out_and_back() {
    let Some(ministack) = ministack().await else { return };
    scales_out_and_back(ministack.port).await;
}

#[tokio::test]
async fn a_backlog_scales_a_service_of_moto_out_and_back() {
    let Some(moto) = moto().await else { return };
    scales_out_and_back(moto.port).await;
}

#[tokio::test]
async fn without_its_fact_a_rule_writes_nothing() {
    // moto has no DescribeInstanceInformation.
    let Some(moto) = moto().await else { return };
    let proxy = Proxy::before(moto.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.ship("disk-full", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&disk(INSTANCE, "ALARM", 91.0)).await, 202);
    let escalated = untoil.until("escalated", 1).await;
    assert!(escalated[0]["reason"].get("fact_unavailable").is_some(), "{escalated:?}");
    assert!(proxy.count("DescribeInstanceInformation") > 0);
    assert_eq!(proxy.writes(), [""; 0]);
    assert_eq!(untoil.entries("started").await.len(), 0);
}

#[tokio::test]
async fn a_full_disk_is_cleaned_by_the_document_that_really_ran() {
    let Some(host) = Host::full().await else { return };
    let mut untoil = Untoil::towards(host.port);
    untoil.ship("disk-full", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&disk(INSTANCE, "ALARM", 100.0)).await, 202);
    let finished = untoil.until("finished", 1).await;
    let evidence = &finished[0]["outcome"]["done"]["evidence"];
    let told = evidence.to_string();
    assert!(told.contains("used_pct_after"), "{finished:?}");
    let used = host.used_pct();
    assert!(used <= 80, "the scripted host says {used} %");
    assert!(told.contains(&format!("\"used_pct_after\":{used}")), "{told}; the host says {used}");
    assert_eq!(host.sent(), 1);
    assert_eq!(untoil.post(&disk(INSTANCE, "OK", 78.0)).await, 202);
    assert_eq!(untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(host.sent(), 1);
}

#[tokio::test]
async fn a_success_without_a_result_proves_nothing() {
    let Some(host) = Host::silent().await else { return };
    let mut untoil = Untoil::towards(host.port);
    untoil.ship("disk-full", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&disk(INSTANCE, "ALARM", 91.0)).await, 202);
    let escalated = untoil.until("escalated", 1).await;
    assert!(escalated[0]["reason"].get("unknown_outcome").is_some(), "{escalated:?}");
    assert!(untoil.entries("finished").await[0]["outcome"].get("unknown").is_some());
    assert_eq!(host.sent(), 1, "it is not sent again");
}
