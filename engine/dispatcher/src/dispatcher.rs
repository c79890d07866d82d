//! The loop: pending deliveries in, workers out; and the start after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Eyes};
use untoil_clock::Clock;
use untoil_guard::Guard;
use untoil_journal::{Journal, JournalError};
use untoil_model::{Actor, DeliveryId, IncidentId};
use untoil_runner::Runner;

use crate::Rules;

/// Deliveries taken up together: as many as the store commits in one go.
const PAGE: usize = 256;
/// Incidents taken up together at start.
const OPEN_PAGE: usize = 500;
/// Incidents being worked on at once; most of them only wait. Beyond this they wait for a place.
const WORKERS_MAX: usize = 10_000;
/// Beyond this, workers that only look round leave their places to others.
const IDLE_WORKERS_MAX: usize = 1_000;
/// Wait before trying again after the journal failed.
const JOURNAL_AGAIN: Duration = Duration::from_secs(1);

/// Everything a decision needs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The record.
    pub journal: Arc<dyn Journal>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name that entries carry.
    pub actor: Actor,
    /// The rule book.
    pub rules: Arc<dyn Rules>,
    /// The actions.
    pub catalogue: Arc<Catalogue>,
    /// The guard.
    pub guard: Arc<Guard>,
    /// What reads facts.
    pub eyes: Eyes,
    /// What runs permits.
    pub runner: Runner,
}

/// Why the dispatcher stopped.
#[derive(Debug, thiserror::Error)]
pub enum DispatcherError {
    /// The journal holds something that was not written by us.
    #[error(transparent)]
    Damaged(JournalError),
}

/// Makes decisions out of deliveries. One per process.
#[derive(Debug)]
pub struct Dispatcher {
    tools: Tools,
    bell: Bell,
}

/// Rung when an incident has news that did not come in a delivery: a person's answer.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    pokes: Arc<Mutex<Pokes>>,
    rung: Arc<Notify>,
}

impl Bell {
    /// Tells an incident's worker that there is news, or asks for one.
    pub fn ring(&self, incident: IncidentId) {
        self.poke(incident);
        self.rung.notify_one();
    }

    fn poke(&self, incident: IncidentId) {
        let mut pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        match pokes.working.get(&incident) {
            Some(worker) => worker.notify_one(),
            None => {
                pokes.waiting.insert(incident);
            }
        }
    }
}

/// Which incidents have a worker, and which wait for one.
#[derive(Debug, Default)]
struct Pokes {
    working: BTreeMap<IncidentId, Arc<Notify>>,
    /// Workers that wait for a busy target.
    queued: BTreeMap<IncidentId, Arc<Notify>>,
    waiting: BTreeSet<IncidentId>,
}

