//! Tests of what only the inside can see.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;
use untoil_journal::{AppendError, Batch, Journal, JournalError, Receipt, Verified, verify};
use untoil_model::{Actor, Body, Delivery, DeliveryId, Draft, Seq, Stream};

use crate::SqliteJournal;
use crate::fault::Fault;
use crate::queries;
use crate::transaction::{DECIDE, END_OF_ALARM, END_OF_INCIDENT, END_OF_LEDGER, Transaction};
use crate::writer::{Pace, Write};

mod disk;
mod ends;
mod log;
mod power;

fn journal() -> (TempDir, Arc<SqliteJournal>) {
    let folder = TempDir::new().unwrap();
    let journal = SqliteJournal::open(folder.path().join("journal.db")).unwrap();
    (folder, Arc::new(journal))
}

fn delivery(message: &str, bytes: usize) -> Delivery {
    Delivery {
        id: DeliveryId { source: "sns".parse().unwrap(), message: message.into() },
        sender: "topic".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [].into(),
        body: vec![b'x'; bytes],
    }
}

fn note() -> Draft {
    let body = Body::Paused { scope: "all".into(), reason: "x".into() };
    Draft::new(Timestamp::UNIX_EPOCH, Actor::Engine("test".into()), body)
}

/// How many pages the file may have: what stands in for the size of its disk.
struct Disk {
    pages_max: Option<i64>,
}

impl Write for Disk {
    type Reply = i64;

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<i64, Fault> {
        let used = transaction.connection.query_one("PRAGMA page_count", [], |row| row.get(0))?;
        let max = self.pages_max.unwrap_or(used);
        let sql = format!("PRAGMA max_page_count = {max}");
        Ok(transaction.connection.query_one(&sql, [], |row| row.get(0))?)
    }

    fn take_back(&mut self, _reply: i64) {}
}

/// A write that fails in its middle, by nobody's fault but its own.
struct Fails;

impl Write for Fails {
    type Reply = ();

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault> {
        transaction.write(note())?;
        transaction.connection.execute("INSERT INTO pending (seq) VALUES (NULL), (NULL)", [])?;
        transaction.connection.execute("INSERT INTO memo VALUES ('r', 'k', NULL)", [])?;
        Ok(())
    }

    fn take_back(&mut self, (): ()) {}
}

/// A write that holds the writing thread until it is let go.
struct Holds(std::sync::mpsc::Receiver<()>);

impl Write for Holds {
    type Reply = ();

    fn write(&mut self, _transaction: &mut Transaction<'_>) -> Result<(), Fault> {
        // Its group may be tried again: let go once (the other end is dropped), it stays so.
        match self.0.recv() {
            Ok(()) | Err(std::sync::mpsc::RecvError) => Ok(()),
        }
    }

    fn take_back(&mut self, (): ()) {}
}

#[tokio::test]
async fn a_full_disk_refuses_by_name_keeps_nothing_half_and_recovers() {
    let (_folder, journal) = journal();
    let id = |n: usize| format!("m{n}");
    journal.receive(delivery(&id(0), 10)).await.unwrap();
    journal.write(Disk { pages_max: None }, Pace::Durable).await.unwrap();

    let refused = journal.receive(delivery(&id(1), 100_000)).await.unwrap_err();
    let JournalError::Unavailable(why) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("journal.db`: "), "{why}");
    assert!(why.contains("full") && why.contains("free space on its disk"), "{why}");
    let batch = Batch::of(vec![note(); 2_000]);
    let refused = journal.append(batch.clone()).await;
    assert!(matches!(refused, Err(AppendError::Journal(JournalError::Unavailable(_)))));

    // Reading goes on, and finds nothing of it.
    assert_eq!(journal.delivery(&delivery(&id(1), 0).id).await.unwrap(), None);
    assert_eq!(journal.pending(9).await.unwrap().len(), 1);
    assert_eq!(*journal.head().borrow(), Seq(1));

    journal.write(Disk { pages_max: Some(1_000_000) }, Pace::Durable).await.unwrap();
    let stored = journal.receive(delivery(&id(1), 100_000)).await.unwrap();
    assert_eq!(stored, Receipt::Stored(Seq(2)));
    assert_eq!(journal.append(batch).await.unwrap().len(), 2_000);
    let verified = verify(&*journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { entries: 2_002, .. }), "{verified:?}");
}

#[tokio::test]
async fn a_write_that_fails_by_itself_does_not_spoil_its_group() {
    let (_folder, journal) = journal();
    let (release, held) = std::sync::mpsc::channel();
    let mut tasks = JoinSet::new();
    let holder = Arc::clone(&journal);
    tasks.spawn(async move { holder.write(Holds(held), Pace::Durable).await.unwrap() });
    tokio::task::yield_now().await;
    // All of these wait behind the one that holds, and so become one group.
    for n in 0..30 {
        let journal = Arc::clone(&journal);
        tasks.spawn(async move {
            match n % 3 {
                0 => assert!(journal.write(Fails, Pace::Durable).await.is_err()),
                1 => assert_eq!(journal.append(Batch::of(vec![note(); 3])).await.unwrap().len(), 3),
                _ => {
                    let stored = journal.receive(delivery(&format!("m{n}"), 10)).await.unwrap();
                    assert!(matches!(stored, Receipt::Stored(_)));
                }
            }
        });
        tokio::task::yield_now().await;
    }
    drop(release);
    tasks.join_all().await;
    let verified = verify(&*journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { entries: 40, .. }), "{verified:?}");
    assert_eq!(journal.pending(99).await.unwrap().len(), 10);
}

