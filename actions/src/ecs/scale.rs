//! `ecs.scale`: the desired count of one service, in bounded, absolute steps.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use untoil_guard::Clearance;
use untoil_model::{Class, Lease, Period, Reason, Step, StepOutcome};

use super::{CLUSTER, SERVICE, names, quiet_service, service};
use crate::args::{self, precheck};
use crate::sizing::{self, Sizing};
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, ReadError,
    Repeat, Spec,
};

/// New tasks pull images and pass health checks; draining ones finish their jobs.
const SETTLE: Period = Period::mins(10);
/// Between looks while tasks start or stop: service reads are limited to 20 per second and Region.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// `ecs.scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale;

const EXAMPLES: &[Example] = &[
    Example {
        title: "scale out by four",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4,"lease":"2h"}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":4}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"by":4},"after":"0s"}"#,
        gives: "desired count 4 → 8",
    },
    Example {
        title: "less room than asked for: it stops at the maximum and says so",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":18}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"by":4},"after":"0s"}"#,
        gives: "desired count 18 → 20 (asked for 22; the maximum is 20)",
    },
    Example {
        title: "at the maximum already",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":20}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"by":4},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "an absolute count out of bounds is refused, not cut",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":100}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":4}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"to":40},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "a rule that scales out may not shrink",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":8}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"to":6},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "unless its `may:` says so",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4,"shrink":true}"#,
        facts: r#"{"service":{"kind":"ecs.service","value":{"cluster":"workers","service":"contact-sync","desired":8}}}"#,
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"to":6},"after":"0s"}"#,
        gives: "desired count 8 → 6",
    },
    Example {
        title: "without the fact nothing is planned",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4}"#,
        facts: "{}",
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/contact-sync","params":{"by":4},"after":"0s"}"#,
        gives: "refused: fact_unavailable",
    },
    Example {
        title: "another service than the one granted",
        may: r#"{"cluster":"workers","service":"contact-sync","max":20,"step":4}"#,
        facts: "{}",
        proposal: r#"{"action":"ecs.scale","target":"ecs/workers/mailer","params":{"by":1},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
];

static SPEC: Spec = Spec {
    kind: "ecs.scale",
    summary: "Sets the desired count of an ECS service, in bounded steps, under a lease.",
    params: sizing::PARAMS,
    bounds: &[
        CLUSTER,
        SERVICE,
        sizing::MAX,
        sizing::MIN,
        sizing::STEP,
        sizing::LEASE,
        sizing::SHRINK,
    ],
    repeat: Repeat::Safe,
    examples: EXAMPLES,
};

#[async_trait]
impl Action for Scale {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)?;
        sizing::check_bounds(SPEC.kind, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "ecs")?;
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let (cluster, name) = names(&target);
        args::granted(
            ask,
            |bounds| super::covers(bounds, &target),
            format_args!("`{target}`"),
            |bounds| {
                let same = [("cluster", cluster), ("service", name)];
                let fact = args::fact(ask, "ecs.service", &same)?;
                let from = args::number("ecs.service", fact, "desired")?;
                let sizing = Sizing::resolve(&ask.proposal.params, bounds, from)?;
                let mut step = Step {
                    action: ask.proposal.action.clone(),
                    target: target.clone(),
                    class: Class::B,
                    params: sizing.params(),
                    says: format!("desired count {from} → {}{}", sizing.to, sizing.note),
                    after: ask.proposal.after,
                    settle: SETTLE,
                    lease: None,
                };
                step.lease = sizing::lease(bounds, &step);
                Ok(step)
            },
        )
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
        let Some((_, to)) = Sizing::of(order.step) else {
            return Err(CallError::NotSent { why: "the step names no count".into() });
        };
        let (cluster, name) = names(&order.step.target);
        hands.ecs.set_desired(may, cluster, name, to).await?;
        Ok(format!("desired={to}"))
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        _handle: &str,
    ) -> Result<Following, ReadError> {
        let service = service(eyes, &order.step.target).await?;
        let Some((from, to)) = Sizing::of(order.step) else {
            return Ok(Following::Ended(StepOutcome::Unknown { why: "no count".into() }));
        };
        if service.desired == to && service.running == to {
            let evidence = json!({ "before": from, "after": to, "running": service.running });
            return Ok(Following::Ended(StepOutcome::Done { evidence }));
        }
        Ok(Following::Going(LOOK_EVERY))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let service = service(eyes, &order.step.target).await?;
        // An absolute value: it is safe to set again while it is still what the plan saw.
        Ok(match Sizing::of(order.step) {
            Some((_, to)) if service.desired == to => Found::Sent(format!("desired={to}")),
            Some((from, _)) if service.desired == from => order.no_trace(),
            Some(_) | None => Found::NotSeen,
        })
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let service = quiet_service(eyes, &step.target).await?;
        match Sizing::of(step) {
            Some((from, _)) if service.desired == from => Ok(()),
            Some((from, _)) => Err(precheck(
                "desired_changed",
                format!("the plan saw {from}; now it is {}", service.desired),
            )),
            None => Err(precheck("desired_changed", "the step names no count")),
        }
    }

    fn give_back(&self, lease: &Lease, found: i64) -> Result<Vec<Step>, Reason> {
        sizing::give_back(lease, found, SETTLE)
    }

    async fn leased_value(&self, eyes: &Eyes, lease: &Lease) -> Result<i64, ReadError> {
        Ok(service(eyes, &lease.target).await?.desired)
    }

    fn class(&self) -> Class {
        Class::B
    }
}
