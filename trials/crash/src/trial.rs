//! One trial: everything is started, goes wrong as planned, comes back, and is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::aws::{Aws, Weather};
use crate::checks::{Clocks, Counts, Story, compare, services};
use crate::disk::Disk;
use crate::engine::{Engine, Setting, write_rules};
use crate::http::{Answers, Reply, Request, Server};
use crate::postgres::{self, Database};
use crate::scenario::{Act, Blow, Ends, Plan, Scenario, Store};
use crate::sender::{Ledger, SECRET, Sender};
use crate::traps::Traps;

/// Between two looks of who runs the trial.
const TICK: Duration = Duration::from_millis(5);
/// Between two looks whether an instance is ready.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a first start may take on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(1);
/// How long everything may take to come back after the last fault, without hands.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// How long an end in order may take.
const DRAINS_WITHIN: Duration = Duration::from_secs(40);
/// How long the load may take to be taken.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);
/// More than the journal of a trial needs.
const DISK: &str = "24m";
/// More entries than a trial writes.
const ENTRIES_MAX: &str = "10000000";
/// Where Debian's libfaketime is.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A scenario with everything that it depends on.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What goes wrong.
    pub scenario: Scenario,
    /// When exactly, and what is sent.
    pub seed: u64,
    /// What the journal is kept in.
    pub store: Store,
    /// The program.
    pub binary: PathBuf,
    /// Whether its folder is kept where nothing was wrong, too.
    pub keep: Keep,
}

/// What is kept of a trial's folder: logs, journal, effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It, where something was wrong.
    Wrong,
    /// All of them.
    All,
}

/// What a trial came to.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It was played.
    Played(Counts),
    /// It could not be, for want of something here.
    Skipped(String),
}

impl Trial {
    /// The command that plays it again.
    #[must_use]
    pub fn again(&self) -> String {
        let (name, store) = (self.scenario.name, self.store.name());
        format!(
            "cargo run -p untoil-crash -- matrix --only {name} --store {store} --seed {}",
            self.seed
        )
    }

    fn folder(&self) -> Result<PathBuf> {
        let name = format!("{}-{}-{}", self.scenario.name, self.store.name(), self.seed);
        Ok(crate::binary::folder()?.join(name))
    }

    /// Plays it. Its folder is left where something was wrong.
    async fn play(&self, database: &mut Option<Database>) -> Verdict {
        let folder = match self.folder() {
            Ok(folder) => folder,
            Err(why) => return broken(&why),
        };
        drop(fs::remove_dir_all(&folder));
        let plan = self.scenario.plan(self.seed);
        let once = database_kind(&plan) != postgres::Kind::Plain;
        let verdict = match play(self, plan, &folder, database).await {
            Ok(verdict) => verdict,
            Err(why) => broken(&why),
        };
        if once {
            // What was done to it is not undone.
            *database = None;
        }
        match &verdict {
            Verdict::Played(counts) if !counts.wrong.is_empty() => {
                let told = format!("{}\n{}\n", self.again(), counts.wrong.join("\n"));
                drop(fs::write(folder.join("wrong"), told));
            }
            Verdict::Played(_) if self.keep == Keep::All => {}
            Verdict::Played(_) | Verdict::Skipped(_) => drop(fs::remove_dir_all(&folder)),
        }
        verdict
    }
}

fn broken(why: &anyhow::Error) -> Verdict {
    let wrong = vec![format!("the trial broke off: {why:#}")];
    Verdict::Played(Counts { wrong, ..Counts::default() })
}

