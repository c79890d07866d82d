//! The loop: pending deliveries in, workers out; and the start after a crash.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_actions::{Catalogue, Eyes};
use untoil_clock::Clock;
use untoil_guard::Guard;
use untoil_intake::Decoders;
use untoil_journal::{Journal, JournalError, Roster};
use untoil_model::{Actor, Delivery};
use untoil_runner::Runner;

use crate::Rules;
use crate::bell::Bell;
use crate::desk::Touched;
use crate::left::{LEFT_MAX, Left};
use crate::share::Share;
use crate::track::Known;

/// Deliveries taken up together: as many as the store commits in one go.
pub(crate) const PAGE: usize = 256;
/// Wait before trying again after the journal failed.
const JOURNAL_AGAIN: Duration = Duration::from_secs(1);

/// Everything a decision needs.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The record.
    pub journal: Arc<dyn Journal>,
    /// This instance's share of the work: [`untoil_journal::Sole`] where there is one instance.
    pub roster: Arc<dyn Roster>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name that entries carry.
    pub actor: Actor,
    /// How deliveries are read.
    pub decoders: Arc<Decoders>,
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
    share: Share,
}

/// An instance that decides nothing any more, and is still heard: what it holds is its own.
#[derive(Debug)]
pub struct Presence {
    roster: Arc<dyn Roster>,
    beside: JoinSet<()>,
}

impl Presence {
    /// Gives everything up, so that other instances go on at once.
    pub async fn leave(mut self) {
        // No beat may follow, or the instance would be back.
        self.beside.shutdown().await;
        if let Err(error) = self.roster.leave().await {
            tracing::warn!(%error, "cannot say that this instance leaves; others go on when its lease is over");
        }
    }
}

impl Dispatcher {
    /// A dispatcher that has not begun. Its runner calls only while the roster's tenure lasts.
    #[must_use]
    pub fn new(mut tools: Tools) -> Self {
        tools.runner = tools.runner.within(tools.roster.tenure());
        let bell = Bell::default();
        let share = Share {
            journal: Arc::clone(&tools.journal),
            roster: Arc::clone(&tools.roster),
            clock: Arc::clone(&tools.clock),
            bell: bell.clone(),
            is_unsure: Arc::new(AtomicBool::new(false)),
        };
        Self { tools, bell, share }
    }

