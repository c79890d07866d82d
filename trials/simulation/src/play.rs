//! Plays one seed: chaos first, then calm, and a look at what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use untoil_clock::{Clock, VirtualClock};
use untoil_journal::{Verified, verify};
use untoil_model::{Hash, Mode, RuleVersion};
use untoil_world::World;

use crate::bodies::{self, Says, Voice};
use crate::chat::Channel;
use crate::checks::{self, Outcome};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::instance::{Common, Instance};
use crate::mutation::Mutation;
use crate::network::Network;
use crate::plot::{Happening, Plot};
use crate::rules::{Library, Shelf};
use crate::scenery::{self, AGENT, MOUNT, QUEUE};
use crate::street::Street;
use crate::trace::{Trace, Wanted};
use crate::weather::{Odd, Weather};

/// When every seed begins.
const START: &str = "2026-01-05T00:00:00Z";
/// How long after the chaos everything must be at rest: longer than any wait of the engine's, of
/// which the longest is a lease of two hours, after a watch and before a return in steps.
const CALM: Duration = Duration::from_hours(5);
/// How often the calm is looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How long an instance that was told to end may take before it is killed, as an orchestrator does.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How often CloudWatch's changes are picked up.
const POSTMAN_EVERY: Duration = Duration::from_secs(10);
/// Of a thousand words of CloudWatch so many are lost: its alarms have no action for them.
const WORDS_LOST: u64 = 30;

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which seed.
    pub seed: u64,
    /// What is not as it must be; empty when all is well.
    pub wrong: Vec<String>,
    /// The hash of the last entry.
    pub head: Hash,
    /// How many entries there are.
    pub entries: u64,
    /// How many calls the simulated AWS took.
    pub calls: usize,
    /// How many entries power cuts have taken.
    pub lost: u64,
    /// A hash of the simulated AWS's own record.
    pub world: Hash,
    /// What happened, when it was wanted.
    pub trace: Vec<String>,
}

/// Plays a seed on a runtime of its own.
///
/// # Errors
/// When the rules cannot be loaded or there is no runtime; what is wrong with the engine is in the
/// report.
pub fn play(seed: u64, mutation: Option<Mutation>, wanted: Wanted) -> anyhow::Result<Report> {
    let library = Library::load()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(async { Stage::set(seed, library, mutation, wanted).play(seed).await }))
}

struct Stage {
    dice: Dice,
    plot: Plot,
    common: Arc<Common>,
    street: Arc<Street>,
    world: World,
    shelf: Shelf,
    /// The versions of the rules' other texts.
    others: BTreeSet<RuleVersion>,
    instances: Vec<Option<Instance>>,
    /// How many have been started in each place.
    started: Vec<u32>,
    /// When the places that are empty are filled again.
    restarts: Vec<Option<Duration>>,
    /// Instances that were told to end, and when they are killed.
    leaving: Vec<(Instance, Duration)>,
    senders: JoinSet<()>,
    letters: u64,
    /// How many entries power cuts have taken.
    lost: u64,
    wrong: Vec<String>,
}

