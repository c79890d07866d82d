//! What time it is, as far as things may leave the journal by it: a time of day that has jumped is not
//! believed at once, for everything would be old by a clock that is a year ahead.

use std::time::Duration;

use jiff::Timestamp;
use untoil_clock::Clock;
use untoil_model::{Entry, Period, Seq, Stream};

use crate::archiver::ArchiveError;
use crate::retention::older;
use crate::{Journal, JournalError};

/// How far the time of day may get away from the even one between two looks. Clocks that are looked
/// after are corrected by seconds.
const DRIFT_MAX: Duration = Duration::from_hours(1);
/// How long a journal may be silent before the entry that ends the silence may come from a clock that is
/// ahead. A service that was off for longer only archives a day later.
const SILENT_MAX: Period = Period::hours(7 * 24);
/// A clock that was doubted is believed when it has gone on evenly for so long: somebody would have
/// seen by then that it is wrong.
const BELIEVED_AFTER: Duration = Duration::from_hours(24);
/// Halvings of all places that a journal can have.
const HALVINGS_MAX: u32 = 64;

/// Watches the time of day against the time that nobody can set.
#[derive(Debug, Default)]
pub(crate) struct Reckoning {
    believed: Option<Look>,
    doubted: Option<(Look, Leap)>,
}

/// Both times at one moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    now: Timestamp,
    ticks: Duration,
}

/// Two times of day that should not follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leap {
    from: Timestamp,
    to: Timestamp,
}

impl Look {
    /// Whether the time of day has gone on as far as the even time since this one, or less.
    fn leads_to(&self, later: Self) -> bool {
        let even = later.ticks.saturating_sub(self.ticks).saturating_add(DRIFT_MAX);
        self.now.checked_add(even).is_ok_and(|latest| later.now <= latest)
    }

    /// The same, and it was not set back either.
    fn goes_on_to(&self, later: Self) -> bool {
        let even = later.ticks.saturating_sub(self.ticks).saturating_sub(DRIFT_MAX);
        let earliest = self.now.checked_add(even);
        self.leads_to(later) && earliest.is_ok_and(|earliest| later.now + DRIFT_MAX >= earliest)
    }
}

impl Reckoning {
    /// The time, where it may be gone by.
    ///
    /// # Errors
    /// [`ArchiveError::Clock`] when it has jumped ahead, or may have before this process began.
    pub(crate) async fn now(
        &mut self,
        journal: &dyn Journal,
        clock: &dyn Clock,
    ) -> Result<Timestamp, ArchiveError> {
        let look = Look { now: clock.now(), ticks: clock.ticks() };
        if self.believed.is_some_and(|before| before.leads_to(look)) {
            return Ok(self.believe(look));
        }
        if let Some((since, leap)) = self.doubted.filter(|(since, _)| since.goes_on_to(look)) {
            if look.ticks.saturating_sub(since.ticks) >= BELIEVED_AFTER {
                return Ok(self.believe(look));
            }
            return Err(leap.into());
        }
        let leap = match self.believed {
            Some(before) => Some(Leap { from: before.now, to: look.now }),
            None => leap(journal, look.now).await?,
        };
        let Some(leap) = leap else { return Ok(self.believe(look)) };
        self.doubted = Some((look, leap));
        Err(leap.into())
    }

    fn believe(&mut self, look: Look) -> Timestamp {
        (self.believed, self.doubted) = (Some(look), None);
        look.now
    }
}

impl From<Leap> for ArchiveError {
    fn from(Leap { from, to }: Leap) -> Self {
        Self::Clock { from, to }
    }
}

