//! Everything wired together and running: intake, dispatcher, notifier, rule book, API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Hands};
use untoil_clock::Clock;
use untoil_dispatcher::{Bell, Dispatcher, Tools};
use untoil_guard::Guard;
use untoil_health::Metrics;
use untoil_intake::{
    AwsSns, Consumer, IntakeConfig, IntakeState, Origin, Ports, Queue, SourceAuth,
};
use untoil_journal::{Archiver, Batch, Journal, Roster};
use untoil_model::{Actor, Body, Draft, EngineMode, Mode, Source};
use untoil_notifier::{Chat, Notifier, NotifierConfig};
use untoil_runner::Runner;

use crate::config::Config;
use crate::door::Door;
use crate::front::Front;
use crate::health::{Health, Sight};
use crate::rulebook::Loaded;
use crate::{api, archiving, memory};

/// What differs between the service, the demo and tests.
pub(crate) struct Parts {
    pub(crate) journal: Arc<dyn Journal>,
    /// This instance's share of the work.
    pub(crate) roster: Arc<dyn Roster>,
    /// What moves old entries to files, if they are not kept for ever.
    pub(crate) archiver: Option<Archiver>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) rules: Loaded,
    /// Gives every rule this mode; for the demo.
    pub(crate) rule_mode: Option<Mode>,
    pub(crate) sight: Sight,
    /// None in a dry run, which thereby cannot write.
    pub(crate) hands: Option<Hands>,
    pub(crate) chat: Arc<dyn Chat>,
    pub(crate) notify: NotifierConfig,
    /// The queues that messages are taken from, with the source that each is read as.
    pub(crate) queues: Vec<(Source, Arc<dyn Queue>)>,
}

/// How long a stopping service waits for senders to end their requests. What they have not been
/// answered they send again.
const LAST_REQUESTS_MAX: Duration = Duration::from_secs(10);

/// The running whole.
pub(crate) struct Plant {
    pub(crate) address: SocketAddr,
    health: Health,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    actor: Actor,
    shifts: Shifts,
    /// No connection is kept.
    parting: CancellationToken,
    end: End,
}

/// What runs, by when it ends.
#[derive(Default)]
struct Shifts {
    /// The HTTP server.
    serving: Shift,
    /// What takes messages from queues, and gives the dead-man signal.
    fetching: Shift,
    /// What decides and acts.
    dispatching: Shift,
    /// What keeps the rules, and other things, up to date meanwhile.
    deciding: Shift,
    /// What tells people.
    telling: Shift,
}

/// The end in its order: who tells the last words must still be heard by other instances.
#[derive(Debug, Clone, Default)]
struct End {
    /// Nothing is decided any more.
    decided: CancellationToken,
    /// Nothing is told any more.
    told: CancellationToken,
}

/// Parts that stop together.
#[derive(Default)]
struct Shift {
    parts: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Plant {
    /// Starts everything. The start is in the journal before the first delivery is taken.
    pub(crate) async fn start(config: &Config, front: Front, parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            journal,
            roster,
            archiver,
            clock,
            catalogue,
            rules,
            rule_mode,
            sight,
            hands,
            chat,
            notify,
            queues,
        } = parts;
        let health = &front.health;
        let journal = health.watch(journal);
        let (Sight { facts, verify, flows }, hands) = health.gate(sight, hands);
        let actor = Actor::Engine(config.instance.clone());
        let mode = if hands.is_some() { EngineMode::Live } else { EngineMode::DryRun };
        let policy = rules.policy.clone();
        let decoders = rules.decoders(crate::config::decoders(config)?);
        let guard = Arc::new(Guard::new(Arc::clone(&journal), policy, mode, actor.clone()));
        let base = (Arc::clone(&journal), Arc::clone(&clock), actor.clone());
        let (watch, does) = (Arc::clone(&guard), Arc::clone(&catalogue));
        let runner = Runner::new(base.clone(), watch, does, verify, hands);
        let tools = Tools {
            journal: Arc::clone(&journal),
            roster: Arc::clone(&roster),
            clock: Arc::clone(&clock),
            actor: actor.clone(),
            decoders,
            rules: Arc::new(rules.book(rule_mode)),
            catalogue,
            guard: Arc::clone(&guard),
            eyes: facts,
            runner,
        };
        let posts = (Arc::clone(&roster), Arc::clone(&clock));
        let dispatcher = Dispatcher::new(tools);
        let (bell, quiet) = (dispatcher.bell(), dispatcher.bell());
        let notifier =
            Notifier::new(Arc::clone(&journal), chat, Arc::clone(&clock), notify).sharing(roster);
        let told = notifier.health();

        let (app, sns) = app(config, (&journal, &clock), (&guard, bell), health)?;
        let started = Draft::new(clock.now(), actor.clone(), started(config, mode));
        let started = journal.append(Batch::of(vec![started])).await;
        started.context("the journal does not take the start's own entry")?;
        front.show_in(app);
        let Front { address, health, tasks, close, .. } = front;
        let serving = Shift { parts: tasks, stop: close.stop };
        let Shifts { mut fetching, mut dispatching, mut deciding, mut telling, .. } =
            Shifts::default();
        fetching.take_from(config, health.queues(queues), (&journal, &clock))?;
        let end = End::default();
        dispatching.parts.spawn(dispatch(dispatcher, dispatching.stop.clone(), end.clone()));
        let keeping = rules.keep(base, health.readiness.clone(), deciding.stop.clone());
        deciding.parts.spawn(keeping.map(Ok));
        let (rest, settle) = ((Arc::clone(&clock), journal.head()), settle(&health.metrics, quiet));
        let giving_back = memory::give_back(rest, settle, deciding.stop.clone());
        deciding.parts.spawn(giving_back.map(Ok));
        deciding.archive(archiver, posts);
        telling.parts.spawn(notifier.run(telling.stop.clone()).map(Ok));
        health.watch_over(&journal, (config, told), flows, (&mut telling.parts, &telling.stop));
        health.is_up(address, &journal, (&mut fetching.parts, &fetching.stop));
        // The certificates of the system take longer to read than all of the above.
        fetching.parts.spawn(prepare(move || read_certificates(&sns), fetching.stop.clone()));
        let shifts = Shifts { serving, fetching, dispatching, deciding, telling };
        let parting = close.parting;
        Ok(Self { address, health, journal, clock, actor, shifts, parting, end })
    }

