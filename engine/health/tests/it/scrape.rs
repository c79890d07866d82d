//! What is counted of an incident, as a scraper reads it.

use std::time::Duration;

use serde_json::json;

use crate::openmetrics::Scrape;
use crate::story::{Scene, Story};

/// A sample's name, its labels, its value.
type Row = (&'static str, &'static [(&'static str, &'static str)], f64);

#[tokio::test(start_paused = true)]
async fn an_incident_that_heals_is_counted_and_timed() {
    let scene = Scene::new();
    let story = Story::opens(&scene).await;
    story.plans().await;
    story.judged(json!({ "allow": {} }), json!({ "limits": "0 of 3" })).await;
    story.acts().await;
    story.heals().await;
    let scrape = Scrape::read(&scene.metrics.text());
    let table: [Row; 23] = [
        ("untoil_alarm_to_call_seconds_sum", &[], 4.0),
        ("untoil_build_info", &[("version", "1.2.3")], 1.0),
        ("untoil_deliveries_received_total", &[("source", "sns"), ("receipt", "stored")], 2.0),
        ("untoil_deliveries_decided_total", &[("source", "sns"), ("said", "alarms")], 2.0),
        ("untoil_delivery_decided_seconds_count", &[("source", "sns")], 2.0),
        ("untoil_delivery_decided_seconds_sum", &[("source", "sns")], 1.0),
        ("untoil_alarms_total", &[("source", "cloudwatch"), ("standing", "opened")], 1.0),
        ("untoil_alarms_total", &[("source", "cloudwatch"), ("standing", "cleared")], 1.0),
        ("untoil_incidents_opened_total", &[("source", "cloudwatch")], 1.0),
        ("untoil_incidents_matched_total", &[("rule", "backlog")], 1.0),
        ("untoil_plans_total", &[("rule", "backlog")], 1.0),
        (
            "untoil_judgements_total",
            &[("rule", "backlog"), ("verdict", "allow"), ("reason", "none")],
            1.0,
        ),
        ("untoil_steps_started_total", &[("action", "ecs.scale")], 1.0),
        ("untoil_steps_finished_total", &[("action", "ecs.scale"), ("outcome", "done")], 1.0),
        ("untoil_step_seconds_sum", &[("action", "ecs.scale")], 6.0),
        ("untoil_runs_total", &[("rule", "backlog"), ("outcome", "effective")], 1.0),
        ("untoil_incidents_closed_total", &[("ending", "healed")], 1.0),
        ("untoil_incident_open_seconds_sum", &[("ending", "healed")], 369.0),
        ("untoil_incident_open_seconds_bucket", &[("ending", "healed"), ("le", "180.0")], 0.0),
        ("untoil_incident_open_seconds_bucket", &[("ending", "healed"), ("le", "600.0")], 1.0),
        ("untoil_entries_total", &[("kind", "received")], 2.0),
        ("untoil_entries_total", &[("kind", "finished")], 1.0),
        ("untoil_journal_writes_total", &[("operation", "append"), ("result", "ok")], 8.0),
    ];
    for (name, labels, wanted) in table {
        assert_eq!(scrape.value(name, labels), Some(wanted), "{name} {labels:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_names_the_gate_the_reason_and_the_rule() {
    let scene = Scene::new();
    let story = Story::opens(&scene).await;
    story.plans().await;
    let reason = json!({ "too_many_targets": { "n": 7, "max": 1 } });
    story.judged(json!({ "deny": { "reason": reason } }), json!({ "limits": "7 of 1" })).await;
    scene
        .write(
            Some(&story.incident),
            &[json!({ "escalated": { "reason": reason, "mention": null } })],
        )
        .await;
    let scrape = Scrape::read(&scene.metrics.text());
    let judged = [("rule", "backlog"), ("verdict", "deny"), ("reason", "too_many_targets")];
    assert_eq!(scrape.value("untoil_judgements_total", &judged), Some(1.0));
    let gate = [("gate", "limits"), ("verdict", "deny")];
    assert_eq!(scrape.value("untoil_gate_objections_total", &gate), Some(1.0));
    let escalated = [("reason", "too_many_targets")];
    assert_eq!(scrape.value("untoil_escalations_total", &escalated), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_outside_is_escaped_and_repeats_are_told_apart() {
    let scene = Scene::new();
    scene.receive("generic", "again").await;
    scene.receive("generic", "again").await;
    let took = Duration::from_millis(3);
    scene.metrics.answered("generic", 503, took);
    scene.metrics.called("ssm:SendCommand", "ok", took);
    scene.metrics.called("no colon \"\\\n", "odd", took);
    let scrape = Scrape::read(&scene.metrics.text());
    for (receipt, n) in [("stored", 1.0), ("seen", 1.0)] {
        let labels = [("source", "generic"), ("receipt", receipt)];
        assert_eq!(scrape.value("untoil_deliveries_received_total", &labels), Some(n));
    }
    let answer = [("source", "generic"), ("status", "503")];
    assert_eq!(scrape.value("untoil_intake_answers_total", &answer), Some(1.0));
    let call = [("service", "ssm"), ("operation", "SendCommand"), ("outcome", "ok")];
    assert_eq!(scrape.value("untoil_aws_calls_total", &call), Some(1.0));
    let odd = [("service", "other"), ("operation", "no colon \"\\\n"), ("outcome", "odd")];
    assert_eq!(scrape.value("untoil_aws_calls_total", &odd), Some(1.0));
    assert_eq!(scrape.0["untoil_aws_call_seconds"].unit, "seconds");
}
