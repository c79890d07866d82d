//! Keeps the rule book up to date with its folder while the engine runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use untoil_model::{Mode, RuleName, RuleVersion};

use crate::book::{self, RuleBook, Stamps};
use crate::diagnostic::{Code, Diagnostic, Finding, Severity, cut};
use crate::rule::{self, Digest, Rule, RuleFiles};
use crate::sandbox::Sandbox;

/// Longest error in an event: a few findings with their carets.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// How often the files of a rule are read anew because they were being written: a deployment writes each
/// once.
const OPENINGS_MAX: usize = 3;

/// Names of broken rules that are told at once; there are more in the journal.
const TOLD_MAX: usize = 5;

/// What changed in the book, for the journal and Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadEvent {
    /// A rule was loaded, or loaded anew; also each rule when the folder can be read again.
    Loaded {
        /// Which.
        rule: RuleName,
        /// Its text.
        version: RuleVersion,
        /// How much it may do.
        mode: Mode,
    },
    /// A rule cannot be loaded. Said once for each text.
    Broken {
        /// Its folder; `*` when the folder of all rules cannot be read.
        rule: String,
        /// Why, with carets; at most 8 KiB.
        error: String,
        /// The version that goes on, if any; none is named where it is all of them.
        kept: Option<RuleVersion>,
    },
    /// A rule's folder is gone.
    Removed {
        /// Which.
        rule: RuleName,
    },
}

/// The book that the engine reads, and the means to bring it up to date.
///
/// Readers take [`Reloader::book`] once per alarm and are never blocked. [`Reloader::poll`] compares
/// the texts, so nothing is missed where file events are (network file systems, replaced mounts);
/// [`Reloader::changed`] only tells when polling early is worth it.
#[derive(Debug)]
pub struct Reloader {
    dir: PathBuf,
    sandbox: Sandbox,
    book: Arc<ArcSwap<RuleBook>>,
    seen: BTreeMap<String, Digest>,
    diagnostics: BTreeMap<String, Vec<Diagnostic>>,
    folder_error: Option<String>,
    touched: Arc<Notify>,
    // Dropping it ends the watching; `None` where the system has no file events.
    watcher: Option<notify::RecommendedWatcher>,
}

impl Reloader {
    /// Loads the book for the first time. Never fails: a folder that cannot be read is an event.
    ///
    /// Blocks: it reads files and compiles.
    pub fn load(dir: &Path, sandbox: Sandbox) -> (Self, Vec<ReloadEvent>) {
        let mut reloader = Self::new(dir, sandbox);
        reloader.watch();
        let events = reloader.poll();
        (reloader, events)
    }

    /// Opens the book for the first time, quickly: plain manifests are read, so that each rule
    /// answers its alarms, and scripts are left for [`Reloader::check`]. A rule that is asked before
    /// is checked then. Never fails.
    ///
    /// Blocks: it reads files.
    pub fn open(dir: &Path, sandbox: Sandbox) -> (Self, Vec<ReloadEvent>) {
        let mut reloader = Self::new(dir, sandbox);
        let (names, too_many) = match book::folder_names(dir) {
            Ok(names) => names,
            Err(error) => {
                let events = reloader.folder_failed(&error);
                return (reloader, events);
            }
        };
        let sandbox = &reloader.sandbox;
        let opened = book::in_shares(&names, |share| {
            share.iter().map(|name| (name, open_one(dir, name, sandbox))).collect()
        });
        // Looked at again only when all were read: that gives a writer the more time to be seen. The book
        // is made meanwhile.
        let (book, again) = std::thread::scope(|scope| {
            let rules = opened.iter().filter_map(|(_, (_, (_, rule)))| rule.as_ref().ok().cloned());
            let book = scope.spawn(|| RuleBook::new(rules));
            let again = book::in_shares(&opened, |share| {
                let again = share.iter();
                let again = again
                    .map(|(name, (stamps, _))| opened_again(dir, name, stamps.as_ref(), sandbox));
                again.collect()
            });
            (book.join().unwrap_or_else(|bug| resume_unwind(bug)), again)
        });
        let is_settled = again.iter().all(Option::is_none);
        let opened = opened.into_iter().zip(again);
        let opened = opened.map(|((_, (_, opened)), again)| again.unwrap_or(opened));
        let (mut rules, mut seen) = (Vec::with_capacity(names.len()), Vec::new());
        let mut events = Vec::new();
        // Nothing goes on in an older version.
        let none = BTreeMap::new();
        let whole = too_many.into_iter().map(|found| (None, Err(vec![found])));
        for (files, opened) in whole.chain(opened) {
            seen.extend(files);
            match opened {
                Ok(rule) => {
                    if rule.unchecked().is_none() {
                        events.push(reloader.tell_of(&rule));
                    }
                    rules.push(rule);
                }
                Err(found) => {
                    let name = found.first().map_or("*", |first| first.rule.as_str()).to_owned();
                    events.push(reloader.broken(&none, &name, found));
                }
            }
        }
        reloader.seen = seen.into_iter().collect();
        let book = if is_settled { book } else { RuleBook::new(rules) };
        reloader.book.store(Arc::new(book));
        (reloader, events)
    }

