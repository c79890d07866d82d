//! Keeps the rule book up to date with its folder while the engine runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use untoil_model::{Mode, RuleName, RuleVersion};

use crate::book::{self, RuleBook};
use crate::diagnostic::{Diagnostic, Severity, cut};
use crate::rule::{Rule, RuleFiles};
use crate::sandbox::Sandbox;

/// Longest error in an event: a few findings with their carets.
const ERROR_BYTES_MAX: usize = 8 * 1024;

/// What changed in the book, for the journal and Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReloadEvent {
    /// A rule was loaded, or loaded anew.
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
        /// The version that goes on, if any.
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
    seen: BTreeMap<String, RuleFiles>,
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
        let touched = Arc::new(Notify::new());
        let mut reloader = Self {
            dir: dir.to_owned(),
            sandbox,
            book: Arc::new(ArcSwap::from_pointee(RuleBook::default())),
            seen: BTreeMap::new(),
            diagnostics: BTreeMap::new(),
            folder_error: None,
            watcher: watcher(dir, &touched),
            touched,
        };
        let events = reloader.poll();
        (reloader, events)
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
        self.folder_error = None;
        let settled: Vec<RuleFiles> =
            folders.into_iter().filter(|files| again.contains_at(files)).collect();
        self.take_in(settled, &again, unreadable)
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
        let mut rules: BTreeMap<RuleName, Arc<Rule>> =
            self.book().rules().iter().map(|rule| (rule.name.clone(), Arc::clone(rule))).collect();
        let mut events = self.remove(&mut rules, present, &unreadable);
        for files in settled {
            if self.seen.get(&files.name) != Some(&files) {
                events.push(self.build(&mut rules, &files));
                self.seen.insert(files.name.clone(), files);
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
        self.seen.retain(|name, _| is_there(name));
        self.diagnostics.retain(|name, _| is_there(name));
        let gone: Vec<RuleName> =
            rules.keys().filter(|name| !is_there(name.as_str())).cloned().collect();
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
            Ok(rule) => {
                let rule = Arc::new(rule);
                self.diagnostics.insert(files.name.clone(), rule.warnings.clone());
                rules.insert(rule.name.clone(), Arc::clone(&rule));
                ReloadEvent::Loaded {
                    rule: rule.name.clone(),
                    version: rule.version.clone(),
                    mode: rule.manifest.mode,
                }
            }
            Err(found) => self.broken(rules, &files.name, found),
        }
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
        let kept = kept.map(|(_, rule)| rule.version.clone());
        ReloadEvent::Broken { rule: name.to_owned(), error, kept }
    }
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
