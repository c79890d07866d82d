//! All rules that can be asked, and which of them answer an alarm.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

use untoil_model::{Alarm, RuleName};

use crate::cage;
use crate::diagnostic::{Code, Diagnostic, Finding};
use crate::index::Index;
use crate::rule::{MANIFEST_BYTES_MAX, Rule, RuleFiles};
use crate::sandbox::Sandbox;

/// Most folders looked at.
pub(crate) const RULES_MAX: usize = 20_000;

/// How many rules are worth a thread of their own.
const SHARE_MIN: usize = 32;

/// A set of rules, fixed once it is made.
#[derive(Debug, Default)]
pub struct RuleBook {
    rules: Vec<Arc<Rule>>,
    index: Index,
}

impl RuleBook {
    /// Makes a book of these rules; of two with one name the later stays.
    pub fn new(rules: impl IntoIterator<Item = Arc<Rule>>) -> Self {
        let by_name: BTreeMap<RuleName, Arc<Rule>> =
            rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect();
        let rules: Vec<Arc<Rule>> = by_name.into_values().collect();
        let mut index = Index::default();
        for (rule, at) in rules.iter().zip(0..) {
            for matcher in &rule.manifest.on {
                index.add(at, matcher);
            }
        }
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
        let candidates = self.index.candidates(alarm);
        let matching = candidates.filter(|(_, matcher)| matcher.matches(alarm));
        let mut found: Vec<_> =
            matching.map(|(rule, matcher)| (Reverse(matcher.specificity()), rule)).collect();
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

/// Builds all of them in their order, on as many threads as there are processors.
fn build(folders: &[RuleFiles], sandbox: &Sandbox) -> Vec<Result<Rule, Vec<Diagnostic>>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = folders.len().div_ceil(processors).max(SHARE_MIN);
    std::thread::scope(|scope| {
        let shares: Vec<_> = folders
            .chunks(share)
            .map(|share| {
                let each = move || share.iter().map(|files| sandbox.build(files)).collect();
                scope.spawn::<_, Vec<_>>(each)
            })
            .collect();
        let built = shares.into_iter().map(ScopedJoinHandle::join);
        built.flat_map(|share| share.unwrap_or_else(|bug| resume_unwind(bug))).collect()
    })
}

/// Reads the files of every folder in `dir`, by name, and says what cannot be read.
pub(crate) fn read_folders(dir: &Path) -> io::Result<(Vec<RuleFiles>, Vec<Diagnostic>)> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if !is_hidden && entry.path().is_dir() {
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
    let mut folders = Vec::new();
    for name in names {
        let folder = dir.join(&name);
        let name = name.to_string_lossy().into_owned();
        let read = |file: &str, bytes_max: usize| read_bounded(&folder.join(file), bytes_max);
        match (read("rule.yaml", MANIFEST_BYTES_MAX), read("rule.rhai", cage::SOURCE_BYTES_MAX)) {
            (Ok(manifest), Ok(script)) => folders.push(RuleFiles { name, manifest, script }),
            (Err(error), _) | (_, Err(error)) => {
                let finding =
                    Finding::of_file(Code::R110, format!("failed to read the rule: {error}"));
                diagnostics.push(finding.into_diagnostic(&name, &name, ""));
            }
        }
    }
    Ok((folders, diagnostics))
}

/// A file's bytes, one more than `bytes_max` at most, so that a longer one is seen to be too long.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
