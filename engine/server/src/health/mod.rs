//! What watches over the running whole: wiring of `untoil-health`, the ports, the log, the HTTP signs.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Eyes, Hands};
use untoil_clock::Clock;
use untoil_guard::GATES;
use untoil_health::{
    AskFlows, DeadMan, DeadManConfig, EntryLog, HEARTBEAT, Metrics, Observer, Part, Pulse,
    Readiness, State, Telling, Tracer, TracerConfig, Watched,
};
use untoil_intake::{Queue, Secret, SourceAuth};
use untoil_journal::Journal;
use untoil_model::Source;
use untoil_notifier::NotifierHealth;

use crate::config::Config;
use crate::door::Door;
use crate::health::http::Signs;
use crate::health::ports::Gatekeeper;

mod failing;
mod http;
pub(crate) mod log;
mod ports;
mod queues;
mod repeats;

/// The tasks that health lives in end with these.
pub(crate) type Tasks = JoinSet<anyhow::Result<()>>;

/// The ports that read, by what for, and how AWS is used by them.
pub(crate) struct Sight {
    /// For facts of rules.
    pub(crate) facts: Eyes,
    /// For the runner: did it help, did a lost call happen.
    pub(crate) verify: Eyes,
    /// How each API of AWS is used, where it is AWS.
    pub(crate) flows: Option<AskFlows>,
}

/// Everything that watches. It is made before anything else and told how the start goes on.
pub(crate) struct Health {
    /// What this instance is ready for.
    pub(crate) readiness: Readiness,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    tracer: Option<Arc<Tracer>>,
    deadman: Option<Arc<DeadMan>>,
    /// The bearer secret of our own heartbeat: made at the start, known to nobody.
    secret: String,
}

