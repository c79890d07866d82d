//! Models of the fixed documents: what a host would answer, and what would change on it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use untoil_actions::CommandState;
use untoil_deploy::RESULT_MARK;

use crate::state::{Host, Sent, State};

/// Size of every simulated disk.
const DISK_KB: i64 = 20_971_520;
/// One percent of it.
const KB_PER_PCT: f64 = 209_715.2;

/// How long a document runs on a simulated host.
fn runs(document: &str) -> SignedDuration {
    SignedDuration::from_secs(match document {
        "untoil-disk-reclaim" => 20,
        "untoil-restart-unit" => 15,
        "untoil-cpu-culprit" => 11,
        _ => 5,
    })
}

/// What a host answers, and in words what was changed, if anything.
struct Answer {
    result: Value,
    changed: Option<String>,
}

impl Answer {
    fn only(result: Value) -> Self {
        Self { result, changed: None }
    }

    fn no(code: &str) -> Self {
        Self::only(json!({ "ok": false, "code": code, "acted": false, "simulated": true }))
    }
}

impl State {
    pub(crate) fn tick_commands(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.iter_mut().filter(|command| command.end.is_none()) {
            self.tick_command(command);
        }
        self.commands = commands;
    }

    fn tick_command(&mut self, command: &mut Sent) {
        let now = self.now;
        if command.begun {
            return;
        }
        let online = self.hosts.get(&command.instance).is_some_and(|host| host.ping == "Online");
        if online && now < command.undelivered_at {
            self.begin(command);
        } else if now >= command.undelivered_at {
            let end = (CommandState::Unclear, "DeliveryTimedOut", -1, String::new());
            command.end = Some(end);
            command.ends_at = now;
        }
    }

    /// The host takes the command: what it changes, it changes now; its answer comes later.
    fn begin(&mut self, command: &mut Sent) {
        let now = self.now;
        command.begun = true;
        command.ends_at = now.saturating_add(runs(&command.document)).unwrap_or(now);
        let Some(host) = self.hosts.get_mut(&command.instance) else { return };
        let answer = run(host, &command.document, &command.params, now);
        let ok = answer.result["ok"] == json!(true);
        let (state, status) =
            if ok { (CommandState::Success, "Success") } else { (CommandState::Failed, "Failed") };
        let code = answer.result["code"].as_str().unwrap_or_default();
        let exit = untoil_deploy::document(&command.document)
            .and_then(|document| document.ending(code))
            .map_or_else(|| i32::from(!ok), |ending| i32::from(ending.status));
        let stdout = format!("{RESULT_MARK}{}\n(simulated)\n", answer.result);
        command.end = Some((state, status, exit, stdout));
        if let Some(changed) = answer.changed {
            let target = format!("ec2/{}", command.instance);
            self.effect("ssm:SendCommand", &command.marker, &target, &changed);
        }
    }
}

/// The prelude of every document: too late, or done before.
fn run(
    host: &mut Host,
    document: &str,
    params: &BTreeMap<String, String>,
    now: Timestamp,
) -> Answer {
    let text = |name: &str| params.get(name).map_or("", String::as_str);
    if text("NotAfter").parse::<i64>().is_ok_and(|at| now.as_second() > at) {
        return Answer::no("expired");
    }
    let acts = text("Mode") == "act" && untoil_deploy::document(document).is_some_and(|d| d.writes);
    if let Some(first) = host.done.get(text("RunId")).filter(|_| acts) {
        let ok = first["ok"].clone();
        let repeat = json!({
            "ok": ok, "code": "already_done", "acted": false, "first": first, "simulated": true,
        });
        return Answer::only(repeat);
    }
    let with_default = |name: &str| {
        let given = params.get(name).cloned();
        let default = || untoil_deploy::document(document)?.parameter(name)?.default;
        given.or_else(|| default().map(str::to_owned)).unwrap_or_default()
    };
    let answer = match document {
        "untoil-disk-diag" => diag(host, &with_default("Mount")),
        "untoil-disk-reclaim" => {
            reclaim(host, &with_default("Mount"), &with_default("TargetUsedPct"))
        }
        "untoil-cpu-culprit" => culprit(host),
        "untoil-restart-unit" => restart(host, &with_default("Unit"), &with_default("MinCorePct")),
        _ => Answer::no("unknown_document"),
    };
    if acts {
        host.done.insert(text("RunId").to_owned(), answer.result.clone());
    }
    answer
}

