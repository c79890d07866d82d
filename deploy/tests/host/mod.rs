//! Runs the committed documents for real: as root, in a private mount namespace, on real tmpfs mounts.
//!
//! The scripts are run as they ship. Where a test needs another world (a full `/var/log`, a
//! stand-in for `systemctl`), that is mounted over the real one inside the namespace, which is gone
//! when the test is.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "these tests run the documents' scripts, and say loudly when they cannot"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use untoil_deploy::{RESULT_MARK, document};

/// What every test's shell begins with. `$T` is the test's folder.
///
/// `run NAME DOCUMENT VAR=VALUE…` runs a document and keeps its output and status under NAME.
/// Parameters have values unless given.
const PREAMBLE: &str = r#"
set -eu
mount -t tmpfs -o size=4m,mode=755 none /run
mount -t tmpfs -o size=64m,mode=755 none /var/log
run() {
  name=$1 doc=$2; shift 2
  status=0
  env -i PATH=/nowhere SSM_COMMAND_ID=c SSM_RunId=01JTESTRUN-1-0 SSM_NotAfter="$(($(date +%s) + 300))" SSM_Mode=act \
    SSM_Mount=/var/log SSM_TargetUsedPct=80 SSM_KeepDays=7 SSM_RotateMb=10 SSM_Docker=off \
    SSM_Seconds=3 SSM_MinCorePct=10 "$@" /bin/sh "$T/$doc.sh" >"$T/$name.out" 2>"$T/$name.err" </dev/null || status=$?
  echo "$status" >"$T/$name.status"
}
fill() { head -c "$2" /dev/zero >"$1"; }          # packs well
noise() { head -c "$2" /dev/urandom >"$1"; }      # does not pack
tree() { (cd /var/log && find . -type f -printf '%p %s %T@\n' | sort) >"$T/$1.tree"; }
stand_in() { # PATH: the script on stdin takes the place of a program
  cat >"$T/stand-in.${1##*/}" && chmod 755 "$T/stand-in.${1##*/}" && mount --bind "$T/stand-in.${1##*/}" "$1"
}
config() { cat >"$T/logrotate.conf"; chmod 644 "$T/logrotate.conf"; mount --bind "$T/logrotate.conf" /etc/logrotate.conf; }
"#;

/// One answer of a document.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) json: Value,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }
}

/// What is left of a host after a test's shell has ended.
#[derive(Debug)]
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// Runs `shell` after the preamble; `None`, said loudly, where namespaces are not permitted.
    pub(crate) fn after(shell: &str) -> Option<Self> {
        Self::with_scripts(shell, |text| text)
    }

    /// The same with every script changed by `how`.
    pub(crate) fn with_scripts(shell: &str, how: fn(String) -> String) -> Option<Self> {
        let probe =
            Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/run"]).output();
        match probe {
            Ok(probe) if probe.status.success() => {}
            Ok(probe) => {
                let why = String::from_utf8_lossy(&probe.stderr).into_owned();
                eprintln!(
                    "SKIPPED: the scripts were NOT run: a private mount namespace is not permitted: {why}"
                );
                return None;
            }
            Err(why) => {
                eprintln!("SKIPPED: the scripts were NOT run: `unshare` cannot be started: {why}");
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for document in untoil_deploy::documents() {
            let path = folder.path().join(format!("{}.sh", document.name));
            fs::write(path, how(script(document.name))).expect("the folder is ours");
        }
        let driver = folder.path().join("driver.sh");
        fs::write(&driver, format!("{PREAMBLE}\n{shell}\n")).expect("the folder is ours");
        let ended = Command::new("unshare")
            .args(["-m", "--propagation", "private", "/bin/sh"])
            .arg(&driver)
            .env("T", folder.path())
            .output()
            .expect("it could be started before");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "the test's own shell failed: {told}");
        Some(Self { folder })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file that the test's shell wrote under `$T`.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|why| panic!("`{name}`: {why}"))
    }

    /// The answer of the run called `name`: its first line is the result, whatever follows.
    pub(crate) fn answer(&self, name: &str) -> Answer {
        let stdout = self.text(&format!("{name}.out"));
        let stderr = self.text(&format!("{name}.err"));
        let first = stdout.lines().next().unwrap_or_default();
        let json = first.strip_prefix(RESULT_MARK).unwrap_or_else(|| {
            panic!("{name}: the first line is not a result: `{stdout}` `{stderr}`")
        });
        let json: Value = serde_json::from_str(json).unwrap_or_else(|why| panic!("{why}: {json}"));
        let status = self.text(&format!("{name}.status")).trim().parse().expect("a status");
        assert!(stdout.chars().count() <= 24_000, "SSM would cut {} characters", stdout.len());
        assert!(json.to_string().len() <= 8192, "the evidence is larger than the journal takes");
        let answer = Answer { status, json, stdout, stderr };
        declared(&answer);
        answer
    }
}

/// Every answer is one that its document declares.
fn declared(answer: &Answer) {
    let document = document(answer.json["document"].as_str().unwrap()).unwrap();
    let ending = document.ending(answer.code()).unwrap_or_else(|| panic!("undeclared: {answer:?}"));
    if ending.code == "already_done" {
        assert_eq!(answer.json["ok"], answer.json["first"]["ok"]);
        return;
    }
    assert_eq!(answer.status, i32::from(ending.status), "{answer:?}");
    assert_eq!(answer.json["ok"], ending.ok, "{answer:?}");
}

/// The script of a committed document, as the agent joins it.
pub(crate) fn script(name: &str) -> String {
    let content = document(name).expect("a document of ours").content;
    let json: Value = serde_json::from_str(content).expect("it is JSON");
    let lines = json["mainSteps"][0]["inputs"]["runCommand"].as_array().expect("it has lines");
    lines.iter().map(|line| line.as_str().expect("text")).collect::<Vec<_>>().join("\n")
}
