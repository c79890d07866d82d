//! `ecs.stop_task`: one task of one service, which the service then replaces.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome};

use super::{CLUSTER, SERVICE, names};
use crate::args::{self, invalid, precheck, unread};
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, Param,
    ParamKind, ReadError, Repeat, Spec,
};

/// SIGTERM, 30 s, SIGKILL, and time to drain from a load balancer.
const SETTLE: Period = Period::mins(7);
/// Between looks while it stops.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// `ecs.stop_task`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StopTask;

static SPEC: Spec = Spec {
    kind: "ecs.stop_task",
    summary: "Stops one task of an ECS service; the service starts another. Never its last one.",
    params: &[
        Param {
            name: "task",
            kind: ParamKind::Text(400),
            required: true,
            doc: "the task's full ARN",
        },
        Param {
            name: "reason",
            kind: ParamKind::Text(200),
            required: true,
            doc: "why, as ECS will show it",
        },
    ],
    bounds: &[CLUSTER, SERVICE],
    repeat: Repeat::Safe,
    examples: &[
        Example {
            title: "recycle a leaking task",
            may: r#"{"cluster":"web","service":"front"}"#,
            facts: "{}",
            proposal: r#"{"action":"ecs.stop_task","target":"ecs/web/front","params":{"task":"arn:aws:ecs:ap-northeast-2:111122223333:task/web/0123456789abcdef0123456789abcdef","reason":"memory leak"},"after":"0s"}"#,
            gives: "stop task `0123456789abcdef0123456789abcdef`: memory leak",
        },
        Example {
            title: "a short id could be anyone's",
            may: r#"{"cluster":"web","service":"front"}"#,
            facts: "{}",
            proposal: r#"{"action":"ecs.stop_task","target":"ecs/web/front","params":{"task":"0123456789abcdef","reason":"memory leak"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
        Example {
            title: "a task of another cluster",
            may: r#"{"cluster":"web","service":"front"}"#,
            facts: "{}",
            proposal: r#"{"action":"ecs.stop_task","target":"ecs/web/front","params":{"task":"arn:aws:ecs:ap-northeast-2:111122223333:task/api/0123456789abcdef0123456789abcdef","reason":"memory leak"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

/// Cluster and id of a task's full ARN: `arn:aws:ecs:region:account:task/cluster/id`.
fn parts(arn: &str) -> Option<(&str, &str)> {
    let mut fields = arn.splitn(6, ':');
    let head = [fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?];
    let (cluster, id) = fields.next()?.strip_prefix("task/")?.split_once('/')?;
    let ours = head[0] == "arn" && head[1].starts_with("aws") && head[2] == "ecs";
    let hex = id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    (ours && !head[3].is_empty() && !head[4].is_empty() && hex).then_some((cluster, id))
}

fn task_of(step: &Step) -> &str {
    step.params.get("task").and_then(Value::as_str).unwrap_or_default()
}

#[async_trait]
impl Action for StopTask {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "ecs")?;
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let arn = args::text(&ask.proposal.params, "task");
        let Some((cluster, id)) = parts(arn) else {
            return Err(invalid("task", format!("`{arn}` is not a task's full ARN")));
        };
        if cluster != names(&target).0 {
            return Err(invalid(
                "task",
                format!("it is in cluster `{cluster}`, not in `{target}`"),
            ));
        }
        let reason = args::text(&ask.proposal.params, "reason");
        let covers = |bounds: &Bounds| super::covers(bounds, &target);
        args::granted(ask, covers, format_args!("`{target}`"), |_| {
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: target.clone(),
                class: Class::C,
                params: ask.proposal.params.clone(),
                says: format!("stop task `{id}`: {reason}"),
                after: ask.proposal.after,
                settle: SETTLE,
                lease: None,
            })
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        let cluster = args::text(bounds, "cluster");
        let tasks = format!("arn:aws:ecs:${{region}}:${{account}}:task/{cluster}/*");
        let mut needs = super::needs(bounds, "ecs:StopTask");
        needs.truncate(1);
        needs.push(Need { action: "ecs:DescribeTasks", resource: tasks.clone() });
        needs.push(Need { action: "ecs:StopTask", resource: tasks });
        needs
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let (cluster, _) = names(&order.step.target);
        let task = task_of(order.step);
        let reason = format!("{} {}", order.marker, args::text(&order.step.params, "reason"));
        hands.ecs.stop_task(may, cluster, task, &reason).await?;
        Ok(task.to_owned())
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let (cluster, _) = names(&order.step.target);
        let task = match eyes.ecs.task(cluster, handle).await {
            // Stopped tasks are shown for an hour: one that is gone has stopped.
            Err(ReadError::NotFound { .. }) => {
                let evidence = json!({ "task": handle, "last_status": "gone" });
                return Ok(Following::Ended(StepOutcome::Done { evidence }));
            }
            Err(error) => return Err(error),
            Ok(task) => task,
        };
        if task.last_status == "STOPPED" {
            let evidence = json!({ "task": handle, "stopped_reason": task.stopped_reason });
            return Ok(Following::Ended(StepOutcome::Done { evidence }));
        }
        Ok(Following::Going(LOOK_EVERY))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let (cluster, _) = names(&order.step.target);
        let arn = task_of(order.step);
        let task = match eyes.ecs.task(cluster, arn).await {
            Err(ReadError::NotFound { .. }) => return Ok(Found::NotSeen),
            Err(error) => return Err(error),
            Ok(task) => task,
        };
        if task.desired_status != "STOPPED" {
            return Ok(order.no_trace());
        }
        // Stopped by us or by somebody else: either way it stops, and stopping it again is nothing.
        Ok(Found::Sent(arn.to_owned()))
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let service = super::quiet_service(eyes, &step.target).await?;
        let (cluster, name) = names(&step.target);
        let task = eyes
            .ecs
            .task(cluster, task_of(step))
            .await
            .map_err(|error| unread("ecs.service", error))?;
        if task.group != format!("service:{name}") {
            return Err(precheck("task_of_service", format!("it belongs to `{}`", task.group)));
        }
        if task.last_status != "RUNNING" || task.desired_status != "RUNNING" {
            return Err(precheck("task_running", format!("it is `{}`", task.last_status)));
        }
        if service.running < 2 || service.running < service.desired {
            let detail = format!("{} of {} tasks run", service.running, service.desired);
            return Err(precheck("other_tasks_running", detail));
        }
        Ok(())
    }

    fn class(&self) -> Class {
        Class::C
    }
}
