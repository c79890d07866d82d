//! `demo`: five alarms played through the real HTTP intake, rules, guard, runner, journal and
//! notifier. What is simulated, and named so, is AWS; and time runs faster.

mod scene;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use untoil_actions::Catalogue;
use untoil_clock::{Clock, SystemClock, VirtualClock};
use untoil_journal::{Journal, Sole, Verified, verify};
use untoil_model::{EngineMode, Hash, Mode, Period, Rate};
use untoil_notifier::{Language, NotifierConfig, Terminal, Voice};
use untoil_store::SqliteJournal;
use untoil_world::World;

use crate::cli::Demo;
use crate::config::{Config, NamedSecrets, SecretFrom, SourceConfig};
use crate::front::Front;
use crate::health::Sight;
use crate::out;
use crate::plant::{Parts, Plant};
use crate::rulebook::Loaded;

/// Minutes pass in seconds: the 20 minutes of a verification in 12 s.
const SPEED: u32 = 100;

/// The shipped rules, so that the demo needs no checkout.
const RULES: [(&str, &str, &str); 3] = [
    (
        "disk-full",
        include_str!("../../../../rules/disk-full/rule.yaml"),
        include_str!("../../../../rules/disk-full/rule.rhai"),
    ),
    (
        "contact-sync-backlog",
        include_str!("../../../../rules/contact-sync-backlog/rule.yaml"),
        include_str!("../../../../rules/contact-sync-backlog/rule.rhai"),
    ),
    (
        "runaway-cpu",
        include_str!("../../../../rules/runaway-cpu/rule.yaml"),
        include_str!("../../../../rules/runaway-cpu/rule.rhai"),
    ),
];

/// `demo`.
pub(crate) async fn run(what: &Demo) -> anyhow::Result<ExitCode> {
    let home = Home::new(SystemClock.now())?;
    let config = config(what, &home)?;
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::faster(SystemClock.now(), SPEED));
    let world = World::new(Arc::clone(&clock), 7);
    let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(config.journal())?);
    let parts = parts(what, &config, (&journal, &clock), &world)?;
    out::say(
        "untoil demo: the real engine on a simulated AWS; one second here is 100 seconds there.",
    );
    let front = Front::open(&config, &clock).await?;
    let mut plant = Plant::start(&config, front, parts).await?;
    let secret = std::fs::read_to_string(&home.secret)?;
    let stage = watch::Stage {
        journal: Arc::clone(&journal),
        world,
        url: format!("http://{}/v1/events/cloudwatch", plant.address),
        secret,
    };
    let played = tokio::select! {
        played = stage.play() => played,
        failed = plant.failed() => Err(failed),
    };
    let fine = match played {
        Ok(()) => tell(&*journal, &config, (what, &plant)).await?,
        Err(error) => {
            out::complain(&format!("the demo did not go as it should: {error:#}"));
            false
        }
    };
    if what.keep && fine {
        stage.keep(&mut plant).await;
    }
    plant.stop(Duration::ZERO).await?;
    drop(journal);
    if !what.keep {
        home.remove();
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A folder of the demo's own.
struct Home {
    dir: PathBuf,
    secret: PathBuf,
}

impl Home {
    fn new(now: Timestamp) -> anyhow::Result<Self> {
        let name = format!("untoil-demo-{}-{}", std::process::id(), now.as_millisecond());
        let dir = std::env::temp_dir().join(name);
        let make = |path: &Path| {
            std::fs::create_dir_all(path)
                .with_context(|| format!("cannot make the folder `{}`", path.display()))
        };
        for (name, manifest, script) in RULES {
            let rule = dir.join("rules").join(name);
            make(&rule)?;
            std::fs::write(rule.join("rule.yaml"), manifest)?;
            std::fs::write(rule.join("rule.rhai"), script)?;
        }
        make(&dir.join("data"))?;
        let secret = dir.join("secret");
        // It guards a simulated AWS on loopback for a minute; that it can be guessed does no harm.
        std::fs::write(&secret, Hash::of(dir.display().to_string().as_bytes()).to_string())?;
        Ok(Self { dir, secret })
    }

    /// Takes the folder away. What cannot be removed stays in the system's own temporary folder.
    fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            tracing::debug!(%error, "the demo's folder stays");
        }
    }
}

