//! `untoil.yaml`, overridden by `UNTOIL_…`; secrets only from the environment or a file.
//!
//! This is the one module that reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use untoil_aws::Limits;
use untoil_journal::KEEP_MIN;
use untoil_model::{EngineMode, Hash, Period};

#[cfg(test)]
mod any_text;
mod health;
mod queues;
mod sources;

pub(crate) use health::{DeadManSignal, LogConfig, OtlpConfig};
pub(crate) use queues::{QueueConfig, queues};
pub(crate) use sources::{NamedSecrets, SourceConfig, decoders, intake};

/// The whole configuration. Every key has a default that is safe on a developer's machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// `dry_run` or `live`.
    pub(crate) mode: EngineMode,
    /// The name of this instance in the journal.
    pub(crate) instance: String,
    /// Where the journal is kept.
    pub(crate) data: PathBuf,
    /// What the journal is kept in.
    pub(crate) store: StoreConfig,
    /// How long the journal keeps what is old, and where it goes then.
    pub(crate) retention: RetentionConfig,
    /// The folder of rules with its `policy.yaml`.
    pub(crate) rules: PathBuf,
    /// How long it may take to end in order after SIGTERM.
    pub(crate) drain: Period,
    /// For how long of `drain` the door stays open, so that load balancers see first that this instance
    /// is not ready any more.
    pub(crate) drain_open: Option<Period>,
    /// Most bytes of one delivery; at least 1 MiB.
    pub(crate) body_bytes_max: usize,
    /// Who may send what.
    pub(crate) sources: BTreeMap<String, SourceConfig>,
    /// Queues of SQS that messages are taken from.
    pub(crate) queues: Vec<QueueConfig>,
    /// Calls a second that this account may make of AWS, by API, where they are not the published ones.
    pub(crate) aws_rates: BTreeMap<String, f64>,
    /// Networks of the proxies in front of the engine, whose `X-Forwarded-For` is believed.
    pub(crate) proxies: Vec<ipnet::IpNet>,
    /// Slack; without a token the threads are printed.
    pub(crate) slack: SlackConfig,
    /// Hosts that `http.request` may talk to, as `host` or `host:port`.
    pub(crate) http_hosts: Vec<String>,
    /// Where the token of the API for people comes from; without one, only loopback may change things.
    pub(crate) admin: Option<SecretFrom>,
    /// The log.
    pub(crate) log: LogConfig,
    /// Where traces go; without it there are none.
    pub(crate) otlp: Option<OtlpConfig>,
    /// The dead-man signal; without it there is none.
    pub(crate) deadman: Option<DeadManSignal>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8460)),
            mode: EngineMode::DryRun,
            instance: "untoil-1".into(),
            data: "untoil-data".into(),
            store: StoreConfig::Sqlite {},
            retention: RetentionConfig::default(),
            rules: "rules".into(),
            // Less than the 30 s after which ECS kills, and Docker's 10 s are easily raised.
            drain: Period::secs(25),
            drain_open: None,
            body_bytes_max: 2 << 20,
            sources: BTreeMap::new(),
            queues: Vec::new(),
            aws_rates: BTreeMap::new(),
            proxies: Vec::new(),
            slack: SlackConfig::default(),
            http_hosts: Vec::new(),
            admin: None,
            log: LogConfig::default(),
            otlp: None,
            deadman: None,
        }
    }
}

/// What the journal is kept in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum StoreConfig {
    /// One file in `data`.
    Sqlite {},
    /// A schema of a PostgreSQL database.
    Postgres(PostgresStore),
}

/// How long the journal keeps what is old, and where it goes then.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionConfig {
    /// For how long; without it, for ever.
    pub(crate) keep: Option<Period>,
    /// The folder of archive files; `archive` in `data` by default.
    pub(crate) archive: Option<PathBuf>,
}

/// A schema of a PostgreSQL database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PostgresStore {
    /// Where its address comes from: it holds the password.
    pub(crate) url: SecretFrom,
    /// The schema that the tables are in.
    #[serde(default = "default_schema")]
    pub(crate) schema: String,
    /// Most connections that read; three more write, follow, and beat.
    #[serde(default = "default_pool")]
    pub(crate) pool: usize,
    /// How the connection is protected.
    #[serde(default)]
    pub(crate) tls: TlsMode,
    /// A PEM file of authorities that take the place of the system's.
    #[serde(default)]
    pub(crate) ca: Option<PathBuf>,
}

