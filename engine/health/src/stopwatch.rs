//! How long things took from one entry to another, for what began while this process runs.
//!
//! What is timed is kept in memory until it ends, so there is a bound on it: beyond, new ones are
//! not timed, and histograms become samples.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use untoil_model::{DeliveryId, IncidentId, StepRef};

/// Deliveries that are timed at once: one second of the largest burst, in half a megabyte.
const DELIVERIES_MAX: usize = 16_384;
/// A delivery that is not decided for so long is not timed any more: it may be decided by another instance,
/// which is not heard of here.
const DELIVERY_MAX: SignedDuration = SignedDuration::from_mins(10);
/// How often it is looked for such deliveries when there is no room: it takes a look at each.
const SWEPT_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// Incidents that are timed at once until their first call.
const INCIDENTS_MAX: usize = 4_096;
/// Steps that are timed at once.
const STEPS_MAX: usize = 4_096;

/// Beginnings without their ends.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    /// By a hash of the id, which may be 200 bytes long; when it was received.
    deliveries: BTreeMap<u64, Timestamp>,
    /// When it was last looked for deliveries that are not worth timing any more.
    swept: Option<Timestamp>,
    /// When the delivery that opened it was received.
    incidents: BTreeMap<IncidentId, Timestamp>,
    steps: BTreeMap<StepRef, Timestamp>,
}

impl Stopwatch {
    /// A delivery is about to be kept, which may be decided before that is heard of. Whether it is timed
    /// from now on, and was not before.
    pub(crate) fn arrives(&mut self, delivery: &DeliveryId, at: Timestamp) -> bool {
        if self.deliveries.len() >= DELIVERIES_MAX {
            self.sweep(at);
        }
        if self.deliveries.len() >= DELIVERIES_MAX {
            return false;
        }
        let Entry::Vacant(place) = self.deliveries.entry(hashed(delivery)) else { return false };
        place.insert(at);
        true
    }

    /// What was about to be kept was not, or had been before.
    pub(crate) fn stays_out(&mut self, delivery: &DeliveryId) {
        self.deliveries.remove(&hashed(delivery));
    }

    /// Lays what is timed close together. It came while a storm filled the memory around it, of which each
    /// piece keeps a whole page.
    pub(crate) fn lie_close(&mut self) {
        let Self { deliveries, swept: _, incidents, steps } = self;
        // While the old are still there: what is freed is given to the next who asks, as scattered as it was.
        *deliveries = deliveries.iter().map(|(id, at)| (*id, *at)).collect();
        *incidents = incidents.iter().map(|(id, at)| (id.clone(), *at)).collect();
        *steps = steps.iter().map(|(step, at)| (step.clone(), *at)).collect();
    }

    fn sweep(&mut self, now: Timestamp) {
        if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEPT_EVERY) {
            self.swept = Some(now);
            self.deliveries.retain(|_, since| now.duration_since(*since) < DELIVERY_MAX);
        }
    }

    /// When a delivery was received, if it is timed.
    pub(crate) fn received_at(&self, delivery: &DeliveryId) -> Option<Timestamp> {
        self.deliveries.get(&hashed(delivery)).copied()
    }

    /// A delivery was decided: how long that took, if it was timed.
    pub(crate) fn decided(&mut self, delivery: &DeliveryId, at: Timestamp) -> Option<Duration> {
        self.deliveries.remove(&hashed(delivery)).map(|since| between(since, at))
    }

    /// An incident was opened by a delivery.
    pub(crate) fn opened(&mut self, incident: &IncidentId, delivery: &DeliveryId) {
        if let Some(at) = self.received_at(delivery)
            && self.incidents.len() < INCIDENTS_MAX
        {
            self.incidents.insert(incident.clone(), at);
        }
    }

    /// A step of an incident started; how long after its alarm was received, for its first step.
    pub(crate) fn started(
        &mut self,
        incident: &IncidentId,
        step: &StepRef,
        at: Timestamp,
    ) -> Option<Duration> {
        if self.steps.len() < STEPS_MAX {
            // A try again is still the same step.
            self.steps.entry(step.clone()).or_insert(at);
        }
        self.incidents.remove(incident).map(|since| between(since, at))
    }

    /// A step finished: how long it took.
    pub(crate) fn finished(&mut self, step: &StepRef, at: Timestamp) -> Option<Duration> {
        self.steps.remove(step).map(|since| between(since, at))
    }

    /// An incident was closed. Its id says when it was opened, in whatever process.
    pub(crate) fn closed(&mut self, incident: &IncidentId, at: Timestamp) -> Option<Duration> {
        self.incidents.remove(incident);
        opened_at(incident).map(|since| between(since, at))
    }
}

