//! Who is worked on, and who waits for it: workers' places, and what rings them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use untoil_model::{Incident, IncidentId};

/// Incidents being worked on at once; most of them only wait. Beyond this they wait for a place.
const WORKERS_MAX: usize = 10_000;
/// Beyond this, workers that only look round or wait leave their places to others.
const IDLE_WORKERS_MAX: usize = 1_000;
/// Incidents that are kept for the workers they wait for, so that these need not read what has just been
/// written; the others are read. A worker is begun for each right after its page of deliveries.
const OPENED_MAX: usize = 256;

/// Rung when an incident has news that did not come in a delivery: a person's answer.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    pokes: Arc<Mutex<Pokes>>,
    rung: Arc<Notify>,
}

/// Which incidents have a worker, and which wait for one.
#[derive(Debug, Default)]
struct Pokes {
    working: BTreeMap<IncidentId, Worker>,
    /// Workers that wait for a busy target.
    queued: BTreeMap<IncidentId, Arc<Notify>>,
    /// This instance's own that have news and no worker.
    waiting: BTreeSet<IncidentId>,
    /// Of these the ones that were just opened, as they were then.
    opened: BTreeMap<IncidentId, Box<Incident>>,
    /// Those that have news and no worker, and may be another instance's.
    unsure: BTreeSet<IncidentId>,
    /// Those whose worker has left its place to others, and when it is to be back.
    resting: BTreeMap<IncidentId, Timestamp>,
    /// The same by their times.
    rests: BTreeSet<(Timestamp, IncidentId)>,
    /// Whether there is time to put things in order, and that was not heard yet.
    is_quiet: bool,
}

/// What a worker listens to.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    /// Rung when there is news of its incident.
    pub(crate) news: Arc<Notify>,
    /// It ends at its next rest: the engine stops, or the incident is another instance's now.
    pub(crate) stop: CancellationToken,
}

impl Bell {
    /// Tells an incident's worker that there is news, or asks for one if this instance holds it.
    pub fn ring(&self, incident: IncidentId) {
        self.hear([incident]);
        self.rung.notify_one();
    }

    /// Tells that this is the time to put in order what is kept in mind, so that the memory around it can be
    /// given back: nothing is done just now, or for long nobody has rested.
    pub fn ring_quiet(&self) {
        self.pokes().is_quiet = true;
        self.rung.notify_one();
    }

    /// Whether that was told and not taken yet.
    pub(crate) fn take_quiet(&self) -> bool {
        std::mem::take(&mut self.pokes().is_quiet)
    }

    /// Waits until it is rung.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Rings without news of any incident: there may be something to do.
    pub(crate) fn wake(&self) {
        self.rung.notify_one();
    }

    fn pokes(&self) -> MutexGuard<'_, Pokes> {
        // What is under the lock is whole after every line.
        self.pokes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is news of an incident that this instance holds.
    pub(crate) fn poke(&self, incident: IncidentId) {
        self.pokes().poke(incident);
    }

    /// This instance has opened an incident.
    pub(crate) fn open(&self, incident: Incident) {
        let mut pokes = self.pokes();
        pokes.poke(incident.id.clone());
        if pokes.opened.len() < OPENED_MAX && pokes.waiting.contains(&incident.id) {
            pokes.opened.insert(incident.id.clone(), Box::new(incident));
        }
    }

    /// There is news of incidents that this instance may hold.
    pub(crate) fn hear(&self, incidents: impl IntoIterator<Item = IncidentId>) {
        let mut pokes = self.pokes();
        for incident in incidents {
            match pokes.working.get(&incident) {
                Some(worker) => worker.news.notify_one(),
                None => drop(pokes.unsure.insert(incident)),
            }
        }
    }

    /// Takes those of which it must be asked whether this instance holds them.
    pub(crate) fn unsure(&self) -> Vec<IncidentId> {
        std::mem::take(&mut self.pokes().unsure).into_iter().collect()
    }

    /// The incidents that have a worker.
    pub(crate) fn working(&self) -> Vec<IncidentId> {
        self.pokes().working.keys().cloned().collect()
    }

    /// Ends the work on incidents that are another instance's now.
    pub(crate) fn dismiss(&self, incidents: &[IncidentId]) {
        let mut pokes = self.pokes();
        for incident in incidents {
            pokes.waiting.remove(incident);
            pokes.opened.remove(incident);
            pokes.stay_no_longer(incident);
            if let Some(worker) = pokes.working.get(incident) {
                worker.stop.cancel();
            }
        }
    }

