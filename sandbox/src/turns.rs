//! Whose turn it is to be asked: a rule that is slow delays itself, not the others.
//!
//! Whoever waits here waits without a thread, so a burst of askings fills neither the queue before
//! the script threads nor the memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use untoil_model::RuleName;

/// Askings of one rule that are under way: one runs, and some are ready when it ends, so that its thread
/// need not wait for the next. How many run at once is the pool's to say.
const OF_ONE_MAX: usize = 4;

/// Askings under way in all: fewer than may wait before the threads.
const ALL_MAX: usize = 64;

/// Turns before the script threads.
#[derive(Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    /// One for each rule that was ever asked; a rule book has at most thousands.
    of: Mutex<BTreeMap<RuleName, Arc<Semaphore>>>,
}

/// The right to be asked; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _of_rule: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL_MAX)), of: Mutex::default() }
    }

    /// Waits for a turn, first come, first served: behind the askings of the same rule, then behind
    /// those that wait for any thread, among which each rule has only a few.
    pub(crate) async fn take(&self, rule: &RuleName) -> Turn {
        let of_rule = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            match of.get(rule) {
                Some(turns) => Arc::clone(turns),
                None => {
                    let turns = Arc::new(Semaphore::new(OF_ONE_MAX));
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
    fn a_rule_has_a_few_turns_and_leaves_many_to_the_others() {
        let turns = Turns::new();
        let mut slow = Vec::new();
        while let Some(turn) = at_once(turns.take(&rule("slow"))) {
            slow.push(turn);
        }
        assert_eq!(slow.len(), OF_ONE_MAX);
        let mut others = Vec::new();
        for n in 1..ALL_MAX / OF_ONE_MAX {
            for _ in 0..OF_ONE_MAX {
                others.push(at_once(turns.take(&rule(&format!("other-{n}")))).unwrap());
            }
        }
        assert!(at_once(turns.take(&rule("late"))).is_none());
        slow.pop();
        assert!(at_once(turns.take(&rule("late"))).is_some(), "a turn was given back");
    }
}
