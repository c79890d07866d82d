//! What goes wrong in a trial, and when: it follows from the scenario's name and a seed alone.

use std::time::Duration;

use crate::aws::Weather;
use crate::chance::Chance;
use crate::sender::Load;
use crate::traps::{Deed, Point, Trap};

/// What the journal is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// A file of each instance's own.
    Sqlite,
    /// A schema that all instances share.
    Postgres,
}

impl Store {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// What happens to the database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL to its first process; it is started again afterwards.
    Killed,
    /// It ends its sessions and stops; it is started again afterwards.
    Restarted,
    /// Every process of it is stopped (SIGSTOP), and goes on afterwards.
    Frozen,
    /// It takes no writes.
    ReadOnly,
    /// It is killed, its standby is promoted, and it does not come back.
    FailedOver,
    /// No byte is free on its disk.
    Full,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    /// SIGKILL to an instance, which is started again at once.
    Kill,
    /// SIGTERM to an instance, which is started again when it has ended.
    Drain,
    /// SIGSTOP to an instance, and SIGCONT afterwards.
    Pause(Duration),
    /// AWS, for a while.
    Weather(Weather, Duration),
    /// No byte is free on the disk of the journal, for a while.
    DiskFull(Duration),
    /// The time of day jumps by so many seconds.
    Step(i64),
    /// The database server, for a while.
    Database(Blow, Duration),
}

/// When, and to which instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) instance: usize,
    pub(crate) act: Act,
}

/// A whole plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) instances: usize,
    pub(crate) load: Load,
    pub(crate) acts: Vec<Planned>,
    pub(crate) traps: Vec<Trap>,
    /// How long runs may take to end afterwards. What is not over then is counted as open, or is
    /// wrong where `ends` is set.
    pub(crate) settle: Duration,
    pub(crate) ends: Ends,
    /// Slack is there and never answers.
    pub(crate) slack_hangs: bool,
}

/// Whether every run must have ended when a trial does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// A call that was lost is looked for, for longer than a trial is.
    MayBeOpen,
    /// All of them.
    All,
}

/// A kind of trial.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What goes wrong.
    pub about: &'static str,
    /// What it can be played on.
    pub stores: &'static [Store],
    make: Make,
}

/// How a scenario makes its plan.
#[derive(Debug, Clone, Copy)]
enum Make {
    By(fn(&mut Chance, &mut Plan)),
    Of(Cluster),
}

/// Several instances on one PostgreSQL under load, one of which is killed again and again.
#[derive(Debug, Clone, Copy)]
pub struct Cluster {
    /// How many.
    pub instances: usize,
    /// Between two kills.
    pub every: Duration,
    /// How long the load lasts.
    pub lasts: Duration,
}

impl Cluster {
    fn plan(self, chance: &mut Chance, plan: &mut Plan) {
        plan.instances = self.instances;
        let seconds = usize::try_from(self.lasts.as_secs()).expect("it is not for centuries");
        plan.load = Load {
            alarms: seconds * CLUSTER_ALARMS_PER_SECOND,
            over: self.lasts,
            clears: CLUSTER_CLEARS,
        };
        let mut at = self.every;
        while at < self.lasts {
            plan.acts.push(Planned { at, instance: chance.below(self.instances), act: Act::Kill });
            at += self.every;
        }
        (plan.settle, plan.ends) = (SETTLE_LOST, Ends::All);
    }
}

