//! The whole engine as the `untoil` binary wires it: intake, SQLite journal, dispatcher, rule sandbox,
//! guard, runner and metrics. Systems Manager is a stand-in; there is no notifier, which is only a reader.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Eyes, Hands};
use untoil_clock::{Clock, SystemClock};
use untoil_dispatcher::{Dispatcher, Tools};
use untoil_guard::{Guard, Policy};
use untoil_health::{EntryLog, Metrics, Observer, Readiness, Watched};
use untoil_journal::{Journal, Roster, Sole};
use untoil_model::{Actor, EngineMode, Period, Rate, Seq};
use untoil_runner::Runner;
use untoil_sandbox::{MeteredAlloc, Sandbox};
use untoil_store::SqliteJournal;
use untoil_store::postgres::{PostgresConfig, PostgresJournal};
use untoil_world::World;

use crate::acting::Callers;
use crate::child::{JOURNAL, intake};
use crate::rules;
use crate::standin::StandInSsm;

/// As in the binary.
const SCRIPT_THREADS: usize = 2;

/// A running engine.
pub(crate) struct Engine {
    pub(crate) address: SocketAddr,
    pub(crate) journal: Arc<dyn Journal>,
    /// The commands that were sent, with the moment.
    pub(crate) sent: mpsc::UnboundedReceiver<(String, Instant)>,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
}

/// A journal, and who shares it.
pub(crate) type Stores = (Arc<dyn Journal>, Arc<dyn Roster>);

/// A file that one instance has to itself.
pub(crate) fn alone(folder: &Path) -> Result<Stores> {
    let journal: Arc<dyn Journal> = Arc::new(SqliteJournal::open(folder.join(JOURNAL))?);
    let roster = Arc::new(Sole::new(Arc::clone(&journal)));
    Ok((journal, roster))
}

/// A database that several instances share.
pub(crate) async fn shared(url: &str) -> Result<Stores> {
    let journal = Arc::new(PostgresJournal::connect(&PostgresConfig::new(url)).await?);
    journal.beat().await?;
    Ok((journal.clone(), journal))
}

/// The journal with metrics at its door. Nobody reads the log here, so no line of it is made.
fn watched(journal: Arc<dyn Journal>, clock: &Arc<dyn Clock>) -> (Arc<dyn Journal>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new("bench", Vec::new()));
    let readiness = Readiness::new(clock.clone());
    let log: Vec<Arc<dyn Observer>> = vec![Arc::new(EntryLog)];
    let watched = Watched::new((journal, clock.clone()), metrics.clone(), readiness, log);
    (Arc::new(watched), metrics)
}

impl Engine {
    /// Starts it; what it does on hosts is sent to `act`, if that is named.
    pub(crate) async fn start(folder: &Path, act: Option<SocketAddr>) -> Result<Self> {
        Self::start_on(alone(folder)?, folder, act).await
    }

    /// The same on a journal, with what tells who shares it.
    pub(crate) async fn start_on(
        (journal, roster): Stores,
        folder: &Path,
        act: Option<SocketAddr>,
    ) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (journal, metrics) = watched(journal, &clock);
        let actor = Actor::Engine("bench".to_owned());
        let (sender, sent) = mpsc::unbounded_channel();
        let ssm =
            Arc::new(StandInSsm { sent: sender, act: act.map(Callers::of), began: Instant::now() });
        let world = World::new(Arc::clone(&clock), 1);
        let eyes = Eyes { ssm: ssm.clone(), ..world.eyes() };
        let hands = Hands { ssm, ..world.hands() };
        let catalogue = Arc::new(Catalogue::standard(Vec::new()));
        let sandbox = Sandbox::start(Arc::clone(&catalogue), SCRIPT_THREADS)?;
        // More alarms act here in a minute than a policy should allow in a day.
        let free = vec![Rate { n: 100_000, per: Period::hours(1) }];
        let policy = Policy { global: free.clone(), diagnoses: free, ..Policy::default() };
        let guard = Guard::new(Arc::clone(&journal), policy, EngineMode::Live, actor.clone());
        let guard = Arc::new(guard);
        let base = (Arc::clone(&journal), Arc::clone(&clock), actor.clone());
        let (watch, act) = (Arc::clone(&guard), Some(hands));
        let runner = Runner::new(base, watch, Arc::clone(&catalogue), eyes.clone(), act);
        let rules = Arc::new(rules::book(sandbox)?);
        let (journal_of, clock_of) = (Arc::clone(&journal), Arc::clone(&clock));
        let tools = Tools {
            roster,
            journal: journal_of,
            clock: clock_of,
            actor,
            decoders: Arc::default(),
            rules,
            catalogue,
            guard,
            eyes,
            runner,
        };
        let app = intake(Arc::clone(&journal), folder)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let serve =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { Ok(serve.await?) });
        let dispatcher = Dispatcher::new(tools);
        let bell = dispatcher.bell();
        let dispatching = dispatcher.run(stop.clone());
        tasks.spawn(async move { Ok(dispatching.await?) });
        let settle = move || {
            metrics.rests();
            bell.ring_quiet();
        };
        tasks.spawn(give_back(journal.head(), settle));
        Ok(Self { address, journal, sent, tasks, stop })
    }

    /// Ends it. Open connections and resting workers are cut.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        self.tasks.shutdown().await;
        Ok(())
    }
}

/// Nearly as in the binary: what is free is given back each time that the journal has come to rest.
async fn give_back(head: watch::Receiver<Seq>, settle: impl Fn()) -> Result<()> {
    untoil_store::when_threads_rest(MeteredAlloc::thread_rests);
    let (mut seen, mut owed) = (*head.borrow(), true);
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let now = *head.borrow();
        let rests = now == seen;
        (seen, owed) = (now, owed || !rests);
        if rests && owed {
            owed = false;
            MeteredAlloc::call_threads().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            settle();
            tokio::time::sleep(Duration::from_millis(20)).await;
            MeteredAlloc::call_threads().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            tokio::task::spawn_blocking(MeteredAlloc::give_back).await?;
        }
    }
}
