//! The journal on SQLite passes the suite.

use std::cell::RefCell;
use std::sync::Arc;

use tempfile::TempDir;
use untoil_journal::{Journal, Retention, conformance};
use untoil_store::SqliteJournal;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_on_sqlite_does_what_every_store_must() {
    let folders: RefCell<Vec<TempDir>> = RefCell::default();
    conformance::all(async || {
        let folder = TempDir::new().unwrap();
        let journal = SqliteJournal::open(folder.path().join("journal.db")).unwrap();
        folders.borrow_mut().push(folder);
        let journal: Arc<dyn Journal> = Arc::new(journal);
        vec![Arc::clone(&journal), journal]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_on_sqlite_lets_go_of_what_is_archived() {
    let folders: RefCell<Vec<TempDir>> = RefCell::default();
    conformance::retention(async || {
        let folder = TempDir::new().unwrap();
        let journal = Arc::new(SqliteJournal::open(folder.path().join("journal.db")).unwrap());
        let path = folder.path().to_owned();
        folders.borrow_mut().push(folder);
        let retention: Arc<dyn Retention> = journal.clone();
        conformance::Keeper { journal, retention, folder: path }
    })
    .await;
}
