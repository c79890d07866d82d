//! `serve`: the service.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use untoil_actions::{Catalogue, Hands};
use untoil_aws::{Aws, AwsConfig, Priority, Writes};
use untoil_clock::{Clock, SystemClock};
use untoil_health::Flow;
use untoil_model::EngineMode;
use untoil_notifier::{
    Chat, Language, Mention, NotifierConfig, Slack, SlackConfig, Terminal, Voice,
};

use crate::commands::{archive, store};
use crate::config::Config;
use crate::front::Front;
use crate::health::Sight;
use crate::health::log::{LIFE, LogFormat};
use crate::out;
use crate::plant::{Parts, Plant};
use crate::ports::{Requests, ThreadWords};
use crate::rulebook::Loaded;

/// `serve`. Where the log is for programs, all that is said on standard error is of its form.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    match (serve(config).await, config.log.format) {
        (Err(error), LogFormat::Json) => {
            let error = format!("{error:#}");
            tracing::error!(target: LIFE, error, "untoil cannot serve");
            Ok(ExitCode::FAILURE)
        }
        (ended, LogFormat::Json | LogFormat::Text) => ended,
    }
}

async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    // Before anything: a signal that comes early must end the start, and not halfway through a write.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let ends: Arc<dyn Clock> = Arc::new(SystemClock);
    // What is dropped here has taken no delivery, and the journal is as after a crash: whole.
    let mut plant = tokio::select! {
        plant = start(config) => plant?,
        _ = terminate.recv() => return Ok(ended_early(config)),
        _ = interrupt.recv() => return Ok(ended_early(config)),
    };
    let listens = format!(
        "untoil {} listens on http://{} in {} mode; rules from `{}`, journal in {}",
        env!("CARGO_PKG_VERSION"),
        plant.address,
        config.mode.as_str(),
        config.rules.display(),
        store::place(config),
    );
    tell(config, &listens);
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failed = plant.failed() => Some(failed),
    };
    // Who has failed cannot keep what it still takes.
    let open = if failed.is_some() { Duration::ZERO } else { config.open_while_draining() };
    // What is cut off here is what a crash would cut off: it is in the journal, and goes on from there.
    let cut_off = tokio::select! {
        stopped = plant.stop(open) => {
            stopped?;
            return failed.map_or(Ok(ExitCode::SUCCESS), Err);
        }
        _ = terminate.recv() => "a second signal".to_owned(),
        _ = interrupt.recv() => "a second signal".to_owned(),
        () = ends.sleep(config.drain.duration()) => format!("`drain` is {}", config.drain),
    };
    tracing::warn!(cut_off, "ended before everything was handed over; it goes on from the journal");
    Ok(ExitCode::FAILURE)
}

fn ended_early(config: &Config) -> ExitCode {
    tell(config, "untoil was told to stop before it had started; no delivery was taken");
    ExitCode::SUCCESS
}

fn tell(config: &Config, what: &str) {
    match config.log.format {
        LogFormat::Text => out::complain(what),
        LogFormat::Json => tracing::info!(target: LIFE, "{what}"),
    }
}

/// Listens, then opens the journal and loads the rules, side by side, and starts everything.
async fn start(config: &Config) -> anyhow::Result<Plant> {
    crate::authorities::check()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let front = Front::open(config, &clock).await?;
    let catalogue = Arc::new(Catalogue::standard(config.http_hosts.clone()));
    // Not on the threads that answer, and not in the way of a signal.
    let (dir, knows) = (config.rules.clone(), Arc::clone(&catalogue));
    let rules = async {
        let loading = tokio::task::spawn_blocking(move || Loaded::open(&dir, knows));
        loading.await.context("a bug ended the loading of rules")?
    };
    let ((journal, roster, retention), rules, aws) =
        tokio::try_join!(store::open(config), rules, aws(config))?;
    let archiver = match config.retention.keep {
        Some(keep) => Some(archive::archiver(config, (Arc::clone(&journal), retention), keep)?),
        None => None,
    };
    if config.mode == EngineMode::Live && rules.policy.itself.is_empty() {
        tracing::warn!(
            "`itself` in policy.yaml is empty: name what untoil runs on, so that no rule can stop it"
        );
    }
    let hands = hands(config, &aws)?;
    let queues = crate::config::queues(config)?;
    let queues = queues.into_iter().map(|(source, url)| (source, Arc::new(aws.queue(&url)) as _));
    let queues = queues.collect();
    let (chat, notify) = chat(config)?;
    let parts = Parts {
        journal,
        roster,
        archiver,
        clock,
        catalogue,
        rules,
        rule_mode: None,
        sight: sight(aws),
        hands,
        chat,
        notify,
        queues,
    };
    Plant::start(config, front, parts).await
}

