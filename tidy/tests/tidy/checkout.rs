//! The files of the checkout: what git knows of, or all of them where there is no git.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file; its path is relative to the root of the repository, with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Text {
    /// A file that a test of a checker makes up.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tidy = Path::new(env!("CARGO_MANIFEST_DIR"));
    tidy.parent().expect("`tidy` lies in the repository").to_owned()
}

/// Everything that is, or is about to be, committed; files that are not text are left out.
pub(crate) fn texts() -> Vec<Text> {
    let texts = paths().into_iter().filter_map(|path| {
        let text = fs::read_to_string(root().join(&path)).ok()?;
        Some(Text { path, text })
    });
    texts.collect()
}

/// The Rust sources.
pub(crate) fn sources() -> Vec<Text> {
    texts().into_iter().filter(|file| has_extension(&file.path, "rs")).collect()
}

/// One file of the repository, by its path.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("`{path}`: {e}"))
}

/// Whether a path ends in `.extension`.
pub(crate) fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// The paths of all files that are, or are about to be, committed.
pub(crate) fn paths() -> Vec<String> {
    let mut paths = from_git().unwrap_or_else(|| {
        let mut found = Vec::new();
        walk(&root(), &mut found);
        found
    });
    paths.retain(|path| root().join(path).is_file());
    paths.sort();
    assert!(paths.len() > 100, "only {} files were found: the checks would be empty", paths.len());
    paths
}

#[expect(clippy::disallowed_methods, reason = "a test asks git what is committed")]
fn from_git() -> Option<Vec<String>> {
    if !root().join(".git").exists() {
        return None;
    }
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let out = Command::new("git").args(args).current_dir(root()).output().ok()?;
    let list = String::from_utf8(out.stdout).ok()?;
    out.status
        .success()
        .then(|| list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("`{}`: {e}", folder.display()));
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if let Ok(relative) = path.strip_prefix(root()) {
            found.push(relative.to_string_lossy().replace('\\', "/"));
        }
    }
}

#[test]
fn walking_finds_what_git_finds() {
    let mut walked = Vec::new();
    walk(&root(), &mut walked);
    for path in ["Cargo.toml", "tidy/tests/tidy/main.rs", ".ci/run"] {
        assert!(walked.iter().any(|found| found == path), "walking misses `{path}`");
        assert!(paths().iter().any(|found| found == path), "the list misses `{path}`");
    }
}