    /// Its bell, for whoever answers in people's name.
    #[must_use]
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Works until `stop`, as [`Dispatcher::work`], and then leaves.
    ///
    /// # Errors
    /// As [`Dispatcher::work`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), DispatcherError> {
        self.work(stop).await?.leave().await;
        Ok(())
    }

    /// Works until `stop`: first what an earlier process left, then what comes in.
    ///
    /// On `stop` each worker ends at its next rest, and begins no call; a call whose intent is recorded
    /// is made and recorded first.
    ///
    /// # Errors
    /// [`DispatcherError`] when the journal is damaged. A journal that does not answer is waited for.
    pub async fn work(mut self, stop: CancellationToken) -> Result<Presence, DispatcherError> {
        self.tools.runner = self.tools.runner.until(stop.clone());
        let mut beside = JoinSet::new();
        if self.enter(&stop).await? {
            self.share.start(&mut beside, &stop);
            self.decide(&stop).await?;
        }
        Ok(Presence { roster: self.tools.roster, beside })
    }

    /// Is heard for the first time, and takes up what this instance holds already. Says whether it
    /// was; it is not when it is stopped before.
    async fn enter(&self, stop: &CancellationToken) -> Result<bool, DispatcherError> {
        loop {
            let entered = async {
                self.tools.roster.beat().await?;
                self.share.take_up().await
            };
            match stop.run_until_cancelled(entered).await {
                None => return Ok(false),
                Some(Ok(())) => return Ok(true),
                Some(Err(error)) => self.rest(error).await?,
            }
        }
    }

    async fn decide(&self, stop: &CancellationToken) -> Result<(), DispatcherError> {
        let mut workers = JoinSet::new();
        // What is decided is written behind what was received, and what is done because of it behind
        // that: deciding need not wait for the disk.
        let mut written = self.tools.journal.written();
        let (mut known, mut left) = (Known::default(), Left::default());
        let tools = Arc::new(self.tools.clone());
        loop {
            left.refresh(self.tools.clock.ticks());
            written.borrow_and_update();
            let more = self.decide_pending(&mut known, &mut left).await?;
            self.hear().await?;
            self.bell.bring_back(self.tools.clock.now());
            while let Some(place) = self.bell.next_place(stop) {
                workers.spawn(crate::worker::work(Arc::clone(&tools), Box::new(place)));
            }
            if self.bell.take_quiet() {
                known.lie_close();
            }
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
                () = self.bell.rung() => {}
                () = self.until_one_is_back() => {}
                changed = written.changed() => if changed.is_err() { break },
            }
        }
        while workers.join_next().await.is_some() {}
        Ok(())
    }

    /// Decides a page of deliveries; says whether there may be more.
    async fn decide_pending(
        &self,
        known: &mut Known,
        left: &mut Left,
    ) -> Result<bool, DispatcherError> {
        let mut page = match self.tools.journal.to_decide(PAGE).await {
            Ok(page) => page,
            Err(e) => {
                self.rest(e).await?;
                return Ok(true);
            }
        };
        if left.take_from(&mut page) {
            return self.decide_behind(known, left).await;
        }
        if page.is_empty() {
            return Ok(false);
        }
        match self.decide_together(known, page).await {
            Ok(()) => Ok(true),
            Err(JournalError::Newer(_)) => match self.tools.journal.to_decide(PAGE).await {
                Ok(page) => self.decide_singly(known, left, page).await,
                Err(e) => self.recover(e).await,
            },
            Err(e) => self.recover(e).await,
        }
    }

    async fn decide_together(
        &self,
        known: &mut Known,
        page: Vec<Delivery>,
    ) -> Result<(), JournalError> {
        let mut touched = Touched::default();
        let decided = crate::desk::decide(&self.tools, known, page, &mut touched).await;
        for incident in touched.opened {
            self.bell.open(incident);
        }
        self.bell.hear(touched.heard);
        decided
    }

    /// Decides what can be decided where some of it speaks of what a newer program has written: that
    /// is left to an instance that can read it. Says whether there may be more.
    async fn decide_singly(
        &self,
        known: &mut Known,
        left: &mut Left,
        page: Vec<Delivery>,
    ) -> Result<bool, DispatcherError> {
        let is_full = page.len() == PAGE;
        let (mut any, mut leaves) = (false, false);
        for delivery in page {
            let id = delivery.id.clone();
            if !left.is_free(&id) {
                continue;
            }
            match self.decide_together(known, vec![delivery]).await {
                Ok(()) => any = true,
                Err(error @ JournalError::Newer(_)) => {
                    tracing::warn!(delivery = %id, %error, "a delivery is left to a newer instance");
                    leaves |= left.leave(id);
                }
                Err(e) => return self.recover(e).await,
            }
        }
        // Where nothing of a full page could be decided, it hides what is behind.
        Ok(any || is_full && leaves)
    }

    /// Decides what is behind a page of deliveries that are left to a newer instance. Whoever else may
    /// decide one of them is not in the way: it is decided once.
    async fn decide_behind(
        &self,
        known: &mut Known,
        left: &mut Left,
    ) -> Result<bool, DispatcherError> {
        let behind = async {
            let mut ids = self.tools.journal.pending(LEFT_MAX).await?;
            ids.retain(|id| left.is_free(id));
            let mut page = Vec::new();
            for id in ids.iter().take(PAGE) {
                page.extend(self.tools.journal.delivery(id).await?);
            }
            Ok(page)
        };
        match behind.await {
            Ok(page) => self.decide_singly(known, left, page).await,
            Err(e) => self.recover(e).await,
        }
    }

    /// After a write that failed and may have happened: what is held is looked through again.
    async fn recover(&self, error: JournalError) -> Result<bool, DispatcherError> {
        self.rest(error).await?;
        while let Err(error) = self.share.look_through().await {
            self.rest(error).await?;
        }
        Ok(true)
    }

    /// Waits until a worker is to be back that has left its place to others.
    async fn until_one_is_back(&self) {
        match self.bell.first_back() {
            Some(at) => self.tools.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Takes up what was heard of and is this instance's.
    async fn hear(&self) -> Result<(), DispatcherError> {
        let unsure = self.bell.unsure();
        if unsure.is_empty() {
            return Ok(());
        }
        match self.tools.roster.held(&unsure).await {
            Ok(held) => {
                for incident in held {
                    self.bell.poke(incident);
                }
                Ok(())
            }
            Err(e) => {
                self.bell.hear(unsure);
                self.bell.wake();
                self.rest(e).await
            }
        }
    }

    /// Waits for a journal that failed; a damaged one is not waited for.
    async fn rest(&self, error: JournalError) -> Result<(), DispatcherError> {
        match error {
            JournalError::Damaged(_) => Err(DispatcherError::Damaged(error)),
            JournalError::Overloaded
            | JournalError::Unavailable(_)
            | JournalError::Newer(_)
            | JournalError::TakenOver(_) => {
                tracing::error!(%error, "the journal does not answer; nothing is decided until it does");
                self.tools.clock.sleep(JOURNAL_AGAIN).await;
                Ok(())
            }
        }
    }
}