impl Health {
    /// Nothing runs yet.
    pub(crate) fn new(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let gates = GATES.iter().map(|gate| gate.name).collect();
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), gates));
        let secret = secret().context("cannot read random bytes")?;
        let tracer = config.otlp.as_ref().map(|otlp| {
            let config = TracerConfig {
                endpoint: otlp.endpoint.clone(),
                headers: headers(&otlp.headers)?,
                instance: config.instance.clone(),
                version: env!("CARGO_PKG_VERSION").into(),
            };
            let tracer = Tracer::new(config, Arc::clone(&metrics));
            anyhow::Ok(Arc::new(tracer.context("TLS cannot be set up")?))
        });
        let deadman = config.deadman.as_ref().map(|deadman| {
            let tell = deadman.url.as_ref().map(crate::config::SecretFrom::read).transpose();
            let config = DeadManConfig {
                every: deadman.every.duration(),
                within: deadman.within.duration(),
                secret: secret.clone(),
                instance: config.instance.clone(),
                tell: tell.context("in `deadman.url`")?,
            };
            let deadman = DeadMan::new(config, Arc::clone(&metrics));
            anyhow::Ok(Arc::new(deadman.context("TLS cannot be set up")?))
        });
        Ok(Self {
            readiness: Readiness::new(Arc::clone(clock)),
            metrics,
            clock: Arc::clone(clock),
            tracer: tracer.transpose().context("in `otlp`")?,
            deadman: deadman.transpose()?,
            secret,
        })
    }

    /// The journal, watched.
    pub(crate) fn watch(&self, journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
        let mut observers: Vec<Arc<dyn Observer>> = vec![Arc::new(EntryLog)];
        observers.extend(self.tracer.clone().map(|tracer| tracer as _));
        observers.extend(self.deadman.clone().map(|deadman| deadman as _));
        let base = (journal, Arc::clone(&self.clock));
        let readiness = self.readiness.clone();
        Arc::new(Watched::new(base, Arc::clone(&self.metrics), readiness, observers))
    }

    /// The ports to AWS, watched.
    pub(crate) fn gate(&self, sight: Sight, hands: Option<Hands>) -> (Sight, Option<Hands>) {
        let Sight { facts, verify, flows } = sight;
        // Nothing is wrong until something was tried.
        self.readiness.ok(Part::Aws);
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let keeper = Gatekeeper::new(clock, metrics, self.readiness.clone());
        let sight = Sight { facts: keeper.eyes(facts), verify: keeper.eyes(verify), flows };
        (sight, hands.map(|hands| keeper.hands(hands)))
    }

    /// The queues, watched.
    pub(crate) fn queues(
        &self,
        queues: Vec<(Source, Arc<dyn Queue>)>,
    ) -> Vec<(Source, Arc<dyn Queue>)> {
        let base = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        queues::watched(queues, base, self.readiness.clone())
    }

    /// Our own source among the intake's, if there is a dead-man signal.
    pub(crate) fn source(&self) -> anyhow::Result<Option<(Source, SourceAuth)>> {
        if self.deadman.is_none() {
            return Ok(None);
        }
        let secrets = vec![Secret::new(HEARTBEAT, &self.secret)?];
        Ok(Some((HEARTBEAT.parse()?, SourceAuth::Bearer { secrets })))
    }

    /// The intake's routes, watched, and the signs of life.
    pub(crate) fn routes(&self, config: &Config, intake: Router) -> anyhow::Result<Router> {
        let signs = self.signs(config)?;
        Ok(http::watched(intake, signs.clone()).merge(http::routes(signs)))
    }

    /// The signs of life, before there is anything else.
    pub(crate) fn closed(&self, config: &Config) -> anyhow::Result<Router> {
        Ok(http::closed(self.signs(config)?))
    }

    fn signs(&self, config: &Config) -> anyhow::Result<Signs> {
        let admin = config.admin.as_ref().map(crate::config::SecretFrom::read).transpose()?;
        let own = self.deadman.is_some().then(|| HEARTBEAT.to_owned());
        Ok(Signs {
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            readiness: self.readiness.clone(),
            sources: Arc::new(config.sources.keys().cloned().chain(own).collect()),
            instance: config.instance.as_str().into(),
            door: Arc::new(Door::new(admin.as_deref())),
        })
    }

    /// Begins to look at everything: what goes on to the end runs until `stop`.
    pub(crate) fn watch_over(
        &self,
        journal: &Arc<dyn Journal>,
        (config, told): (&Config, watch::Receiver<NotifierHealth>),
        flows: Option<AskFlows>,
        (tasks, stop): (&mut Tasks, &CancellationToken),
    ) {
        let base = || (Arc::clone(journal), Arc::clone(&self.clock));
        let (clock, has_slack) = (Arc::clone(&self.clock), config.slack.token.is_some());
        let ask = Box::new(move || {
            let told = told.borrow();
            Telling {
                is_off: !has_slack,
                cursor: told.cursor,
                is_degraded: told.is_degraded(clock.now()),
                last_error: told.last_error.clone(),
                delivered: told.delivered,
                passed_over: told.passed_over,
            }
        });
        let pulse = Pulse::new(base(), Arc::clone(&self.metrics), self.readiness.clone(), ask);
        let pulse = match flows {
            Some(flows) => pulse.asking(flows),
            None => pulse,
        };
        let pulse = pulse.run(stop.clone());
        tasks.spawn(async move {
            pulse.await;
            Ok(())
        });
        if let Some(tracer) = self.tracer.clone() {
            let tracing = tracer.run(base(), stop.clone());
            tasks.spawn(async move {
                tracing.await;
                Ok(())
            });
        }
    }

    /// Everything has started: deliveries may come.
    pub(crate) fn is_up(
        &self,
        address: SocketAddr,
        journal: &Arc<dyn Journal>,
        (tasks, stop): (&mut Tasks, &CancellationToken),
    ) {
        // A rule may have been found broken already.
        if self.readiness.state(Part::Rules) == State::Starting {
            self.readiness.ok(Part::Rules);
        }
        self.readiness.ok(Part::Decisions);
        self.readiness.ok(Part::Intake);
        if let Some(deadman) = self.deadman.clone() {
            let own = format!("http://{}/v1/events/{HEARTBEAT}", reachable(address));
            let base = (Arc::clone(journal), Arc::clone(&self.clock));
            let beating = deadman.run(own, base, stop.clone());
            tasks.spawn(async move {
                beating.await;
                Ok(())
            });
        }
    }
}

/// Where we reach ourselves: loopback, when we listen everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn headers(from: &BTreeMap<String, crate::config::SecretFrom>) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, from) in from {
        let key: HeaderName = name.parse().with_context(|| format!("`{name}` is no header"))?;
        let mut value: HeaderValue = from
            .read()?
            .parse()
            .with_context(|| format!("the value of `{name}` is no header's"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// 256 random bits in hexadecimal.
fn secret() -> std::io::Result<String> {
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(untoil_model::Hash::of(&bytes).to_string())
}
