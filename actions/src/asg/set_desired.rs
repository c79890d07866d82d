//! `asg.set_desired`: the desired size of one group, in bounded, absolute steps.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use untoil_guard::Clearance;
use untoil_model::{Class, Lease, Period, Reason, Step, StepOutcome};

use super::{GROUP, able_group, healthy};
use crate::args::{self, invalid, precheck};
use crate::sizing::{self, Sizing};
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, ReadError,
    Repeat, Spec,
};

/// An instance boots, runs its user data and passes its health checks.
const SETTLE: Period = Period::mins(15);
/// Between looks while instances come and go.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// `asg.set_desired`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SetDesired;

static SPEC: Spec = Spec {
    kind: "asg.set_desired",
    summary: "Sets the desired size of an Auto Scaling group, within its own bounds and the rule's.",
    params: sizing::PARAMS,
    bounds: &[GROUP, sizing::MAX, sizing::MIN, sizing::STEP, sizing::LEASE, sizing::SHRINK],
    repeat: Repeat::Safe,
    examples: &[
        Example {
            title: "one more instance",
            may: r#"{"group":"web","max":6,"step":2,"lease":"2h"}"#,
            facts: r#"{"group":{"kind":"asg.group","value":{"group":"web","min":2,"max":8,"desired":3}}}"#,
            proposal: r#"{"action":"asg.set_desired","target":"asg/web","params":{"to":4},"after":"0s"}"#,
            gives: "desired size 3 → 4",
        },
        Example {
            title: "the group's own maximum is lower than the rule's",
            may: r#"{"group":"web","max":6,"step":2}"#,
            facts: r#"{"group":{"kind":"asg.group","value":{"group":"web","min":2,"max":4,"desired":3}}}"#,
            proposal: r#"{"action":"asg.set_desired","target":"asg/web","params":{"to":5},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
        Example {
            title: "without the fact nothing is planned",
            may: r#"{"group":"web","max":6,"step":2}"#,
            facts: "{}",
            proposal: r#"{"action":"asg.set_desired","target":"asg/web","params":{"to":5},"after":"0s"}"#,
            gives: "refused: fact_unavailable",
        },
    ],
};

#[async_trait]
impl Action for SetDesired {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)?;
        sizing::check_bounds(SPEC.kind, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "asg")?;
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let covers = |bounds: &Bounds| super::covers(bounds, &target);
        args::granted(ask, covers, format_args!("`{target}`"), |bounds| {
            let fact = args::fact(ask, "asg.group", &[("group", target.name())])?;
            let number = |field| args::number("asg.group", fact, field);
            let (min, max, from) = (number("min")?, number("max")?, number("desired")?);
            let sizing = Sizing::resolve(&ask.proposal.params, bounds, from)?;
            let to = sizing.to;
            if to < min || to > max {
                let why = format!("{to} is outside the group's own bounds, {min} to {max}");
                return Err(invalid("to", why));
            }
            let mut step = Step {
                action: ask.proposal.action.clone(),
                target: target.clone(),
                class: Class::B,
                params: sizing.params(),
                says: format!("desired size {from} → {to}{}", sizing.note),
                after: ask.proposal.after,
                settle: SETTLE,
                lease: None,
            };
            step.lease = sizing::lease(bounds, &step);
            Ok(step)
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        super::needs(bounds, "autoscaling:SetDesiredCapacity")
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let Some((_, to)) = Sizing::of(order.step) else {
            return Err(CallError::NotSent { why: "the step names no size".into() });
        };
        hands.asg.set_desired(may, order.step.target.name(), to).await?;
        Ok(format!("desired={to}"))
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        _handle: &str,
    ) -> Result<Following, ReadError> {
        let group = eyes.asg.group(order.step.target.name()).await?;
        let Some((from, to)) = Sizing::of(order.step) else {
            return Ok(Following::Ended(StepOutcome::Unknown { why: "no size".into() }));
        };
        let serving = i64::try_from(healthy(&group)).unwrap_or(i64::MAX);
        let present = i64::try_from(group.instances.len()).unwrap_or(i64::MAX);
        if group.desired == to && serving == to && present == to {
            let evidence = json!({ "before": from, "after": to, "healthy": serving });
            return Ok(Following::Ended(StepOutcome::Done { evidence }));
        }
        Ok(Following::Going(LOOK_EVERY))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let group = eyes.asg.group(order.step.target.name()).await?;
        Ok(match Sizing::of(order.step) {
            Some((_, to)) if group.desired == to => Found::Sent(format!("desired={to}")),
            Some((from, _)) if group.desired == from => order.no_trace(),
            Some(_) | None => Found::NotSeen,
        })
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let group = able_group(eyes, &step.target).await?;
        let Some((from, to)) = Sizing::of(step) else {
            return Err(precheck("desired_changed", "the step names no size"));
        };
        if group.desired != from {
            let detail = format!("the plan saw {from}; now it is {}", group.desired);
            return Err(precheck("desired_changed", detail));
        }
        if to < group.min || to > group.max {
            let detail = format!("{to} is outside {} to {}", group.min, group.max);
            return Err(precheck("within_group", detail));
        }
        Ok(())
    }

    fn give_back(&self, lease: &Lease, found: i64) -> Result<Vec<Step>, Reason> {
        sizing::give_back(lease, found, SETTLE)
    }

    async fn leased_value(&self, eyes: &Eyes, lease: &Lease) -> Result<i64, ReadError> {
        Ok(eyes.asg.group(lease.target.name()).await?.desired)
    }

    fn class(&self) -> Class {
        Class::B
    }
}
