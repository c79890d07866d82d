//! A check of ours that Nagios and Icinga run: what it finds is what the test says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What a host's check and a service's check are called in a test's folder.
pub(crate) const HOST: &str = "check_host";
pub(crate) const DISK: &str = "check_disk";

/// From now on a check says this, and ends with this code: 0 well, 2 badly.
pub(crate) fn says(folder: &Path, check: &str, text: &str, code: u8) {
    let script = format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n");
    let new = folder.join(format!("{check}.new"));
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    // At once: it may be running.
    fs::rename(new, folder.join(check)).unwrap();
}

/// What a disk's check says when somebody wants it to be run, and the file that would then be there.
pub(crate) fn trick(folder: &Path) -> (String, PathBuf) {
    let tricked = folder.join("tricked");
    let touch = format!("touch {}", tricked.display());
    // A shell runs the first two within `"` as well, and the last where a quote ends.
    let text = format!("DISK CRITICAL - 디스크 95 % $({touch}) `{touch}` '\"; {touch} #");
    (text, tricked)
}
