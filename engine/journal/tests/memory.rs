//! The journal in memory passes the suite.

use std::sync::Arc;

use jiff::Timestamp;
use untoil_clock::{Clock, VirtualClock};
use untoil_journal::{Journal, MemoryJournal, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_in_memory_does_what_every_store_must() {
    conformance::all(async || {
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        vec![Arc::clone(&journal), journal]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn instances_on_one_journal_in_memory_share_its_work() {
    conformance::instances(async || {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(Timestamp::UNIX_EPOCH));
        let first = MemoryJournal::new();
        (0..3)
            .map(|_| {
                let instance = Arc::new(first.join(Arc::clone(&clock)));
                conformance::Instance { journal: instance.clone(), roster: instance }
            })
            .collect()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_in_memory_lets_go_of_what_is_archived() {
    let folders = std::cell::RefCell::new(Vec::new());
    conformance::retention(async || {
        let journal = Arc::new(MemoryJournal::new());
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().to_owned();
        folders.borrow_mut().push(folder);
        conformance::Keeper { journal: journal.clone(), retention: journal, folder: path }
    })
    .await;
}