    /// Checks up to `n_max` of the rules that [`Reloader::open`] left for later, by name. Those that
    /// do not pass are taken out. Without an event there is nothing left that can be checked, and from
    /// then on the folder is watched: [`Reloader::poll`] once for what changed meanwhile.
    ///
    /// Blocks: it compiles.
    pub fn check(&mut self, n_max: usize) -> Vec<ReloadEvent> {
        let book = self.book();
        let left = book.rules().iter().filter_map(|rule| Some((rule, rule.unchecked()?)));
        let left: Vec<(&Arc<Rule>, &RuleFiles)> = left.take(n_max).collect();
        let mut rules = by_name(&book);
        let mut events = Vec::new();
        for (rule, files) in left {
            let checked = self.sandbox.check(rule, files);
            // That says nothing about the rule. It stays, unchecked: who asks it is told so.
            if checked.is_err() && self.sandbox.pool().is_exhausted() {
                break;
            }
            rules.remove(&rule.name);
            self.seen.insert(files.name.clone(), files.digest());
            events.push(match checked {
                Ok(checked) => self.loaded(&mut rules, Arc::new(checked)),
                Err(found) => self.broken(&rules, &files.name, found),
            });
        }
        if events.is_empty() {
            self.watch();
        } else {
            self.book.store(Arc::new(RuleBook::new(rules.into_values())));
        }
        events
    }

    /// With thousands of folders the system takes a tenth of a second to watch them all.
    fn watch(&mut self) {
        if self.watcher.is_none() {
            self.watcher = watcher(&self.dir, &self.touched);
        }
    }

    fn new(dir: &Path, sandbox: Sandbox) -> Self {
        Self {
            dir: dir.to_owned(),
            sandbox,
            book: Arc::new(ArcSwap::from_pointee(RuleBook::default())),
            seen: BTreeMap::new(),
            diagnostics: BTreeMap::new(),
            folder_error: None,
            watcher: None,
            touched: Arc::new(Notify::new()),
        }
    }

    /// The rules as they are now. A run keeps the book it began with.
    pub fn book(&self) -> Arc<RuleBook> {
        self.book.load_full()
    }

    /// A handle to the book that follows its changes; for readers on other tasks.
    pub fn shared(&self) -> Arc<ArcSwap<RuleBook>> {
        Arc::clone(&self.book)
    }

