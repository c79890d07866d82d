//! The rules of the benchmark: the shipped disk-full rule, allowed to act often, and generated ones.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use untoil_dispatcher::{Answer, Candidate, Prepared, Question, Rules};
use untoil_model::{Alarm, RuleName};
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

/// The rule book as the dispatcher asks it; as the binary's, but for reloading.
#[derive(Debug)]
pub(crate) struct Book {
    book: RuleBook,
    sandbox: Sandbox,
}

impl Book {
    pub(crate) fn shipped(sandbox: Sandbox) -> Result<Self> {
        let book = RuleBook::new([Arc::new(shipped(&sandbox)?)]);
        Ok(Self { book, sandbox })
    }

    fn rule(&self, name: &RuleName) -> Result<Arc<Rule>, String> {
        self.book.get(name).cloned().ok_or_else(|| format!("rule `{name}` is gone"))
    }
}

fn candidate(rule: &Rule) -> Candidate {
    let (name, version) = (rule.name.clone(), rule.version().clone());
    Candidate { name, version, mode: rule.manifest.mode }
}

#[async_trait]
impl Rules for Book {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        self.book.matching(alarm).into_iter().map(|rule| candidate(rule)).collect()
    }

    fn prepare(&self, name: &RuleName, alarm: &Alarm) -> Result<Prepared, String> {
        let rule = self.rule(name)?;
        let target = rule.manifest.target_of(alarm).map_err(|e| e.to_string())?;
        let facts = rule.manifest.facts_of(alarm, &target).map_err(|e| e.to_string())?;
        Ok(Prepared {
            rule: candidate(&rule),
            target,
            facts,
            may: rule.manifest.may.clone(),
            limits: rule.manifest.limits,
            max_age: rule.manifest.max_age,
            verify: rule.manifest.verify,
            mention: rule.manifest.mention.clone(),
        })
    }

    fn is_current(&self, prepared: &Candidate) -> bool {
        self.rule(&prepared.name).is_ok_and(|rule| *rule.version() == prepared.version)
    }

    async fn ask(&self, name: &RuleName, question: Question<'_>) -> Answer {
        let rule = match self.rule(name) {
            Ok(rule) => rule,
            Err(gone) => return Answer { proposals: Err(gone), printed: Vec::new(), more: false },
        };
        let Question { alarm, target, facts, results } = question;
        let asked = match results {
            None => untoil_sandbox::Question::Plan { alarm, target, facts },
            Some(results) => untoil_sandbox::Question::Next { alarm, target, facts, results },
        };
        let answer = self.sandbox.ask(&rule, asked).await;
        let proposals = answer.proposals.map_err(|e| e.to_string());
        Answer { proposals, printed: answer.printed, more: rule.has_next() }
    }
}