    /// Rings everybody who waits for a target: a run has ended.
    pub(crate) fn ring_queued(&self) {
        self.pokes().queued.values().for_each(|worker| worker.notify_one());
    }

    /// When the first of those is to be back whose workers have left their places to others.
    pub(crate) fn first_back(&self) -> Option<Timestamp> {
        self.pokes().rests.first().map(|(at, _)| *at)
    }

    /// Lets those wait for a place whose time has come.
    pub(crate) fn bring_back(&self, now: Timestamp) {
        let mut pokes = self.pokes();
        while let Some((at, incident)) = pokes.rests.first().cloned()
            && at <= now
        {
            pokes.stay_no_longer(&incident);
            pokes.poke(incident);
        }
    }

    /// A place for the next incident that waits for one, if there is room.
    pub(crate) fn next_place(&self, stop: &CancellationToken) -> Option<Place> {
        let mut pokes = self.pokes();
        if pokes.working.len() >= WORKERS_MAX {
            return None;
        }
        let incident = pokes.waiting.pop_first()?;
        let worker = Worker { news: Arc::new(Notify::new()), stop: stop.child_token() };
        pokes.working.insert(incident.clone(), worker.clone());
        let opened = pokes.opened.remove(&incident);
        pokes.stay_no_longer(&incident);
        drop(pokes);
        Some(Place { bell: self.clone(), incident, worker, opened })
    }
}

impl Pokes {
    fn poke(&mut self, incident: IncidentId) {
        match self.working.get(&incident) {
            Some(worker) => worker.news.notify_one(),
            None => drop(self.waiting.insert(incident)),
        }
    }

    fn stay_no_longer(&mut self, incident: &IncidentId) {
        if let Some(at) = self.resting.remove(incident) {
            self.rests.remove(&(at, incident.clone()));
        }
    }
}

/// A worker's place; giving it up lets a later poke start a new worker.
#[derive(Debug)]
pub(crate) struct Place {
    bell: Bell,
    pub(crate) incident: IncidentId,
    pub(crate) worker: Worker,
    /// The incident as it was opened, if that was just now.
    pub(crate) opened: Option<Box<Incident>>,
}

impl Place {
    /// Leaves, unless there is news that was not heard yet.
    pub(crate) fn leave(&self) -> bool {
        let mut pokes = self.bell.pokes();
        if self.has_news() {
            return false;
        }
        self.vacate(&mut pokes);
        true
    }

    /// Leaves until a time where others wait for a place, unless there is news that was not heard yet. A
    /// new worker begins then, or at the next news.
    pub(crate) fn leave_until(&self, at: Timestamp, now: Timestamp) -> bool {
        let mut pokes = self.bell.pokes();
        if at <= now || pokes.working.len() <= IDLE_WORKERS_MAX {
            return false;
        }
        if self.has_news() {
            // Asking has heard the ring, and whoever stays is to hear it.
            self.worker.news.notify_one();
            return false;
        }
        if self.vacate(&mut pokes) {
            pokes.resting.insert(self.incident.clone(), at);
            pokes.rests.insert((at, self.incident.clone()));
        }
        true
    }

    fn has_news(&self) -> bool {
        self.worker.news.notified().now_or_never().is_some()
    }

    /// Gives up this place, and no other's: a new worker may have it already. Says whether it did.
    fn vacate(&self, pokes: &mut Pokes) -> bool {
        let its_own = |worker: &Worker| Arc::ptr_eq(&worker.news, &self.worker.news);
        let has_it = pokes.working.get(&self.incident).is_some_and(its_own);
        if has_it {
            pokes.working.remove(&self.incident);
            pokes.queued.remove(&self.incident);
        }
        has_it
    }

