//! `doctor`: is everything set up? It only reads.

mod heard;
mod queues;

use std::process::ExitCode;

use serde_json::{Value, json};
use untoil_aws::doctor::{Checkup, Finding, Probe, Wanted, examine};
use untoil_clock::{Clock as _, SystemClock};
use untoil_journal::Journal;
use untoil_model::{EngineMode, Mode, Stream};
use untoil_notifier::{Slack, SlackConfig};

use crate::cli::Format;
use crate::commands::{rules, store};
use crate::config::Config;
use crate::out;

/// A clock further off than this makes limits and signatures unreliable.
const SKEW_WARN_SECS: i64 = 5;

/// One thing that was looked at.
struct Line {
    fine: bool,
    what: String,
    says: String,
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn fine(&mut self, what: &str, says: impl Into<String>) {
        self.0.push(Line { fine: true, what: what.into(), says: says.into() });
    }

    fn wrong(&mut self, what: &str, says: impl Into<String>) {
        self.0.push(Line { fine: false, what: what.into(), says: says.into() });
    }
}

/// `doctor`. Exit 1 when something is wrong.
pub(crate) async fn run(config: &Config, format: Format) -> anyhow::Result<ExitCode> {
    let mut lines = Lines::default();
    settings(config, &mut lines);
    let journal = journal(config, &mut lines).await;
    heard::look(config, journal.as_deref(), SystemClock.now(), &mut lines).await;
    let mut wanted = book(config, &mut lines);
    // A mistake in them is found when the configuration is read.
    wanted.queues = crate::config::queues(config)?.into_iter().map(|(_, queue)| queue).collect();
    let aws = super::serve::aws(config).await?;
    amazon(&Box::pin(examine(&aws, &wanted)).await, &mut lines);
    slack(config, &mut lines).await;
    let wrong = lines.0.iter().filter(|line| !line.fine).count();
    match format {
        Format::Text => {
            for line in &lines.0 {
                let mark = if line.fine { "ok   " } else { "WRONG" };
                out::say(&format!("{mark}  {:<14} {}", line.what, line.says));
            }
            out::say(&format!("{} looked at, {wrong} wrong", lines.0.len()));
        }
        Format::Json => {
            let all: Vec<Value> = lines
                .0
                .iter()
                .map(|line| json!({ "ok": line.fine, "what": line.what, "says": line.says }))
                .collect();
            out::say(&json!({ "wrong": wrong, "checks": all }).to_string());
        }
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn settings(config: &Config, lines: &mut Lines) {
    match config.mode {
        EngineMode::DryRun => lines.fine("mode", "dry_run: nothing can be written"),
        EngineMode::Live => lines.fine("mode", "live"),
    }
    match crate::config::intake(config) {
        Ok(intake) if intake.sources.is_empty() && config.queues.is_empty() => {
            lines.wrong("sources", "none: nobody can send alarms; see docs/sources");
        }
        Ok(intake) if intake.sources.is_empty() => lines.fine("sources", "only queues"),
        Ok(intake) => {
            let names: Vec<String> = intake.sources.keys().map(ToString::to_string).collect();
            lines.fine("sources", names.join(", "));
        }
        Err(e) => lines.wrong("sources", format!("{e:#}")),
    }
}

/// Opens the journal to read, beside a service that may run, and says where it is and how long.
async fn journal(config: &Config, lines: &mut Lines) -> Option<Box<dyn Journal>> {
    if store::is_there(config).is_err() {
        let place = store::place(config);
        lines.fine("store", format!("{place}: nothing yet; `untoil serve` makes it"));
        return None;
    }
    let opened = async {
        let journal = store::open_read_only(config).await?;
        let newest = journal.latest(&Stream::All, 1).await?;
        anyhow::Ok((journal, newest.first().map_or(0, |entry| entry.seq.0)))
    };
    match opened.await {
        Ok((journal, entries)) => {
            lines.fine("store", format!("{}: {entries} entries", store::place(config)));
            Some(journal)
        }
        Err(error) => {
            lines.wrong("store", format!("{}: {error:#}", store::place(config)));
            None
        }
    }
}

/// Looks at the rules; tells what they use of AWS.
fn book(config: &Config, lines: &mut Lines) -> Wanted {
    let mut wanted = Wanted {
        documents: untoil_deploy::documents()
            .iter()
            .map(|document| (document.name.to_owned(), document.version.to_owned()))
            .collect(),
        ..Wanted::default()
    };
    let loaded = match rules::load(config, None) {
        Ok(loaded) => loaded,
        Err(e) => {
            lines.wrong("rules", format!("{e:#}"));
            return wanted;
        }
    };
    let book = loaded.rules();
    for rule in book.rules() {
        let text = |bounds: &untoil_actions::Bounds, key: &str| {
            bounds.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        for (action, grants) in rule.manifest.may.iter() {
            for bounds in grants {
                match (action.as_str(), text(bounds, "cluster"), text(bounds, "service")) {
                    (
                        "ecs.scale" | "ecs.redeploy" | "ecs.stop_task",
                        Some(cluster),
                        Some(service),
                    ) => {
                        wanted.services.push((cluster, service));
                    }
                    ("asg.set_desired" | "asg.replace_instance", _, _) => {
                        wanted.groups.extend(text(bounds, "group"));
                    }
                    _ => {}
                }
            }
        }
    }
    if config.mode == EngineMode::Live && loaded.policy.itself.is_empty() {
        lines.wrong(
            "itself",
            "`itself` in policy.yaml is empty: name what untoil runs on, so that no rule can stop it",
        );
    }
    let broken = loaded
        .diagnostics()
        .iter()
        .filter(|finding| finding.severity == untoil_sandbox::Severity::Error)
        .count();
    let acting = book
        .rules()
        .iter()
        .filter(|rule| matches!(rule.manifest.mode, Mode::Auto | Mode::Approve))
        .count();
    let says = format!("{} loaded, {acting} may act, {broken} error(s)", book.rules().len());
    if broken == 0 {
        lines.fine("rules", says);
    } else {
        lines.wrong("rules", says);
    }
    wanted
}

fn amazon(checkup: &Checkup, lines: &mut Lines) {
    match &checkup.identity {
        Ok(identity) => lines.fine("aws", identity.arn.clone()),
        Err(e) => {
            lines.wrong("aws", format!("nobody knows us there: {e}; check credentials and Region"));
        }
    }
    match checkup.ahead {
        Some(ahead) if ahead.as_secs().abs() <= SKEW_WARN_SECS => {
            lines.fine("clock", "agrees with AWS");
        }
        Some(ahead) => {
            lines.wrong("clock", format!("{} s ahead of AWS; synchronise it", ahead.as_secs()));
        }
        None => lines.wrong("clock", "cannot be compared with AWS"),
    }
    for probe in &checkup.probes {
        probed(probe, lines);
    }
    queues::tell(&checkup.queues, lines);
}

/// What trying a read showed.
fn probed(Probe { what, finding }: &Probe, lines: &mut Lines) {
    match finding {
        Finding::Fine => lines.fine("permission", what.clone()),
        Finding::Absent(absent) => {
            lines.wrong("absent", format!("{what}: {absent} does not exist"));
        }
        Finding::Missing(missing) => lines.wrong(
            "permission",
            format!("{what}: grant `{}` on `{}`", missing.action, missing.resource),
        ),
        Finding::Failed(why) => lines.wrong("aws", format!("{what}: {why}")),
    }
}

async fn slack(config: &Config, lines: &mut Lines) {
    let Some(token) = &config.slack.token else {
        lines.fine("slack", "no token: threads are printed");
        return;
    };
    let slack = token.read().and_then(|token| {
        let settings = SlackConfig { base: config.slack.api.clone(), ..SlackConfig::new(token) };
        Slack::new(settings).map_err(anyhow::Error::msg)
    });
    match slack {
        Err(e) => lines.wrong("slack", format!("{e:#}")),
        Ok(slack) => match slack.who().await {
            Ok((bot, team)) => {
                let channel = &config.slack.channel;
                let untried = "not tried: invite the bot, and see the first thread";
                lines.fine("slack", format!("{bot} in {team}; channel {channel} is {untried}"));
            }
            Err(e) => lines.wrong("slack", e.to_string()),
        },
    }
}
