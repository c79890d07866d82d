//! Debian's Nagios checks a service and runs the page's notification command.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to};
use crate::process::{Sender, installed};
use crate::service::Untoil;

/// What the page puts into `$USER5$`.
const SECRET: &str = "a-secret-of-nagios-itself";
/// As Debian's own `nagios.cfg` has it, and the page says to keep.
const ILLEGAL: &str = "illegal_macro_output_chars=`~$&|'<>\"";
/// Files and sockets that it wants beside it, by their setting.
const FILES: [(&str, &str); 10] = [
    ("cfg_file", "objects.cfg"),
    ("resource_file", "resource.cfg"),
    ("log_file", "log"),
    ("object_cache_file", "objects.cache"),
    ("precached_object_file", "objects.precache"),
    ("status_file", "status.dat"),
    ("state_retention_file", "retention.dat"),
    ("temp_file", "temporary"),
    ("lock_file", "lock"),
    ("query_socket", "query"),
];
/// One service of one host, checked each second; a problem is told at the second failure.
const OBJECTS: &str = "
define timeperiod {
  timeperiod_name always
  alias always
  sunday 00:00-24:00
  monday 00:00-24:00
  tuesday 00:00-24:00
  wednesday 00:00-24:00
  thursday 00:00-24:00
  friday 00:00-24:00
  saturday 00:00-24:00
}
define contact {
  contact_name untoil
  host_notifications_enabled 0
  service_notification_period always
  host_notification_period always
  service_notification_options w,u,c,r
  host_notification_options n
  host_notification_commands notify-service-by-untoil
  service_notification_commands notify-service-by-untoil
}
define host {
  host_name web-1
  address 192.0.2.7
  max_check_attempts 1
  check_period always
  contacts untoil
  notification_interval 0
  notification_period always
}
define service {
  host_name web-1
  service_description disk
  check_command check
  check_interval 1
  retry_interval 1
  max_check_attempts 2
  check_period always
  contacts untoil
  notification_interval 0
  notification_period always
}
";

/// Writes what the next checks say, and their exit code, as one file.
fn plugin_says(folder: &Path, text: &str, code: u8) {
    let plugin = format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {code}\n");
    let new = folder.join("plugin.new");
    fs::write(&new, plugin).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, folder.join("plugin")).unwrap();
}

/// Starts Nagios with the page's command, sending to a port.
async fn nagios(folder: &Path, port: u16) -> Sender {
    let here = |name: &str| folder.join(name).display().to_string();
    fs::create_dir(folder.join("results")).unwrap();
    let user = Command::new("id").arg("-un").output().await.unwrap().stdout;
    let group = Command::new("id").arg("-gn").output().await.unwrap().stdout;
    let (user, group) = (String::from_utf8(user).unwrap(), String::from_utf8(group).unwrap());
    let files = FILES.map(|(key, name)| format!("{key}={}", here(name))).join("\n");
    let main = format!(
        "{files}\ntemp_path={}\ncheck_result_path={}\ninterval_length=1\n\
         check_external_commands=0\nnagios_user={user}nagios_group={group}{ILLEGAL}\n",
        here(""),
        here("results"),
    );
    fs::write(folder.join("nagios.cfg"), main).unwrap();
    fs::write(folder.join("resource.cfg"), format!("$USER5$={SECRET}\n")).unwrap();
    let command = sending_to(&block("nagios", "define command"), port);
    let check =
        format!("define command {{\n  command_name check\n  command_line {}\n}}\n", here("plugin"));
    fs::write(folder.join("objects.cfg"), [&command, &check, OBJECTS].concat()).unwrap();
    let mut command = Command::new("nagios4");
    command.arg(here("nagios.cfg"));
    Sender::start(command, folder, "nagios.out")
}

#[tokio::test]
async fn nagios_tells_of_a_problem_and_of_its_recovery() {
    if !installed("nagios4", "nagios4-core") {
        return;
    }
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_NAGIOS_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("nagios", "sources:")).unwrap();
    untoil.start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run = folder.join("run");
    // Each of the three is run by a shell that sees it unquoted or within `"`.
    let trick = format!("$(touch {0}) `touch {0}` '\"; touch {0} #", run.display());
    let trick = format!("DISK CRITICAL - 디스크 95 % {trick}");
    plugin_says(folder, &trick, 2);
    let nagios = nagios(folder, untoil.port).await;
    let opened = untoil.until("opened", 1).await;
    let alarm = &opened[0]["alarm"];
    assert_eq!(alarm["key"], "nagios:web-1/disk");
    assert_eq!(alarm["metric"], "disk");
    assert_eq!(alarm["severity"], "CRITICAL");
    assert_eq!(alarm["dimensions"]["address"], "192.0.2.7");
    let reason = alarm["reason"].as_str().unwrap();
    assert!(reason.starts_with("DISK CRITICAL - 디스크 95 % (touch /"), "{reason}");
    assert!(!run.exists(), "what a plugin says is not run: {reason}");

    plugin_says(folder, "DISK OK - 50 % used", 0);
    untoil.until("closed", 1).await;
    assert_eq!(untoil.entries("received").await.len(), 2, "{}", nagios.said());
    nagios.stop().await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}
