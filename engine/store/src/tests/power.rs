//! The power is lost at any moment: what was promised is there, in one whole chain, and nothing is half.
//!
//! A simulated disk remembers the log as it was when the last sync began that ended well: that much is
//! on it for sure. Whatever was written to the log since may be there, may not, or may be spoilt, sector
//! by sector. The file itself is changed by checkpoints only, which SQLite syncs, and of which none runs
//! during a sync: it is taken as it is.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use proptest::prelude::*;
use tokio::sync::watch;
use untoil_journal::RawEntry;

use super::*;
use crate::wal::{self, Disk};
use crate::writer::Copying;

/// What is written or spoilt as one; smaller than the usual 4 KiB, so that more can go wrong.
const SECTOR: usize = 512;

/// The log's header, which SQLite itself brings to the disk before anything that follows it.
const HEADER: usize = 32;

/// How many moments of a run are looked at, each in every [`Way`].
const MOMENTS_MAX: usize = 6;

/// What the journal's users were told.
#[derive(Debug, Clone, Default)]
struct Promised {
    deliveries: Vec<DeliveryId>,
    durable: Seq,
    cursor: Seq,
}

/// A moment at which the power may be lost.
#[derive(Debug, Clone)]
struct Moment {
    file: Vec<u8>,
    /// The log that is on the disk for sure.
    synced: Vec<u8>,
    /// The log as it was written.
    written: Vec<u8>,
    promised: Promised,
}

#[derive(Debug, Default)]
struct Seen {
    promised: Mutex<Promised>,
    head: OnceLock<watch::Receiver<Seq>>,
    moments: Mutex<Vec<Moment>>,
}

/// A simulated disk that remembers.
#[derive(Debug)]
struct Remembers {
    file: PathBuf,
    synced: Vec<u8>,
    seen: Arc<Seen>,
    /// Every how many syncs a moment is kept, so that they are spread over the run. Those at which the
    /// log began anew are kept as well.
    every: usize,
    syncs: usize,
}

impl Disk for Remembers {
    fn sync(&mut self) -> io::Result<()> {
        // In this order: what is promised only grows.
        let mut promised = self.seen.promised.lock().unwrap().clone();
        let head = self.seen.head.get().map_or(Seq::START, |head| *head.borrow());
        promised.durable = promised.durable.max(head);
        let written = std::fs::read(wal::beside(&self.file)?)?;
        self.syncs += 1;
        let mut moments = self.seen.moments.lock().unwrap();
        let anew = self.synced.get(..HEADER) != written.get(..HEADER);
        if (anew || self.syncs.is_multiple_of(self.every)) && moments.len() < MOMENTS_MAX {
            let (file, synced) = (std::fs::read(&self.file)?, self.synced.clone());
            moments.push(Moment { file, synced, written: written.clone(), promised });
        }
        self.synced = written;
        Ok(())
    }
}

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// All of it is lost, and the log ends where it was synced to.
    Lost,
    /// All of it is there.
    Kept,
    /// Each sector is as it was or as it was to be.
    Mixed,
    /// The same, or spoilt.
    Spoilt,
    /// It is there up to some byte, behind which the log ends.
    Short,
}

const WAYS: [Way; 5] = [Way::Lost, Way::Kept, Way::Mixed, Way::Spoilt, Way::Short];

impl Moment {
    /// The log after the power was lost.
    fn log(&self, way: Way, dice: &mut impl FnMut() -> u8) -> Vec<u8> {
        let length = self.synced.len().max(self.written.len());
        let whole = |log: &[u8]| {
            let mut whole = log.to_vec();
            whole.resize(length, 0);
            whole
        };
        let (old, new) = (whole(&self.synced), whole(&self.written));
        let mut left = match way {
            Way::Lost => self.synced.clone(),
            Way::Kept => self.written.clone(),
            Way::Mixed | Way::Spoilt => {
                let sectors = old.chunks(SECTOR).zip(new.chunks(SECTOR));
                sectors.flat_map(|(old, new)| sector(way, (old, new), dice)).collect()
            }
            Way::Short => {
                let more = self.written.len().saturating_sub(self.synced.len());
                let some = (0..4).fold(0, |n, _| n * 256 + usize::from(dice())) % (more + 1);
                new[..length - more + some].to_vec()
            }
        };
        let header = HEADER.min(self.written.len()).min(left.len());
        left[..header].copy_from_slice(&self.written[..header]);
        left
    }
}

/// A sector that was to be changed from `old` to `new`.
fn sector(way: Way, (old, new): (&[u8], &[u8]), dice: &mut impl FnMut() -> u8) -> Vec<u8> {
    match dice() % 8 {
        0..4 => new.to_vec(),
        4 if matches!(way, Way::Spoilt) => {
            // What was there and stays is not spoilt by what is written beside it.
            let spoilt = |(old, new)| if old == new { old } else { dice() };
            old.iter().copied().zip(new.iter().copied()).map(spoilt).collect()
        }
        _ => old.to_vec(),
    }
}

/// One step of one of those who use the journal.
#[derive(Debug, Clone)]
enum Step {
    /// A delivery of so many bytes comes in.
    Receive(usize),
    /// So many entries are written, and are durable then.
    Append(usize),
    /// The same, ahead of the disk.
    Ahead(usize),
    /// The user's last delivery is decided, ahead of the disk.
    Decide,
    /// What was written ahead is waited for.
    Durable,
    /// A reader goes on.
    Advance,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        4 => prop_oneof![4 => 0..3_000_usize, 1 => 20_000..90_000_usize].prop_map(Step::Receive),
        2 => (1..4_usize).prop_map(Step::Append),
        3 => (1..4_usize).prop_map(Step::Ahead),
        3 => Just(Step::Decide),
        1 => Just(Step::Durable),
        1 => Just(Step::Advance),
    ];
    prop::collection::vec(prop::collection::vec(step, 10..40), 1..4)
}

