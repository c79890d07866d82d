//! The table: a line for each thing that was measured.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;

/// How many appends tell what one sync of the disk costs.
const SYNCS: u32 = 200;

/// Prints what the machine is and the table's head.
pub(crate) fn head() -> Result<()> {
    let cpus = std::thread::available_parallelism()?;
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    println!("{cpus} x {model}; append of 4 KiB and fdatasync: {} us", sync_micros()?);
    println!();
    println!(
        "| part     | case                                           | result                                            | goal    |"
    );
    println!(
        "|----------|------------------------------------------------|---------------------------------------------------|---------|"
    );
    Ok(())
}

/// Prints a line.
pub(crate) fn row(part: &str, case: &str, result: &str, goal: &str) {
    println!("| {part:<8} | {case:<46} | {result:<49} | {goal:<7} |");
}

/// The median time of a durable append.
fn sync_micros() -> Result<u128> {
    let mut file: File = tempfile::tempfile()?;
    let page = [7_u8; 4_096];
    let mut took = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        took.push(began.elapsed().as_micros());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}
