//! Debian's Icinga 2 checks a host and a service, and runs the page's notification commands.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to};
use crate::plugin::{DISK, HOST, says, trick};
use crate::process::{Sender, installed};
use crate::service::Untoil;

/// What the page's `UntoilSecret` is.
const SECRET: &str = "a-secret-of-icinga-itself";
/// A service of one host, and another host, checked each second; a problem of the service is told at
/// its second failure.
const OBJECTS: &str = r#"
object CheckerComponent "checker" { }
object NotificationComponent "notification" { }
object User "untoil" { }
object Host "web-1" { check_command = "check_host", enable_active_checks = false, address = "192.0.2.7" }
object Host "db-1" { check_command = "check_host", check_interval = 1s, retry_interval = 1s, max_check_attempts = 1 }
object Service "disk" {
  host_name = "web-1", check_command = "check_disk"
  check_interval = 1s, retry_interval = 1s, max_check_attempts = 2
}
apply Notification "untoil" to Service { command = "untoil-service", users = [ "untoil" ], interval = 0, assign where true }
apply Notification "untoil" to Host { command = "untoil-host", users = [ "untoil" ], interval = 0, assign where true }
"#;

/// Starts Icinga with the page's commands, sending to a port.
async fn icinga(folder: &Path, port: u16) -> Sender {
    let here = |name: &str| folder.join(name).display().to_string();
    let check = |name: &str| {
        let path = here(name);
        format!("object CheckCommand \"{name}\" {{ command = [ \"{path}\" ] }}\n")
    };
    let commands = sending_to(&block("nagios", "object NotificationCommand"), port);
    let secret = format!("const UntoilSecret = \"{SECRET}\"\n");
    let all = [&secret, &commands, &check(HOST), &check(DISK), OBJECTS].concat();
    fs::write(folder.join("icinga2.conf"), all).unwrap();
    let mut command = Command::new("icinga2");
    command.args(["daemon", "--config", "icinga2.conf"]);
    for (name, path) in [
        ("DataDir", "data"),
        ("LogDir", "log"),
        ("CacheDir", "cache"),
        ("SpoolDir", "spool"),
        ("InitRunDir", "run"),
    ] {
        fs::create_dir(folder.join(path)).unwrap();
        command.args(["--define", &format!("{name}={}", here(path))]);
    }
    // Started by root it becomes this user.
    for (name, asked) in [("RunAsUser", "-un"), ("RunAsGroup", "-gn")] {
        let said = Command::new("id").arg(asked).output().await.unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        command.args(["--define", &format!("{name}={}", said.trim())]);
    }
    Sender::start(command, folder, "icinga.out")
}

#[tokio::test]
async fn icinga_tells_of_problems_and_of_recoveries() {
    if !installed("icinga2", "icinga2-bin") {
        return;
    }
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_NAGIOS_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("nagios", "sources:")).unwrap();
    untoil.start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (text, tricked) = trick(folder);
    says(folder, HOST, "PING OK", 0);
    says(folder, DISK, &text, 2);
    let icinga = icinga(folder, untoil.port).await;
    let opened = untoil.until("opened", 1).await;
    let alarm = &opened[0]["alarm"];
    assert_eq!(alarm["key"], "nagios:web-1/disk");
    assert_eq!(alarm["severity"], "CRITICAL");
    assert_eq!(alarm["dimensions"]["address"], "192.0.2.7");
    assert_eq!(alarm["reason"], text, "as it is, for there is no shell");
    assert!(!tricked.exists(), "what a plugin says is not run");
    says(folder, DISK, "DISK OK - 50 % used", 0);
    untoil.until("closed", 1).await;

    // This one has no address.
    says(folder, HOST, "PING CRITICAL - no answer", 2);
    let opened = untoil.until("opened", 2).await;
    assert_eq!(opened[1]["alarm"]["key"], "nagios:db-1");
    assert_eq!(opened[1]["alarm"]["severity"], "DOWN");
    says(folder, HOST, "PING OK", 0);
    untoil.until("closed", 2).await;
    assert_eq!(untoil.entries("received").await.len(), 4, "{}", icinga.said());
    icinga.stop().await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}
