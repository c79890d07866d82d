//! Checks the chain from its first entry to its last: in the store, in archive files, and both
//! together.

use std::collections::BTreeMap;

use untoil_model::{Broken, Entry, Hash, Seq, Stream};

use crate::{Archive, Flaw, Journal, JournalError, RawEntry, Segment};

/// How many entries are held in memory at a time while checking.
const PAGE: usize = 1_000;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    /// Every entry is as it was written.
    Whole {
        /// How many there were in all time.
        entries: u64,
        /// The hash of the last one, to be compared with a copy kept elsewhere.
        head: Hash,
    },
    /// The first entry that is not.
    Broken(Broken),
}

/// What a check of archive files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// How many files are whole.
    pub files: u64,
    /// How many entries they hold.
    pub entries: u64,
    /// How many deliveries they hold.
    pub deliveries: u64,
    /// The last entry in them, with its hash.
    pub end: Option<(Seq, Hash)>,
    /// What is wrong, file by file.
    pub flaws: Vec<Flaw>,
    /// Files that the journal does not tell of: of another history, or not finished with.
    pub strangers: Vec<String>,
}

/// Reads the whole store and checks every entry against the one before it.
///
/// Where entries are archived, the chain goes on from the last archived one; the records of what is
/// archived are chained among themselves, and what of it is still here must fit between its
/// neighbours that are here, too.
///
/// # Errors
/// [`JournalError`] when the store cannot be read; damage is not an error but the answer.
pub async fn verify(journal: &dyn Journal) -> Result<Verified, JournalError> {
    let mut records = match segments(journal).await? {
        Ok(records) => records,
        Err(broken) => return Ok(Verified::Broken(broken)),
    };
    let mut walk = Walk::new(end(&records));
    loop {
        let page = journal.raw(walk.at, PAGE).await?;
        if page.is_empty() {
            let (seq, head) = walk.place;
            return Ok(Verified::Whole { entries: seq.0, head });
        }
        for raw in page {
            let Err(broken) = walk.step(&raw, &records) else { continue };
            // It may have been archived and deleted while we were reading.
            let (missing, newer) = (walk.place.0.next(), segments(journal).await?);
            match newer {
                Ok(newer) if end(&newer).0 >= missing && end(&newer).0 > end(&records).0 => {
                    records = newer;
                    walk = Walk { place: end(&records), before: None, at: walk.at };
                    break;
                }
                Ok(_) | Err(_) => return Ok(Verified::Broken(broken)),
            }
        }
    }
}

/// Where the records say that the archive ends.
fn end(records: &[Segment]) -> (Seq, Hash) {
    records.last().map_or((Seq::START, Hash::GENESIS), |last| (last.last, last.hash))
}

/// What is checked of an entry depends on those before it.
struct Walk {
    /// The last entry of the chain without gaps.
    place: (Seq, Hash),
    /// The entry before, among those that are archived and still here.
    before: Option<(Seq, Hash)>,
    /// The last entry that was looked at.
    at: Seq,
}

impl Walk {
    fn new(place: (Seq, Hash)) -> Self {
        Self { place, before: None, at: Seq::START }
    }

    fn step(&mut self, raw: &RawEntry, records: &[Segment]) -> Result<(), Broken> {
        let kept = (raw.prev, raw.hash);
        if raw.seq > self.place.0 {
            let entry = Entry::check(self.place, raw.seq, &raw.text, kept)?;
            self.place = (entry.seq, entry.hash);
            self.at = raw.seq;
            return Ok(());
        }
        let last = Seq(raw.seq.0.saturating_sub(1));
        let before = self.before.filter(|(seq, _)| *seq == last).map(|(_, hash)| hash);
        let of = records.partition_point(|record| record.last < raw.seq);
        let record = records.get(of);
        let begins = record.filter(|record| record.first == raw.seq).map(|record| record.before);
        let ends = record.filter(|record| record.last == raw.seq).map(|record| record.hash);
        let expected = before.or(begins).unwrap_or(raw.prev);
        let entry = Entry::check((last, expected), raw.seq, &raw.text, kept)?;
        if ends.is_some_and(|hash| hash != entry.hash) {
            return Err(Broken::Changed { seq: raw.seq });
        }
        self.before = Some((entry.seq, entry.hash));
        self.at = raw.seq;
        Ok(())
    }
}

