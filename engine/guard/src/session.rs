//! One session: all who wait for the ledger are judged one after the other, each as if those before it
//! were in the journal already, and what is said of them is written as one batch.
//!
//! The order is that in which they came. Either all of a session is written or nothing of it, so nobody
//! is refused for a reservation that was never made. It is the same as judging one by one in that order:
//! the gates are asked one by one, on the ledger as it will be.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::oneshot;
use untoil_journal::{AppendError, Batch, JournalError};
use untoil_model::{Draft, Entry, Seq, Stream, Verdict};

use crate::ahead::Ahead;
use crate::at_once::Decided;
use crate::ledger::{Ledger, Undo};
use crate::{Clearance, First, Guard, GuardError};

/// How many are judged together. A judgement takes some 20 us, so that the last of them waits no longer
/// for those before it than for the disk; and one that has moved sends no more than these back.
const TOGETHER_MAX: usize = 64;

/// How often one is judged with others before it is judged by itself: one of them that moves sends all
/// back, and in a storm of words about those who wait a large session would hardly ever be written.
const TOGETHER_TRIES: u32 = 3;

/// With whom a case is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// With all who wait.
    All,
    /// With nobody.
    None,
}

impl Company {
    /// When incidents of its sessions have moved so often.
    pub(crate) fn after(moved: u32) -> Self {
        if moved < TOGETHER_TRIES { Self::All } else { Self::None }
    }
}

/// Those who wait for a session, in the order in which they came.
pub(crate) type Queue = std::sync::Mutex<VecDeque<Case>>;

/// Where a case's owner hears what became of it.
type Answer = oneshot::Receiver<Told>;

/// A plan that waits for its judgement.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its incident, ahead by what is proposed with it.
    ahead: Ahead,
    /// The incident's last entry that is in the journal.
    known: Seq,
    first: First,
    now: Timestamp,
    told: oneshot::Sender<Told>,
}

impl Case {
    pub(crate) fn new(
        (ahead, known): (Ahead, Seq),
        first: First,
        now: Timestamp,
    ) -> (Self, Answer) {
        let (told, answer) = oneshot::channel();
        (Self { ahead, known, first, now, told }, answer)
    }
}

/// What has moved between a judgement and its writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// An incident of the session, perhaps another's.
    Incident,
    /// Only the ledger: another instance was faster.
    Ledger,
}

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Told {
    /// This was said. It is in its place and may not be on the disk yet; there are no entries when it is
    /// held as before.
    Said { verdict: Verdict, entries: Vec<Entry>, may: Option<Box<Clearance>> },
    /// This has moved meanwhile. Nothing was written.
    Moved(Moved),
    /// One of the session could not be written whatever moves, perhaps this one. Nothing was written.
    Alone,
    /// It could not be judged or recorded.
    Failed(GuardError),
    /// A bug ended its judgement; the panic is its owner's.
    Broke(Box<dyn Any + Send>),
}

/// A case that was judged, to be told when that is written.
struct Judged {
    told: oneshot::Sender<Told>,
    verdict: Verdict,
    /// How many of the batch's drafts are its own.
    drafts: usize,
    terms: Option<crate::clear::Terms>,
}

impl Judged {
    /// Nobody may listen any more: then it is in the journal for whoever takes the incident up.
    fn tell(self, entries: Vec<Entry>) {
        let Self { told, verdict, drafts: _, terms } = self;
        // One that begins has been allowed, and that entry is its place in the ledger.
        let at = entries.iter().rfind(|entry| entry.body.is_ledger()).map(|entry| entry.seq);
        let may = terms.zip(at).map(|(terms, at)| Box::new(terms.cleared(at)));
        drop(told.send(Told::Said { verdict, entries, may }));
    }
}

/// The ledger with reservations that are not in the journal. What is not kept by then is taken back when
/// it is dropped, also when the session is given up in the middle.
struct Foreseen<'a> {
    ledger: &'a mut Ledger,
    undo: Vec<Undo>,
}

impl Foreseen<'_> {
    fn reserve(&mut self, ahead: &Ahead) {
        let entries = ahead.entries().iter().filter(|entry| entry.body.is_ledger());
        let undo = entries.filter_map(|entry| self.ledger.reserve(entry));
        self.undo.extend(undo);
    }

    /// The entries are in the journal. Folding in what was foreseen changes nothing but the place.
    fn keep(&mut self, entries: &[Entry]) {
        // Without a reservation the ledger may have grown before them.
        if self.undo.drain(..).next().is_some() {
            for entry in entries {
                self.ledger.apply(entry);
            }
        }
    }
}

impl Drop for Foreseen<'_> {
    fn drop(&mut self) {
        for undo in self.undo.drain(..).rev() {
            self.ledger.take_back(undo);
        }
    }
}