/// How the connection to PostgreSQL is protected.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TlsMode {
    /// As `verify_full`, but for a database on this machine.
    #[default]
    Auto,
    /// TLS, with the certificate and the name checked.
    VerifyFull,
    /// No TLS.
    Disabled,
}

fn default_schema() -> String {
    "untoil".into()
}

fn default_pool() -> usize {
    8
}

/// Where a secret comes from. Never the configuration itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SecretFrom {
    /// An environment variable.
    Env(String),
    /// A file; its last line break is not part of it.
    File(PathBuf),
}

impl SecretFrom {
    /// Reads it.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        let secret = match self {
            Self::Env(name) => env(name)
                .with_context(|| format!("the secret in `{name}` is not set; set that variable"))?,
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the secret in `{}`", path.display()))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if secret.len() < SECRET_BYTES_MIN {
            bail!("the secret of {self:?} is shorter than {SECRET_BYTES_MIN} characters");
        }
        Ok(secret)
    }
}

/// A shared secret shorter than this can be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// Slack.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SlackConfig {
    /// Where the bot token comes from.
    pub(crate) token: Option<SecretFrom>,
    /// The channel's id.
    pub(crate) channel: String,
    /// `ko` or `en`.
    pub(crate) language: String,
    /// Time zone of the times people read.
    pub(crate) time_zone: Option<String>,
    /// What `escalate.mention` names stand for: `platform-oncall: S0123…`.
    pub(crate) mentions: BTreeMap<String, String>,
    /// Where the API is; another one only for tests.
    pub(crate) api: String,
}

impl Default for SlackConfig {
    fn default() -> Self {
        Self {
            token: None,
            channel: String::new(),
            language: "ko".into(),
            time_zone: None,
            mentions: BTreeMap::new(),
            api: "https://slack.com/api".into(),
        }
    }
}

impl Config {
    /// Reads the file, if there is one, and then the environment.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let beside = Path::new("untoil.yaml");
        let path = path.or_else(|| beside.exists().then_some(beside));
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration `{}`", path.display()))?,
            None => String::new(),
        };
        let name = path.map_or_else(String::new, |path| path.display().to_string());
        let config = Self::read(&text, &overrides()?).with_context(|| match name.as_str() {
            "" => "in the environment".to_owned(),
            name => format!("in `{name}`"),
        })?;
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        refuse_misspelt(&config, names).context("in the environment")?;
        Ok(config)
    }

    pub(crate) fn read(text: &str, overrides: &[(String, String)]) -> anyhow::Result<Self> {
        let base = if text.trim().is_empty() { Self::default() } else { yaml(text)? };
        let base = serde_json::to_value(&base)?;
        let config: Self = serde_json::from_value(overridden(&base, overrides, None)?)
            .map_err(|error| named(error, &base, overrides))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.body_bytes_max < 1 << 20 {
            bail!("`body_bytes_max` is {}: SNS alone needs 1 MiB (1048576)", self.body_bytes_max);
        }
        if let Some(keep) = self.retention.keep.filter(|keep| *keep < KEEP_MIN) {
            bail!("`retention.keep` is {keep}: the guard and repeated deliveries need {KEEP_MIN}");
        }
        if let Some(open) = self.drain_open.filter(|open| *open >= self.drain) {
            bail!("`drain_open` is {open}: give less than `drain`, which is {}", self.drain);
        }
        if !matches!(self.slack.language.as_str(), "ko" | "en") {
            bail!("`slack.language` is `{}`: use `ko` or `en`", self.slack.language);
        }
        if self.slack.token.is_some() && self.slack.channel.is_empty() {
            bail!("`slack.token` is set but `slack.channel` is not: give the channel's id");
        }
        if self.admin.is_none() && !self.listen.ip().is_loopback() {
            bail!(
                "`listen` is {}, which others can reach, and `admin` is not set: name where its token \
                 comes from, such as `admin: {{ env: UNTOIL_ADMIN_TOKEN }}`",
                self.listen
            );
        }
        health::check(self)?;
        self.aws_limits()?;
        queues(self).map(drop)
    }

    /// How often AWS may be called.
    pub(crate) fn aws_limits(&self) -> anyhow::Result<Limits> {
        self.aws_rates.iter().try_fold(Limits::published(), |limits, (api, per_sec)| {
            limits.account(api, *per_sec).context("in `aws_rates`")
        })
    }

    /// What the journal says of the configuration: its hash. Secrets are not part of it.
    pub(crate) fn hash(&self) -> Hash {
        Hash::of_json(self)
    }

    /// For how long of `drain` the door stays open.
    pub(crate) fn open_while_draining(&self) -> Duration {
        let by_default = match self.store {
            // Nobody else decides what would still be kept: the sooner the next start, the sooner that.
            StoreConfig::Sqlite {} => Duration::ZERO,
            StoreConfig::Postgres(_) => OPEN_WHILE_DRAINING.min(self.drain.duration() / 2),
        };
        self.drain_open.map_or(by_default, Period::duration)
    }

    /// The folder of archive files.
    pub(crate) fn archive(&self) -> PathBuf {
        self.retention.archive.clone().unwrap_or_else(|| self.data.join("archive"))
    }

    /// The journal's file.
    pub(crate) fn journal(&self) -> PathBuf {
        self.data.join("journal.db")
    }
}

