//! Gives back the memory that a storm of alarms took.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_model::Seq;
use untoil_sandbox::MeteredAlloc;

/// How often it is looked whether the journal rests: a storm writes many times in it.
const EVERY: Duration = Duration::from_secs(5);
/// After so many looks at a journal that never rests, a minute, it is done all the same: what holds
/// other threads up for milliseconds is small against that, and memory must not grow for days.
const RESTLESS_MAX: u32 = 12;

/// After so many looks at a journal that rests, a minute and ten, it is done again: who only reads may go on
/// for longer than what is written, as the notifier does after a storm.
const AGAIN: [u32; 2] = [12, 120];
/// By then the runtime's threads have followed the call on them: some ten microseconds, and much more.
const FOLLOWED_AFTER: Duration = Duration::from_millis(20);

/// Does so until it is told to stop, each time that the journal has come to rest, and once a minute while it
/// never does. Whoever keeps something in mind is told by `settle`, and lays it close together: each piece
/// keeps a page of memory.
pub(crate) async fn give_back(
    (clock, head): (Arc<dyn Clock>, watch::Receiver<Seq>),
    settle: impl Fn(),
    stop: CancellationToken,
) {
    untoil_store::when_threads_rest(MeteredAlloc::thread_rests);
    let mut rest = Rest::from(*head.borrow());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(EVERY) => {}
        }
        let head = *head.borrow();
        if !rest.is_due(head) {
            continue;
        }
        // First, so that they do not lay it where they have room of their own.
        MeteredAlloc::call_threads().await;
        clock.sleep(FOLLOWED_AFTER).await;
        settle();
        clock.sleep(FOLLOWED_AFTER).await;
        MeteredAlloc::call_threads().await;
        clock.sleep(FOLLOWED_AFTER).await;
        if let Err(bug) = tokio::task::spawn_blocking(MeteredAlloc::give_back).await {
            tracing::error!(%bug, "memory is not given back any more until the next start");
            return stop.cancelled().await;
        }
    }
}

/// Whether the journal rests.
struct Rest {
    seen: Seq,
    /// Whether anything was done since memory was given back.
    owed: bool,
    restless: u32,
    /// For how many looks nothing was written.
    quiet: u32,
}

impl Rest {
    /// The start itself took memory.
    fn from(seen: Seq) -> Self {
        Self { seen, owed: true, restless: 0, quiet: 0 }
    }

    /// Whether memory is to be given back now: after each time of activity, and again a while later.
    fn is_due(&mut self, head: Seq) -> bool {
        let moved = head != self.seen;
        self.seen = head;
        self.owed |= moved;
        self.restless = if moved { self.restless + 1 } else { 0 };
        self.quiet = if moved { 0 } else { self.quiet.saturating_add(1) };
        let due =
            self.owed && (!moved || self.restless >= RESTLESS_MAX) || AGAIN.contains(&self.quiet);
        if due {
            // What moved just now is owed again.
            self.owed = moved;
            self.restless = 0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which looks, from 1, memory is given back when the journal stands at `heads`.
    fn due(heads: impl IntoIterator<Item = u64>) -> Vec<usize> {
        let mut rest = Rest::from(Seq(0));
        let looks = (1..).zip(heads);
        looks.filter_map(|(n, head)| rest.is_due(Seq(head)).then_some(n)).collect()
    }

    #[test]
    fn memory_is_given_back_after_the_start_and_after_each_storm() {
        assert_eq!(due([0, 0, 0, 0]), [1]);
        assert_eq!(due([100, 200, 300, 300, 300, 300]), [4]);
        assert_eq!(due([0, 0, 7, 7, 7, 8, 9, 9, 9]), [1, 4, 8]);
    }

    #[test]
    fn while_it_is_quiet_memory_is_given_back_again_after_a_minute_and_after_ten() {
        assert_eq!(due([0; 1_000]), [1, 12, 120]);
        assert_eq!(due([5, 6].into_iter().chain([6; 200])), [3, 14, 122]);
    }

    #[test]
    fn in_a_storm_that_does_not_end_it_is_given_back_once_a_minute() {
        assert_eq!(due(1..=30), [12, 24]);
        assert_eq!(due((1..=12).chain([12, 12, 12])), [12, 13]);
    }
}
