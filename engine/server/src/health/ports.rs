//! The ports to AWS with somebody standing at them: how long each call took and what became of it.
//!
//! Nothing is changed on the way: the same arguments, the same clearance, the same answer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use untoil_actions::{
    AlarmLook, AsgReads, AsgWrites, Automation, CallError, Command, EcsReads, EcsWrites, Eyes,
    Group, Hands, ManagedInstance, MetricQuery, MetricReads, ReadError, SendCommand, Service,
    SsmReads, SsmWrites, StartAutomation, Task,
};
use untoil_clock::Clock;
use untoil_guard::Clearance;
use untoil_health::{Metrics, Part, Readiness};

use super::failing::Failing;

/// Counts calls of AWS, and knows what fails at the moment.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    /// By operation.
    failing: Failing<&'static str>,
}

impl Gatekeeper {
    /// Nothing was called yet.
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> Arc<Self> {
        Arc::new(Self { clock, metrics, readiness, failing: Failing::default() })
    }

    /// The same eyes, watched.
    pub(crate) fn eyes(self: &Arc<Self>, eyes: Eyes) -> Eyes {
        Eyes {
            ssm: self.at(eyes.ssm) as _,
            ecs: self.at(eyes.ecs) as _,
            asg: self.at(eyes.asg) as _,
            metrics: self.at(eyes.metrics) as _,
        }
    }

    /// The same hands, watched.
    pub(crate) fn hands(self: &Arc<Self>, hands: Hands) -> Hands {
        Hands {
            ssm: self.at(hands.ssm) as _,
            ecs: self.at(hands.ecs) as _,
            asg: self.at(hands.asg) as _,
            ..hands
        }
    }

    fn at<P: ?Sized>(self: &Arc<Self>, port: Arc<P>) -> Arc<Gate<P>> {
        Arc::new(Gate { port, keeper: Arc::clone(self) })
    }

    async fn see<T, E: Failure>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let began = self.clock.ticks();
        let answer = call.await;
        let now = self.clock.ticks();
        let (outcome, why) = match &answer {
            Ok(_) => ("ok", None),
            Err(error) => error.outcome(),
        };
        self.metrics.called(operation, outcome, now.saturating_sub(began));
        self.remember(operation, now, why);
        answer
    }

    fn remember(&self, operation: &'static str, now: Duration, why: Option<String>) {
        self.failing.tried((operation, now), why, |fails| match fails {
            None => self.readiness.ok(Part::Aws),
            Some(fails) => {
                let why = format!("{}: {}{}", fails.first, fails.why, fails.more());
                self.readiness.degraded(Part::Aws, &why);
            }
        });
    }
}

/// A port with its keeper.
struct Gate<P: ?Sized> {
    port: Arc<P>,
    keeper: Arc<Gatekeeper>,
}

impl<P: ?Sized + fmt::Debug> fmt::Debug for Gate<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&&self.port).finish()
    }
}

/// What an error says of AWS: a word for it, and what is wrong if something is.
trait Failure {
    fn outcome(&self) -> (&'static str, Option<String>);
}

impl Failure for ReadError {
    fn outcome(&self) -> (&'static str, Option<String>) {
        match self {
            // An answer like any other: AWS and its permissions are in order.
            Self::NotFound { .. } => ("not_found", None),
            Self::Refused { missing: Some(_), .. } => ("denied", Some(self.to_string())),
            Self::Refused { missing: None, .. } => ("refused", None),
            Self::Unavailable { .. } => ("unavailable", Some(self.to_string())),
        }
    }
}

impl Failure for CallError {
    fn outcome(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Refused { missing: Some(_), .. } => ("denied", Some(self.to_string())),
            Self::Refused { missing: None, .. } => ("refused", None),
            Self::Throttled { .. } => ("throttled", None),
            Self::NotSent { .. } => ("not_sent", Some(self.to_string())),
            Self::Unknown { .. } => ("unknown", Some(self.to_string())),
        }
    }
}

