//! Points at which an instance dies: known from outside, by what it sends and what it is sent.

use tokio::sync::{mpsc, oneshot};

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What can be seen from outside of an instance's way with one alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// A delivery is on its way to it, unanswered.
    Posted,
    /// It has answered 202.
    Accepted,
    /// It reads something from AWS.
    Asked,
    /// Its call has arrived at AWS, which has done nothing yet. Nothing will be done.
    Arrived,
    /// AWS has done it, and has not answered.
    Applied,
    /// AWS has answered.
    Answered,
}

/// The `nth` time that a point is reached, whoever waits there waits until the trap has shut.
#[derive(Debug)]
struct Trap {
    point: Point,
    nth: usize,
    seen: AtomicUsize,
}

/// The traps of a trial. Each shuts once.
#[derive(Debug)]
pub(crate) struct Traps {
    set: Vec<Trap>,
    shut: mpsc::UnboundedSender<oneshot::Sender<()>>,
    /// Who kills takes them from here, and sends when it is done.
    pub(crate) caught: Mutex<mpsc::UnboundedReceiver<oneshot::Sender<()>>>,
}

impl Traps {
    /// Traps at the `nth` time of points, counted from 1.
    pub(crate) fn at(points: &[(Point, usize)]) -> Self {
        let (shut, caught) = mpsc::unbounded_channel();
        let trap = |(point, nth): &(Point, usize)| {
            let seen = AtomicUsize::new(0);
            Trap { point: *point, nth: *nth, seen }
        };
        Self { set: points.iter().map(trap).collect(), shut, caught: Mutex::new(caught) }
    }

    /// Says that a point is reached; answers whether a trap has shut there, after it has.
    pub(crate) async fn reached(&self, point: Point) -> bool {
        let mut fell = false;
        for trap in self.set.iter().filter(|trap| trap.point == point) {
            if trap.seen.fetch_add(1, Ordering::SeqCst) + 1 == trap.nth {
                let (done, killed) = oneshot::channel();
                fell |= self.shut.send(done).is_ok() && killed.await.is_ok();
            }
        }
        fell
    }
}
