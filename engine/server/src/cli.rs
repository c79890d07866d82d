//! What can be typed. Exit status: 0 fine, 1 findings or a refusal, 2 wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Config;
use crate::health::log::{self, LogFormat};

/// Answers alarms with reviewed rules, within limits, and writes down everything.
#[derive(Debug, Parser)]
#[command(name = "untoil", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Configuration file; without one, the built-in defaults hold.
    #[arg(long, global = true, env = "UNTOIL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// What to log: `error`, `warn`, `info`, `debug`, or a filter.
    #[arg(long, global = true, env = "UNTOIL_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play three alarms that heal, one that is denied and one that escalates, on a simulated AWS.
    Demo(Demo),
    /// Run the service.
    Serve,
    /// Check rules: manifests, scripts, authority. Nothing is run.
    Check(Rules),
    /// Run the rules' own tests on a simulated AWS and a virtual clock.
    Test(Rules),
    /// Say what would happen for one event, without doing anything.
    Try(Try),
    /// List incidents, newest first.
    Incidents(Incidents),
    /// Tell the whole story of one incident.
    Why(Why),
    /// Read the journal.
    #[command(subcommand)]
    Audit(Audit),
    /// Allow the plan that an incident waits with.
    Approve(Answer),
    /// Refuse the plan that an incident waits with.
    Reject(Answer),
    /// Press the kill switch: nothing in the scope may act.
    Pause(Pause),
    /// Release the kill switch.
    Resume(Pause),
    /// Move what is old out of the journal into compressed files.
    Archive(Archive),
    /// Make or update the tables of a PostgreSQL store.
    Migrate,
    /// Check the configuration, the journal's store, AWS identity and permissions, queues, Slack and the clock.
    Doctor,
    /// Print the IAM policy that the rules and queues need, and nothing more.
    Iam(Iam),
}

/// `demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Leave the service running afterwards, to look around.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Language of the threads: `en` or `ko`.
    #[arg(long, default_value = "en")]
    pub(crate) language: String,
    /// Where to listen; a free port of the loopback interface by default.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
}

/// `check`, `test`
#[derive(Debug, Args)]
pub(crate) struct Rules {
    /// The folder of rules; the configured one by default.
    pub(crate) rules: Option<PathBuf>,
}

/// `iam`
#[derive(Debug, Args)]
pub(crate) struct Iam {
    /// The folder of rules; the configured one by default.
    pub(crate) rules: Option<PathBuf>,
    /// The account's number in ARNs; any by default. A queue's address says its own.
    #[arg(long)]
    pub(crate) account: Option<String>,
    /// The region in ARNs; any by default.
    #[arg(long, env = "AWS_REGION")]
    pub(crate) region: Option<String>,
    /// Only what reads, and takes messages: enough for a dry run.
    #[arg(long)]
    pub(crate) reads: bool,
}

/// `try`
#[derive(Debug, Args)]
pub(crate) struct Try {
    /// A file with one event, as its sender would post it; `-` for standard input.
    pub(crate) event: PathBuf,
    /// The source: a decoder's name, such as `sns` or `grafana`, or a configured one of your own.
    #[arg(long, default_value = "sns")]
    pub(crate) source: String,
    /// A header that it came with, such as `content-type=application/x-www-form-urlencoded`.
    #[arg(long, value_name = "NAME=VALUE", value_parser = named)]
    pub(crate) header: Vec<(String, String)>,
    /// The folder of rules; the configured one by default.
    #[arg(long)]
    pub(crate) rules: Option<PathBuf>,
    /// Read facts from AWS instead of answering that none can be read. Never writes.
    #[arg(long)]
    pub(crate) facts: bool,
}

/// `name=value`, with the name as a delivery keeps it.
fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("write such as `content-type=application/json`".to_owned()),
    }
}

/// `incidents`
#[derive(Debug, Args)]
pub(crate) struct Incidents {
    /// Only those that are not closed.
    #[arg(long)]
    pub(crate) open: bool,
    /// At most this many.
    #[arg(long, default_value_t = 20)]
    pub(crate) limit: usize,
}

/// `why`
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The incident's id, or its last characters.
    pub(crate) incident: String,
}

/// `archive`
#[derive(Debug, Args)]
pub(crate) struct Archive {
    /// Keep what is younger, such as `90d`; `retention.keep` by default.
    #[arg(long, value_name = "TIME")]
    pub(crate) keep: Option<untoil_model::Period>,
    /// Archive by this machine's clock also where it may have jumped ahead.
    #[arg(long)]
    pub(crate) clock_is_right: bool,
}

/// `audit`
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List entries, oldest first.
    List {
        /// Only after this entry.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Only the newest so many, still oldest first.
        #[arg(long, value_name = "N", conflicts_with_all = ["after", "limit"])]
        last: Option<usize>,
        /// Only of this kind: `judged`, `started`, …
        #[arg(long)]
        kind: Option<String>,
        /// The folder of archive files; the configured one by default.
        #[arg(long, value_name = "DIR")]
        archive: Option<PathBuf>,
    },
    /// Show one entry whole, and beneath it the delivery that it is about.
    Show {
        /// Its number.
        seq: u64,
        /// The folder of archive files; the configured one by default.
        #[arg(long, value_name = "DIR")]
        archive: Option<PathBuf>,
    },
    /// Check the chain from the first entry of all time to the last; names what is broken.
    Verify {
        /// The folder of archive files; the configured one by default.
        #[arg(long, value_name = "DIR")]
        archive: Option<PathBuf>,
        /// Check one of the two alone.
        #[arg(long, value_enum)]
        only: Option<Only>,
    },
}

/// What `audit verify` can check alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// The store: no archive file is read.
    Store,
    /// Archive files: no store is opened.
    Archive,
}

/// `approve`, `reject`
#[derive(Debug, Args)]
pub(crate) struct Answer {
    /// The incident's id, or its last characters.
    pub(crate) incident: String,
    /// Who answers; the login name by default.
    #[arg(long, env = "UNTOIL_USER")]
    pub(crate) by: Option<String>,
    /// The plan that you read, by the first digits of its hash; another plan is then not answered.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) plan: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

/// `pause`, `resume`
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// `all`, `rule/<name>` or `target/<target>`.
    #[arg(default_value = "all")]
    pub(crate) scope: String,
    /// Why; people will ask.
    #[arg(long)]
    pub(crate) reason: String,
    /// Who; the login name by default.
    #[arg(long, env = "UNTOIL_USER")]
    pub(crate) by: Option<String>,
}

/// Prints a usage error or the help, and says how to exit.
pub(crate) fn explain(wrong: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to complain.
    drop(wrong.print());
    if wrong.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Starts logging to standard error: JSON where the configuration or `--format` says so.
pub(crate) fn start_log(cli: &Cli, config: &Config) {
    let format = match cli.format {
        Format::Text => config.log.format,
        Format::Json => LogFormat::Json,
    };
    log::start(&cli.log, format, &config.instance);
}
