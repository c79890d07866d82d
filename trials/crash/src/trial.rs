//! One trial: everything is started, goes wrong as planned, comes back, and is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::checks::{Counts, compare};
use crate::disk::Disk;
use crate::postgres::{self, Database, Template};
use crate::scenario::{Act, Blow, Ends, Plan, Scenario, Store};
use crate::stage::{DiskKind, Stage, disk_kind};
use crate::surroundings::{DISK, FAKETIME, REAL_DISK};
use crate::upgrade::{Back, go_back};

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
    /// The older program that an upgrade begins with.
    pub old: Option<PathBuf>,
    /// Whether its folder is kept where nothing was wrong, too.
    pub keep: Keep,
    /// The folder that trials have their folders in.
    pub within: PathBuf,
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
        let (command, store, seed) = (self.scenario.command(), self.store.name(), self.seed);
        let old = self.old.as_ref().map(|old| format!(" --old {}", old.display()));
        format!(
            "cargo run -p untoil-crash -- {command}{} --store {store} --seed {seed}",
            old.unwrap_or_default()
        )
    }

    /// Plays it. Its folder is left where something was wrong.
    async fn play(&self, database: &mut Option<Database>, template: &Template) -> Verdict {
        let name = format!("{}-{}-{}", self.scenario.name, self.store.name(), self.seed);
        let folder = self.within.join(name);
        drop(fs::remove_dir_all(&folder));
        let plan = self.scenario.plan(self.seed, self.store);
        let once = database_kind(&plan) != postgres::Kind::Plain;
        let verdict = match play(self, plan, &folder, (database, template)).await {
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
    trials: impl Iterator<Item = Trial> + Send + 'static,
    jobs: usize,
    mut each: impl FnMut(&Trial, &Verdict),
) -> Result<()> {
    let queue = Arc::new(Mutex::new(trials));
    let template = Arc::new(Template::default());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let (queue, tell) = (Arc::clone(&queue), tell.clone());
        let template = Arc::clone(&template);
        workers.spawn(async move {
            let mut database = None;
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(trial) = next else { return };
                let verdict = trial.play(&mut database, &template).await;
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

async fn play(
    trial: &Trial,
    plan: Plan,
    folder: &Path,
    (database, template): (&mut Option<Database>, &Template),
) -> Result<Verdict> {
    if let Some(why) = wants(&plan, &trial.within) {
        return Ok(Verdict::Skipped(why));
    }
    fs::create_dir_all(folder)?;
    let kind = database_kind(&plan);
    if trial.store.is_postgres() && database.as_ref().is_none_or(|one| one.kind != kind) {
        *database = None;
        *database = Some(Database::start(kind, template).await?);
    }
    let database = database.as_mut().filter(|_| trial.store.is_postgres());
    let mut stage = Stage::set(trial, plan, folder, database).await?;
    let played = stage.go(trial.seed).await;
    let ended = stage.end().await;
    let (ledger, back) = played?;
    // Before anything is counted: what the older program does counts, too.
    let afterwards = match &trial.old {
        Some(old) => Some(way_back(&stage, old).await),
        None => None,
    };
    let story = stage.read_all()?;
    let effects = stage.aws.effects();
    let told: Vec<String> = effects.iter().map(ToString::to_string).collect();
    fs::write(folder.join("effects"), told.join("\n"))?;
    let mut counts = compare(&story, &ledger, &effects, stage.clocks());
    counts.back_ms = back.as_millis();
    counts.wrong.extend(ended.err().map(|why| format!("{why:#}")));
    if counts.open > 0 && stage.plan.ends == Ends::All {
        counts.wrong.push(format!("{} runs have not ended", counts.open));
    }
    match afterwards {
        Some(Ok(back)) => counts.notes.push(back.to_string()),
        Some(Err(why)) => counts.wrong.push(format!("{why:#}")),
        None => {}
    }
    let verified = stage.setting.run(&["audit", "verify"])?;
    if !verified.status.success() {
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        counts.wrong.push(format!("the journal does not verify: {said}"));
    }
    for engine in &stage.engines {
        counts.starts += engine.starts;
        counts.drain_ms = engine
            .drains
            .iter()
            .map(std::time::Duration::as_millis)
            .fold(counts.drain_ms, u128::max);
        counts.wrong.extend(engine.own_ends.iter().map(|end| format!("it ended by itself: {end}")));
    }
    Ok(Verdict::Played(counts))
}

/// Whether deliveries were taken all along; then the older program alone on what was left.
async fn way_back(stage: &Stage<'_>, old: &Path) -> Result<Back> {
    stage.went_on()?;
    let door = stage.aws.door(0).await?;
    go_back(&stage.setting, old, door.port).await.context("the older program afterwards")
}

/// What the database of a plan must be.
fn database_kind(plan: &Plan) -> postgres::Kind {
    let struck =
        |blow| plan.acts.iter().any(|one| matches!(one.act, Act::Database(of, _) if of == blow));
    if struck(Blow::Full) {
        postgres::Kind::Small
    } else if struck(Blow::FailedOver) {
        postgres::Kind::Followed
    } else if struck(Blow::PowerCut) {
        postgres::Kind::Powered
    } else {
        postgres::Kind::Plain
    }
}

/// What is missing here for a plan.
fn wants(plan: &Plan, within: &Path) -> Option<String> {
    static SMALL: OnceLock<bool> = OnceLock::new();
    static REAL: OnceLock<bool> = OnceLock::new();
    let acts = |is: fn(&Act) -> bool| plan.acts.iter().any(|planned| is(&planned.act));
    if acts(|act| matches!(act, Act::Step(_))) && !Path::new(FAKETIME).exists() {
        return Some("libfaketime is not installed (`apt-get install libfaketime`)".to_owned());
    }
    let small = acts(|act| matches!(act, Act::Database(Blow::Full, _)));
    let real = acts(|act| matches!(act, Act::Database(Blow::PowerCut, _)));
    let probe = within.join("probe");
    if small || disk_kind(plan) == DiskKind::Small {
        let can = *SMALL.get_or_init(|| Disk::mount(&probe, DISK).is_ok());
        return (!can).then(|| "a small disk takes root to mount".to_owned());
    }
    if real || disk_kind(plan) == DiskKind::Powered {
        let shut = || Disk::real(&probe, REAL_DISK).and_then(|disk| disk.shut());
        let can = *REAL.get_or_init(|| shut().is_ok());
        let why = "a disk whose power can be cut takes root, a loop device, `mkfs.ext4` and `perl`";
        return (!can).then(|| why.to_owned());
    }
    None
}
