//! Who is told that all is well, and when not.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use untoil_clock::SystemClock;
use untoil_health::{DeadMan, DeadManConfig, HEARTBEAT};
use untoil_journal::MemoryJournal;

use crate::openmetrics::Scrape;
use crate::stand_in::StandIn;
use crate::story::Scene;

const SECRET: &str = "a-secret-of-this-test";

/// What our own intake and dispatcher do with the heartbeat.
#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Decides,
    KeepsOnly,
    Refuses,
}

/// The result that is counted, how often somebody was told, and whether success was noted.
async fn beat(engine: Engine, outside: StatusCode) -> (String, usize, bool) {
    let outside = StandIn::answering(outside).await;
    let mut made = None;
    let scene = Arc::new(Scene::over(Arc::new(MemoryJournal::new()), |metrics| {
        let config = DeadManConfig {
            every: Duration::from_mins(1),
            within: Duration::from_millis(500),
            secret: SECRET.into(),
            instance: "untoil-1".into(),
            tell: Some(format!("{}/ping/secret", outside.base)),
        };
        let deadman = Arc::new(DeadMan::new(config, Arc::clone(metrics)).unwrap());
        made = Some(Arc::clone(&deadman));
        vec![deadman]
    }));
    let own = StandIn::serving(intake(engine, Arc::clone(&scene)), Arc::default()).await;
    let deadman = made.unwrap();
    deadman.beat(&format!("{}/v1/events/{HEARTBEAT}", own.base), &SystemClock).await;
    let scrape = Scrape::read(&scene.metrics.text());
    let counted = &scrape.0["untoil_deadman_beats"].samples;
    assert_eq!(counted.len(), 1, "{counted:?}");
    let noted = scrape.value("untoil_deadman_last_success_timestamp_seconds", &[]).unwrap();
    (counted[0].labels["result"].clone(), outside.seen().len(), noted > 0.0)
}

/// A stand-in of our own intake, with the way on to a decision.
fn intake(engine: Engine, scene: Arc<Scene>) -> Router {
    let receive = move |headers: HeaderMap, body: String| {
        let scene = Arc::clone(&scene);
        async move {
            assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["alarms"][0]["state"], "resolved", "it must not open anything");
            if engine == Engine::Refuses {
                return (StatusCode::SERVICE_UNAVAILABLE, String::new());
            }
            let delivery = scene.receive(HEARTBEAT, "m-1").await;
            if engine == Engine::Decides {
                let decoded = json!({ "decoded": { "delivery": delivery, "alarms": 1 } });
                scene.write(None, &[decoded]).await;
            }
            (StatusCode::ACCEPTED, json!({ "delivery": delivery.to_string() }).to_string())
        }
    };
    Router::new().route("/v1/events/heartbeat", post(receive))
}

#[tokio::test]
async fn only_a_delivery_that_was_decided_in_time_is_a_sign_of_life() {
    let table = [
        (Engine::Decides, StatusCode::OK, ("decided", 1, true)),
        (Engine::Decides, StatusCode::NOT_FOUND, ("untold", 1, true)),
        (Engine::KeepsOnly, StatusCode::OK, ("late", 0, false)),
        (Engine::Refuses, StatusCode::OK, ("refused", 0, false)),
    ];
    for (engine, outside, wanted) in table {
        let (result, told, noted) = beat(engine, outside).await;
        assert_eq!((result.as_str(), told, noted), wanted);
    }
}