fn diag(host: &Host, mount: &str) -> Answer {
    let Some(disk) = host.disks.get(mount) else { return Answer::no("not_a_mount") };
    Answer::only(json!({
        "ok": true, "code": "diag", "acted": false, "simulated": true,
        "mount": mount, "fs": "xfs", "size_kb": DISK_KB,
        "avail_kb": whole((100.0 - disk.used_pct) * KB_PER_PCT), "used_pct": whole(disk.used_pct),
        "inode_used_pct": 3, "read_only": false, "deleted_open_kb": 0, "deleted_open": [],
        "dirs": [], "files": [], "grown": [],
    }))
}

fn reclaim(host: &mut Host, mount: &str, target: &str) -> Answer {
    let Some(disk) = host.disks.get_mut(mount) else { return Answer::no("not_a_mount") };
    let target: f64 = target.parse().unwrap_or(80.0);
    let before = disk.used_pct;
    if before <= target {
        return Answer::only(json!({
            "ok": true, "code": "nothing_to_do", "acted": false, "simulated": true,
            "mount": mount, "target_used_pct": whole(target),
            "used_pct_before": whole(before), "used_pct_after": whole(before), "freed_kb": 0,
        }));
    }
    // It stops a little below the target: files are not cut in the middle.
    let freed = (before - target + 1.0).min(disk.reclaimable_pct).max(0.0);
    disk.used_pct -= freed;
    disk.reclaimable_pct -= freed;
    let reached = disk.used_pct <= target;
    let changed = (freed > 0.0).then(|| format!("{mount} {before:.0} % → {:.0} %", disk.used_pct));
    let mut result = json!({
        "ok": reached, "code": if reached { "reached" } else { "not_enough" },
        "acted": freed > 0.0, "simulated": true,
        "mount": mount, "target_used_pct": whole(target),
        "used_pct_before": whole(before), "used_pct_after": whole(disk.used_pct),
        "inode_used_pct": 3, "freed_kb": whole(freed * KB_PER_PCT),
        "rotated": 1, "compressed": 4, "deleted": 0, "skipped_open": 0, "odd_names": 0, "steps": [],
    });
    if !reached {
        result["biggest"] = json!([{ "path": format!("{mount}simulated.db"), "kb": DISK_KB / 2 }]);
    }
    Answer { result, changed }
}

fn culprit(host: &Host) -> Answer {
    let mut units: Vec<_> = host.units.iter().filter(|(_, unit)| unit.core_pct >= 1.0).collect();
    units.sort_by(|a, b| b.1.core_pct.total_cmp(&a.1.core_pct));
    let total: f64 = host.base_pct * f64::from(host.cores)
        + units.iter().map(|(_, unit)| unit.core_pct).sum::<f64>();
    let units: Vec<Value> = units
        .into_iter()
        .map(|(name, unit)| {
            let share = tenth(100.0 * unit.core_pct / total);
            json!({ "unit": name, "core_pct": tenth(unit.core_pct), "share_pct": share })
        })
        .collect();
    Answer::only(json!({
        "ok": true, "code": "sampled", "acted": false, "simulated": true, "ncpu": host.cores,
        "busy_pct": tenth(host.cpu()), "steal_pct": 0.0, "sample_s": 10.0, "unseen_core_pct": 0.0,
        "units": units, "top": [],
    }))
}

fn restart(host: &mut Host, name: &str, least: &str) -> Answer {
    let Some(unit) = host.units.get_mut(name) else { return Answer::no("unit_absent") };
    let before = unit.core_pct;
    let least: f64 = least.parse().unwrap_or(60.0);
    if before < least {
        return Answer::only(json!({
            "ok": false, "code": "not_the_culprit_now", "acted": false, "simulated": true,
            "unit": name, "min_core_pct": whole(least), "core_pct_before": whole(before),
        }));
    }
    unit.core_pct = unit.core_pct_after_restart;
    let mut result = json!({
        "ok": true, "code": "restarted", "acted": true, "simulated": true,
        "unit": name, "min_core_pct": whole(least), "core_pct_before": whole(before),
    });
    if name.contains("amazon-ssm-agent") {
        result["code"] = json!("restart_scheduled");
    } else {
        result["systemctl"] = json!(0);
        result["state"] = json!("active");
        result["core_pct_after"] = json!(whole(unit.core_pct));
    }
    Answer { result, changed: Some(format!("restart {name}")) }
}

/// A percentage as a host prints it: no long tail of digits.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "percentages and kilobytes of a model are small"
)]
fn whole(value: f64) -> i64 {
    value.round() as i64
}
