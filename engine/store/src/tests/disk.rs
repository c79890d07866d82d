//! A disk that fails, and one that hangs.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use untoil_journal::Put;

use super::*;
use crate::fault::Fault;
use crate::wal::{self, Disk};
use crate::writer::{Copying, Pace};

/// A simulated disk that answers what the test gives it, sync by sync; well once the test is over.
#[derive(Debug)]
struct Told {
    answers: mpsc::Receiver<io::Result<()>>,
    syncs: Arc<AtomicUsize>,
}

impl Disk for Told {
    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.answers.recv().unwrap_or(Ok(()))
    }
}

type Answers = mpsc::Sender<io::Result<()>>;

/// A journal on such a disk, what answers its syncs, and how many there were.
fn told(file: &Path) -> (Arc<SqliteJournal>, Answers, Arc<AtomicUsize>) {
    let (answer, answers) = mpsc::channel();
    let syncs = Arc::new(AtomicUsize::new(0));
    let told = Told { answers, syncs: Arc::clone(&syncs) };
    let journal = SqliteJournal::open_on(file, Copying::USUAL, |_| Box::new(told)).unwrap();
    (Arc::new(journal), answer, syncs)
}

fn fails() -> io::Result<()> {
    Err(io::Error::other("simulated: the disk is gone"))
}

