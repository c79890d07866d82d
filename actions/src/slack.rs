//! `slack.message`: words of a rule in the incident's own thread.

use async_trait::async_trait;
use serde_json::json;
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome};

use crate::args;
use crate::{
    Action, Ask, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need, Order, Param,
    ParamKind, ReadError, Repeat, Spec,
};

/// Longest message: fits one Slack section with room for quoting.
const TEXT_MAX: usize = 2_000;
/// Most characters of a message in the step's one line.
const SAYS_MAX: usize = 80;
/// It is said, or it is not.
const SETTLE: Period = Period::mins(1);

/// `slack.message`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message;

static SPEC: Spec = Spec {
    kind: "slack.message",
    summary: "Says something in the incident's thread.",
    params: &[Param {
        name: "text",
        kind: ParamKind::Text(TEXT_MAX),
        required: true,
        doc: "plain text; markup in it is shown, not followed",
    }],
    bounds: &[],
    repeat: Repeat::Never,
    examples: &[
        Example {
            title: "say what a person should look at",
            may: "{}",
            facts: "{}",
            proposal: r#"{"action":"slack.message","target":"ec2/i-0a1b2c3d4e5f67890","params":{"text":"the application itself is busy"},"after":"0s"}"#,
            gives: "say: the application itself is busy",
        },
        Example {
            title: "nothing to say",
            may: "{}",
            facts: "{}",
            proposal: r#"{"action":"slack.message","target":"ec2/i-0a1b2c3d4e5f67890","params":{"text":""},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

#[async_trait]
impl Action for Message {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let text = args::text(&ask.proposal.params, "text");
        let mut says: String = text.chars().take(SAYS_MAX).collect();
        if says.len() < text.len() {
            says.push('…');
        }
        // The thread is the incident's: whatever the script wrote as target, it is the rule's own.
        Ok(Step {
            action: ask.proposal.action.clone(),
            target: ask.target.clone(),
            class: Class::N,
            params: ask.proposal.params.clone(),
            says: format!("say: {}", says.replace('\n', " ")),
            after: ask.proposal.after,
            settle: SETTLE,
            lease: None,
        })
    }

    fn needs(&self, _bounds: &Bounds) -> Vec<Need> {
        Vec::new()
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        hands.chat.say(may, args::text(&order.step.params, "text")).await
    }

    async fn follow(
        &self,
        _eyes: &Eyes,
        _order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        Ok(Following::Ended(StepOutcome::Done { evidence: json!({ "message": handle }) }))
    }

    async fn find(&self, _eyes: &Eyes, _order: &Order<'_>) -> Result<Found, ReadError> {
        Ok(Found::NotSeen)
    }

    fn class(&self) -> Class {
        Class::N
    }
}
