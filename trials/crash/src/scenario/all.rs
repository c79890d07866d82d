//! All scenarios, in the order of the table.

use std::time::Duration;

use super::{Act, Blow, Ends, Planned, SETTLE_LOST, Scenario, Store, Way, ms};
use crate::aws::Weather;
use crate::traps::{Deed, Point};

const ALL: &[Store] = &[Store::Sqlite, Store::Postgres, Store::Three];
const SQLITE: &[Store] = &[Store::Sqlite];
const POSTGRES: &[Store] = &[Store::Postgres, Store::Three];
const THREE: &[Store] = &[Store::Three];
/// Longer than a lease.
const PAUSED: Duration = Duration::from_secs(19);
/// About as many as a trial of one instance has: deliveries, reads of AWS, calls.
const POSTS: usize = 40;
const READS: usize = 60;
const CALLS: usize = 16;

/// What can be played.
pub const SCENARIOS: &[Scenario] = &[
    Scenario::of("killed", "SIGKILL one to four times at random moments", ALL, |chance, plan| {
        for _ in 0..=chance.below(4) {
            plan.soon(chance, Act::Kill);
        }
    }),
    Scenario::of(
        "killed-posted",
        "SIGKILL while a delivery is on its way, unanswered",
        ALL,
        |chance, plan| plan.trap(chance, (Point::Posted, POSTS), Deed::Kill),
    ),
    Scenario::of("killed-accepted", "SIGKILL right after a 202", ALL, |chance, plan| {
        plan.trap(chance, (Point::Accepted, POSTS), Deed::Kill);
    }),
    Scenario::of("killed-asking", "SIGKILL while AWS is read", ALL, |chance, plan| {
        plan.trap(chance, (Point::Asked, READS), Deed::Kill);
    }),
    Scenario::of(
        "killed-applied",
        "SIGKILL when AWS has acted and not answered",
        ALL,
        |chance, plan| plan.trap(chance, (Point::Applied, CALLS), Deed::Kill),
    ),
    Scenario::of("killed-answered", "SIGKILL right after AWS has answered", ALL, |chance, plan| {
        plan.trap(chance, (Point::Answered, CALLS), Deed::Kill);
    }),
    Scenario::of(
        "killed-in-recovery",
        "SIGKILL when AWS has acted, and again while the next start reads AWS",
        ALL,
        |chance, plan| {
            plan.trap(chance, (Point::Applied, 10), Deed::Kill);
            let nth = plan.traps[0].nth * 3 + chance.below(12);
            plan.trap(chance, (Point::Asked, 1), Deed::Kill);
            plan.traps[1].nth = nth;
            plan.soon(chance, Act::Kill);
        },
    ),
    Scenario::of(
        "call-lost",
        "SIGKILL when a call has arrived and nothing was done; patient, to every run's end",
        ALL,
        |chance, plan| {
            plan.trap(chance, (Point::Arrived, CALLS), Deed::Kill);
            (plan.settle, plan.ends) = (SETTLE_LOST, Ends::All);
        },
    ),
    Scenario::of(
        "answer-lost",
        "AWS acts and the connection breaks, for a while",
        ALL,
        |chance, plan| {
            let lasts = chance.between(ms(200), ms(900));
            plan.soon(chance, Act::Weather(Weather::AnswersLost, lasts));
        },
    ),
    Scenario::of("answer-lost-killed", "the same, and SIGKILL", ALL, |chance, plan| {
        let lasts = chance.between(ms(500), ms(1_200));
        plan.at(chance, ms(50), Act::Weather(Weather::AnswersLost, lasts));
        plan.soon(chance, Act::Kill);
        plan.soon(chance, Act::Kill);
    }),
    Scenario::of(
        "aws-slow",
        "every answer of AWS takes a fifth of a second, and SIGKILL",
        ALL,
        |chance, plan| {
            plan.at(chance, ms(0), Act::Weather(Weather::Slow(ms(200)), ms(1_500)));
            plan.soon(chance, Act::Kill);
        },
    ),
    Scenario::of(
        "aws-throttled",
        "AWS refuses all as too much, for a while, and SIGKILL",
        ALL,
        |chance, plan| {
            let lasts = chance.between(ms(200), ms(500));
            plan.at(chance, ms(100), Act::Weather(Weather::Throttled, lasts));
            plan.soon(chance, Act::Kill);
            plan.settle = plan.settle.max(Duration::from_secs(30));
        },
    ),
    Scenario::of("drained", "SIGTERM under load, twice", ALL, |chance, plan| {
        let at = chance.between(ms(50), ms(600));
        plan.at(chance, at, Act::Drain);
        // Behind the end of the first, which takes a second of deliveries yet.
        let at = chance.between(ms(2_400), ms(3_000));
        plan.at(chance, at, Act::Drain);
    }),
    Scenario::of(
        "drained-in-turn",
        "SIGTERM to each instance in turn, as an upgrade does",
        THREE,
        |_, plan| {
            for (at, instance) in [ms(600), ms(2_000), ms(3_400)].into_iter().zip(0..) {
                plan.acts.push(Planned { at, instance, act: Act::Drain });
            }
        },
    ),
    Scenario::of("paused", "SIGSTOP for up to two seconds, and SIGCONT", ALL, |chance, plan| {
        let lasts = chance.between(ms(300), ms(2_000));
        plan.soon(chance, Act::Pause(lasts));
    }),
    Scenario::of(
        "paused-asking",
        "one is stopped (SIGSTOP) before a call for longer than its lease",
        THREE,
        |chance, plan| plan.trap(chance, (Point::Asked, 20), Deed::Pause(PAUSED)),
    ),
    Scenario::of(
        "paused-calling",
        "one is stopped in a call for longer than its lease",
        THREE,
        |chance, plan| plan.trap(chance, (Point::Applied, 20), Deed::Pause(PAUSED)),
    ),
    Scenario::of(
        "slack-dead",
        "Slack takes requests and never answers, and SIGKILL",
        ALL,
        |chance, plan| {
            plan.slack_hangs = true;
            plan.soon(chance, Act::Kill);
        },
    ),
    Scenario::of("queued", "alarms lie in a queue; SIGKILL, and SIGTERM", ALL, |chance, plan| {
        plan.way = Way::Queue;
        plan.soon(chance, Act::Kill);
        plan.soon(chance, Act::Kill);
        plan.soon(chance, Act::Drain);
    }),
    Scenario::of(
        "queued-received",
        "SIGKILL when the queue has given messages",
        ALL,
        |chance, plan| {
            plan.way = Way::Queue;
            plan.trap(chance, (Point::Received, 12), Deed::Kill);
        },
    ),
    Scenario::of(
        "queued-kept",
        "SIGKILL when messages are kept and the queue still has them",
        ALL,
        |chance, plan| {
            plan.way = Way::Queue;
            plan.trap(chance, (Point::Deleting, 12), Deed::Kill);
            plan.trap(chance, (Point::Deleting, 24), Deed::Kill);
        },
    ),
    Scenario::of(
        "queued-deleted",
        "SIGKILL when the queue has deleted messages and not answered",
        ALL,
        |chance, plan| {
            plan.way = Way::Queue;
            plan.trap(chance, (Point::Deleted, 12), Deed::Kill);
        },
    ),
    Scenario::of(
        "queued-power-cut",
        "the power is cut when the queue has deleted messages",
        SQLITE,
        |chance, plan| {
            plan.way = Way::Queue;
            plan.trap(chance, (Point::Deleted, 12), Deed::CutPower);
        },
    ),
    Scenario::of(
        "power-cut",
        "the machine's power is cut one to three times at random moments",
        SQLITE,
        |chance, plan| {
            for _ in 0..=chance.below(3) {
                plan.soon(chance, Act::PowerCut);
            }
        },
    ),
    Scenario::of("power-cut-accepted", "the same right after a 202", SQLITE, |chance, plan| {
        plan.trap(chance, (Point::Accepted, POSTS), Deed::CutPower);
    }),
    Scenario::of("power-cut-asking", "the same while AWS is read", SQLITE, |chance, plan| {
        plan.trap(chance, (Point::Asked, READS), Deed::CutPower);
    }),
    Scenario::of(
        "power-cut-applied",
        "the same when AWS has acted and not answered",
        SQLITE,
        |chance, plan| plan.trap(chance, (Point::Applied, CALLS), Deed::CutPower),
    ),
    Scenario::of(
        "power-cut-answered",
        "the same right after AWS has answered",
        SQLITE,
        |chance, plan| plan.trap(chance, (Point::Answered, CALLS), Deed::CutPower),
    ),
    Scenario::of(
        "disk-dies",
        "every operation of the journal's disk fails, and then the power is cut",
        SQLITE,
        |chance, plan| {
            let lasts = chance.between(ms(50), ms(1_500));
            plan.soon(chance, Act::DiskDies(lasts));
        },
    ),
    Scenario::of(
        "disk-full",
        "no byte is free on the journal's disk, for a while",
        SQLITE,
        |chance, plan| {
            let lasts = chance.between(ms(400), ms(1_500));
            plan.soon(chance, Act::DiskFull(lasts));
        },
    ),
    Scenario::of(
        "disk-full-killed",
        "the same, and SIGKILL while it is full",
        SQLITE,
        |chance, plan| {
            plan.soon(chance, Act::DiskFull(ms(1_200)));
            let at = plan.acts[0].at + chance.between(ms(50), ms(900));
            plan.at(chance, at, Act::Kill);
        },
    ),
    Scenario::of(
        "clock-stepped",
        "the time of day jumps by up to an hour, forth or back, twice, and SIGKILL",
        ALL,
        |chance, plan| {
            for _ in 0..2 {
                let by = i64::try_from(chance.below(3_600)).expect("it is small");
                let by = if chance.once_in(2) { by } else { -by };
                plan.soon(chance, Act::Step(by));
            }
            plan.soon(chance, Act::Kill);
        },
    ),
    Scenario::of(
        "db-killed",
        "SIGKILL to PostgreSQL, which is started again",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::Killed),
    ),
    Scenario::of(
        "db-restarted",
        "PostgreSQL ends its sessions, stops, and is started again",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::Restarted),
    ),
    Scenario::of(
        "db-frozen",
        "every process of PostgreSQL is stopped (SIGSTOP) for a while",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::Frozen),
    ),
    Scenario::of(
        "db-read-only",
        "PostgreSQL takes no writes for a while",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::ReadOnly),
    ),
    Scenario::of(
        "db-full",
        "no byte is free on PostgreSQL's disk for a while",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::Full),
    ),
    Scenario::of(
        "db-failed-over",
        "SIGKILL to PostgreSQL; its synchronous standby is promoted",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::FailedOver),
    ),
    Scenario::of(
        "db-power-cut",
        "the power of PostgreSQL's machine is cut",
        POSTGRES,
        |chance, plan| plan.strike(chance, Blow::PowerCut),
    ),
    Scenario::of(
        "db-and-engine-killed",
        "SIGKILL to PostgreSQL, and to an engine",
        POSTGRES,
        |chance, plan| {
            plan.strike(chance, Blow::Killed);
            plan.soon(chance, Act::Kill);
        },
    ),
];
