//! A token bucket that learns, as a pure state machine: time comes in as an argument.
//!
//! A call takes one token. A throttled answer empties the bucket and halves its rate; each answer
//! that was not throttled raises the rate a little, up to what is published. Others use the same
//! account, so the published rate is the most that can be had, not what is there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::limits::{Priority, Rate};

/// Calls that may wait for one API. At one call a second the last of them has given up long before.
pub(crate) const WAITING_MAX: usize = 256;

/// A throttled answer leaves this part of the rate.
const CUT: f64 = 0.5;
/// Least rate, as a part of the published one: recovery must be possible without hands.
const FLOOR: f64 = 1.0 / 16.0;
/// A good answer raises the rate by this part of the published one: from half to full in 25 calls.
const RAISE: f64 = 1.0 / 50.0;
/// Tokens are fractions; a sum of them that is this close to one is one.
const NEARLY: f64 = 1e-6;
/// The longest wait that is ever computed, so that no arithmetic can overflow.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// A place in the queue: more urgent first, then who came first.
pub(crate) type Place = (Priority, u64);

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) taken: u64,
    pub(crate) throttled: u64,
    pub(crate) turned_away: u64,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    most: Rate,
    per_sec: f64,
    tokens: f64,
    filled_at: Duration,
    cut_at: Option<Duration>,
    waiting: BTreeMap<Place, Arc<Notify>>,
    next: u64,
    pub(crate) counts: Counts,
}

/// What a waiting call is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may go: it has a token.
    Now,
    /// It is the first; look again after this time.
    In(Duration),
    /// Others go first.
    Later,
    /// It lost its place to a more urgent call.
    Gone,
}

impl Bucket {
    pub(crate) fn new(most: Rate, now: Duration) -> Self {
        Self {
            most,
            per_sec: most.per_sec,
            tokens: most.burst,
            filled_at: now,
            cut_at: None,
            waiting: BTreeMap::new(),
            next: 0,
            counts: Counts::default(),
        }
    }

    /// Joins the queue; answers its place, and what rings when it should look again.
    ///
    /// # Errors
    /// How long it would have to wait: when that is more than its patience, or the queue is full of
    /// calls that are no less urgent.
    pub(crate) fn join(
        &mut self,
        now: Duration,
        (priority, patience): (Priority, Duration),
    ) -> Result<(Place, Arc<Notify>), Duration> {
        self.fill(now);
        let place = (priority, self.next);
        let ahead = self.waiting.range(..place).count();
        let wait = self.wait_behind(ahead);
        if wait > patience {
            self.counts.turned_away += 1;
            return Err(wait);
        }
        if self.waiting.len() >= WAITING_MAX {
            let last = self.waiting.last_key_value().map(|(place, _)| *place);
            match last.filter(|last| *last > place) {
                Some(last) => self.leave(last),
                None => {
                    self.counts.turned_away += 1;
                    return Err(wait);
                }
            }
        }
        self.next += 1;
        let bell = Arc::new(Notify::new());
        self.waiting.insert(place, Arc::clone(&bell));
        Ok((place, bell))
    }

    /// Whether it is this call's turn. With [`Turn::Now`] its token is taken and its place is free.
    pub(crate) fn turn(&mut self, now: Duration, place: Place) -> Turn {
        self.fill(now);
        if !self.waiting.contains_key(&place) {
            return Turn::Gone;
        }
        if self.waiting.first_key_value().is_some_and(|(first, _)| *first != place) {
            return Turn::Later;
        }
        if self.tokens + NEARLY < 1.0 {
            return Turn::In(self.wait_behind(0));
        }
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.counts.taken += 1;
        self.leave(place);
        Turn::Now
    }

    /// Gives up a place, and tells whoever is first then. Harmless when it is gone already.
    pub(crate) fn leave(&mut self, place: Place) {
        if let Some(bell) = self.waiting.remove(&place) {
            // The one that leaves may have been thrown out: it looks, and finds itself gone.
            bell.notify_one();
        }
        if let Some((_, bell)) = self.waiting.first_key_value() {
            bell.notify_one();
        }
    }