impl Stage {
    fn set(seed: u64, library: Library, mutation: Option<Mutation>, wanted: Wanted) -> Self {
        let dice = Dice::new(seed);
        let plot = Plot::new(&dice.fork(), &library.names());
        let start: Timestamp = START.parse().expect("it is a time");
        let clock = Arc::new(VirtualClock::starting_at(start));
        let world = scenery::build(&clock, &dice.fork());
        world.storm(plot.storm);
        world.set_lag(plot.lag);
        let trace = Arc::new(Trace::new(Arc::clone(&clock), wanted));
        let disk = Arc::new(Disk::new(Arc::clone(&clock)));
        let weather = Arc::new(Weather::default());
        let odd = plot.odd;
        weather.change(|now| *now = odd);
        let mut modes = plot.modes.clone();
        if mutation == Some(Mutation::ActsInShadow) {
            for mode in modes.values_mut() {
                *mode = Mode::Auto;
            }
        }
        let ((book, shelf), others) = (library.book(modes), library.others());
        let common = Arc::new(Common {
            clock: Arc::clone(&clock),
            disk: Arc::clone(&disk),
            power: Arc::default(),
            weather,
            network: Arc::new(Network::default()),
            channel: Arc::new(Channel::default()),
            trace: Arc::clone(&trace),
            deaths: Arc::new(Notify::new()),
            book,
            catalogue: library.catalogue,
            policy: plot.policy.clone(),
            mode: plot.mode,
            eyes: world.eyes(),
            hands: world.hands(),
            mutation,
        });
        let n = plot.instances;
        Self {
            dice,
            plot,
            common,
            street: Arc::new(Street::new(clock, disk, trace)),
            world,
            shelf,
            others,
            instances: (0..n).map(|_| None).collect(),
            started: vec![0; n],
            restarts: vec![Some(Duration::ZERO); n],
            leaving: Vec::new(),
            senders: JoinSet::new(),
            letters: 0,
            lost: 0,
            wrong: Vec::new(),
        }
    }

    fn ticks(&self) -> Duration {
        self.common.clock.ticks()
    }

    async fn play(mut self, seed: u64) -> Report {
        self.fill();
        let happenings = std::mem::take(&mut self.plot.happenings);
        for (at, happening) in happenings {
            self.wait_until(at).await;
            self.common.trace.note("fate", || format!("{happening:?}"));
            if let Happening::PowerCut(after) = happening {
                self.lose_power(after).await;
            } else {
                self.happen(happening);
            }
        }
        self.wait_until(self.plot.chaos).await;
        self.calm_down();
        self.rest().await;
        let outcome = self.outcome().await;
        let mut wrong = std::mem::take(&mut self.wrong);
        wrong.extend(checks::all(&outcome));
        self.common.trace.note("fate", || "the end".into());
        let (head, entries) = match verify(&*self.common.disk.journal()).await {
            Ok(Verified::Whole { entries, head }) => (head, entries),
            Ok(Verified::Broken(broken)) => {
                wrong.push(format!("the journal does not verify: {broken}"));
                (Hash::GENESIS, 0)
            }
            Err(error) => {
                wrong.push(format!("the journal cannot be read: {error}"));
                (Hash::GENESIS, 0)
            }
        };
        Report {
            seed,
            wrong,
            head,
            entries,
            calls: outcome.calls.len(),
            lost: self.lost,
            world: Hash::of(self.world.snapshot().as_bytes()),
            trace: self.common.trace.take(),
        }
    }

    /// Waits, and meanwhile carries CloudWatch's words, buries the dead and starts new instances.
    async fn wait_until(&mut self, at: Duration) {
        while self.ticks() < at {
            let wait = at.saturating_sub(self.ticks()).min(POSTMAN_EVERY);
            let deaths = Arc::clone(&self.common.deaths);
            tokio::select! {
                biased;
                () = deaths.notified() => {}
                () = self.common.clock.sleep(wait) => {}
            }
            if self.common.power.is_off() {
                let after = self.dice.secs(0, 120);
                self.lose_power(after).await;
            }
            self.tend();
        }
    }

    /// Everybody is dead at once, and what was not on the disk is lost. New instances are started
    /// after a while, one after the other.
    async fn lose_power(&mut self, after: Duration) {
        self.common.power.cut();
        for at in 0..self.instances.len() {
            let more = self.dice.secs(0, 20);
            self.kill(at, after + more);
        }
        for (mut instance, _) in std::mem::take(&mut self.leaving) {
            instance.kill();
        }
        let lost = self.common.disk.cut().await;
        self.common.trace.note("fate", || format!("the power was cut; {lost} entries are lost"));
        self.lost += lost;
        self.common.power.comes_back();
    }

