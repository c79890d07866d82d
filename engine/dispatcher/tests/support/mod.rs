//! The engine without HTTP: dispatcher, guard and runner over any journal, clock and ports.

pub(crate) mod book;

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Eyes, Hands};
use untoil_clock::Clock;
use untoil_dispatcher::{Bell, Dispatcher, DispatcherError, Tools};
use untoil_guard::{Guard, Policy};
use untoil_journal::{Journal, Roster};
use untoil_model::{Actor, Delivery, DeliveryId, EngineMode};
use untoil_runner::Runner;
use untoil_sandbox::MeteredAlloc;

use book::Written;

#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) roster: Arc<dyn Roster>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) eyes: Eyes,
    pub(crate) hands: Option<Hands>,
    pub(crate) book: Written,
    pub(crate) policy: Policy,
}

/// A running engine.
pub(crate) struct Engine {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), DispatcherError>>,
}

impl Engine {
    /// Starts it; also gives what people answer by.
    pub(crate) fn start(parts: Parts) -> (Self, Arc<Guard>, Bell) {
        let Parts { journal, roster, clock, eyes, hands, book, policy } = parts;
        let actor = Actor::Engine("test".into());
        let mode = if hands.is_some() { EngineMode::Live } else { EngineMode::DryRun };
        let guard = Arc::new(Guard::new(Arc::clone(&journal), policy, mode, actor.clone()));
        let catalogue = Arc::new(Catalogue::standard(Vec::new()));
        let base = (Arc::clone(&journal), Arc::clone(&clock), actor.clone());
        let runner =
            Runner::new(base, Arc::clone(&guard), Arc::clone(&catalogue), eyes.clone(), hands);
        let dispatcher = Dispatcher::new(Tools {
            journal,
            roster,
            clock,
            actor,
            decoders: Arc::default(),
            rules: Arc::new(book.book()),
            catalogue,
            guard: Arc::clone(&guard),
            eyes,
            runner,
        });
        let (bell, stop, mut tasks) = (dispatcher.bell(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(dispatcher.run(stop.clone()));
        (Self { stop, tasks }, guard, bell)
    }

    /// Stops as the service does: every worker at its next rest.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

/// What a sender posted, as the intake keeps it.
pub(crate) fn delivery(source: &str, message: &str, body: &str, clock: &dyn Clock) -> Delivery {
    Delivery {
        id: DeliveryId { source: source.parse().unwrap(), message: message.into() },
        sender: "test".into(),
        received_at: clock.now(),
        headers: [].into(),
        body: body.into(),
    }
}
