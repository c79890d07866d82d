//! What is old goes to files, by hand and while the service runs, and can still be read and checked.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use untoil_clock::{Clock as _, SystemClock};
use untoil_journal::{Batch, Journal as _};
use untoil_model::{Actor, Body, Delivery, DeliveryId, Draft};
use untoil_store::SqliteJournal;

use crate::service::Untoil;

/// How often, and how long between, the journal is looked at: a minute.
const LOOKS_MAX: u32 = 600;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Deliveries in the journal below; two entries each.
const OLD: usize = 20;

/// A journal with entries of 100 days ago, of the day before yesterday, and of today.
async fn with_old_entries(untoil: &Untoil) {
    fs::create_dir_all(untoil.path("data")).unwrap();
    let journal = SqliteJournal::open(untoil.path("data/journal.db")).unwrap();
    let now = SystemClock.now();
    for n in 0..OLD + 3 {
        let ago = match n {
            0..OLD => 100 * 24,
            OLD => 48,
            _ => 0,
        };
        hear(&journal, now.checked_sub(ago.hours()).unwrap(), n).await;
    }
}

async fn hear(journal: &SqliteJournal, at: Timestamp, n: usize) {
    let id = DeliveryId { source: "generic".parse().unwrap(), message: n.to_string() };
    let (sender, body) = ("test".to_owned(), format!("the body of {n}").into_bytes());
    let delivery = Delivery { id: id.clone(), sender, received_at: at, headers: [].into(), body };
    journal.receive(delivery).await.unwrap();
    let decoded = Body::Decoded { delivery: id.clone(), alarms: 0 };
    let draft = Draft::new(at, Actor::Engine("test".into()), decoded);
    journal.append(Batch::of(vec![draft]).deciding(id)).await.unwrap();
}

fn files(untoil: &Untoil) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(untoil.path("data/archive")) else { return Vec::new() };
    let mut files: Vec<_> = found.map(|file| file.unwrap().path()).collect();
    // Beside them lies what keeps others from writing meanwhile.
    files.retain(|file| !file.ends_with("writing.lock"));
    files.sort();
    files
}

#[tokio::test]
async fn what_is_archived_is_listed_shown_and_verified() {
    let untoil = Untoil::towards(1);
    with_old_entries(&untoil).await;
    let before = untoil.run(&["audit", "list", "--format", "json"]).await;
    let refused = untoil.run(&["archive"]).await;
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.err.contains("--keep 90d"), "{refused:?}");
    let refused = untoil.run(&["archive", "--keep", "7d"]).await;
    assert!(refused.status == 1 && refused.err.contains("35d"), "{refused:?}");
    let archived = untoil.run(&["archive", "--keep", "90d"]).await;
    assert_eq!(archived.status, 0, "{archived:?}");
    assert!(archived.out.contains("40 deleted from the journal"), "{archived:?}");
    let [file] = &files(&untoil)[..] else { panic!("{:?}", files(&untoil)) };
    let name = file.file_name().unwrap().to_str().unwrap();

    let after = untoil.run(&["audit", "list", "--format", "json"]).await;
    assert!(after.out.starts_with(&before.out), "{after:?}");
    assert!(after.out.contains("archived"), "{after:?}");
    let last = untoil.run(&["audit", "list", "--last", "45", "--format", "json"]).await;
    assert_eq!(last.out.lines().count(), 45);
    let shown = untoil.run(&["audit", "show", "1"]).await;
    assert!(shown.out.contains("the body of 0") && shown.out.contains(name), "{shown:?}");
    let both = untoil.json(&["audit", "verify"]).await;
    assert_eq!((&both["whole"], &both["files"]["entries"]), (&true.into(), &40.into()));
    let alone = untoil.run(&["audit", "verify", "--only", "archive"]).await;
    assert!(alone.status == 0 && alone.out.contains("20 deliveries in 1 archive"), "{alone:?}");

    // Elsewhere, it is said where it would be; damaged, it is named.
    let away = untoil.path("elsewhere");
    let away = away.to_str().unwrap();
    fs::rename(untoil.path("data/archive"), away).unwrap();
    let shown = untoil.run(&["audit", "show", "1"]).await;
    assert!(shown.status == 1 && shown.err.contains(name), "{shown:?}");
    let listed = untoil.run(&["audit", "list"]).await;
    assert!(listed.err.contains(name) && listed.out.lines().count() == 7, "{listed:?}");
    let store = untoil.run(&["audit", "verify"]).await;
    assert!(store.status == 0 && store.out.contains("were not checked"), "{store:?}");
    let shown = untoil.run(&["audit", "show", "1", "--archive", away]).await;
    assert!(shown.out.contains("the body of 0"), "{shown:?}");
    let file = untoil.path("elsewhere").join(name);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let broken = untoil.run(&["audit", "verify", "--archive", away]).await;
    assert!(broken.status == 1 && broken.out.contains(name), "{broken:?}");
    let broken = untoil.run(&["audit", "verify", "--only", "archive", "--archive", away]).await;
    assert!(broken.status == 1 && broken.out.contains(name), "{broken:?}");
    let store = untoil.run(&["audit", "verify", "--only", "store"]).await;
    assert_eq!(store.status, 0, "{store:?}");
}

#[tokio::test]
async fn a_service_archives_by_itself_where_it_is_told_to() {
    let mut untoil = Untoil::towards(1);
    with_old_entries(&untoil).await;
    untoil.start().await;
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
    assert_eq!(files(&untoil), Vec::<PathBuf>::new(), "by default everything is kept");
    untoil.set("UNTOIL_RETENTION__KEEP", "90d");
    untoil.start().await;
    // The reader must have seen what goes; then it is in a file, and then it is deleted.
    let mut first = 1;
    for _ in 0..LOOKS_MAX {
        first = untoil.journal().await[0]["seq"].as_u64().unwrap();
        if first > 40 {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(first, 41, "within a minute it was not archived");
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0);
    let both = untoil.json(&["audit", "verify"]).await;
    assert_eq!(both["whole"], true);
}
