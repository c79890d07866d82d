//! `ecs.redeploy`: a new deployment of the same task definition. Each call is a new effect.

use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome};

use super::{CLUSTER, SERVICE, names, quiet_service, service};
use crate::args;
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, ReadError,
    Repeat, Service, Spec,
};

/// A rolling deployment replaces every task, batch by batch.
const SETTLE: Period = Period::mins(20);
/// Between looks while it rolls out.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How far AWS's clock may run behind ours when a deployment's creation is compared with our intent.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// `ecs.redeploy`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Redeploy;

static SPEC: Spec = Spec {
    kind: "ecs.redeploy",
    summary: "Starts a new deployment of an ECS service with the task definition it has.",
    params: &[],
    bounds: &[CLUSTER, SERVICE],
    repeat: Repeat::Never,
    examples: &[
        Example {
            title: "replace all tasks",
            may: r#"{"cluster":"web","service":"front"}"#,
            facts: "{}",
            proposal: r#"{"action":"ecs.redeploy","target":"ecs/web/front","params":{},"after":"0s"}"#,
            gives: "new deployment of the same task definition",
        },
        Example {
            title: "another cluster than the one granted",
            may: r#"{"cluster":"web","service":"front"}"#,
            facts: "{}",
            proposal: r#"{"action":"ecs.redeploy","target":"ecs/api/front","params":{},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

#[async_trait]
impl Action for Redeploy {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "ecs")?;
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let covers = |bounds: &Bounds| super::covers(bounds, &target);
        args::granted(ask, covers, format_args!("`{target}`"), |_| {
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: target.clone(),
                class: Class::C,
                params: Bounds::new(),
                says: "new deployment of the same task definition".into(),
                after: ask.proposal.after,
                settle: SETTLE,
                lease: None,
            })
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        super::needs(bounds, "ecs:UpdateService")
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let (cluster, name) = names(&order.step.target);
        hands.ecs.redeploy(may, cluster, name).await
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let service = service(eyes, &order.step.target).await?;
        Ok(outcome(&service, handle).map_or(Following::Going(LOOK_EVERY), Following::Ended))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let service = service(eyes, &order.step.target).await?;
        let since = order.started_at.saturating_sub(SKEW).unwrap_or(order.started_at);
        let ours = service.deployments.iter().find(|deployment| {
            deployment.status == "PRIMARY" && deployment.created_at.is_some_and(|at| at >= since)
        });
        // Never "not sent": a second deployment would be a second effect, so a person decides.
        Ok(ours.map_or(Found::NotSeen, |deployment| Found::Sent(deployment.id.clone())))
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        quiet_service(eyes, &step.target).await.map(|_| ())
    }

    fn class(&self) -> Class {
        Class::C
    }
}

/// How a deployment ended; `None` while it goes on.
fn outcome(service: &Service, handle: &str) -> Option<StepOutcome> {
    let Some(ours) = service.deployments.iter().find(|deployment| deployment.id == handle) else {
        let why = format!("deployment `{handle}` was replaced by another");
        return Some(StepOutcome::Unknown { why });
    };
    if ours.rollout == "FAILED" {
        // Not refused: tasks were started and stopped before ECS gave up.
        let why = format!("deployment failed: ECS gave up `{handle}`");
        return Some(StepOutcome::Unknown { why });
    }
    // Without a circuit breaker `rollout` may be empty: then the counts tell.
    let alone = service.deployments.len() == 1;
    let full = service.running == service.desired && service.pending == 0;
    if alone && (ours.rollout == "COMPLETED" || ours.rollout.is_empty() && full) {
        let evidence = json!({ "deployment": handle, "running": service.running });
        return Some(StepOutcome::Done { evidence });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Deployment;

    #[test]
    fn a_deployment_that_failed_is_not_one_that_was_refused() {
        for (id, rollout, expected) in [
            ("ours", "IN_PROGRESS", "going"),
            ("ours", "COMPLETED", "done"),
            ("ours", "", "done"),
            ("ours", "FAILED", "deployment failed: ECS gave up `ours`"),
            ("other", "COMPLETED", "deployment `ours` was replaced by another"),
        ] {
            let deployment = Deployment {
                id: id.into(),
                status: "PRIMARY".into(),
                rollout: rollout.into(),
                created_at: None,
            };
            let service = Service {
                cluster: "web".into(),
                name: "front".into(),
                status: "ACTIVE".into(),
                desired: 2,
                running: 2,
                pending: 0,
                controller: "ECS".into(),
                deployments: vec![deployment],
            };
            let said = match outcome(&service, "ours") {
                None => "going".to_owned(),
                Some(StepOutcome::Done { .. }) => "done".to_owned(),
                Some(StepOutcome::Refused { code, .. }) => format!("refused {code}"),
                Some(StepOutcome::Unknown { why }) => why,
            };
            assert_eq!(said, expected, "{id} {rollout}");
        }
    }
}
