//! Every gate: what passes, what does not, and with which numbers.
#![expect(clippy::unwrap_used, reason = "a test's own data is well formed")]

mod scene;

use scene::*;
use untoil_guard::*;
use untoil_model::*;

#[tokio::test]
async fn a_fresh_plan_of_an_automatic_rule_is_allowed_with_its_numbers() {
    let scene = Scene::default();
    let mut incident = scene.planned("disk", plan(&host(1)), at(0)).await;
    let judged = scene.guard().judge(&mut incident, at(10)).await.unwrap();
    let Body::Judged { authority, gates, writes: true, .. } = &judged.entries[0].body else {
        panic!("{judged:?}")
    };
    assert_eq!(authority, "rule disk-full@1a2b3c4d5e6f7a8b (auto)");
    let lines: Vec<_> = gates.iter().map(|(gate, note)| format!("{gate}: {note}\n")).collect();
    expect_test::expect![[r#"
        approval: not needed
        cooldown: 30m after 0 that did not help, 5m after any
        engine_mode: live
        kill_switch: none of 0 pauses applies
        limits: target 0 of 3 per 24h, rule 0 of 6 per 1h, global 0 of 30 per 1h, global 0 of 5 per 1m
        protected: none of 0 applies
        resolved: firing
        rule_mode: auto
        run: remedy
        staleness: 10s old, at most 10m
        target_lock: free
        targets: writes to 1, at most 1
    "#]].assert_eq(&lines.concat());
    assert_eq!(incident.work(), Work::Call { step: 0 });
}
