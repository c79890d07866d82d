//! The rule book of a simulation: the shipped rules and three of its own, asked on the thread that
//! asks, so that no other thread's turn changes what comes out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, anyhow};
use untoil_actions::Catalogue;
use untoil_dispatcher::{Asks, Book, Modes};
use untoil_model::{Mode, RuleName};
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
    rules: Arc<RuleBook>,
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
        Ok(Self { catalogue, sandbox, rules: Arc::new(RuleBook::new(rules)) })
    }

    /// The rules with the modes of one seed, asked on the thread that asks.
    pub(crate) fn book(&self, modes: BTreeMap<RuleName, Mode>) -> Book {
        let book = Book::fixed(Arc::clone(&self.rules), self.sandbox.clone());
        book.in_modes(Modes::Named(modes)).asked(Asks::Here)
    }

    /// The names of all rules.
    pub(crate) fn names(&self) -> Vec<RuleName> {
        self.rules.rules().iter().map(|rule| rule.name.clone()).collect()
    }
}
