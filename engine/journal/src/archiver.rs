//! Moves what is old into files, and then out of the journal: in small steps, each of which can be
//! cut short anywhere and taken again.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use untoil_clock::Clock;
use untoil_model::{Actor, Body, Draft, Entry, Hash, Period, Seq, Stream};

use crate::archive::Step;
use crate::reckoning::Reckoning;
use crate::retention::{Needs, older};
use crate::{
    AppendError, Archive, Archived, Batch, Expect, Flaw, Journal, JournalError, KEEP_MIN, Prune,
    RawEntry, Retention, Segment,
};

/// How many entries a file has at most: some MiB, so that one is read in a moment.
pub const SEGMENT_ENTRIES_MAX: usize = 10_000;
/// How many bytes of texts and bodies a file has at most, before it is compressed: they are in
/// memory while it is written. One delivery more may be added to it.
const SEGMENT_BYTES_MAX: usize = 8 << 20;
/// How old beyond its time the oldest entry becomes before a file that is not full is written: at
/// most one small file a day.
const SMALL_FILE: Period = Period::hours(24);
/// How many entries are read at a time.
const PAGE: usize = 500;

/// Whether to wait until there is enough for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Write a file when it is full, or a day's worth of entries is old enough.
    Patient,
    /// Write whatever is old enough.
    Now,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// Wrote a file; its entries are still in the journal.
    Archived(Segment),
    /// Went through rows that are in files; deleted so many of them.
    Pruned(u64),
    /// Moved a reader that is out of service to this place, past what is old.
    Passed(String, Seq),
    /// There is nothing to do; says who holds it up, if somebody does.
    Nothing(Option<Held>),
}

/// Who must be done with old entries first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A delivery that is not decided; its `received` entry.
    Pending(Seq),
    /// A reader that has come no further.
    Reader(String, Seq),
}

/// Why a step could not be taken. Nothing is lost, and the next step goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The journal does not answer, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The folder of archive files cannot be written.
    #[error("cannot write archive files in `{}`: {why}", folder.display())]
    Folder {
        /// It.
        folder: PathBuf,
        /// What it says.
        why: io::Error,
    },
    /// The newest file is not as it was written, so nothing is deleted.
    #[error("{0}; nothing is deleted until it is back")]
    Flawed(#[from] Flaw),
    /// The time of day has jumped ahead, or may have while nobody watched it.
    #[error(
        "the time of day went from `{from}` to `{to}` at once, and nothing is archived by a clock that \
         may be wrong: set it right; if it is, archiving goes on after a day, and `untoil archive \
         --clock-is-right` at once"
    )]
    Clock {
        /// When it was right still, as far as is known.
        from: Timestamp,
        /// What it said next.
        to: Timestamp,
    },
    /// The time is too short.
    #[error("entries are kept for {0} at least")]
    TooShort(Period),
    /// Another instance archived at the same time; it goes on there.
    #[error("another instance has archived at the same time")]
    Raced,
}

/// Archives one journal. Of several instances one does it at a time; when two do, one fails.
#[derive(Debug)]
pub struct Archiver {
    journal: Arc<dyn Journal>,
    retention: Arc<dyn Retention>,
    archive: Archive,
    keep: Period,
    actor: Actor,
    sweep: Option<Sweep>,
    swept_at: Option<Timestamp>,
    halt: Option<Step>,
    retired: Vec<String>,
    reckoning: Reckoning,
}

/// Going through all rows that are in files, in their order.
#[derive(Debug)]
struct Sweep {
    at: Seq,
    needs: Needs,
}

/// How often rows are gone through that were needed still: what is not needed any more may stay a
/// day longer.
const SWEEP_EVERY: Period = Period::hours(24);

