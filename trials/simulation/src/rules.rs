//! The rule book of a simulation: the shipped rules and three of its own, asked on the thread that
//! asks, so that no other thread's turn changes what comes out. There are two texts of each, and
//! people put one in the place of the other while it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, anyhow};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use untoil_actions::Catalogue;
use untoil_dispatcher::{Answer, Asks, Book, Candidate, Modes, Prepared, Question, Rules};
use untoil_model::{Alarm, Mode, RuleName, RuleVersion};
use untoil_sandbox::{RuleBook, RuleFiles, Sandbox};

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

/// How the scripts' functions begin that are asked for a plan.
const ASKED: [&str; 2] = ["fn plan(alarm, facts) {", "fn next(alarm, facts, results) {"];
/// What the other text of each rule prints when it is asked, and does just the same.
pub(crate) const OTHER: &str = "by the other text";

/// Every rule: name, manifest, script.
const RULES: [(&str, &str, &str); 6] = [
    rule!("contact-sync-backlog", "../../../rules/"),
    rule!("disk-full", "../../../rules/"),
    rule!("runaway-cpu", "../../../rules/"),
    rule!("front-redeploy", "../rules/"),
    rule!("pool-grow", "../rules/"),
    rule!("cache-purge", "../rules/"),
];

/// What all seeds share: compiled rules never change, and which of them are loaded is each seed's own.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    pub(crate) catalogue: Arc<Catalogue>,
    sandbox: Sandbox,
    rules: Arc<RuleBook>,
    others: Arc<RuleBook>,
}

/// What is loaded in one seed, and can be loaded instead.
#[derive(Debug)]
pub(crate) struct Shelf {
    now: Arc<ArcSwap<RuleBook>>,
    next: Arc<RuleBook>,
}

impl Shelf {
    /// Loads the other text of every rule.
    pub(crate) fn reload(&mut self) {
        self.next = self.now.swap(Arc::clone(&self.next));
    }
}

/// A book that never says that a rule has changed.
#[derive(Debug)]
pub(crate) struct Stale(pub(crate) Book);

#[async_trait]
impl Rules for Stale {
    fn candidates(&self, alarm: &Alarm) -> Vec<Candidate> {
        self.0.candidates(alarm)
    }

    fn prepare(&self, rule: &RuleName, alarm: &Alarm) -> Result<Prepared, String> {
        self.0.prepare(rule, alarm)
    }

    fn is_current(&self, _: &Candidate) -> bool {
        true
    }

    async fn ask(&self, rule: &RuleName, question: Question<'_>) -> Answer {
        self.0.ask(rule, question).await
    }
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
        let rules = built(&sandbox, str::to_owned)?;
        let others = built(&sandbox, |script| {
            let tells = |text: String, asked| {
                text.replace(asked, &format!("{asked}\n    print(\"{OTHER}\");"))
            };
            ASKED.into_iter().fold(script.to_owned(), tells)
        })?;
        Ok(Self { catalogue, sandbox, rules, others })
    }

    /// The rules with the modes of one seed, asked on the thread that asks.
    pub(crate) fn book(&self, modes: BTreeMap<RuleName, Mode>) -> (Book, Shelf) {
        let now = Arc::new(ArcSwap::new(Arc::clone(&self.rules)));
        let book = Book::new(Arc::clone(&now), self.sandbox.clone());
        let book = book.in_modes(Modes::Named(modes)).asked(Asks::Here);
        (book, Shelf { now, next: Arc::clone(&self.others) })
    }

    /// The versions of the other texts.
    pub(crate) fn others(&self) -> BTreeSet<RuleVersion> {
        self.others.rules().iter().map(|rule| rule.version().clone()).collect()
    }

    /// The names of all rules.
    pub(crate) fn names(&self) -> Vec<RuleName> {
        self.rules.rules().iter().map(|rule| rule.name.clone()).collect()
    }
}

/// All rules, after something was done to their scripts.
fn built(sandbox: &Sandbox, edit: impl Fn(&str) -> String) -> anyhow::Result<Arc<RuleBook>> {
    let mut rules = Vec::new();
    for (name, manifest, script) in RULES {
        let files = RuleFiles {
            name: name.to_owned(),
            manifest: Some(manifest.as_bytes().to_vec()),
            script: Some(edit(script).into_bytes()),
        };
        let built = sandbox.build(&files).map_err(|found| {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            anyhow!("rule `{name}` is broken: {}", found.join("\n"))
        })?;
        rules.push(Arc::new(built));
    }
    Ok(Arc::new(RuleBook::new(rules)))
}
