//! Everything of one trial that runs: the instances, the world around them, and what befalls them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::aws::{Aws, Weather};
use crate::checks::{Clocks, Story, services};
use crate::disk::Disk;
use crate::engine::{Engine, Setting, write_rules};
use crate::http::Server;
use crate::postgres::Database;
use crate::queue::Queue;
use crate::ready::{Readiness, look_at};
use crate::scenario::{Act, Plan, Way};
use crate::sender::{Ledger, SECRET, Sender};
use crate::surroundings::{DISK, Dead, REAL_DISK, environment, moved_clock, set_clock};
use crate::traps::{Caught, Deed, Traps};
use crate::trial::Trial;

/// Between two looks of who runs the trial.
const TICK: Duration = Duration::from_millis(5);
/// Between two looks at the journal.
const READ_EVERY: Duration = Duration::from_millis(100);
/// How long a first start may take on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// How long everything may take to come back after the last fault, without hands.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// How long an end in order may take.
const DRAINS_WITHIN: Duration = Duration::from_secs(40);
/// How long the load may take to be taken, beyond the time that it lasts.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);
/// How long decisions may take: what is to be seen is that they come, also where a trial has next to
/// nothing of a busy machine's time, so that instances are not heard for longer than their leases.
const DECIDED_WITHIN: Duration = Duration::from_mins(3);
/// More entries than a trial writes.
const ENTRIES_MAX: &str = "10000000";

/// A trial's instances and their world. What runs ends when it is dropped.
pub(crate) struct Stage<'a> {
    pub(crate) plan: Plan,
    pub(crate) setting: Setting,
    pub(crate) engines: Vec<Engine>,
    pub(crate) aws: Arc<Aws>,
    ready: Vec<Arc<Readiness>>,
    traps: Arc<Traps>,
    disk: Option<Disk>,
    database: Option<&'a mut Database>,
    /// How far each instance's time of day is from ours, in seconds.
    offsets: Vec<i64>,
    client: reqwest::Client,
    turns: Vec<(Duration, usize, Turn)>,
    began: Instant,
    /// When something went wrong last, or ended to.
    struck: Instant,
    /// Not every instance has been ready since.
    away: bool,
    /// The longest that it took until all were.
    back: Duration,
    /// How many deliveries were kept at each step of an upgrade, kills among them, and at the end.
    kept: Vec<usize>,
    _servers: Vec<Server>,
    _looking: JoinSet<()>,
}

/// What is to be done at a time.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Begin(Act),
    End(Act),
}