fn decides(id: &DeliveryId) -> Draft {
    let body = Body::Understood { delivery: id.clone(), what: "x".into() };
    Draft::new(Timestamp::UNIX_EPOCH, Actor::Engine("test".into()), body)
}

async fn uses(user: usize, steps: Vec<Step>, journal: Arc<SqliteJournal>, seen: Arc<Seen>) {
    let (mut last, mut ahead) = (None, Seq::START);
    let promise = |change: &dyn Fn(&mut Promised)| change(&mut seen.promised.lock().unwrap());
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Receive(bytes) => {
                let delivery = delivery(&format!("{user}/{n}"), bytes);
                let id = delivery.id.clone();
                journal.receive(delivery).await.unwrap();
                promise(&|promised| promised.deliveries.push(id.clone()));
                last = Some(id);
            }
            Step::Append(drafts) => {
                let written = journal.append(Batch::of(vec![note(); drafts])).await.unwrap();
                let seq = written[drafts - 1].seq;
                promise(&|promised| promised.durable = promised.durable.max(seq));
            }
            Step::Ahead(drafts) => {
                let batch = Batch::of(vec![note(); drafts]);
                ahead = journal.append_ahead(batch).await.unwrap()[0].seq;
            }
            Step::Decide => {
                let Some(id) = last.take() else { continue };
                let batch = Batch::of(vec![decides(&id)]).deciding(id);
                ahead = journal.append_ahead(batch).await.unwrap()[0].seq;
            }
            Step::Durable => {
                journal.durable(ahead).await.unwrap();
                promise(&|promised| promised.durable = promised.durable.max(ahead));
            }
            Step::Advance => {
                let to = *journal.head().borrow();
                journal.advance("slack", to, Vec::new()).await.unwrap();
                promise(&|promised| promised.cursor = promised.cursor.max(to));
            }
        }
    }
}

/// Runs the users, and returns the moments and all that was written.
async fn run(folder: &Path, users: Vec<Vec<Step>>, every: usize) -> (Vec<Moment>, Vec<RawEntry>) {
    let file = folder.join("journal.db");
    let seen = Arc::new(Seen::default());
    let remembers = |_| -> Box<dyn Disk> {
        let synced = std::fs::read(wal::beside(&file).unwrap()).unwrap();
        let (file, seen) = (file.clone(), Arc::clone(&seen));
        Box::new(Remembers { file, synced, seen, every, syncs: 0 })
    };
    // Small, so that the log begins anew several times.
    let copying = Copying { when_quiet: 20, at_once: 30 };
    let journal = Arc::new(SqliteJournal::open_on(&file, copying, remembers).unwrap());
    seen.head.set(journal.head()).unwrap();
    let mut tasks = JoinSet::new();
    for (user, steps) in users.into_iter().enumerate() {
        tasks.spawn(uses(user, steps, Arc::clone(&journal), Arc::clone(&seen)));
    }
    tasks.join_all().await;
    let all = journal.raw(Seq::START, usize::MAX).await.unwrap();
    let moments = std::mem::take(&mut *seen.moments.lock().unwrap());
    (moments, all)
}

/// Opens what the power has left, and looks for what was promised.
async fn look(moment: &Moment, log: Vec<u8>, all: &[RawEntry]) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    std::fs::write(&file, &moment.file).unwrap();
    std::fs::write(folder.path().join("journal.db-wal"), log).unwrap();
    let journal = SqliteJournal::open(&file).unwrap();
    let verified = verify(&journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
    let left = journal.raw(Seq::START, usize::MAX).await.unwrap();
    assert!(left[..] == all[..left.len()], "what is left is how it began");
    let (end, promised) = (Seq(left.len() as u64), &moment.promised);
    assert!(end >= promised.durable, "{end} is left, {} was promised", promised.durable);
    assert!(journal.cursor("slack").await.unwrap() >= promised.cursor);
    for id in &promised.deliveries {
        assert!(journal.delivery(id).await.unwrap().is_some(), "`{id}` was acknowledged");
    }
    // Nothing is half: whatever is received and not decided waits, and nothing else.
    let (mut received, mut decided) = (BTreeSet::new(), BTreeSet::new());
    for entry in journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap() {
        if let Body::Received { delivery, .. } = entry.body {
            received.insert(delivery);
        } else if let Body::Understood { delivery, .. } = entry.body {
            decided.insert(delivery);
        }
    }
    let pending: BTreeSet<_> = journal.pending(usize::MAX).await.unwrap().into_iter().collect();
    assert_eq!(pending, &received - &decided);
    for id in &received {
        assert!(journal.delivery(id).await.unwrap().is_some(), "`{id}` is kept with its entry");
    }
    journal.receive(delivery("after", 10)).await.unwrap();
    journal.append(Batch::of(vec![note()])).await.unwrap();
}

proptest! {
    // Each case reopens the journal some 25 times.
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn what_was_promised_outlives_the_power(
        users in steps(),
        every in 1..9_usize,
        seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let folder = TempDir::new().unwrap();
            let (moments, all) = run(folder.path(), users, every).await;
            let mut state = seed | 1;
            let mut dice = || {
                // xorshift64*
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
            };
            for moment in &moments {
                for way in WAYS {
                    look(moment, moment.log(way, &mut dice), &all).await;
                }
            }
        });
    }
}
