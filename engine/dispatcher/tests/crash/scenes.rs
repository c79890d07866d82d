//! The stories during which the process is killed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use untoil_world::{AlarmSpec, QueueSpec, World};

use crate::support::book::RuleText;

/// A story: the world it plays in, the rule that answers, and what may come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) set: fn(&World),
    /// What happens in the world meanwhile, so long after the beginning; may be said twice.
    pub(crate) meanwhile: fn(&World, SignedDuration),
    pub(crate) rule: fn() -> RuleText,
    /// The effects in the world, in order, when nobody dies.
    pub(crate) effects: &'static [&'static str],
    /// Whether an effect may stay out where a person is called instead: a call that can neither be
    /// found again nor be repeated.
    pub(crate) may_call_a_person: bool,
}

/// When every story begins.
pub(crate) fn start() -> Timestamp {
    "2026-01-05T00:00:00Z".parse().unwrap()
}

/// How long every story is told.
pub(crate) const LENGTH: SignedDuration = SignedDuration::from_mins(90);

pub(crate) const SCENES: [Scene; 8] = [
    Scene {
        name: "disk",
        set: disk,
        meanwhile: |_, _| {},
        rule: || ("disk", manifest(DISK_ON, DISK_MAY), DISK),
        effects: &["/ 90 % → 79 %"],
        may_call_a_person: false,
    },
    Scene {
        name: "disk, in a while",
        set: disk,
        meanwhile: |_, _| {},
        rule: || ("disk", manifest(DISK_ON, DISK_MAY), DISK_LATER),
        effects: &["/ 90 % → 79 %"],
        may_call_a_person: false,
    },
    Scene {
        name: "disk, throttled",
        set: |world| {
            disk(world);
            world.throttle("ssm:SendCommand", 2);
        },
        meanwhile: |_, _| {},
        rule: || ("disk", manifest(DISK_ON, DISK_MAY), DISK),
        effects: &["/ 90 % → 79 %"],
        may_call_a_person: false,
    },
    Scene {
        name: "disk, answer lost",
        set: |world| {
            disk(world);
            world.lose_answer("ssm:SendCommand");
            world.set_lag(std::time::Duration::from_secs(40));
        },
        meanwhile: |_, _| {},
        rule: || ("disk", manifest(DISK_ON, DISK_MAY), DISK),
        effects: &["/ 90 % → 79 %"],
        may_call_a_person: false,
    },
    Scene {
        name: "backlog",
        set: backlog,
        meanwhile: calm_down,
        rule: || ("backlog", manifest(BACKLOG_ON, BACKLOG_MAY), BACKLOG),
        effects: &["desired 4 → 8", "desired 8 → 4"],
        may_call_a_person: false,
    },
    Scene {
        name: "cpu",
        set: cpu,
        meanwhile: |_, _| {},
        rule: || ("cpu", manifest(CPU_ON, CPU_MAY), CPU),
        effects: &["restart ds_agent.service"],
        may_call_a_person: false,
    },
    Scene {
        name: "redeploy",
        set: backlog,
        meanwhile: calm_down,
        rule: || ("redeploy", manifest(BACKLOG_ON, REDEPLOY_MAY), REDEPLOY),
        effects: &["new deployment"],
        may_call_a_person: true,
    },
    Scene {
        name: "tell",
        set: backlog,
        meanwhile: calm_down,
        rule: || ("tell", manifest(BACKLOG_ON, "slack.message: {}"), TELL),
        effects: &["look at it"],
        may_call_a_person: true,
    },
];

/// What a second alarm on the same target says, once the story is over: that nothing holds it.
pub(crate) fn probe(scene: &Scene) -> AlarmSpec {
    let host = BTreeMap::from([("InstanceId".to_owned(), HOST.to_owned())]);
    let (namespace, metric, dimensions) = match scene.name {
        "cpu" => ("AWS/EC2", "CPUUtilization", host),
        "backlog" | "redeploy" | "tell" => ("Test", "Backlog", BTreeMap::new()),
        _ => ("CWAgent", "disk_used_percent", host),
    };
    alarm("another one", (namespace, metric, dimensions), 0.0)
}

const HOST: &str = "i-0123456789abcdef0";

fn manifest((on, target, fact): (&str, &str, &str), may: &str) -> String {
    format!(
        "summary: a rule of a test\nowner: test\non: [{{ source: cloudwatch, {on} }}]\n\
         target: {target}\nfacts: {{ {fact} }}\nmay: [{{ {may} }}]\nmode: auto\n\
         limits: {{ target: 50 per 1h, rule: 50 per 1h, cooldown: 1s }}\nmax_age: 60m\n\
         verify: {{ clears_within: 40m, holds_for: 5m }}\n"
    )
}

