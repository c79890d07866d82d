//! `tests.yaml` as it is written; `docs/rule-tests.md` says what each key means.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use untoil_model::{ActionKind, AlarmState, Body, Ending, Mode, Period, RunOutcome, Target};

/// One test.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    pub(super) name: String,
    /// Instead of the manifest's.
    pub(super) mode: Option<Mode>,
    #[serde(default)]
    pub(super) world: Setting,
    #[serde(default)]
    pub(super) done_before: Vec<Before>,
    pub(super) when: Vec<Moment>,
    pub(super) then: Then,
}

/// What the simulated AWS holds, or what changes in it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Setting {
    /// By `cluster/service`.
    pub(super) ecs: BTreeMap<String, ServiceSetting>,
    /// By id.
    pub(super) instances: BTreeMap<String, HostSetting>,
    /// Auto Scaling groups by name.
    pub(super) groups: BTreeMap<String, GroupSetting>,
    pub(super) metrics: Vec<Datapoint>,
    pub(super) refusals: Vec<Refusal>,
}

/// An ECS service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceSetting {
    pub(super) desired: i64,
    /// Fewer than desired: there is no room for more. Left out: all run.
    pub(super) running: Option<i64>,
}

/// A host.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostSetting {
    /// SSM's word: `Online`, `ConnectionLost`, `Inactive`.
    pub(super) ping: Option<String>,
    /// By mount point.
    pub(super) disks: BTreeMap<String, DiskSetting>,
    /// By systemd unit.
    pub(super) units: BTreeMap<String, UnitSetting>,
}

/// A disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskSetting {
    pub(super) used_pct: f64,
    /// The lowest that reclaiming can bring it to.
    pub(super) reclaims_to: Option<f64>,
}

/// A systemd unit that burns CPU.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitSetting {
    /// In percent of one core.
    pub(super) core_pct: f64,
    #[serde(default)]
    pub(super) after_restart: f64,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSetting {
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) desired: i64,
}

/// A datapoint of a metric, at the time it is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Datapoint {
    pub(super) namespace: String,
    pub(super) metric: String,
    #[serde(default)]
    pub(super) dimensions: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// Calls that AWS refuses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Refusal {
    /// As IAM spells it: `ssm:SendCommand`.
    pub(super) call: String,
    pub(super) code: String,
    /// Left out: all.
    pub(super) times: Option<u32>,
}

/// Runs of the rule that wrote before the test begins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Before {
    pub(super) target: Target,
    #[serde(default = "once")]
    pub(super) times: u32,
    /// How long ago the last of them ended.
    pub(super) ago: Period,
    #[serde(default = "effective")]
    pub(super) outcome: RunOutcome,
}

fn once() -> u32 {
    1
}

fn effective() -> RunOutcome {
    RunOutcome::Effective
}

/// Something that happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Moment {
    /// Since the start.
    pub(super) at: Period,
    pub(super) world: Option<Setting>,
    pub(super) alarm: Option<Said>,
    pub(super) event: Option<Event>,
    pub(super) answer: Option<Answering>,
}

/// What an alarm's sender says. What is left out is as it was said last.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Said {
    pub(super) source: Option<Sender>,
    pub(super) name: Option<String>,
    pub(super) state: Option<AlarmState>,
    pub(super) changed_at: Option<Timestamp>,
    pub(super) namespace: Option<String>,
    pub(super) metric: Option<String>,
    pub(super) dimensions: Option<BTreeMap<String, String>>,
    pub(super) value: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) reason: Option<String>,
    pub(super) description: Option<String>,
    /// Of `generic` only.
    pub(super) key: Option<String>,
    /// Of `generic` only.
    pub(super) severity: Option<String>,
    /// Of `generic` only.
    pub(super) labels: Option<BTreeMap<String, String>>,
}

/// Senders whose messages are made from an `alarm`; for others there is `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sender {
    /// CloudWatch, by way of SNS.
    Cloudwatch,
    /// Our own JSON.
    Generic,
}

/// A delivery as it is posted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub(super) source: untoil_model::Source,
    pub(super) body: Value,
}

/// A person's answer to the plan that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answering {
    Approve,
    Reject,
}

