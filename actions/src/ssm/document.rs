//! `ssm.document`: one of our fixed documents, on one host, with parameters only.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::json;
use untoil_deploy::Filler;
use untoil_guard::Clearance;
use untoil_model::{Class, Period, Reason, Step};

use super::{answer, next_look};
use crate::args::{self, invalid, precheck, unread};
use crate::{
    Action, Ask, Bounds, CallError, CommandState, Example, Eyes, Following, Found, Hands, Need,
    Order, Param, ParamKind, ReadError, Repeat, SendCommand, Spec, marker,
};

/// Not begun on the host within this time, it does not begin; SSM's least is 30 s.
const DELIVERY: Duration = Duration::from_mins(1);
/// How far before our intent a command may be dated: clocks differ.
const BEFORE: SignedDuration = SignedDuration::from_mins(2);
/// A command in flight is at most this old: the longest execution time.
const IN_FLIGHT: SignedDuration = SignedDuration::from_hours(1);
/// Time that SSM takes to report an end.
const REPORTING: u64 = 60;
/// Bounds of the execution time. Outside 5 s to 48 h the agent silently takes an hour.
const EXECUTION: std::ops::RangeInclusive<u64> = 30..=3_600;
/// The parameter that the agent itself obeys.
const TIMEOUT: &str = "executionTimeout";

/// `ssm.document`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document;

static SPEC: Spec = Spec {
    kind: "ssm.document",
    summary: "Runs one of untoil's fixed SSM documents on one host, its version and hash pinned.",
    params: &[
        Param {
            name: "document",
            kind: ParamKind::Text(128),
            required: true,
            doc: "its name: `untoil-…`",
        },
        Param {
            name: "params",
            kind: ParamKind::Table,
            required: false,
            doc: "its parameters; see the document",
        },
    ],
    bounds: &[
        Param {
            name: "document",
            kind: ParamKind::Text(128),
            required: true,
            doc: "name of the document",
        },
        Param {
            name: "params",
            kind: ParamKind::Table,
            required: false,
            doc: "values that are granted, such as `Unit: newrelic-infra.service`; any other is refused",
        },
        Param {
            name: "timeout",
            kind: ParamKind::Time,
            required: false,
            doc: "how long it may run on the host, 30s to 1h; the document's own when it is not said",
        },
    ],
    repeat: Repeat::Safe,
    examples: EXAMPLES,
};

const EXAMPLES: &[Example] = &[
    Example {
        title: "reclaim space on one host",
        may: r#"{"document":"untoil-disk-reclaim"}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"untoil-disk-reclaim","params":{"Mount":"/","TargetUsedPct":80}},"after":"0s"}"#,
        gives: "run `untoil-disk-reclaim` with Mount=/ TargetUsedPct=80",
    },
    Example {
        title: "restart the agent that is granted",
        may: r#"{"document":"untoil-restart-unit","params":{"Unit":"newrelic-infra.service"}}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"untoil-restart-unit","params":{"Unit":"newrelic-infra.service"}},"after":"0s"}"#,
        gives: "run `untoil-restart-unit` with Unit=newrelic-infra.service",
    },
    Example {
        title: "restart another one",
        may: r#"{"document":"untoil-restart-unit","params":{"Unit":"newrelic-infra.service"}}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"untoil-restart-unit","params":{"Unit":"ds_agent.service"}},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "shell text is not a mount point",
        may: r#"{"document":"untoil-disk-reclaim"}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"untoil-disk-reclaim","params":{"Mount":"/; rm -rf /"}},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "a free shell is not one of our documents",
        may: r#"{"document":"AWS-RunShellScript"}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"AWS-RunShellScript","params":{"commands":"id"}},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
    Example {
        title: "the engine alone names the run",
        may: r#"{"document":"untoil-disk-diag"}"#,
        facts: "{}",
        proposal: r#"{"action":"ssm.document","target":"ec2/i-0a1b2c3d4e5f67890","params":{"document":"untoil-disk-diag","params":{"RunId":"mine-mine"}},"after":"0s"}"#,
        gives: "refused: param_invalid",
    },
];

fn known(name: &str) -> Result<&'static untoil_deploy::Document, String> {
    untoil_deploy::document(name).ok_or_else(|| {
        let names: Vec<_> =
            untoil_deploy::documents().iter().map(|d| format!("`{}`", d.name)).collect();
        format!("`{name}` is not one of the fixed documents: {}", names.join(", "))
    })
}

