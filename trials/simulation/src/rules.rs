//! The rule book of a simulation: the shipped rules and three of its own, asked on the thread that
//! asks, so that no other thread's turn changes what comes out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use untoil_actions::Catalogue;
use untoil_dispatcher::{Answer, Candidate, Prepared, Question, Rules};
use untoil_model::{Alarm, Mode, RuleName};
use untoil_sandbox::{Rule, RuleBook, RuleFiles, Sandbox};

/// The host that `http.request` may talk to.
const HOST: &str = "ops.example.com";

macro_rules! rule {
    ($name:literal, $folder:literal) => {
        (
            $name,
            include_str!(concat!($folder, $name, "/rule.yaml")),
            include_str!(concat!($folder, $name, "/rule.rhai")),
        )
    };
}

/// Every rule: name, manifest, script.
const RULES: [(&str, &str, &str); 6] = [
    rule!("contact-sync-backlog", "../../../rules/"),
    rule!("disk-full", "../../../rules/"),
    rule!("runaway-cpu", "../../../rules/"),
    rule!("front-redeploy", "../rules/"),
    rule!("pool-grow", "../rules/"),
    rule!("cache-purge", "../rules/"),
];

/// What all seeds share: compiled rules never change.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    pub(crate) catalogue: Arc<Catalogue>,
    sandbox: Sandbox,
    book: Arc<RuleBook>,
}

impl Library {
    /// The rules, compiled once for the whole process.
    ///
    /// # Errors
    /// When a rule does not pass its checks.
    pub(crate) fn load() -> anyhow::Result<Self> {
        static LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
        let loaded = LOADED.get_or_init(|| Self::compile().map_err(|error| format!("{error:#}")));
        loaded.clone().map_err(|why| anyhow!(why))
    }

    fn compile() -> anyhow::Result<Self> {
        let catalogue = Arc::new(Catalogue::standard(vec![HOST.to_owned()]));
        let sandbox = Sandbox::start(Arc::clone(&catalogue), 1).context("no sandbox")?;
        let mut rules = Vec::new();
        for (name, manifest, script) in RULES {
            let files = RuleFiles {
                name: name.to_owned(),
                manifest: Some(manifest.as_bytes().to_vec()),
                script: Some(script.as_bytes().to_vec()),
            };
            let built = sandbox.build(&files).map_err(|found| {
                let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                anyhow!("rule `{name}` is broken: {}", found.join("\n"))
            })?;
            rules.push(Arc::new(built));
        }
        Ok(Self { catalogue, sandbox, book: Arc::new(RuleBook::new(rules)) })
    }

    /// The names of all rules.
    pub(crate) fn names(&self) -> Vec<RuleName> {
        self.book.rules().iter().map(|rule| rule.name.clone()).collect()
    }
}

/// The rules with the modes of one seed.
#[derive(Debug, Clone)]
pub(crate) struct SeedBook {
    pub(crate) library: Library,
    pub(crate) modes: BTreeMap<RuleName, Mode>,
}

impl SeedBook {
    fn rule(&self, name: &RuleName) -> Result<&Arc<Rule>, String> {
        self.library.book.get(name).ok_or_else(|| format!("rule `{name}` is gone"))
    }

    fn candidate(&self, rule: &Rule) -> Candidate {
        let mode = self.modes.get(&rule.name).copied().unwrap_or(rule.manifest.mode);
        Candidate { name: rule.name.clone(), version: rule.version().clone(), mode }
    }
}

#[async_trait]
impl Rules for SeedBook {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        let matching = self.library.book.matching(alarm);
        matching.into_iter().map(|rule| self.candidate(rule)).collect()
    }

    fn prepare(&self, name: &RuleName, alarm: &Alarm) -> Result<Prepared, String> {
        let rule = self.rule(name)?;
        let target = rule.manifest.target_of(alarm).map_err(|e| e.to_string())?;
        let facts = rule.manifest.facts_of(alarm, &target).map_err(|e| e.to_string())?;
        Ok(Prepared {
            rule: self.candidate(rule),
            target,
            facts,
            may: rule.manifest.may.clone(),
            limits: rule.manifest.limits,
            max_age: rule.manifest.max_age,
            verify: rule.manifest.verify,
            mention: rule.manifest.mention.clone(),
        })
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
        let answer = self.library.sandbox.ask_here(rule, asked);
        Answer {
            proposals: answer.proposals.map_err(|e| e.to_string()),
            printed: answer.printed,
            more: rule.has_next(),
        }
    }
}