/// What the store tells of its archive, in order and checked: each record follows the one before it
/// and names its hash, and each file begins where the one before ends.
///
/// # Errors
/// [`JournalError`] when the store cannot be read; damage is not an error but the answer.
pub async fn segments(journal: &dyn Journal) -> Result<Result<Vec<Segment>, Broken>, JournalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut at, mut record) = (Seq::START, Hash::GENESIS);
    loop {
        let page = journal.read(&Stream::Archive, at, PAGE).await;
        let page = match page {
            Err(JournalError::Damaged(broken) | JournalError::Newer(broken)) => {
                return Ok(Err(broken));
            }
            page => page?,
        };
        if page.is_empty() {
            return Ok(Ok(segments));
        }
        for entry in page {
            let seq = entry.seq;
            if entry.prev.chain(&entry.text()) != entry.hash {
                return Ok(Err(Broken::Changed { seq }));
            }
            let Some(segment) = Segment::of(&entry.body) else { continue };
            let (last, hash) = end(&segments);
            let follows = (segment.first, segment.before) == (last.next(), hash)
                && segment.record == record
                && segment.last >= segment.first
                && segment.last < seq;
            if !follows {
                return Ok(Err(Broken::Unchained { seq }));
            }
            (at, record) = (seq, entry.hash);
            segments.push(segment);
        }
    }
}

/// Checks archive files alone: every entry and delivery in them, that each file begins where the one
/// before ends, and what later files tell of earlier ones.
///
/// # Errors
/// When the folder cannot be read; damage is not an error but the answer.
pub fn verify_files(archive: &Archive) -> std::io::Result<Shelf> {
    let mut shelf = Shelf::default();
    let mut found: BTreeMap<String, Segment> = BTreeMap::new();
    let mut told = Vec::new();
    let mut place = (Seq::START, Hash::GENESIS);
    for file in archive.files()? {
        let checked = match archive.check(&file) {
            Ok(checked) => checked,
            Err(flaw) => {
                shelf.flaws.push(flaw);
                continue;
            }
        };
        let segment = &checked.segment;
        if segment.last <= place.0 {
            shelf.strangers.push(file);
            continue;
        }
        if let Some(why) = gap(place, segment) {
            shelf.flaws.push(Flaw { file: file.clone(), why });
        }
        place = (segment.last, segment.hash);
        shelf.count(&checked);
        told.extend(checked.records);
        found.insert(file, checked.segment);
    }
    for record in told {
        let is_there = found.get(&record.file);
        let same = is_there.is_none_or(|found| found.sha256 == record.sha256);
        if !same {
            let why = "is not the file that a later one tells of".to_owned();
            shelf.flaws.push(Flaw { file: record.file, why });
        }
    }
    Ok(shelf)
}

fn gap((last, hash): (Seq, Hash), segment: &Segment) -> Option<String> {
    let first = segment.first;
    if first > last.next() {
        let (from, to) = (last.next(), first.0 - 1);
        return Some(format!("begins at entry {first}: the file with {from} to {to} is missing"));
    }
    if first < last.next() {
        return Some(format!("begins at entry {first}, which an earlier file holds"));
    }
    (segment.before != hash).then(|| "does not go on where the file before it ends".to_owned())
}

impl Shelf {
    fn count(&mut self, checked: &crate::Checked) {
        let segment = &checked.segment;
        self.files += 1;
        self.entries += segment.last.0 - segment.first.0 + 1;
        self.deliveries += checked.deliveries;
        self.end = Some((segment.last, segment.hash));
    }
}

/// Checks archive files against what the journal tells of them: the files' own hashes, the chain
/// through all of them, and every archived entry that is still in the store against its file.
///
/// With a store that [`verify`] found whole, this is the chain from the first entry of all time to
/// the last.
///
/// # Errors
/// [`JournalError`] when the store cannot be read; damage is not an error but the answer.
pub async fn verify_archive(
    journal: &dyn Journal,
    archive: &Archive,
) -> Result<Shelf, JournalError> {
    let unreadable = |error: std::io::Error| {
        let folder = archive.folder().display();
        JournalError::Unavailable(format!("cannot read the archive `{folder}`: {error}"))
    };
    let mut shelf = Shelf::default();
    let known = segments(journal).await??;
    for segment in &known {
        let kept = kept(journal, segment).await?;
        let fits = |archived: &crate::Archived| match kept.get(&archived.raw.seq) {
            Some(hash) if *hash != archived.raw.hash => {
                Err(format!("and the store have different entries {}", archived.raw.seq))
            }
            Some(_) | None => Ok(()),
        };
        match archive.check_known(segment, fits) {
            Ok(checked) => shelf.count(&checked),
            Err(flaw) => shelf.flaws.push(flaw),
        }
    }
    let mut files = archive.files().map_err(unreadable)?;
    files.retain(|file| !known.iter().any(|segment| segment.file == *file));
    shelf.strangers = files;
    Ok(shelf)
}

/// The hashes of a segment's entries that are still in the store.
async fn kept(
    journal: &dyn Journal,
    segment: &Segment,
) -> Result<BTreeMap<Seq, Hash>, JournalError> {
    let mut kept = BTreeMap::new();
    let mut at = Seq(segment.first.0 - 1);
    loop {
        let page = journal.raw(at, PAGE).await?;
        let within = page.iter().filter(|raw| segment.has(raw.seq));
        kept.extend(within.map(|raw| (raw.seq, raw.hash)));
        match page.last() {
            Some(last) if last.seq < segment.last => at = last.seq,
            Some(_) | None => return Ok(kept),
        }
    }
}