/// AWS as the environment says, called as often as this account may. Nothing is sent yet.
pub(crate) async fn aws(config: &Config) -> anyhow::Result<Aws> {
    let limits = config.aws_limits()?;
    let aws = AwsConfig { limits, ..AwsConfig::new(Arc::new(SystemClock)) };
    // The SDK reads its files where it is polled: not on the threads that answer, nor in the way of a signal.
    let here = tokio::runtime::Handle::current();
    let connecting = tokio::task::spawn_blocking(move || here.block_on(untoil_aws::connect(aws)));
    connecting.await.context("a bug ended the reading of AWS's settings")
}

/// What reads; the runner's reads go before the rules' where AWS takes no more.
fn sight(aws: Aws) -> Sight {
    let (facts, verify) = (aws.eyes(), aws.eyes_for(Priority::Verify));
    let flows = move || aws.flows().iter().map(flow).collect();
    Sight { facts, verify, flows: Some(Arc::new(flows)) }
}

fn flow(of: &untoil_aws::Flow) -> Flow {
    let &untoil_aws::Flow { api, per_sec_max, per_sec, waiting, taken, throttled, turned_away } =
        of;
    Flow { api, per_sec_max, per_sec, waiting, taken, throttled, turned_away }
}

/// What writes: only when the engine is live.
fn hands(config: &Config, aws: &Aws) -> anyhow::Result<Option<Hands>> {
    Ok(match config.mode {
        EngineMode::DryRun => None,
        EngineMode::Live => {
            let Writes { ssm, ecs, asg } = aws.writes();
            let http = Arc::new(Requests::new()?);
            Some(Hands { ssm, ecs, asg, chat: Arc::new(ThreadWords), http })
        }
    })
}

/// Slack with a token, the terminal without.
fn chat(config: &Config) -> anyhow::Result<(Arc<dyn Chat>, NotifierConfig)> {
    let voice = voice(config)?;
    let Some(token) = &config.slack.token else {
        let chat = Arc::new(Terminal::new(Box::new(std::io::stdout())));
        return Ok((chat, NotifierConfig::terminal(voice)));
    };
    let slack = SlackConfig { base: config.slack.api.clone(), ..SlackConfig::new(token.read()?) };
    let slack = Slack::new(slack).map_err(anyhow::Error::msg)?;
    Ok((Arc::new(slack), NotifierConfig::new(config.slack.channel.clone(), voice)))
}

/// How to speak.
pub(crate) fn voice(config: &Config) -> anyhow::Result<Voice> {
    let language = if config.slack.language == "en" { Language::En } else { Language::Ko };
    let mut voice = Voice::of(language);
    if let Some(zone) = &config.slack.time_zone {
        voice.zone = jiff::tz::TimeZone::get(zone)
            .with_context(|| format!("`slack.time_zone`: there is no zone `{zone}`"))?;
    }
    for (name, id) in &config.slack.mentions {
        let mention = Mention::parse(id).map_err(anyhow::Error::msg);
        let mention = mention.with_context(|| format!("in `slack.mentions.{name}`"))?;
        voice.mentions.insert(name.clone(), mention);
    }
    Ok(voice)
}
