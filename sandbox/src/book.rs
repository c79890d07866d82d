//! All rules that can be asked, and which of them answer an alarm.

use std::cmp::Reverse;
use std::ffi::{OsStr, OsString};
use std::fs::{FileType, Metadata, OpenOptions};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use untoil_model::{Alarm, RuleName};

use crate::cage;
use crate::diagnostic::{Code, Diagnostic, Finding};
use crate::index::Index;
use crate::rule::{MANIFEST_BYTES_MAX, Rule, RuleFiles};
use crate::sandbox::Sandbox;

/// Most folders looked at.
pub(crate) const RULES_MAX: usize = 20_000;

/// How many rules a thread takes at a time; fewer are not worth a second thread.
const SHARE: usize = 32;

/// A set of rules, fixed once it is made.
#[derive(Debug, Default)]
pub struct RuleBook {
    rules: Vec<Arc<Rule>>,
    index: Index,
}

impl RuleBook {
    /// Makes a book of these rules; of two with one name the later stays.
    pub fn new(rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        let mut rules: Vec<Arc<Rule>> = rules.into_iter().collect();
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        rules.dedup_by(|later, kept| {
            let is_same = later.name == kept.name;
            if is_same {
                std::mem::swap(later, kept);
            }
            is_same
        });
        let of_rule = |(rule, at)| {
            let rule: &Arc<Rule> = rule;
            rule.manifest.on.iter().map(move |matcher| (at, matcher))
        };
        let index = Index::of(rules.iter().zip(0..).flat_map(of_rule));
        Self { rules, index }
    }

    /// Loads every rule under `dir`. Rules with errors are left out and reported; warnings too.
    ///
    /// Blocks: it reads files and compiles.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn load(dir: &Path, sandbox: &Sandbox) -> io::Result<(Self, Vec<Diagnostic>)> {
        let (folders, mut diagnostics) = read_folders(dir)?;
        let mut rules = Vec::new();
        for built in build(&folders, sandbox) {
            match built {
                Ok(rule) => {
                    diagnostics.extend(rule.warnings.iter().cloned());
                    rules.push(Arc::new(rule));
                }
                Err(found) => diagnostics.extend(found),
            }
        }
        Ok((Self::new(rules), diagnostics))
    }

    /// The rules that answer an alarm: the most particular first, then by name.
    ///
    /// A rule is as particular as the best of its matchers that match: first by the number of exact
    /// texts, then by the number of patterns. Rules that are `off` are among them.
    pub fn matching(&self, alarm: &Alarm) -> Vec<&Arc<Rule>> {
        let matching = self.index.matching(alarm);
        let mut found: Vec<_> = matching.map(|(rank, rule)| (Reverse(rank), rule)).collect();
        // Of each rule the best matcher counts.
        found.sort_unstable_by_key(|(rank, rule)| (*rule, *rank));
        found.dedup_by_key(|(_, rule)| *rule);
        // Rules are in the order of their names.
        found.sort_unstable();
        found.into_iter().map(|(_, rule)| &self.rules[rule as usize]).collect()
    }

    /// A rule by its name.
    pub fn get(&self, name: &RuleName) -> Option<&Arc<Rule>> {
        let at = self.rules.binary_search_by(|rule| rule.name.cmp(name)).ok()?;
        self.rules.get(at)
    }

    /// All rules, by name.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

/// Builds all of them in their order.
fn build(folders: &[RuleFiles], sandbox: &Sandbox) -> Vec<Result<Rule, Vec<Diagnostic>>> {
    in_shares(folders, |share| share.iter().map(|files| sandbox.build(files)).collect())
}

/// Does something with all of them, on as many threads as there are processors; in their order.
pub(crate) fn in_shares<'a, T: Sync, R: Send>(
    all: &'a [T],
    each: impl Fn(&'a [T]) -> Vec<R> + Sync,
) -> Vec<R> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let shares: Vec<&[T]> = all.chunks(SHARE).collect();
    let next = AtomicUsize::new(0);
    // Whoever is free takes the next one, so that all end at the same time.
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(share) = shares.get(at) else { return done };
            done.push((at, each(share)));
        }
    };
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..processors.min(shares.len())).map(|_| scope.spawn(take)).collect();
        let done = threads.into_iter().map(ScopedJoinHandle::join);
        done.flat_map(|done| done.unwrap_or_else(|bug| resume_unwind(bug))).collect()
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().flat_map(|(_, done)| done).collect()
}

