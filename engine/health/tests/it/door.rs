//! Nothing is lost on the way through the door of the journal.

use std::path::Path;
use std::sync::Arc;

use untoil_clock::SystemClock;
use untoil_health::{EntryLog, Metrics, Readiness, Watched};
use untoil_journal::{Journal, MemoryJournal, conformance};

fn watched(journal: Arc<dyn Journal>) -> Arc<dyn Journal> {
    let clock = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new("1.2.3", Vec::new()));
    let readiness = Readiness::new(clock.clone());
    Arc::new(Watched::new((journal, clock), metrics, readiness, vec![Arc::new(EntryLog)]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watched_journal_does_what_every_store_must() {
    conformance::all(async || {
        let journal = watched(Arc::new(MemoryJournal::new()));
        vec![Arc::clone(&journal), journal]
    })
    .await;
}

fn source(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The methods that a text declares inside of what begins with `from`.
fn methods(text: &str, from: &str) -> Vec<String> {
    let body = text.split_once(from).unwrap().1.split("\n}\n").next().unwrap();
    let lines = body.lines().filter_map(|line| {
        let line = line.strip_prefix("    ")?;
        line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))
    });
    let mut names: Vec<_> =
        lines.map(|line| line.split(['(', '<']).next().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// A method of the trait that has a body of its own would be answered by it, and not by the store's.
#[test]
fn every_question_to_the_journal_is_passed_on() {
    let asked = methods(&source("../journal/src/lib.rs"), "pub trait Journal:");
    let passed = methods(&source("src/watched.rs"), "impl Journal for Watched {");
    assert!(asked.len() > 12, "{asked:?}");
    assert_eq!(asked, passed);
}
