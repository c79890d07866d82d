//! The files that old entries go to: one line of JSON for each entry, compressed with gzip.
//!
//! A file is written beside its name, synced, read back and checked, and only then given its name.
//! Files are never changed and never deleted here.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use untoil_model::{Body, Delivery, DeliveryId, Entry, Hash, Seq, Source};

use crate::RawEntry;

/// How our files begin, and how they end.
const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl.gz";
/// What a file is called while it is written.
const UNFINISHED: &str = ".part";
/// What is locked by whoever writes into the folder. It stays, and is empty.
const LOCK: &str = "writing.lock";
/// Most bytes of one line, so that a damaged file cannot fill the memory: a delivery of the largest
/// size that can be configured sensibly, many times over.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// Most bytes of a file as it lies on disk: what is written has at most a few MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// An entry as a file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The entry.
    pub raw: RawEntry,
    /// The delivery of a `received` entry, as it was received.
    pub delivery: Option<Delivery>,
}

/// What an `archived` entry tells of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its first entry.
    pub first: Seq,
    /// Its last entry.
    pub last: Seq,
    /// What its first entry is chained to.
    pub before: Hash,
    /// The hash of its last entry.
    pub hash: Hash,
    /// Its name.
    pub file: String,
    /// Of the whole file.
    pub sha256: Hash,
    /// The hash of the `archived` entry before that one.
    pub record: Hash,
}

impl Segment {
    /// What an entry tells, if it is an `archived` one.
    #[must_use]
    pub fn of(body: &Body) -> Option<Self> {
        let Body::Archived { first, last, before, hash, file, sha256, record } = body else {
            return None;
        };
        let (first, last, before, hash) = (*first, *last, *before, *hash);
        Some(Self {
            first,
            last,
            before,
            hash,
            file: file.clone(),
            sha256: *sha256,
            record: *record,
        })
    }

    pub(crate) fn body(&self) -> Body {
        let Self { first, last, before, hash, file, sha256, record } = self.clone();
        Body::Archived { first, last, before, hash, file, sha256, record }
    }

    /// The places that it has.
    #[must_use]
    pub fn has(&self, seq: Seq) -> bool {
        (self.first..=self.last).contains(&seq)
    }
}

/// What is wrong with an archive file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("archive file `{file}` {why}")]
pub struct Flaw {
    /// Which one.
    pub file: String,
    /// What is wrong, to be read behind the name.
    pub why: String,
}

/// A file that was found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What it holds; `record` is not known from the file.
    pub segment: Segment,
    /// Deliveries in it.
    pub deliveries: u64,
    /// `archived` entries in it: what they tell of other files.
    pub records: Vec<Segment>,
}

/// A folder of archive files.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

/// Where writing a file can be stopped, for tests of what is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The file is written under another name.
    Written,
    /// It is on the disk.
    Synced,
    /// It was read back.
    Checked,
    /// It has its name.
    Named,
    /// The journal knows it.
    Recorded,
    /// Some rows are deleted.
    Pruned,
}

