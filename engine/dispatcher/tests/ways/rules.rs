//! The rules of these tests. Each answers the alarms of its own name.

use crate::support::book::RuleText;

pub(crate) const HOST: &str = "i-0123456789abcdef0";

fn manifest(name: &str, target: &str, rest: &str) -> String {
    format!(
        "summary: a rule of a test\nowner: test\n\
         on: [{{ source: generic, name: \"{name}*\" }}, {{ source: cloudwatch, name: \"{name}*\" }}]\n\
         target: {target}\n{rest}\nmax_age: 15m\n\
         verify: {{ clears_within: 10m, holds_for: 5m }}\nescalate: {{ mention: oncall }}\n"
    )
}

const MAY_RECLAIM: &str =
    "may: [{ ssm.document: { document: untoil-disk-reclaim, params: { TargetUsedPct: \"80\" } } }]";
const RECLAIM: &str = r#"fn plan(alarm, facts) {
    [ssm::document("untoil-disk-reclaim", alarm.target, #{ Mount: "/", TargetUsedPct: "80" })]
}"#;
const WIDE: &str = "limits: { target: 50 per 1h, rule: 50 per 1h, cooldown: 1s }";

/// The rule of the disk, written anew: it frees up to another percentage.
pub(crate) fn disk_up_to(pct: &str) -> Vec<RuleText> {
    let mut rules = all();
    rules.truncate(1);
    let (_, manifest, script) = &mut rules[0];
    *manifest = manifest.replace("\"80\"", &format!("\"{pct}\""));
    *script = Box::leak(script.replace("\"80\"", &format!("\"{pct}\"")).into_boxed_str());
    rules
}

#[expect(clippy::too_many_lines, reason = "a list of rules, each told whole")]
pub(crate) fn all() -> Vec<RuleText> {
    let host = format!("ec2/{HOST}");
    let fact = format!("facts: {{ host: {{ ssm.instance: {{ instance: {HOST} }} }} }}");
    let service = "facts: { service: { ecs.service: { cluster: workers, service: sync } } }";
    let scale =
        "may: [{ ecs.scale: { cluster: workers, service: sync, max: 20, step: 4, lease: 30m } }]";
    vec![
        (
            "disk",
            manifest("disk", &host, &format!("{fact}\n{MAY_RECLAIM}\nmode: auto\n{WIDE}")),
            RECLAIM,
        ),
        (
            "later",
            manifest("later", &host, &format!("{fact}\n{MAY_RECLAIM}\nmode: auto\n{WIDE}")),
            r#"fn plan(alarm, facts) {
    let reclaim = #{ Mount: "/", TargetUsedPct: "80" };
    [ssm::document("untoil-disk-reclaim", alarm.target, reclaim).after("20s")]
}"#,
        ),
        (
            "once",
            manifest(
                "once",
                &host,
                &format!(
                    "{MAY_RECLAIM}\nmode: auto\nlimits: {{ target: 1 per 24h, rule: 9 per 1h, cooldown: 1s }}"
                ),
            ),
            RECLAIM,
        ),
        ("ask", manifest("ask", &host, &format!("{MAY_RECLAIM}\nmode: approve\n{WIDE}")), RECLAIM),
        (
            "shadow",
            manifest("shadow", &host, &format!("{MAY_RECLAIM}\nmode: shadow\n{WIDE}")),
            RECLAIM,
        ),
        (
            "twice",
            manifest(
                "twice",
                &host,
                &format!(
                    "may: [{{ ssm.document: {{ document: untoil-cpu-culprit }} }}]\nmode: auto\n{WIDE}"
                ),
            ),
            r#"fn plan(alarm, facts) {
    let look = ssm::document("untoil-cpu-culprit", alarm.target, #{ Seconds: "10" });
    [look, ssm::document("untoil-cpu-culprit", alarm.target, #{ Seconds: "10" }).after("60s")]
}"#,
        ),
        (
            "scale",
            manifest(
                "scale",
                "ecs/workers/sync",
                &format!("{service}\n{scale}\nmode: auto\n{WIDE}"),
            ),
            "fn plan(alarm, facts) { [ecs::scale_by(alarm.target, 4)] }",
        ),
        (
            "redeploy",
            manifest(
                "redeploy",
                "ecs/workers/sync",
                &format!(
                    "may: [{{ ecs.redeploy: {{ cluster: workers, service: sync }} }}]\nmode: auto\n{WIDE}"
                ),
            ),
            "fn plan(alarm, facts) { [ecs::redeploy(alarm.target)] }",
        ),
        (
            "nothing",
            manifest("nothing", &host, &format!("{MAY_RECLAIM}\nmode: auto\n{WIDE}")),
            "fn plan(alarm, facts) { print(\"all is well\"); [] }",
        ),
        (
            "broken",
            manifest("broken", &host, &format!("{MAY_RECLAIM}\nmode: auto\n{WIDE}")),
            "fn plan(alarm, facts) { print(\"looking\"); throw \"no idea\"; }",
        ),
    ]
}
