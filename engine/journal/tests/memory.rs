//! The journal in memory passes the suite.

use std::sync::Arc;

use untoil_journal::{Journal, MemoryJournal, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_in_memory_does_what_every_store_must() {
    conformance::all(async || {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        vec![Arc::clone(&journal), journal]
    })
    .await;
}
