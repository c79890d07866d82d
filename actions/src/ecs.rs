//! Acting on ECS services and their tasks.

mod redeploy;
mod scale;
mod stop_task;

pub(crate) use redeploy::Redeploy;
pub(crate) use scale::Scale;
pub(crate) use stop_task::StopTask;

use untoil_model::{Reason, Target};

use crate::args::{precheck, unread};
use crate::{Eyes, Need, Param, ParamKind, ReadError, Service};

/// The cluster in a `may:` entry.
const CLUSTER: Param = Param {
    name: "cluster",
    kind: ParamKind::Text(255),
    required: true,
    doc: "name of the cluster",
};
/// The service in a `may:` entry.
const SERVICE: Param = Param {
    name: "service",
    kind: ParamKind::Text(255),
    required: true,
    doc: "name of the service",
};

/// Cluster and service of `ecs/cluster/service`.
fn names(target: &Target) -> (&str, &str) {
    target.name().split_once('/').unwrap_or_else(|| (target.name(), ""))
}

/// Whether a `may:` entry is about this service.
fn covers(bounds: &crate::Bounds, target: &Target) -> bool {
    names(target) == (crate::args::text(bounds, "cluster"), crate::args::text(bounds, "service"))
}

/// Reading and changing one service.
fn needs(bounds: &crate::Bounds, action: &'static str) -> Vec<Need> {
    let cluster = crate::args::text(bounds, "cluster");
    let service = crate::args::text(bounds, "service");
    let resource = format!("arn:aws:ecs:${{region}}:${{account}}:service/{cluster}/{service}");
    vec![
        Need { action: "ecs:DescribeServices", resource: resource.clone() },
        Need { action, resource },
    ]
}

/// The service, if nothing else is changing it: active, ECS's own controller, no deployment going on.
///
/// Other controllers keep their deployments elsewhere, so their rest cannot be seen here.
async fn quiet_service(eyes: &Eyes, target: &Target) -> Result<Service, Reason> {
    let (cluster, name) = names(target);
    let service =
        eyes.ecs.service(cluster, name).await.map_err(|error| unread("ecs.service", error))?;
    if service.status != "ACTIVE" {
        return Err(precheck("service_active", format!("its status is `{}`", service.status)));
    }
    if !service.controller.is_empty() && service.controller != "ECS" {
        let detail = format!("its deployments belong to `{}`", service.controller);
        return Err(precheck("controller_ecs", detail));
    }
    let settled = |rollout: &str| rollout.is_empty() || rollout == "COMPLETED";
    match service.deployments.as_slice() {
        [only] if settled(&only.rollout) => Ok(service),
        [only] => Err(precheck("no_deployment", format!("its deployment is `{}`", only.rollout))),
        all => Err(precheck("no_deployment", format!("it has {} deployments", all.len()))),
    }
}

/// Reads the service of a step.
async fn service(eyes: &Eyes, target: &Target) -> Result<Service, ReadError> {
    let (cluster, name) = names(target);
    eyes.ecs.service(cluster, name).await
}
