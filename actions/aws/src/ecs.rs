//! ECS: one service, one task.

use async_trait::async_trait;
use aws_sdk_ecs::types::Failure;
use untoil_actions::{CallError, Deployment, EcsReads, EcsWrites, ReadError, Service, Task};
use untoil_guard::Clearance;

use crate::call::{Call, bounded, check, refused, timestamp};
use crate::connect::Shared;
use crate::limits::Priority;
use crate::ssm::unreadable;

/// Characters of a reason that ECS shows; it takes more.
const REASON_MAX: usize = 255;

/// Reads of ECS.
#[derive(Debug)]
pub(crate) struct EcsEyes {
    pub(crate) client: aws_sdk_ecs::Client,
    pub(crate) shared: Shared,
    pub(crate) priority: Priority,
}

/// Writes of ECS.
#[derive(Debug)]
pub(crate) struct EcsHands {
    pub(crate) client: aws_sdk_ecs::Client,
    pub(crate) shared: Shared,
}

fn service_arn(shared: &Shared, cluster: &str, service: &str) -> String {
    format!("arn:aws:ecs:{}:*:service/{cluster}/{service}", shared.region)
}

fn task_arn(shared: &Shared, cluster: &str, task: &str) -> String {
    if task.starts_with("arn:") {
        return task.to_owned();
    }
    format!("arn:aws:ecs:{}:*:task/{cluster}/{task}", shared.region)
}

/// ECS answers 200 with a list of failures; `MISSING` is its word for what does not exist.
fn failed(what: String, failures: &[Failure]) -> ReadError {
    let Some(failure) = failures.first() else {
        return ReadError::NotFound { what };
    };
    let reason = failure.reason().unwrap_or("UnknownReason");
    if reason == "MISSING" {
        return ReadError::NotFound { what };
    }
    unreadable(reason, format!("{what}: {}", failure.detail().unwrap_or("no detail")))
}

#[async_trait]
impl EcsReads for EcsEyes {
    async fn service(&self, cluster: &str, name: &str) -> Result<Service, ReadError> {
        let what = format!("service `{cluster}/{name}`");
        if cluster.is_empty() || name.is_empty() {
            return Err(unreadable("EmptyName", format!("{what} has an empty name")));
        }
        let call = Call::new("ecs:DescribeServices", service_arn(&self.shared, cluster, name));
        let sent = self.client.describe_services().cluster(cluster).services(name);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        if let Some(service) = answer.services().first() {
            return Ok(of_service(cluster, name, service));
        }
        Err(failed(what, answer.failures()))
    }

    async fn task(&self, cluster: &str, arn: &str) -> Result<Task, ReadError> {
        let what = format!("task `{arn}` in `{cluster}`");
        if cluster.is_empty() || arn.is_empty() {
            return Err(unreadable("EmptyName", format!("{what} has an empty name")));
        }
        let call = Call::new("ecs:DescribeTasks", task_arn(&self.shared, cluster, arn));
        let sent = self.client.describe_tasks().cluster(cluster).tasks(arn);
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        if let Some(task) = answer.tasks().first() {
            return Ok(of_task(arn, task));
        }
        Err(failed(what, answer.failures()))
    }
}

#[async_trait]
impl EcsWrites for EcsHands {
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError> {
        check(&may, &self.shared, Some(&format!("ecs/{cluster}/{service}")))?;
        let Some(n) = i32::try_from(n).ok().filter(|n| *n >= 0) else {
            return Err(refused("InvalidCount", format!("{n} is not a number of tasks")));
        };
        let call = Call::new("ecs:UpdateService", service_arn(&self.shared, cluster, service));
        let sent = self.client.update_service().cluster(cluster).service(service).desired_count(n);
        let send = |watch| sent.customize().interceptor(watch).send();
        self.shared.gate.write(&call, &may, send).await.map(drop)
    }

    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError> {
        check(&may, &self.shared, Some(&format!("ecs/{cluster}/{service}")))?;
        let call = Call::new("ecs:UpdateService", service_arn(&self.shared, cluster, service));
        let sent = self.client.update_service().cluster(cluster).service(service);
        let sent = sent.force_new_deployment(true).customize();
        let send = |watch| sent.interceptor(watch).send();
        let answer = self.shared.gate.write(&call, &may, send).await?;
        let deployments = answer.service.and_then(|service| service.deployments);
        let mut deployments = deployments.unwrap_or_default().into_iter();
        let primary = deployments.find(|one| one.status.as_deref() == Some("PRIMARY"));
        primary.and_then(|one| one.id).filter(|id| !id.is_empty()).ok_or_else(|| {
            CallError::Unknown {
                why: "ecs:UpdateService: the answer names no new deployment".to_owned(),
            }
        })
    }

    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError> {
        check(&may, &self.shared, None)?;
        let target = may.step().target.as_str();
        if cluster.is_empty() || task.is_empty() || !target.starts_with(&format!("ecs/{cluster}/"))
        {
            let why = format!("the clearance is for `{target}`, not for `{task}` in `{cluster}`");
            return Err(refused("ClearanceMismatch", why));
        }
        let call = Call::new("ecs:StopTask", task_arn(&self.shared, cluster, task));
        let reason = bounded(reason, REASON_MAX);
        let sent = self.client.stop_task().cluster(cluster).task(task).reason(reason).customize();
        let send = |watch| sent.interceptor(watch).send();
        self.shared.gate.write(&call, &may, send).await.map(drop)
    }
}

fn of_service(cluster: &str, name: &str, one: &aws_sdk_ecs::types::Service) -> Service {
    let mut deployments: Vec<Deployment> = one.deployments().iter().map(of_deployment).collect();
    // Stable: those of one rank keep ECS's order, the newest first.
    deployments.sort_by_key(|one| one.status != "PRIMARY");
    Service {
        cluster: cluster.to_owned(),
        name: one.service_name().unwrap_or(name).to_owned(),
        status: one.status().unwrap_or_default().to_owned(),
        desired: i64::from(one.desired_count()),
        running: i64::from(one.running_count()),
        pending: i64::from(one.pending_count()),
        // Left out by ECS for its own controller.
        controller: one.deployment_controller().map_or("ECS", |it| it.r#type().as_str()).to_owned(),
        deployments,
    }
}

fn of_deployment(one: &aws_sdk_ecs::types::Deployment) -> Deployment {
    Deployment {
        id: one.id().unwrap_or_default().to_owned(),
        status: one.status().unwrap_or_default().to_owned(),
        rollout: one.rollout_state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        created_at: one.created_at().and_then(timestamp),
    }
}

fn of_task(arn: &str, one: &aws_sdk_ecs::types::Task) -> Task {
    Task {
        arn: one.task_arn().unwrap_or(arn).to_owned(),
        group: one.group().unwrap_or_default().to_owned(),
        last_status: one.last_status().unwrap_or_default().to_owned(),
        desired_status: one.desired_status().unwrap_or_default().to_owned(),
        stopped_reason: one.stopped_reason().unwrap_or_default().to_owned(),
    }
}
