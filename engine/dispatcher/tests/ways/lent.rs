//! What is lent and given back.

use expect_test::expect;

use crate::lab::Lab;

fn counts(lab: &Lab) -> (i64, i64) {
    lab.world.service_counts("workers", "sync")
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_once_the_alarm_stays_clear() {
    let mut lab = Lab::new();
    lab.says("scale", "firing").await;
    lab.mins(2).await;
    assert_eq!(counts(&lab), (8, 8));
    lab.says("scale", "resolved").await;
    lab.mins(8).await;
    assert_eq!(counts(&lab), (4, 4));
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened scale is firing
        00:00 A matched scale
        00:00 A facts_read service
        00:00 A planned A-1 part 0: ecs.scale desired count 4 → 8
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:30 A finished done {"after":8,"before":4,"running":8}
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed scale is resolved, Cleared
        07:00 A concluded effective
        07:00 A planned A-2 part 0: ecs.scale back: desired count 8 → 4
        07:00 A judged allow
        07:00 A started untoil:A-2:0:1
        07:00 A sent
        07:10 A finished done {"after":4,"before":8,"running":4}
        07:10 A concluded effective
        07:10 A closed Healed
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_person_changed_is_left_alone() {
    let mut lab = Lab::new();
    lab.says("scale", "firing").await;
    lab.mins(2).await;
    lab.world.set_service_desired("workers", "sync", 12);
    lab.says("scale", "resolved").await;
    lab.mins(8).await;
    assert_eq!(counts(&lab).0, 12);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened scale is firing
        00:00 A matched scale
        00:00 A facts_read service
        00:00 A planned A-1 part 0: ecs.scale desired count 4 → 8
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:30 A finished done {"after":8,"before":4,"running":8}
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed scale is resolved, Cleared
        07:00 A concluded effective
        07:00 A lease_dropped ecs/workers/sync: lease_changed
        07:00 A escalated lease_changed (`ecs/workers/sync` is at 12, not at 8 as we left it; it is left alone) → oncall
        07:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_while_the_alarm_fires_reaches_a_person_once() {
    let mut lab = Lab::new();
    lab.says("scale", "firing").await;
    lab.mins(45).await;
    assert_eq!(counts(&lab), (8, 8));
    lab.restart(1).await;
    lab.mins(5).await;
    lab.says("scale", "resolved").await;
    lab.mins(8).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened scale is firing
        00:00 A matched scale
        00:00 A facts_read service
        00:00 A planned A-1 part 0: ecs.scale desired count 4 → 8
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:30 A finished done {"after":8,"before":4,"running":8}
        10:30 A concluded ineffective: ineffective
        10:30 A escalated ineffective (the alarm did not clear within 10m) → oncall
        30:30 A escalated lease_over (`ecs/workers/sync` is still at 8, was 4, and its lease is over) → oncall
        51:00 - received generic/m2
        51:00 - decoded generic/m2
        51:00 A observed scale is resolved, Cleared
        51:00 A planned A-2 part 0: ecs.scale back: desired count 8 → 4
        51:00 A judged allow
        51:00 A started untoil:A-2:0:1
        51:00 A sent
        51:10 A finished done {"after":4,"before":8,"running":4}
        51:10 A concluded effective
        51:10 A closed HealedByOthers
    "#]]).await;
}