/// Reads the files of every folder in `dir`, by name, and says what cannot be read.
pub(crate) fn read_folders(dir: &Path) -> io::Result<(Vec<RuleFiles>, Vec<Diagnostic>)> {
    let (names, mut diagnostics) = folder_names(dir)?;
    let mut folders = Vec::new();
    for name in names {
        match read_folder(dir, &name) {
            Ok((files, _)) => folders.push(files),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    Ok((folders, diagnostics))
}

/// The names of the folders in `dir`, in order, and whether they are too many.
pub(crate) fn folder_names(dir: &Path) -> io::Result<(Vec<OsString>, Vec<Diagnostic>)> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        // A link to a folder is one, too.
        let is_folder =
            |kind: FileType| kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if !is_hidden && entry.file_type().is_ok_and(is_folder) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut diagnostics = Vec::new();
    if names.len() > RULES_MAX {
        let message = format!("{} rules; only the first {RULES_MAX} are read", names.len());
        let finding = Finding::of_file(Code::R110, message);
        diagnostics.push(finding.into_diagnostic("", "rules", ""));
        names.truncate(RULES_MAX);
    }
    Ok((names, diagnostics))
}

/// Reads the files of one folder, and tells when they were written.
pub(crate) fn read_folder(
    dir: &Path,
    name: &OsStr,
) -> Result<(RuleFiles, Stamps), Box<Diagnostic>> {
    let mut path = dir.join(name).join("rule.yaml");
    let name = name.to_string_lossy().into_owned();
    let manifest = read_bounded(&path, MANIFEST_BYTES_MAX);
    path.set_file_name("rule.rhai");
    match (manifest, read_bounded(&path, cage::SOURCE_BYTES_MAX)) {
        (Ok(manifest), Ok(script)) => {
            let (manifest, manifest_at) = manifest.unzip();
            let (script, script_at) = script.unzip();
            Ok((RuleFiles { name, manifest, script }, Stamps([manifest_at, script_at])))
        }
        (Err(error), _) | (_, Err(error)) => {
            let finding = Finding::of_file(Code::R110, format!("failed to read the rule: {error}"));
            Err(Box::new(finding.into_diagnostic(&name, &name, "")))
        }
    }
}

/// When a folder's two files were written, as far as the file system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps([Option<Stamp>; 2]);

impl Stamps {
    /// As they are now; a file that cannot be looked at is as good as none.
    pub(crate) fn of(dir: &Path, name: &OsStr) -> Self {
        let stamp = |path: &Path| std::fs::metadata(path).ok().map(|it| Stamp::of(&it));
        let mut path = dir.join(name).join("rule.yaml");
        let manifest = stamp(&path);
        path.set_file_name("rule.rhai");
        Self([manifest, stamp(&path)])
    }
}

/// What changes when a file is written or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self { inode: file.ino(), bytes: file.size(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}

/// A file's bytes, one more than `bytes_max` at most, so that a longer one is seen to be too long.
///
/// Never waits for another process: what is no file, such as a pipe, is refused.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Option<(Vec<u8>, Stamp)>> {
    use std::io::Read as _;
    // Opening a pipe would wait for a writer, without an end; on files the flag means nothing (open(2)).
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let not_a_file = || {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        io::Error::other(format!("`{name}` is not a file; put a file in its place"))
    };
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A socket cannot be opened at all.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(not_a_file()),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    let stamp = Stamp::of(&metadata);
    let expected = usize::try_from(stamp.bytes).unwrap_or(bytes_max).min(bytes_max + 1);
    let mut bytes = Vec::with_capacity(expected);
    // It ends where the stamp says; what is added meanwhile changes the stamp.
    file.take(expected as u64).read_to_end(&mut bytes)?;
    Ok(Some((bytes, stamp)))
}