#[tokio::test]
async fn overload_is_answered_at_once_and_what_was_accepted_is_kept() {
    let (_folder, journal) = journal();
    let (release, held) = std::sync::mpsc::channel();
    let mut tasks = JoinSet::new();
    let holder = Arc::clone(&journal);
    tasks.spawn(async move {
        holder.write(Holds(held), Pace::Durable).await.unwrap();
        None
    });
    // The writer is held until below, so every answer that comes before that came at once.
    let mut refused = 0;
    for n in 0..6_000 {
        let journal = Arc::clone(&journal);
        tasks.spawn(async move { Some(journal.receive(delivery(&format!("m{n}"), 10)).await) });
    }
    while refused < 1_000 {
        match tasks.join_next().await.unwrap().unwrap() {
            Some(Err(JournalError::Overloaded)) => refused += 1,
            other => panic!("nothing else can be answered yet: {other:?}"),
        }
    }
    drop(release);
    let mut stored = 0;
    while let Some(answer) = tasks.join_next().await {
        match answer.unwrap() {
            Some(Ok(Receipt::Stored(_))) => stored += 1,
            Some(Err(JournalError::Overloaded)) => refused += 1,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    assert_eq!(stored + refused, 6_000);
    assert!(stored >= 4_000, "{stored}");
    assert_eq!(journal.pending(9_000).await.unwrap().len(), stored);
    let again = journal.receive(delivery("again", 10)).await.unwrap();
    assert!(matches!(again, Receipt::Stored(_)), "it goes on by itself");
}

#[tokio::test]
async fn large_bodies_fill_the_queue_before_they_fill_the_memory() {
    let (_folder, journal) = journal();
    let (release, held) = std::sync::mpsc::channel();
    let mut tasks = JoinSet::new();
    let holder = Arc::clone(&journal);
    tasks.spawn(async move {
        holder.write(Holds(held), Pace::Durable).await.unwrap();
        true
    });
    for n in 0..50 {
        let journal = Arc::clone(&journal);
        let sent = delivery(&format!("m{n}"), 1024 * 1024);
        tasks.spawn(async move { journal.receive(sent).await.is_ok() });
    }
    let first = tasks.join_next().await.unwrap().unwrap();
    assert!(!first, "the queue's bytes have a bound");
    drop(release);
    let stored = tasks.join_all().await.into_iter().filter(|stored| *stored).count() - 1;
    assert!((25..=32).contains(&stored), "{stored}");
    let after = journal.receive(delivery("after", 1024 * 1024)).await.unwrap();
    assert!(matches!(after, Receipt::Stored(_)), "the room is given back");
}

#[tokio::test]
async fn an_enormous_group_is_committed_in_parts() {
    let (_folder, journal) = journal();
    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        let journal = Arc::clone(&journal);
        let drafts = vec![note(); Batch::DRAFTS_MAX];
        tasks.spawn(async move { journal.append(Batch::of(drafts)).await.unwrap().len() });
    }
    assert_eq!(tasks.join_all().await, [Batch::DRAFTS_MAX; 5]);
    assert_eq!(journal.latest(&Stream::Ledger, 1).await.unwrap()[0].seq, Seq(40_000));
}

#[tokio::test]
async fn every_query_finds_its_rows_by_an_index_and_in_order() {
    let (folder, journal) = journal();
    journal.append(Batch::of(vec![note()])).await.unwrap();
    let raw = Connection::open(folder.path().join("journal.db")).unwrap();
    let ends = [END_OF_INCIDENT, END_OF_ALARM, END_OF_LEDGER, DECIDE];
    for sql in queries::INDEXED.iter().chain(&ends) {
        let mut explained = raw.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; explained.parameter_count()];
        let plan: Vec<String> = explained
            .query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains("USING") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        assert!(!plan.contains("SCAN") || plan.contains("entry_ledger"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn what_waits_is_counted_over_refusals_and_a_reopening() {
    let (folder, journal) = journal();
    let waiting = |journal: &SqliteJournal| journal.waiting();
    for n in 0..3 {
        journal.receive(delivery(&format!("m{n}"), 10)).await.unwrap();
        journal.receive(delivery(&format!("m{n}"), 10)).await.unwrap();
    }
    assert_eq!(waiting(&journal), 3);
    let deciding = |n| Batch::of(vec![note()]).deciding(delivery(n, 0).id);
    journal.append(deciding("m0")).await.unwrap();
    assert!(matches!(journal.append(deciding("m0")).await, Err(AppendError::Decided(_))));
    let stale = deciding("m1").expect(Stream::Ledger, Seq(99));
    assert!(matches!(journal.append(stale).await, Err(AppendError::Conflict { .. })));
    assert_eq!(waiting(&journal), 2);
    // What failed was not written, and does not count.
    assert!(journal.write(Fails, Pace::Durable).await.is_err());
    assert_eq!(waiting(&journal), 2);
    drop(journal);
    let journal = SqliteJournal::open(folder.path().join("journal.db")).unwrap();
    assert_eq!(waiting(&journal), 2);
    let ledger = journal.latest(&Stream::Ledger, 1).await.unwrap()[0].seq;
    assert_eq!(journal.read(&Stream::Ledger, Seq(ledger.0 - 1), 9).await.unwrap().len(), 1);
    assert!(journal.read(&Stream::Ledger, ledger, 9).await.unwrap().is_empty());
}