/// Plays trials, so many at a time, and hands over what each came to.
///
/// # Errors
/// When a trial's own code panics.
pub async fn play_all(
    trials: Vec<Trial>,
    jobs: usize,
    mut each: impl FnMut(&Trial, &Verdict),
) -> Result<()> {
    let queue = Arc::new(Mutex::new(trials.into_iter()));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let (queue, tell) = (Arc::clone(&queue), tell.clone());
        workers.spawn(async move {
            let mut database = None;
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(trial) = next else { return };
                let verdict = trial.play(&mut database).await;
                drop(tell.send((trial, verdict)));
            }
        });
    }
    drop(tell);
    while let Some((trial, verdict)) = told.recv().await {
        each(&trial, &verdict);
    }
    while let Some(ended) = workers.join_next().await {
        ended.context("a trial has a bug")?;
    }
    Ok(())
}

/// Everything of one trial that runs.
struct Stage<'a> {
    plan: Plan,
    setting: Setting,
    engines: Vec<Engine>,
    ready: Vec<Arc<AtomicBool>>,
    aws: Arc<Aws>,
    traps: Arc<Traps>,
    disk: Option<Disk>,
    database: Option<&'a mut Database>,
    clock: i64,
    client: reqwest::Client,
    /// Servers and lookers, which end with the trial.
    _servers: Vec<Server>,
    _looking: JoinSet<()>,
}

/// What is to be done at a time.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Begin(Act),
    End(Act),
}

async fn play(
    trial: &Trial,
    plan: Plan,
    folder: &Path,
    database: &mut Option<Database>,
) -> Result<Verdict> {
    if let Some(why) = wants(&plan) {
        return Ok(Verdict::Skipped(why));
    }
    fs::create_dir_all(folder)?;
    let kind = database_kind(&plan);
    if trial.store == Store::Postgres && database.as_ref().is_none_or(|one| one.kind != kind) {
        *database = None;
        *database = Some(Database::start(kind).await?);
    }
    let database = database.as_mut().filter(|_| trial.store == Store::Postgres);
    let mut stage = Stage::set(trial, plan, folder, database).await?;
    stage.until_ready(STARTS_WITHIN).await?;
    let ports: Vec<u16> = stage.engines.iter().map(|engine| engine.port).collect();
    let sender = Sender::start(stage.plan.load, trial.seed, &ports, &stage.traps)?;
    let mut counts = Counts::default();
    let played = stage.go(sender, &mut counts).await;
    let (ledger, played) = match played {
        Ok(ledger) => (ledger, Ok(())),
        Err(why) => (Ledger::default(), Err(why)),
    };
    stage.end(&mut counts).await;
    played?;
    let clocks = if stage.clock == 0 { Clocks::Same } else { Clocks::Apart };
    let story = stage.read_all()?;
    let effects = stage.aws.effects();
    let told: Vec<String> = effects.iter().map(ToString::to_string).collect();
    fs::write(folder.join("effects"), told.join("\n"))?;
    let mut found = compare(&story, &ledger, &effects, clocks);
    if found.open > 0 && stage.plan.ends == Ends::All {
        found.wrong.push(format!("{} runs have not ended", found.open));
    }
    let verified = stage.setting.run(&["audit", "verify"])?;
    if !verified.status.success() {
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        found.wrong.push(format!("the journal does not verify: {said}"));
    }
    found.starts = stage.engines.iter().map(|engine| engine.starts).sum();
    for engine in &stage.engines {
        found.wrong.extend(engine.own_ends.iter().map(|end| format!("it ended by itself: {end}")));
    }
    counts.add(&found);
    Ok(Verdict::Played(counts))
}

/// What the database of a plan must be.
fn database_kind(plan: &Plan) -> postgres::Kind {
    let struck =
        |blow| plan.acts.iter().any(|one| matches!(one.act, Act::Database(of, _) if of == blow));
    if struck(Blow::Full) {
        postgres::Kind::Small
    } else if struck(Blow::FailedOver) {
        postgres::Kind::Followed
    } else {
        postgres::Kind::Plain
    }
}

