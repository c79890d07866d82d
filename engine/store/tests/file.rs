//! The file itself: kept, owned, guarded against tampering, refused when it is not ours.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use untoil_journal::{Batch, Journal, JournalError, Put, Receipt, Verified, verify};
use untoil_model::{Actor, Body, Broken, Delivery, DeliveryId, Draft, Seq, Stream};
use untoil_store::{OpenError, SqliteJournal};

fn delivery(message: &str) -> Delivery {
    Delivery {
        id: DeliveryId { source: "sns".parse().unwrap(), message: message.into() },
        sender: "topic".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [].into(),
        body: message.into(),
    }
}

fn pause(reason: &str) -> Draft {
    let body = Body::Paused { scope: "all".into(), reason: reason.into() };
    Draft::new(Timestamp::UNIX_EPOCH, Actor::Human("kim".into()), body)
}

/// A file with two deliveries and three pauses.
async fn filled() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let journal = SqliteJournal::open(&file).unwrap();
    for message in ["a", "b"] {
        journal.receive(delivery(message)).await.unwrap();
    }
    let batch = Batch::of(vec![pause("x"), pause("y"), pause("z")]).deciding(delivery("a").id);
    journal.append(batch).await.unwrap();
    let memos = vec![Put { key: "k".into(), value: Some("v".into()) }];
    journal.advance("slack", Seq(3), memos).await.unwrap();
    (folder, file)
}

fn raw(file: &Path, sql: &str) -> rusqlite::Result<()> {
    Connection::open(file).unwrap().execute_batch(sql)
}

#[tokio::test]
async fn opened_again_it_has_kept_everything_and_goes_on() {
    let (_folder, file) = filled().await;
    let journal = SqliteJournal::open(&file).unwrap();
    assert_eq!(*journal.head().borrow(), Seq(5));
    assert_eq!(journal.read(&Stream::All, Seq::START, 9).await.unwrap().len(), 5);
    assert_eq!(journal.pending(9).await.unwrap(), [delivery("b").id]);
    assert_eq!(journal.delivery(&delivery("a").id).await.unwrap(), Some(delivery("a")));
    assert_eq!(journal.cursor("slack").await.unwrap(), Seq(3));
    assert_eq!(journal.memo("slack", "k").await.unwrap().as_deref(), Some("v"));
    assert_eq!(journal.receive(delivery("a")).await.unwrap(), Receipt::Seen);
    let batch = Batch::of(vec![pause("w")]).expect(Stream::Ledger, Seq(5));
    assert_eq!(journal.append(batch).await.unwrap()[0].seq, Seq(6));
    let verified = verify(&journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { entries: 6, .. }), "{verified:?}");
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let (_folder, file) = filled().await;
    let journal = SqliteJournal::open(&file).unwrap();
    let refused = SqliteJournal::open(&file).unwrap_err();
    assert!(matches!(refused, OpenError::InUse(_)));
    assert!(refused.to_string().contains("in use by another untoil; stop that one"), "{refused}");

    let reader = SqliteJournal::open_read_only(&file).unwrap();
    journal.append(Batch::of(vec![pause("w")])).await.unwrap();
    let verified = verify(&reader).await.unwrap();
    assert!(matches!(verified, Verified::Whole { entries: 6, .. }), "{verified:?}");
    let writes = [
        reader.receive(delivery("c")).await.map(drop),
        reader.advance("r", Seq(1), Vec::new()).await,
    ];
    for write in writes {
        let Err(JournalError::Unavailable(why)) = write else { panic!("{write:?}") };
        assert!(why.contains("open for reading only"), "{why}");
    }

    drop((journal, reader));
    SqliteJournal::open(&file).unwrap();
}

