//! Debian's Monit watches a file and runs the page's script; a mapping reads what that posts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to, with};
use crate::process::{Sender, installed};
use crate::service::Untoil;

/// What the page's script reads from a file.
const SECRET: &str = "a-secret-of-monit-itself";
/// Each second; and files beside it.
const DAEMON: &str = "set daemon 1\nset pidfile pid\nset idfile id\nset statefile state\n";

/// Starts Monit with the page's checks of a file in a folder, sending to a port.
fn monit(folder: &Path, port: u16) -> Sender {
    let here = |name: &str| folder.join(name).display().to_string();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    let script = sending_to(&block("monit", "#!/bin/sh"), port);
    write("untoil-monit", &with(&script, "/etc/monit/untoil-secret", &here("secret")), 0o755);
    write("secret", SECRET, 0o600);
    let checks =
        with(&block("monit", "check file"), "/usr/local/bin/untoil-monit", &here("untoil-monit"));
    let checks = with(&checks, "/var/backups/cards.dump", &here("cards.dump"));
    let checks = with(&checks, "10 GB", "100 B");
    let daemon = DAEMON.replace("file ", &format!("file {}/", folder.display()));
    // It refuses a file that others may read.
    write("monitrc", &format!("{daemon}{checks}"), 0o600);
    let mut command = Command::new("monit");
    command.args(["-I", "-c", &here("monitrc")]);
    Sender::start(command, folder, "monit.out")
}

#[tokio::test]
async fn monit_tells_of_a_failing_check_and_of_its_success() {
    if !installed("monit", "monit") {
        return;
    }
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_MONIT_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("monit", "sources:")).unwrap();
    untoil.start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let monit = monit(folder, untoil.port);
    let opened = untoil.until("opened", 1).await;
    let alarm = &opened[0]["alarm"];
    assert_eq!(alarm["source"], "monit");
    assert_eq!(alarm["name"], "backup exists");
    assert_eq!(alarm["reason"], "file doesn't exist");
    fs::write(folder.join("cards.dump"), "명함").unwrap();
    untoil.until("closed", 1).await;

    fs::write(folder.join("cards.dump"), [b'x'; 200]).unwrap();
    let opened = untoil.until("opened", 2).await;
    assert_eq!(opened[1]["alarm"]["name"], "backup size");
    fs::write(folder.join("cards.dump"), "명함").unwrap();
    untoil.until("closed", 2).await;
    assert_eq!(untoil.entries("received").await.len(), 4, "{}", monit.said());
    monit.stop().await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}
