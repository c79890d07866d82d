//! The disk under the journal: all that was written can be read, and what of it was kept is still
//! there when the power of everything has been cut.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use untoil_clock::{Clock, VirtualClock};
use untoil_journal::{Batch, Journal as _, MemoryJournal, Put};
use untoil_model::{Delivery, IncidentId, Seq};

/// What changed the journal, and can be done again on an empty one.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    /// A delivery was received.
    Received(Box<Delivery>),
    /// A batch was appended; what it expected was so.
    Appended(Batch),
    /// A reader's cursor was moved.
    Advanced(String, Seq, Vec<Put>),
}

/// A place in the order of all writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    cuts: usize,
    writes: usize,
    seq: Seq,
}

/// That an instance took an incident over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adoption {
    /// The last entry before it.
    pub(crate) after: Seq,
    /// What it took.
    pub(crate) incident: IncidentId,
    /// Who.
    pub(crate) by: String,
}

/// The journal that all instances share, and the disk that it lies on.
#[derive(Debug)]
pub(crate) struct Disk {
    clock: Arc<VirtualClock>,
    lies: Mutex<Lies>,
    /// What is being brought to the disk behind everybody's back.
    behind: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Lies {
    journal: Arc<MemoryJournal>,
    /// How many have joined; each has a number of its own there.
    joined: usize,
    writes: Vec<(usize, Write)>,
    /// How many of them are kept, and up to which entry.
    kept: (usize, Seq),
    /// How often the power was cut.
    cuts: usize,
    adoptions: Vec<Adoption>,
    heads: Heads,
    written: Heads,
}

/// Who waits for more. Each has a channel of its own, because one that is shared wakes its receivers
/// in an order that no seed determines.
#[derive(Debug, Default)]
struct Heads(Vec<watch::Sender<Seq>>);

impl Heads {
    fn subscribe(&mut self, at: Seq) -> watch::Receiver<Seq> {
        let (sender, receiver) = watch::channel(at);
        self.0.push(sender);
        receiver
    }

    fn tell(&mut self, seq: Seq) {
        self.0.retain(|head| !head.is_closed());
        for head in &self.0 {
            head.send_if_modified(|known| {
                let newer = seq > *known;
                *known = seq.max(*known);
                newer
            });
        }
    }
}

impl Disk {
    /// An empty one.
    pub(crate) fn new(clock: Arc<VirtualClock>) -> Self {
        Self { clock, lies: Mutex::default(), behind: Mutex::default() }
    }

    fn lies(&self) -> MutexGuard<'_, Lies> {
        self.lies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal as it can be read.
    pub(crate) fn journal(&self) -> Arc<MemoryJournal> {
        Arc::clone(&self.lies().journal)
    }

    /// A further instance on it, and its number.
    pub(crate) fn join(&self) -> (MemoryJournal, usize) {
        let mut lies = self.lies();
        lies.joined += 1;
        (lies.journal.join(Arc::clone(&self.clock) as Arc<dyn Clock>), lies.joined - 1)
    }

    /// An instance has written something: it can be read, and may be lost still.
    pub(crate) fn wrote(&self, by: usize, write: Write) {
        let mut lies = self.lies();
        lies.writes.push((by, write));
        let seq = *lies.journal.head().borrow();
        lies.written.tell(seq);
    }

    /// All that was written so far.
    pub(crate) fn mark(&self) -> Mark {
        let lies = self.lies();
        let seq = *lies.journal.head().borrow();
        Mark { cuts: lies.cuts, writes: lies.writes.len(), seq }
    }

    /// Whether all of that is on the disk.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.lies().kept.0 >= mark.writes
    }

    /// Keeps all of that.
    pub(crate) fn keep(&self, mark: Mark) {
        let mut lies = self.lies();
        // What was lost meanwhile is not kept by who did not hear of it.
        if mark.cuts == lies.cuts && mark.writes > lies.kept.0 {
            lies.kept = (mark.writes, mark.seq);
            lies.heads.tell(mark.seq);
        }
    }

    /// Up to which entry all is on the disk.
    pub(crate) fn kept(&self) -> Seq {
        self.lies().kept.1
    }

    /// Told how far all is on the disk.
    pub(crate) fn head(&self) -> watch::Receiver<Seq> {
        let mut lies = self.lies();
        let at = lies.kept.1;
        lies.heads.subscribe(at)
    }

    /// Told how far all is written.
    pub(crate) fn written(&self) -> watch::Receiver<Seq> {
        let mut lies = self.lies();
        let at = *lies.journal.head().borrow();
        lies.written.subscribe(at)
    }

    /// Does something without anybody waiting for it, unless the power is cut before.
    pub(crate) fn behind(&self, bringing: impl Future<Output = ()> + Send + 'static) {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        while behind.try_join_next().is_some() {}
        behind.spawn(bringing);
    }

    /// Who adopted what, in order.
    pub(crate) fn adoptions(&self) -> Vec<Adoption> {
        self.lies().adoptions.clone()
    }

    /// An instance has adopted incidents.
    pub(crate) fn adopted(&self, incidents: &[IncidentId], by: &str) {
        let mut lies = self.lies();
        let after = *lies.journal.head().borrow();
        let adoption = |incident: &IncidentId| Adoption {
            after,
            incident: incident.clone(),
            by: by.to_owned(),
        };
        lies.adoptions.extend(incidents.iter().map(adoption));
    }

    /// The power was cut while every instance was dead: what was not kept is lost. Says how many
    /// entries that were.
    pub(crate) async fn cut(&self) -> u64 {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        let (written, writes, joined) = {
            let mut lies = self.lies();
            let kept = lies.kept.0;
            lies.writes.truncate(kept);
            lies.cuts += 1;
            let end = lies.kept.1;
            lies.adoptions.retain(|adoption| adoption.after <= end);
            (lies.heads, lies.written) = (Heads::default(), Heads::default());
            (*lies.journal.head().borrow(), lies.writes.clone(), lies.joined)
        };
        let journal = MemoryJournal::new();
        let members: Vec<_> =
            (0..joined).map(|_| journal.join(Arc::clone(&self.clock) as Arc<dyn Clock>)).collect();
        for (by, write) in writes {
            let again = redo(&members[by], write).await;
            again.expect("what could be done once can be done again");
        }
        let end = *journal.head().borrow();
        self.lies().journal = Arc::new(journal);
        written.0 - end.0
    }
}

async fn redo(journal: &MemoryJournal, write: Write) -> anyhow::Result<()> {
    match write {
        Write::Received(delivery) => drop(journal.receive(*delivery).await?),
        Write::Appended(batch) => {
            // Who held what is another matter: the dead hold nothing.
            let batch = Batch { expects: Vec::new(), holding: Vec::new(), ..batch };
            drop(journal.append(batch).await?);
        }
        Write::Advanced(reader, to, memos) => journal.advance(&reader, to, memos).await?,
    }
    Ok(())
}