    /// All findings about the texts as they are now, also of rules that go on in an older version.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.values().flatten()
    }

    /// What cannot be loaded as the texts are now, in words; none when everything is. What was loaded
    /// before goes on.
    pub fn trouble(&self) -> Option<String> {
        if let Some(error) = &self.folder_error {
            return Some(error.clone());
        }
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        let broken = self.diagnostics.iter().filter(|(_, found)| found.iter().any(is_error));
        let broken: Vec<&str> = broken.map(|(name, _)| name.as_str()).collect();
        let told = &broken[..broken.len().min(TOLD_MAX)];
        (!broken.is_empty())
            .then(|| format!("{} cannot be loaded: {}", broken.len(), told.join(", ")))
    }

    /// Whether the system tells of changes; where it does not, poll often.
    pub fn is_watching(&self) -> bool {
        self.watcher.is_some()
    }

    /// Waits until something in the folder may have changed. Cancel-safe. Never returns where the
    /// system has no file events: poll on a timer beside it.
    pub async fn changed(&self) {
        self.touched.notified().await;
    }

    /// Like [`Reloader::changed`], for a task that does not hold the reloader.
    pub fn signal(&self) -> Arc<Notify> {
        Arc::clone(&self.touched)
    }

    /// Reads the folder and loads what changed. A broken rule keeps its last good version and stops
    /// no other.
    ///
    /// Blocks: it reads files and compiles.
    pub fn poll(&mut self) -> Vec<ReloadEvent> {
        let read = book::read_folders(&self.dir).and_then(|first| {
            // A file that is being written reads differently a moment later; it waits for the next poll.
            book::read_folders(&self.dir).map(|second| (first, second.0))
        });
        let ((folders, unreadable), again) = match read {
            Ok(read) => read,
            Err(error) => return self.folder_failed(&error),
        };
        let was_away = self.folder_error.take().is_some();
        let settled: Vec<RuleFiles> =
            folders.into_iter().filter(|files| again.contains_at(files)).collect();
        let mut events = self.take_in(settled, &again, unreadable);
        if was_away {
            self.tell_again(&mut events);
        }
        events
    }

    /// Tells of each rule that is loaded, and was not told of just now.
    fn tell_again(&self, events: &mut Vec<ReloadEvent>) {
        let loaded = events.iter().filter_map(|event| match event {
            ReloadEvent::Loaded { rule, .. } => Some(rule.clone()),
            ReloadEvent::Broken { .. } | ReloadEvent::Removed { .. } => None,
        });
        let loaded: BTreeSet<RuleName> = loaded.collect();
        let book = self.book();
        // Of those that are not checked yet it is told when they are.
        let others = book.rules().iter().filter(|rule| rule.unchecked().is_none());
        let others = others.filter(|rule| !loaded.contains(&rule.name));
        events.extend(others.map(|rule| loaded_event(rule)));
    }

    fn folder_failed(&mut self, error: &io::Error) -> Vec<ReloadEvent> {
        let error = format!("failed to read the rules folder: {error}");
        if self.folder_error.as_ref() == Some(&error) {
            return Vec::new();
        }
        self.folder_error = Some(error.clone());
        vec![ReloadEvent::Broken { rule: "*".into(), error, kept: None }]
    }

    fn take_in(
        &mut self,
        settled: Vec<RuleFiles>,
        present: &[RuleFiles],
        unreadable: Vec<Diagnostic>,
    ) -> Vec<ReloadEvent> {
        let book = self.book();
        // What was not checked yet is known by its text all the same, unless that could not be read since.
        for files in book.rules().iter().filter_map(|rule| rule.unchecked()) {
            let is_told_of = self.diagnostics.contains_key(&files.name);
            if !is_told_of && !self.seen.contains_key(&files.name) {
                self.seen.insert(files.name.clone(), files.digest());
            }
        }
        let mut rules = by_name(&book);
        let mut events = self.remove(&mut rules, present, &unreadable);
        for files in settled {
            let digest = files.digest();
            if self.seen.get(&files.name) != Some(&digest) {
                events.push(self.build(&mut rules, &files));
                self.seen.insert(files.name, digest);
            }
        }
        for diagnostic in unreadable {
            let name = diagnostic.rule.clone();
            let found = vec![diagnostic];
            if self.diagnostics.get(&name) != Some(&found) {
                events.push(self.broken(&rules, &name, found));
                // Its text is not known any more: when it can be read again, it is loaded again.
                self.seen.remove(&name);
            }
        }
        if !events.is_empty() {
            self.book.store(Arc::new(RuleBook::new(rules.into_values())));
        }
        events
    }

    fn remove(
        &mut self,
        rules: &mut BTreeMap<RuleName, Arc<Rule>>,
        present: &[RuleFiles],
        unreadable: &[Diagnostic],
    ) -> Vec<ReloadEvent> {
        let is_there = |name: &str| {
            present.binary_search_by(|files| files.name.as_str().cmp(name)).is_ok()
                || unreadable.iter().any(|diagnostic| diagnostic.rule == name)
        };
        // Also one that never was a rule, but had been told of as broken.
        let told = self.diagnostics.keys().filter_map(|name| name.parse().ok());
        let mut gone: BTreeSet<RuleName> = rules.keys().cloned().chain(told).collect();
        gone.retain(|name| !is_there(name.as_str()));
        self.seen.retain(|name, _| is_there(name));
        self.diagnostics.retain(|name, _| is_there(name));
        gone.into_iter()
            .map(|rule| {
                rules.remove(&rule);
                ReloadEvent::Removed { rule }
            })
            .collect()
    }

    fn build(
        &mut self,
        rules: &mut BTreeMap<RuleName, Arc<Rule>>,
        files: &RuleFiles,
    ) -> ReloadEvent {
        match self.sandbox.build(files) {
            Ok(rule) => self.loaded(rules, Arc::new(rule)),
            Err(found) => self.broken(rules, &files.name, found),
        }
    }

    fn loaded(
        &mut self,
        rules: &mut BTreeMap<RuleName, Arc<Rule>>,
        rule: Arc<Rule>,
    ) -> ReloadEvent {
        let event = self.tell_of(&rule);
        rules.insert(rule.name.clone(), rule);
        event
    }

    fn tell_of(&mut self, rule: &Rule) -> ReloadEvent {
        self.diagnostics.insert(rule.name.to_string(), rule.warnings.clone());
        loaded_event(rule)
    }

    fn broken(
        &mut self,
        rules: &BTreeMap<RuleName, Arc<Rule>>,
        name: &str,
        found: Vec<Diagnostic>,
    ) -> ReloadEvent {
        let errors: Vec<&str> = found
            .iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .map(|diagnostic| diagnostic.rendered.as_str())
            .collect();
        let error = cut(&errors.join("\n"), ERROR_BYTES_MAX);
        self.diagnostics.insert(name.to_owned(), found);
        let kept = rules.iter().find(|(rule, _)| rule.as_str() == name);
        let kept = kept.map(|(_, rule)| rule.version().clone());
        ReloadEvent::Broken { rule: name.to_owned(), error, kept }
    }
}