    fn tend(&mut self) {
        for at in 0..self.instances.len() {
            let died = self.instances[at].as_ref().is_some_and(|i| i.door.switch.is_dead());
            let runaway = self.instances[at].as_ref().filter(|i| i.door.switch.is_runaway());
            if let Some(instance) = runaway {
                let name = instance.door.switch.name();
                self.wrong.push(format!("{name} goes round in a circle"));
                self.kill(at, CALM);
            } else if died {
                let after = self.dice.secs(0, 120);
                self.kill(at, after);
            }
        }
        let now = self.ticks();
        for (mut instance, until) in std::mem::take(&mut self.leaving) {
            while let Some(ended) = instance.tasks.try_join_next() {
                self.ended(ended);
            }
            if instance.tasks.is_empty() {
                instance.door.switch.note(|| "has ended".into());
            } else if now >= until || instance.door.switch.is_dead() {
                instance.door.switch.note(|| "is killed while it ends".into());
                instance.kill();
            } else {
                self.leaving.push((instance, until));
            }
        }
        self.fill();
        self.carry();
        while let Some(ended) = self.senders.try_join_next() {
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.wrong.push(format!("a task ended by a bug: {error}"));
        }
    }

    /// Starts instances where there is none and its time has come.
    fn fill(&mut self) {
        let now = self.ticks();
        for at in 0..self.instances.len() {
            if self.restarts[at].is_some_and(|due| now >= due) {
                self.restarts[at] = None;
                self.started[at] += 1;
                let letter = char::from(b'a' + u8::try_from(at).unwrap_or(0));
                let name = format!("{letter}{}", self.started[at]);
                let instance = Instance::start(&self.common, &name, &self.dice.fork());
                self.street.set(at, Some(instance.door.clone()));
                self.instances[at] = Some(instance);
            }
        }
    }

    fn kill(&mut self, at: usize, restart_after: Duration) {
        self.street.set(at, None);
        if let Some(mut instance) = self.instances[at].take() {
            instance.kill();
            self.restarts[at] = Some(self.ticks() + restart_after);
        }
    }

    fn drain(&mut self, at: usize, restart_after: Duration) {
        self.street.set(at, None);
        if let Some(instance) = self.instances[at].take() {
            instance.stop.cancel();
            self.leaving.push((instance, self.ticks() + DRAIN_MAX));
            self.restarts[at] = Some(self.ticks() + restart_after);
        }
    }

    /// Carries what CloudWatch says.
    fn carry(&mut self) {
        for change in self.world.transitions() {
            if self.dice.chance(WORDS_LOST) {
                self.common.trace.note("sender", || {
                    format!("does not say that {} is {}", change.alarm.name, change.to)
                });
                continue;
            }
            self.letters += 1;
            let letter = bodies::cloudwatch(&change, self.common.clock.now(), self.letters);
            self.post(letter);
        }
    }

    fn post(&mut self, letter: bodies::Letter) {
        let wait =
            if self.dice.chance(150) { self.dice.secs(0, 150) } else { self.dice.millis(0, 2_000) };
        let posting = Arc::clone(&self.street).post(letter, wait, self.dice.fork());
        self.senders.spawn(posting);
    }

