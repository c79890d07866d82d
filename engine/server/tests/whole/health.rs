//! How the running service is, as load balancers, scrapers, collectors and log readers see it.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::service::{Untoil, eventually};
use crate::stand_in::{free_port, moto};

/// A request's path and body.
type Seen = (String, Vec<u8>);

/// A stand-in of a collector and of whoever waits for a sign of life; ends when it is dropped.
struct Outside {
    base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _task: JoinSet<()>,
}

impl Outside {
    async fn new() -> Self {
        Self::answering(StatusCode::OK, "").await
    }

    /// The same, as an AWS that has one answer to everything.
    async fn answering(status: StatusCode, body: &'static str) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let app = Router::new().fallback(move |uri: Uri, sent: Bytes| {
            noted.lock().unwrap().push((uri.path().to_owned(), sent.to_vec()));
            async move { (status, body) }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, seen, _task: task }
    }

    fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(seen, _)| seen == path).count()
    }

    fn spans(&self) -> Vec<Span> {
        let seen = self.seen.lock().unwrap();
        let bodies = seen.iter().filter(|(path, _)| path == "/v1/traces");
        let requests =
            bodies.map(|(_, body)| ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes.try_into().unwrap()))
}

/// The lines of the log, each of which must be JSON.
fn log(untoil: &Untoil) -> Vec<Value> {
    let log = untoil.said("stderr");
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

#[tokio::test]
async fn one_alarm_can_be_followed_through_metrics_traces_and_the_log() {
    let Some(moto) = moto().await else { return };
    Cloud::at(moto.port).service().await;
    let outside = Outside::new().await;
    let mut untoil = Untoil::towards(moto.port);
    untoil.set("UNTOIL_OTLP", &json!({ "endpoint": outside.base }).to_string());
    untoil.set("UNTOIL_LOG", "info");
    untoil.set("UNTOIL_LOG__FORMAT", "json");
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("closed", 1).await;

    let incident = untoil.incident().await;
    let trace = incident["trace"].as_str().unwrap().to_owned();
    eventually("the trace is whole", || outside.spans().iter().any(|it| it.name == "incident"))
        .await;
    let spans = outside.spans();
    assert!(spans.iter().all(|span| hexadecimal(&span.trace_id) == trace));
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let above = |span: &Span| {
        let parent = spans.iter().find(|it| it.span_id == span.parent_span_id);
        parent.map(|it| it.name.clone()).unwrap_or_default()
    };
    let call = named("call");
    assert_eq!((call.kind, above(call)), (3, "step".into()));
    assert_eq!(above(named("step")), "run");
    assert_eq!(above(named("run")), "incident");
    assert!(named("incident").parent_span_id.is_empty());
    for stage in ["receive", "match", "facts", "plan", "judge"] {
        assert_eq!(above(named(stage)), "incident", "{stage}");
    }
    assert_eq!(above(named("verify")), "run");

    let scraped = untoil.text("/metrics").await;
    for sample in [
        r#"untoil_aws_calls_total{service="ecs",operation="UpdateService",outcome="ok"} 2"#,
        r#"untoil_intake_answers_total{source="cloudwatch",status="202"} 2"#,
        r#"untoil_runs_total{rule="contact-sync-backlog",outcome="effective"} 2"#,
        r#"untoil_incidents_closed_total{ending="healed"} 1"#,
    ] {
        assert!(scraped.contains(sample), "{sample} is not in\n{scraped}");
    }

    let log = log(&untoil);
    assert!(log.iter().any(|line| line["message"].as_str().unwrap().contains("listens on")));
    assert!(log.iter().all(|line| line["instance"] == "untoil-1" && line["time"].is_string()));
    let started = log.iter().find(|line| line["message"] == "started").unwrap();
    assert_eq!(started["incident.id"], incident["id"]);
    assert_eq!(started["trace.id"], trace);
    assert_eq!(started["run.id"], format!("{}-1", incident["id"].as_str().unwrap()));
    assert_eq!(started["step.n"], 0);
    let received = log.iter().find(|line| line["message"] == "received").unwrap();
    assert!(received["delivery.id"].as_str().unwrap().starts_with("cloudwatch/"));
}

#[tokio::test]
async fn the_dead_man_signal_goes_the_whole_way_and_bothers_nobody() {
    let outside = Outside::new().await;
    let mut untoil = Untoil::towards(free_port());
    untoil.set("DEADMAN_URL", &format!("{}/a-secret-path", outside.base));
    let deadman = json!({ "every": "10s", "within": "10s", "url": { "env": "DEADMAN_URL" } });
    untoil.set("UNTOIL_DEADMAN", &deadman.to_string());
    untoil.set("UNTOIL_LOG", "info");
    untoil.start().await;
    eventually("somebody is told", || outside.count("/a-secret-path") >= 1).await;
    let observed = untoil.entries("observed").await;
    assert_eq!(observed[0]["standing"], "nothing_open");
    assert_eq!(observed[0]["delivery"]["source"], "heartbeat");
    let kinds = untoil.journal().await.into_iter().filter(|entry| entry["incident"].is_string());
    assert_eq!(kinds.count(), 0);
    let told = untoil.said("stdout");
    assert_eq!(told.matches("entry #").count(), 1, "of the start, and of nothing else: {told}");
    let scraped = untoil.text("/metrics").await;
    assert!(scraped.contains(r#"untoil_deadman_beats_total{result="decided"} "#), "{scraped}");
    assert!(!untoil.said("stderr").contains("a-secret-path"));
    // Its secret is known to nobody else.
    let client = reqwest::Client::new();
    let forged = client.post(untoil.url("/v1/events/heartbeat")).bearer_auth("x").body("{}");
    assert_eq!(forged.send().await.unwrap().status().as_u16(), 401);
}

#[tokio::test]
async fn aws_that_denies_is_told_and_deliveries_are_taken_all_the_same() {
    let denied = r#"{"__type":"AccessDeniedException","message":"User: arn:aws:sts::1:assumed-role/untoil is not authorized to perform: ecs:DescribeServices on resource: arn:aws:ecs:x"}"#;
    let aws = Outside::answering(StatusCode::BAD_REQUEST, denied).await;
    let port = aws.base.rsplit(':').next().unwrap().parse().unwrap();
    let mut untoil = Untoil::towards(port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    let before = untoil.get("/readyz").await;
    let parts = before["parts"].as_object().unwrap().iter();
    let states = parts.map(|(part, is)| format!("{part} {}\n", is["state"].as_str().unwrap()));
    let states: String = states.collect();
    expect_test::expect![[r"
        aws ok
        decisions ok
        intake ok
        queues off
        rules ok
        slack off
        store ok
    "]]
    .assert_eq(&states);
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("escalated", 1).await;
    assert!(aws.count("/") > 0);
    let after = untoil.get("/readyz").await;
    assert_eq!(after["ready"], true);
    let aws = &after["parts"]["aws"];
    assert_eq!(aws["state"], "degraded");
    assert!(aws["last_error"].as_str().unwrap().starts_with("ecs:DescribeServices: "), "{aws}");
    assert!(aws["last_error"].as_str().unwrap().contains("not authorized"), "{aws}");
    assert!(aws["way_out"].as_str().unwrap().contains("untoil doctor"));
    assert_eq!(untoil.post(&backlog("OK", 1.0)).await, 202);
    let client = reqwest::Client::new();
    let proxied = client.get(untoil.url("/readyz")).header("x-forwarded-for", "10.0.0.7");
    let proxied = proxied.send().await.unwrap().text().await.unwrap();
    assert!(!proxied.contains("last_error\""), "errors are for those who may read: {proxied}");
}
