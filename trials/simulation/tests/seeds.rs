//! Seeds, and that they mean something: the same seed plays the same, and a broken engine is found.

#![expect(clippy::unwrap_used, reason = "tests may fail")]

use std::fmt::Write as _;

use untoil_simulation::{Mutation, Report, Wanted, many, play};

/// As many as CI plays each time.
const SEEDS: u64 = 1_000;
/// Seeds that are played twice.
const TWICE: u64 = 25;
/// A broken engine must be found within so many seeds.
const FOUND_WITHIN: u64 = 150;
/// The last lines of a failing seed that are shown.
const LINES_SHOWN: usize = 200;

fn told(report: &Report) -> String {
    let Report { seed, wrong, .. } = report;
    let mut text = format!("seed {seed} fails: {}\n", wrong.join("; "));
    let again = play(*seed, None, Wanted::Everything).unwrap();
    let skipped = again.trace.len().saturating_sub(LINES_SHOWN);
    for line in again.trace.iter().skip(skipped) {
        writeln!(text, "{line}").unwrap();
    }
    write!(text, "again: cargo run -p untoil-simulation -- --seed {seed} --trace").unwrap();
    text
}

#[test]
fn nothing_is_lost_and_nothing_happens_twice_in_a_thousand_worlds() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let tally = many(1..1 + SEEDS, threads).unwrap();
    assert_eq!(tally.played, SEEDS);
    assert!(tally.failed.is_empty(), "{} failed; {}", tally.n_failed, told(&tally.failed[0]));
    // Seeds in which nothing happens show nothing.
    assert!(tally.entries > SEEDS * 50 && tally.calls > SEEDS, "{tally:?}");
}

#[test]
fn the_same_seed_plays_the_same() {
    for seed in 1..=TWICE {
        let one = play(seed, None, Wanted::Nothing).unwrap();
        let other = play(seed, None, Wanted::Everything).unwrap();
        assert_eq!((one.head, one.world), (other.head, other.world), "seed {seed}");
    }
}

#[test]
fn an_engine_that_is_broken_on_purpose_is_found() {
    for mutation in Mutation::ALL {
        let found = (1..=FOUND_WITHIN).find_map(|seed| {
            let report = play(seed, Some(mutation), Wanted::Nothing).unwrap();
            (!report.wrong.is_empty()).then_some((seed, report.wrong))
        });
        let (seed, wrong) = found.unwrap_or_else(|| panic!("{mutation:?} is not found"));
        println!("{mutation:?}: seed {seed}: {}", wrong[0]);
    }
}
