//! How long SQLite's log grows.

use untoil_model::IncidentId;

use super::*;
use crate::wal;
use crate::writer::Copying;

/// A page of the log, with its head.
const FRAME_BYTES: u64 = 4_096 + 24;

/// An entry of an alarm and an incident that nobody has heard of, in no order: as many pages of indexes as
/// an entry can touch.
fn scattered(n: u64) -> Draft {
    let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = format!("{word:016x}").parse().unwrap();
    let incident = IncidentId::derive(Timestamp::UNIX_EPOCH, &key, &n.to_string());
    let body = Body::Unmatched {};
    Draft::of(&incident, Timestamp::UNIX_EPOCH, Actor::Engine("test".into()), body).about(&key)
}

#[tokio::test]
async fn the_log_stays_short_although_its_length_is_seldom_asked_for() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let copying = Copying { when_quiet: 200, at_once: 400 };
    let journal = SqliteJournal::open_on(&file, copying, |disk| disk).unwrap();
    let mut longest = 0;
    for round in 0..300 {
        // Ahead, so that there is never a pause in which it would be copied all the same.
        for n in 0..10 {
            journal.append_ahead(Batch::of(vec![scattered(round * 10 + n)])).await.unwrap();
        }
        longest = longest.max(std::fs::metadata(wal::beside(&file).unwrap()).unwrap().len());
    }
    let frames = longest / FRAME_BYTES;
    assert!(frames > 100, "it was copied before it was worth it: {frames}");
    assert!(frames < 700, "{frames} pages, though it is to be copied from 400 on");
}
