//! Plays seeds: `cargo run -p untoil-simulation -- --seeds 1000`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "this is what it is run for")]

use std::process::ExitCode;

use clap::Parser;
use untoil_simulation::{Report, Wanted, many, play};

/// Simulates the whole engine on virtual time, one world per seed.
#[derive(Debug, Parser)]
#[command(name = "untoil-simulation")]
struct Args {
    /// How many seeds to play.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Play this seed alone, twice, and compare.
    #[arg(long)]
    seed: Option<u64>,
    /// Tell every step of it.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many threads; as many as the machine has when it is not said.
    #[arg(long)]
    threads: Option<usize>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed, if args.trace { Wanted::Everything } else { Wanted::Nothing }),
        None => all(&args),
    }
}

fn one(seed: u64, wanted: Wanted) -> anyhow::Result<ExitCode> {
    let report = play(seed, None, wanted)?;
    let again = play(seed, None, Wanted::Nothing)?;
    report.trace.iter().for_each(|line| println!("{line}"));
    tell(&report);
    if (report.head, report.world) != (again.head, again.world) {
        println!("the second time its journal ended in {} instead", again.head);
        return Ok(ExitCode::FAILURE);
    }
    Ok(if report.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(report: &Report) {
    let Report { seed, wrong, head, entries, calls, .. } = report;
    println!("seed {seed}: {entries} entries, {calls} calls, head {head}");
    for what in wrong {
        println!("  {what}");
    }
}

fn all(args: &Args) -> anyhow::Result<ExitCode> {
    let threads = args.threads.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    });
    let tally = many(args.from..args.from.saturating_add(args.seeds), threads)?;
    for report in &tally.failed {
        tell(report);
        println!("  again: cargo run -p untoil-simulation -- --seed {} --trace", report.seed);
    }
    println!(
        "{} seeds, {} entries, {} calls, {} entries lost with the power: {} failed",
        tally.played, tally.entries, tally.calls, tally.lost, tally.n_failed
    );
    Ok(if tally.n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
