//! A journal that archives does not grow for ever: the soak of `examples/soak`, small.

#[path = "../examples/soak/traffic.rs"]
mod traffic;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use traffic::{Outcome, Soak};
use untoil_journal::{Archive, Journal as _, Verified, verify, verify_archive, verify_files};
use untoil_model::Seq;
use untoil_store::SqliteJournal;

fn bytes(file: &Path) -> Outcome<u64> {
    Ok(std::fs::metadata(file)?.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_archives_stops_growing_and_loses_nothing() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("journal.db");
    let archive = Archive::at(home.path().join("archive"));
    let journal = Arc::new(SqliteJournal::open(&file).unwrap());
    let mut soak = Soak::new(journal.clone(), journal.clone(), archive.clone(), 3).unwrap();
    let mut sizes = Vec::new();
    for day in 0..80 {
        soak.day(day).await.unwrap();
        sizes.push(bytes(&file).unwrap());
    }
    // Full after 35 days and those that make up a file; from then on its pages are used again.
    let (full, end) = (sizes[44], sizes[79]);
    assert!(end <= full + full / 10, "{full} and then {end} bytes");
    assert!(full > sizes[15], "nothing was kept: {sizes:?}");
    let verified = verify(&*journal).await.unwrap();
    let Verified::Whole { entries, .. } = verified else { panic!("{verified:?}") };
    let both = verify_archive(&*journal, &archive).await.unwrap();
    let alone = verify_files(&archive).unwrap();
    assert_eq!((both.flaws, both.strangers, alone.flaws), (vec![], vec![], vec![]));
    // Every delivery that was acknowledged is in a file or in the store.
    let mut kept = both.deliveries;
    let (mut at, mut rows) = (Seq(both.entries), 0);
    loop {
        let page = journal.read(&untoil_model::Stream::All, at, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        at = last.seq;
        rows += page.len() as u64;
        for entry in page {
            if let untoil_model::Body::Received { delivery, .. } = &entry.body {
                assert!(journal.delivery(delivery).await.unwrap().is_some());
                kept += 1;
            }
        }
    }
    assert_eq!((kept, both.entries + rows), (soak.received, entries));
}