/// Over which time alarms fire.
const FIRE_OVER: Duration = Duration::from_secs(1);
/// Until when something may go wrong.
const LASTS: Duration = Duration::from_millis(1_600);
/// Alarms of a trial; each fires and clears.
const ALARMS: usize = 24;
/// How long runs may take to end when nothing was lost: they hold for a second.
const SETTLE: Duration = Duration::from_secs(12);
/// And when a call was: it is looked for up to a minute, and made again or told to people.
const SETTLE_LOST: Duration = Duration::from_secs(150);
/// The same where others may hold what an instance that was killed held: its next start, too, waits
/// until its lease of 15 s is over.
const SETTLE_LEASE: Duration = Duration::from_secs(24);
/// A lease is over 15 s after its holder was heard of last; what is adopted then takes a few more.
const SETTLE_SHARED: Duration = Duration::from_secs(40);
/// Longer than a lease.
const PAUSED: Duration = Duration::from_secs(19);
/// Alarms of a cluster under load, each of which is two deliveries and more.
const CLUSTER_ALARMS_PER_SECOND: usize = 8;
/// When an instance was killed, its incidents wait for its lease to end.
const CLUSTER_CLEARS: Duration = Duration::from_secs(24);
const BOTH: &[Store] = &[Store::Sqlite, Store::Postgres];
const SQLITE: &[Store] = &[Store::Sqlite];
const POSTGRES: &[Store] = &[Store::Postgres];

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn soon(chance: &mut Chance) -> Duration {
    chance.between(ms(50), LASTS)
}

fn kill_at(point: Point, nth: usize) -> Trap {
    Trap { point, nth, deed: Deed::Kill }
}

fn on_first(at: Duration, act: Act) -> Planned {
    Planned { at, instance: 0, act }
}

