//! Simulated hosts, and the Auto Scaling groups they belong to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use untoil_actions::{AsgReads, AsgWrites, CallError, Group, GroupInstance, ReadError};
use untoil_guard::Clearance;

use crate::World;
use crate::fault::refused;
use crate::state::{Host, Member, SimGroup, State};

/// From launched to in service.
const BOOTS: SignedDuration = SignedDuration::from_secs(120);
/// From told to gone.
const DRAINS: SignedDuration = SignedDuration::from_secs(60);

fn after(at: Timestamp, time: SignedDuration) -> Timestamp {
    at.saturating_add(time).unwrap_or(Timestamp::MAX)
}

impl Member {
    fn lifecycle(&self, now: Timestamp) -> &'static str {
        match self.gone_at {
            Some(_) => "Terminating",
            None if now >= self.ready_at => "InService",
            None => "Pending",
        }
    }
}

impl SimGroup {
    fn has_suspended(&self, process: &str) -> bool {
        self.suspended.iter().any(|name| name == process)
    }
}

impl State {
    pub(crate) fn tick_hosts(&mut self, secs: f64) {
        let now = self.now;
        for host in self.hosts.values_mut() {
            if host.ping == "Online" {
                host.last_ping = now;
            }
            for disk in host.disks.values_mut() {
                let used = disk.used_pct + disk.growth_pct_per_hour * secs / 3_600.0;
                disk.used_pct = used.clamp(0.0, 100.0);
            }
        }
    }

    pub(crate) fn tick_groups(&mut self) {
        let now = self.now;
        let names: Vec<_> = self.groups.keys().cloned().collect();
        for name in names {
            let Some(mut group) = self.groups.remove(&name) else { continue };
            group.members.retain(|member| member.gone_at.is_none_or(|at| now < at));
            let staying = group.members.iter().filter(|member| member.gone_at.is_none()).count();
            let staying = i64::try_from(staying).unwrap_or(i64::MAX);
            if !group.has_suspended("Launch") {
                for _ in staying..group.desired {
                    let member = self.launch(&name);
                    group.members.push(member);
                }
            }
            let surplus = usize::try_from(staying.saturating_sub(group.desired)).unwrap_or(0);
            if !group.has_suspended("Terminate") {
                let oldest =
                    group.members.iter_mut().filter(|m| m.gone_at.is_none() && !m.protected);
                for member in oldest.take(surplus) {
                    member.gone_at = Some(after(now, DRAINS));
                }
            }
            self.groups.insert(name, group);
        }
    }

    fn launch(&mut self, group: &str) -> Member {
        let id = format!("i-{}", self.hex(17));
        let ready_at = after(self.now, BOOTS);
        let host = Host {
            ping: "Online".into(),
            last_ping: ready_at,
            platform: "Linux".into(),
            group: Some(group.to_owned()),
            cores: 2,
            base_pct: 5.0,
            disks: BTreeMap::new(),
            units: BTreeMap::new(),
            done: BTreeMap::new(),
        };
        self.hosts.insert(id.clone(), host);
        Member { id, ready_at, gone_at: None, healthy: true, protected: false }
    }
}

#[async_trait]
impl AsgReads for World {
    async fn group(&self, name: &str) -> Result<Group, ReadError> {
        self.read("autoscaling:DescribeAutoScalingGroups").await?;
        let state = self.state();
        let group = state.groups.get(name);
        let group = group.ok_or_else(|| ReadError::NotFound { what: format!("group `{name}`") })?;
        let instance = |member: &Member| GroupInstance {
            id: member.id.clone(),
            lifecycle: member.lifecycle(state.now).to_owned(),
            health: if member.healthy { "Healthy".into() } else { "Unhealthy".into() },
            protected: member.protected,
        };
        Ok(Group {
            name: name.to_owned(),
            min: group.min,
            max: group.max,
            desired: group.desired,
            instances: group.members.iter().map(instance).collect(),
            suspended: group.suspended.clone(),
        })
    }

    async fn group_of(&self, instance: &str) -> Result<Option<String>, ReadError> {
        self.read("autoscaling:DescribeAutoScalingInstances").await?;
        Ok(self.state().hosts.get(instance).and_then(|host| host.group.clone()))
    }
}

#[async_trait]
impl AsgWrites for World {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        const API: &str = "autoscaling:SetDesiredCapacity";
        let fate = self.write(API).await?;
        {
            let mut state = self.state();
            let known = state.groups.get_mut(group);
            let known =
                known.ok_or_else(|| refused(API, "ValidationError", "group name not found"))?;
            if n < known.min || n > known.max {
                return Err(refused(API, "ValidationError", "outside the group's bounds"));
            }
            let before = std::mem::replace(&mut known.desired, n);
            let (target, words) = (format!("asg/{group}"), format!("desired {before} → {n}"));
            state.call(API, &may.marker(), &target, &words);
            if before != n {
                state.effect(API, &may.marker(), &target, &words);
            }
        }
        Self::answer(&fate, ())
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        const API: &str = "autoscaling:TerminateInstanceInAutoScalingGroup";
        let fate = self.write(API).await?;
        {
            let mut state = self.state();
            let now = state.now;
            let mut members = state.groups.values_mut().flat_map(|group| group.members.iter_mut());
            let member = members.find(|member| member.id == instance);
            let member =
                member.ok_or_else(|| refused(API, "ValidationError", "instance id not found"))?;
            let was_there = member.gone_at.is_none();
            member.gone_at.get_or_insert_with(|| after(now, DRAINS));
            let target = format!("ec2/{instance}");
            state.call(API, &may.marker(), &target, "terminate");
            if was_there {
                state.effect(API, &may.marker(), &target, "terminate");
            }
        }
        Self::answer(&fate, ())
    }
}
