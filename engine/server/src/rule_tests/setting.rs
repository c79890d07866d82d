//! Builds the simulated AWS of a test, and changes it while the test runs.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use untoil_world::{Fault, World};

use super::format::{HostSetting, ServiceSetting, Setting};

/// The simulated AWS of one test.
#[derive(Debug)]
pub(super) struct Scenery {
    pub(super) world: World,
    hosts: BTreeSet<String>,
    services: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// `cluster/service` in its two parts.
pub(super) fn service(name: &str) -> anyhow::Result<(&str, &str)> {
    name.split_once('/').with_context(|| format!("`{name}` is no service: write `cluster/service`"))
}

impl Scenery {
    /// An empty one.
    pub(super) fn new(world: World) -> Self {
        let (hosts, services, groups) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { world, hosts, services, groups }
    }

    /// Adds what is new, and changes what is there already.
    ///
    /// # Errors
    /// When something cannot be as it is described.
    pub(super) fn set(&mut self, setting: &Setting) -> anyhow::Result<()> {
        for (name, wanted) in &setting.ecs {
            self.service(name, wanted)?;
        }
        for (id, wanted) in &setting.instances {
            self.host(id, wanted)?;
        }
        for (name, group) in &setting.groups {
            if !self.groups.insert(name.clone()) {
                bail!("group `{name}` is there already and cannot be changed");
            }
            self.world.add_group(name, (group.min, group.max), group.desired);
        }
        for point in &setting.metrics {
            let pairs = point.dimensions.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            let pairs: Vec<(&str, &str)> = pairs.collect();
            self.world.put_metric(&point.namespace, &point.metric, &pairs, point.value);
        }
        for refusal in &setting.refusals {
            let fault = Fault::Refuse(refusal.code.clone());
            match refusal.times {
                None => self.world.fail_always(&refusal.call, Some(fault)),
                Some(times) => {
                    (0..times).for_each(|_| self.world.fail(&refusal.call, fault.clone()));
                }
            }
        }
        Ok(())
    }

    fn service(&mut self, key: &str, wanted: &ServiceSetting) -> anyhow::Result<()> {
        let (cluster, name) = service(key)?;
        let ServiceSetting { desired, running } = *wanted;
        let running = running.unwrap_or(desired);
        if !(0..=desired).contains(&running) {
            bail!("service `{key}` cannot run {running} of {desired} tasks");
        }
        if self.services.insert(key.to_owned()) {
            self.world.add_service(cluster, name, running);
            self.world.set_service_room(cluster, name, running == desired);
        } else if wanted.running.is_some() {
            bail!("service `{key}` is there already; only its `desired` can be changed");
        }
        self.world.set_service_desired(cluster, name, desired);
        Ok(())
    }

    fn host(&mut self, id: &str, wanted: &HostSetting) -> anyhow::Result<()> {
        if self.hosts.insert(id.to_owned()) {
            self.world.add_host(id);
        }
        if let Some(ping) = &wanted.ping {
            self.world.set_online(id, ping);
        }
        for (mount, disk) in &wanted.disks {
            let lowest = disk.reclaims_to.unwrap_or(disk.used_pct);
            if lowest > disk.used_pct {
                bail!("disk `{mount}` of `{id}` cannot be reclaimed to more than it holds");
            }
            self.world.add_disk(id, mount, (disk.used_pct, disk.used_pct - lowest, 0.0));
        }
        for (unit, burns) in &wanted.units {
            self.world.add_unit(id, unit, burns.core_pct, burns.after_restart);
        }
        Ok(())
    }
}