/// What is missing here for a plan.
fn wants(plan: &Plan) -> Option<String> {
    let acts = |is: fn(&Act) -> bool| plan.acts.iter().any(|planned| is(&planned.act));
    if acts(|act| matches!(act, Act::Step(_))) && !Path::new(FAKETIME).exists() {
        return Some("libfaketime is not installed (`apt-get install libfaketime`)".to_owned());
    }
    if acts(|act| matches!(act, Act::DiskFull(_) | Act::Database(Blow::Full, _))) {
        let probe =
            crate::binary::folder().and_then(|folder| Disk::mount(&folder.join("probe"), DISK));
        return probe.err().map(|_| "a small disk takes root to mount".to_owned());
    }
    None
}

impl<'a> Stage<'a> {
    /// Makes the world and starts the instances.
    async fn set(
        trial: &Trial,
        plan: Plan,
        folder: &Path,
        database: Option<&'a mut Database>,
    ) -> Result<Self> {
        let traps = Arc::new(Traps::at(&plan.traps));
        let (aws, server) = Aws::start(Arc::clone(&traps)).await?;
        let mut servers = vec![server];
        write_rules(folder, &services(plan.load.alarms))?;
        let mut environment = environment(folder, servers[0].port);
        let full = plan.acts.iter().any(|planned| matches!(planned.act, Act::DiskFull(_)));
        let disk = full.then(|| Disk::mount(&folder.join("data"), DISK)).transpose()?;
        if plan.slack_hangs {
            let slack = Server::start(Arc::new(Dead)).await?;
            let api = format!("http://127.0.0.1:{}/api", slack.port);
            servers.push(slack);
            environment.extend([
                ("UNTOIL_SLACK__TOKEN".to_owned(), r#"{"env":"SLACK_TOKEN"}"#.to_owned()),
                ("SLACK_TOKEN".to_owned(), "xoxb-of-the-trials-0".to_owned()),
                ("UNTOIL_SLACK__CHANNEL".to_owned(), "C0123456789".to_owned()),
                ("UNTOIL_SLACK__API".to_owned(), api),
            ]);
        }
        if plan.acts.iter().any(|planned| matches!(planned.act, Act::Step(_))) {
            environment.extend(moved_clock(folder)?);
        }
        if let Some(database) = &database {
            let schema = format!("trial_{}_{}", trial.scenario.name.replace('-', "_"), trial.seed);
            database.sql(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE"))?;
            let store = serde_json::json!({ "postgres": { "url": { "env": "DATABASE" }, "schema": schema } });
            environment.push(("UNTOIL_STORE".to_owned(), store.to_string()));
            environment.push(("DATABASE".to_owned(), database.url()));
        }
        let setting =
            Setting { binary: trial.binary.clone(), folder: folder.to_owned(), environment };
        if database.is_some() {
            let made = setting.run(&["migrate"])?;
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            made.status.success().then_some(()).with_context(|| format!("migrate: {said}"))?;
        }
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        let names = (1..=plan.instances).map(|n| format!("untoil-{n}"));
        let engines: Vec<Engine> =
            names.map(|name| Engine::new(&name, setting.clone())).collect::<Result<_>>()?;
        let (ready, looking) = look_at(&engines, &client);
        let mut stage = Self {
            plan,
            setting,
            engines,
            ready,
            aws,
            traps,
            disk,
            database,
            clock: 0,
            client,
            _servers: servers,
            _looking: looking,
        };
        stage.tend()?;
        Ok(stage)
    }

    fn tend(&mut self) -> Result<()> {
        for (engine, ready) in self.engines.iter_mut().zip(&self.ready) {
            if ready.load(Ordering::SeqCst) {
                engine.is_ready();
            }
            engine.tend()?;
        }
        Ok(())
    }

    fn all_ready(&self) -> bool {
        self.ready.iter().all(|ready| ready.load(Ordering::SeqCst))
    }

    async fn until_ready(&mut self, within: Duration) -> Result<()> {
        let began = Instant::now();
        while !self.all_ready() {
            if began.elapsed() > within {
                let said = fs::read_to_string(self.setting.folder.join("untoil-1.stderr"));
                bail!("it does not become ready: {}", said.unwrap_or_default());
            }
            self.tend()?;
            tokio::time::sleep(TICK).await;
        }
        Ok(())
    }

    /// The load, the faults, the way back, and the rest.
    async fn go(&mut self, mut sender: Sender, counts: &mut Counts) -> Result<Ledger> {
        let mut turns = turns(&self.plan);
        let (began, mut last) = (Instant::now(), Instant::now());
        let taken_within = self.plan.load.over + TAKEN_WITHIN;
        while !sender.is_done()? || !turns.is_empty() {
            self.tend()?;
            if self.trapped()? {
                last = Instant::now();
            }
            while turns.first().is_some_and(|(at, ..)| began.elapsed() >= *at) {
                let (_, instance, turn) = turns.remove(0);
                self.turn(instance, turn).await?;
                last = Instant::now();
            }
            if began.elapsed() > taken_within {
                bail!("the load was not taken within {} s", taken_within.as_secs());
            }
            tokio::time::sleep(TICK).await;
        }
        self.comes_back(&sender, last, counts).await?;
        self.settle(&sender).await?;
        let ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(ledger)
    }

    /// Kills where a trap has shut.
    fn trapped(&mut self) -> Result<bool> {
        let caught =
            self.traps.caught.lock().unwrap_or_else(PoisonError::into_inner).try_recv().ok();
        let Some(done) = caught else { return Ok(false) };
        self.ready[0].store(false, Ordering::SeqCst);
        self.engines[0].kill()?;
        // Whoever waited there may have gone.
        done.send(()).ok();
        Ok(true)
    }

    async fn turn(&mut self, instance: usize, turn: Turn) -> Result<()> {
        match turn {
            Turn::Begin(Act::Kill) => {
                self.ready[instance].store(false, Ordering::SeqCst);
                self.engines[instance].kill()
            }
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
            Turn::Begin(Act::Step(by)) => {
                self.clock += by;
                set_clock(&self.setting.folder, self.clock)
            }
            Turn::Begin(Act::Database(blow, _)) => {
                self.database.as_mut().map_or(Ok(()), |database| database.strike(blow))
            }
            Turn::End(Act::Database(blow, _)) => match &mut self.database {
                Some(database) => database.mend(blow).await,
                None => Ok(()),
            },
            Turn::End(Act::Kill | Act::Drain | Act::Step(_)) => Ok(()),
        }
    }

    /// Every instance is ready and takes a delivery, without hands.
    async fn comes_back(
        &mut self,
        sender: &Sender,
        since: Instant,
        counts: &mut Counts,
    ) -> Result<()> {
        for n in 0..self.engines.len() {
            let id = format!("back-{n}");
            let body = serde_json::json!({ "alarms": [{ "key": id, "name": id, "state": "firing",
                "changed_at": jiff::Timestamp::now(), "namespace": "Nobody" }] })
            .to_string();
            let url = format!("http://127.0.0.1:{}/v1/events/generic", self.engines[n].port);
            loop {
                self.tend()?;
                let sent =
                    self.client.post(&url).bearer_auth(SECRET).header("idempotency-key", &id);
                let sent = sent.body(body.clone()).send().await;
                let taken = sent.is_ok_and(|answer| matches!(answer.status().as_u16(), 202 | 200));
                if taken && self.ready[n].load(Ordering::SeqCst) {
                    let mut ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    ledger.kept.insert(id, jiff::Timestamp::now());
                    break;
                }
                if since.elapsed() > BACK_WITHIN {
                    bail!("instance {n} did not come back within {} s", BACK_WITHIN.as_secs());
                }
                tokio::time::sleep(TICK).await;
            }
        }
        counts.back_ms = since.elapsed().as_millis();
        Ok(())
    }

    /// Waits until everything is decided and has ended, or for as long as the plan says.
    async fn settle(&mut self, sender: &Sender) -> Result<()> {
        let (began, mut story) = (Instant::now(), Story::default());
        while began.elapsed() < self.plan.settle {
            self.tend()?;
            self.read_on(&mut story).await;
            let ledger = sender.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if story.is_settled(&ledger) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY * 2).await;
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
    fn read_all(&self) -> Result<Story> {
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

    async fn end(&mut self, counts: &mut Counts) {
        for engine in &mut self.engines {
            if let Err(why) = engine.stop(DRAINS_WITHIN).await {
                counts.wrong.push(format!("{why:#}"));
            }
        }
    }
}

/// When each act begins and ends.
fn turns(plan: &Plan) -> Vec<(Duration, usize, Turn)> {
    let mut turns = Vec::new();
    for planned in &plan.acts {
        turns.push((planned.at, planned.instance, Turn::Begin(planned.act)));
        let lasts = match planned.act {
            Act::Kill | Act::Drain | Act::Step(_) => None,
            Act::Pause(lasts) | Act::Weather(_, lasts) => Some(lasts),
            Act::DiskFull(lasts) | Act::Database(_, lasts) => Some(lasts),
        };
        let end = lasts.map(|lasts| planned.at + lasts);
        turns.extend(end.map(|at| (at, planned.instance, Turn::End(planned.act))));
    }
    turns.sort_by_key(|(at, ..)| *at);
    turns
}

type Looking = (Vec<Arc<AtomicBool>>, JoinSet<()>);

/// Asks every instance again and again whether it is ready.
fn look_at(engines: &[Engine], client: &reqwest::Client) -> Looking {
    let mut looking = JoinSet::new();
    let mut all = Vec::new();
    for engine in engines {
        let ready = Arc::new(AtomicBool::new(false));
        all.push(Arc::clone(&ready));
        let (client, url) = (client.clone(), format!("http://127.0.0.1:{}/readyz", engine.port));
        looking.spawn(async move {
            loop {
                let answer = client.get(&url).send().await;
                ready.store(answer.is_ok_and(|it| it.status().is_success()), Ordering::SeqCst);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }
    (all, looking)
}

fn environment(folder: &Path, aws: u16) -> Vec<(String, String)> {
    let here = |name: &str| folder.join(name).display().to_string();
    let bearer = serde_json::json!({ "bearer": { "secrets": [{ "env": "TRIAL_SECRET" }] } });
    let table: [(&str, String); 12] = [
        ("HOME", here("")),
        ("AWS_ACCESS_KEY_ID", "trial".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "trial".to_owned()),
        ("AWS_REGION", "ap-northeast-2".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{aws}")),
        ("TRIAL_SECRET", SECRET.to_owned()),
        ("UNTOIL_MODE", "live".to_owned()),
        ("UNTOIL_DATA", here("data")),
        ("UNTOIL_RULES", here("rules")),
        ("UNTOIL_SLACK__LANGUAGE", "en".to_owned()),
        ("UNTOIL_SOURCES__GENERIC", bearer.to_string()),
    ];
    table.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What makes the time of day of a program an offset from ours; its monotonic clock stays.
fn moved_clock(folder: &Path) -> Result<Vec<(String, String)>> {
    set_clock(folder, 0)?;
    let file = folder.join("clock").display().to_string();
    let table = [
        ("LD_PRELOAD", FAKETIME.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", file),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("FAKETIME_DISABLE_SHM", "1".to_owned()),
    ];
    Ok(table.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn set_clock(folder: &Path, offset: i64) -> Result<()> {
    let (new, clock) = (folder.join("clock.new"), folder.join("clock"));
    fs::write(&new, format!("{offset:+}\n"))?;
    // At once, so that nobody reads half of it.
    Ok(fs::rename(new, clock)?)
}

/// A server that takes everything and answers nothing.
struct Dead;

impl Answers for Dead {
    async fn answer(&self, _request: Request) -> Reply {
        Reply::Silence
    }

    async fn answered(&self, _operation: &str) {}
}