/// Checks the values that a rule gives, and that none is missing.
fn check_values(
    document: &untoil_deploy::Document,
    values: &BTreeMap<String, String>,
) -> Result<(), (String, String)> {
    for (name, value) in values {
        let parameter = document.parameter(name).filter(|p| p.filler == Filler::Rule);
        let Some(parameter) = parameter else {
            let why = format!("`{}` takes no such parameter from a rule", document.name);
            return Err((name.clone(), why));
        };
        parameter.check(value).map_err(|bad| (name.clone(), bad.to_string()))?;
    }
    let missing = document
        .parameters
        .iter()
        .find(|p| p.filler == Filler::Rule && p.default.is_none() && !values.contains_key(p.name));
    match missing {
        Some(p) => Err((p.name.to_owned(), format!("`{}` needs it", document.name))),
        None => Ok(()),
    }
}

/// How far it may be left alone. Restarting a security control, or our own courier, is noticed.
fn class_of(document: &untoil_deploy::Document, values: &BTreeMap<String, String>) -> Class {
    match (document.writes, values.get("Unit").map(String::as_str)) {
        (false, _) => Class::A,
        (true, None | Some("newrelic-infra.service")) => Class::B,
        (true, Some(_)) => Class::C,
    }
}

fn execution_secs(document: &untoil_deploy::Document, bounds: &Bounds) -> u64 {
    let own =
        document.parameter(TIMEOUT).and_then(|p| p.default).and_then(|text| text.parse().ok());
    let secs = args::time(bounds, "timeout").map(Period::as_secs).or(own);
    secs.unwrap_or(*EXECUTION.start()).clamp(*EXECUTION.start(), *EXECUTION.end())
}

/// `command@instance`: what following needs, in one text.
fn handle(command: &str, instance: &str) -> String {
    format!("{command}@{instance}")
}