impl<'a> Stage<'a> {
    /// Makes the world and starts the instances.
    pub(crate) async fn set(
        trial: &Trial,
        plan: Plan,
        folder: &Path,
        database: Option<&'a mut Database>,
    ) -> Result<Self> {
        let traps = Arc::new(Traps::at(&plan.traps));
        let aws = Aws::new(Arc::clone(&traps));
        write_rules(folder, &services(plan.load.alarms))?;
        let has = |is: fn(&Act) -> bool| plan.acts.iter().any(|planned| is(&planned.act));
        let disk = match disk_kind(&plan) {
            DiskKind::Anywhere => None,
            DiskKind::Small => Some(Disk::mount(&folder.join("data"), DISK)?),
            DiskKind::Powered => Some(Disk::real(&folder.join("data"), REAL_DISK)?),
        };
        let (mut servers, mut variables) = (Vec::new(), environment(folder, &plan));
        if plan.slack_hangs {
            let slack = Server::start(Arc::new(Dead)).await?;
            variables.extend(Dead::variables(slack.port));
            servers.push(slack);
        }
        let moves = has(|act| matches!(act, Act::Step(_)));
        if moves {
            variables.extend(moved_clock(folder)?);
        }
        if plan.way == Way::Queue {
            let queue = json!([{ "url": Queue::ADDRESS, "source": "generic" }]);
            variables.push(("UNTOIL_QUEUES".to_owned(), queue.to_string()));
        }
        if let Some(database) = &database {
            let schema = format!("trial_{}_{}", trial.scenario.name.replace('-', "_"), trial.seed);
            database.sql(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))?;
            let store = json!({ "postgres": { "url": { "env": "DATABASE" }, "schema": schema } });
            variables.push(("UNTOIL_STORE".to_owned(), store.to_string()));
            variables.push(("DATABASE".to_owned(), database.url()));
        }
        let (binary, folder) = (trial.binary.clone(), folder.to_owned());
        let setting = Setting { binary, folder, environment: variables };
        let first = trial.old.as_ref().map_or_else(|| setting.clone(), |old| setting.of(old));
        if database.is_some() {
            migrate(&first)?;
        }
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let mut engines = Vec::new();
        for n in 0..plan.instances {
            let door = aws.door(n).await?;
            let engine = Engine::new(&format!("untoil-{}", n + 1), first.clone(), door.port)?;
            if moves {
                set_clock(&setting.folder, &engine.name, 0)?;
            }
            engines.push(engine);
            servers.push(door);
        }
        let (ready, looking) = look_at(&engines, &client);
        Ok(Self {
            turns: turns(&plan),
            offsets: vec![0; plan.instances],
            plan,
            setting,
            engines,
            aws,
            ready,
            traps,
            disk,
            database,
            client,
            began: Instant::now(),
            struck: Instant::now(),
            away: false,
            back: Duration::ZERO,
            kept: Vec::new(),
            _servers: servers,
            _looking: looking,
        })
    }

    /// Whether times of the journal can be compared with ours.
    pub(crate) fn clocks(&self) -> Clocks {
        if self.offsets.iter().all(|offset| *offset == 0) { Clocks::Same } else { Clocks::Apart }
    }

    /// The load, the faults, the way back, and the rest. Answers what the sender knows, and how long
    /// the way back took.
    pub(crate) async fn go(&mut self, seed: u64) -> Result<(Ledger, Duration)> {
        while !self.all_ready() {
            if self.began.elapsed() > STARTS_WITHIN {
                let said = fs::read_to_string(self.setting.folder.join("untoil-1.stderr"));
                bail!("it does not become ready: {}", said.unwrap_or_default());
            }
            self.tend()?;
            tokio::time::sleep(TICK).await;
        }
        let ports: Vec<u16> = self.engines.iter().map(|engine| engine.port).collect();
        let load = self.plan.load;
        let mut sender = match self.plan.way {
            Way::Post => Sender::post(load, seed, &ports, &self.traps)?,
            Way::Queue => Sender::queue(load, seed, self.aws.queue()),
        };
        (self.began, self.struck) = (Instant::now(), Instant::now());
        while !sender.is_done()? || !self.turns.is_empty() {
            self.tend()?;
            self.trapped().await?;
            while self.turns.first().is_some_and(|(at, ..)| self.began.elapsed() >= *at) {
                let (_, instance, turn) = self.turns.remove(0);
                if matches!(turn, Turn::Begin(Act::Migrate | Act::Replace | Act::Kill)) {
                    self.note_kept(&sender);
                }
                self.turn(instance, turn).await?;
                self.strikes();
            }
            if self.began.elapsed() > self.plan.load.over + TAKEN_WITHIN {
                bail!("the load was not taken within {} s more", TAKEN_WITHIN.as_secs());
            }
            tokio::time::sleep(TICK).await;
        }
        self.note_kept(&sender);
        self.comes_back(&sender).await?;
        self.settle(&sender).await?;
        let ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((ledger, self.back))
    }

    fn note_kept(&mut self, sender: &Sender) {
        let ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept.push(ledger.kept.len());
    }

    fn all_ready(&self) -> bool {
        self.ready.iter().all(|ready| ready.is())
    }

    fn strikes(&mut self) {
        (self.struck, self.away) = (Instant::now(), true);
    }

    fn tend(&mut self) -> Result<()> {
        for (engine, ready) in self.engines.iter_mut().zip(&self.ready) {
            if ready.is() {
                engine.is_ready();
            }
            let starts = engine.starts;
            engine.tend()?;
            if engine.starts > starts {
                ready.of(engine.starts);
            }
        }
        if self.away && self.all_ready() {
            self.away = false;
            self.back = self.back.max(self.struck.elapsed());
        }
        Ok(())
    }

    /// Does the deed where a trap has shut.
    async fn trapped(&mut self) -> Result<()> {
        let Some(Caught { instance, deed, done }) = self.traps.caught() else { return Ok(()) };
        match deed {
            Deed::Kill => self.kill(instance)?,
            Deed::CutPower => self.cut_power(instance).await?,
            Deed::Pause(lasts) => {
                self.engines[instance].pause()?;
                let end = Turn::End(Act::Pause(lasts));
                self.turns.push((self.began.elapsed() + lasts, instance, end));
                self.turns.sort_by_key(|(at, ..)| *at);
            }
        }
        self.strikes();
        // Whoever waited there may have gone.
        done.send(()).ok();
        Ok(())
    }

    fn kill(&mut self, instance: usize) -> Result<()> {
        self.ready[instance].of(self.engines[instance].starts + 1);
        self.engines[instance].kill()
    }

    /// The instance is gone before its disk is looked after, and is started again after that.
    async fn cut_power(&mut self, instance: usize) -> Result<()> {
        self.kill(instance)?;
        match &self.disk {
            Some(disk) => disk.cut().await,
            None => Ok(()),
        }
    }

    async fn turn(&mut self, instance: usize, turn: Turn) -> Result<()> {
        match turn {
            Turn::Begin(Act::Kill) => self.kill(instance),
            Turn::Begin(Act::Drain) => self.engines[instance].terminate(),
            Turn::Begin(Act::Pause(_)) => self.engines[instance].pause(),
            Turn::End(Act::Pause(_)) => self.engines[instance].go_on(),
            Turn::Begin(Act::Weather(weather, _)) => {
                self.aws.turn(weather);
                Ok(())
            }
            Turn::End(Act::Weather(..)) => {
                self.aws.turn(Weather::Fair);
                Ok(())
            }
            Turn::Begin(Act::DiskFull(_)) => self.disk.as_ref().map_or(Ok(()), Disk::fill),
            Turn::End(Act::DiskFull(_)) => self.disk.as_ref().map_or(Ok(()), Disk::free),
            Turn::Begin(Act::PowerCut) | Turn::End(Act::DiskDies(_)) => {
                self.cut_power(instance).await
            }
            Turn::Begin(Act::DiskDies(_)) => {
                self.engines[instance].may_end();
                self.disk.as_ref().map_or(Ok(()), Disk::shut)
            }
            Turn::Begin(Act::Step(by)) => {
                self.offsets[instance] += by;
                let (folder, name) = (&self.setting.folder, &self.engines[instance].name);
                set_clock(folder, name, self.offsets[instance])
            }
            Turn::Begin(Act::Database(blow, _)) => match &mut self.database {
                Some(database) => database.strike(blow).await,
                None => Ok(()),
            },
            Turn::End(Act::Database(blow, _)) => match &mut self.database {
                Some(database) => database.mend(blow).await,
                None => Ok(()),
            },
            Turn::Begin(Act::Migrate) => migrate(&self.setting),
            Turn::Begin(Act::Replace) => self.engines[instance].replace(&self.setting.binary),
            Turn::End(
                Act::Kill | Act::Drain | Act::PowerCut | Act::Step(_) | Act::Migrate | Act::Replace,
            ) => Ok(()),
        }
    }

    /// Every instance is ready and takes a delivery, without hands.
    async fn comes_back(&mut self, sender: &Sender) -> Result<()> {
        let began = Instant::now();
        for n in 0..self.engines.len() {
            let id = format!("back-{n}");
            let body = json!({ "alarms": [{ "key": id, "name": id, "state": "firing",
                "changed_at": jiff::Timestamp::now(), "namespace": "Nobody" }] });
            let url = format!("http://127.0.0.1:{}/v1/events/generic", self.engines[n].port);
            loop {
                self.tend()?;
                let sent =
                    self.client.post(&url).bearer_auth(SECRET).header("idempotency-key", &id);
                let sent = sent.body(body.to_string()).send().await;
                let taken = sent.is_ok_and(|answer| matches!(answer.status().as_u16(), 202 | 200));
                if taken && self.ready[n].is() {
                    let mut ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    ledger.kept.insert(id, jiff::Timestamp::now());
                    break;
                }
                if began.elapsed() > BACK_WITHIN {
                    bail!("instance {n} did not come back within {} s", BACK_WITHIN.as_secs());
                }
                tokio::time::sleep(TICK).await;
            }
        }
        Ok(())
    }

    /// Waits until everything is decided, and has ended or had as long as the plan says.
    async fn settle(&mut self, sender: &Sender) -> Result<()> {
        let (began, mut story) = (Instant::now(), Story::default());
        while began.elapsed() < DECIDED_WITHIN.max(self.plan.settle) {
            self.tend()?;
            self.read_on(&mut story).await;
            let ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let has_had_time = began.elapsed() >= self.plan.settle || story.open_runs() == 0;
            if has_had_time && story.is_decided(&ledger) {
                break;
            }
            tokio::time::sleep(READ_EVERY).await;
        }
        Ok(())
    }

    /// Reads what is new in the journal, from whichever instance answers first.
    async fn read_on(&self, story: &mut Story) {
        for engine in &self.engines {
            let port = engine.port;
            let url = format!("http://127.0.0.1:{port}/v1/journal?after={}&limit=1000", story.upto);
            let Ok(answer) = self.client.get(url).send().await else { continue };
            let Ok(text) = answer.text().await else { continue };
            let Ok(Value::Array(entries)) = serde_json::from_str(&text) else { continue };
            for entry in &entries {
                story.add(entry);
            }
            return;
        }
    }

    /// The whole journal, by the program's own subcommand.
    pub(crate) fn read_all(&self) -> Result<Story> {
        let said =
            self.setting.run(&["audit", "list", "--format", "json", "--limit", ENTRIES_MAX])?;
        if !said.status.success() {
            bail!("the journal cannot be read: {}", String::from_utf8_lossy(&said.stderr));
        }
        fs::write(self.setting.folder.join("journal.jsonl"), &said.stdout)?;
        let mut story = Story::default();
        for line in String::from_utf8_lossy(&said.stdout).lines() {
            story.add(&serde_json::from_str(line)?);
        }
        Ok(story)
    }

    /// Before the first step of an upgrade, between one and the next, and after the last, deliveries
    /// were taken.
    pub(crate) fn went_on(&self) -> Result<()> {
        went_on(&self.kept)
    }

    /// Ends all instances in order.
    pub(crate) async fn end(&mut self) -> Result<()> {
        for engine in &mut self.engines {
            engine.stop(DRAINS_WITHIN).await?;
        }
        Ok(())
    }
}