/// What must come out. What is left out is not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Then {
    pub(super) plan: Option<Vec<StepLike>>,
    pub(super) judged: Option<Verdict>,
    pub(super) outcome: Option<RunOutcome>,
    pub(super) closed: Option<Ending>,
    pub(super) entries: Option<Vec<Kind>>,
    pub(super) never: Option<Vec<Kind>>,
    pub(super) escalated: Option<Vec<String>>,
    pub(super) says: Option<Vec<String>>,
    pub(super) calls: Option<BTreeMap<String, u64>>,
    pub(super) world: Option<After>,
}

/// A step, as far as it is named.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepLike {
    pub(super) action: ActionKind,
    pub(super) target: Option<Target>,
    #[serde(default)]
    pub(super) params: BTreeMap<String, Value>,
}

/// `allow`, `hold:<code>` or `deny:<code>`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Verdict(pub(super) String);

impl TryFrom<String> for Verdict {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let reason = text.strip_prefix("hold:").or_else(|| text.strip_prefix("deny:"));
        if text == "allow" || reason.is_some_and(|code| !code.is_empty()) {
            return Ok(Self(text));
        }
        Err(format!("`{text}` is no judgement: write `allow`, `hold:<code>` or `deny:<code>`"))
    }
}

/// A kind of entry that an incident can have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Kind(pub(super) String);

impl TryFrom<String> for Kind {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        // The journal's own reader knows the kinds; a list here would fall behind it.
        match serde_json::from_value::<Body>(json!({ text.as_str(): {} })) {
            Err(error) if error.to_string().starts_with("unknown variant") => {
                Err(format!("no kind of entry: {error}"))
            }
            Ok(_) | Err(_) => Ok(Self(text)),
        }
    }
}

/// How the simulated AWS must be in the end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct After {
    pub(super) ecs: BTreeMap<String, ServiceAfter>,
    pub(super) instances: BTreeMap<String, HostAfter>,
}

/// A service in the end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServiceAfter {
    pub(super) desired: Option<i64>,
    pub(super) running: Option<i64>,
}

/// A host in the end.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostAfter {
    /// Most percent used, by mount point.
    pub(super) used_pct_max: BTreeMap<String, f64>,
    /// Most percent of all cores that is busy.
    pub(super) cpu_max: Option<f64>,
}

/// The calls that the simulated AWS knows, as IAM spells them; the last two are no AWS's.
const CALLS: [&str; 20] = [
    "ssm:SendCommand",
    "ssm:StartAutomationExecution",
    "ssm:DescribeInstanceInformation",
    "ssm:GetCommandInvocation",
    "ssm:ListCommands",
    "ssm:GetAutomationExecution",
    "ssm:DescribeAutomationExecutions",
    "ssm:DescribeDocument",
    "ecs:UpdateService",
    "ecs:StopTask",
    "ecs:DescribeServices",
    "ecs:DescribeTasks",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "cloudwatch:GetMetricData",
    "cloudwatch:DescribeAlarms",
    "slack:say",
    "http:send",
];

/// Reads a `tests.yaml`.
///
/// # Errors
/// With a caret where a key or a value is none; in words where the whole does not fit together.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<Test>> {
    let tests: Vec<Test> = crate::config::yaml(text)?;
    let mut names = BTreeSet::new();
    for test in &tests {
        if !names.insert(&test.name) {
            bail!("two tests are called `{}`; give each its own name", test.name);
        }
        if let Err(error) = check(test) {
            bail!("in test `{}`: {error}", test.name);
        }
    }
    Ok(tests)
}

fn check(test: &Test) -> anyhow::Result<()> {
    if test.when.is_empty() {
        bail!("`when` is empty; let at least an alarm arrive");
    }
    let mut last = Period::ZERO;
    for moment in &test.when {
        if moment.at < last {
            bail!("`at: {}` stands after `at: {last}`; write `when` in order", moment.at);
        }
        last = moment.at;
        let Moment { world, alarm, event, answer, .. } = moment;
        if world.is_none() && alarm.is_none() && event.is_none() && answer.is_none() {
            bail!(
                "nothing happens at {last}; write an `alarm`, `event`, `answer` or `world` there"
            );
        }
    }
    let settings = test.when.iter().filter_map(|moment| moment.world.as_ref());
    let refusals = settings.chain([&test.world]).flat_map(|setting| &setting.refusals);
    let calls = refusals
        .map(|refusal| &refusal.call)
        .chain(test.then.calls.iter().flatten().map(|(call, _)| call));
    for call in calls {
        if !CALLS.contains(&call.as_str()) {
            bail!("no call `{call}`; there are {}", CALLS.join(", "));
        }
    }
    Ok(())
}