impl Archive {
    /// The files in `folder`, which is made when the first is written.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a file of this name is there.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.folder.join(file).is_file()
    }

    /// The names of the files, in the order of their entries. A folder that is not there has none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn files(&self) -> io::Result<Vec<String>> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for found in listed {
            let name = found?.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                files.push(name);
            }
        }
        // Their numbers have a fixed width.
        files.sort_unstable();
        Ok(files)
    }

    /// The entries of a file, as far as they can be read; the chain is not checked.
    ///
    /// # Errors
    /// [`Flaw`] when it is missing or cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<Archived>, Flaw> {
        let bytes = self.bytes(file)?;
        let mut entries = Vec::new();
        each(file, &bytes, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// Reads a file and checks it in itself: every entry against the one before it, every delivery
    /// against its `received` entry.
    ///
    /// # Errors
    /// [`Flaw`], which names the file and what is wrong with it.
    pub fn check(&self, file: &str) -> Result<Checked, Flaw> {
        self.check_each(file, |_| Ok(()))
    }

    /// As [`Archive::check`], and shows every entry to `also`, which may object.
    pub(crate) fn check_each(
        &self,
        file: &str,
        mut also: impl FnMut(&Archived) -> Result<(), String>,
    ) -> Result<Checked, Flaw> {
        let bytes = self.bytes(file)?;
        let flaw = |why: String| Flaw { file: file.to_owned(), why };
        let mut place = None;
        let mut first = None;
        let (mut deliveries, mut records) = (0, Vec::new());
        each(file, &bytes, |archived| {
            let raw = &archived.raw;
            let start = (Seq(raw.seq.0.saturating_sub(1)), raw.prev);
            let before = place.unwrap_or(start);
            first.get_or_insert((raw.seq, raw.prev));
            let entry = Entry::check(before, raw.seq, &raw.text, (raw.prev, raw.hash))
                .map_err(|broken| flaw(format!("is not as it was written: {broken}")))?;
            place = Some((entry.seq, entry.hash));
            fits(&entry, archived.delivery.as_ref()).map_err(flaw)?;
            also(&archived).map_err(flaw)?;
            deliveries += u64::from(archived.delivery.is_some());
            records.extend(Segment::of(&entry.body));
            Ok(())
        })?;
        let (Some((first, before)), Some((last, hash))) = (first, place) else {
            return Err(flaw("holds nothing".into()));
        };
        let (sha256, record) = (Hash::of(&bytes), Hash::GENESIS);
        let segment = Segment { first, last, before, hash, file: file.into(), sha256, record };
        if name(&segment) != file {
            return Err(flaw(format!("holds entries {first} to {last}, as its name does not say")));
        }
        Ok(Checked { segment, deliveries, records })
    }

    /// Checks that a file is the one that a record tells of.
    pub(crate) fn check_known(
        &self,
        known: &Segment,
        also: impl FnMut(&Archived) -> Result<(), String>,
    ) -> Result<Checked, Flaw> {
        let flaw = |why: String| Flaw { file: known.file.clone(), why };
        if !self.has(&known.file) {
            let (first, last) = (known.first, known.last);
            return Err(flaw(format!("is missing; it holds entries {first} to {last}")));
        }
        let found = self.check_each(&known.file, also)?;
        let same = Segment { record: known.record, ..found.segment.clone() };
        if same != *known {
            return Err(flaw("is whole, but is not the file that the journal tells of".into()));
        }
        Ok(found)
    }

    fn bytes(&self, file: &str) -> Result<Vec<u8>, Flaw> {
        let flaw = |why: String| Flaw { file: file.to_owned(), why };
        let unreadable = |error: io::Error| flaw(format!("cannot be read: {error}"));
        let open = File::open(self.folder.join(file)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(flaw("is larger than any that is written".into()));
        }
        Ok(bytes)
    }

    /// Keeps every other process, and everybody else here, from writing into the folder until it is
    /// dropped. `None` when somebody is at it. A file system that knows no locks gives one to each.
    pub(crate) fn hold(&self) -> io::Result<Option<File>> {
        make(&self.folder)?;
        let lock = File::options().create(true).append(true).open(self.folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Ok(Some(lock))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Takes away what was being written when a process ended: nothing refers to it yet.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for found in listed {
            let found = found?;
            let name = found.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && name.ends_with(UNFINISHED) {
                fs::remove_file(found.path())?;
            }
        }
        Ok(())
    }

    /// A file that was finished but not recorded when a process ended, if it holds these entries or
    /// the first of them. One that does not is left alone: it may be all that is left of them.
    pub(crate) fn left_behind(&self, entries: &[Archived]) -> io::Result<Option<Segment>> {
        let Some(first) = entries.first().map(|entry| entry.raw.seq) else { return Ok(None) };
        let begins = format!("{PREFIX}{:012}-", first.0);
        for file in self.files()?.into_iter().filter(|file| file.starts_with(&begins)) {
            let mut ours = entries.iter();
            let same = |read: &Archived| match ours.next() {
                Some(entry) if entry == read => Ok(()),
                Some(_) | None => Err("holds other entries".to_owned()),
            };
            if let Ok(checked) = self.check_each(&file, same) {
                return Ok(Some(checked.segment));
            }
        }
        Ok(None)
    }

    /// Writes entries to a file of their own: when it has its name, it is on the disk and was read
    /// back. `go_on` is asked after each step.
    pub(crate) fn write(
        &self,
        entries: &[Archived],
        go_on: impl Fn(Step) -> io::Result<()>,
    ) -> io::Result<Segment> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(io::Error::other("there is nothing to be written"));
        };
        let mut segment = Segment {
            first: first.raw.seq,
            last: last.raw.seq,
            before: first.raw.prev,
            hash: last.raw.hash,
            file: String::new(),
            sha256: Hash::GENESIS,
            record: Hash::GENESIS,
        };
        segment.file = name(&segment);
        make(&self.folder)?;
        let unfinished = format!("{}{UNFINISHED}", segment.file);
        let path = self.folder.join(&unfinished);
        let mut encoder = GzEncoder::new(private(&path)?, Compression::default());
        for entry in entries {
            serde_json::to_writer(&mut encoder, &Line::of(entry))?;
            encoder.write_all(b"\n")?;
        }
        let file = encoder.finish()?;
        go_on(Step::Written)?;
        file.sync_all()?;
        drop(file);
        go_on(Step::Synced)?;
        let bytes = fs::read(&path)?;
        let mut read = Vec::new();
        each(&unfinished, &bytes, |entry| {
            read.push(entry);
            Ok(())
        })
        .map_err(io::Error::other)?;
        if read != entries {
            return Err(io::Error::other(format!("`{unfinished}` came back other than written")));
        }
        go_on(Step::Checked)?;
        fs::rename(&path, self.folder.join(&segment.file))?;
        sync(&self.folder)?;
        // Once more under its name, chain and all: rows are deleted on its strength.
        segment.sha256 = Hash::of(&bytes);
        self.check_known(&segment, |_| Ok(())).map_err(io::Error::other)?;
        go_on(Step::Named)?;
        Ok(segment)
    }
}

