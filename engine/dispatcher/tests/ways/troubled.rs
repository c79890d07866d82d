//! Calls and rules that do not go well.

use expect_test::expect;
use untoil_world::Fault;

use crate::lab::Lab;
use crate::rules;

const SEND: &str = "ssm:SendCommand";

#[tokio::test(start_paused = true)]
async fn a_run_that_does_not_help_reaches_a_person() {
    let mut lab = Lab::new();
    lab.says("disk", "firing").await;
    lab.mins(12).await;
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
        10:22 A concluded ineffective: ineffective
        10:22 A escalated ineffective (the alarm did not clear within 10m) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_names_the_missing_permission() {
    let mut lab = Lab::new();
    lab.world.refuse(SEND, "AccessDeniedException");
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A finished refused AccessDeniedException: simulated; missing permission `ssm:SendCommand` on `*`
        00:00 A concluded ineffective: step_refused
        00:00 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `AccessDeniedException`: simulated; missing permission `ssm:SendCommand` on `*`) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_made_again_later() {
    let mut lab = Lab::new();
    lab.world.throttle(SEND, 2);
    lab.says("disk", "firing").await;
    lab.mins(2).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    assert_eq!(lab.effects().len(), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:00 A backoff simulated
        00:01 A started untoil:A-1:0:2
        00:01 A backoff simulated
        00:04 A started untoil:A-1:0:3
        00:04 A sent
        00:26 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_throttled_for_ever_is_given_up() {
    let mut lab = Lab::new();
    lab.world.fail_always(SEND, Some(Fault::Throttle));
    lab.says("disk", "firing").await;
    lab.mins(5).await;
    assert!(lab.effects().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
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
        00:11 A started untoil:A-1:0:4
        00:11 A backoff simulated
        00:22 A started untoil:A-1:0:5
        00:22 A backoff simulated
        00:50 A started untoil:A-1:0:6
        00:50 A backoff simulated
        01:17 A started untoil:A-1:0:7
        01:17 A backoff simulated
        01:46 A started untoil:A-1:0:8
        01:46 A finished refused throttled: simulated; gave up after 8 tries
        01:46 A concluded ineffective: step_refused
        01:46 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `throttled`: simulated; gave up after 8 tries) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_answer_is_lost_is_found_and_not_repeated() {
    let mut lab = Lab::new();
    lab.world.lose_answer(SEND);
    lab.world.set_lag(std::time::Duration::from_secs(30));
    lab.says("disk", "firing").await;
    lab.mins(2).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    assert_eq!((lab.effects().len(), lab.world.asked(SEND)), (1, 1));
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        00:30 A sent
        00:30 A finished done reached
        02:00 - received generic/m2
        02:00 - decoded generic/m2
        02:00 A observed disk is resolved, Cleared
        07:00 A concluded effective
        07:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_looked_for_and_made_again_once_it_is_proven_unsent() {
    let mut lab = Lab::new();
    lab.world.hang(SEND);
    lab.says("disk", "firing").await;
    lab.mins(4).await;
    lab.says("disk", "resolved").await;
    lab.mins(6).await;
    assert_eq!((lab.effects().len(), lab.world.asked(SEND)), (1, 2));
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read host
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        01:30 A backoff it provably did not go through
        01:31 A started untoil:A-1:0:2
        01:31 A sent
        01:53 A finished done reached
        04:00 - received generic/m2
        04:00 - decoded generic/m2
        04:00 A observed disk is resolved, Cleared
        09:00 A concluded effective
        09:00 A closed Healed
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_that_must_not_be_repeated_is_left_to_a_person() {
    let mut lab = Lab::new();
    lab.world.hang("ecs:UpdateService");
    lab.says("redeploy", "firing").await;
    lab.mins(5).await;
    assert_eq!(lab.world.asked("ecs:UpdateService"), 1);
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened redeploy is firing
        00:00 A matched redeploy
        00:00 A planned A-1 part 0: ecs.redeploy new deployment of the same task definition
        00:00 A judged allow
        00:00 A started untoil:A-1:0:1
        02:00 A finished unknown: no trace of `untoil:A-1:0:1` was found, which proves nothing
        02:00 A concluded inconclusive: unknown_outcome
        02:00 A escalated unknown_outcome (nobody can tell whether `ecs.redeploy` on `ecs/workers/sync` took effect: no trace of `untoil:A-1:0:1` was found, which proves nothing) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_script_that_fails_reaches_a_person_with_what_it_printed() {
    let mut lab = Lab::new();
    lab.says("broken", "firing").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened broken is firing
        00:00 A matched broken
        00:00 A rule_failed no idea; printed ["looking"]
        00:00 A escalated rule_failed (rule `broken` failed: no idea) → oncall
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_sees_nothing_to_do_says_so_and_calls_nobody() {
    let mut lab = Lab::new();
    lab.says("nothing", "firing").await;
    lab.mins(30).await;
    lab.says("nothing", "resolved").await;
    lab.mins(1).await;
    lab.says("nothing", "firing").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened nothing is firing
        00:00 A matched nothing
        00:00 A planned A-1 part 0:
        00:00 A concluded inconclusive
        30:00 - received generic/m2
        30:00 - decoded generic/m2
        30:00 A observed nothing is resolved, Cleared
        30:00 A closed HealedItself
        31:00 - received generic/m3
        31:00 - decoded generic/m3
        31:00 B opened nothing is firing
        31:00 B matched nothing
        31:00 B planned B-1 part 0:
        31:00 B concluded inconclusive
    "#]])
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_loaded_anew_while_it_is_asked_is_asked_again() {
    let mut lab = Lab::new();
    lab.world.slow("ssm:DescribeInstanceInformation", std::time::Duration::from_secs(5));
    lab.says("disk", "firing").await;
    lab.secs(2).await;
    lab.book.load(rules::disk_up_to("70"));
    lab.mins(1).await;
    let versions = lab.versions().await;
    assert_eq!(versions.len(), 2, "what matched and what planned: {versions:?}");
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:05 A facts_read host
        00:05 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=70
        00:05 A judged allow
        00:05 A started untoil:A-1:0:1
        00:05 A sent
        00:27 A finished done reached
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_is_loaded_anew_again_and_again_fails() {
    let mut lab = Lab::new();
    let slow = std::time::Duration::from_secs(5);
    lab.world.slow("ssm:DescribeInstanceInformation", slow);
    lab.says("disk", "firing").await;
    for pct in ["70", "60"] {
        lab.secs(4).await;
        lab.world.slow("ssm:DescribeInstanceInformation", slow);
        lab.book.load(rules::disk_up_to(pct));
    }
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:10 A rule_failed it was loaded anew 2 times while it was asked; printed []
        00:10 A escalated rule_failed (rule `disk` failed: it was loaded anew 2 times while it was asked) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_fact_nothing_is_planned() {
    let mut lab = Lab::new();
    lab.world.refuse("ssm:DescribeInstanceInformation", "AccessDeniedException");
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:00 A facts_read  without host: AccessDeniedException: simulated refusal of `ssm:DescribeInstanceInformation`
        00:00 A rule_failed `host` could not be read: AccessDeniedException: simulated refusal of `ssm:DescribeInstanceInformation`; printed []
        00:00 A escalated fact_unavailable (`host` could not be read: AccessDeniedException: simulated refusal of `ssm:DescribeInstanceInformation`) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_fact_that_never_answers_is_missing() {
    let mut lab = Lab::new();
    lab.world.hang("ssm:DescribeInstanceInformation");
    lab.says("disk", "firing").await;
    lab.mins(1).await;
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened disk is firing
        00:00 A matched disk
        00:10 A facts_read  without host: no answer within 10 s
        00:10 A rule_failed `host` could not be read: no answer within 10 s; printed []
        00:10 A escalated fact_unavailable (`host` could not be read: no answer within 10 s) → oncall
    "#]]).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_goes_away_after_the_plan_is_not_called() {
    let mut lab = Lab::new();
    lab.world.slow("ssm:DescribeInstanceInformation", std::time::Duration::from_secs(5));
    lab.says("ask", "firing").await;
    lab.secs(30).await;
    lab.world.set_online(crate::rules::HOST, "ConnectionLost");
    lab.answers("yes").await;
    lab.mins(1).await;
    assert!(lab.world.calls().is_empty());
    lab.expect(expect![[r#"
        00:00 - received generic/m1
        00:00 - decoded generic/m1
        00:00 A opened ask is firing
        00:00 A matched ask
        00:00 A planned A-1 part 0: ssm.document run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80
        00:00 A judged hold until 00:15:00: approval_missing (plan PLAN waits for a person until 2026-01-05T00:15:00Z)
        00:30 A approved by kim
        00:35 A judged allow
        00:35 A finished refused precheck_failed: ssm_online: `i-0123456789abcdef0` is `ConnectionLost`
        00:35 A concluded ineffective: step_refused
        00:35 A escalated step_refused (`ssm.document` on `ec2/i-0123456789abcdef0` was refused with `precheck_failed`: ssm_online: `i-0123456789abcdef0` is `ConnectionLost`) → oncall
    "#]]).await;
}
