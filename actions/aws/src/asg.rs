//! EC2 Auto Scaling: one group by its name.

use async_trait::async_trait;
use untoil_actions::{AsgReads, AsgWrites, CallError, Group, GroupInstance, ReadError};
use untoil_guard::Clearance;

use crate::call::{Call, check, refused};
use crate::connect::Shared;
use crate::limits::Priority;
use crate::ssm::{is_instance, unreadable};

/// Reads of EC2 Auto Scaling.
#[derive(Debug)]
pub(crate) struct AsgEyes {
    pub(crate) client: aws_sdk_autoscaling::Client,
    pub(crate) shared: Shared,
    pub(crate) priority: Priority,
}

/// Writes of EC2 Auto Scaling.
#[derive(Debug)]
pub(crate) struct AsgHands {
    pub(crate) client: aws_sdk_autoscaling::Client,
    pub(crate) shared: Shared,
}

fn group_arn(shared: &Shared, name: &str) -> String {
    format!(
        "arn:aws:autoscaling:{}:*:autoScalingGroup:*:autoScalingGroupName/{name}",
        shared.region
    )
}

#[async_trait]
impl AsgReads for AsgEyes {
    async fn group(&self, name: &str) -> Result<Group, ReadError> {
        if name.is_empty() {
            // Without a name the API answers every group.
            return Err(unreadable("EmptyName", "a group is looked up by its name".to_owned()));
        }
        let call = Call::new("autoscaling:DescribeAutoScalingGroups", "*");
        let sent = self.client.describe_auto_scaling_groups().auto_scaling_group_names(name);
        let what = format!("Auto Scaling group `{name}`");
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        let mut found = answer.auto_scaling_groups.unwrap_or_default().into_iter();
        let found = found.find(|one| one.auto_scaling_group_name.as_deref() == Some(name));
        found.map(|one| of_group(name, &one)).ok_or(ReadError::NotFound { what })
    }

    async fn group_of(&self, instance: &str) -> Result<Option<String>, ReadError> {
        if !is_instance(instance) {
            // Without an id the API answers every instance.
            let why = format!("`{instance}` is not an instance's id");
            return Err(unreadable("InvalidInstanceId", why));
        }
        let call = Call::new("autoscaling:DescribeAutoScalingInstances", "*");
        let sent = self.client.describe_auto_scaling_instances().instance_ids(instance);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let answer = self.shared.gate.read((&call, self.priority), instance, send).await?;
        let mut found = answer.auto_scaling_instances.unwrap_or_default().into_iter();
        let found = found.find(|one| one.instance_id.as_deref() == Some(instance));
        Ok(found.and_then(|one| one.auto_scaling_group_name))
    }
}

#[async_trait]
impl AsgWrites for AsgHands {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        check(&may, &self.shared, Some(&format!("asg/{group}")))?;
        let Some(n) = i32::try_from(n).ok().filter(|n| *n >= 0) else {
            return Err(refused("InvalidCount", format!("{n} is not a number of instances")));
        };
        let call = Call::new("autoscaling:SetDesiredCapacity", group_arn(&self.shared, group));
        let sent = self.client.set_desired_capacity().auto_scaling_group_name(group);
        let sent = sent.desired_capacity(n).honor_cooldown(false).customize();
        let send = |watch| sent.interceptor(watch).send();
        self.shared.gate.write(&call, &may, send).await.map(drop)
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        check(&may, &self.shared, None)?;
        if !is_instance(instance) {
            let why = format!("`{instance}` is not an instance's id");
            return Err(refused("InvalidInstanceId", why));
        }
        let target = may.step().target.as_str();
        if !target.starts_with("asg/") && target != format!("ec2/{instance}") {
            let why = format!("the clearance is for `{target}`, not for `{instance}` of a group");
            return Err(refused("ClearanceMismatch", why));
        }
        let call = Call::new(
            "autoscaling:TerminateInstanceInAutoScalingGroup",
            group_arn(&self.shared, "*"),
        );
        // Never with a decrement: that would shrink the group, and again at each repeat.
        let sent = self.client.terminate_instance_in_auto_scaling_group().instance_id(instance);
        let sent = sent.should_decrement_desired_capacity(false).customize();
        let send = |watch| sent.interceptor(watch).send();
        self.shared.gate.write(&call, &may, send).await.map(drop)
    }
}

fn of_group(name: &str, one: &aws_sdk_autoscaling::types::AutoScalingGroup) -> Group {
    let instances = one.instances().iter().map(|instance| GroupInstance {
        id: instance.instance_id().unwrap_or_default().to_owned(),
        lifecycle: instance
            .lifecycle_state()
            .map(|state| state.as_str().to_owned())
            .unwrap_or_default(),
        health: instance.health_status().unwrap_or_default().to_owned(),
        // Unless AWS says otherwise it counts as protected: the cautious reading.
        protected: instance.protected_from_scale_in().unwrap_or(true),
    });
    let suspended = one.suspended_processes().iter();
    Group {
        name: name.to_owned(),
        min: i64::from(one.min_size().unwrap_or(0)),
        max: i64::from(one.max_size().unwrap_or(0)),
        desired: i64::from(one.desired_capacity().unwrap_or(0)),
        instances: instances.collect(),
        suspended: suspended.filter_map(|it| it.process_name().map(str::to_owned)).collect(),
    }
}
