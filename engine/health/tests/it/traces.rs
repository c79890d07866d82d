//! What a collector receives, read with OpenTelemetry's own messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::header::HeaderMap;
use serde_json::json;
use untoil_health::{Metrics, TraceId, Tracer, TracerConfig};
use untoil_journal::MemoryJournal;

use crate::openmetrics::Scrape;
use crate::stand_in::StandIn;
use crate::story::{START, Scene, Story};

fn tracer(collector: &StandIn, instance: &str, metrics: &Arc<Metrics>) -> Arc<Tracer> {
    let mut headers = HeaderMap::new();
    headers.insert("api-key", "of-this-test".parse().unwrap());
    let config = TracerConfig {
        endpoint: collector.base.clone(),
        headers,
        instance: instance.into(),
        version: "1.2.3".into(),
    };
    Arc::new(Tracer::new(config, Arc::clone(metrics)).unwrap())
}

/// A scene with a tracer to a collector.
fn traced(collector: &StandIn, journal: MemoryJournal) -> (Scene, Arc<Tracer>) {
    let mut made = None;
    let scene = Scene::over(Arc::new(journal), |metrics| {
        let tracer = tracer(collector, "untoil-1", metrics);
        made = Some(Arc::clone(&tracer));
        vec![tracer]
    });
    (scene, made.unwrap())
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |it: &KeyValue| {
        let Some(any_value::Value::StringValue(text)) = it.value.clone().unwrap().value else {
            panic!("{it:?}")
        };
        (it.key.clone(), text)
    };
    attributes.iter().map(text).collect()
}

/// All spans that the collector received.
fn received(collector: &StandIn) -> Vec<Span> {
    let mut spans = Vec::new();
    for seen in collector.seen() {
        assert_eq!(seen.path, "/v1/traces");
        assert_eq!(seen.headers["content-type"], "application/x-protobuf");
        assert_eq!(seen.headers["api-key"], "of-this-test");
        let request = ExportTraceServiceRequest::decode(seen.body.as_slice()).unwrap();
        for resource in request.resource_spans {
            let about = texts(&resource.resource.unwrap().attributes);
            assert_eq!(about["service.name"], "untoil");
            assert_eq!(about["service.version"], "1.2.3");
            for scope in resource.scope_spans {
                assert_eq!(scope.scope.unwrap().name, "untoil");
                spans.extend(scope.spans);
            }
        }
    }
    spans
}

/// The tree of spans with their times in seconds since the story began.
fn drawn(spans: &[Span], parent: &[u8], depth: usize) -> String {
    let start: jiff::Timestamp = START.parse().unwrap();
    let base = u64::try_from(start.as_nanosecond()).unwrap();
    let secs = |nanos: u64| (nanos - base) / 1_000_000_000;
    let mut children: Vec<&Span> = spans.iter().filter(|it| it.parent_span_id == parent).collect();
    children.sort_by_key(|it| (it.start_time_unix_nano, it.end_time_unix_nano));
    let lines = children.into_iter().map(|it| {
        let (from, to) = (secs(it.start_time_unix_nano), secs(it.end_time_unix_nano));
        let failed = it.status.as_ref().map_or(String::new(), |s| format!(" ! {}", s.message));
        let kind = if it.kind == 3 { " (client)" } else { "" };
        let line = format!("{}{} {from}–{to}{kind}{failed}\n", "  ".repeat(depth), it.name);
        line + &drawn(spans, &it.span_id, depth + 1)
    });
    lines.collect()
}

#[tokio::test]
async fn one_alarm_is_one_trace_with_the_call_of_aws_inside() {
    let collector = StandIn::answering(StatusCode::OK).await;
    tokio::time::pause();
    let (scene, tracer) = traced(&collector, MemoryJournal::new());
    let story = Story::opens(&scene).await;
    story.plans().await;
    story.judged(json!({ "allow": {} }), json!({})).await;
    story.acts().await;
    story.heals().await;
    tokio::time::resume();
    assert!(tracer.export(&*scene.journal).await);
    let spans = received(&collector);
    expect_test::expect![[r"
        incident 0–370
          receive 0–1
          match 1–1
          facts 1–2
          plan 2–3
          judge 3–4
          run 4–370
            step 4–10
              call 4–5 (client)
              settle 5–10
            verify 10–370
    "]]
    .assert_eq(&drawn(&spans, &[], 0));
    let trace = TraceId::of(&story.incident).bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace && span.span_id.len() == 8));
    let call = spans.iter().find(|span| span.name == "call").unwrap();
    let about = texts(&call.attributes);
    assert_eq!(about["untoil.marker"], story.run.marker(0, 1));
    assert_eq!(about["untoil.action"], "ecs.scale");
    assert_eq!(about["untoil.handle"], "d-1");
    let root = spans.iter().find(|span| span.name == "incident").unwrap();
    assert_eq!(texts(&root.attributes)["untoil.incident.id"], story.incident.as_str());
    assert!(tracer.export(&*scene.journal).await);
    assert_eq!(received(&collector).len(), spans.len(), "each span is sent once");
}

#[tokio::test]
async fn an_incident_that_changes_hands_is_still_one_trace() {
    let collector = StandIn::answering(StatusCode::OK).await;
    tokio::time::pause();
    let shared = MemoryJournal::new();
    let clock = Arc::new(untoil_clock::VirtualClock::starting_at(START.parse().unwrap()));
    let other = shared.join(clock as _);
    let (first, first_tracer) = traced(&collector, shared);
    let (second, second_tracer) = traced(&collector, other);
    let story = Story::opens(&first).await;
    story.plans().await;
    let story = Story { scene: &second, incident: story.incident, run: story.run };
    story.judged(json!({ "allow": {} }), json!({})).await;
    story.acts().await;
    tokio::time::resume();
    assert!(second_tracer.export(&*second.journal).await);
    assert_eq!(received(&collector).len(), 4, "judge, call, settle, step");
    assert!(first_tracer.export(&*first.journal).await);
    let spans = received(&collector);
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    let wanted = ["call", "facts", "judge", "match", "plan", "receive", "settle", "step"];
    assert_eq!(names, wanted);
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
}

#[tokio::test]
async fn a_collector_that_is_down_costs_spans_and_nothing_else() {
    let collector = StandIn::answering(StatusCode::SERVICE_UNAVAILABLE).await;
    tokio::time::pause();
    let (scene, tracer) = traced(&collector, MemoryJournal::new());
    Story::opens(&scene).await;
    tokio::time::resume();
    assert!(!tracer.export(&*scene.journal).await);
    assert!(tracer.export(&*scene.journal).await, "what was lost is not sent again");
    assert_eq!(collector.seen().len(), 1);
    let scrape = Scrape::read(&scene.metrics.text());
    assert_eq!(scrape.value("untoil_trace_spans_total", &[("result", "lost")]), Some(2.0));
}
