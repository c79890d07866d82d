//! Many seeds on several threads, each seed on a runtime of its own.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Report, Wanted, play};

/// Seeds that failed are told; more than this are only counted.
const FAILED_MAX: usize = 20;

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were played.
    pub played: u64,
    /// How many entries their journals have.
    pub entries: u64,
    /// How many calls the simulated AWS took.
    pub calls: u64,
    /// How many entries power cuts have taken.
    pub lost: u64,
    /// How many seeds failed.
    pub n_failed: u64,
    /// The first of them, by their seeds.
    pub failed: Vec<Report>,
}

/// Plays seeds on so many threads.
///
/// # Errors
/// When the rules cannot be loaded, or there are no threads.
pub fn many(seeds: Range<u64>, threads: usize) -> anyhow::Result<Tally> {
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.max(1)).map(|_| scope.spawn(|| work(&next, seeds.end, &tally))).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a seed ended by a panic"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failed.sort_by_key(|report| report.seed);
    Ok(tally)
}

fn work(next: &AtomicU64, end: u64, tally: &Mutex<Tally>) -> anyhow::Result<()> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return Ok(());
        }
        let report = play(seed, None, Wanted::Nothing)?;
        add(&mut tally.lock().unwrap_or_else(PoisonError::into_inner), report);
    }
}

fn add(tally: &mut Tally, report: Report) {
    tally.played += 1;
    tally.entries += report.entries;
    tally.calls += report.calls as u64;
    tally.lost += report.lost;
    if !report.wrong.is_empty() {
        tally.n_failed += 1;
        if tally.failed.len() < FAILED_MAX {
            tally.failed.push(report);
        }
    }
}
