//! Debian's collectd counts files, and tells by `write_http` when there are too many.

use std::fs;
use std::path::Path;

use tokio::process::Command;

use crate::page::{block, sending_to, with};
use crate::process::{Sender, installed};
use crate::service::Untoil;

/// What the page writes in the header.
const SECRET: &str = "a-secret-of-collectd-itself";

/// Starts collectd with the page's settings for a folder's `spool`, sending to a port.
fn collectd(folder: &Path, port: u16) -> Sender {
    let spool = folder.join("spool");
    fs::create_dir(&spool).unwrap();
    let settings = sending_to(&block("collectd", "LoadPlugin"), port);
    let settings = with(&settings, "/var/spool/cards", &spool.display().to_string());
    let settings = with(&settings, "FailureMax 100", "FailureMax 2");
    let settings = with(&settings, "SECRET", SECRET);
    // What Debian's own file says, but in this folder and each second.
    let here = folder.display();
    let base = format!(
        "Hostname \"web-1\"\nFQDNLookup false\nInterval 1\nBaseDir \"{here}\"\n\
         PIDFile \"{here}/pid\"\nPluginDir \"/usr/lib/collectd\"\n\
         TypesDB \"/usr/share/collectd/types.db\"\n\
         LoadPlugin logfile\n<Plugin logfile>\n  File stdout\n</Plugin>\n"
    );
    let file = folder.join("collectd.conf");
    fs::write(&file, base + &settings).unwrap();
    let mut command = Command::new("collectd");
    command.arg("-f").arg("-C").arg(file);
    Sender::start(command, folder, "collectd.out")
}

#[tokio::test]
async fn collectd_tells_of_a_threshold_that_is_crossed_and_of_its_end() {
    if !installed("collectd", "collectd-core libyajl2 libcurl3-gnutls") {
        return;
    }
    let mut untoil = Untoil::towards(1);
    untoil.set("UNTOIL_MODE", "dry_run");
    untoil.set("UNTOIL_COLLECTD_SECRET", SECRET);
    fs::write(untoil.path("untoil.yaml"), block("collectd", "sources:")).unwrap();
    untoil.start().await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let collectd = collectd(folder, untoil.port);
    let files = ["명함-1", "명함-2", "명함-3"].map(|name| folder.join("spool").join(name));
    for file in &files {
        fs::write(file, "명함").unwrap();
    }
    let alarm = &untoil.until("opened", 1).await[0]["alarm"];
    assert_eq!(alarm["key"], "collectd:collectd_filecount_files/web-1/cards", "{alarm}");
    assert_eq!(alarm["name"], "collectd_filecount_files cards");
    assert_eq!((&alarm["severity"], &alarm["value"]), (&"FAILURE".into(), &3.into()));
    assert!(alarm["reason"].as_str().unwrap().contains("above the failure threshold"));
    // `Persist`: it is told at each interval.
    untoil.until("received", 3).await;
    for file in &files {
        fs::remove_file(file).unwrap();
    }
    untoil.until("closed", 1).await;
    assert_eq!(untoil.entries("opened").await.len(), 1, "{}", collectd.said());
    collectd.stop().await;
    assert_eq!(untoil.run(&["audit", "verify"]).await.status, 0);
}