/// When an incident was opened, to the millisecond: the time in its ULID.
fn opened_at(incident: &IncidentId) -> Option<Timestamp> {
    let mut millis: i64 = 0;
    for letter in incident.as_str().bytes().take(10) {
        let digit = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter().position(|d| *d == letter)?;
        millis = (millis << 5) | i64::try_from(digit).ok()?;
    }
    Timestamp::from_millisecond(millis).ok()
}

/// From one time to another; nothing when the time of day was set back in between.
pub(crate) fn between(since: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(since)).unwrap_or_default()
}

fn hashed(delivery: &DeliveryId) -> u64 {
    let mut hasher = DefaultHasher::new();
    delivery.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incidents_id_says_when_it_was_opened() {
        let at: Timestamp = "2026-11-22T07:43:00.123Z".parse().unwrap();
        let incident = IncidentId::derive(at, &"generic:a".parse().unwrap(), "generic/1");
        let mut stopwatch = Stopwatch::default();
        let later = at + Duration::from_mins(3);
        assert_eq!(stopwatch.closed(&incident, later), Some(Duration::from_mins(3)));
        let earlier = at - Duration::from_mins(3);
        assert_eq!(stopwatch.closed(&incident, earlier), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_timed_is_bounded_and_given_back() {
        let delivery = |n: usize| DeliveryId {
            source: "generic".parse().unwrap(),
            message: format!("key:{n}"),
        };
        let mut stopwatch = Stopwatch::default();
        let at = Timestamp::UNIX_EPOCH;
        for n in 0..DELIVERIES_MAX {
            assert!(stopwatch.arrives(&delivery(n), at));
        }
        assert!(!stopwatch.arrives(&delivery(DELIVERIES_MAX), at));
        assert_eq!(stopwatch.deliveries.len(), DELIVERIES_MAX);
        assert_eq!(stopwatch.decided(&delivery(DELIVERIES_MAX), at), None, "it was one too many");
        let later = at + Duration::from_secs(2);
        assert_eq!(stopwatch.decided(&delivery(0), later), Some(Duration::from_secs(2)));
        assert_eq!(stopwatch.decided(&delivery(0), later), None);
        assert!(stopwatch.arrives(&delivery(DELIVERIES_MAX), at));
        stopwatch.lie_close();
        assert_eq!(stopwatch.deliveries.len(), DELIVERIES_MAX, "nothing is lost");
        assert!(stopwatch.decided(&delivery(DELIVERIES_MAX), at).is_some());
    }

    #[test]
    fn what_others_decide_makes_room_after_a_while() {
        let delivery = |n: usize| DeliveryId {
            source: "generic".parse().unwrap(),
            message: format!("key:{n}"),
        };
        let mut stopwatch = Stopwatch::default();
        for n in 0..DELIVERIES_MAX {
            stopwatch.arrives(&delivery(n), Timestamp::UNIX_EPOCH);
        }
        let soon = Timestamp::UNIX_EPOCH + DELIVERY_MAX - Duration::from_secs(1);
        assert!(!stopwatch.arrives(&delivery(DELIVERIES_MAX), soon));
        let later = soon + SWEPT_EVERY;
        assert!(stopwatch.arrives(&delivery(DELIVERIES_MAX), later));
        assert_eq!(stopwatch.deliveries.len(), 1);
    }

    #[test]
    fn a_copy_that_is_not_kept_leaves_the_time_of_the_first() {
        let delivery =
            DeliveryId { source: "generic".parse().unwrap(), message: "key:1".to_owned() };
        let mut stopwatch = Stopwatch::default();
        let at = Timestamp::UNIX_EPOCH;
        assert!(stopwatch.arrives(&delivery, at));
        let later = at + Duration::from_secs(2);
        assert!(!stopwatch.arrives(&delivery, later), "so nobody takes it back");
        assert_eq!(stopwatch.decided(&delivery, later), Some(Duration::from_secs(2)));
        assert!(stopwatch.arrives(&delivery, later));
        stopwatch.stays_out(&delivery);
        assert_eq!(stopwatch.decided(&delivery, later), None);
    }
}