#[async_trait]
impl Action for Document {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check_bounds(&self, bounds: &Bounds) -> Result<(), String> {
        args::check_may(SPEC.kind, SPEC.bounds, bounds)?;
        let document = known(args::text(bounds, "document"))?;
        for (name, value) in args::table(bounds, "params") {
            let wrong = |why: String| format!("`{name}` of `{}`: {why}", document.name);
            match document.parameter(&name).filter(|p| p.filler == Filler::Rule) {
                None => return Err(wrong("there is no such parameter for a rule".into())),
                Some(p) => p.check(&value).map_err(|bad| wrong(bad.to_string()))?,
            }
        }
        match args::time(bounds, "timeout") {
            Some(time) if !EXECUTION.contains(&time.as_secs()) => {
                Err(format!("`timeout` of `ssm.document` is {time}; use 30s to 1h"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn resolve(&self, ask: &Ask<'_>) -> Result<Step, Reason> {
        let target = args::target(ask, "ec2")?;
        // `may:` names documents, not hosts: the rule's own target is the only host it acts on.
        if target != *ask.target {
            let why = format!("`{target}` is not the rule's own target `{}`", ask.target);
            return Err(invalid("target", why));
        }
        args::check_params(SPEC.params, &ask.proposal.params)?;
        let name = args::text(&ask.proposal.params, "document");
        let document = known(name).map_err(|why| invalid("document", why))?;
        let values = args::table(&ask.proposal.params, "params");
        check_values(document, &values).map_err(|(param, why)| invalid(&param, why))?;
        let covers = |bounds: &Bounds| args::text(bounds, "document") == name;
        args::granted(ask, covers, format_args!("`{name}`"), |bounds| {
            for (param, only) in args::rows(bounds, "params") {
                let default = document.parameter(param).and_then(|p| p.default);
                let value = values.get(param).map(String::as_str).or(default).unwrap_or_default();
                if value != only {
                    return Err(invalid(param, format!("`{value}` is not granted; `{only}` is")));
                }
            }
            let secs = execution_secs(document, bounds);
            let mut says = format!("run `{name}`");
            for (n, (name, value)) in values.iter().enumerate() {
                let before = if n == 0 { " with " } else { " " };
                says.extend([before, name, "=", value]);
            }
            let params = [
                ("document".to_owned(), json!(name)),
                ("version".to_owned(), json!(document.version)),
                ("sha256".to_owned(), json!(document.sha256())),
                ("params".to_owned(), json!(values)),
                ("timeout_secs".to_owned(), json!(secs)),
            ];
            Ok(Step {
                action: ask.proposal.action.clone(),
                target: target.clone(),
                class: class_of(document, &values),
                params: params.into(),
                says,
                after: ask.proposal.after,
                settle: Period::secs(DELIVERY.as_secs() + secs + REPORTING),
                lease: None,
            })
        })
    }

    fn needs(&self, bounds: &Bounds) -> Vec<Need> {
        let document = args::text(bounds, "document");
        let all = |action| Need { action, resource: "*".into() };
        let send = |resource| Need { action: "ssm:SendCommand", resource };
        vec![
            all("ssm:DescribeInstanceInformation"),
            all("ssm:GetCommandInvocation"),
            all("ssm:ListCommands"),
            send(format!("arn:aws:ssm:${{region}}:${{account}}:document/{document}")),
            send("arn:aws:ec2:${region}:${account}:instance/*".into()),
        ]
    }

    async fn call(
        &self,
        hands: &Hands,
        may: Clearance,
        order: &Order<'_>,
    ) -> Result<String, CallError> {
        let step = order.step;
        let instance = step.target.name().to_owned();
        let mut params = args::table(&step.params, "params");
        let secs = args::whole(&step.params, "timeout_secs").unwrap_or(60);
        params.insert("RunId".into(), marker::run_id(order.at));
        params.insert("NotAfter".into(), may.not_after().as_second().to_string());
        params.insert("Mode".into(), "act".into());
        params.insert(TIMEOUT.into(), secs.to_string());
        let sha256 = args::text(&step.params, "sha256");
        let command = SendCommand {
            document: args::text(&step.params, "document").to_owned(),
            version: args::text(&step.params, "version").to_owned(),
            sha256: (!sha256.is_empty()).then(|| sha256.to_owned()),
            instance: instance.clone(),
            params,
            delivery_timeout: DELIVERY,
        };
        let id = hands.ssm.send_command(may, command).await?;
        Ok(handle(&id, &instance))
    }

    async fn follow(
        &self,
        eyes: &Eyes,
        order: &Order<'_>,
        handle: &str,
    ) -> Result<Following, ReadError> {
        let (id, instance) =
            handle.split_once('@').unwrap_or_else(|| (handle, order.step.target.name()));
        let command = match eyes.ssm.command(id, instance).await {
            // Just after sending it may not be there yet. How long to wait is the step's `settle`.
            Err(ReadError::NotFound { .. }) => return Ok(Following::Going(next_look(order))),
            Err(error) => return Err(error),
            Ok(command) => command,
        };
        Ok(match answer::outcome(&command) {
            Some(outcome) => Following::Ended(outcome),
            None => Following::Going(next_look(order)),
        })
    }

    async fn find(&self, eyes: &Eyes, order: &Order<'_>) -> Result<Found, ReadError> {
        let instance = order.step.target.name();
        let since = order.started_at.saturating_sub(BEFORE).unwrap_or(order.started_at);
        let commands = eyes.ssm.commands_since(instance, since).await?;
        // Any try of this step: an earlier one that shows up late is the one that acted.
        let ours = commands.iter().find(|c| marker::same_step(&c.comment, order.marker));
        Ok(match ours {
            Some(command) => Found::Sent(handle(&command.id, instance)),
            // Should it have gone out all the same, the host remembers the step and acts once only.
            None => order.no_trace(),
        })
    }

    async fn look_again(&self, eyes: &Eyes, step: &Step) -> Result<(), Reason> {
        let id = step.target.name();
        let read = eyes.ssm.instance(id).await;
        let instance = read.map_err(|error| unread("ssm.instance", error))?;
        if instance.ping != "Online" {
            return Err(precheck("ssm_online", format!("`{id}` is `{}`", instance.ping)));
        }
        if !instance.platform.is_empty() && instance.platform != "Linux" {
            return Err(precheck("platform_linux", format!("`{id}` is `{}`", instance.platform)));
        }
        let values = args::table(&step.params, "params");
        let courier = values.get("Unit").is_some_and(|unit| unit.contains("amazon-ssm-agent"));
        let Some(heard) = instance.last_ping.filter(|_| courier) else { return Ok(()) };
        // Restarting the courier loses the answers of whatever else it carries. There is no clock
        // here, but the host was heard of within minutes, and no command runs longer than an hour.
        let since = heard.saturating_sub(IN_FLIGHT).unwrap_or(heard);
        let commands = eyes.ssm.commands_since(id, since).await;
        let commands = commands.map_err(|error| unread("ssm.instance", error))?;
        match commands.iter().filter(|c| c.state == CommandState::Going).count() {
            0 => Ok(()),
            n => Err(precheck("courier_idle", format!("{n} commands are in flight on `{id}`"))),
        }
    }

    fn class(&self) -> Class {
        Class::B
    }
}
