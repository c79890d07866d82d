//! Rules written in a test, as the dispatcher asks them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use untoil_actions::Catalogue;
use untoil_dispatcher::{Answer, Candidate, Prepared, Question, Rules};
use untoil_model::{Alarm, RuleName};
use untoil_sandbox::{Rule, RuleBook, RuleFiles, Sandbox};

/// A rule's name, manifest and script.
pub(crate) type RuleText = (&'static str, String, &'static str);

/// A book of such rules.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    rules: Arc<Mutex<RuleBook>>,
    sandbox: Sandbox,
}

impl Book {
    pub(crate) fn of(texts: Vec<RuleText>) -> Self {
        let sandbox = Sandbox::start(Arc::new(Catalogue::standard(Vec::new())), 1).unwrap();
        let rules = Arc::new(Mutex::new(RuleBook::new([])));
        let book = Self { rules, sandbox };
        book.load(texts);
        book
    }

    /// Has these rules instead, from now on.
    pub(crate) fn load(&self, texts: Vec<RuleText>) {
        let rules = texts.into_iter().map(|(name, manifest, script)| {
            let files = RuleFiles {
                name: name.into(),
                manifest: Some(manifest.into()),
                script: Some(script.into()),
            };
            let built = self.sandbox.build(&files).unwrap_or_else(|found| {
                let found: Vec<_> = found.into_iter().map(|d| d.rendered).collect();
                panic!("{}", found.join("\n"))
            });
            Arc::new(built)
        });
        *self.rules.lock().unwrap() = RuleBook::new(rules);
    }

    fn rule(&self, name: &RuleName) -> Result<Arc<Rule>, String> {
        let rules = self.rules.lock().unwrap();
        rules.get(name).cloned().ok_or_else(|| format!("rule `{name}` is gone"))
    }
}

fn candidate(rule: &Rule) -> Candidate {
    let (name, version) = (rule.name.clone(), rule.version().clone());
    Candidate { name, version, mode: rule.manifest.mode }
}

#[async_trait]
impl Rules for Book {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        let rules = self.rules.lock().unwrap();
        rules.matching(alarm).into_iter().map(|rule| candidate(rule)).collect()
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
        let answer = self.sandbox.ask_on_paused_time(&rule, asked).await;
        Answer {
            proposals: answer.proposals.map_err(|e| e.to_string()),
            printed: answer.printed,
            more: rule.has_next(),
        }
    }
}
