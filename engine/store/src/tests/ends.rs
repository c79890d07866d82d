//! What the journal knows of streams without asking the file is what the file says.

use proptest::prelude::*;
use untoil_journal::{Prune, Retention as _};
use untoil_model::{Entry, Hash, IncidentId};

use super::*;

fn id(n: usize) -> IncidentId {
    format!("{n:026}").parse().unwrap()
}

fn of(incident: usize) -> Draft {
    Draft::of(
        &id(incident),
        Timestamp::UNIX_EPOCH,
        Actor::Engine("test".into()),
        Body::Unmatched {},
    )
}

/// A write whose commit succeeds and is told as failed.
struct SaysItFailed(usize);

impl Write for SaysItFailed {
    type Reply = ();

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Fault> {
        transaction.write(of(self.0))?;
        transaction.write(note())?;
        transaction.connection.execute_batch("COMMIT")?;
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        Err(rusqlite::Error::SqliteFailure(code, None).into())
    }

    fn take_back(&mut self, (): ()) {}
}

/// What happens to a journal.
#[derive(Debug, Clone)]
enum Deed {
    /// Entries of incidents are written, on condition that the first and the ledger end where they do.
    Append(Vec<usize>),
    /// The same on the condition of an end that was passed.
    Stale(usize),
    /// Both at once, and so in one group if it comes so.
    Together(usize, usize),
    Pause,
    Receive,
    Fails,
    SaysItFailed(usize),
    /// Everything that may go goes.
    Prune,
    Reopen,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let incident = 0..4_usize;
    let deed = prop_oneof![
        4 => prop::collection::vec(incident.clone(), 1..4).prop_map(Deed::Append),
        2 => incident.clone().prop_map(Deed::Stale),
        2 => (incident.clone(), incident.clone()).prop_map(|(a, b)| Deed::Together(a, b)),
        1 => Just(Deed::Pause),
        1 => Just(Deed::Receive),
        1 => Just(Deed::Fails),
        1 => incident.prop_map(Deed::SaysItFailed),
        1 => Just(Deed::Prune),
        1 => Just(Deed::Reopen),
    ];
    prop::collection::vec(deed, 1..24)
}

/// The entries of a stream, as the file says.
async fn kept(journal: &SqliteJournal, stream: &Stream, after: Seq) -> Vec<Entry> {
    let stream = stream.clone();
    journal.ask(move |connection| queries::read(connection, &stream, after, 99)).await.unwrap()
}

async fn end(journal: &SqliteJournal, stream: &Stream) -> Seq {
    let stream = stream.clone();
    let last = journal.ask(move |connection| queries::latest(connection, &stream, 1)).await;
    last.unwrap().first().map_or(Seq::START, |entry| entry.seq)
}

/// Entries on condition that the first one's incident, and the ledger, are as the file says.
async fn batch(journal: &SqliteJournal, incidents: &[usize]) -> Batch {
    let first = Stream::Incident(id(incidents[0]));
    let (at, ledger) = (end(journal, &first).await, end(journal, &Stream::Ledger).await);
    let drafts = incidents.iter().map(|n| of(*n)).collect();
    Batch::of(drafts).expect(first, at).expect(Stream::Ledger, ledger)
}

async fn prune(journal: &SqliteJournal) {
    let mut all = kept(journal, &Stream::All, Seq::START).await;
    // A store checks its last entry against the one before it, so two stay.
    all.pop();
    let Some(last) = all.last() else { return };
    let waiting = journal.waiting();
    let body = Body::Archived {
        first: Seq(1),
        last: last.seq,
        before: Hash::GENESIS,
        hash: last.hash,
        file: "all".into(),
        sha256: Hash::GENESIS,
        record: Hash::GENESIS,
    };
    // The same end twice is refused by the schema: nothing was written since.
    let archived = Draft::new(Timestamp::UNIX_EPOCH, Actor::Engine("test".into()), body);
    if journal.append(Batch::of(vec![archived])).await.is_err() {
        return;
    }
    let goes =
        |entry: &&Entry| !matches!(entry.body, Body::Archived { .. } | Body::Received { .. });
    let entries: Vec<Seq> = all.iter().filter(goes).map(|entry| entry.seq).collect();
    let n = u64::try_from(entries.len()).unwrap();
    let gone = journal.prune(Prune { entries, ..Prune::default() }).await.unwrap();
    assert_eq!((gone, journal.waiting()), (n, waiting));
}

