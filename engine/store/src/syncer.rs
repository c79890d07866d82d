//! The one thread that brings to the disk what the writer has committed, and tells who waited for it.
//!
//! The writer goes on meanwhile, within bounds: see [`Syncing::has_room`]. A sync that fails ends all
//! writing; see [`crate::wal`] for why it is not tried again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use untoil_journal::JournalError;
use untoil_model::Seq;

use crate::wal::Disk;
use crate::writer::{Job, Pace};

/// How many commits may wait for a sync: bounds what is written and not durable, and who waits, when
/// a disk is slow or hangs. One sync takes all that wait, and in the time of one there are not more.
const AHEAD_MAX: usize = 8;

/// How long commits that nobody waits for go without a sync: whoever follows the head hears of them
/// that much later. Something that is waited for mostly comes sooner, and takes them along.
const LAZY: Duration = Duration::from_millis(5);

/// The thread rests when it had nothing to sync for so long.
const REST_AFTER: Duration = Duration::from_secs(2);

/// What was committed together and is not on the disk.
#[derive(Debug)]
pub(crate) struct Group {
    /// Those whose askers wait for the disk.
    pub(crate) jobs: Vec<Box<dyn Job>>,
    /// The end of the journal with it.
    pub(crate) last: Seq,
    /// An intent is among what was committed: its asker is about to wait for the disk.
    pub(crate) is_intent: bool,
}

/// Who waits until the journal is durable up to a place.
#[derive(Debug)]
struct Asker {
    seq: Seq,
    ack: oneshot::Sender<Result<(), JournalError>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Group>,
    askers: Vec<Asker>,
    is_syncing: bool,
    /// Somebody waits until nothing waits.
    is_urged: bool,
    has_ended: bool,
    failed: Option<JournalError>,
}

impl State {
    /// Whether somebody waits for what waits.
    fn is_wanted(&self) -> bool {
        let crowded = self.waiting.len() >= AHEAD_MAX;
        let waited_for = |group: &Group| group.is_intent || !group.jobs.is_empty();
        let waited_for = self.waiting.iter().any(waited_for);
        waited_for || crowded || self.is_urged || !self.askers.is_empty() || self.has_ended
    }

    fn is_idle(&self) -> bool {
        !self.is_syncing && self.waiting.is_empty()
    }
}

/// What the writer, the askers and the syncing thread share.
#[derive(Debug)]
pub(crate) struct Syncing {
    state: Mutex<State>,
    /// Something is to be synced, or it ends.
    work: Condvar,
    /// A sync has ended, or has taken so much that there is room; for the writer, which also waits for
    /// writes.
    ended: Notify,
    head: watch::Sender<Seq>,
    file: PathBuf,
}

