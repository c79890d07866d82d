//! The reader's post: of several instances only the one that has it tells.

use std::sync::Arc;
use std::time::Duration;

use untoil_clock::Clock;
use untoil_journal::Roster;

use crate::notifier::Halt;

/// How long a post that was just confirmed is relied on. Whoever has one, and may act, is believed to
/// live for three seconds more at least: a lease is longer than a tenure by that.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// A reader's post, as far as this instance knows.
#[derive(Debug)]
pub(crate) struct Post {
    roster: Arc<dyn Roster>,
    clock: Arc<dyn Clock>,
    reader: String,
    /// Until when nobody else can have it, in ticks.
    good_until: Duration,
}

impl Post {
    pub(crate) fn new(roster: Arc<dyn Roster>, clock: Arc<dyn Clock>, reader: String) -> Self {
        Self { roster, clock, reader, good_until: Duration::ZERO }
    }

    /// Takes or keeps it; asked before each word. Costs nothing where there is one instance.
    ///
    /// An instance that is stopped between this and the word may still say it after another has taken
    /// the post and looked whether it is there: then it is said twice.
    pub(crate) async fn keep(&mut self) -> Result<(), Halt> {
        // As it was before asking: a tenure that ended meanwhile and began anew proves nothing.
        let Some(until) = self.roster.tenure().until() else { return Ok(()) };
        let asked_at = self.clock.ticks();
        if asked_at < self.good_until {
            return Ok(());
        }
        if self.roster.take(&self.reader).await? && self.clock.ticks() < until {
            self.good_until = asked_at + GOOD_FOR;
            return Ok(());
        }
        Err(Halt::Elsewhere)
    }
}