impl Guard {
    /// Waits for a session and has the case judged in it. Whoever gets the ledger holds the session for
    /// all who wait then.
    pub(crate) async fn together(&self, (case, mut answer): (Case, Answer)) -> Told {
        let now = case.now;
        self.queue().push_back(case);
        loop {
            let ledger = tokio::select! {
                biased;
                // Whoever held the session was given up in the middle of it: perhaps it was written.
                // What this one writes comes after that, and on condition that it was not.
                told = &mut answer => return told.unwrap_or(Told::Moved(Moved::Incident)),
                ledger = self.ledger(now) => ledger,
            };
            match ledger {
                Ok(mut ledger) => {
                    let cases = self.next_cases();
                    self.session(&mut ledger, cases).await;
                }
                Err(error) => {
                    drop(answer);
                    self.queue().retain(|case| !case.told.is_closed());
                    return Told::Failed(error.into());
                }
            }
        }
    }

    /// Has the case judged in a session of its own.
    pub(crate) async fn alone(&self, (case, answer): (Case, Answer)) -> Told {
        match self.ledger(case.now).await {
            Ok(mut ledger) => self.session(&mut ledger, vec![case]).await,
            Err(error) => return Told::Failed(error.into()),
        }
        answer.await.unwrap_or(Told::Moved(Moved::Incident))
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Case>> {
        // A case is in it or not.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those whose turn it is. Whoever has gone away wants no judgement any more.
    fn next_cases(&self) -> Vec<Case> {
        let mut queue = self.queue();
        let n = queue.len().min(TOGETHER_MAX);
        queue.drain(..n).filter(|case| !case.told.is_closed()).collect()
    }

    /// Judges them in order, writes that, and tells them.
    async fn session(&self, ledger: &mut Ledger, cases: Vec<Case>) {
        let at = ledger.seq;
        let mut foreseen = Foreseen { ledger, undo: Vec::new() };
        let (mut judged, mut batch) = (Vec::with_capacity(cases.len()), Batch::default());
        for case in cases {
            judged.extend(self.hear(case, &mut foreseen, &mut batch));
        }
        if !foreseen.undo.is_empty() {
            // Only a reservation needs the ledger to stand still.
            batch = batch.expect(Stream::Ledger, at);
        }
        let written = if batch.drafts.is_empty() {
            Ok(Vec::new())
        } else {
            self.journal().append_ahead(batch).await
        };
        match written {
            Ok(entries) => {
                foreseen.keep(&entries);
                drop(foreseen);
                let mut entries = entries.into_iter();
                for judged in judged {
                    let own = entries.by_ref().take(judged.drafts).collect();
                    judged.tell(own);
                }
            }
            Err(error) => {
                drop(foreseen);
                let many = judged.len() > 1;
                for Judged { told, .. } in judged {
                    drop(told.send(refused(&error, many)));
                }
                if let AppendError::Conflict { stream: Stream::Ledger, at: found } = error
                    && found < at
                {
                    // What was read has never been written: a database that crashed took back what was not on
                    // its disk. It is read anew.
                    *ledger = Ledger::default();
                }
            }
        }
    }

    /// Judges one case on the ledger as those before it leave it, and adds what is to be written of it.
    fn hear(&self, case: Case, foreseen: &mut Foreseen<'_>, batch: &mut Batch) -> Option<Judged> {
        let Case { ahead, known, first, now, told } = case;
        // Its incident will have grown by then. The batch's conditions are of before it.
        if batch.holding.contains(&ahead.incident.id) {
            drop(told.send(Told::Moved(Moved::Incident)));
            return None;
        }
        let decided = || self.decide(ahead, foreseen.ledger, first, now);
        // It only reads the ledger, and a bug that one plan brings to light is not the others'.
        let decided = match catch_unwind(AssertUnwindSafe(decided)) {
            Ok(Ok(decided)) => decided,
            Ok(Err(error)) => {
                drop(told.send(Told::Failed(error)));
                return None;
            }
            Err(panic) => {
                drop(told.send(Told::Broke(panic)));
                return None;
            }
        };
        let Decided { verdict, ahead, terms } = decided;
        let mut drafts: Vec<Draft> = Vec::new();
        if let Some(ahead) = ahead {
            foreseen.reserve(&ahead);
            let id = ahead.incident.id.clone();
            drafts = ahead.into_drafts();
            let rest = std::mem::take(batch);
            *batch = rest.expect(Stream::Incident(id.clone()), known).holding(id);
        }
        let judged = Judged { told, verdict, drafts: drafts.len(), terms };
        batch.drafts.extend(drafts);
        Some(judged)
    }
}

/// What those of a session are told that was not written.
fn refused(error: &AppendError, many: bool) -> Told {
    match error {
        AppendError::Conflict { stream: Stream::Ledger, .. } => Told::Moved(Moved::Ledger),
        AppendError::Conflict { .. } | AppendError::Decided(_) => Told::Moved(Moved::Incident),
        AppendError::Journal(
            JournalError::TakenOver(_) | JournalError::Newer(_) | JournalError::Damaged(_),
        ) if many => Told::Alone,
        AppendError::Journal(error) => Told::Failed(error.clone().into()),
    }
}