/// All scenarios, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "killed",
        about: "SIGKILL one to four times at random moments",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            for _ in 0..=chance.below(4) {
                plan.acts.push(on_first(soon(chance), Act::Kill));
            }
        }),
    },
    Scenario {
        name: "killed-posted",
        about: "SIGKILL while a delivery is on its way, unanswered",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.traps.push(kill_at(Point::Posted, 1 + chance.below(40)));
        }),
    },
    Scenario {
        name: "killed-accepted",
        about: "SIGKILL right after a 202",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.traps.push(kill_at(Point::Accepted, 1 + chance.below(40)));
        }),
    },
    Scenario {
        name: "killed-asking",
        about: "SIGKILL while AWS is read",
        stores: BOTH,
        make: Make::By(|chance, plan| plan.traps.push(kill_at(Point::Asked, 1 + chance.below(60)))),
    },
    Scenario {
        name: "killed-applied",
        about: "SIGKILL when AWS has acted and not answered",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.traps.push(kill_at(Point::Applied, 1 + chance.below(16)));
        }),
    },
    Scenario {
        name: "killed-answered",
        about: "SIGKILL right after AWS has answered",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.traps.push(kill_at(Point::Answered, 1 + chance.below(16)));
        }),
    },
    Scenario {
        name: "killed-in-recovery",
        about: "SIGKILL when AWS has acted, and again while the next start reads AWS",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            let first = 1 + chance.below(10);
            plan.traps.push(kill_at(Point::Applied, first));
            plan.traps.push(kill_at(Point::Asked, first * 3 + chance.below(12)));
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "call-lost",
        about: "SIGKILL when a call has arrived and nothing was done; patient, to every run's end",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.traps.push(kill_at(Point::Arrived, 1 + chance.below(16)));
            (plan.settle, plan.ends) = (SETTLE_LOST, Ends::All);
        }),
    },
    Scenario {
        name: "answer-lost",
        about: "AWS acts and the connection breaks, for a while",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            let lasts = chance.between(ms(200), ms(900));
            plan.acts.push(on_first(soon(chance), Act::Weather(Weather::AnswersLost, lasts)));
        }),
    },
    Scenario {
        name: "answer-lost-killed",
        about: "the same, and SIGKILL",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            let lasts = chance.between(ms(500), ms(1_200));
            plan.acts.push(on_first(ms(50), Act::Weather(Weather::AnswersLost, lasts)));
            plan.acts.push(on_first(soon(chance), Act::Kill));
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "aws-slow",
        about: "every answer of AWS takes a fifth of a second, and SIGKILL",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.acts.push(on_first(ms(0), Act::Weather(Weather::Slow(ms(200)), ms(1_500))));
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "aws-throttled",
        about: "AWS refuses all as too much, for a while, and SIGKILL",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            let lasts = chance.between(ms(200), ms(500));
            plan.acts.push(on_first(ms(100), Act::Weather(Weather::Throttled, lasts)));
            plan.acts.push(on_first(soon(chance), Act::Kill));
            plan.settle = Duration::from_secs(30);
        }),
    },
    Scenario {
        name: "drained",
        about: "SIGTERM under load, twice",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.acts.push(on_first(chance.between(ms(50), ms(600)), Act::Drain));
            plan.acts.push(on_first(chance.between(ms(900), ms(1_500)), Act::Drain));
        }),
    },
    Scenario {
        name: "paused",
        about: "SIGSTOP for up to two seconds, and SIGCONT",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            let lasts = chance.between(ms(300), ms(2_000));
            plan.acts.push(on_first(soon(chance), Act::Pause(lasts)));
        }),
    },
    Scenario {
        name: "slack-dead",
        about: "Slack takes requests and never answers, and SIGKILL",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            plan.slack_hangs = true;
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "disk-full",
        about: "no byte is free on the journal's disk, for a while",
        stores: SQLITE,
        make: Make::By(|chance, plan| {
            let lasts = chance.between(ms(400), ms(1_500));
            plan.acts.push(on_first(soon(chance), Act::DiskFull(lasts)));
        }),
    },
    Scenario {
        name: "disk-full-killed",
        about: "the same, and SIGKILL while it is full",
        stores: SQLITE,
        make: Make::By(|chance, plan| {
            let at = soon(chance);
            plan.acts.push(on_first(at, Act::DiskFull(ms(1_200))));
            plan.acts.push(on_first(at + chance.between(ms(50), ms(900)), Act::Kill));
        }),
    },
    Scenario {
        name: "clock-stepped",
        about: "the time of day jumps by up to an hour, forth or back, twice, and SIGKILL",
        stores: BOTH,
        make: Make::By(|chance, plan| {
            for _ in 0..2 {
                let by = i64::try_from(chance.below(3_600)).expect("it is small");
                let by = if chance.once_in(2) { by } else { -by };
                plan.acts.push(on_first(soon(chance), Act::Step(by)));
            }
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "db-killed",
        about: "SIGKILL to PostgreSQL, which is started again",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::Killed)),
    },
    Scenario {
        name: "db-restarted",
        about: "PostgreSQL ends its sessions, stops, and is started again",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::Restarted)),
    },
    Scenario {
        name: "db-frozen",
        about: "every process of PostgreSQL is stopped (SIGSTOP) for a while",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::Frozen)),
    },
    Scenario {
        name: "db-read-only",
        about: "PostgreSQL takes no writes for a while",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::ReadOnly)),
    },
    Scenario {
        name: "db-full",
        about: "no byte is free on PostgreSQL's disk for a while",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::Full)),
    },
    Scenario {
        name: "db-failed-over",
        about: "SIGKILL to PostgreSQL; its synchronous standby is promoted",
        stores: POSTGRES,
        make: Make::By(|chance, plan| strike(chance, plan, Blow::FailedOver)),
    },
    Scenario {
        name: "db-and-engine-killed",
        about: "SIGKILL to PostgreSQL, and to the engine",
        stores: POSTGRES,
        make: Make::By(|chance, plan| {
            strike(chance, plan, Blow::Killed);
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "shared-killed",
        about: "three instances; SIGKILL to one after another",
        stores: POSTGRES,
        make: Make::By(|chance, plan| {
            shared(plan);
            for n in 1..=4 {
                let instance = chance.below(plan.instances);
                plan.acts.push(Planned { at: ms(900 * n), instance, act: Act::Kill });
            }
        }),
    },
    Scenario {
        name: "shared-drained",
        about: "three instances; SIGTERM to each in turn, as an upgrade does",
        stores: POSTGRES,
        make: Make::By(|_, plan| {
            shared(plan);
            for (at, instance) in [ms(600), ms(2_000), ms(3_400)].into_iter().zip(0..) {
                plan.acts.push(Planned { at, instance, act: Act::Drain });
            }
        }),
    },
    Scenario {
        name: "shared-paused-asking",
        about: "three instances; one is stopped (SIGSTOP) before a call for longer than its lease",
        stores: POSTGRES,
        make: Make::By(|chance, plan| pause_at(chance, plan, Point::Asked)),
    },
    Scenario {
        name: "shared-paused-calling",
        about: "three instances; one is stopped in a call for longer than its lease",
        stores: POSTGRES,
        make: Make::By(|chance, plan| pause_at(chance, plan, Point::Applied)),
    },
    Scenario {
        name: "shared-db-killed",
        about: "three instances; SIGKILL to PostgreSQL, and to one of them",
        stores: POSTGRES,
        make: Make::By(|chance, plan| {
            shared(plan);
            strike(chance, plan, Blow::Killed);
            plan.acts.push(on_first(soon(chance), Act::Kill));
        }),
    },
    Scenario {
        name: "shared-db-failed-over",
        about: "three instances; SIGKILL to PostgreSQL; its synchronous standby is promoted",
        stores: POSTGRES,
        make: Make::By(|chance, plan| {
            shared(plan);
            strike(chance, plan, Blow::FailedOver);
        }),
    },
];

/// Three instances, and time for the living to miss one that is not heard of.
fn shared(plan: &mut Plan) {
    plan.instances = 3;
    plan.load = Load { alarms: 60, over: ms(4_000), clears: ms(6_000) };
    plan.settle = SETTLE_SHARED;
}

/// One of three is paused at a point, past the end of its lease.
fn pause_at(chance: &mut Chance, plan: &mut Plan, point: Point) {
    shared(plan);
    let deed = Deed::Pause(PAUSED);
    plan.traps.push(Trap { point, nth: 1 + chance.below(20), deed });
}

/// Strikes the database once, for up to two seconds.
fn strike(chance: &mut Chance, plan: &mut Plan, blow: Blow) {
    let lasts = chance.between(ms(200), ms(2_000));
    plan.acts.push(on_first(soon(chance), Act::Database(blow, lasts)));
}

impl Scenario {
    /// One of them by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Several instances, one of which is killed again and again.
    #[must_use]
    pub fn cluster(cluster: Cluster) -> Self {
        Self {
            name: "cluster",
            about: "SIGKILL to one instance after another",
            stores: POSTGRES,
            make: Make::Of(cluster),
        }
    }

    /// Whether it is over within seconds.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.plan(0, self.stores[0]).settle < SETTLE_SHARED
    }

    /// The plan that follows from a seed.
    pub(crate) fn plan(&self, seed: u64, store: Store) -> Plan {
        let mut plan = Plan {
            instances: 1,
            load: Load { alarms: ALARMS, over: FIRE_OVER, clears: ms(2_400) },
            acts: Vec::new(),
            traps: Vec::new(),
            settle: match store {
                Store::Sqlite => SETTLE,
                Store::Postgres => SETTLE_LEASE,
            },
            ends: Ends::MayBeOpen,
            slack_hangs: false,
        };
        match self.make {
            Make::By(make) => make(&mut Chance::of(seed), &mut plan),
            Make::Of(cluster) => cluster.plan(&mut Chance::of(seed), &mut plan),
        }
        plan.acts.sort_by_key(|planned| planned.at);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_plan_again() {
        for scenario in SCENARIOS {
            assert_eq!(
                scenario.plan(5, Store::Sqlite),
                scenario.plan(5, Store::Sqlite),
                "{}",
                scenario.name
            );
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
