//! Whose turn it is to be asked: a rule that is slow delays itself, not the others.
//!
//! Whoever waits here waits without a thread, so a burst of askings fills neither the queue before
//! the script threads nor the runtime's blocking pool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use untoil_model::RuleName;

/// Askings under way for each script thread: one runs, and one is ready when it ends.
const PER_THREAD: usize = 2;

/// Turns for a number of script threads.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    /// One for each rule that was ever asked; a rule book has at most thousands.
    of: Mutex<BTreeMap<RuleName, Arc<Semaphore>>>,
    of_one_max: usize,
}

/// The right to be asked; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_rule: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            all: Arc::new(Semaphore::new(threads * PER_THREAD)),
            of: Mutex::default(),
            // The last thread is always somebody else's.
            of_one_max: (threads - 1).max(1),
        }
    }

    /// Waits for a turn, first come, first served: behind the askings of the same rule, then behind
    /// those that wait for any thread, among which each rule has only a few.
    pub(crate) async fn take(&self, rule: &RuleName) -> Turn {
        let of_rule = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            match of.get(rule) {
                Some(turns) => Arc::clone(turns),
                None => {
                    let turns = Arc::new(Semaphore::new(self.of_one_max));
                    of.insert(rule.clone(), Arc::clone(&turns));
                    turns
                }
            }
        };
        let open = "the semaphores of turns are never closed";
        let of_rule = of_rule.acquire_owned().await.expect(open);
        let of_all = Arc::clone(&self.all).acquire_owned().await.expect(open);
        Turn { _of_rule: of_rule, _of_all: of_all }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The turn, if it need not be waited for.
    fn at_once(turn: impl Future<Output = Turn>) -> Option<Turn> {
        match pin!(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    fn rule(name: &str) -> RuleName {
        name.parse().unwrap()
    }

    #[test]
    fn a_slow_rule_leaves_a_thread_to_the_others() {
        for threads in 2..6 {
            let turns = Turns::new(threads);
            let mut slow = Vec::new();
            while let Some(turn) = at_once(turns.take(&rule("slow"))) {
                slow.push(turn);
            }
            assert_eq!(slow.len(), threads - 1);
            let other = at_once(turns.take(&rule("other")));
            assert!(other.is_some(), "{threads} threads");
            slow.pop();
            assert!(at_once(turns.take(&rule("slow"))).is_some(), "its turn was given back");
        }
    }

    #[test]
    fn one_thread_is_shared_in_turn() {
        let turns = Turns::new(1);
        let slow = at_once(turns.take(&rule("slow")));
        assert!(slow.is_some() && at_once(turns.take(&rule("slow"))).is_none());
        assert!(at_once(turns.take(&rule("other"))).is_some());
    }
}
