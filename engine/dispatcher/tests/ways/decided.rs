//! What the guard says, and what people answer.

use std::time::Duration;

use expect_test::expect;
use untoil_guard::Scope;

use crate::lab::Lab;

const LOOK: &str = "ssm:DescribeInstanceInformation";
const SEND: &str = "ssm:SendCommand";

#[tokio::test(start_paused = true)]
async fn an_alarm_heals() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(3).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    assert_eq!(lab.effects(), ["/ 90 % → 79 %"]);
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
        03:00 - received generic/m2
        03:00 - decoded generic/m2
        03:00 A observed disk is resolved, Cleared
        08:00 A concluded effective
        08:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_run_is_denied_by_a_limit_and_people_hear_of_it() {
    let mut lab = Lab::new();
    lab.says("once", "firing").await;
    lab.mins(2).await;
    lab.says("once", "resolved").await;
    lab.mins(6).await;
    lab.says("once", "firing").await;
    lab.mins(1).await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened once is firing
        00:00 A matched once
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:22 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed once is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
        08:00 - received generic/m3
        08:00 - decoded generic/m3
        08:00 B opened once is firing
        08:00 B matched once
        08:00 B planned B-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        08:00 B judged deny: limit_target (the limit of 1 per 24h on `ec2/i-0123456789abcdef0` is used up (1); next at 2026-01-06T00:00:00Z)
        08:00 B escalated limit_target (the limit of 1 per 24h on `ec2/i-0123456789abcdef0` is used up (1); next at 2026-01-06T00:00:00Z) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_held_runs_when_a_person_approves_it() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(2).await;
    assert!(lab.effects().is_empty());
    lab.answers("yes").await;
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
        02:00 A approved by kim
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
async fn a_plan_that_a_person_rejects_is_not_run() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(2).await;
    lab.answers("no").await;
    lab.mins(2).await;
    lab.says("ask", "resolved").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        02:00 A rejected by kim
        02:00 A judged deny: approval_rejected (kim refused it)
        04:00 - received generic/m2
        04:00 - decoded generic/m2
        04:00 A observed ask is resolved, Cleared
        04:00 A closed HealedItself
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_nobody_answers_runs_out() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(20).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        15:00 A judged deny: approval_expired (nobody answered within 15m)
        15:00 A escalated approval_expired (nobody answered within 15m) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_whose_alarm_clears_while_it_is_held_is_dropped() {
    let mut lab = Lab::new();
    lab.says("ask", "firing").await;
    lab.mins(2).await;
    lab.says("ask", "resolved").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed ask is resolved, Cleared
        02:00 A judged deny: resolved_before_act (the alarm cleared before anything was done)
        02:00 A closed HealedItself
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_before_its_rule_acts_is_left_alone() {
    let mut lab = Lab::new();
    // Reading the fact takes longer than the alarm lasts.
    lab.world.slow(LOOK, Duration::from_secs(8));
    lab.says("disk", "firing").await;
    lab.secs(5).await;
    lab.says("disk", "resolved").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:05 - received generic/m2
        00:05 - decoded generic/m2
        00:05 A observed disk is resolved, Cleared
        00:08 A closed HealedItself
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_between_judgement_and_call_is_left_alone() {
    let mut lab = Lab::new();
    lab.says("later", "resolved").await;
    lab.says("later", "firing").await;
    lab.secs(5).await;
    lab.says("later", "resolved").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 - observed later is resolved, NothingOpen
        00:00 - received generic/m2
        00:00 - decoded generic/m2
        00:00 A opened later is firing
        00:00 A matched later
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:05 - received generic/m3
        00:05 - decoded generic/m3
        00:05 A observed later is resolved, Cleared
        00:20 A finished refused resolved_before_act: the alarm cleared before anything was done
        00:20 A concluded inconclusive
        00:20 A closed HealedItself
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_clears_while_the_world_is_looked_at_again_is_left_alone() {
    let mut lab = Lab::new();
    lab.says("disk", "resolved").await;
    lab.world.slow(LOOK, Duration::ZERO);
    lab.world.slow(LOOK, Duration::from_secs(20));
    lab.says("disk", "firing").await;
    lab.secs(5).await;
    lab.says("disk", "resolved").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 - observed disk is resolved, NothingOpen
        00:00 - received generic/m2
        00:00 - decoded generic/m2
        00:00 A opened disk is firing
        00:00 A matched disk
        00:05 - received generic/m3
        00:05 - decoded generic/m3
        00:05 A observed disk is resolved, Cleared
        00:20 A closed HealedItself
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_alarm_is_not_acted_on() {
    let mut lab = Lab::new();
    lab.says_at("disk", "firing", (16 * 60, None)).await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged deny: stale (the alarm is 16m old; alarms older than 15m are not acted on)
        00:00 A escalated stale (the alarm is 16m old; alarms older than 15m are not acted on) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_in_shadow_only_shows_its_plan() {
    let mut lab = Lab::new();
    lab.says("shadow", "firing").await;
    lab.mins(1).await;
    lab.says("shadow", "resolved").await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened shadow is firing
        00:00 A matched shadow
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged deny: shadow (the rule is in shadow: it only shows what it would do)
        01:00 - received generic/m2
        01:00 - decoded generic/m2
        01:00 A observed shadow is resolved, Cleared
        01:00 A closed HealedItself
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_stops_a_run_between_two_steps() {
    let mut lab = Lab::new();
    lab.says("twice", "firing").await;
    lab.secs(30).await;
    let now = untoil_clock::Clock::now(&*lab.clock);
    drop(lab.guard.pause(&Scope::All, "kim", "I look myself", now).await.unwrap());
    lab.mins(5).await;
    assert_eq!(lab.world.calls().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened twice is firing
        00:00 A matched twice
        00:00 A planned A-1 part 0: ssm.document run `untoil-cpu-culprit` with Seconds=10; ssm.document run `untoil-cpu-culprit` with Seconds=10
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:13 A finished done sampled
        00:30 - paused all by kim
        01:13 A finished refused kill_switch: `all` is paused by kim: I look myself
        01:13 A concluded ineffective: step_refused
        01:13 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `kill_switch`: `all` is paused by kim: I look myself) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_run_on_a_target_waits_for_the_first() {
    let mut lab = Lab::new();
    lab.says("disk-1", "firing").await;
    lab.secs(5).await;
    lab.says("disk-2", "firing").await;
    lab.mins(1).await;
    lab.says("disk-1", "resolved").await;
    lab.mins(7).await;
    lab.says("disk-2", "resolved").await;
    lab.mins(7).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk-1 is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A sent
        00:05 - received generic/m2
        00:05 - decoded generic/m2
        00:05 B opened disk-2 is firing
        00:05 B matched disk
        00:05 B facts_read host
        00:05 B planned B-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:05 B judged hold until 00:05:05: target_busy (`ec2/i-0123456789abcdef0` is held by run A-1)
        00:22 A finished done reached
        01:05 - received generic/m3
        01:05 - decoded generic/m3
        01:05 A observed disk-1 is resolved, Cleared
        05:05 B judged deny: target_busy (`ec2/i-0123456789abcdef0` is held by run A-1)
        05:05 B escalated target_busy (`ec2/i-0123456789abcdef0` is held by run A-1) → oncall
        06:05 A concluded effective
        06:05 A closed Healed
        08:05 - received generic/m4
        08:05 - decoded generic/m4
        08:05 B observed disk-2 is resolved, Cleared
        08:05 B closed HealedByOthers
    "#]]).await;
}

/// Two runs want one target; the first is throttled by AWS for a while, and then refused.
async fn two_on_one_target(first: &str, second: &str) -> Lab {
    let mut lab = Lab::new();
    lab.world.throttle(SEND, 4);
    lab.world.refuse(SEND, "InvalidDocument");
    lab.says(first, "firing").await;
    lab.secs(5).await;
    lab.says(second, "firing").await;
    lab.mins(2).await;
    lab.says(second, "resolved").await;
    lab.mins(6).await;
    lab
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_goes_on_as_soon_as_the_first_has_ended() {
    let lab = two_on_one_target("once", "disk").await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened once is firing
        00:00 A matched once
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A backoff simulated
        00:01 A started untoil:A-1:0:2
        00:01 A backoff simulated
        00:03 A started untoil:A-1:0:3
        00:03 A backoff simulated
        00:05 - received generic/m2
        00:05 - decoded generic/m2
        00:05 B opened disk is firing
        00:05 B matched disk
        00:05 B facts_read host
        00:05 B planned B-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:05 B judged hold until 00:05:05: target_busy (`ec2/i-0123456789abcdef0` is held by run A-1)
        00:10 A started untoil:A-1:0:4
        00:10 A backoff simulated
        00:19 A started untoil:A-1:0:5
        00:19 A finished refused InvalidDocument: simulated
        00:19 A concluded ineffective: step_refused
        00:19 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `InvalidDocument`: simulated) → oncall
        00:19 B judged allow
        00:19 B started untoil:B-1:0:1
        00:19 B sent
        00:41 B finished done reached
        02:05 - received generic/m3
        02:05 - decoded generic/m3
        02:05 B observed disk is resolved, Cleared
        07:05 B concluded effective
        07:05 B closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiting_run_of_the_same_rule_must_rest_first() {
    let lab = two_on_one_target("disk-1", "disk-2").await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk-1 is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A backoff simulated
        00:01 A started untoil:A-1:0:2
        00:01 A backoff simulated
        00:04 A started untoil:A-1:0:3
        00:04 A backoff simulated
        00:05 - received generic/m2
        00:05 - decoded generic/m2
        00:05 B opened disk-2 is firing
        00:05 B matched disk
        00:05 B facts_read host
        00:05 B planned B-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:05 B judged hold until 00:05:05: target_busy (`ec2/i-0123456789abcdef0` is held by run A-1)
        00:08 A started untoil:A-1:0:4
        00:08 A backoff simulated
        00:19 A started untoil:A-1:0:5
        00:19 A finished refused InvalidDocument: simulated
        00:19 A concluded ineffective: step_refused
        00:19 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `InvalidDocument`: simulated) → oncall
        00:19 B judged deny: cooldown (`ec2/i-0123456789abcdef0` rests until 2026-01-05T00:00:21.499Z after run A-1)
        00:19 B escalated cooldown (`ec2/i-0123456789abcdef0` rests until 2026-01-05T00:00:21.499Z after run A-1) → oncall
        02:05 - received generic/m3
        02:05 - decoded generic/m3
        02:05 B observed disk-2 is resolved, Cleared
        02:05 B closed HealedByOthers
    "#]]).await;
}