const DISK_ON: (&str, &str, &str) = (
    "namespace: CWAgent, metric: disk_used_percent",
    "ec2/{alarm.dimensions.InstanceId}",
    "host: { ssm.instance: { instance: \"{alarm.dimensions.InstanceId}\" } }",
);
const DISK_MAY: &str =
    "ssm.document: { document: untoil-disk-reclaim, params: { TargetUsedPct: \"80\" } }";
const DISK: &str = r#"fn plan(alarm, facts) {
    [ssm::document("untoil-disk-reclaim", alarm.target, #{ Mount: "/", TargetUsedPct: "80" })]
}"#;
/// A first step that waits is not begun in the commit of its judgement.
const DISK_LATER: &str = r#"fn plan(alarm, facts) {
    let reclaim = #{ Mount: "/", TargetUsedPct: "80" };
    [ssm::document("untoil-disk-reclaim", alarm.target, reclaim).after("30s")]
}"#;

const CPU_ON: (&str, &str, &str) = (
    "namespace: AWS/EC2, metric: CPUUtilization",
    "ec2/{alarm.dimensions.InstanceId}",
    "host: { ssm.instance: { instance: \"{alarm.dimensions.InstanceId}\" } }",
);
const CPU_MAY: &str = "ssm.document: { document: untoil-cpu-culprit } }, { ssm.document: \
     { document: untoil-restart-unit, params: { Unit: ds_agent.service, MinCorePct: \"60\" } }";
const CPU: &str = r#"fn plan(alarm, facts) {
    [ssm::document("untoil-cpu-culprit", alarm.target, #{ Seconds: "10" })]
}
fn next(alarm, facts, results) {
    if results.len() != 1 { return []; }
    let unit = results[0].evidence.units[0].unit;
    [ssm::document("untoil-restart-unit", alarm.target, #{ Unit: unit, MinCorePct: "60" })]
}"#;

const BACKLOG_ON: (&str, &str, &str) = (
    "namespace: Test, metric: Backlog",
    "ecs/workers/sync",
    "service: { ecs.service: { cluster: workers, service: sync } }",
);
const BACKLOG_MAY: &str =
    "ecs.scale: { cluster: workers, service: sync, max: 20, step: 4, lease: 2h }";
const BACKLOG: &str = "fn plan(alarm, facts) { [ecs::scale_by(alarm.target, 4)] }";
const REDEPLOY_MAY: &str = "ecs.redeploy: { cluster: workers, service: sync }";
const REDEPLOY: &str = "fn plan(alarm, facts) { [ecs::redeploy(alarm.target)] }";
const TELL: &str = r#"fn plan(alarm, facts) { [slack::message("look at it")] }"#;

type Of<'a> = (&'a str, &'a str, BTreeMap<String, String>);

fn alarm(name: &str, (namespace, metric, dimensions): Of<'_>, threshold: f64) -> AlarmSpec {
    AlarmSpec {
        name: name.into(),
        namespace: namespace.into(),
        metric: metric.into(),
        dimensions,
        threshold,
        periods: 1,
    }
}

fn disk(world: &World) {
    world.add_host(HOST);
    world.add_disk(HOST, "/", (90.0, 30.0, 0.5));
    let of = [("InstanceId", HOST), ("path", "/")];
    let of = of.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    world.alarm_for(alarm("disk", ("CWAgent", "disk_used_percent", of), 85.0));
}

fn cpu(world: &World) {
    world.add_host(HOST);
    world.add_unit(HOST, "ds_agent.service", 190.0, 4.0);
    let of = BTreeMap::from([("InstanceId".to_owned(), HOST.to_owned())]);
    world.alarm_for(alarm("cpu", ("AWS/EC2", "CPUUtilization", of), 90.0));
}

fn backlog(world: &World) {
    world.add_service("workers", "sync", 4);
    world.add_queue(
        "sync",
        QueueSpec {
            backlog: 5_000.0,
            in_per_min: 150.0,
            done_per_task_per_min: 30.0,
            cluster: "workers".into(),
            service: "sync".into(),
            namespace: "Test".into(),
            metric: "Backlog".into(),
            dimensions: BTreeMap::new(),
        },
    );
    world.alarm_for(alarm("backlog", ("Test", "Backlog", BTreeMap::new()), 5_050.0));
}

/// The backlog ends by itself, late enough for the engine to act first.
fn calm_down(world: &World, passed: SignedDuration) {
    if passed >= SignedDuration::from_mins(20) {
        world.set_inflow("sync", 30.0);
    }
}
