//! All tests of all rules of a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use untoil_actions::Catalogue;
use untoil_dispatcher::Asks;
use untoil_intake::Decoders;
use untoil_model::RuleName;

use super::format::{self, Test};
use super::stage::{self, Cast};
use crate::rulebook::Loaded;
use crate::show;

/// What came of a folder's tests.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Every rule, by name.
    pub(crate) rules: Vec<RuleReport>,
}

/// What came of one rule's tests.
#[derive(Debug)]
pub(crate) struct RuleReport {
    /// The rule's folder.
    pub(crate) rule: String,
    /// Why its tests cannot be run, as its author should read it.
    pub(crate) broken: Option<String>,
    pub(crate) tests: Vec<TestReport>,
    /// Whether any test had `plan` asked.
    pub(crate) plan_asked: bool,
    /// Whether any test had `next` asked; `None` for a rule without one.
    pub(crate) next_asked: Option<bool>,
}

/// What came of one test.
#[derive(Debug)]
pub(crate) struct TestReport {
    pub(crate) name: String,
    /// What is not as it says. Empty: it passed.
    pub(crate) misses: Vec<String>,
    /// What happened, an entry a line. Kept of failed tests only.
    pub(crate) story: Vec<String>,
}

impl Report {
    /// Tests that passed, and what failed: tests, and rules whose tests cannot be run.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let all = || self.rules.iter().flat_map(|rule| &rule.tests);
        let passed = all().filter(|test| test.misses.is_empty()).count();
        let broken = self.rules.iter().filter(|rule| rule.broken.is_some()).count();
        (passed, all().count() - passed + broken)
    }
}

/// Runs the tests of all rules in `dir`, one after another, and tells each rule as it is done.
///
/// # Errors
/// When the folder or its `policy.yaml` cannot be read.
pub(crate) fn run(
    dir: &Path,
    http_hosts: &[String],
    mut done: impl FnMut(&RuleReport),
) -> anyhow::Result<Report> {
    let catalogue = Arc::new(Catalogue::standard(http_hosts.to_vec()));
    let loaded = Loaded::from(dir, Arc::clone(&catalogue))?;
    let mut report = Report::default();
    for folder in folders(dir)? {
        let ran = rule(&folder, &loaded, &catalogue);
        done(&ran);
        report.rules.push(ran);
    }
    Ok(report)
}

/// The folders that hold a rule, or tests of one.
fn folders(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || format!("cannot read `{}`", dir.display());
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if ["rule.yaml", "tests.yaml"].iter().any(|file| path.join(file).is_file()) {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

fn rule(folder: &Path, loaded: &Loaded, catalogue: &Arc<Catalogue>) -> RuleReport {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut report = RuleReport {
        rule: name.clone(),
        broken: None,
        tests: Vec::new(),
        plan_asked: false,
        next_asked: None,
    };
    match ready(&name, folder, loaded) {
        Ok((name, next, tests)) => {
            report.next_asked = next.then_some(false);
            for test in tests {
                let cast = Cast {
                    rule: name.clone(),
                    book: loaded.book(test.mode).asked(Asks::OnPausedTime),
                    policy: loaded.policy.clone(),
                    decoders: loaded.decoders(Decoders::default()),
                    catalogue: Arc::clone(catalogue),
                };
                one(cast, test, &mut report);
            }
        }
        Err(error) => report.broken = Some(format!("{error:#}")),
    }
    report
}

/// A rule that can be asked, whether it has a `next`, and its tests.
fn ready(
    name: &str,
    folder: &Path,
    loaded: &Loaded,
) -> anyhow::Result<(RuleName, bool, Vec<Test>)> {
    let name: RuleName = name.parse()?;
    let rules = loaded.rules();
    let rule = rules.get(&name).context("the rule cannot be loaded; `untoil check` says why")?;
    let path = folder.join("tests.yaml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok((name, rule.has_next(), Vec::new()));
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", path.display())),
    };
    let tests = format::parse(&text).with_context(|| format!("in `{}`", path.display()))?;
    Ok((name, rule.has_next(), tests))
}

fn one(cast: Cast, test: Test, report: &mut RuleReport) {
    let name = test.name.clone();
    let played = stage::play(cast, test);
    report.plan_asked |= played.plan_asked;
    if let Some(asked) = &mut report.next_asked {
        *asked |= played.next_asked;
    }
    let failed = !played.misses.is_empty();
    let story = played.entries.iter().filter(|_| failed).map(show::entry_line).collect();
    report.tests.push(TestReport { name, misses: played.misses, story });
}