/// Whether more were kept at each step, the end being the last.
fn went_on(kept: &[usize]) -> Result<()> {
    let before = std::iter::once(&0).chain(kept);
    match before.zip(kept).position(|(before, after)| before == after) {
        Some(step) => bail!("nothing was taken between steps {step} and {} of it", step + 1),
        None => Ok(()),
    }
}

/// Makes the schema, or brings it up to date.
fn migrate(setting: &Setting) -> Result<()> {
    let made = setting.run(&["migrate"])?;
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    made.status.success().then_some(()).with_context(|| format!("migrate: {said}"))
}

/// When each act begins and ends.
fn turns(plan: &Plan) -> Vec<(Duration, usize, Turn)> {
    let mut turns = Vec::new();
    for planned in &plan.acts {
        turns.push((planned.at, planned.instance, Turn::Begin(planned.act)));
        let lasts = match planned.act {
            Act::Kill | Act::Drain | Act::PowerCut | Act::Step(_) => None,
            Act::Migrate | Act::Replace => None,
            Act::Pause(lasts) | Act::Weather(_, lasts) | Act::DiskDies(lasts) => Some(lasts),
            Act::DiskFull(lasts) | Act::Database(_, lasts) => Some(lasts),
        };
        let end = lasts.map(|lasts| planned.at + lasts);
        turns.extend(end.map(|at| (at, planned.instance, Turn::End(planned.act))));
    }
    turns.sort_by_key(|(at, ..)| *at);
    turns
}

/// What the journal of a plan must lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskKind {
    /// Whatever is there.
    Anywhere,
    /// A small one that can be filled.
    Small,
    /// A real one whose power can be cut.
    Powered,
}

/// What the journal of a plan must lie on.
pub(crate) fn disk_kind(plan: &Plan) -> DiskKind {
    let any = |is: fn(&Act) -> bool| plan.acts.iter().any(|planned| is(&planned.act));
    let cuts = plan.traps.iter().any(|trap| trap.deed == Deed::CutPower);
    if cuts || any(|act| matches!(act, Act::PowerCut | Act::DiskDies(_))) {
        DiskKind::Powered
    } else if any(|act| matches!(act, Act::DiskFull(_))) {
        DiskKind::Small
    } else {
        DiskKind::Anywhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_in_which_nothing_is_taken_for_a_while_is_found() {
        assert!(went_on(&[3, 5, 9]).is_ok());
        for kept in [&[0, 5, 9][..], &[3, 3, 9], &[3, 9, 9]] {
            assert!(went_on(kept).is_err(), "{kept:?}");
        }
    }
}
