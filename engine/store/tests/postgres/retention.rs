//! What is archived leaves the schema.

use std::cell::RefCell;
use std::sync::Arc;

use tempfile::TempDir;
use untoil_journal::{Retention, conformance};

use super::{Server, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_on_postgresql_lets_go_of_what_is_archived() {
    let Some(server) = Server::shared().await else { return };
    let folders: RefCell<Vec<TempDir>> = RefCell::default();
    conformance::retention(async || {
        let journal = open(&server.fresh().await).await;
        let folder = TempDir::new().unwrap();
        let path = folder.path().to_owned();
        folders.borrow_mut().push(folder);
        let retention: Arc<dyn Retention> = journal.clone();
        conformance::Keeper { journal, retention, folder: path }
    })
    .await;
}
