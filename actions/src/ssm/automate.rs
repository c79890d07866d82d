//! `ssm.automation`: a runbook of the team's own, its version pinned. Its token makes repeats safe.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step, StepOutcome};

use super::next_look;
use crate::args::{self, invalid};
use crate::{
    Action, Ask, Automation, Bounds, CallError, Example, Eyes, Following, Found, Hands, Need,
    Order, Param, ParamKind, ReadError, Repeat, Spec, StartAutomation, marker,
};

/// How far before our intent an execution may be dated: clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(2);
/// How long a runbook may take unless `may:` says otherwise.
const SETTLE: Period = Period::mins(30);
/// How long it may take at most.
const SETTLE_MAX: Period = Period::hours(6);
/// Tries whose markers are looked for: the runner makes fewer.
const TRIES_MAX: u32 = 10;

/// `ssm.automation`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Automate;

static SPEC: Spec = Spec {
    kind: "ssm.automation",
    summary: "Starts an SSM Automation runbook that the team wrote, with its version pinned.",
    params: &[
        Param {
            name: "document",
            kind: ParamKind::Text(128),
            required: true,
            doc: "name of the runbook",
        },
        Param {
            name: "params",
            kind: ParamKind::Table,
            required: false,
            doc: "its parameters, as far as `may:` grants them",
        },
    ],
    bounds: &[
        Param {
            name: "document",
            kind: ParamKind::Text(128),
            required: true,
            doc: "name of the runbook",
        },
        Param {
            name: "version",
            kind: ParamKind::Text(10),
            required: true,
            doc: "its version, a number; never `$LATEST`",
        },
        Param {
            name: "target_param",
            kind: ParamKind::Text(60),
            required: false,
            doc: "the parameter that the engine fills with the target's name",
        },
        Param {
            name: "params",
            kind: ParamKind::Table,
            required: false,
            doc: "what the rule may give: a value, or `*` for any",
        },
        Param {
            name: "class",
            kind: ParamKind::Text(1),
            required: false,
            doc: "`B`, `C` or `D`; C when it is not said",
        },
        Param {
            name: "timeout",
            kind: ParamKind::Time,
            required: false,
            doc: "how long it may take, up to 6h; 30m when it is not said",
        },
    ],
    repeat: Repeat::Safe,
    examples: &[
        Example {
            title: "a runbook that is told its instance by the engine",
            may: r#"{"document":"Team-RotateKeys","version":"3","target_param":"InstanceId","params":{"Depth":"*"}}"#,
            facts: "{}",
            proposal: r#"{"action":"ssm.automation","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"Team-RotateKeys","params":{"Depth":"2"}},"after":"0s"}"#,
            gives: "start `Team-RotateKeys` version 3 with Depth=2 InstanceId=i-0a1b2c3d4e5f67890",
        },
        Example {
            title: "a script may not choose another instance",
            may: r#"{"document":"Team-RotateKeys","version":"3","target_param":"InstanceId"}"#,
            facts: "{}",
            proposal: r#"{"action":"ssm.automation","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"Team-RotateKeys","params":{"InstanceId":"i-11111111111111111"}},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
        Example {
            title: "a parameter that is not granted",
            may: r#"{"document":"Team-RotateKeys","version":"3"}"#,
            facts: "{}",
            proposal: r#"{"action":"ssm.automation","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"Team-RotateKeys","params":{"Force":"yes"}},"after":"0s"}"#,
            gives: "refused: param_invalid",
        },
    ],
};

fn class_of(bounds: &Bounds) -> Result<Class, String> {
    match args::text(bounds, "class") {
        "B" => Ok(Class::B),
        "" | "C" => Ok(Class::C),
        "D" => Ok(Class::D),
        other => Err(format!("`class` of `ssm.automation`: `{other}` is not `B`, `C` or `D`")),
    }
}

/// Checks what the script gives against what is granted, and adds the target.
fn values(
    given: &BTreeMap<String, String>,
    bounds: &Bounds,
    target: &str,
) -> Result<BTreeMap<String, String>, Reason> {
    let granted = args::table(bounds, "params");
    for (name, value) in given {
        match granted.get(name).map(String::as_str) {
            Some("*") => {}
            Some(only) if only == value => {}
            Some(only) => {
                return Err(invalid(name, format!("`{value}` is not granted; `{only}` is")));
            }
            None => return Err(invalid(name, "the rule's `may:` does not grant this parameter")),
        }
    }
    let mut values = given.clone();
    let own = args::text(bounds, "target_param");
    if !own.is_empty() {
        values.insert(own.to_owned(), target.to_owned());
    }
    Ok(values)
}

fn ended(automation: &Automation) -> Option<StepOutcome> {
    let Automation { id, ended, succeeded, status, detail } = automation;
    Some(match (ended, succeeded) {
        (false, _) => return None,
        (true, true) => {
            let detail: String = detail.chars().take(4_000).collect();
            let evidence = json!({ "execution": id, "status": status, "detail": detail });
            StepOutcome::Done { evidence }
        }
        // It ran, and nobody here knows how far.
        (true, false) => StepOutcome::Unknown { why: format!("`{id}` ended `{status}`: {detail}") },
    })
}

#[async_trait]
impl Action for Automate {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)?;
        class_of(bounds)?;
        let version = args::text(bounds, "version");
        if !version.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("`version` of `ssm.automation`: `{version}` is not a number"));
        }
        let name = args::text(bounds, "document");
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
            return Err(format!(
                "`document` of `ssm.automation`: `{name}` is not a document's name"
            ));
        }
        if args::table(bounds, "params").contains_key(args::text(bounds, "target_param")) {
            return Err(
                "`target_param` of `ssm.automation` is the engine's, so not in `params`".into()
            );
        }
        match args::time(bounds, "timeout") {
            Some(time) if time == Period::ZERO || time > SETTLE_MAX => {
                Err(format!("`timeout` of `ssm.automation` is {time}; use up to {SETTLE_MAX}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        if ask.proposal.target != ask.target.as_str() {
            let why =
                format!("`{}` is not the rule's own target `{}`", ask.proposal.target, ask.target);
            return Err(invalid("target", why));
        }
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let name = args::text(&ask.proposal.params, "document");
        let given = args::table(&ask.proposal.params, "params");
        let covers = |bounds: &Bounds| args::text(bounds, "document") == name;
        args::granted(ask, covers, format_args!("`{name}`"), |bounds| {
            let values = values(&given, bounds, ask.target.name())?;
            let version = args::text(bounds, "version");
            let with: Vec<_> =
                values.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let with =
                if with.is_empty() { String::new() } else { format!(" with {}", with.join(" ")) };
            let params = [
                ("document".to_owned(), json!(name)),
                ("version".to_owned(), json!(version)),
                ("params".to_owned(), json!(values)),
            ];
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: ask.target.clone(),
                class: class_of(bounds).map_err(|why| invalid("class", why))?,
                params: params.into(),
                says: format!("start `{name}` version {version}{with}"),
                after: ask.proposal.after,
                settle: args::time(bounds, "timeout").unwrap_or(SETTLE),
                lease: None,
            })
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        let (name, version) = (args::text(bounds, "document"), args::text(bounds, "version"));
        let ssm = |tail: String| format!("arn:aws:ssm:${{region}}:${{account}}:{tail}");
        let execution = ssm("automation-execution/*".into());
        vec![
            Need { action: "ssm:DescribeAutomationExecutions", resource: "*".into() },
            Need { action: "ssm:GetAutomationExecution", resource: execution.clone() },
            Need { action: "ssm:AddTagsToResource", resource: execution.clone() },
            Need { action: "ssm:StartAutomationExecution", resource: execution },
            Need {
                action: "ssm:StartAutomationExecution",
                resource: ssm(format!("automation-definition/{name}:{version}")),
            },
            Need {
                action: "ssm:StartAutomationExecution",
                resource: ssm(format!("document/{name}")),
            },
        ]
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let values = args::table(&order.step.params, "params");
        let start = StartAutomation {
            document: args::text(&order.step.params, "document").to_owned(),
            version: args::text(&order.step.params, "version").to_owned(),
            params: values.into_iter().map(|(name, value)| (name, vec![value])).collect(),
            client_token: marker::uuid(order.at),
        };
        match hands.ssm.start_automation(may, start).await {
            // Our token is taken, and only by us: an earlier try went through with its own tag.
            Err(CallError::Refused { code, why, .. }) if code == "IdempotentParameterMismatch" => {
                Err(CallError::Unknown { why: format!("{code}: {why}") })
            }
            other => other,
        }
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let automation = match eyes.ssm.automation(handle).await {
            Err(ReadError::NotFound { .. }) => return Ok(Following::Going(next_look(order))),
            Err(error) => return Err(error),
            Ok(automation) => automation,
        };
        Ok(ended(&automation).map_or_else(|| Following::Going(next_look(order)), Following::Ended))
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let since = order.started_at.saturating_sub(BEFORE).unwrap_or(order.started_at);
        let step = marker::of_step(order.marker);
        for attempt in (1..=marker::attempt(order.marker).min(TRIES_MAX)).rev() {
            let marker = format!("{step}:{attempt}");
            if let Some(automation) = eyes.ssm.automation_with(&marker, since).await? {
                return Ok(Found::Sent(automation.id));
            }
        }
        // With the same token a repeat is the same execution.
        Ok(order.no_trace())
    }

    fn class(&self) -> Class {
        Class::C
    }
}
