//! Sharing the work with other instances: being heard, adopting what is left, hearing of others.
//!
//! None of this runs where one instance has the journal to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Roster};
use untoil_model::{IncidentId, Seq};

use crate::bell::Bell;

/// How often an instance says that it lives. A tenure of 12 s bears three times that are not heard.
const BEAT_EVERY: Duration = Duration::from_secs(3);
/// The same after a time that was not heard.
const BEAT_AGAIN: Duration = Duration::from_secs(1);
/// How often it looks for incidents that nobody living holds; adds to the lease of 15 s until the
/// work of an instance that died goes on.
const ADOPT_EVERY: Duration = Duration::from_secs(3);
/// Incidents adopted, or looked through, together.
const PAGE: usize = 500;
/// Entries of others that are looked through together.
const NEWS_PAGE: usize = 1_000;
/// Shortest time between two looks: at most twenty a second, however fast the journal grows. What
/// others write is a person's answer, or a word that came in there; neither waits for less.
const NEWS_EVERY: Duration = Duration::from_millis(50);
/// Wait before asking again after the journal failed.
const AGAIN: Duration = Duration::from_secs(1);

/// This instance's part in sharing.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) roster: Arc<dyn Roster>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bell: Bell,
    /// Whether others may have taken what is worked on here, or something is held that has no worker.
    pub(crate) is_unsure: Arc<AtomicBool>,
}

impl Share {
    /// Starts what goes on beside deciding. Beats go on until `tasks` ends; the rest until `stop`.
    pub(crate) fn start(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        if self.roster.tenure().is_forever() {
            return;
        }
        let heard = *self.journal.head().borrow();
        let (beating, adopting, hearing) = (self.clone(), self.clone(), self.clone());
        tasks.spawn(async move { beating.beat().await });
        let stopped = stop.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(adopting.adopt()).await;
        });
        let stopped = stop.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(hearing.hear(heard)).await;
        });
    }

    async fn beat(&self) {
        let tenure = self.roster.tenure();
        let mut wait = BEAT_EVERY;
        loop {
            self.clock.sleep(wait).await;
            let lapsed = !tenure.lasts(&*self.clock);
            wait = match self.roster.beat().await {
                Ok(()) => {
                    if lapsed {
                        tracing::warn!(
                            "this instance was not heard for a while; what it worked on may be another's now"
                        );
                        self.is_unsure.store(true, Ordering::SeqCst);
                    }
                    BEAT_EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "this instance was not heard; it stops acting when its tenure ends");
                    BEAT_AGAIN
                }
            };
        }
    }

    async fn adopt(&self) {
        loop {
            let wait = match self.look_round().await {
                Ok(()) => ADOPT_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "cannot look for incidents that nobody works on");
                    // What was adopted then is only known by asking.
                    self.is_unsure.store(true, Ordering::SeqCst);
                    AGAIN
                }
            };
            // Deliveries whose receiver is gone become this instance's without an entry.
            self.bell.wake();
            self.clock.sleep(wait).await;
        }
    }

    async fn look_round(&self) -> Result<(), JournalError> {
        if self.is_unsure.swap(false, Ordering::SeqCst) {
            self.review().await?;
        }
        loop {
            let orphans = self.roster.adopt(PAGE).await?;
            let n = orphans.len();
            if n > 0 {
                tracing::info!(n, "took up incidents that nobody worked on any more");
            }
            for incident in orphans {
                self.bell.poke(incident);
            }
            if n > 0 {
                self.bell.wake();
            }
            if n < PAGE {
                return Ok(());
            }
        }
    }

    /// Ends the work on what others hold now, and takes up what is held.
    async fn review(&self) -> Result<(), JournalError> {
        let working = self.bell.working();
        for page in working.chunks(PAGE) {
            let held = self.roster.held(page).await?;
            let lost: Vec<_> =
                page.iter().filter(|incident| !held.contains(incident)).cloned().collect();
            self.bell.dismiss(&lost);
        }
        self.look_through().await
    }

    /// Takes up what is held, also by a write of which the journal could not say that it happened.
    ///
    /// Such a write may still happen after it was given up. But writes happen in their order, so it
    /// has happened before this one, or never does.
    pub(crate) async fn look_through(&self) -> Result<(), JournalError> {
        match self.journal.append(Batch::default()).await {
            Ok(_) | Err(AppendError::Conflict { .. } | AppendError::Decided(_)) => {}
            Err(AppendError::Journal(error)) => return Err(error),
        }
        self.take_up().await
    }

    /// Pokes all that this instance holds.
    pub(crate) async fn take_up(&self) -> Result<(), JournalError> {
        let mut after: Option<IncidentId> = None;
        loop {
            let page = self.roster.mine(after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            for incident in page {
                self.bell.poke(incident);
            }
            after = Some(last);
        }
        self.bell.wake();
        Ok(())
    }

    /// Hears what others write about what is held here.
    async fn hear(&self, mut heard: Seq) {
        let mut head = self.journal.head();
        loop {
            let newest = *head.borrow_and_update();
            while heard < newest {
                match self.hear_after(heard).await {
                    Ok(upto) if upto == heard => break,
                    Ok(upto) => heard = upto,
                    Err(error) => {
                        tracing::warn!(%error, "cannot hear what other instances wrote");
                        self.clock.sleep(AGAIN).await;
                    }
                }
            }
            if head.changed().await.is_err() {
                return;
            }
            self.clock.sleep(NEWS_EVERY).await;
        }
    }

    async fn hear_after(&self, heard: Seq) -> Result<Seq, JournalError> {
        let news = self.roster.news(heard, NEWS_PAGE).await?;
        if news.target_free {
            self.bell.ring_queued();
        }
        if !news.incidents.is_empty() {
            for incident in news.incidents {
                self.bell.poke(incident);
            }
            self.bell.wake();
        }
        Ok(news.upto)
    }
}