/// How long the door stays open by default where others go on: a load balancer that looks every few
/// seconds has looked once, and one of Kubernetes has heard of the end.
const OPEN_WHILE_DRAINING: Duration = Duration::from_secs(5);

/// Most nodes of a configuration; a full one has fewer than 200.
const NODES_MAX: usize = 5_000;

/// YAML without duplicate keys, aliases and loose booleans; a mistake is shown with a caret.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        merge_keys: serde_yaml::MergeKeyPolicy::Error,
        budget: serde_yaml::budget! { max_nodes: NODES_MAX, max_aliases: 0, max_anchors: 0 },
    };
    serde_yaml::from_str_with_options(text, options).map_err(|e| anyhow::anyhow!("{e}"))
}

/// Variables of ours that are no keys of the configuration.
const OTHERS: [&str; 4] = ["UNTOIL_CONFIG", "UNTOIL_LOG", "UNTOIL_USER", "UNTOIL_URL"];

/// The keys, as variables have them: `LISTEN`, `DRAIN_OPEN`.
fn keys() -> Vec<String> {
    let default = serde_json::to_value(Config::default());
    let default = default.expect("a configuration is a table of texts, numbers and tables");
    default.as_object().into_iter().flatten().map(|(key, _)| key.to_ascii_uppercase()).collect()
}

/// Refuses a variable that is called nearly as one that overrides a key, and is not one that the
/// configuration takes a secret from: whoever set it believes that it holds.
fn refuse_misspelt(config: &Config, names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let (keys, secrets) = (keys(), serde_json::to_string(config)?);
    for name in names.filter(|name| !OTHERS.contains(&name.as_str())) {
        let Some(key) = name.strip_prefix("UNTOIL_") else { continue };
        let first = key.split("__").next().unwrap_or_default();
        let typos = if first.len() > 5 { 2 } else { 1 };
        let meant = keys.iter().min_by_key(|key| strsim::osa_distance(key, first));
        let meant = meant.filter(|meant| (1..=typos).contains(&strsim::osa_distance(meant, first)));
        let is_secret = secrets.contains(&format!("{name:?}"));
        if let Some(meant) = meant.filter(|_| !is_secret) {
            bail!(
                "`{name}` is set, and no key of the configuration is called so; \
                 did you mean `UNTOIL_{meant}`?"
            );
        }
    }
    Ok(())
}

/// The variables that override a key: `UNTOIL_LISTEN`, `UNTOIL_SLACK__CHANNEL`.
fn overrides() -> anyhow::Result<Vec<(String, String)>> {
    let keys = keys();
    // What is no text concerns us only under a name of ours.
    let named =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    let ours = named.filter(|(name, _)| {
        let key = name.strip_prefix("UNTOIL_").unwrap_or_default();
        let first = key.split("__").next().unwrap_or_default();
        keys.iter().any(|key| key == first) && !OTHERS.contains(&name.as_str())
    });
    let texts = ours.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => bail!("`{name}` is not UTF-8 text; set it anew"),
    });
    texts.collect()
}

