//! The subcommands.

use std::process::ExitCode;

use crate::cli::{self, Cli, Command};
use crate::config::Config;

mod answer;
mod archive;
mod audit;
mod demo;
mod doctor;
mod iam;
mod incidents;
mod rules;
mod serve;
mod store;
mod test_rules;
mod trail;
mod try_event;

/// Runs one.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Demo(demo) = &cli.command {
        cli::start_log(&cli, &Config::default());
        return demo::run(demo).await;
    }
    let config = Config::load(cli.config.as_deref())?;
    cli::start_log(&cli, &config);
    match &cli.command {
        Command::Demo(_) => Ok(ExitCode::SUCCESS),
        Command::Serve => Box::pin(serve::run(&config)).await,
        Command::Check(what) => rules::check(&config, what, cli.format),
        Command::Test(what) => test_rules::run(&config, what, cli.format).await,
        Command::Try(what) => try_event::run(&config, what, cli.format).await,
        Command::Incidents(what) => incidents::list(&config, what, cli.format).await,
        Command::Why(what) => incidents::why(&config, what, cli.format).await,
        Command::Audit(what) => audit::run(&config, what, cli.format).await,
        Command::Approve(what) => answer::answer(&config, "approve", what, cli.format).await,
        Command::Reject(what) => answer::answer(&config, "reject", what, cli.format).await,
        Command::Pause(what) => answer::switch(&config, "pause", what, cli.format).await,
        Command::Resume(what) => answer::switch(&config, "resume", what, cli.format).await,
        Command::Archive(what) => archive::run(&config, what, cli.format).await,
        Command::Migrate => store::migrate(&config, cli.format).await,
        Command::Doctor => doctor::run(&config, cli.format).await,
        Command::Iam(what) => iam::run(&config, what, cli.format),
    }
}
