//! The simulated AWS as one instance reaches it.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use untoil_actions::{
    AlarmLook, AsgReads, AsgWrites, Automation, CallError, ChatWrites, Command, EcsReads,
    EcsWrites, Eyes, Group, Hands, HttpReply, HttpRequest, HttpWrites, ManagedInstance,
    MetricQuery, MetricReads, ReadError, SendCommand, Service, SsmReads, SsmWrites,
    StartAutomation, Task,
};
use untoil_guard::Clearance;

use crate::mutation::Mutation;
use crate::network::Line;

/// All ports of an instance.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) line: Line,
    pub(crate) eyes: Eyes,
    pub(crate) hands: Hands,
}

impl Ports {
    /// The ports that read.
    pub(crate) fn eyes(self: &Arc<Self>) -> Eyes {
        Eyes { ssm: self.clone(), ecs: self.clone(), asg: self.clone(), metrics: self.clone() }
    }

    /// The ports that write.
    pub(crate) fn hands(self: &Arc<Self>) -> Hands {
        Hands {
            ssm: self.clone(),
            ecs: self.clone(),
            asg: self.clone(),
            chat: self.clone(),
            http: self.clone(),
        }
    }
}

#[async_trait]
impl SsmReads for Ports {
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError> {
        self.line.read("ssm:DescribeInstanceInformation", self.eyes.ssm.instance(id)).await
    }

    async fn command(&self, id: &str, instance: &str) -> Result<Command, ReadError> {
        self.line.read("ssm:GetCommandInvocation", self.eyes.ssm.command(id, instance)).await
    }

    async fn commands_since(
        &self,
        instance: &str,
        since: Timestamp,
    ) -> Result<Vec<Command>, ReadError> {
        let read = self.eyes.ssm.commands_since(instance, since);
        self.line.read("ssm:ListCommands", read).await
    }

    async fn automation(&self, id: &str) -> Result<Automation, ReadError> {
        self.line.read("ssm:GetAutomationExecution", self.eyes.ssm.automation(id)).await
    }

    async fn automation_with(
        &self,
        marker: &str,
        since: Timestamp,
    ) -> Result<Option<Automation>, ReadError> {
        let read = self.eyes.ssm.automation_with(marker, since);
        self.line.read("ssm:DescribeAutomationExecutions", read).await
    }

    async fn document_hash(&self, name: &str, version: &str) -> Result<String, ReadError> {
        self.line.read("ssm:DescribeDocument", self.eyes.ssm.document_hash(name, version)).await
    }
}

#[async_trait]
impl SsmWrites for Ports {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        let (marker, late, ssm) = (may.marker(), may.not_after(), Arc::clone(&self.hands.ssm));
        let call = Box::pin(async move { ssm.send_command(may, what).await });
        self.line.call(("ssm:SendCommand", marker, late), call).await
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        let (marker, late, ssm) = (may.marker(), may.not_after(), Arc::clone(&self.hands.ssm));
        let call = Box::pin(async move { ssm.start_automation(may, what).await });
        self.line.call(("ssm:StartAutomationExecution", marker, late), call).await
    }
}

#[async_trait]
impl EcsReads for Ports {
    async fn service(&self, cluster: &str, name: &str) -> Result<Service, ReadError> {
        self.line.read("ecs:DescribeServices", self.eyes.ecs.service(cluster, name)).await
    }

    async fn task(&self, cluster: &str, arn: &str) -> Result<Task, ReadError> {
        self.line.read("ecs:DescribeTasks", self.eyes.ecs.task(cluster, arn)).await
    }
}

#[async_trait]
impl EcsWrites for Ports {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        let (marker, late, ecs) = (may.marker(), may.not_after(), Arc::clone(&self.hands.ecs));
        let (cluster, service) = (cluster.to_owned(), service.to_owned());
        let call = Box::pin(async move { ecs.set_desired(may, &cluster, &service, n).await });
        self.line.call(("ecs:UpdateService", marker, late), call).await
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        let (marker, late, ecs) = (may.marker(), may.not_after(), Arc::clone(&self.hands.ecs));
        let (cluster, service) = (cluster.to_owned(), service.to_owned());
        let call = Box::pin(async move { ecs.redeploy(may, &cluster, &service).await });
        self.line.call(("ecs:UpdateService", marker, late), call).await
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        let (marker, late, ecs) = (may.marker(), may.not_after(), Arc::clone(&self.hands.ecs));
        let (cluster, task, reason) = (cluster.to_owned(), task.to_owned(), reason.to_owned());
        let call = Box::pin(async move { ecs.stop_task(may, &cluster, &task, &reason).await });
        self.line.call(("ecs:StopTask", marker, late), call).await
    }
}

#[async_trait]
impl AsgReads for Ports {
    async fn group(&self, name: &str) -> Result<Group, ReadError> {
        self.line.read("autoscaling:DescribeAutoScalingGroups", self.eyes.asg.group(name)).await
    }

    async fn group_of(&self, instance: &str) -> Result<Option<String>, ReadError> {
        let read = self.eyes.asg.group_of(instance);
        self.line.read("autoscaling:DescribeAutoScalingInstances", read).await
    }
}

#[async_trait]
impl AsgWrites for Ports {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        let (marker, late, asg) = (may.marker(), may.not_after(), Arc::clone(&self.hands.asg));
        let group = group.to_owned();
        let call = Box::pin(async move { asg.set_desired(may, &group, n).await });
        self.line.call(("autoscaling:SetDesiredCapacity", marker, late), call).await
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        let (marker, late, asg) = (may.marker(), may.not_after(), Arc::clone(&self.hands.asg));
        let instance = instance.to_owned();
        let call = Box::pin(async move { asg.replace_instance(may, &instance).await });
        self.line
            .call(("autoscaling:TerminateInstanceInAutoScalingGroup", marker, late), call)
            .await
    }
}

#[async_trait]
impl MetricReads for Ports {
    async fn metric(&self, query: &MetricQuery) -> Result<Vec<(Timestamp, f64)>, ReadError> {
        self.line.read("cloudwatch:GetMetricData", self.eyes.metrics.metric(query)).await
    }

    async fn alarm(&self, name: &str) -> Result<AlarmLook, ReadError> {
        self.line.read("cloudwatch:DescribeAlarms", self.eyes.metrics.alarm(name)).await
    }
}

#[async_trait]
impl ChatWrites for Ports {
    async fn say(&self, may: Clearance, text: &str) -> Result<String, CallError> {
        let (marker, late, chat) = (may.marker(), may.not_after(), Arc::clone(&self.hands.chat));
        let text = text.to_owned();
        let call = Box::pin(async move { chat.say(may, &text).await });
        self.line.call(("slack:say", marker, late), call).await
    }
}

#[async_trait]
impl HttpWrites for Ports {
    async fn send(&self, may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError> {
        let (marker, late, http) = (may.marker(), may.not_after(), Arc::clone(&self.hands.http));
        let mut what = what.clone();
        if self.line.mutation == Some(Mutation::CallsTwice) {
            // As if the key were made from the attempt.
            what.key = marker.clone();
        }
        let call = Box::pin(async move { http.send(may, &what).await });
        self.line.call(("http:send", marker, late), call).await
    }
}
