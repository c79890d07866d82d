//! The `untoil` binary: configuration, wiring, HTTP API and subcommands.
//!
//! This is the thin shell. It reads the environment, opens the store, connects AWS and Slack, and
//! hands all of it to the engine; no decision is made here.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod api;
mod archiving;
mod authorities;
mod cli;
mod client;
mod commands;
mod config;
mod door;
mod front;
mod health;
mod memory;
mod out;
mod plant;
mod ports;
mod rule_tests;
mod rulebook;
mod serving;
mod show;

/// What a rule script allocates is counted, so that it can be stopped.
#[global_allocator]
static METER: untoil_sandbox::MeteredAlloc = untoil_sandbox::MeteredAlloc;

/// Stack of the runtime's own threads; scripts have threads of their own.
const STACK_BYTES: usize = 4 << 20;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) => return cli::explain(&wrong),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .on_thread_park(untoil_sandbox::MeteredAlloc::thread_parks)
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(commands::run(cli));
            // A name that is still being looked up, say, keeps nobody waiting.
            runtime.shutdown_background();
            ended
        }
        Err(e) => Err(anyhow::anyhow!("the runtime could not be started: {e}")),
    };
    match ended {
        Ok(code) => match out::lost() {
            None => code,
            // A program would take the half of an answer for the whole.
            Some(why) => {
                out::complain(&format!("untoil: not everything could be printed: {why}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            out::complain(&format!("untoil: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