/// The silence before what the journal holds of the last day, when it was too long: where the clock
/// jumped, these are its first entries since.
async fn leap(journal: &dyn Journal, now: Timestamp) -> Result<Option<Leap>, JournalError> {
    let is_new = |at: Timestamp| !older(at, BELIEVED_AFTER, now);
    let silent = |from: Timestamp, to: Timestamp| {
        older(from, SILENT_MAX.duration(), to).then_some(Leap { from, to })
    };
    let Some(newest) = journal.latest(&Stream::All, 1).await?.into_iter().next() else {
        return Ok(None);
    };
    if !is_new(newest.at) {
        return Ok(silent(newest.at, now));
    }
    // Halved again and again: a busy journal has many entries of a day.
    let after = async |place: u64| -> Result<Option<Entry>, JournalError> {
        Ok(journal.read(&Stream::All, Seq(place), 1).await?.into_iter().next())
    };
    let (mut low, mut high) = (0, newest.seq.0.saturating_sub(1));
    for _ in 0..HALVINGS_MAX {
        if low >= high {
            break;
        }
        let middle = low + (high - low) / 2;
        match after(middle).await? {
            Some(entry) if !is_new(entry.at) => low = middle + 1,
            Some(_) | None => high = middle,
        }
    }
    // What lies behind `low` is new, and what lies there is not.
    let (old, new) = (after(low.saturating_sub(1)).await?, after(low).await?);
    let old = old.filter(|entry| !is_new(entry.at));
    Ok(old.zip(new).and_then(|(old, new)| silent(old.at, new.at.min(now))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::ToSpan as _;
    use untoil_clock::VirtualClock;
    use untoil_model::{Actor, Body, Draft};

    use super::*;
    use crate::{Batch, MemoryJournal};

    const START: &str = "2026-11-22T00:00:00Z";

    fn start() -> Timestamp {
        START.parse().unwrap()
    }

    async fn write(journal: &MemoryJournal, at: Timestamp) {
        let draft = Draft::new(at, Actor::Engine("test".into()), Body::Unmatched {});
        drop(journal.append(Batch::of(vec![draft])).await.unwrap());
    }

    /// A journal with entries so many hours before the start.
    async fn journal(hours: &[i64]) -> MemoryJournal {
        let journal = MemoryJournal::new();
        for ago in hours {
            write(&journal, start() - ago.hours()).await;
        }
        journal
    }

    #[tokio::test]
    async fn what_a_journal_that_was_silent_for_long_says_of_the_time_is_doubted() {
        let cases: [(&[i64], bool); 9] = [
            (&[], true),
            (&[0], true),
            (&[100, 1], true),
            (&[2_400, 100, 30, 20, 10, 1, 0], true),
            (&[2_400], false),
            (&[2_400, 0], false),
            (&[2_400, 2_399, 2_000, 3, 2, 1, 0], false),
            // It went on for a day since: that was a long pause.
            (&[2_400, 30, 20, 10, 0], true),
            // What a clock has written that was ahead and is no more.
            (&[100, -5_000, 1], true),
        ];
        for (hours, believed) in cases {
            let clock = VirtualClock::starting_at(start());
            let journal = journal(hours).await;
            let now = Reckoning::default().now(&journal, &clock).await;
            assert_eq!(now.is_ok(), believed, "{hours:?}: {now:?}");
        }
    }

    /// A clock that can be set.
    #[derive(Debug)]
    struct Set(Arc<VirtualClock>, std::sync::Mutex<i64>);

    #[async_trait::async_trait]
    impl Clock for Set {
        fn now(&self) -> Timestamp {
            self.0.now() + self.1.lock().unwrap().hours()
        }

        fn ticks(&self) -> Duration {
            self.0.ticks()
        }

        async fn sleep(&self, duration: Duration) {
            self.0.sleep(duration).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_ahead_is_believed_when_it_has_gone_on_evenly_for_a_day() {
        let clock = Set(Arc::new(VirtualClock::starting_at(start())), std::sync::Mutex::new(0));
        let journal = journal(&[1]).await;
        let mut reckoning = Reckoning::default();
        let mut told = String::new();
        // How long passes, how far the clock is set ahead then, and whether it is believed.
        for (hours, ahead, believed) in [
            (0, 0, true),
            (100, 0, true),
            (1, 9_000, false),
            (20, 9_000, false),
            // Set right.
            (1, 0, true),
            (1, 9_000, false),
            (23, 9_000, false),
            // Set again: the day begins anew.
            (2, 18_000, false),
            (23, 18_000, false),
            (2, 18_000, true),
            // Set back, nothing is older than it was.
            (1, 0, true),
        ] {
            clock.sleep(Duration::from_hours(hours)).await;
            *clock.1.lock().unwrap() = ahead;
            let now = reckoning.now(&journal, &clock).await;
            assert_eq!(now.is_ok(), believed, "{hours} {ahead}: {now:?}");
            told.extend(now.err().map(|error| format!("{error}\n")));
        }
        assert!(told.contains("the time of day went from `2026-11-26T04:00:00Z` to"), "{told}");
    }
}
