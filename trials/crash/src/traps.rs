//! Points at which an instance is struck: known from outside, by what it sends and what it is sent.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// What can be seen from outside of an instance's way with one alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A delivery is on its way to it, unanswered.
    Posted,
    /// It has answered 202.
    Accepted,
    /// It reads something from AWS.
    Asked,
    /// Its call has arrived at AWS, which has done nothing yet.
    Arrived,
    /// AWS has done it, and has not answered.
    Applied,
    /// AWS has answered.
    Answered,
    /// The queue hides messages and is about to give them to it.
    Received,
    /// It wants messages deleted, and the queue has not done it yet.
    Deleting,
    /// The queue has deleted them, and has not answered.
    Deleted,
}

/// What is done to the instance that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// SIGKILL. What it had asked AWS for and was not done yet is not done any more.
    Kill,
    /// The same, and what its disk was not told to keep is gone.
    CutPower,
    /// SIGSTOP, and SIGCONT afterwards.
    Pause(Duration),
}

impl Deed {
    fn is_deadly(self) -> bool {
        match self {
            Self::Kill | Self::CutPower => true,
            Self::Pause(_) => false,
        }
    }
}

/// A trap at the `nth` time that a point is reached, counted from 1 over all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trap {
    pub(crate) point: Point,
    pub(crate) nth: usize,
    pub(crate) deed: Deed,
}

/// An instance that waits in a trap.
#[derive(Debug)]
pub(crate) struct Caught {
    pub(crate) instance: usize,
    pub(crate) deed: Deed,
    /// Told when it is done.
    pub(crate) done: oneshot::Sender<()>,
}

/// The traps of a trial. Each shuts once.
#[derive(Debug)]
pub(crate) struct Traps {
    set: Vec<(Trap, AtomicUsize)>,
    shut: mpsc::UnboundedSender<Caught>,
    caught: Mutex<mpsc::UnboundedReceiver<Caught>>,
}

impl Traps {
    pub(crate) fn at(traps: &[Trap]) -> Self {
        let (shut, caught) = mpsc::unbounded_channel();
        let set = traps.iter().map(|trap| (*trap, AtomicUsize::new(0))).collect();
        Self { set, shut, caught: Mutex::new(caught) }
    }

    /// Who has been caught meanwhile, for who does the deeds.
    pub(crate) fn caught(&self) -> Option<Caught> {
        self.caught.lock().ok()?.try_recv().ok()
    }

    /// Says that an instance has reached a point, and waits where a trap shuts until the deed is
    /// done. Answers whether the instance was killed.
    pub(crate) async fn reached(&self, point: Point, instance: usize) -> bool {
        let mut died = false;
        for (trap, seen) in self.set.iter().filter(|(trap, _)| trap.point == point) {
            if seen.fetch_add(1, Ordering::SeqCst) + 1 == trap.nth {
                let (done, was_done) = oneshot::channel();
                let caught = Caught { instance, deed: trap.deed, done };
                let done = self.shut.send(caught).is_ok() && was_done.await.is_ok();
                died |= done && trap.deed.is_deadly();
            }
        }
        died
    }
}