fn loaded_event(rule: &Rule) -> ReloadEvent {
    let (name, version) = (rule.name.clone(), rule.version().clone());
    ReloadEvent::Loaded { rule: name, version, mode: rule.manifest.mode }
}

fn by_name(book: &RuleBook) -> BTreeMap<RuleName, Arc<Rule>> {
    book.rules().iter().map(|rule| (rule.name.clone(), Arc::clone(rule))).collect()
}

/// A rule, or what is wrong with it, under the text that was seen; none where that could not be read, or
/// is still to be checked.
type Opened = (Option<(String, Digest)>, Result<Arc<Rule>, Vec<Diagnostic>>);

fn open_one(dir: &Path, name: &OsStr, sandbox: &Sandbox) -> (Option<Stamps>, Opened) {
    let (files, stamps) = match book::read_folder(dir, name) {
        Ok(read) => read,
        Err(unreadable) => return (None, (None, Err(vec![*unreadable]))),
    };
    let opened = match rule::index(files, sandbox) {
        Ok(rule) => (None, Ok(Arc::new(rule))),
        Err(files) => {
            let built = sandbox.build(&files).map(Arc::new);
            (Some((files.name.clone(), files.digest())), built)
        }
    };
    (Some(stamps), opened)
}

/// What was opened, once more, if somebody has written it since; a few times. What is being written at
/// this moment is broken until a later poll.
fn opened_again(
    dir: &Path,
    name: &OsStr,
    stamps: Option<&Stamps>,
    sandbox: &Sandbox,
) -> Option<Opened> {
    let (mut stamps, mut opened) = (stamps.cloned(), None);
    for _ in 0..OPENINGS_MAX {
        if stamps.is_none_or(|stamps| stamps == Stamps::of(dir, name)) {
            return opened;
        }
        let again;
        (stamps, again) = open_one(dir, name, sandbox);
        opened = Some(again);
    }
    let message = "its files are being written; it is loaded when they are whole".to_owned();
    let (name, finding) = (name.to_string_lossy(), Finding::of_file(Code::R110, message));
    Some((None, Err(vec![finding.into_diagnostic(&name, &name, "")])))
}