/// Sets `SLACK__CHANNEL` in the tree to a value that is JSON where it can be, and text otherwise.
fn set(tree: &mut Value, name: &str, text: &str) -> anyhow::Result<()> {
    let path = name.strip_prefix("UNTOIL_").unwrap_or(name).to_ascii_lowercase();
    let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
    let mut at = tree;
    for part in path.split("__") {
        let Value::Object(map) = at else {
            bail!("`{name}` goes deeper than the configuration does");
        };
        at = map.entry(part.to_owned()).or_insert_with(|| Value::Object(serde_json::Map::new()));
    }
    *at = value;
    Ok(())
}

/// The tree with the overrides, but for one.
fn overridden(
    base: &Value,
    overrides: &[(String, String)],
    but: Option<usize>,
) -> anyhow::Result<Value> {
    let mut tree = base.clone();
    for (n, (name, value)) in overrides.iter().enumerate() {
        if but != Some(n) {
            set(&mut tree, name, value)?;
            // It is one of them: a variable that names one takes the place of another.
            let kind = name.strip_prefix("UNTOIL_STORE__").and_then(|path| path.split("__").next());
            if let (Some(kind), Some(Value::Object(store))) = (kind, tree.get_mut("store")) {
                store.retain(|other, _| other.eq_ignore_ascii_case(kind));
            }
        }
    }
    Ok(tree)
}

/// The same error with the variable without which it is not there.
fn named(error: serde_json::Error, base: &Value, overrides: &[(String, String)]) -> anyhow::Error {
    let is_cause = |n: &usize| {
        let others = overridden(base, overrides, Some(*n)).ok();
        others.is_some_and(|tree| serde_json::from_value::<Config>(tree).is_ok())
    };
    match (0..overrides.len()).find(is_cause) {
        Some(n) => anyhow::Error::from(error).context(format!("in `{}`", overrides[n].0)),
        None => error.into(),
    }
}