impl Archiver {
    /// Keeps entries in the journal for `keep`, and then in `archive`.
    ///
    /// # Errors
    /// [`ArchiveError::TooShort`] for less than [`KEEP_MIN`].
    pub fn new(
        (journal, retention): (Arc<dyn Journal>, Arc<dyn Retention>),
        archive: Archive,
        keep: Period,
        actor: Actor,
    ) -> Result<Self, ArchiveError> {
        if keep < KEEP_MIN {
            return Err(ArchiveError::TooShort(KEEP_MIN));
        }
        Ok(Self {
            journal,
            retention,
            archive,
            keep,
            actor,
            sweep: None,
            swept_at: None,
            halt: None,
            retired: Vec::new(),
            reckoning: Reckoning::default(),
        })
    }

    /// The same, which does not wait for readers that are out of service: their cursors are moved
    /// past what is older than is kept. Should one come back, it goes on with what is younger.
    #[must_use]
    pub fn not_waiting_for(self, retired: Vec<String>) -> Self {
        Self { retired, ..self }
    }

    /// Its folder of files.
    #[must_use]
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Stops as if killed, once it has done `step`.
    pub(crate) fn halting_after(self, step: Step) -> Self {
        Self { halt: Some(step), ..self }
    }

    /// Does the next small thing by the time of day, unless that may be wrong: see [`Self::step`].
    ///
    /// # Errors
    /// As [`Self::step`]; [`ArchiveError::Clock`] when the time of day has jumped ahead.
    pub async fn go_on(&mut self, clock: &dyn Clock, haste: Haste) -> Result<Did, ArchiveError> {
        let now = self.reckoning.now(&*self.journal, clock).await?;
        self.step(now, haste).await
    }

    /// Does the next small thing: writes one file, or deletes one page of rows. What was archived is
    /// gone through before more is. The caller vouches for `now`.
    ///
    /// # Errors
    /// [`ArchiveError`]; the next step goes on where this one was.
    pub async fn step(&mut self, now: Timestamp, haste: Haste) -> Result<Did, ArchiveError> {
        if self.sweep.is_some() {
            return self.prune().await;
        }
        let newest = self.newest().await?;
        let due = self.swept_at.is_none_or(|at| older(at, SWEEP_EVERY.duration(), now));
        if let Some((_, segment)) = newest.as_ref().filter(|_| due) {
            // What has just been written, or was when we were killed, is still here whole.
            self.check(segment).await?;
            self.swept_at = Some(now);
            let needs = Needs::read(&*self.journal, segment.last, now).await?;
            self.sweep = Some(Sweep { at: Seq::START, needs });
            return self.prune().await;
        }
        let (entries, held) = self.next(newest.as_ref(), now, haste).await?;
        if entries.is_empty() {
            return self.pass(held, now).await;
        }
        if let Some(last) = entries.last() {
            // A file outlives the power; so must what it tells of.
            self.journal.durable(last.raw.seq).await?;
        }
        let _alone = self.alone().await?;
        // What was read may be of before another's file, and partly gone: it must not replace that file.
        let place = |newest: &Option<(Entry, Segment)>| newest.as_ref().map(|(entry, _)| entry.seq);
        if place(&self.newest().await?) != place(&newest) {
            return Err(ArchiveError::Raced);
        }
        let segment = self.write(entries).await?;
        let segment = self.record(newest, segment, now).await?;
        self.swept_at = None;
        Ok(Did::Archived(segment))
    }

    /// Nothing can be archived: at most a reader that is out of service can be moved on.
    async fn pass(&self, held: Option<Held>, now: Timestamp) -> Result<Did, ArchiveError> {
        let Some(Held::Reader(name, at)) = &held else { return Ok(Did::Nothing(held)) };
        if !self.retired.contains(name) {
            return Ok(Did::Nothing(held));
        }
        let old = self.journal.raw(*at, PAGE).await?;
        let mut to = *at;
        for raw in &old {
            // What a clock that was ahead has written may be young: it is not passed.
            if !older(raw.open()?.at, self.keep.duration(), now) {
                break;
            }
            to = raw.seq;
        }
        if to == *at {
            // What it has not seen is not old, so it holds nothing up.
            return Ok(Did::Nothing(None));
        }
        match self.journal.advance(name, to, Vec::new()).await {
            Ok(()) => Ok(Did::Passed(name.clone(), to)),
            // Another instance, which is not updated yet, has it in service still.
            Err(JournalError::TakenOver(_)) => Ok(Did::Nothing(held)),
            Err(error) => Err(error.into()),
        }
    }

