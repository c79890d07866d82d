//! How much one sender may send, so that one that runs wild does not take what others need.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use untoil_model::Rate;

/// How many senders of a source are told apart: its secrets are at most three and its topics are
/// listed. One more would be a bug, and shares the last one's place.
const SENDERS_MAX: usize = 1_024;

/// The senders of one source, each held to the same rate: evenly, with all of it at once allowed after
/// a rest.
#[derive(Debug)]
pub(crate) struct Rates {
    rate: Rate,
    /// By sender: when what it sent so far would be paid for, in ticks of the clock.
    paid_at: Mutex<BTreeMap<String, Duration>>,
}

impl Rates {
    pub(crate) fn of(rate: Rate) -> Self {
        Self { rate, paid_at: Mutex::default() }
    }

    /// Takes one delivery of a sender at `ticks`, or says how long it should wait.
    pub(crate) fn take(&self, sender: &str, ticks: Duration) -> Result<(), Duration> {
        let per = self.rate.per.duration();
        let one = per / self.rate.n.max(1);
        let mut all = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SENDERS_MAX && !all.contains_key(sender) {
            all.retain(|_, paid_at| *paid_at > ticks);
        }
        let known = all.len() < SENDERS_MAX || all.contains_key(sender);
        let paid_at = all.entry(if known { sender.to_owned() } else { String::new() }).or_default();
        let next = (*paid_at).max(ticks) + one;
        let wait = next.saturating_sub(ticks).saturating_sub(per.max(one));
        if !wait.is_zero() {
            return Err(wait);
        }
        *paid_at = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_may_burst_its_rate_and_then_goes_evenly() {
        let rates = Rates::of("6 per 1m".parse().unwrap());
        let at = |secs| Duration::from_secs(100_u64 + secs);
        for n in 0..6 {
            assert_eq!(rates.take("a", at(0)), Ok(()), "{n}");
        }
        assert_eq!(rates.take("a", at(0)), Err(Duration::from_secs(10)));
        assert_eq!(rates.take("b", at(0)), Ok(()), "others are not held up");
        assert_eq!(rates.take("a", at(9)), Err(Duration::from_secs(1)));
        assert_eq!(rates.take("a", at(10)), Ok(()));
        assert_eq!(rates.take("a", at(10)), Err(Duration::from_secs(10)));
        let rest = at(1_000);
        assert_eq!((0..9).filter(|_| rates.take("a", rest).is_ok()).count(), 6);
    }

    #[test]
    fn names_without_end_take_no_memory_without_end() {
        let rates = Rates::of("1 per 1m".parse().unwrap());
        for n in 0..3 * SENDERS_MAX {
            let _ = rates.take(&n.to_string(), Duration::from_secs(1));
        }
        assert!(rates.paid_at.lock().unwrap().len() <= SENDERS_MAX + 1);
    }
}