impl Syncing {
    /// Of a file whose journal is durable up to where `head` stands.
    pub(crate) fn new(file: &Path, head: watch::Sender<Seq>) -> Arc<Self> {
        let (state, work, ended) = (Mutex::default(), Condvar::new(), Notify::new());
        Arc::new(Self { state, work, ended, head, file: file.to_owned() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is under the lock is whole after every line.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writes of this pace are to be committed now. Otherwise more are gathered until a sync
    /// has ended, and the answer may be another.
    ///
    /// A commit costs about eight pages, whatever it carries: deliveries that come while the disk is
    /// waited for share the next one. A decision that is waited for does not wait for the disk twice:
    /// one commit of such may stand ready for the next sync. What is written ahead only has a bound.
    pub(crate) fn has_room(&self, pace: Pace) -> bool {
        let state = self.state();
        let promised = state.waiting.iter().any(|group| !group.jobs.is_empty());
        let bounded = state.waiting.len() < AHEAD_MAX || state.failed.is_some();
        bounded
            && match pace {
                Pace::Ahead | Pace::Intent => true,
                Pace::Durable => !promised,
                Pace::Gathered => !promised && !state.is_syncing,
            }
    }

    /// Waits until a sync has ended, or there may be room again.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Why nothing may be written any more, if that is so.
    pub(crate) fn failed(&self) -> Option<JournalError> {
        self.state().failed.clone()
    }

    /// Takes over what was committed.
    pub(crate) fn give(&self, group: Group) {
        let mut state = self.state();
        if let Some(error) = state.failed.clone() {
            drop(state);
            settle(group.jobs, &Err(error));
            return;
        }
        state.waiting.push(group);
        drop(state);
        self.work.notify_one();
    }

    /// Nothing may be written any more, and the writer hears of it.
    pub(crate) fn fail(&self, why: &str) -> JournalError {
        let file = self.file.display();
        let error = JournalError::Unavailable(format!(
            "`{file}` could not be brought to the disk: {why}; nothing more is written: see the \
            system's log for its disk, and restart the service"
        ));
        self.state().failed.get_or_insert(error).clone()
    }

    /// Answers when the journal is durable up to `seq`.
    pub(crate) fn durable(&self, seq: Seq) -> oneshot::Receiver<Result<(), JournalError>> {
        let (ack, answer) = oneshot::channel();
        let mut state = self.state();
        let known = match &state.failed {
            _ if *self.head.borrow() >= seq => Ok(()),
            Some(error) => Err(error.clone()),
            None => {
                state.askers.push(Asker { seq, ack });
                drop(state);
                self.work.notify_one();
                return answer;
            }
        };
        drop(ack.send(known));
        answer
    }

    /// Has everything that waits brought to the disk, and says whether it is there.
    ///
    /// `wait` waits for [`Syncing::ended`].
    pub(crate) fn settle_all(&self, wait: impl Fn()) -> bool {
        loop {
            let mut state = self.state();
            if state.failed.is_some() || state.is_idle() {
                return state.failed.is_none();
            }
            state.is_urged = true;
            drop(state);
            self.work.notify_one();
            wait();
        }
    }

    /// Ends the thread when nothing waits any more.
    pub(crate) fn end(&self) {
        self.state().has_ended = true;
        self.work.notify_one();
    }

    /// Syncs until [`Syncing::end`].
    pub(crate) fn run(&self, mut disk: Box<dyn Disk>) {
        let _told = TellsOfPanic(self);
        while let Some(groups) = self.next() {
            let synced = disk.sync();
            self.synced(groups, synced);
        }
    }

    /// What is to be synced next; nothing of it when somebody only asks how far it has come.
    fn next(&self) -> Option<Vec<Group>> {
        let (mut state, mut rested) = (self.state(), false);
        loop {
            if state.waiting.is_empty() {
                if state.has_ended {
                    return None;
                }
                state = self.wait(state, &mut rested);
            } else if state.is_wanted() {
                break;
            } else {
                let waited = self.work.wait_timeout(state, LAZY);
                let (after, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                state = after;
                if waited.timed_out() && !state.waiting.is_empty() {
                    break;
                }
            }
        }
        state.is_syncing = true;
        state.is_urged = false;
        let groups = std::mem::take(&mut state.waiting);
        drop(state);
        if groups.len() >= AHEAD_MAX {
            // There is room again for what is written ahead.
            self.ended.notify_one();
        }
        Some(groups)
    }

    /// Waits until there may be something; rests once when that takes a while: what it frees was taken by others.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        rested: &mut bool,
    ) -> MutexGuard<'a, State> {
        if *rested {
            return self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.work.wait_timeout(state, REST_AFTER);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            return state;
        }
        drop(state);
        crate::open::rest();
        *rested = true;
        // What was given meanwhile is found by the next look.
        self.state()
    }

    /// Tells everybody how it went.
    fn synced(&self, groups: Vec<Group>, synced: io::Result<()>) {
        let outcome = synced.map_err(|error| {
            tracing::error!(%error, "the journal could not be brought to the disk, and refuses writes");
            self.fail(&error.to_string())
        });
        let last = groups.last().map_or(Seq::START, |group| group.last);
        let mut state = self.state();
        state.is_syncing = false;
        let mut told = Vec::new();
        if let Err(error) = &outcome {
            drop(state);
            self.give_up(error);
        } else {
            // Before anybody is told: who was told looks where the head is.
            self.head
                .send_if_modified(|head| last > *head && std::mem::replace(head, last) != last);
            told.extend(state.askers.extract_if(.., |asker| asker.seq <= last));
            drop(state);
            self.ended.notify_one();
        }
        for group in groups {
            settle(group.jobs, &outcome);
        }
        for asker in told {
            drop(asker.ack.send(outcome.clone()));
        }
    }
}

impl Syncing {
    /// Tells everybody who waits that nothing will come of it.
    pub(crate) fn give_up(&self, error: &JournalError) {
        let mut state = self.state();
        let askers = std::mem::take(&mut state.askers);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.ended.notify_one();
        for group in waiting {
            settle(group.jobs, &Err(error.clone()));
        }
        for asker in askers {
            drop(asker.ack.send(Err(error.clone())));
        }
    }
}

/// Held by the syncing thread: should it panic, nobody waits for it for ever.
struct TellsOfPanic<'a>(&'a Syncing);

impl Drop for TellsOfPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = self.0.fail("its thread had panicked");
            self.0.give_up(&error);
        }
    }
}

/// Tells all of them the same.
pub(crate) fn settle(
    jobs: impl IntoIterator<Item = Box<dyn Job>>,
    outcome: &Result<(), JournalError>,
) {
    for job in jobs {
        job.settle(outcome.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_brought_to_the_disk_before_its_asker_waits_for_it() {
        for is_intent in [false, true] {
            let group = Group { jobs: Vec::new(), last: Seq(1), is_intent };
            let state = State { waiting: vec![group], ..State::default() };
            assert_eq!(state.is_wanted(), is_intent);
        }
    }
}