async fn act(journal: &mut Arc<SqliteJournal>, n: usize, deed: &Deed, folder: &TempDir) {
    match deed {
        Deed::Append(incidents) => {
            let batch = batch(journal, incidents).await;
            journal.append(batch).await.unwrap();
        }
        Deed::Stale(incident) => {
            let stale = batch(journal, &[*incident]).await;
            journal.append(stale.clone()).await.unwrap();
            let again = journal.append(stale).await;
            assert!(matches!(again, Err(AppendError::Conflict { .. })), "{again:?}");
            let early = Batch::of(vec![]).expect(Stream::Incident(id(*incident)), Seq(9_999));
            let early = journal.append(early).await;
            assert!(matches!(early, Err(AppendError::Conflict { .. })), "{early:?}");
        }
        Deed::Together(a, b) => {
            let (one, other) = (batch(journal, &[*a]).await, batch(journal, &[*b]).await);
            let (one, other) = tokio::join!(journal.append(one), journal.append(other));
            assert!(one.is_ok());
            assert_eq!(other.is_ok(), a != b);
        }
        Deed::Pause => drop(journal.append(Batch::of(vec![note()])).await.unwrap()),
        Deed::Receive => drop(journal.receive(delivery(&format!("m{n}"), 10)).await.unwrap()),
        Deed::Fails => assert!(journal.write(Fails, Pace::Durable).await.is_err()),
        Deed::SaysItFailed(incident) => {
            assert!(journal.write(SaysItFailed(*incident), Pace::Durable).await.is_err());
        }
        Deed::Prune => prune(journal).await,
        Deed::Reopen => {
            let empty = SqliteJournal::open(folder.path().join("other.db")).unwrap();
            drop(std::mem::replace(journal, Arc::new(empty)));
            *journal = Arc::new(SqliteJournal::open(folder.path().join("journal.db")).unwrap());
        }
    }
}

async fn same(journal: &SqliteJournal) {
    let incidents = (0..4).map(|n| Stream::Incident(id(n)));
    for stream in incidents.chain([Stream::Ledger, Stream::All]) {
        let last = end(journal, &stream).await;
        for after in [0, last.0.saturating_sub(1), last.0, last.0 + 1, last.0 + 99] {
            let read = journal.read(&stream, Seq(after), 99).await.unwrap();
            let kept = kept(journal, &stream, Seq(after)).await;
            assert_eq!(read, kept, "{stream:?} after {after}");
        }
    }
    let pending = journal.pending(99).await.unwrap().len();
    assert_eq!(journal.waiting(), i64::try_from(pending).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn reading_with_what_is_known_is_reading_the_file(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (folder, mut journal) = journal();
            for (n, deed) in deeds.iter().enumerate() {
                act(&mut journal, n, deed, &folder).await;
                same(&journal).await;
            }
        });
    }
}

#[tokio::test]
async fn a_stream_that_has_not_grown_needs_no_read() {
    let (_folder, journal) = journal();
    let (mine, others) = (Stream::Incident(id(1)), Stream::Incident(id(2)));
    let at = journal.append(Batch::of(vec![of(1)])).await.unwrap()[0].seq;
    let ledger = journal.append(Batch::of(vec![note()])).await.unwrap()[0].seq;
    journal.append(Batch::of(vec![of(2)])).await.unwrap();
    // All reading threads are held, so what is answered was not read.
    let mut held = Vec::new();
    let mut holders = JoinSet::new();
    for _ in 0..2 {
        let (release, hold) = std::sync::mpsc::channel::<()>();
        held.push(release);
        let journal = Arc::clone(&journal);
        holders.spawn(async move { journal.ask(move |_| Ok(hold.recv().is_err())).await.unwrap() });
    }
    tokio::task::yield_now().await;
    assert!(journal.read(&mine, at, 9).await.unwrap().is_empty());
    assert!(journal.read(&Stream::Ledger, ledger, 9).await.unwrap().is_empty());
    let reader = Arc::clone(&journal);
    let mut grown = JoinSet::new();
    grown.spawn(async move { reader.read(&others, at, 9).await.unwrap().len() });
    tokio::task::yield_now().await;
    assert!(grown.try_join_next().is_none(), "what has grown is read");
    drop(held);
    assert_eq!(grown.join_next().await.unwrap().unwrap(), 1);
    assert_eq!(holders.join_all().await, [true, true]);
}