#[async_trait]
impl SsmReads for Gate<dyn SsmReads> {
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError> {
        self.keeper.see("ssm:DescribeInstanceInformation", self.port.instance(id)).await
    }

    async fn command(&self, id: &str, instance: &str) -> Result<Command, ReadError> {
        self.keeper.see("ssm:GetCommandInvocation", self.port.command(id, instance)).await
    }

    async fn commands_since(
        &self,
        instance: &str,
        since: Timestamp,
    ) -> Result<Vec<Command>, ReadError> {
        self.keeper.see("ssm:ListCommands", self.port.commands_since(instance, since)).await
    }

    async fn automation(&self, id: &str) -> Result<Automation, ReadError> {
        self.keeper.see("ssm:GetAutomationExecution", self.port.automation(id)).await
    }

    async fn automation_with(
        &self,
        marker: &str,
        since: Timestamp,
    ) -> Result<Option<Automation>, ReadError> {
        let call = self.port.automation_with(marker, since);
        self.keeper.see("ssm:DescribeAutomationExecutions", call).await
    }

    async fn document_hash(&self, name: &str, version: &str) -> Result<String, ReadError> {
        self.keeper.see("ssm:DescribeDocument", self.port.document_hash(name, version)).await
    }
}

#[async_trait]
impl SsmWrites for Gate<dyn SsmWrites> {
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError> {
        self.keeper.see("ssm:SendCommand", self.port.send_command(may, what)).await
    }

    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError> {
        let call = self.port.start_automation(may, what);
        self.keeper.see("ssm:StartAutomationExecution", call).await
    }
}

#[async_trait]
impl EcsReads for Gate<dyn EcsReads> {
    async fn service(&self, cluster: &str, name: &str) -> Result<Service, ReadError> {
        self.keeper.see("ecs:DescribeServices", self.port.service(cluster, name)).await
    }

    async fn task(&self, cluster: &str, arn: &str) -> Result<Task, ReadError> {
        self.keeper.see("ecs:DescribeTasks", self.port.task(cluster, arn)).await
    }
}

#[async_trait]
impl EcsWrites for Gate<dyn EcsWrites> {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        let call = self.port.set_desired(may, cluster, service, n);
        self.keeper.see("ecs:UpdateService", call).await
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        self.keeper.see("ecs:UpdateService", self.port.redeploy(may, cluster, service)).await
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        self.keeper.see("ecs:StopTask", self.port.stop_task(may, cluster, task, reason)).await
    }
}

#[async_trait]
impl AsgReads for Gate<dyn AsgReads> {
    async fn group(&self, name: &str) -> Result<Group, ReadError> {
        self.keeper.see("autoscaling:DescribeAutoScalingGroups", self.port.group(name)).await
    }

    async fn group_of(&self, instance: &str) -> Result<Option<String>, ReadError> {
        let call = self.port.group_of(instance);
        self.keeper.see("autoscaling:DescribeAutoScalingInstances", call).await
    }
}

#[async_trait]
impl AsgWrites for Gate<dyn AsgWrites> {
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError> {
        let call = self.port.set_desired(may, group, n);
        self.keeper.see("autoscaling:SetDesiredCapacity", call).await
    }

    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError> {
        let call = self.port.replace_instance(may, instance);
        self.keeper.see("autoscaling:TerminateInstanceInAutoScalingGroup", call).await
    }
}

#[async_trait]
impl MetricReads for Gate<dyn MetricReads> {
    async fn metric(&self, query: &MetricQuery) -> Result<Vec<(Timestamp, f64)>, ReadError> {
        self.keeper.see("cloudwatch:GetMetricData", self.port.metric(query)).await
    }

    async fn alarm(&self, name: &str) -> Result<AlarmLook, ReadError> {
        self.keeper.see("cloudwatch:DescribeAlarms", self.port.alarm(name)).await
    }
}
