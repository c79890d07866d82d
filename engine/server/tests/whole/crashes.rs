//! The process dies, is stopped, or is started twice.

use std::time::Duration;

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::proxy::{Fault, Proxy};
use crate::service::{Untoil, eventually};
use crate::stand_in::ministack;

#[tokio::test]
async fn a_call_whose_answer_died_with_the_process_is_found_and_not_repeated() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    proxy.set("UpdateService", Fault::Withheld);
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    eventually("the call is applied", || proxy.count("UpdateService") == 1).await;
    untoil.kill().await;
    let entries = untoil.run(&["audit", "list", "--kind", "started"]).await;
    assert_eq!((entries.status, entries.out.lines().count()), (0, 1), "{entries:?}");
    let sent = untoil.run(&["audit", "list", "--kind", "sent"]).await;
    assert_eq!(sent.out, "", "nothing is known of the call");
    assert_eq!(cloud.tasks().await.0, 6);

    proxy.clear();
    untoil.start().await;
    let finished = untoil.until("finished", 1).await;
    assert_eq!(finished[0]["outcome"]["done"]["evidence"]["after"], 6);
    assert_eq!(proxy.count("UpdateService"), 1, "no second effect");
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    assert_eq!(untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(proxy.count("UpdateService"), 2, "and the lease's return");
    assert_eq!(cloud.tasks().await.0, 2);
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

#[tokio::test]
async fn sigterm_waits_for_the_record_of_a_call_and_the_next_start_goes_on() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    proxy.set("UpdateService", Fault::Slow(Duration::from_secs(2)));
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    eventually("the call is out", || proxy.count("UpdateService") == 1).await;
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0, "{}", untoil.said("stderr"));
    let entries = untoil.run(&["audit", "list", "--format", "json"]).await.out;
    let kinds: Vec<String> = entries
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|entry| entry["body"].as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    assert!(kinds.contains(&"sent".to_owned()), "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "engine_stopped", "{kinds:?}");

    proxy.clear();
    untoil.start().await;
    untoil.until("finished", 1).await;
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    assert_eq!(untoil.until("closed", 1).await[0]["ending"], "healed");
    assert_eq!(proxy.count("UpdateService"), 2);
}

/// A call is out, longer than the service may take to end; `end` ends it, and the next start goes on.
async fn a_call_that_is_cut_off(drain: &str, end: impl AsyncFnOnce(&mut Untoil)) {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let proxy = Proxy::before(ministack.port).await;
    let mut untoil = Untoil::towards(proxy.port);
    untoil.set("UNTOIL_DRAIN", drain);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    proxy.set("UpdateService", Fault::Slow(Duration::from_secs(25)));
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    eventually("the call is out", || proxy.count("UpdateService") == 1).await;
    let began = tokio::time::Instant::now();
    end(&mut untoil).await;
    assert_eq!(untoil.ended().await, 1, "{}", untoil.said("stderr"));
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for the call");
    assert!(
        untoil.said("stderr").contains("goes on from the journal"),
        "{}",
        untoil.said("stderr")
    );

    proxy.clear();
    untoil.start().await;
    untoil.until("finished", 1).await;
    assert_eq!(cloud.tasks().await.0, 6);
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

#[tokio::test]
async fn a_call_that_takes_longer_than_drain_is_cut_off_and_found_at_the_next_start() {
    a_call_that_is_cut_off("1s", async |untoil: &mut Untoil| untoil.terminate().await).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    a_call_that_is_cut_off("10m", async |untoil: &mut Untoil| {
        untoil.terminate().await;
        // Until the first is acted on, it takes no connections any more.
        let closed = async || tokio::net::TcpStream::connect(("127.0.0.1", untoil.port)).await;
        while closed().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        untoil.terminate().await;
    })
    .await;
}

#[tokio::test]
async fn told_to_end_it_says_that_it_is_not_ready_and_still_keeps_what_comes() {
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_DRAIN_OPEN", "5s");
    untoil.start().await;
    let began = tokio::time::Instant::now();
    untoil.terminate().await;
    // A new connection each time, as a load balancer's look is.
    let look = async || reqwest::Client::new().get(untoil.url("/readyz")).send().await.unwrap();
    let mut ready = look().await;
    while ready.status() != 503 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ready = look().await;
    }
    assert_eq!(ready.headers()["connection"], "close", "who is kept would come back");
    let parts = &ready.json::<serde_json::Value>().await.unwrap()["parts"];
    assert_eq!(parts["intake"]["state"], "stopping");
    assert_eq!(untoil.text("/healthz").await, "ok\n", "it needs no restart");
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    assert_eq!(untoil.ended().await, 0, "{}", untoil.said("stderr"));
    assert!(began.elapsed() >= Duration::from_secs(5));

    let entries = untoil.run(&["audit", "list"]).await.out;
    assert!(entries.contains("received") && !entries.contains("opened"), "{entries}");
    untoil.start().await;
    untoil.until("unmatched", 1).await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}

#[tokio::test]
async fn a_second_service_on_the_same_folder_is_refused() {
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let second = untoil.run(&["serve"]).await;
    assert_eq!(second.status, 1);
    assert!(second.err.contains("cannot listen on 127.0.0.1"), "{second:?}");
    untoil.set("UNTOIL_LISTEN", "127.0.0.1:0");
    let second = untoil.run(&["serve"]).await;
    assert_eq!(second.status, 1);
    assert!(second.err.contains("journal.db") && second.err.contains("another"), "{second:?}");
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
}

#[tokio::test]
async fn a_sender_that_never_ends_its_request_does_not_keep_the_service_from_stopping() {
    use tokio::io::AsyncWriteExt as _;
    let mut untoil = Untoil::towards(1);
    untoil.start().await;
    let mut line = tokio::net::TcpStream::connect(("127.0.0.1", untoil.port)).await.unwrap();
    let head = "POST /v1/events/cloudwatch HTTP/1.1\r\nhost: x\r\nx-api-key: a-secret-of-these-tests\r\ncontent-length: 99\r\n\r\n{";
    line.write_all(head.as_bytes()).await.unwrap();
    let mut other = tokio::net::TcpStream::connect(("127.0.0.1", untoil.port)).await.unwrap();
    other.write_all(b"GET /heal").await.unwrap();
    untoil.until("engine_started", 1).await;
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
    drop((line, other));
}