    /// Gives up a place after waiting in vain.
    pub(crate) fn give_up(&mut self, place: Place) {
        self.counts.turned_away += 1;
        self.leave(place);
    }

    /// AWS said that this was too fast. Calls that were under way together are one piece of news, so
    /// only those that began after the last cut cut again.
    pub(crate) fn throttled(&mut self, now: Duration, taken_at: Duration) {
        self.fill(now);
        self.counts.throttled += 1;
        self.tokens = 0.0;
        if self.cut_at.is_some_and(|cut_at| taken_at <= cut_at) {
            return;
        }
        self.cut_at = Some(now);
        self.per_sec = (self.per_sec * CUT).max(self.most.per_sec * FLOOR);
    }

    /// AWS took a call.
    pub(crate) fn answered(&mut self, now: Duration) {
        self.fill(now);
        self.per_sec = (self.per_sec + self.most.per_sec * RAISE).min(self.most.per_sec);
    }

    /// Calls per second as it is now.
    pub(crate) fn per_sec(&self) -> f64 {
        self.per_sec
    }

    /// What is published.
    pub(crate) fn most(&self) -> Rate {
        self.most
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How long until a token is there for one who has so many before it.
    fn wait_behind(&self, ahead: usize) -> Duration {
        let ahead = u32::try_from(ahead).map_or(f64::MAX, f64::from);
        let missing = (ahead + 1.0 - NEARLY - self.tokens).max(0.0);
        // Rounded up: waking early would only mean waiting again.
        let wait = Duration::try_from_secs_f64(missing / self.per_sec).unwrap_or(WAIT_MAX);
        if wait.is_zero() { wait } else { (wait + Duration::from_micros(1)).min(WAIT_MAX) }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_sec).min(self.most.burst);
        self.filled_at = now.max(self.filled_at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECS: fn(u64) -> Duration = Duration::from_secs;
    const PATIENT: Duration = Duration::from_mins(59);

    fn bucket(per_sec: f64, burst: f64) -> Bucket {
        Bucket::new(Rate { per_sec, burst }, Duration::ZERO)
    }

    fn join(bucket: &mut Bucket, now: Duration, priority: Priority) -> Place {
        bucket.join(now, (priority, PATIENT)).unwrap().0
    }

    /// Takes whatever can be taken at once.
    fn burst(bucket: &mut Bucket, now: Duration) -> usize {
        let mut n_taken = 0;
        loop {
            let place = join(bucket, now, Priority::Report);
            if bucket.turn(now, place) != Turn::Now {
                bucket.leave(place);
                return n_taken;
            }
            n_taken += 1;
        }
    }

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_holds() {
        let mut bucket = bucket(5.0, 50.0);
        assert_eq!(burst(&mut bucket, SECS(0)), 50);
        assert_eq!(burst(&mut bucket, SECS(1)), 5);
        assert_eq!(burst(&mut bucket, SECS(1)), 0);
        assert_eq!(burst(&mut bucket, SECS(3)), 10);
        assert_eq!(burst(&mut bucket, SECS(3_600)), 50);
    }

    #[test]
    fn the_more_urgent_goes_first_however_late_it_comes() {
        let mut bucket = bucket(1.0, 1.0);
        assert_eq!(burst(&mut bucket, SECS(0)), 1);
        let [report, act, verify] = [Priority::Report, Priority::Act, Priority::Verify]
            .map(|priority| join(&mut bucket, SECS(0), priority));
        assert_eq!(bucket.turn(SECS(1), report), Turn::Later);
        assert_eq!(bucket.turn(SECS(1), act), Turn::Later);
        assert_eq!(bucket.turn(SECS(1), verify), Turn::Now);
        assert!(matches!(bucket.turn(SECS(1), act), Turn::In(_)));
        assert_eq!(bucket.turn(SECS(2), act), Turn::Now);
        assert_eq!(bucket.turn(SECS(3), report), Turn::Now);
    }

    #[test]
    fn a_full_queue_takes_only_the_more_urgent_and_throws_out_the_least() {
        let mut bucket = bucket(1.0, 1.0);
        assert_eq!(burst(&mut bucket, SECS(0)), 1);
        let reports: Vec<_> =
            (0..WAITING_MAX).map(|_| join(&mut bucket, SECS(0), Priority::Report)).collect();
        assert!(bucket.join(SECS(0), (Priority::Report, PATIENT)).is_err());
        let verify = join(&mut bucket, SECS(0), Priority::Verify);
        assert_eq!(bucket.waiting(), WAITING_MAX);
        assert_eq!(bucket.turn(SECS(1), reports[WAITING_MAX - 1]), Turn::Gone);
        assert_eq!(bucket.turn(SECS(1), verify), Turn::Now);
        assert_eq!(bucket.turn(SECS(2), reports[0]), Turn::Now);
    }

    #[test]
    fn a_wait_that_is_known_to_be_too_long_is_not_begun() {
        let mut bucket = bucket(1.0, 1.0);
        assert_eq!(burst(&mut bucket, SECS(0)), 1);
        for _ in 0..2 {
            bucket.join(SECS(0), (Priority::Act, SECS(2) + Duration::from_millis(1))).unwrap();
        }
        let wait = bucket.join(SECS(0), (Priority::Act, SECS(2))).unwrap_err();
        assert!(wait > SECS(2) && wait < SECS(4), "{wait:?}");
        assert!(bucket.join(SECS(0), (Priority::Verify, SECS(2))).is_ok(), "it goes before them");
        assert_eq!(bucket.counts.turned_away, 1);
    }

    #[test]
    fn calls_under_way_together_cut_once_and_never_below_the_floor() {
        let mut bucket = bucket(8.0, 8.0);
        for _ in 0..8 {
            bucket.throttled(SECS(1), SECS(0));
        }
        assert!((bucket.per_sec() - 4.0).abs() < NEARLY);
        assert_eq!(burst(&mut bucket, SECS(1)), 0, "a cut empties the bucket");
        for at in 2..20 {
            bucket.throttled(SECS(at), SECS(at));
        }
        assert!((bucket.per_sec() - 0.5).abs() < NEARLY);
        for _ in 0..25 {
            bucket.answered(SECS(20));
        }
        assert!(bucket.per_sec() > 4.0 && bucket.per_sec() < 8.0);
        for _ in 0..100 {
            bucket.answered(SECS(21));
        }
        assert!((bucket.per_sec() - 8.0).abs() < NEARLY, "never above what is published");
    }

    proptest! {
        /// Whatever comes when, and whatever AWS answers: in no span of time more are taken than a
        /// burst and what the published rate gives for it.
        #[test]
        fn no_span_of_time_sees_more_than_a_burst_and_the_rate(
            events in prop::collection::vec((0_u64..400, 0_u8..4), 1..200),
        ) {
            let rate = Rate { per_sec: 5.0, burst: 10.0 };
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut taken: Vec<Duration> = Vec::new();
            for (millis, answer) in events {
                now += Duration::from_millis(millis);
                let place = join(&mut bucket, now, Priority::Act);
                if bucket.turn(now, place) == Turn::Now {
                    taken.push(now);
                    if answer == 0 { bucket.throttled(now, now) } else { bucket.answered(now) }
                } else {
                    bucket.leave(place);
                }
            }
            for (i, from) in taken.iter().enumerate() {
                for (n, until) in taken[i..].iter().enumerate() {
                    let span = until.saturating_sub(*from).as_secs_f64();
                    let most = rate.burst + span * rate.per_sec + 0.01;
                    prop_assert!(f64::from(u32::try_from(n + 1).unwrap()) <= most, "{} in {span} s", n + 1);
                }
            }
        }
    }
}
