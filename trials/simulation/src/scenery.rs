//! The simulated AWS of every seed: small, and with something to heal for each shipped rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use untoil_clock::VirtualClock;
use untoil_world::{AlarmSpec, QueueSpec, World};

use crate::dice::Dice;

/// The hosts.
pub(crate) const HOSTS: [&str; 2] = ["i-0a1b2c3d4e5f67890", "i-0b1b2c3d4e5f67890"];
/// The queue that the workers work off.
pub(crate) const QUEUE: &str = "sync";
/// What comes into the queue in quiet times, a minute; four workers get eighty done.
pub(crate) const INFLOW: f64 = 40.0;
/// The agent that may run away.
pub(crate) const AGENT: &str = "newrelic-infra.service";
/// The disk that may fill up.
pub(crate) const MOUNT: &str = "/";

/// Builds it.
pub(crate) fn build(clock: &Arc<VirtualClock>, dice: &Dice) -> World {
    let world = World::new(Arc::clone(clock) as Arc<_>, dice.below(u64::MAX));
    for host in HOSTS {
        world.add_host(host);
        world.add_disk(host, MOUNT, (60.0, 30.0, 0.0));
        world.add_unit(host, AGENT, 2.0, 2.0);
        let dimensions = [("InstanceId", host), ("path", MOUNT)];
        world.alarm_for(spec(
            &format!("disk-{host}"),
            ("CWAgent", "disk_used_percent"),
            &dimensions,
            85.0,
        ));
        let dimensions = [("InstanceId", host)];
        world.alarm_for(spec(
            &format!("cpu-{host}"),
            ("AWS/EC2", "CPUUtilization"),
            &dimensions,
            60.0,
        ));
    }
    world.add_service("workers", "contact-sync", 4);
    world.add_service("web", "front", 2);
    world.add_group("pool", (1, 8), 2);
    world.add_queue(
        QUEUE,
        QueueSpec {
            backlog: 0.0,
            in_per_min: INFLOW,
            done_per_task_per_min: 20.0,
            cluster: "workers".into(),
            service: "contact-sync".into(),
            namespace: "Remember/ContactSync".into(),
            metric: "PendingContacts".into(),
            dimensions: BTreeMap::new(),
        },
    );
    world.alarm_for(spec("backlog", ("Remember/ContactSync", "PendingContacts"), &[], 500.0));
    world
}

fn spec(
    name: &str,
    (namespace, metric): (&str, &str),
    dimensions: &[(&str, &str)],
    threshold: f64,
) -> AlarmSpec {
    AlarmSpec {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        metric: metric.to_owned(),
        dimensions: dimensions.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        threshold,
        periods: 2,
    }
}
