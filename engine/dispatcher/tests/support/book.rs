//! Rules written in a test, as the dispatcher asks them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use untoil_actions::Catalogue;
use untoil_dispatcher::{Asks, Book};
use untoil_sandbox::{RuleBook, RuleFiles, Sandbox};

/// A rule's name, manifest and script.
pub(crate) type RuleText = (&'static str, String, &'static str);

/// Such rules, and where others can be written in their place.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    rules: Arc<ArcSwap<RuleBook>>,
    sandbox: Sandbox,
}

impl Written {
    pub(crate) fn of(texts: Vec<RuleText>) -> Self {
        let sandbox = Sandbox::start(Arc::new(Catalogue::standard(Vec::new())), 1).unwrap();
        let written = Self { rules: Arc::new(ArcSwap::from_pointee(RuleBook::new([]))), sandbox };
        written.load(texts);
        written
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
        self.rules.store(Arc::new(RuleBook::new(rules)));
    }

    /// As the dispatcher asks them.
    pub(crate) fn book(&self) -> Book {
        Book::new(Arc::clone(&self.rules), self.sandbox.clone()).asked(Asks::OnPausedTime)
    }
}