fn config(what: &Demo, home: &Home) -> anyhow::Result<Config> {
    let header = NamedSecrets {
        name: "x-untoil-demo".into(),
        secrets: vec![SecretFrom::File(home.secret.clone())],
    };
    let source = SourceConfig { header: Some(header), ..SourceConfig::default() };
    let listen = what.listen.parse().with_context(|| {
        format!("`--listen {}` is no address; write it as 127.0.0.1:8460", what.listen)
    })?;
    let config = Config {
        listen,
        mode: EngineMode::Live,
        instance: "demo".into(),
        data: home.dir.join("data"),
        rules: home.dir.join("rules"),
        sources: [("cloudwatch".to_owned(), source)].into(),
        ..Config::default()
    };
    if !config.listen.ip().is_loopback() {
        anyhow::bail!("the demo listens on loopback only; `--listen` was {}", config.listen);
    }
    Ok(config)
}

fn parts(
    what: &Demo,
    config: &Config,
    (journal, clock): (&Arc<dyn Journal>, &Arc<dyn Clock>),
    world: &World,
) -> anyhow::Result<Parts> {
    let catalogue = Arc::new(Catalogue::standard(Vec::new()));
    let mut rules = Loaded::from(&config.rules, Arc::clone(&catalogue))?;
    // Four runs an hour: the fifth alarm of the play is the one that a limit denies.
    rules.policy.global = vec![Rate { n: scene::RUNS_ALLOWED, per: Period::hours(1) }];
    let language = if what.language == "ko" { Language::Ko } else { Language::En };
    Ok(Parts {
        journal: Arc::clone(journal),
        roster: Arc::new(Sole::new(Arc::clone(journal))),
        archiver: None,
        clock: Arc::clone(clock),
        catalogue,
        rules,
        rule_mode: Some(Mode::Auto),
        sight: Sight { facts: world.eyes(), verify: world.eyes(), flows: None },
        hands: Some(world.hands()),
        chat: Arc::new(Terminal::new(Box::new(std::io::stdout()))),
        notify: NotifierConfig::terminal(Voice::of(language)),
        queues: Vec::new(),
    })
}

/// The summary at the end: what happened, and where to look.
async fn tell(
    journal: &dyn Journal,
    config: &Config,
    (what, plant): (&Demo, &Plant),
) -> anyhow::Result<bool> {
    out::say("\nWhat happened:");
    let incidents = crate::show::incidents(journal, false, 20).await?;
    for incident in incidents.iter().rev() {
        out::say(&crate::show::incident_line(incident));
    }
    let verified = verify(journal).await?;
    let whole = match verified {
        Verified::Whole { entries, head } => {
            out::say(&format!(
                "\nThe journal: {entries} entries, all as they were written; head {head}"
            ));
            true
        }
        Verified::Broken(broken) => {
            out::say(&format!("\nThe journal is broken: {broken}"));
            false
        }
    };
    if what.keep {
        let data = config.data.display();
        out::say(&format!(
            "\nThe service goes on at http://{}; end it with Ctrl-C. Look around:",
            plant.address
        ));
        for command in ["incidents", "why <incident>", "audit list", "audit verify"] {
            out::say(&format!("  UNTOIL_DATA={data} untoil {command}"));
        }
        out::say(&format!("  curl http://{}/v1/incidents", plant.address));
    } else {
        out::say(
            "\nWith --keep the service stays, and `untoil why`, `audit list` and `audit verify` can look.",
        );
        out::say("Next: `untoil check rules`, `untoil test rules`, and docs/rules.md.");
    }
    Ok(whole)
}
