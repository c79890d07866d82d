//! The rules of the benchmark: the shipped disk-full rule, allowed to act often, and generated ones.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use untoil_dispatcher::Book;
use untoil_sandbox::{Matcher, Rule, RuleBook, RuleFiles, Sandbox};

/// As the shipped manifest, but for the source, the mode, and limits that never end a benchmark.
const MANIFEST: &str = "\
summary: Rotate and compress logs on a host whose disk is filling
owner: bench
on:
  - source: generic
    namespace: CWAgent
    metric: disk_used_percent
    dimensions: { InstanceId: \"i-*\" }
target: ec2/{alarm.dimensions.InstanceId}
facts:
  host: { ssm.instance: { instance: \"{alarm.dimensions.InstanceId}\" } }
may:
  - ssm.document: { document: untoil-disk-reclaim, params: { TargetUsedPct: \"80\" } }
  - slack.message: {}
mode: auto
limits: { target: 100 per 24h, rule: 10000 per 1s, cooldown: 30m }
max_age: 60m
verify: { clears_within: 20m, holds_for: 5m }
escalate: { mention: platform-oncall }
saves: 30m
";

/// The shipped script.
const SCRIPT: &str = include_str!("../../rules/disk-full/rule.rhai");

/// Checks and compiles the rule.
pub(crate) fn shipped(sandbox: &Sandbox) -> Result<Rule> {
    let files = RuleFiles {
        name: "disk-full".to_owned(),
        manifest: Some(MANIFEST.as_bytes().to_vec()),
        script: Some(SCRIPT.as_bytes().to_vec()),
    };
    sandbox.build(&files).map_err(|found| {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        anyhow!("the rule of the benchmark is broken: {}", found.join("\n"))
    })
}

/// `n` rules, each for a metric and a name of its own: the matchers differ, the rest is one rule's.
pub(crate) fn generated(one: &Rule, n: usize) -> Result<RuleBook> {
    let rules = (0..n).map(|i| -> Result<Arc<Rule>> {
        let mut rule = one.clone();
        rule.name = format!("rule-{i}").parse()?;
        rule.manifest.on = vec![
            Matcher {
                source: Some("generic".parse()?),
                namespace: Some(format!("Team/{}", i % 50).parse()?),
                metric: Some(format!("metric-{i}").parse()?),
                dimensions: [("InstanceId".to_owned(), "i-*".parse()?)].into(),
                ..Matcher::default()
            },
            Matcher {
                source: Some("generic".parse()?),
                name: Some(format!("service-{i}-errors").parse()?),
                ..Matcher::default()
            },
        ];
        Ok(Arc::new(rule))
    });
    Ok(RuleBook::new(rules.collect::<Result<Vec<_>>>()?))
}

/// Writes the rule's folder under `n` names.
pub(crate) fn write(dir: &Path, n: usize) -> Result<()> {
    for i in 0..n {
        let folder = dir.join(format!("rule-{i}"));
        std::fs::create_dir(&folder)?;
        let own = format!("metric: disk_used_percent_{i}");
        std::fs::write(
            folder.join("rule.yaml"),
            MANIFEST.replace("metric: disk_used_percent", &own),
        )?;
        std::fs::write(folder.join("rule.rhai"), SCRIPT)?;
    }
    Ok(())
}

/// The shipped rule as the dispatcher asks it.
pub(crate) fn book(sandbox: Sandbox) -> Result<Book> {
    let rules = Arc::new(RuleBook::new([Arc::new(shipped(&sandbox)?)]));
    Ok(Book::fixed(rules, sandbox))
}