    /// Waits until a part ends by itself, which none should.
    pub(crate) async fn failed(&mut self) -> anyhow::Error {
        let Shifts { serving, fetching, dispatching, deciding, telling } = &mut self.shifts;
        let ended = tokio::select! {
            ended = serving.parts.join_next() => ended,
            Some(ended) = fetching.parts.join_next() => Some(ended),
            ended = dispatching.parts.join_next() => ended,
            ended = deciding.parts.join_next() => ended,
            ended = telling.parts.join_next() => ended,
        };
        match ended {
            Some(Ok(Ok(()))) | None => anyhow::anyhow!("a part of the service ended by itself"),
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => anyhow::anyhow!("a part of the service ended by a bug: {panic}"),
        }
    }

    /// Stops. From now on it is not ready, and decides nothing but to its next rest.
    ///
    /// For as long as `open` deliveries are still kept, for whoever sends before it has seen that: once
    /// everything is handed over other instances decide them at once, and the next start otherwise.
    pub(crate) async fn stop(self, open: Duration) -> anyhow::Result<()> {
        let Self { health, journal, clock, actor, shifts, parting, end, .. } = self;
        let Shifts { mut serving, mut fetching, dispatching, deciding, telling } = shifts;
        health.readiness.stop();
        parting.cancel();
        fetching.stop.cancel();
        dispatching.stop.cancel();
        deciding.stop.cancel();
        let closing = async {
            clock.sleep(open).await;
            tokio::select! {
                ((), ()) = async { tokio::join!(serving.end(), fetching.end()) } => {}
                () = clock.sleep(LAST_REQUESTS_MAX) => {
                    tracing::warn!("senders did not end their requests; they are cut off");
                }
            }
            // A request that is cut off was not answered, so its sender comes back.
            serving.parts.shutdown().await;
            fetching.parts.shutdown().await;
        };
        let base = (&*journal, &*clock, actor);
        let ((), handed_over) =
            tokio::join!(closing, hand_over(base, (dispatching, deciding, telling), end));
        handed_over
    }
}

/// Ends in order: decisions at their next rest, then the words about them. That it stopped is written
/// when nothing is decided any more: behind it deliveries are kept at most.
async fn hand_over(
    (journal, clock, actor): (&dyn Journal, &dyn Clock, Actor),
    (mut dispatching, mut deciding, mut telling): (Shift, Shift, Shift),
    end: End,
) -> anyhow::Result<()> {
    end.decided.cancelled().await;
    deciding.end().await;
    let stopped = Draft::new(clock.now(), actor, Body::EngineStopped {});
    let written = journal.append(Batch::of(vec![stopped])).await;
    telling.end().await;
    end.told.cancel();
    dispatching.end().await;
    written?;
    Ok(())
}

fn started(config: &Config, mode: EngineMode) -> Body {
    let version = env!("CARGO_PKG_VERSION").into();
    Body::EngineStarted { version, mode, config: config.hash() }
}

/// Decides until it is told to stop. Then it is heard until the last words are told, and leaves.
async fn dispatch(dispatcher: Dispatcher, stop: CancellationToken, end: End) -> anyhow::Result<()> {
    // Also when it fails: the stop that follows must not wait for it.
    let decided = end.decided.drop_guard();
    let presence = dispatcher.work(stop.clone()).await?;
    drop(decided);
    if stop.is_cancelled() {
        end.told.cancelled().await;
    }
    presence.leave().await;
    Ok(())
}

