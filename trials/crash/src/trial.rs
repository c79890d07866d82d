//! One trial: everything is started, goes wrong as planned, comes back, and is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use crate::checks::{Counts, compare};
use crate::disk::Disk;
use crate::postgres::{self, Database};
use crate::scenario::{Act, Blow, Ends, Plan, Scenario, Store};
use crate::stage::Stage;
use crate::surroundings::{DISK, FAKETIME};

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
        let plan = self.scenario.plan(self.seed, self.store);
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
    let played = stage.go(trial.seed).await;
    let ended = stage.end().await;
    let (ledger, back) = played?;
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