fn refuses<T: std::fmt::Debug>(answer: &Result<T, JournalError>) {
    let Err(JournalError::Unavailable(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains("journal.db` could not be brought to the disk: simulated"), "{why}");
    assert!(why.contains("restart the service"), "{why}");
}

fn cause(error: AppendError) -> JournalError {
    let AppendError::Journal(error) = error else { panic!("{error:?}") };
    error
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_acknowledged_written_or_copied() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let (journal, answer, syncs) = told(&file);
    answer.send(Ok(())).unwrap();
    journal.receive(delivery("kept", 10)).await.unwrap();

    let ahead = journal.append_ahead(Batch::of(vec![note()])).await.unwrap();
    answer.send(fails()).unwrap();
    // A second sync would succeed, as it does on Linux, and say nothing.
    let seq = ahead[0].seq;
    let batch = || Batch::of(vec![note()]);
    let (received, appended, durable) = tokio::join!(
        journal.receive(delivery("lost", 10)),
        journal.append(batch()),
        journal.durable(seq)
    );
    refuses(&received);
    refuses(&appended.map_err(cause));
    refuses(&durable);
    refuses(&journal.receive(delivery("later", 10)).await);
    refuses(&journal.append(batch()).await.map_err(cause));
    refuses(&journal.append_ahead(batch()).await.map_err(cause));
    refuses(&journal.advance("slack", Seq(1), vec![Put { key: "k".into(), value: None }]).await);
    refuses(&journal.durable(seq).await);
    assert_eq!(*journal.head().borrow(), Seq(1));
    assert!(*journal.written().borrow() >= seq);
    assert_eq!(syncs.load(Ordering::SeqCst), 2);
    // Who follows what is written sees that it ends, and ends the service; a supervisor restarts it.
    let mut written = journal.written();
    while written.changed().await.is_ok() {}
    // Reading goes on.
    assert!(journal.delivery(&delivery("kept", 10).id).await.unwrap().is_some());

    let before = std::fs::read(&file).unwrap();
    drop(journal);
    assert!(std::fs::read(&file).unwrap() == before, "the log may not be copied");
    assert!(wal::beside(&file).unwrap().exists(), "and is left to the next process");
    let journal = SqliteJournal::open(&file).unwrap();
    assert!(journal.delivery(&delivery("kept", 10).id).await.unwrap().is_some());
    let verified = verify(&journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
    journal.receive(delivery("later", 10)).await.unwrap();
}

/// A write in whose commit SQLite itself waits for the disk in vain, as where the log begins anew.
#[derive(Debug)]
struct Unsynced;

impl crate::writer::Write for Unsynced {
    type Reply = ();

    fn write(&mut self, _: &mut crate::transaction::Transaction<'_>) -> Result<(), Fault> {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC);
        Err(Fault::Database(rusqlite::Error::SqliteFailure(code, None)))
    }

    fn take_back(&mut self, (): ()) {}
}

#[tokio::test]
async fn a_sync_of_sqlites_own_that_fails_ends_all_writing_too() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let (journal, answer, _) = told(&file);
    answer.send(Ok(())).unwrap();
    journal.receive(delivery("kept", 10)).await.unwrap();
    // One that is written and waits for the disk has not come there, as far as anybody knows.
    let seq = journal.append_ahead(Batch::of(vec![note()])).await.unwrap()[0].seq;
    let (durable, unsynced) =
        tokio::join!(journal.durable(seq), journal.write(Unsynced, Pace::Durable));
    assert!(durable.is_err() && unsynced.is_err(), "{durable:?}, {unsynced:?}");
    let later = journal.receive(delivery("later", 10)).await;
    let Err(JournalError::Unavailable(why)) = later else { panic!("{later:?}") };
    assert!(why.contains("could not be brought to the disk"), "{why}");
    answer.send(Ok(())).unwrap();
    let mut written = journal.written();
    while written.changed().await.is_ok() {}
}

#[tokio::test]
async fn while_the_disk_is_waited_for_decisions_go_on_and_deliveries_gather() {
    const GATHERED: usize = 50;
    let folder = TempDir::new().unwrap();
    let (journal, answer, syncs) = told(&folder.path().join("journal.db"));
    let mut tasks = JoinSet::new();
    let receive = |n: usize| {
        let journal = Arc::clone(&journal);
        async move { journal.receive(delivery(&format!("m{n}"), 10)).await.unwrap() }
    };
    tasks.spawn(receive(0));
    journal.written().wait_for(|written| *written == Seq(1)).await.unwrap();
    // It hangs in the first sync from here on.
    assert_eq!(journal.to_decide(9).await.unwrap(), [delivery("m0", 10)]);
    let decision = Batch::of(vec![note()]).deciding(delivery("m0", 0).id);
    let decided = journal.append_ahead(decision).await.unwrap();
    assert_eq!(decided[0].seq, Seq(2));
    assert_eq!(journal.read(&Stream::All, Seq::START, 9).await.unwrap().len(), 2);
    assert_eq!(journal.to_decide(9).await.unwrap(), []);
    assert_eq!(*journal.head().borrow(), Seq::START, "nothing is on the disk");
    for n in 1..=GATHERED {
        tasks.spawn(receive(n));
    }
    // Each of them puts its delivery into the queue when it is first looked at.
    tokio::task::yield_now().await;
    for _ in 0..3 {
        answer.send(Ok(())).unwrap();
    }
    assert_eq!(tasks.join_all().await.len(), GATHERED + 1);
    journal.durable(Seq(2 + GATHERED as u64)).await.unwrap();
    assert!(syncs.load(Ordering::SeqCst) <= 3, "the deliveries share their way to the disk");
}

#[tokio::test]
async fn what_may_be_written_while_the_disk_hangs_has_a_bound() {
    let folder = TempDir::new().unwrap();
    let (journal, answer, syncs) = told(&folder.path().join("journal.db"));
    let mut written = journal.written();
    let first = Arc::clone(&journal);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(first.append(Batch::of(vec![note()])).await.unwrap()) });
    written.wait_for(|written| *written == Seq(1)).await.unwrap();
    // On a busy machine more would be written by the time it begins, and come to the disk with it.
    while syncs.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let many = Arc::clone(&journal);
    let last = Arc::new(Mutex::new(Seq::START));
    let told = Arc::clone(&last);
    tasks.spawn(async move {
        for _ in 0..100 {
            let ahead = many.append_ahead(Batch::of(vec![note()])).await.unwrap();
            *told.lock().unwrap_or_else(PoisonError::into_inner) = ahead[0].seq;
        }
    });
    // The bound is what stops it: everything else is ready.
    written.wait_for(|written| *written >= Seq(9)).await.unwrap();
    assert!(*last.lock().unwrap() <= Seq(9), "one is being synced, and eight wait");
    answer.send(Ok(())).unwrap();
    drop(answer);
    tasks.join_all().await;
    assert_eq!(*last.lock().unwrap(), Seq(101));
    journal.durable(Seq(101)).await.unwrap();
}