/// A file's name: places, so that files sort, and the end's hash, so that another history's file
/// has another name.
fn name(segment: &Segment) -> String {
    let (first, last, hash) = (segment.first.0, segment.last.0, segment.hash.short());
    format!("{PREFIX}{first:012}-{last:012}-{hash}{SUFFIX}")
}

/// Whether a delivery is the one that its entry tells of.
fn fits(entry: &Entry, delivery: Option<&Delivery>) -> Result<(), String> {
    let Some(delivery) = delivery else { return Ok(()) };
    let seq = entry.seq;
    let Body::Received { delivery: id, bytes, sha256 } = &entry.body else {
        return Err(format!("has a delivery beside entry {seq}, which received none"));
    };
    let same = *id == delivery.id
        && *bytes == delivery.body.len() as u64
        && *sha256 == Hash::of(&delivery.body);
    if same { Ok(()) } else { Err(format!("has another delivery than entry {seq} received")) }
}

/// Shows every entry of a file's bytes.
fn each(
    file: &str,
    bytes: &[u8],
    mut see: impl FnMut(Archived) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let flaw = |why: String| Flaw { file: file.to_owned(), why };
    let mut rest = BufReader::new(GzDecoder::new(bytes));
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n = (&mut rest).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let n = n.map_err(|error| flaw(format!("is cut or damaged at line {number}: {error}")))?;
        if n == 0 {
            break;
        }
        if line.pop() != Some(b'\n') {
            return Err(flaw(format!("is cut at line {number}")));
        }
        let read: Line = serde_json::from_slice(&line)
            .map_err(|error| flaw(format!("cannot be read at line {number}: {error}")))?;
        let entry = read.open().map_err(|why| flaw(format!("has a bad line {number}: {why}")))?;
        see(entry)?;
    }
    if !rest.into_inner().into_inner().is_empty() {
        return Err(flaw("has something behind its end".into()));
    }
    Ok(())
}

/// One line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: Seq,
    prev: Hash,
    hash: Hash,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delivery: Option<Kept>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    source: Source,
    message: String,
    sender: String,
    received_at: Timestamp,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

/// Text where it is text, so that people can read and search it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Bytes {
    Text(String),
    Base64(String),
}

impl Line {
    fn of(archived: &Archived) -> Self {
        let RawEntry { seq, text, prev, hash } = archived.raw.clone();
        let delivery = archived.delivery.as_ref().map(|delivery| Kept {
            source: delivery.id.source.clone(),
            message: delivery.id.message.clone(),
            sender: delivery.sender.clone(),
            received_at: delivery.received_at,
            headers: delivery.headers.clone(),
            body: match std::str::from_utf8(&delivery.body) {
                Ok(text) => Bytes::Text(text.to_owned()),
                Err(_) => Bytes::Base64(BASE64_STANDARD.encode(&delivery.body)),
            },
        });
        Self { seq, prev, hash, text, delivery }
    }

    fn open(self) -> Result<Archived, String> {
        let Self { seq, prev, hash, text, delivery } = self;
        let delivery = match delivery {
            None => None,
            Some(Kept { source, message, sender, received_at, headers, body }) => {
                let id = DeliveryId { source, message };
                let body = match body {
                    Bytes::Text(text) => text.into_bytes(),
                    Bytes::Base64(text) => {
                        BASE64_STANDARD.decode(text).map_err(|error| error.to_string())?
                    }
                };
                Some(Delivery { id, sender, received_at, headers, body })
            }
        };
        Ok(Archived { raw: RawEntry { seq, text, prev, hash }, delivery })
    }
}

/// A file that its owner alone can read, as the journal itself.
fn private(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the folder, readable by its owner only, and sees to it that it stays.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// A new name is on the disk only when its folder is.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_writes_into_a_folder() {
        let folder = tempfile::TempDir::new().unwrap();
        let archive = || Archive::at(folder.path().join("new"));
        let held = archive().hold().unwrap();
        assert!(held.is_some());
        assert!(archive().hold().unwrap().is_none(), "somebody writes");
        drop(held);
        assert!(archive().hold().unwrap().is_some());
        assert_eq!(archive().files().unwrap(), Vec::<String>::new(), "the lock is no file of it");
    }
}
