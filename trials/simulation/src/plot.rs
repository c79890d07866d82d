//! What a seed has in store: made whole before anything begins.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use untoil_guard::{Policy, Scope};
use untoil_model::{EngineMode, Mode, Period, Rate, RuleName};

use crate::bodies::{Says, Voice};
use crate::dice::Dice;
use crate::scenery::HOSTS;
use crate::weather::{Odd, Odds};

/// Most instances; one more than takes part in most deployments.
const INSTANCES_MAX: u64 = 3;
/// How long things go wrong, in seconds: long enough for limits to fill and leases to end.
const CHAOS_SECS: (u64, u64) = (200, 800);
/// A clock that is this wrong is still believed by the engine (two minutes, less what messages take).
const SKEW_SECS: u64 = 55;
/// Between two loads of rules at most: a rule is read for and asked within seconds.
const RELOADED_EVERY_SECS: u64 = 20;
/// A clock that nobody looks after.
const WILD_SKEW_SECS: u64 = 1_800;

/// Something that happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happening {
    /// An alarm that is not CloudWatch's changes.
    Word(Voice, Says),
    /// Somebody posts what nobody can read.
    Garbage,
    /// Many alarms that no rule answers, at once.
    Burst(u8),
    /// A disk fills up.
    DiskFills(&'static str),
    /// An agent runs away.
    AgentBurns(&'static str),
    /// So much comes into the queue, a minute.
    Inflow(f64),
    /// A host is lost to SSM, and found again after a while.
    HostLost(&'static str, Duration),
    /// An instance is killed, and another started in its place after a while.
    Kill(usize, Duration),
    /// The power of all machines is cut; new instances are started after a while.
    PowerCut(Duration),
    /// An instance is stopped for a while.
    Stop(usize, Duration),
    /// An instance is told to end, and another started in its place after a while.
    Drain(usize, Duration),
    /// An instance's clock is set this far ahead.
    Skew(usize, SignedDuration),
    /// Nobody reaches the journal for a while.
    JournalDown(Duration),
    /// Nobody reaches the chat for a while.
    ChatDown(Duration),
    /// A person looks whether something waits for an answer.
    Answer,
    /// A person pauses something for a while.
    Pause(Scope, Duration),
    /// The other text of every rule is loaded.
    Reload,
}

/// A whole seed.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    pub(crate) instances: usize,
    pub(crate) mode: EngineMode,
    pub(crate) modes: BTreeMap<RuleName, Mode>,
    pub(crate) policy: Policy,
    pub(crate) odd: Odd,
    /// So many of a thousand calls of the simulated AWS meet a fault of its own.
    pub(crate) storm: u64,
    /// Until SSM's lists show a command.
    pub(crate) lag: Duration,
    /// Whether clocks are so wrong that alarms may be put out of order.
    pub(crate) is_wild: bool,
    pub(crate) chaos: Duration,
    pub(crate) happenings: Vec<(Duration, Happening)>,
}

impl Plot {
    /// The plot of these dice.
    pub(crate) fn new(dice: &Dice, rules: &[RuleName]) -> Self {
        let chaos = dice.secs(CHAOS_SECS.0, CHAOS_SECS.1);
        let mut plot = Self {
            instances: usize::try_from(dice.between(1, INSTANCES_MAX)).unwrap_or(1),
            mode: if dice.chance(60) { EngineMode::DryRun } else { EngineMode::Live },
            modes: modes(dice, rules),
            policy: policy(dice),
            odd: odd(dice),
            storm: if dice.chance(500) { dice.below(150) } else { 0 },
            lag: if dice.chance(300) { dice.secs(0, 40) } else { Duration::ZERO },
            is_wild: dice.chance(80),
            chaos,
            happenings: Vec::new(),
        };
        plot.words(dice);
        plot.world(dice);
        plot.troubles(dice);
        plot.people(dice, rules);
        plot.happenings.sort_by_key(|(at, _)| *at);
        plot
    }

    fn at(&self, dice: &Dice) -> Duration {
        dice.millis(0, u64::try_from(self.chaos.as_millis()).unwrap_or(u64::MAX))
    }

    fn add(&mut self, dice: &Dice, happening: Happening) {
        let at = self.at(dice);
        self.happenings.push((at, happening));
    }

    /// Alarms that go on and off by themselves.
    fn words(&mut self, dice: &Dice) {
        let mut voices = vec![Voice::Front(0), Voice::Pool(0), Voice::Cache(0), Voice::Nobody(0)];
        voices.extend([Voice::Front(1), Voice::Pool(1), Voice::Cache(1)]);
        for voice in voices {
            if dice.chance(350) {
                continue;
            }
            let mut at = dice.secs(0, 300);
            while at < self.chaos {
                self.happenings.push((at, Happening::Word(voice, Says::Fires)));
                at += dice.secs(20, 900);
                self.happenings.push((at, Happening::Word(voice, Says::Clears)));
                at += dice.secs(20, 900);
            }
        }
        for _ in 0..dice.below(3) {
            self.add(dice, Happening::Garbage);
        }
        if dice.chance(150) {
            let n = u8::try_from(dice.between(5, 40)).unwrap_or(5);
            self.add(dice, Happening::Burst(n));
        }
    }

    /// What goes wrong in AWS.
    fn world(&mut self, dice: &Dice) {
        for host in HOSTS {
            for _ in 0..dice.below(3) {
                self.add(dice, Happening::DiskFills(host));
            }
            if dice.chance(500) {
                self.add(dice, Happening::AgentBurns(host));
            }
            if dice.chance(100) {
                let time = dice.secs(30, 600);
                self.add(dice, Happening::HostLost(host, time));
            }
        }
        for _ in 0..dice.below(3) {
            let much = *dice.pick(&[20.0, 40.0, 120.0, 200.0, 300.0]);
            self.add(dice, Happening::Inflow(much));
        }
    }

    /// What goes wrong with the engine.
    fn troubles(&mut self, dice: &Dice) {
        for _ in 0..dice.below(5) {
            let at = usize::try_from(dice.below(self.instances as u64)).unwrap_or(0);
            let time = dice.secs(0, 240);
            let happening = match dice.below(4) {
                0 => Happening::Kill(at, time),
                1 => Happening::Stop(at, dice.secs(1, 400)),
                2 => Happening::Drain(at, time),
                _ => {
                    let most = if self.is_wild { WILD_SKEW_SECS } else { SKEW_SECS };
                    let secs = i64::try_from(dice.between(0, 2 * most)).unwrap_or(0);
                    let by = secs - i64::try_from(most).unwrap_or(0);
                    Happening::Skew(at, SignedDuration::from_secs(by))
                }
            };
            self.add(dice, happening);
        }
        if dice.chance(200) {
            for _ in 0..=dice.below(2) {
                let time = dice.secs(0, 240);
                self.add(dice, Happening::PowerCut(time));
            }
        }
        if dice.chance(200) {
            self.add(dice, Happening::JournalDown(dice.secs(1, 120)));
        }
        if dice.chance(200) {
            self.add(dice, Happening::ChatDown(dice.secs(1, 600)));
        }
    }

    fn people(&mut self, dice: &Dice, rules: &[RuleName]) {
        for _ in 0..dice.below(12) {
            self.add(dice, Happening::Answer);
        }
        if dice.chance(300) {
            let targets = ["ecs/web/front", "ecs-cluster/workers", "asg/pool", "cache/front"];
            let scope = match dice.below(3) {
                0 => Scope::All,
                1 => Scope::Rule(dice.pick(rules).clone()),
                _ => Scope::Target(dice.pick(&targets).parse().expect("it is a target")),
            };
            self.add(dice, Happening::Pause(scope, dice.secs(10, 900)));
        }
        if dice.chance(300) {
            let mut at = dice.secs(0, RELOADED_EVERY_SECS);
            while at < self.chaos {
                self.happenings.push((at, Happening::Reload));
                at += dice.secs(1, RELOADED_EVERY_SECS);
            }
        }
    }
}

fn modes(dice: &Dice, rules: &[RuleName]) -> BTreeMap<RuleName, Mode> {
    let mut modes = BTreeMap::new();
    for rule in rules {
        let mode = match dice.below(10) {
            0 => Mode::Off,
            1 => Mode::Shadow,
            2 => Mode::Approve,
            _ => Mode::Auto,
        };
        modes.insert(rule.clone(), mode);
    }
    modes
}

fn policy(dice: &Dice) -> Policy {
    let mut policy = Policy::default();
    if dice.chance(200) {
        policy.global =
            vec![Rate { n: u32::try_from(dice.between(1, 4)).unwrap_or(1), per: Period::mins(20) }];
    }
    if dice.chance(150) {
        policy.protected = vec!["ecs/web/front".parse().expect("it is a target")];
    }
    policy
}

/// A third of the seeds has a quiet line; the others have a bad one, each in its own way.
fn odd(dice: &Dice) -> Odd {
    let odds = |most: u64| Odds {
        fails: if dice.chance(600) { dice.below(most) } else { 0 },
        loses: if dice.chance(600) { dice.below(most) } else { 0 },
        slow: if dice.chance(600) { dice.below(most) } else { 0 },
    };
    if dice.chance(300) {
        return Odd::default();
    }
    Odd {
        journal: odds(40),
        aws: odds(250),
        chat: odds(150),
        killed: if dice.chance(300) { dice.between(1, 3) } else { 0 },
        stopped: if dice.chance(300) { dice.between(1, 3) } else { 0 },
        cut: u64::from(dice.chance(200)),
        journal_down: false,
        chat_down: false,
    }
}