    /// The newest record, with what it tells.
    async fn newest(&self) -> Result<Option<(Entry, Segment)>, ArchiveError> {
        let newest = self.journal.latest(&Stream::Archive, 1).await?.into_iter().next();
        Ok(newest.and_then(|entry| Segment::of(&entry.body).map(|segment| (entry, segment))))
    }

    async fn check(&self, segment: &Segment) -> Result<(), ArchiveError> {
        let (archive, segment) = (self.archive.clone(), segment.clone());
        let checked = blocking(move || archive.check_known(&segment, |_| Ok(())).map(drop));
        Ok(checked.await.map_err(|why| self.folder(why))??)
    }

    /// The entries of the next file; none when there are not enough.
    async fn next(
        &self,
        newest: Option<&(Entry, Segment)>,
        now: Timestamp,
        haste: Haste,
    ) -> Result<(Vec<Archived>, Option<Held>), ArchiveError> {
        let floor = newest.map_or(Seq::START, |(_, segment)| segment.last);
        let waiting = self.retention.waiting().await?;
        let head = self.journal.latest(&Stream::All, 1).await?;
        // A store checks its last entry against the one before it, so two stay.
        let end = head.first().map_or(0, |entry| entry.seq.0.saturating_sub(1));
        let pending = waiting.pending.map_or(u64::MAX, |seq| seq.0.saturating_sub(1));
        let reader = waiting.reader.as_ref().map_or(u64::MAX, |(_, at)| at.0);
        let reach = Seq(end.min(pending).min(reader));
        let mut entries = Vec::new();
        let (mut at, mut bytes, mut oldest) = (floor, 0, None);
        let full = 'full: loop {
            let page = self.journal.raw(at, PAGE).await?;
            if page.is_empty() {
                break false;
            }
            for raw in page {
                let Some(entry) = self.due(&raw, reach, now)? else { break 'full false };
                at = raw.seq;
                oldest.get_or_insert(entry.at);
                let archived = self.with_delivery(raw, &entry).await?;
                bytes += archived.raw.text.len();
                bytes += archived.delivery.as_ref().map_or(0, |delivery| delivery.body.len());
                entries.push(archived);
                if entries.len() == SEGMENT_ENTRIES_MAX || bytes >= SEGMENT_BYTES_MAX {
                    break 'full true;
                }
            }
        };
        let late = (self.keep.duration()).saturating_add(SMALL_FILE.duration());
        let enough = full || haste == Haste::Now || oldest.is_some_and(|at| older(at, late, now));
        let held = (at == reach && reach.0 < end).then(|| held(waiting)).flatten();
        Ok((if enough { entries } else { Vec::new() }, held))
    }

    /// The entry, if it is old enough and nobody waits for it.
    fn due(
        &self,
        raw: &RawEntry,
        reach: Seq,
        now: Timestamp,
    ) -> Result<Option<Entry>, ArchiveError> {
        if raw.seq > reach {
            return Ok(None);
        }
        let entry = raw.open()?;
        // A clock that was ahead for a while must not hold everything up until its time comes.
        let due = entry.at > now || older(entry.at, self.keep.duration(), now);
        Ok(due.then_some(entry))
    }

    async fn with_delivery(&self, raw: RawEntry, entry: &Entry) -> Result<Archived, ArchiveError> {
        let mut delivery = None;
        if let Body::Received { delivery: id, .. } = &entry.body {
            delivery = self.journal.delivery(id).await?;
        }
        Ok(Archived { raw, delivery })
    }

    /// Keeps others from writing into the folder while it is held.
    async fn alone(&self) -> Result<File, ArchiveError> {
        let archive = self.archive.clone();
        let held = blocking(move || archive.hold()).await.and_then(|held| held);
        held.map_err(|why| self.folder(why))?.ok_or(ArchiveError::Raced)
    }

