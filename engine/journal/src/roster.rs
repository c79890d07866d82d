//! How several instances share one journal: who holds what, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use untoil_clock::Clock;
use untoil_model::{IncidentId, Seq};

use crate::{Journal, JournalError};

/// Who works on what, among the instances that share a journal.
///
/// There is no leader. An instance holds the incidents that it opened or adopted, and the deliveries
/// that it received; it keeps them as long as it is heard of ([`Roster::beat`]). When it is not,
/// others adopt them. What an instance holds is checked where entries are written
/// ([`crate::Batch::holding`]), so one that was taken for dead and was not can write nothing more
/// about what others hold now.
#[async_trait]
pub trait Roster: Send + Sync + std::fmt::Debug {
    /// Says that this instance lives, and extends its [`Tenure`].
    ///
    /// # Errors
    /// [`JournalError`] when it was not heard; what it holds is its own until its tenure ends.
    async fn beat(&self) -> Result<(), JournalError>;

    /// For how long this instance may act on what it knows.
    fn tenure(&self) -> Tenure;

    /// Takes open incidents that nobody living holds, oldest first, at most `limit`. Of instances
    /// that adopt at once each incident goes to one.
    ///
    /// # Errors
    /// As [`Roster::beat`]; what was taken then is found by [`Roster::mine`].
    async fn adopt(&self, limit: usize) -> Result<Vec<IncidentId>, JournalError>;

    /// Open incidents that this instance holds, oldest first, after `after` in that order.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError>;

    /// Those of `incidents` that this instance holds.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError>;

    /// What others wrote, in the next `limit` entries after a place, about what this instance holds.
    ///
    /// # Errors
    /// As [`Journal::read`].
    async fn news(&self, after: Seq, limit: usize) -> Result<News, JournalError>;

    /// Takes a post, such as a reader's, unless another living instance has it; says whether it is
    /// this one's now. It is asked again and again: a post is kept by living. Only who has a
    /// reader's post may move its cursor ([`Journal::advance`]).
    ///
    /// # Errors
    /// As [`Roster::beat`].
    async fn take(&self, post: &str) -> Result<bool, JournalError>;

    /// Gives everything up at once, so that others need not wait. Idempotent; nothing is held again
    /// until the next [`Roster::beat`].
    ///
    /// # Errors
    /// As [`Roster::beat`]; others then wait until they miss this one.
    async fn leave(&self) -> Result<(), JournalError>;
}

/// What others wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// How far was read; equal to where it was asked from when there is nothing more.
    pub upto: Seq,
    /// Incidents of this instance that have entries by others.
    pub incidents: Vec<IncidentId>,
    /// Whether another's run has ended or given its target free.
    pub target_free: bool,
}

/// For how long an instance may act without having been heard of again.
///
/// It is read right before each call: after it has ended, others may be at work already. It counts
/// on [`Clock::ticks`], so setting the time of day does not stretch it.
#[derive(Debug, Clone)]
pub struct Tenure {
    /// Ticks in microseconds.
    until: Arc<AtomicU64>,
}

impl Tenure {
    /// One that never ends: nobody else can write this journal.
    #[must_use]
    pub fn forever() -> Self {
        Self { until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// One that has not begun.
    #[must_use]
    pub fn none() -> Self {
        Self { until: Arc::new(AtomicU64::new(0)) }
    }

    /// Whether it is one that never ends: this instance shares its journal with nobody.
    #[must_use]
    pub fn is_forever(&self) -> bool {
        self.until.load(Ordering::SeqCst) == u64::MAX
    }

    /// When it ends, as far as is known now, in ticks; `None` when never.
    ///
    /// What is begun before then is begun before anybody else takes over, however long this process
    /// was stopped in between: [`Tenure::lasts`] alone would not tell, once it was heard again.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        let until = self.until.load(Ordering::SeqCst);
        (until != u64::MAX).then(|| Duration::from_micros(until))
    }

    /// Lets it last until `ticks`, if it would end earlier.
    pub fn extend(&self, ticks: Duration) {
        let micros = u64::try_from(ticks.as_micros()).unwrap_or(u64::MAX - 1);
        self.until.fetch_max(micros, Ordering::SeqCst);
    }

    /// Ends it now.
    pub fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Whether it lasts.
    #[must_use]
    pub fn lasts(&self, clock: &dyn Clock) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        until == u64::MAX || clock.ticks() < Duration::from_micros(until)
    }
}

/// The only instance there is: it holds everything.
#[derive(Debug)]
pub struct Sole {
    journal: Arc<dyn Journal>,
}

impl Sole {
    /// For a journal that one process has to itself.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal }
    }
}

#[async_trait]
impl Roster for Sole {
    async fn beat(&self) -> Result<(), JournalError> {
        Ok(())
    }

    fn tenure(&self) -> Tenure {
        Tenure::forever()
    }

    async fn adopt(&self, _limit: usize) -> Result<Vec<IncidentId>, JournalError> {
        Ok(Vec::new())
    }

    async fn mine(
        &self,
        after: Option<&IncidentId>,
        limit: usize,
    ) -> Result<Vec<IncidentId>, JournalError> {
        self.journal.open_incidents(after, limit).await
    }

    async fn held(&self, incidents: &[IncidentId]) -> Result<Vec<IncidentId>, JournalError> {
        Ok(incidents.to_vec())
    }

    async fn news(&self, after: Seq, _limit: usize) -> Result<News, JournalError> {
        Ok(News { upto: after, ..News::default() })
    }

    async fn take(&self, _post: &str) -> Result<bool, JournalError> {
        Ok(true)
    }

    async fn leave(&self) -> Result<(), JournalError> {
        Ok(())
    }
}
