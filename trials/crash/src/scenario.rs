//! What goes wrong in a trial, and when: it follows from the scenario's name and a seed alone.

mod all;

use std::time::Duration;

pub use all::SCENARIOS;

use crate::aws::Weather;
use crate::chance::Chance;
use crate::sender::Load;
use crate::traps::{Deed, Point, Trap};

/// What the journal is kept in, and for how many instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// A file of the only instance's.
    Sqlite,
    /// A schema of PostgreSQL, of the only instance's.
    Postgres,
    /// A schema that three instances share.
    Three,
}

impl Store {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Three => "three",
        }
    }

    /// Whether it takes a database server.
    pub(crate) fn is_postgres(self) -> bool {
        match self {
            Self::Sqlite => false,
            Self::Postgres | Self::Three => true,
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
    /// The power of its machine is cut: what its disk was not told to keep is gone.
    PowerCut,
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
    /// The power of its machine is cut: it ends, and what its disk was not told to keep is gone.
    PowerCut,
    /// Its disk fails every operation from now on; after a while the power is cut, which mends that.
    DiskDies(Duration),
    /// Its time of day jumps by so many seconds.
    Step(i64),
    /// The database server, for a while.
    Database(Blow, Duration),
    /// The new program brings the schema up to date, beside whatever runs.
    Migrate,
    /// SIGTERM to an instance, in whose place the new program starts when it has ended.
    Replace,
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
    pub(crate) way: Way,
}

/// How alarms reach the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// They are posted, until they are answered for.
    Post,
    /// They lie in a queue, until they are deleted from it.
    Queue,
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
    Up(Upgrade),
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

/// Instances of an older program under load, which are replaced one by one.
#[derive(Debug, Clone, Copy)]
pub struct Upgrade {
    /// How many.
    pub instances: usize,
    /// How long the load lasts.
    pub lasts: Duration,
}

impl Upgrade {
    /// Of the time of the load: a quarter with the old program alone, a quarter of it on the new schema,
    /// three eighths in which one after the other is replaced, the rest with the new one alone. On the new
    /// schema somebody is killed, so that old ones start on it and others adopt; and somebody amid two
    /// replacements, so that one of the two programs adopts what the other held, or both.
    fn plan(self, chance: &mut Chance, plan: &mut Plan, store: Store) {
        let n = u32::try_from(self.instances.max(1)).expect("they are few");
        Cluster { instances: self.instances, every: self.lasts, lasts: self.lasts }
            .plan(chance, plan);
        let quarter = self.lasts / 4;
        if store.is_postgres() {
            plan.acts.push(Planned { at: quarter, instance: 0, act: Act::Migrate });
            let until = (quarter * 2).saturating_sub(UPGRADE_REST);
            let at = chance.between(quarter + UPGRADE_REST, until);
            let instance = chance.below(self.instances);
            plan.acts.push(Planned { at, instance, act: Act::Kill });
        }
        let each = self.lasts * 3 / 8 / n;
        for (turn, instance) in (0..n).zip(0..) {
            plan.acts.push(Planned { at: quarter * 2 + each * turn, instance, act: Act::Replace });
        }
        let gaps = self.instances.saturating_sub(1).max(1);
        let gap = u32::try_from(chance.below(gaps)).expect("they are few");
        let (at, instance) = (quarter * 2 + each * gap + each / 2, chance.below(self.instances));
        plan.acts.push(Planned { at, instance, act: Act::Kill });
    }
}

/// Over which time alarms fire.
const FIRE_OVER: Duration = Duration::from_secs(1);
/// For how long after that something may go wrong.
const LASTS: Duration = Duration::from_millis(600);
/// Alarms of a trial; each fires and clears.
const ALARMS: usize = 24;
/// The same for three instances.
const ALARMS_SHARED: usize = 60;
/// How long runs may take to end when nothing was lost: they hold for a second.
const SETTLE: Duration = Duration::from_secs(12);
/// And when a call was: it is looked for up to a minute, and made again or told to people.
const SETTLE_LOST: Duration = Duration::from_secs(150);
/// The same where others may hold what an instance that was killed held: its next start, too, waits
/// until its lease of 15 s is over.
const SETTLE_LEASE: Duration = Duration::from_secs(24);
/// A lease is over 15 s after its holder was heard of last; what is adopted then takes a few more.
const SETTLE_SHARED: Duration = Duration::from_secs(40);
/// Alarms of a cluster under load, each of which is two deliveries and more.
const CLUSTER_ALARMS_PER_SECOND: usize = 8;
/// When an instance was killed, its incidents wait for its lease to end.
const CLUSTER_CLEARS: Duration = Duration::from_secs(24);
/// What lies at least between a kill on the new schema of an upgrade, and what comes before it and after.
const UPGRADE_REST: Duration = ms(1_000);
/// How long database servers are struck, at least and at most.
const STRUCK_FOR: (Duration, Duration) = (ms(200), ms(2_000));

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

impl Plan {
    /// Something goes wrong at some time, with some instance.
    fn soon(&mut self, chance: &mut Chance, act: Act) {
        let at = chance.between(ms(50), self.load.over + LASTS);
        self.at(chance, at, act);
    }

    /// Something goes wrong at a time, with some instance.
    fn at(&mut self, chance: &mut Chance, at: Duration, act: Act) {
        let instance = chance.below(self.instances);
        self.acts.push(Planned { at, instance, act });
    }

    /// Something is done to the instance that is the first, second, … of so many to reach a point.
    fn trap(&mut self, chance: &mut Chance, (point, of): (Point, usize), deed: Deed) {
        self.traps.push(Trap { point, nth: 1 + chance.below(of), deed });
    }

    /// Strikes the database once, for up to two seconds.
    fn strike(&mut self, chance: &mut Chance, blow: Blow) {
        let lasts = chance.between(STRUCK_FOR.0, STRUCK_FOR.1);
        self.soon(chance, Act::Database(blow, lasts));
    }
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
            stores: &[Store::Three],
            make: Make::Of(cluster),
        }
    }

    /// Several instances of an older program, which are replaced one by one.
    #[must_use]
    pub fn upgrade(upgrade: Upgrade) -> Self {
        Self {
            name: "upgrade",
            about: "an older program's instances are replaced one by one",
            stores: &[Store::Sqlite, Store::Postgres, Store::Three],
            make: Make::Up(upgrade),
        }
    }

    /// How its play begins on the command line of this program.
    pub(crate) fn command(&self) -> String {
        match self.make {
            Make::By(_) => format!("matrix --only {}", self.name),
            Make::Of(Cluster { instances, every, lasts }) => format!(
                "cluster --instances {instances} --kill-every {} --for {}",
                every.as_secs(),
                lasts.as_secs()
            ),
            Make::Up(Upgrade { instances, lasts }) => {
                format!("upgrade --instances {instances} --for {}", lasts.as_secs())
            }
        }
    }

    /// How long it may take to come to its end, once all has gone wrong.
    #[must_use]
    pub fn settles_within(&self, store: Store) -> Duration {
        self.plan(0, store).settle
    }

    const fn of(
        name: &'static str,
        about: &'static str,
        stores: &'static [Store],
        make: fn(&mut Chance, &mut Plan),
    ) -> Self {
        Self { name, about, stores, make: Make::By(make) }
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
                Store::Three => SETTLE_SHARED,
            },
            ends: Ends::MayBeOpen,
            slack_hangs: false,
            way: Way::Post,
        };
        if store == Store::Three {
            // Time for the living to miss one that is not heard of.
            plan.instances = 3;
            plan.load = Load { alarms: ALARMS_SHARED, over: ms(4_000), clears: ms(6_000) };
        }
        match self.make {
            Make::By(make) => make(&mut Chance::of(seed), &mut plan),
            Make::Of(cluster) => cluster.plan(&mut Chance::of(seed), &mut plan),
            Make::Up(upgrade) => upgrade.plan(&mut Chance::of(seed), &mut plan, store),
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
    fn an_upgrade_migrates_once_and_replaces_each_instance_once_after_that() {
        let upgrade = Upgrade { instances: 3, lasts: Duration::from_secs(16) };
        for seed in 0..100 {
            for (store, migrations) in [(Store::Three, 1), (Store::Sqlite, 0)] {
                let plan = Scenario::upgrade(upgrade).plan(seed, store);
                let of = |act| {
                    let acts = plan.acts.iter().filter(move |one| one.act == act);
                    acts.map(|one| (one.at, one.instance)).collect::<Vec<_>>()
                };
                let (migrated, replaced) = (of(Act::Migrate), of(Act::Replace));
                assert_eq!(migrated.len(), migrations);
                let instances: Vec<_> = replaced.iter().map(|(_, instance)| *instance).collect();
                assert_eq!(instances, [0, 1, 2]);
                assert!(migrated.iter().all(|(at, _)| *at < replaced[0].0));
                assert!(plan.acts.iter().all(|one| one.at < upgrade.lasts));
                let kills = of(Act::Kill);
                assert_eq!(kills.len(), 1 + migrations);
                let amid =
                    kills.iter().filter(|(at, _)| (replaced[0].0..replaced[2].0).contains(at));
                assert_eq!(amid.count(), 1, "{kills:?} {replaced:?}");
            }
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
