//! Plays the crash matrix and prints a table; ends with 1 where something was wrong.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "how long it plays is the machine's own time")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use untoil_crash::{
    Cluster, Keep, SCENARIOS, Scenario, Store, Table, Trial, Upgrade, Verdict, built, folder,
    play_all,
};

/// The crash matrix: the real program, really killed, and counted from outside.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    what: Option<What>,
    /// What the journal is kept in, and for how many; each, when it is not said.
    #[arg(long, global = true)]
    store: Option<Store>,
    /// The first seed.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// How many trials at a time.
    #[arg(long, global = true, default_value_t = 2, value_parser = some())]
    jobs: usize,
    /// Keep the folder of every trial, not only where something was wrong.
    #[arg(long, global = true)]
    keep: bool,
    /// Where trials are played; in memory (`/dev/shm/…`) they do not wait for a disk.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
    /// A program that is built already.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every scenario once, or some of them.
    Matrix {
        /// Only this scenario; may be repeated.
        #[arg(long)]
        only: Vec<String>,
        /// How often each, with following seeds.
        #[arg(long, default_value_t = 1)]
        times: u64,
    },
    /// So many trials, of scenarios in turn, each with a seed of its own.
    Random {
        /// How many.
        #[arg(long)]
        runs: usize,
        /// Begin none after so many minutes.
        #[arg(long)]
        minutes: Option<u64>,
    },
    /// Instances on one PostgreSQL under load, one of which is killed again and again.
    Cluster {
        /// How many instances.
        #[arg(long, default_value_t = 3, value_parser = some())]
        instances: usize,
        /// Seconds between two kills.
        #[arg(long, default_value_t = 3, value_name = "SECONDS",
            value_parser = clap::value_parser!(u64).range(1..))]
        kill_every: u64,
        /// Seconds of load.
        #[arg(long = "for", default_value_t = 60, value_name = "SECONDS")]
        lasts: u64,
    },
    /// Instances of an older program under load, replaced one by one by this one; then the way back.
    Upgrade {
        /// The older program.
        #[arg(long)]
        old: PathBuf,
        /// How many instances; SQLite has one.
        #[arg(long, default_value_t = 3, value_parser = some())]
        instances: usize,
        /// Seconds of load.
        #[arg(long = "for", default_value_t = 40, value_name = "SECONDS",
            value_parser = clap::value_parser!(u64).range(16..))]
        lasts: u64,
        /// How often, with following seeds.
        #[arg(long, default_value_t = 1)]
        times: u64,
    },
    /// Lists the scenarios.
    List,
}

/// At least one: with none, nothing would be played and nothing found.
fn some() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

#[tokio::main(worker_threads = 8)]
async fn main() -> ExitCode {
    // The mistake in words alone: where it came from in this program helps nobody.
    run(Line::parse()).await.unwrap_or_else(|error| {
        eprintln!("untoil-crash: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(line: Line) -> Result<ExitCode> {
    let what = line.what.unwrap_or(What::Matrix { only: Vec::new(), times: 1 });
    if matches!(what, What::List) {
        for scenario in SCENARIOS {
            let stores: Vec<_> = scenario.stores.iter().map(|store| store.name()).collect();
            println!("{:<20} {:<24} {}", scenario.name, stores.join(", "), scenario.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let binary = match line.binary {
        Some(binary) => binary.canonicalize().context("there is no such program")?,
        None => built()?,
    };
    let within = line.folder.map_or_else(folder, Ok)?;
    let keep = if line.keep { Keep::All } else { Keep::Wrong };
    let trial = |scenario: &Scenario, store, seed| Trial {
        scenario: *scenario,
        seed,
        store,
        binary: binary.clone(),
        old: None,
        keep,
        within: within.clone(),
    };
    let mut until = None;
    let mut trials = Vec::new();
    match what {
        What::List => {}
        What::Matrix { only, times } => {
            for name in &only {
                Scenario::named(name).with_context(|| format!("no scenario is called `{name}`"))?;
            }
            let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
            for seed in line.seed..line.seed + times {
                let ours = pairs(line.store).filter(|(one, _)| wanted(one.name));
                trials.extend(ours.map(|(one, store)| trial(one, store, seed)));
            }
        }
        What::Random { runs, minutes } => {
            until = minutes.map(|n| Instant::now() + Duration::from_mins(n));
            let all: Vec<_> = pairs(line.store).collect();
            let turns = all.iter().cycle().take(runs).zip(line.seed..);
            trials.extend(turns.map(|((scenario, store), seed)| trial(scenario, *store, seed)));
        }
        What::Cluster { instances, kill_every, lasts } => {
            let (every, lasts) = (Duration::from_secs(kill_every), Duration::from_secs(lasts));
            let cluster = Scenario::cluster(Cluster { instances, every, lasts });
            trials.push(trial(&cluster, Store::Three, line.seed));
        }
        What::Upgrade { old, instances, lasts, times } => {
            let old = Some(old.canonicalize().context("there is no older program")?);
            let store = line.store.unwrap_or(Store::Three);
            let instances = if store == Store::Three { instances } else { 1 };
            let lasts = Duration::from_secs(lasts);
            let upgrade = Scenario::upgrade(Upgrade { instances, lasts });
            let seeds = line.seed..line.seed + times;
            trials.extend(
                seeds.map(|seed| Trial { old: old.clone(), ..trial(&upgrade, store, seed) }),
            );
        }
    }
    if trials.is_empty() {
        bail!("nothing is to be played: no such scenario on that store");
    }
    play(trials, line.jobs, until).await
}

fn pairs(store: Option<Store>) -> impl Iterator<Item = (&'static Scenario, Store)> {
    let all = SCENARIOS.iter().flat_map(|one| one.stores.iter().map(move |of| (one, *of)));
    all.filter(move |(_, of)| store.is_none_or(|store| store == *of))
}

async fn play(trials: Vec<Trial>, jobs: usize, until: Option<Instant>) -> Result<ExitCode> {
    let (all, mut n, mut wrong) = (trials.len(), 0, 0);
    let mut table = Table::default();
    let wanted = move || until.is_none_or(|until| Instant::now() < until);
    let trials = trials.into_iter().take_while(move |_| wanted());
    play_all(trials, jobs, |trial, verdict| {
        n += 1;
        let order = SCENARIOS.iter().position(|one| one.name == trial.scenario.name);
        let name = format!("{} ({})", trial.scenario.name, trial.store.name());
        table.add(order.unwrap_or(SCENARIOS.len()), &name, verdict);
        match verdict {
            Verdict::Skipped(why) => eprintln!("{n}/{all} {name}: SKIPPED: {why}"),
            Verdict::Played(counts) if counts.wrong.is_empty() => {
                eprintln!("{n}/{all} {name} seed {}: fine", trial.seed);
                for note in &counts.notes {
                    eprintln!("    {note}");
                }
            }
            Verdict::Played(counts) => {
                wrong += 1;
                eprintln!("{n}/{all} {name} seed {}: WRONG; again: {}", trial.seed, trial.again());
                for what in counts.wrong.iter().take(10) {
                    eprintln!("    {what}");
                }
            }
        }
    })
    .await?;
    println!("{}", table.text());
    for idle in table.idle() {
        println!("shows little: {idle}");
    }
    println!("{} trials, {wrong} with something wrong", table.played());
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
