//! A sender as a process of its own, ended with the test by its own id.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// Set to skip these tests where the senders cannot be installed.
const SKIP: &str = "UNTOIL_SKIP_STAND_INS";

/// A running sender; it is killed, by its own id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Sender {
    child: Child,
    log: PathBuf,
}

/// Whether a program is there. Says loudly that the test is skipped, where that was asked for.
pub(crate) fn installed(program: &str, package: &str) -> bool {
    if std::env::var_os(SKIP).is_some() {
        // Not `eprintln!`, which a passing test swallows.
        let said = format!("SKIPPED: {SKIP} is set; with `{program}` nothing was tested\n");
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return false;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(
        found,
        "no `{program}`: run the tests by `.ci/test`, which fetches it into `target/senders`, \
         or run `apt-get install {package}`, or set {SKIP}=1 to skip"
    );
    true
}

impl Sender {
    /// Starts it in a folder, where what it says goes to `log`.
    pub(crate) fn start(mut command: Command, folder: &Path, log: &str) -> Self {
        let log = folder.join(log);
        let mut options = fs::OpenOptions::new();
        let out = options.create(true).append(true).open(&log).unwrap();
        command.current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
        // A group of its own, so that whatever it started ends with it.
        command.stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| {
            assert_ne!(error.kind(), ErrorKind::NotFound, "`installed` was not asked");
            panic!("{command:?} does not start: {error}")
        });
        Self { child, log }
    }

    /// Ends it in order, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        let id = self.child.id().unwrap_or_else(|| panic!("it has ended: {}", self.said()));
        let asked = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
        assert!(asked.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        ended.expect("it ends within 20 s").unwrap();
    }

    /// What it has printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(id) = self.child.id() {
            let group = format!("-{id}");
            drop(std::process::Command::new("kill").args(["-KILL", "--", &group]).status());
        }
    }
}