impl Dispatcher {
    /// A dispatcher that has not begun.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self { tools, bell: Bell::default() }
    }

    /// Its bell, for whoever answers in people's name.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Works until `stop`: first what an earlier process left, then what comes in.
    ///
    /// On `stop` each worker ends at its next rest; a call that is out is recorded first.
    ///
    /// # Errors
    /// [`DispatcherError`] when the journal is damaged. A journal that does not answer is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DispatcherError> {
        let mut workers = JoinSet::new();
        let mut head = self.tools.journal.head();
        self.take_up_open().await?;
        loop {
            head.borrow_and_update();
            let more = self.decide_pending().await?;
            self.hire(&mut workers, &stop);
            if more && !stop.is_cancelled() {
                while workers.try_join_next().is_some() {}
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = workers.join_next(), if !workers.is_empty() => {
                    if let Some(Err(panic)) = ended {
                        tracing::error!(%panic, "a worker ended by a bug; its incident is taken up at the next start");
                    }
                }
                () = self.bell.rung.notified() => {}
                changed = head.changed() => if changed.is_err() { break },
            }
        }
        while workers.join_next().await.is_some() {}
        Ok(())
    }

    async fn take_up_open(&self) -> Result<(), DispatcherError> {
        let mut after: Option<IncidentId> = None;
        loop {
            let page = match self.tools.journal.open_incidents(after.as_ref(), OPEN_PAGE).await {
                Ok(page) => page,
                Err(e) => {
                    self.rest(e).await?;
                    continue;
                }
            };
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for incident in page {
                self.bell.poke(incident);
            }
            after = Some(last);
        }
    }

    /// Decides a page of deliveries; says whether there may be more.
    async fn decide_pending(&self) -> Result<bool, DispatcherError> {
        let page: Vec<DeliveryId> = match self.tools.journal.pending(PAGE).await {
            Ok(page) => page,
            Err(e) => {
                self.rest(e).await?;
                return Ok(true);
            }
        };
        let n = page.len();
        let mut touched = BTreeSet::new();
        let decided = crate::desk::decide(&self.tools, page, &mut touched).await;
        for incident in touched {
            self.bell.poke(incident);
        }
        if let Err(e) = decided {
            self.rest(e).await?;
            // A write that failed may have happened: what is open is looked through again.
            self.take_up_open().await?;
            return Ok(true);
        }
        Ok(n == PAGE)
    }

    /// Waits for a journal that failed; a damaged one is not waited for.
    async fn rest(&self, error: JournalError) -> Result<(), DispatcherError> {
        match error {
            JournalError::Damaged(_) => Err(DispatcherError::Damaged(error)),
            JournalError::Overloaded
            | JournalError::Unavailable(_)
            | JournalError::TakenOver(_) => {
                tracing::error!(%error, "the journal does not answer; nothing is decided until it does");
                self.tools.clock.sleep(JOURNAL_AGAIN).await;
                Ok(())
            }
        }
    }

    /// Starts workers for incidents that wait for one.
    fn hire(&self, workers: &mut JoinSet<()>, stop: &CancellationToken) {
        loop {
            let (incident, news) = {
                let mut pokes = self.bell.pokes.lock().unwrap_or_else(PoisonError::into_inner);
                if pokes.working.len() >= WORKERS_MAX {
                    return;
                }
                let Some(incident) = pokes.waiting.pop_first() else { return };
                let news = Arc::new(Notify::new());
                pokes.working.insert(incident.clone(), Arc::clone(&news));
                (incident, news)
            };
            let pokes = Arc::clone(&self.bell.pokes);
            let place = Place { pokes, incident: incident.clone(), news: Arc::clone(&news) };
            workers.spawn(crate::worker::work(self.tools.clone(), place, news, stop.clone()));
        }
    }
}

/// A worker's place; giving it up lets a later poke start a new worker.
#[derive(Debug)]
pub(crate) struct Place {
    pokes: Arc<Mutex<Pokes>>,
    pub(crate) incident: IncidentId,
    news: Arc<Notify>,
}

impl Place {
    /// Leaves, unless there is news that was not heard yet.
    pub(crate) fn leave(&self, news: &Notify) -> bool {
        use futures::FutureExt as _;
        let mut pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        if news.notified().now_or_never().is_some() {
            return false;
        }
        self.vacate(&mut pokes);
        true
    }

    /// Gives up this place, and no other's: a new worker may have it already.
    fn vacate(&self, pokes: &mut Pokes) {
        if pokes.working.get(&self.incident).is_some_and(|news| Arc::ptr_eq(news, &self.news)) {
            pokes.working.remove(&self.incident);
            pokes.queued.remove(&self.incident);
        }
    }

    /// Whether so many incidents have a worker that one which only looks round should leave.
    pub(crate) fn is_crowded(&self) -> bool {
        let pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        pokes.working.len() > IDLE_WORKERS_MAX
    }
}

impl Place {
    /// Waits in the queue for a target: rung when any run ends.
    pub(crate) fn queue(&self, news: &Arc<Notify>) {
        let mut pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        pokes.queued.insert(self.incident.clone(), Arc::clone(news));
    }

    /// Leaves the queue.
    pub(crate) fn unqueue(&self) {
        let mut pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        pokes.queued.remove(&self.incident);
    }

    /// Rings everybody who waits for a target: a run has ended.
    pub(crate) fn ring_queued(&self) {
        let pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        pokes.queued.values().for_each(|worker| worker.notify_one());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pokes = self.pokes.lock().unwrap_or_else(PoisonError::into_inner);
        self.vacate(&mut pokes);
    }
}
