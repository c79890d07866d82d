//! Debian's Nagios checks a host and a service, and runs the page's notification commands.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to};
use crate::plugin::{DISK, HOST, says, trick};
use crate::process::{Sender, installed};
use crate::service::{Untoil, eventually};

/// What the page puts into `$USER5$`.
const SECRET: &str = "a-secret-of-nagios-itself";
/// As Debian's own `nagios.cfg` has it, and the page says to keep.
const ILLEGAL: &str = "illegal_macro_output_chars=`~$&|'<>\"";
/// Seconds instead of minutes, and everything from the start on.
const QUICK: &str = "
interval_length=1
service_inter_check_delay_method=n
host_inter_check_delay_method=n
check_result_reaper_frequency=1
cached_host_check_horizon=0
check_external_commands=0
";
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
/// A service of one host, and another host, checked each second; a problem of the service is told at
/// its second failure.
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
  service_notification_period always
  host_notification_period always
  service_notification_options w,u,c,r
  host_notification_options d,u,r
  host_notification_commands notify-host-by-untoil
  service_notification_commands notify-service-by-untoil
}
define host {
  host_name web-1
  address 192.0.2.7
  max_check_attempts 1
  check_period always
  contacts untoil
  notification_period always
}
define host {
  host_name db-1
  address 192.0.2.8
  check_command check_host
  check_interval 1
  retry_interval 1
  max_check_attempts 1
  check_period always
  contacts untoil
  notification_interval 0
  notification_period always
}
define service {
  host_name web-1
  service_description disk
  check_command check_disk
  check_interval 1
  retry_interval 1
  max_check_attempts 2
  check_period always
  contacts untoil
  notification_interval 0
  notification_period always
}
";

/// Starts Nagios with the page's commands, sending to a port.
async fn nagios(folder: &Path, port: u16) -> Sender {
    let here = |name: &str| folder.join(name).display().to_string();
    fs::create_dir(folder.join("results")).unwrap();
    // Started by root it becomes this user.
    let user = Command::new("id").arg("-un").output().await.unwrap().stdout;
    let group = Command::new("id").arg("-gn").output().await.unwrap().stdout;
    let (user, group) = (String::from_utf8(user).unwrap(), String::from_utf8(group).unwrap());
    let files = FILES.map(|(key, name)| format!("{key}={}", here(name))).join("\n");
    let (scratch, results) = (here(""), here("results"));
    let main = format!(
        "{files}\ntemp_path={scratch}\ncheck_result_path={results}{QUICK}\
         nagios_user={user}nagios_group={group}{ILLEGAL}\n"
    );
    fs::write(folder.join("nagios.cfg"), main).unwrap();
    fs::write(folder.join("resource.cfg"), format!("$USER5$={SECRET}\n")).unwrap();
    let commands = sending_to(&block("nagios", "define command"), port);
    let check = |name: &str| {
        let path = here(name);
        format!("define command {{\n  command_name {name}\n  command_line {path}\n}}\n")
    };
    let objects = [&commands, &check(HOST), &check(DISK), OBJECTS].concat();
    fs::write(folder.join("objects.cfg"), objects).unwrap();
    let mut command = Command::new("nagios4");
    command.arg(here("nagios.cfg"));
    Sender::start(command, folder, "nagios.out")
}

#[tokio::test]
async fn nagios_tells_of_problems_and_of_recoveries() {
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
    let (text, tricked) = trick(folder);
    says(folder, HOST, "PING OK", 0);
    says(folder, DISK, &text, 2);
    let nagios = nagios(folder, untoil.port).await;
    let opened = untoil.until("opened", 1).await;
    let alarm = &opened[0]["alarm"];
    assert_eq!(alarm["key"], "nagios:web-1/disk");
    assert_eq!(alarm["metric"], "disk");
    assert_eq!(alarm["severity"], "CRITICAL");
    assert_eq!(alarm["dimensions"]["address"], "192.0.2.7");
    let reason = alarm["reason"].as_str().unwrap();
    assert!(reason.starts_with("DISK CRITICAL - 디스크 95 % (touch /"), "{reason}");
    assert!(!tricked.exists(), "what a plugin says is not run: {reason}");
    says(folder, DISK, "DISK OK - 50 % used", 0);
    untoil.until("closed", 1).await;

    // It is told while nobody listens.
    untoil.kill().await;
    says(folder, HOST, "PING CRITICAL - no answer", 2);
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    eventually("Nagios tells it", || log().contains("HOST NOTIFICATION: untoil;db-1;DOWN")).await;
    untoil.start().await;
    let opened = untoil.until("opened", 2).await;
    assert_eq!(opened[1]["alarm"]["key"], "nagios:db-1");
    assert_eq!(opened[1]["alarm"]["severity"], "DOWN");
    assert_eq!(opened[1]["alarm"]["reason"], "PING CRITICAL - no answer");
    says(folder, HOST, "PING OK", 0);
    untoil.until("closed", 2).await;
    assert_eq!(untoil.entries("received").await.len(), 4, "{}", nagios.said());
    nagios.stop().await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}