    /// Whether so many incidents have a worker that one which only looks round should leave.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bell.pokes().working.len() > IDLE_WORKERS_MAX
    }

    /// Waits in the queue for a target: rung when any run ends.
    pub(crate) fn queue(&self) {
        let news = Arc::clone(&self.worker.news);
        self.bell.pokes().queued.insert(self.incident.clone(), news);
    }

    /// Leaves the queue.
    pub(crate) fn unqueue(&self) {
        self.bell.pokes().queued.remove(&self.incident);
    }

    /// Rings everybody who waits for a target: a run has ended.
    pub(crate) fn ring_queued(&self) {
        self.bell.ring_queued();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pokes = self.bell.pokes();
        if !self.vacate(&mut pokes) {
            return;
        }
        if self.worker.stop.is_cancelled() {
            // It may have come back to this instance meanwhile, and the worker that was told to end
            // may have heard of that and ended all the same.
            pokes.unsure.insert(self.incident.clone());
        } else if self.has_news() {
            // News that came when the worker had turned to go is the next worker's.
            pokes.waiting.insert(self.incident.clone());
        } else {
            return;
        }
        self.bell.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_incident_that_comes_back_before_its_worker_has_ended_gets_another() {
        let (bell, stop) = (Bell::default(), CancellationToken::new());
        let incident: IncidentId = "01KE5QM0X08E4ZE0ZHZ8G2M2RD".parse().unwrap();
        bell.poke(incident.clone());
        let place = bell.next_place(&stop).unwrap();
        bell.dismiss(std::slice::from_ref(&incident));
        bell.poke(incident.clone());
        // The worker hears of it, sees that it was told to end, and ends.
        place.worker.news.notified().await;
        drop(place);
        assert_eq!(bell.unsure(), [incident]);
    }

    /// How many incidents have a worker, wait for one, wait for a target, or may be another's.
    fn sizes(bell: &Bell) -> [usize; 4] {
        let pokes = bell.pokes();
        [pokes.working.len(), pokes.waiting.len(), pokes.queued.len(), pokes.unsure.len()]
    }

    #[test]
    fn who_only_waits_leaves_its_place_to_others_and_is_back_in_time() {
        let (bell, stop) = (Bell::default(), CancellationToken::new());
        let key = "k".parse().unwrap();
        let at = |secs| Timestamp::from_second(secs).unwrap();
        let derive = |n: usize| IncidentId::derive(at(0), &key, &n.to_string());
        (0..=WORKERS_MAX).for_each(|n| bell.poke(derive(n)));
        let mut places: Vec<Place> = std::iter::from_fn(|| bell.next_place(&stop)).collect();
        assert_eq!(sizes(&bell)[..2], [WORKERS_MAX, 1], "there is no place for the last");
        assert!(bell.next_place(&stop).is_none());
        assert!(!places[0].leave_until(at(100), at(100)), "its time has come");
        // All of them wait for a long time; the last gets its place when one has left.
        assert!(places[0].leave_until(at(100), at(0)) && places[1].leave_until(at(50), at(0)));
        let (first, second) = (places.remove(0), places.remove(0));
        places.push(bell.next_place(&stop).unwrap());
        assert_eq!(bell.first_back(), Some(at(50)));
        bell.bring_back(at(49));
        assert_eq!(bell.first_back(), Some(at(50)));
        bell.bring_back(at(50));
        assert_eq!(
            bell.next_place(&stop).map(|place| place.incident.clone()),
            Some(second.incident.clone())
        );
        // News brings one back earlier, and only once.
        bell.poke(first.incident.clone());
        let back = bell.next_place(&stop).unwrap();
        assert_eq!((&back.incident, bell.first_back()), (&first.incident, None));
        // Who has news does not leave, and while there is room nobody does.
        bell.poke(back.incident.clone());
        assert!(!back.leave_until(at(200), at(100)));
        assert!(back.has_news(), "whoever stays for news still hears it");
        places.truncate(10);
        drop(back);
        assert!(!places[0].leave_until(at(200), at(100)));
    }

    #[test]
    fn a_storm_of_news_leaves_one_mark_for_each_incident_and_none_when_it_is_over() {
        const NEWS: usize = 100_000;
        let (bell, stop) = (Bell::default(), CancellationToken::new());
        let key = "k".parse().unwrap();
        let derive =
            |n: usize| IncidentId::derive(jiff::Timestamp::UNIX_EPOCH, &key, &n.to_string());
        let incidents: Vec<IncidentId> = (0..100).map(derive).collect();
        let storm = || (0..NEWS).for_each(|n| bell.hear([incidents[n % 100].clone()]));
        storm();
        assert_eq!(sizes(&bell), [0, 0, 0, 100]);
        bell.unsure().into_iter().for_each(|incident| bell.poke(incident));
        assert_eq!(sizes(&bell), [0, 100, 0, 0]);
        let places: Vec<Place> = std::iter::from_fn(|| bell.next_place(&stop)).collect();
        places.iter().for_each(Place::queue);
        storm();
        assert_eq!(sizes(&bell), [100, 0, 100, 0], "who has a worker is rung, however often");
        // Each worker hears of it once, and has nothing more to do.
        for place in &places {
            assert!(!place.leave(), "there is news");
            assert!(place.leave());
        }
        assert_eq!(sizes(&bell), [0; 4]);
    }
}