#[tokio::test]
async fn a_backup_where_nothing_can_be_written_is_read_if_it_is_whole() {
    let (folder, file) = filled().await;
    // For root, too, nothing can be made beside it: the names would be too long.
    let backup = folder.path().join("b".repeat(254));
    std::fs::copy(&file, &backup).unwrap();
    let reader = SqliteJournal::open_read_only(&backup).unwrap();
    let verified = verify(&reader).await.unwrap();
    assert!(matches!(verified, Verified::Whole { entries: 5, .. }), "{verified:?}");

    // With a log beside it, whatever is in it, the file alone may not be all. SQLite follows no link to
    // the memory that readers share.
    std::fs::write(folder.path().join("journal.db-wal"), []).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("journal.db-shm")).unwrap();
    let refused = SqliteJournal::open_read_only(&file).unwrap_err();
    assert!(matches!(refused, OpenError::ReadOnly(_)), "{refused}");
    assert!(refused.to_string().contains("copy both to a folder"), "{refused}");
}

#[tokio::test]
async fn a_file_is_found_whatever_its_name_holds() {
    let (folder, file) = filled().await;
    let odd = folder.path().join("a back-up? 100%25#1 & 저널");
    std::fs::create_dir(&odd).unwrap();
    let copy = odd.join("journal.db?immutable=1");
    std::fs::copy(&file, &copy).unwrap();
    let reader = SqliteJournal::open_read_only(&copy).unwrap();
    assert_eq!(reader.latest(&Stream::All, 1).await.unwrap()[0].seq, Seq(5));
}

#[tokio::test]
async fn a_reader_needs_no_service_and_makes_no_file() {
    let (folder, file) = filled().await;
    let reader = SqliteJournal::open_read_only(&file).unwrap();
    assert_eq!(reader.latest(&Stream::All, 1).await.unwrap()[0].seq, Seq(5));
    let missing = folder.path().join("missing.db");
    let refused = SqliteJournal::open_read_only(&missing).unwrap_err();
    assert!(refused.to_string().contains("missing.db` could not be opened"), "{refused}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn entries_and_deliveries_cannot_be_changed_by_plain_sql() {
    let (_folder, file) = filled().await;
    for sql in [
        "UPDATE entry SET text = '{}' WHERE seq = 2",
        "DELETE FROM entry WHERE seq = 5",
        "UPDATE delivery SET body = x'00'",
    ] {
        let refused = raw(&file, sql).unwrap_err().to_string();
        assert!(refused.contains("append-only") || refused.contains("as it was"), "{refused}");
    }
}

#[tokio::test]
async fn tampering_with_the_file_is_found_and_the_entry_is_named() {
    let cases = [
        (
            "UPDATE entry SET text = replace(text, '\"x\"', '\"q\"')",
            Broken::Changed { seq: Seq(3) },
        ),
        ("UPDATE entry SET hash = zeroblob(32) WHERE seq = 4", Broken::Changed { seq: Seq(4) }),
        ("UPDATE entry SET prev = zeroblob(32) WHERE seq = 2", Broken::Unchained { seq: Seq(2) }),
        ("DELETE FROM entry WHERE seq = 2", Broken::Gap { expected: Seq(2), found: Seq(3) }),
        (
            "DELETE FROM entry WHERE seq = 3; UPDATE entry SET seq = seq - 1 WHERE seq > 3",
            Broken::Unchained { seq: Seq(3) },
        ),
    ];
    for (sql, expected) in cases {
        let (_folder, file) = filled().await;
        let free = "DROP TRIGGER entry_is_never_changed; DROP TRIGGER entry_is_never_deleted;";
        raw(&file, free).unwrap();
        raw(&file, sql).unwrap();
        let journal = SqliteJournal::open_read_only(&file).unwrap();
        assert_eq!(verify(&journal).await.unwrap(), Verified::Broken(expected), "{sql}");
    }
}

#[tokio::test]
async fn nothing_is_chained_to_a_last_entry_that_was_changed() {
    let (_folder, file) = filled().await;
    raw(&file, "DROP TRIGGER entry_is_never_changed").unwrap();
    raw(&file, "UPDATE entry SET text = replace(text, '\"z\"', '\"q\"') WHERE seq = 5").unwrap();
    let refused = SqliteJournal::open(&file).unwrap_err();
    let OpenError::Damaged { broken, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*broken, Broken::Changed { seq: Seq(5) });
    assert!(refused.to_string().contains("run `untoil audit verify`"), "{refused}");
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_reported_as_damage() {
    let (_folder, file) = filled().await;
    raw(&file, "DROP TRIGGER entry_is_never_changed").unwrap();
    raw(&file, "UPDATE entry SET text = '{\"v\":2}' WHERE seq = 3").unwrap();
    let journal = SqliteJournal::open(&file).unwrap();
    let read = journal.read(&Stream::All, Seq::START, 9).await;
    let Err(JournalError::Damaged(Broken::Unreadable { seq: Seq(3), .. })) = read else {
        panic!("{read:?}")
    };
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let (_folder, file) = filled().await;
    raw(&file, "PRAGMA user_version = 99").unwrap();
    for refused in [SqliteJournal::open(&file), SqliteJournal::open_read_only(&file)] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, OpenError::TooNew { found: 99, known: 2, .. }));
        assert!(refused.to_string().contains("run the newer untoil that wrote it"), "{refused}");
    }
    raw(&file, "PRAGMA user_version = 2").unwrap();
    let journal = SqliteJournal::open(&file).unwrap();
    assert!(matches!(verify(&journal).await.unwrap(), Verified::Whole { entries: 5, .. }));
}

