//! PostgreSQL as it is installed here, run as somebody whom it lets run it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// Set to skip tests where the servers that they need cannot be installed.
pub const SKIP: &str = "UNTOIL_SKIP_STAND_INS";

/// The folder of the server's programs.
#[derive(Debug, Clone)]
pub struct Programs(PathBuf);

impl Programs {
    /// Those that are installed here: what the `pg_config` in the path names, for that was chosen; else
    /// the newest.
    ///
    /// # Errors
    /// When there are none.
    pub fn here() -> Result<Self> {
        let told = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
        let told = told.ok().map(|out| PathBuf::from(String::from_utf8_lossy(&out.stdout).trim()));
        let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let packaged = newest_first(packaged.filter_map(Result::ok).map(|version| version.path()));
        let packaged = packaged.into_iter().map(|version| version.join("bin"));
        let found = told.into_iter().chain(packaged).find(|bin| bin.join("initdb").exists());
        found.map(Self).context(
            "there is no PostgreSQL server here: install it (`apt-get install postgresql`)",
        )
    }

    /// Those that are installed here, for a test; none, and a loud line, when tests that need them are
    /// to be skipped ([`SKIP`]).
    ///
    /// # Panics
    /// When there are none and nothing is to be skipped.
    pub fn for_a_test() -> Option<Self> {
        if std::env::var_os(SKIP).is_some() {
            // Not `eprintln!`, which a passing test swallows.
            let said = format!("SKIPPED: {SKIP} is set, so nothing was run on PostgreSQL\n");
            drop(std::io::stderr().write_all(said.as_bytes()));
            return None;
        }
        match Self::here() {
            Ok(programs) => Some(programs),
            Err(why) => panic!("{why}, or set {SKIP} to go without"),
        }
    }

    /// Makes an empty database whose owner is `untoil`, who needs no password. `options` are those of
    /// `initdb`; a later one counts.
    ///
    /// # Errors
    /// When it cannot be made, as where the folder is not the server's own.
    pub fn init(&self, data: &Path, options: &[&str]) -> Result<()> {
        let mut init = self.server_side("initdb");
        init.args(["-A", "trust", "-U", "untoil", "-E", "UTF8", "--locale=C.UTF-8"]);
        run(init.args(options).arg("-D").arg(data))
    }

    /// A program that works on the server's data.
    pub fn server_side(&self, name: &str) -> Command {
        let program = self.0.join(name);
        if !is_root() {
            return Command::new(program);
        }
        // The server refuses to be run by root.
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command.current_dir("/");
        command
    }

    /// A program that asks a server.
    pub(crate) fn client(&self, name: &str) -> Command {
        Command::new(self.0.join(name))
    }

    /// Lets the server use a file or a folder.
    ///
    /// # Errors
    /// When it cannot be given away.
    pub fn hand_over(path: &Path) -> Result<()> {
        if is_root() { run(Command::new("chown").arg("postgres").arg(path)) } else { Ok(()) }
    }
}

/// Folders called by their versions, whole numbers.
fn newest_first(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<_> = folders.collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    folders
}

/// Whether this program may do everything here.
pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

/// Runs a program that has to succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let ended =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let told = || format!("{command:?}: {}: {}", ended.status, said.trim());
    ended.status.success().then_some(()).with_context(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_versions_the_newest_comes_first() {
        let folders = ["9.6", "15", "9", "17"].map(PathBuf::from);
        let wanted = ["17", "15", "9", "9.6"].map(PathBuf::from);
        assert_eq!(newest_first(folders.into_iter()), wanted);
    }

    #[test]
    fn what_a_program_says_that_fails_is_in_the_error() {
        let mut fails = Command::new("sh");
        // The command is in the error, too: it does not spell out what it says.
        let script = "printf 'no %s' room >&2; exit 3";
        let error = run(fails.args(["-c", script])).unwrap_err().to_string();
        assert!(error.contains("no room") && error.contains("exit status: 3"), "{error}");
    }
}
