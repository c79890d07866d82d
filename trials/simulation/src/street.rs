//! Where senders and people come to the instances: a load balancer that knows who listens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use untoil_clock::{Clock, VirtualClock};
use untoil_guard::{Answer, PauseError, Say, Scope};
use untoil_journal::{Journal as _, load};
use untoil_model::{DeliveryId, IncidentId, Reason};

use crate::bodies::Letter;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::instance::Door;
use crate::trace::Trace;

/// How long a sender waits for an answer; SNS waits as long.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a sender waits before it tries again, in seconds.
const AGAIN_SECS: (u64, u64) = (1, 20);
/// Of a thousand accepted letters so many are sent once more, because their senders like to.
const SENT_AGAIN: u64 = 120;
/// How long after, in seconds.
const SENT_AGAIN_SECS: (u64, u64) = (0, 200);
/// Most incidents that people look through.
const INCIDENTS_MAX: usize = 1_000;

/// The doors of all instances that listen, and what was promised at them.
#[derive(Debug)]
pub(crate) struct Street {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) trace: Arc<Trace>,
    doors: Mutex<Vec<Option<Door>>>,
    accepted: Mutex<BTreeSet<DeliveryId>>,
}

impl Street {
    pub(crate) fn new(clock: Arc<VirtualClock>, disk: Arc<Disk>, trace: Arc<Trace>) -> Self {
        let (doors, accepted) = (Mutex::default(), Mutex::default());
        Self { clock, disk, trace, doors, accepted }
    }

    /// Opens, or closes, the door of an instance.
    pub(crate) fn set(&self, at: usize, door: Option<Door>) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.len() <= at {
            doors.resize(at + 1, None);
        }
        if let Some(place) = doors.get_mut(at) {
            *place = door;
        }
    }

    /// The deliveries that were answered 202 or 200.
    pub(crate) fn accepted(&self) -> BTreeSet<DeliveryId> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn promised(&self, id: DeliveryId) {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// A door behind which somebody listens. A load balancer needs a while to see that one is dead.
    fn any(&self, dice: &Dice) -> Option<Door> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<&Door> = doors.iter().flatten().collect();
        if open.is_empty() { None } else { Some((*dice.pick(&open)).clone()) }
    }

    /// Posts a letter until it is accepted, as senders do; some are posted once more after that.
    pub(crate) async fn post(self: Arc<Self>, letter: Letter, wait: Duration, dice: Dice) {
        self.clock.sleep(wait).await;
        loop {
            let accepted = self.hand_over(&letter, &dice).await;
            if accepted && !dice.chance(SENT_AGAIN) {
                return;
            }
            let wait = if accepted { SENT_AGAIN_SECS } else { AGAIN_SECS };
            self.clock.sleep(dice.secs(wait.0, wait.1)).await;
        }
    }

    async fn hand_over(&self, letter: &Letter, dice: &Dice) -> bool {
        let Some(door) = self.any(dice) else { return false };
        let delivery = letter.delivery(door.clock.now());
        let answer = tokio::select! {
            biased;
            answer = door.journal.receive(delivery) => Some(answer),
            () = self.clock.sleep(PATIENCE) => None,
        };
        let accepted = matches!(answer, Some(Ok(_)));
        if accepted {
            self.trace.note("sender", || format!("is told that {} is kept", letter.id()));
            self.promised(letter.id());
        }
        accepted
    }

    /// A person answers whatever waits for an answer, if anything does.
    pub(crate) async fn answer(self: Arc<Self>, dice: Dice) {
        let Some(incident) = self.asking().await else { return };
        let say = if dice.chance(700) { Say::Approve } else { Say::Reject };
        for _ in 0..3 {
            let Some(door) = self.any(&dice) else { return };
            let answer = Answer { say, by: "kim".into(), note: "simulated".into(), plan: None };
            let said = tokio::select! {
                biased;
                said = door.guard.answer(&incident, &answer, door.clock.now()) => Some(said),
                () = self.clock.sleep(PATIENCE) => None,
            };
            self.trace.note("kim", || format!("says {say:?} to {incident}: {said:?}"));
            if let Some(Ok(_)) = said {
                door.bell.ring(incident);
                return;
            }
        }
    }

    async fn asking(&self) -> Option<IncidentId> {
        let journal = self.disk.journal();
        let open = journal.open_incidents(None, INCIDENTS_MAX).await.ok()?;
        for id in open {
            let incident = load(&*journal, &id).await.ok()??;
            let asks = incident.held().is_some_and(|reason| {
                matches!(reason, Reason::ApprovalMissing { .. } | Reason::StalePlan { .. })
            });
            if asks {
                return Some(id);
            }
        }
        None
    }

    /// A person pauses a scope, and lets it go on after a while. Both are tried until they are
    /// acknowledged.
    pub(crate) async fn pause(self: Arc<Self>, scope: Scope, time: Duration, dice: Dice) {
        self.switch(&scope, Turn::Off, &dice).await;
        self.clock.sleep(time).await;
        self.switch(&scope, Turn::On, &dice).await;
    }

    async fn switch(&self, scope: &Scope, turn: Turn, dice: &Dice) {
        loop {
            let Some(door) = self.any(dice) else {
                self.clock.sleep(dice.secs(AGAIN_SECS.0, AGAIN_SECS.1)).await;
                continue;
            };
            let done = tokio::select! {
                biased;
                done = turned(&door, scope, turn) => Some(done),
                () = self.clock.sleep(PATIENCE) => None,
            };
            self.trace.note("lee", || format!("turns {scope} {turn:?}: {done:?}"));
            if let Some(Ok(()) | Err(PauseError::NotPaused(_))) = done {
                return;
            }
            self.clock.sleep(dice.secs(AGAIN_SECS.0, AGAIN_SECS.1)).await;
        }
    }
}

async fn turned(door: &Door, scope: &Scope, turn: Turn) -> Result<(), PauseError> {
    let now = door.clock.now();
    match turn {
        Turn::Off => door.guard.pause(scope, "lee", "simulated", now).await.map(drop),
        Turn::On => door.guard.unpause(scope, "lee", "simulated", now).await.map(drop),
    }
}

/// Which way a kill switch is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Off,
    On,
}