#[tokio::test]
async fn a_file_of_the_first_version_is_migrated_by_who_writes_it_and_keeps_everything() {
    let (folder, new) = filled().await;
    let file = folder.path().join("first.db");
    // As the first version has left it: its schema, and what was written.
    let first = format!(
        "PRAGMA journal_mode = WAL; PRAGMA application_id = 0x75746a6c; {} \
         ATTACH '{}' AS new; \
         INSERT INTO entry SELECT * FROM new.entry; INSERT INTO delivery SELECT * FROM new.delivery; \
         INSERT INTO pending SELECT * FROM new.pending; INSERT INTO reader SELECT * FROM new.reader; \
         INSERT INTO memo SELECT * FROM new.memo; PRAGMA user_version = 1",
        include_str!("../src/schema/1.sql"),
        new.display(),
    );
    raw(&file, &first).unwrap();
    let refused = SqliteJournal::open_read_only(&file).unwrap_err();
    assert!(matches!(refused, OpenError::TooOld { found: 1, .. }), "{refused}");
    assert!(refused.to_string().contains("start `untoil serve` once"), "{refused}");
    let journal = SqliteJournal::open(&file).unwrap();
    assert!(matches!(verify(&journal).await.unwrap(), Verified::Whole { entries: 5, .. }));
    assert_eq!(journal.pending(9).await.unwrap(), [delivery("b").id]);
    assert_eq!(journal.cursor("slack").await.unwrap(), Seq(3));
    assert_eq!(journal.receive(delivery("a")).await.unwrap(), Receipt::Seen);
    journal.append(Batch::of(vec![pause("w")])).await.unwrap();
    drop(journal);
    SqliteJournal::open_read_only(&file).unwrap();
    // What the second version adds, and what it goes on to forbid.
    raw(&file, "SELECT record, last FROM segment").unwrap();
    for forbidden in ["DELETE FROM entry WHERE seq = 1", "DELETE FROM delivery WHERE seq = 1"] {
        raw(&file, forbidden).unwrap_err();
    }
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let other = folder.path().join("other.db");
    raw(&other, "CREATE TABLE song (name TEXT); INSERT INTO song VALUES ('x')").unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "this is not a database, but it is long enough to look like one".repeat(9),
    )
    .unwrap();
    for (file, says) in [(&other, "is not a journal of untoil"), (&text, "is not a database")] {
        let before = std::fs::read(file).unwrap();
        let refused = SqliteJournal::open(file).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(std::fs::read(file).unwrap() == before, "{}", file.display());
    }
    let nowhere = folder.path().join("no/such/folder/journal.db");
    let refused = SqliteJournal::open(&nowhere).unwrap_err();
    assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn others_cannot_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, file) = filled().await;
    let journal = SqliteJournal::open(&file).unwrap();
    journal.receive(delivery("c")).await.unwrap();
    for end in ["", "-wal", "-shm"] {
        let path = format!("{}{end}", file.display());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}");
    }
}
