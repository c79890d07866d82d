//! A new process over the same journal, in each phase.

use expect_test::expect;

use crate::lab::Lab;

#[tokio::test(start_paused = true)]
async fn a_delivery_that_came_while_the_engine_was_down_is_decided_at_its_start() {
    let mut lab = Lab::new();
    lab.stop().await;
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    lab.begin();
    lab.mins(1).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        01:00 - decoded generic/m1
        01:00 A opened disk is firing
        01:00 A matched disk
        01:00 A facts_read host
        01:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        01:00 A judged allow
        01:00 A started untoil:A-1:0:1
        01:00 A sent
        01:22 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_held_plan_still_waits_after_a_restart() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(1).await;
    lab.restart(2).await;
    lab.mins(1).await;
    lab.answers("yes").await;
    lab.mins(2).await;
    lab.says("ask", "resolved").await;
    lab.mins(6).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        04:00 A approved by kim
        04:00 A judged allow
        04:00 A started untoil:A-1:0:1
        04:00 A sent
        04:22 A finished done reached
        06:00 - received generic/m2
        06:00 - decoded generic/m2
        06:00 A observed ask is resolved, Cleared
        11:00 A concluded effective
        11:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_while_the_engine_was_down_counts() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(1).await;
    lab.stop().await;
    lab.answers("yes").await;
    lab.mins(1).await;
    lab.begin();
    lab.mins(2).await;
    lab.says("ask", "resolved").await;
    lab.mins(6).await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        01:00 A approved by kim
        02:00 A judged allow
        02:00 A started untoil:A-1:0:1
        02:00 A sent
        02:22 A finished done reached
        04:00 - received generic/m2
        04:00 - decoded generic/m2
        04:00 A observed ask is resolved, Cleared
        09:00 A concluded effective
        09:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_after_a_restart_between_its_steps() {
    let mut lab = Lab::new();
    lab.says("twice", "firing").await;
    lab.secs(5).await;
    lab.restart(1).await;
    lab.secs(20).await;
    lab.restart(1).await;
    lab.mins(3).await;
    assert_eq!(lab.world.calls().len(), 2);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened twice is firing
        00:00 A matched twice
        00:00 A planned A-1 part 0: ssm.document run `untoil-cpu-culprit` with Seconds=10; ssm.document run `untoil-cpu-culprit` with Seconds=10
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        01:05 A finished done sampled
        02:25 A started untoil:A-1:1:1
        02:25 A sent
        02:38 A finished done sampled
        02:38 A concluded inconclusive: inconclusive
        02:38 A escalated inconclusive (it cannot be told whether it helped: the rule changed nothing, and the alarm still fires) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn verification_goes_on_after_a_restart() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    lab.restart(1).await;
    lab.says("disk", "resolved").await;
    lab.mins(2).await;
    lab.restart(1).await;
    lab.mins(4).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_cleared_and_stayed_clear_while_the_engine_was_down_is_healed() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    lab.stop().await;
    lab.says("disk", "resolved").await;
    lab.mins(30).await;
    lab.begin();
    lab.mins(6).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        01:00 - received generic/m2
        31:00 - decoded generic/m2
        31:00 A observed disk is resolved, Cleared
        36:00 A concluded effective
        36:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_after_a_restart() {
    let mut lab = Lab::new();
    lab.says("scale", "firing").await;
    lab.mins(2).await;
    lab.restart(1).await;
    lab.says("scale", "resolved").await;
    lab.mins(4).await;
    lab.restart(3).await;
    lab.mins(2).await;
    assert_eq!(lab.world.service_counts("workers", "sync"), (4, 4));
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
        03:00 - received generic/m2
        03:00 - decoded generic/m2
        03:00 A observed scale is resolved, Cleared
        10:00 A concluded effective
        10:00 A planned A-2 part 0: ecs.scale back: desired count 8 → 4
        10:00 A judged allow
        10:00 A started untoil:A-2:0:1
        10:00 A sent
        10:10 A finished done {"after":4,"before":8,"running":4}
        10:10 A concluded effective
        10:10 A closed Healed
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_is_not_made_again_after_a_long_absence() {
    let mut lab = Lab::new();
    // What was allowed half an hour ago is too old to be called, even where repeating is harmless.
    lab.world.hang("ssm:SendCommand");
    lab.says("disk", "firing").await;
    lab.secs(1).await;
    lab.restart(30).await;
    lab.mins(3).await;
    assert_eq!(lab.world.asked("ssm:SendCommand"), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        30:30 A backoff it provably did not go through
        30:31 A finished refused precheck_failed: call_within: it is 1831s late, at most 2m
        30:31 A concluded ineffective: step_refused
        30:31 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `precheck_failed`: call_within: it is 1831s late, at most 2m) → oncall
    "#]]).await;
}
