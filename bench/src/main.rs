//! Benchmarks; one command prints a table.
//!
//! `cargo run --release -p untoil-bench [-- --only intake|sns|postgres|latency|path|decode|matching|start|memory|overload]`
//!
//! Servers run in processes of their own, so that their processor time and memory are theirs alone;
//! the load comes from this process over loopback. AWS is a stand-in here that answers at once: what is
//! measured is untoil, not AWS.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures the machine's own time and starts servers as processes of their own"
)]
#![forbid(unsafe_code)]

mod acting;
mod bodies;
mod child;
mod decode;
mod engine;
mod intake;
mod latency;
mod load;
mod matching;
mod memory;
mod minimal;
mod offer;
mod overload;
mod path;
mod postgres;
mod postgres_reference;
mod process;
mod reference;
mod rules;
mod standin;
mod start;
mod table;

use anyhow::{Result, bail};

/// As in the real program: what a rule script allocates is counted.
#[global_allocator]
static METER: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;

/// What there is to measure, in the order of the table.
const PARTS: [&str; 10] = [
    "intake", "sns", "postgres", "latency", "path", "decode", "matching", "start", "memory",
    "overload",
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(untoil_sandbox::MeteredAlloc::thread_parks)
        .build()?;
    match args.as_slice() {
        ["child", kind, folder, reach] => {
            runtime.block_on(child::run(kind, folder.as_ref(), reach))
        }
        [] => runtime.block_on(measure(&PARTS)),
        ["--only", part] if PARTS.contains(part) => runtime.block_on(measure(&[part])),
        _ => bail!("use `untoil-bench [--only {}]`", PARTS.join("|")),
    }
}

async fn measure(parts: &[&str]) -> Result<()> {
    table::head()?;
    for part in parts {
        match *part {
            "intake" => intake::measure().await?,
            "sns" => intake::measure_sns().await?,
            "postgres" => postgres::measure().await?,
            "path" => path::measure().await?,
            "start" => start::measure().await?,
            "overload" => overload::measure().await?,
            "latency" => latency::measure().await?,
            "decode" => decode::measure().await?,
            "matching" => matching::measure()?,
            "memory" => memory::measure().await?,
            other => bail!("there is no part `{other}`"),
        }
    }
    Ok(())
}