    async fn write(&self, entries: Vec<Archived>) -> Result<Segment, ArchiveError> {
        let (archive, halt) = (self.archive.clone(), self.halt);
        let written = blocking(move || {
            archive.tidy()?;
            if let Some(segment) = archive.left_behind(&entries)? {
                return Ok(segment);
            }
            archive.write(&entries, |step| halted(halt, step))
        });
        written.await.and_then(|written| written).map_err(|why| self.folder(why))
    }

    async fn record(
        &self,
        newest: Option<(Entry, Segment)>,
        segment: Segment,
        now: Timestamp,
    ) -> Result<Segment, ArchiveError> {
        let (at, record, expected) = match &newest {
            Some((entry, segment)) => (entry.seq, entry.hash, (segment.last, segment.hash)),
            None => (Seq::START, Hash::GENESIS, (Seq::START, Hash::GENESIS)),
        };
        if (expected.0.next(), expected.1) != (segment.first, segment.before) {
            let seq = segment.first;
            return Err(JournalError::from(untoil_model::Broken::Unchained { seq }).into());
        }
        let segment = Segment { record, ..segment };
        let draft = Draft::new(now, self.actor.clone(), segment.body());
        let expects = vec![Expect { stream: Stream::Archive, at }];
        let batch = Batch { expects, ..Batch::of(vec![draft]) };
        match self.journal.append(batch).await {
            Ok(_) => {}
            Err(AppendError::Journal(error)) => return Err(error.into()),
            Err(AppendError::Conflict { .. } | AppendError::Decided(_)) => {
                return Err(ArchiveError::Raced);
            }
        }
        halted(self.halt, Step::Recorded).map_err(|why| self.folder(why))?;
        Ok(segment)
    }

    /// Deletes one page of what is not needed any more.
    async fn prune(&mut self) -> Result<Did, ArchiveError> {
        // Taken out: after a failure it begins anew, on what is then known.
        let Some(mut sweep) = self.sweep.take() else { return Ok(Did::Pruned(0)) };
        let outcome = self.prune_page(&mut sweep).await;
        match outcome {
            Ok((pruned, more)) => {
                self.sweep = more.then_some(sweep);
                halted(self.halt, Step::Pruned).map_err(|why| self.folder(why))?;
                Ok(Did::Pruned(pruned))
            }
            Err(error) => {
                self.swept_at = None;
                Err(error.into())
            }
        }
    }

    async fn prune_page(&self, sweep: &mut Sweep) -> Result<(u64, bool), JournalError> {
        let floor = sweep.needs.floor();
        let mut page = self.journal.read(&Stream::All, sweep.at, Prune::ENTRIES_MAX).await?;
        let full = page.len() == Prune::ENTRIES_MAX;
        page.retain(|entry| entry.seq <= floor);
        let Some(last) = page.last() else { return Ok((0, false)) };
        let last = last.seq;
        let free = sweep.needs.free(&*self.journal, &page).await?;
        let pruned = if free.is_empty() { 0 } else { self.retention.prune(free).await? };
        sweep.at = last;
        Ok((pruned, full && last < floor))
    }

    fn folder(&self, why: io::Error) -> ArchiveError {
        ArchiveError::Folder { folder: self.archive.folder().to_owned(), why }
    }
}

fn held(waiting: crate::Waiting) -> Option<Held> {
    let crate::Waiting { pending, reader } = waiting;
    match (pending, reader) {
        (Some(pending), Some((name, at))) if at < pending => Some(Held::Reader(name, at)),
        (Some(pending), _) => Some(Held::Pending(pending)),
        (None, Some((name, at))) => Some(Held::Reader(name, at)),
        (None, None) => None,
    }
}

fn halted(halt: Option<Step>, step: Step) -> io::Result<()> {
    if halt == Some(step) {
        return Err(io::Error::other(format!("it was stopped after {step:?}")));
    }
    Ok(())
}

/// Works on files without holding up whoever waits for the same thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
