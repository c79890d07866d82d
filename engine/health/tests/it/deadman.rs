//! Who is told that all is well, and when not.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use untoil_clock::{Clock as _, SystemClock};
use untoil_health::{DeadMan, DeadManConfig, HEARTBEAT};
use untoil_journal::{Batch, Journal as _, MemoryJournal};
use untoil_model::{Actor, Body, Draft};

use crate::openmetrics::Scrape;
use crate::stand_in::StandIn;
use crate::story::Scene;

const SECRET: &str = "a-secret-of-this-test";

/// What our own intake and dispatcher do with the heartbeat.
#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Decides,
    /// Another instance on the same journal does.
    LeavesToAnother,
    KeepsOnly,
    Refuses,
}

/// The result that is counted, how often somebody was told, and whether success was noted.
async fn beat(engine: Engine, outside: StatusCode) -> (String, usize, bool) {
    let outside = StandIn::answering(outside).await;
    let mut made = None;
    let journal = Arc::new(MemoryJournal::new());
    // Who is decided ends at once, however slow the machine is.
    let within = match engine {
        Engine::Decides | Engine::LeavesToAnother => Duration::from_secs(20),
        Engine::KeepsOnly | Engine::Refuses => Duration::from_millis(600),
    };
    let scene = Arc::new(Scene::over(Arc::clone(&journal) as _, |metrics| {
        let config = DeadManConfig {
            every: Duration::from_mins(1),
            within,
            secret: SECRET.into(),
            instance: "untoil-1".into(),
            tell: Some(format!("{}/ping/secret", outside.base)),
        };
        let deadman = Arc::new(DeadMan::new(config, Arc::clone(metrics)).unwrap());
        made = Some(Arc::clone(&deadman));
        vec![deadman]
    }));
    let own = StandIn::serving(intake(engine, Arc::clone(&scene), journal), Arc::default()).await;
    let deadman = made.unwrap();
    let address = format!("{}/v1/events/{HEARTBEAT}", own.base);
    deadman.beat(&address, (&*scene.journal, &SystemClock)).await;
    let scrape = Scrape::read(&scene.metrics.text());
    let counted = &scrape.0["untoil_deadman_beats"].samples;
    assert_eq!(counted.len(), 1, "{counted:?}");
    let noted = scrape.value("untoil_deadman_last_success_timestamp_seconds", &[]).unwrap();
    (counted[0].labels["result"].clone(), outside.seen().len(), noted > 0.0)
}

/// A stand-in of our own intake, with the way on to a decision. `journal` is another instance's: nobody
/// at our door sees what is written there.
fn intake(engine: Engine, scene: Arc<Scene>, journal: Arc<MemoryJournal>) -> Router {
    let receive = move |headers: HeaderMap, body: String| {
        let (scene, journal) = (Arc::clone(&scene), Arc::clone(&journal));
        async move {
            assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["alarms"][0]["state"], "resolved", "it must not open anything");
            if engine == Engine::Refuses {
                return (StatusCode::SERVICE_UNAVAILABLE, String::new());
            }
            let delivery = scene.receive(HEARTBEAT, "m-1").await;
            let decoded = Body::Decoded { delivery: delivery.clone(), alarms: 1 };
            let decoded = Draft::new(scene.clock.now(), Actor::Engine("untoil-2".into()), decoded);
            let decoded = Batch::of(vec![decoded]).deciding(delivery.clone());
            match engine {
                Engine::Decides => drop(scene.journal.append(decoded).await.unwrap()),
                Engine::LeavesToAnother => drop(journal.append(decoded).await.unwrap()),
                Engine::KeepsOnly | Engine::Refuses => {}
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
        (Engine::LeavesToAnother, StatusCode::OK, ("decided", 1, true)),
        (Engine::KeepsOnly, StatusCode::OK, ("late", 0, false)),
        (Engine::Refuses, StatusCode::OK, ("refused", 0, false)),
    ];
    for (engine, outside, wanted) in table {
        let (result, told, noted) = beat(engine, outside).await;
        assert_eq!((result.as_str(), told, noted), wanted);
    }
}