/// A variable of the environment as others read it: one that is empty is there.
pub(crate) fn env_as_it_is(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A variable of the environment.
#[expect(clippy::disallowed_methods, reason = "this module is the one door to the environment")]
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_names_one_kind_of_store_takes_the_place_of_the_other() {
        let set = |text: &str, name: &str, value: &str| {
            let config = Config::read(text, &[(name.to_owned(), value.to_owned())]).unwrap();
            serde_json::to_value(&config.store).unwrap()
        };
        let url = ("UNTOIL_STORE__POSTGRES__URL", r#"{"env":"DATABASE_URL"}"#);
        assert_eq!(set("", url.0, url.1)["postgres"]["url"]["env"], "DATABASE_URL");
        let text = "store: { postgres: { url: { env: A }, schema: ops } }\n";
        let both = &set(text, url.0, url.1)["postgres"];
        assert_eq!((&both["url"]["env"], &both["schema"]), (&"DATABASE_URL".into(), &"ops".into()));
        assert_eq!(set(text, "UNTOIL_STORE__SQLITE", "{}"), serde_json::json!({ "sqlite": {} }));
    }

    #[test]
    fn every_key_can_be_overridden_and_one_that_is_nearly_called_so_is_refused() {
        assert!(keys().contains(&"PROXIES".to_owned()) && keys().contains(&"ADMIN".to_owned()));
        let config = "admin: { env: UNTOIL_ADMNI }\n";
        let config = Config::read(config, &[]).unwrap();
        let told = |name: &str| {
            refuse_misspelt(&config, std::iter::once(name.to_owned())).map_err(|e| e.to_string())
        };
        for (name, meant) in [
            ("UNTOIL_MODEE", "`UNTOIL_MODE`"),
            ("UNTOIL_PROXIS", "`UNTOIL_PROXIES`"),
            ("UNTOIL_SLAKC__CHANNEL", "`UNTOIL_SLACK`"),
            ("UNTOIL_BODY_BYTE_MAX", "`UNTOIL_BODY_BYTES_MAX`"),
        ] {
            let told = told(name).unwrap_err();
            assert!(told.contains(name) && told.contains(meant), "{told}");
        }
        for fine in [
            "UNTOIL_MODE",
            "UNTOIL_SLACK__CHANNEL",
            "UNTOIL_ADMNI",
            "UNTOIL_ADMIN_TOKEN",
            "UNTOIL_LOG",
            "UNTOIL_URL",
            "UNTOIL_ROLE",
            "UNTOIL_KEY",
            "MODEE",
        ] {
            assert_eq!(told(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn without_a_file_everything_is_safe() {
        let config = Config::read("", &[]).unwrap();
        assert_eq!(config.mode, EngineMode::DryRun);
        assert!(config.listen.ip().is_loopback());
        assert!(config.slack.token.is_none());
    }

    #[test]
    fn the_environment_overrides_every_key() {
        let overrides = [
            ("UNTOIL_MODE".to_owned(), "live".to_owned()),
            ("UNTOIL_LISTEN".to_owned(), "127.0.0.1:9000".to_owned()),
            ("UNTOIL_SLACK__CHANNEL".to_owned(), "C1".to_owned()),
            ("UNTOIL_SOURCES__SNS".to_owned(), r#"{"sns":{"topics":["arn:a"]}}"#.to_owned()),
        ];
        let config = Config::read("mode: dry_run\n", &overrides).unwrap();
        assert_eq!(config.mode, EngineMode::Live);
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.slack.channel, "C1");
        assert_eq!(config.sources.len(), 1);
    }

    #[test]
    fn the_store_is_a_file_unless_postgresql_is_named() {
        let text = "store: { postgres: { url: { env: UNTOIL_DATABASE_URL }, schema: ops } }\n";
        let config = Config::read(text, &[]).unwrap();
        let StoreConfig::Postgres(store) = config.store else { panic!("{:?}", config.store) };
        assert_eq!((store.schema.as_str(), store.pool), ("ops", 8));
        assert!(matches!(store.tls, TlsMode::Auto));
        let config = Config::read("store: { sqlite: {} }\n", &[]).unwrap();
        assert!(matches!(config.store, StoreConfig::Sqlite {}));
    }

    #[test]
    fn the_door_stays_open_where_others_go_on() {
        let postgres = "store: { postgres: { url: { env: UNTOIL_DATABASE_URL } } }\n";
        let table = [
            ("", 0),
            ("drain_open: 3s\n", 3),
            (postgres, 5),
            (&format!("{postgres}drain: 6s\n"), 3),
            (&format!("{postgres}drain: 6s\ndrain_open: 5s\n"), 5),
            (&format!("{postgres}drain_open: 0s\n"), 0),
        ];
        for (text, secs) in table {
            let open = Config::read(text, &[]).unwrap().open_while_draining();
            assert_eq!(open, Duration::from_secs(secs), "{text}");
        }
        let overrides = [("UNTOIL_DRAIN_OPEN".to_owned(), "2s".to_owned())];
        let open = Config::read("", &overrides).unwrap().open_while_draining();
        assert_eq!(open, Duration::from_secs(2));
    }

    #[test]
    fn mistakes_are_named() {
        let table = [
            ("mod: live\n", "mod"),
            ("mode: yes\n", "mode"),
            ("mode: live\nmode: live\n", "mode"),
            ("body_bytes_max: 1000\n", "body_bytes_max"),
            ("listen: 0.0.0.0:80\n", "admin"),
            ("store: { postgres: { schema: a } }\n", "url"),
            ("slack: { language: fr }\n", "fr"),
            ("log: { format: xml }\n", "xml"),
            ("otlp: { endpoint: collector:4318 }\n", "otlp.endpoint"),
            ("deadman: { every: 1s }\n", "deadman.every"),
            ("deadman: { every: 10s, within: 20s }\n", "deadman.within"),
            ("sources: { heartbeat: { bearer: { secrets: [] } } }\n", "deadman"),
            ("retention: { keep: 7d }\n", "35d"),
            ("drain_open: 25s\n", "`drain`, which is 25s"),
            ("aws_rates: { ssm send: 5 }\n", "in `aws_rates`: no API `ssm send` is called"),
            ("aws_rates: { ssm read: 0 }\n", "`ssm read` is 0 calls a second"),
            ("aws_rates: { ssm read: many }\n", "aws_rates"),
        ];
        for (text, names) in table {
            let error = format!("{:#}", Config::read(text, &[]).unwrap_err());
            assert!(error.contains(names), "{text}: {error}");
        }
    }
}
