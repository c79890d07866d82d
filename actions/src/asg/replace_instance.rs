//! `asg.replace_instance`: one instance goes and its group starts another. Never shrinks the group.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome, Target};

use super::{GROUP, able_group, healthy};
use crate::args::{self, invalid, precheck};
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, Param,
    ParamKind, ReadError, Repeat, Spec,
};

/// The old one drains, the new one boots and passes its health checks.
const SETTLE: Period = Period::mins(20);
/// Between looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Share of the desired size that must stay healthy without the instance, unless `may:` says more.
const MIN_HEALTHY_PCT: i64 = 70;

/// `asg.replace_instance`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplaceInstance;

static SPEC: Spec = Spec {
    kind: "asg.replace_instance",
    summary: "Terminates one instance of an Auto Scaling group, which then starts another.",
    params: &[Param {
        name: "instance",
        kind: ParamKind::Text(20),
        required: true,
        doc: "the instance's id",
    }],
    bounds: &[
        GROUP,
        Param {
            name: "min_healthy",
            kind: ParamKind::Whole(50, 100),
            required: false,
            doc: "percent of the desired size that stays healthy without it; 70 when it is not said",
        },
    ],
    repeat: Repeat::Safe,
    examples: &[
        Example {
            title: "replace an unhealthy instance",
            may: r#"{"group":"web"}"#,
            facts: "{}",
            proposal: r#"{"action":"asg.replace_instance","target":"asg/web","params":{"instance":"i-0a1b2c3d4e5f67890"},"after":"0s"}"#,
            gives: "replace `i-0a1b2c3d4e5f67890`, if 70 % stay healthy",
        },
        Example {
            title: "what is not an instance",
            may: r#"{"group":"web"}"#,
            facts: "{}",
            proposal: r#"{"action":"asg.replace_instance","target":"asg/web","params":{"instance":"*"},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

fn instance_of(step: &Step) -> &str {
    step.params.get("instance").and_then(Value::as_str).unwrap_or_default()
}

#[async_trait]
impl Action for ReplaceInstance {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "asg")?;
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let instance = args::text(&ask.proposal.params, "instance");
        if format!("ec2/{instance}").parse::<Target>().is_err() {
            return Err(invalid("instance", format!("`{instance}` is not an instance's id")));
        }
        let covers = |bounds: &Bounds| super::covers(bounds, &target);
        args::granted(ask, covers, format_args!("`{target}`"), |bounds| {
            let share = args::whole(bounds, "min_healthy").unwrap_or(MIN_HEALTHY_PCT);
            let params = [
                ("instance".to_owned(), json!(instance)),
                ("min_healthy".to_owned(), json!(share)),
            ];
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: target.clone(),
                class: Class::C,
                params: params.into(),
                says: format!("replace `{instance}`, if {share} % stay healthy"),
                after: ask.proposal.after,
                settle: SETTLE,
                lease: None,
            })
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        super::needs(bounds, "autoscaling:TerminateInstanceInAutoScalingGroup")
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let instance = instance_of(order.step);
        hands.asg.replace_instance(may, instance).await?;
        Ok(instance.to_owned())
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let group = eyes.asg.group(order.step.target.name()).await?;
        let gone = group.instances.iter().all(|instance| instance.id != handle);
        let serving = i64::try_from(healthy(&group)).unwrap_or(i64::MAX);
        if gone && serving >= group.desired {
            let evidence = json!({ "replaced": handle, "healthy": serving });
            return Ok(Following::Ended(StepOutcome::Done { evidence }));
        }
        Ok(Following::Going(LOOK_EVERY))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let group = eyes.asg.group(order.step.target.name()).await?;
        let id = instance_of(order.step);
        let stays = group
            .instances
            .iter()
            .any(|instance| instance.id == id && !instance.lifecycle.starts_with("Terminat"));
        // An instance has one end: terminating it again is nothing.
        Ok(if stays { order.no_trace() } else { Found::Sent(id.to_owned()) })
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let group = able_group(eyes, &step.target).await?;
        let id = instance_of(step);
        let Some(instance) = group.instances.iter().find(|instance| instance.id == id) else {
            return Err(precheck("in_group", format!("`{id}` is not in `{}`", step.target)));
        };
        if instance.lifecycle != "InService" {
            return Err(precheck("in_service", format!("`{id}` is `{}`", instance.lifecycle)));
        }
        if instance.protected {
            return Err(precheck("not_protected", format!("`{id}` is protected from scale-in")));
        }
        let itself = usize::from(instance.health == "Healthy");
        let others = i64::try_from(healthy(&group) - itself).unwrap_or(0);
        let share = args::whole(&step.params, "min_healthy").unwrap_or(MIN_HEALTHY_PCT);
        let least = (group.desired.saturating_mul(share) + 99).div_euclid(100).max(1);
        // A group of one, two or three cannot keep 70 % without one: all others must be healthy then.
        let least = least.min(group.desired - 1).max(1);
        if others < least {
            let detail = format!("{others} others are healthy; {least} must be");
            return Err(precheck("others_healthy", detail));
        }
        Ok(())
    }

    fn class(&self) -> Class {
        Class::C
    }
}