/// Lays close what is kept in mind; asked for when the journal rests.
fn settle(metrics: &Arc<Metrics>, quiet: Bell) -> impl Fn() + use<> {
    let metrics = Arc::clone(metrics);
    move || {
        metrics.rests();
        quiet.ring_quiet();
    }
}

/// Those of SNS first: they tell of a failure. What the AWS SDKs once found empty stays empty.
fn read_certificates(sns: &AwsSns) -> anyhow::Result<()> {
    sns.prepare().context("the certificates of authorities cannot be read any more")?;
    untoil_aws::read_certificates();
    Ok(())
}

/// Reads the system's certificates before anybody waits for it. A failure ends the service: without them
/// nothing of SNS is believed and AWS cannot be called, and a start reads them anew.
async fn prepare(
    read: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let read = tokio::task::spawn_blocking(read).await;
    read.context("a bug ended the setting up of TLS").flatten()?;
    stop.cancelled().await;
    Ok(())
}

impl Shift {
    /// Archives what is old, where that is configured.
    fn archive(&mut self, archiver: Option<Archiver>, posts: (Arc<dyn Roster>, Arc<dyn Clock>)) {
        if let Some(archiver) = archiver {
            let archiving = archiving::run(archiver, posts, self.stop.clone());
            self.parts.spawn(archiving.map(Ok));
        }
    }

    /// Takes messages from queues, too.
    fn take_from(
        &mut self,
        config: &Config,
        queues: Vec<(Source, Arc<dyn Queue>)>,
        (journal, clock): (&Arc<dyn Journal>, &Arc<dyn Clock>),
    ) -> anyhow::Result<()> {
        let decoders = Arc::new(crate::config::decoders(config)?);
        for (source, queue) in queues {
            let (journal, clock) = (Arc::clone(journal), Arc::clone(clock));
            let decoders = Arc::clone(&decoders);
            let consumer = Consumer { queue, source, decoders, journal, clock };
            self.parts.spawn(consumer.run(self.stop.clone()).map(Ok));
        }
        Ok(())
    }

    /// Tells the parts to stop and waits until they have.
    async fn end(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.parts.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "a part failed while stopping");
                }
                Err(panic) => tracing::error!(%panic, "a part ended by a bug while stopping"),
            }
        }
    }
}

fn app(
    config: &Config,
    (journal, clock): (&Arc<dyn Journal>, &Arc<dyn Clock>),
    (guard, bell): (&Arc<Guard>, Bell),
    health: &Health,
) -> anyhow::Result<(axum::Router, Arc<AwsSns>)> {
    let mut intake = crate::config::intake(config)?;
    let heartbeat = health.source()?;
    intake.sources.extend(heartbeat.map(|(source, auth)| (source, auth.into())));
    let sns = Arc::new(AwsSns::new(&stand_ins(&intake)));
    let ports = Ports { certificates: Arc::clone(&sns) as _, subscriptions: Arc::clone(&sns) as _ };
    let state = IntakeState::new(Arc::clone(journal), Arc::clone(clock), intake, ports)?;
    let admin = config.admin.as_ref().map(crate::config::SecretFrom::read).transpose()?;
    let door = Door::new(admin.as_deref());
    let people =
        api::State::new((Arc::clone(journal), Arc::clone(clock)), Arc::clone(guard), bell, door);
    let intake = health.routes(config, untoil_intake::routes(state))?;
    Ok((intake.merge(api::routes(people)), sns))
}

fn stand_ins(intake: &IntakeConfig) -> Vec<Origin> {
    let origins = intake.sources.values().filter_map(|source| match &source.auth {
        SourceAuth::SnsSignature(policy) => Some(policy.stand_ins.clone()),
        SourceAuth::SharedSecretHeader { .. }
        | SourceAuth::Bearer { .. }
        | SourceAuth::Basic { .. }
        | SourceAuth::Query { .. }
        | SourceAuth::Hmac(_) => None,
    });
    origins.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn certificates_that_can_be_read_end_nothing_and_others_the_service() {
        let fails = [(|| anyhow::bail!("gone")) as fn() -> anyhow::Result<()>, || panic!("a bug")];
        for read in fails {
            assert!(prepare(read, CancellationToken::new()).await.is_err());
        }
        let stop = CancellationToken::new();
        let prepared = prepare(|| Ok(()), stop.clone());
        tokio::pin!(prepared);
        // Time stands still while they are read.
        let waited = tokio::time::timeout(Duration::from_mins(1), &mut prepared).await;
        assert!(waited.is_err(), "it goes on");
        stop.cancel();
        prepared.await.unwrap();
    }
}
