//! Rules change while the service runs; a broken one keeps its last good version.

use std::fs;

use crate::alarm::backlog;
use crate::cloud::Cloud;
use crate::service::Untoil;
use crate::stand_in::ministack;

#[tokio::test]
async fn a_rule_that_breaks_while_running_keeps_its_last_good_version_until_it_is_fixed() {
    let Some(ministack) = ministack().await else { return };
    let cloud = Cloud::at(ministack.port);
    cloud.service().await;
    let mut untoil = Untoil::towards(ministack.port);
    untoil.ship("contact-sync-backlog", "auto");
    untoil.start().await;
    let loaded = untoil.until("rule_loaded", 1).await;
    let script = untoil.path("rules/contact-sync-backlog/rule.rhai");
    let good = fs::read_to_string(&script).unwrap();

    fs::write(&script, "fn plan(alarm, facts) { [ecs::scale_by(").unwrap();
    let broken = untoil.until("rule_broken", 1).await;
    assert_eq!(broken[0]["rule"], "contact-sync-backlog");
    assert_eq!(broken[0]["kept"], loaded[0]["version"], "{broken:?}");
    assert_eq!(untoil.run(&["check"]).await.status, 1, "the command line says so, too");
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("finished", 1).await;
    assert_eq!(cloud.tasks().await.0, 6, "the last good version answered");
    assert_eq!(untoil.entries("matched").await[0]["version"], loaded[0]["version"]);

    let fixed = good.replace("let by = 4;", "let by = 2;");
    assert_ne!(fixed, good);
    fs::write(&script, fixed).unwrap();
    let loaded = untoil.until("rule_loaded", 2).await;
    assert_ne!(loaded[1]["version"], loaded[0]["version"]);
    assert_eq!(untoil.run(&["check"]).await.status, 0);
    fs::remove_dir_all(untoil.path("rules/contact-sync-backlog")).unwrap();
    untoil.until("rule_removed", 1).await;
}
