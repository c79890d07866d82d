//! The sandbox's rule book, as the loop asks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use untoil_model::{Alarm, Mode, RuleName};
use untoil_sandbox::{Rule, RuleBook, Sandbox};

use crate::rules::{Answer, Candidate, Prepared, Question, Rules};

/// The rules of a [`Sandbox`], as they are loaded at each moment. Clones show the same rules.
#[derive(Debug, Clone)]
pub struct Book {
    rules: Arc<ArcSwap<RuleBook>>,
    sandbox: Sandbox,
    modes: Modes,
    asks: Asks,
}

/// The modes that rules have.
#[derive(Debug, Clone)]
pub enum Modes {
    /// Those of their manifests.
    Own,
    /// This one, whatever their manifests say: for demo and rule tests.
    All(Mode),
    /// These, for simulations; the own one of a rule that is not named.
    Named(BTreeMap<RuleName, Mode>),
}

/// Where scripts run, and so what time does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// On the sandbox's threads; an asking ends in time. What production does.
    OnItsThreads,
    /// The same, for tests on paused time, which stands still meanwhile.
    OnPausedTime,
    /// On the caller's thread, for simulations: what comes out never depends on how busy the machine is.
    Here,
}

impl Book {
    /// The rules that `rules` shows at each moment, in their own modes, asked on the sandbox's threads.
    pub fn new(rules: Arc<ArcSwap<RuleBook>>, sandbox: Sandbox) -> Self {
        Self { rules, sandbox, modes: Modes::Own, asks: Asks::OnItsThreads }
    }

    /// Rules that never change.
    pub fn fixed(rules: Arc<RuleBook>, sandbox: Sandbox) -> Self {
        Self::new(Arc::new(ArcSwap::new(rules)), sandbox)
    }

    /// The same rules in other modes.
    #[must_use]
    pub fn in_modes(self, modes: Modes) -> Self {
        Self { modes, ..self }
    }

    /// The same rules, asked in another way.
    #[must_use]
    pub fn asked(self, asks: Asks) -> Self {
        Self { asks, ..self }
    }

    fn rule(&self, name: &RuleName) -> Result<Arc<Rule>, String> {
        self.rules.load().get(name).cloned().ok_or_else(|| format!("rule `{name}` is gone"))
    }

    fn candidate(&self, rule: &Rule) -> Candidate {
        let own = rule.manifest.mode;
        let mode = match &self.modes {
            Modes::Own => own,
            Modes::All(mode) => *mode,
            Modes::Named(modes) => modes.get(&rule.name).copied().unwrap_or(own),
        };
        Candidate { name: rule.name.clone(), version: rule.version().clone(), mode }
    }
}

#[async_trait]
impl Rules for Book {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        self.rules.load().matching(alarm).into_iter().map(|rule| self.candidate(rule)).collect()
    }

    fn prepare(&self, name: &RuleName, alarm: &Alarm) -> Result<Prepared, String> {
        let rule = self.rule(name)?;
        let target = rule.manifest.target_of(alarm).map_err(|e| e.to_string())?;
        let facts = rule.manifest.facts_of(alarm, &target).map_err(|e| e.to_string())?;
        Ok(Prepared {
            rule: self.candidate(&rule),
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
        let answer = match self.asks {
            Asks::OnItsThreads => self.sandbox.ask(&rule, asked).await,
            Asks::OnPausedTime => self.sandbox.ask_on_paused_time(&rule, asked).await,
            Asks::Here => self.sandbox.ask_here(&rule, asked),
        };
        Answer {
            proposals: answer.proposals.map_err(|e| e.to_string()),
            printed: answer.printed,
            more: rule.has_next(),
        }
    }
}