    fn say(&mut self, voice: Voice, says: Says) {
        self.letters += 1;
        let letter = voice.letter(says, self.common.clock.now(), self.letters);
        self.post(letter);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Word(voice, says) => self.say(voice, says),
            Happening::Garbage => {
                self.letters += 1;
                self.post(bodies::garbage(self.letters));
            }
            Happening::Burst(n) => (0..n).for_each(|n| self.say(Voice::Nobody(n + 1), Says::Fires)),
            Happening::DiskFills(host) => {
                let used = self.world.disk_used(host, MOUNT).max(90.0);
                self.world.add_disk(host, MOUNT, (used, 40.0, 0.0));
            }
            Happening::AgentBurns(host) => self.world.add_unit(host, AGENT, 180.0, 2.0),
            Happening::Inflow(much) => self.world.set_inflow(QUEUE, much),
            Happening::HostLost(host, time) => {
                self.world.set_online(host, "ConnectionLost");
                let (world, clock) = (self.world.clone(), Arc::clone(&self.common.clock));
                self.senders.spawn(async move {
                    clock.sleep(time).await;
                    world.set_online(host, "Online");
                });
            }
            Happening::Kill(at, after) => self.kill(at, after),
            Happening::PowerCut(_) => self.common.power.cut(),
            Happening::Drain(at, after) => self.drain(at, after),
            Happening::Stop(at, time) => {
                if let Some(instance) = &self.instances[at] {
                    instance.door.switch.stop_for(time);
                }
            }
            Happening::Skew(at, by) => {
                if let Some(instance) = &self.instances[at] {
                    instance.door.clock.set_ahead(by);
                }
            }
            Happening::JournalDown(time) => self.down(time, |odd, down| odd.journal_down = down),
            Happening::ChatDown(time) => self.down(time, |odd, down| odd.chat_down = down),
            Happening::Answer => {
                self.senders.spawn(Arc::clone(&self.street).answer(self.dice.fork()));
            }
            Happening::Reload => self.shelf.reload(),
            Happening::Pause(scope, time) => {
                let pausing = Arc::clone(&self.street).pause(scope, time, self.dice.fork());
                self.senders.spawn(pausing);
            }
        }
    }

    fn down(&mut self, time: Duration, set: fn(&mut Odd, bool)) {
        let (weather, clock) = (Arc::clone(&self.common.weather), Arc::clone(&self.common.clock));
        weather.change(|odd| set(odd, true));
        self.senders.spawn(async move {
            clock.sleep(time).await;
            weather.change(|odd| set(odd, false));
        });
    }

    /// Faults end, everybody is let go on, clocks are set right, and what fires clears.
    fn calm_down(&mut self) {
        self.common.trace.note("fate", || "it calms down".into());
        self.common.weather.change(|odd| *odd = Odd::default());
        self.world.storm(0);
        self.world.set_lag(Duration::ZERO);
        for instance in self.instances.iter().flatten() {
            instance.door.switch.resume();
            instance.door.clock.set_ahead(jiff::SignedDuration::ZERO);
        }
        for (instance, _) in &self.leaving {
            instance.door.switch.resume();
        }
        self.world.set_inflow(QUEUE, scenery::INFLOW);
        for host in scenery::HOSTS {
            self.world.set_online(host, "Online");
            self.world.add_disk(host, MOUNT, (60.0, 30.0, 0.0));
            self.world.add_unit(host, AGENT, 2.0, 2.0);
        }
        for voice in [Voice::Front(0), Voice::Front(1), Voice::Pool(0), Voice::Pool(1)] {
            self.say(voice, Says::Clears);
        }
        // What nobody clears stays open, and that is right.
        for voice in [Voice::Cache(0), Voice::Cache(1)] {
            self.say(voice, Says::Clears);
        }
    }

    async fn rest(&mut self) {
        let end = self.plot.chaos + CALM;
        while self.ticks() < end {
            let until = (self.ticks() + LOOK_EVERY).min(end);
            self.wait_until(until).await;
            if self.is_quiet().await {
                return;
            }
        }
    }

    /// Whether nothing more will happen by itself.
    async fn is_quiet(&self) -> bool {
        self.senders.is_empty() && checks::at_rest(&self.common.disk.journal()).await
    }

    async fn outcome(&mut self) -> Outcome {
        let journal = &*self.common.disk.journal();
        Outcome {
            entries: checks::entries(journal).await,
            pending: checks::pending(journal).await,
            incidents: checks::incidents(journal).await,
            accepted: self.street.accepted(),
            calls: self.world.calls(),
            effects: self.world.effects(),
            departures: self.common.network.departures(),
            adoptions: self.common.disk.adoptions(),
            said: self.common.channel.said(),
            posting: self.senders.len(),
            modes: self.plot.modes.clone(),
            others: self.others.clone(),
            policy: self.plot.policy.clone(),
            mode: self.plot.mode,
            is_wild: self.plot.is_wild,
        }
    }
}