/// Looks a folder up among folders in the order of their names.
trait ContainsAt {
    fn contains_at(&self, files: &RuleFiles) -> bool;
}

impl ContainsAt for Vec<RuleFiles> {
    fn contains_at(&self, files: &RuleFiles) -> bool {
        self.binary_search_by(|other| other.name.cmp(&files.name))
            .is_ok_and(|at| self[at] == *files)
    }
}

fn watcher(dir: &Path, touched: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let signal = Arc::clone(touched);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is an event too; only what may change a text is worth a poll.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            signal.notify_one();
        }
    })
    .ok()?;
    watcher.watch(dir, RecursiveMode::Recursive).ok()?;
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_being_written_while_it_was_opened_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("rule.yaml"), "half").unwrap();
        let catalogue = Arc::new(untoil_actions::Catalogue::standard(Vec::new()));
        let sandbox = Sandbox::start(catalogue, 1).unwrap();
        let name = OsStr::new("disk");
        let (stamps, _) = open_one(dir.path(), name, &sandbox);
        assert!(opened_again(dir.path(), name, stamps.as_ref(), &sandbox).is_none());
        std::fs::write(folder.join("rule.yaml"), "whole by now").unwrap();
        let (seen, _) = opened_again(dir.path(), name, stamps.as_ref(), &sandbox).unwrap();
        let now = book::read_folder(dir.path(), name).unwrap().0.digest();
        assert!(seen == Some(("disk".to_owned(), now)), "it was opened again");
    }

    #[test]
    fn what_could_not_be_read_before_it_was_checked_is_loaded_when_it_can_be_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("disk");
        std::fs::create_dir(&folder).unwrap();
        let manifest = "summary: First\nowner: platform\non: [{ source: cloudwatch }]\n\
            target: asg/web\nmay: [slack.message]\nmode: shadow\n";
        std::fs::write(folder.join("rule.yaml"), manifest).unwrap();
        let script = folder.join("rule.rhai");
        let text = "fn plan(alarm, facts) { slack::message(\"x\") }";
        std::fs::write(&script, text).unwrap();
        let catalogue = Arc::new(untoil_actions::Catalogue::standard(Vec::new()));
        let sandbox = Sandbox::start(catalogue, 1).unwrap();
        let (mut reloader, _) = Reloader::open(dir.path(), sandbox);
        // As it stays for as long as no thread is left to check it.
        let unchecked = |reloader: &Reloader| reloader.book().rules()[0].unchecked().is_some();
        assert!(unchecked(&reloader));
        std::fs::remove_file(&script).unwrap();
        std::fs::create_dir(&script).unwrap();
        let events = reloader.poll();
        assert!(matches!(&events[..], [ReloadEvent::Broken { .. }]), "{events:?}");
        assert!(reloader.poll().is_empty() && unchecked(&reloader), "it is told once");
        std::fs::remove_dir(&script).unwrap();
        std::fs::write(&script, text).unwrap();
        let events = reloader.poll();
        assert!(matches!(&events[..], [ReloadEvent::Loaded { .. }]), "{events:?}");
        assert!(!unchecked(&reloader) && reloader.diagnostics().next().is_none());
    }
}
