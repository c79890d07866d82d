//! What the demo plays: the simulated hosts, the service and their troubles.

use std::collections::BTreeMap;

use untoil_world::{AlarmSpec, QueueSpec, World};

/// Runs that the demo's policy allows in an hour; the fifth alarm finds it used up.
pub(super) const RUNS_ALLOWED: u32 = 4;

/// A host whose disk fills with logs that can go.
const DISK: &str = "i-0d15c000000000001";
/// A host whose disk fills when the hour's runs are used up.
const DENIED: &str = "i-0d15c000000000002";
/// A host with an agent that runs away once.
const AGENT: &str = "i-0a9e0000000000003";
/// A host with an agent that runs away again at once.
const STUBBORN: &str = "i-0a9e0000000000004";

/// The alarms that must end as healed.
pub(super) const HEALED: [&str; 3] = ["disk web-1", "contact-sync backlog", "cpu batch-1"];
/// The alarm that a limit denies.
pub(super) const LIMITED: &str = "disk web-2";
/// The alarm that a run does not heal.
pub(super) const INEFFECTIVE: &str = "cpu batch-2";

/// Builds the simulated account, with the trouble of the first four alarms.
pub(super) fn build(world: &World) {
    for host in [DISK, DENIED, AGENT, STUBBORN] {
        world.add_host(host);
    }
    world.add_disk(DISK, "/", (92.0, 20.0, 0.5));
    world.add_disk(DENIED, "/", (70.0, 20.0, 0.5));
    world.add_unit(AGENT, "newrelic-infra.service", 192.0, 2.0);
    world.add_unit(STUBBORN, "newrelic-infra.service", 192.0, 192.0);
    world.add_service("workers", "contact-sync", 4);
    world.add_queue(
        "contact-sync",
        QueueSpec {
            backlog: 48_000.0,
            in_per_min: 1_000.0,
            done_per_task_per_min: 900.0,
            cluster: "workers".into(),
            service: "contact-sync".into(),
            namespace: "Remember/ContactSync".into(),
            metric: "PendingContacts".into(),
            dimensions: BTreeMap::new(),
        },
    );
    world.alarm_for(disk("disk web-1", DISK));
    world.alarm_for(disk(LIMITED, DENIED));
    world.alarm_for(cpu("cpu batch-1", AGENT));
    world.alarm_for(cpu(INEFFECTIVE, STUBBORN));
    world.alarm_for(AlarmSpec {
        name: "contact-sync backlog".into(),
        namespace: "Remember/ContactSync".into(),
        metric: "PendingContacts".into(),
        dimensions: BTreeMap::new(),
        threshold: 10_000.0,
        periods: 1,
    });
}

/// The trouble of the fifth alarm, once the hour's runs are used up.
pub(super) fn fill_the_second_disk(world: &World) {
    world.add_disk(DENIED, "/", (93.0, 20.0, 0.5));
}

fn disk(name: &str, host: &str) -> AlarmSpec {
    AlarmSpec {
        name: name.into(),
        namespace: "CWAgent".into(),
        metric: "disk_used_percent".into(),
        dimensions: [("InstanceId", host), ("path", "/")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        threshold: 85.0,
        periods: 1,
    }
}

fn cpu(name: &str, host: &str) -> AlarmSpec {
    AlarmSpec {
        name: name.into(),
        namespace: "AWS/EC2".into(),
        metric: "CPUUtilization".into(),
        dimensions: [("InstanceId".to_owned(), host.to_owned())].into(),
        threshold: 95.0,
        periods: 1,
    }
}
