//! Senders and writers at work while something happens to the server, and what must be true after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use untoil_journal::{AppendError, Journal, JournalError, Receipt};
use untoil_model::{Body, Seq, Stream};
use untoil_store::postgres::PostgresJournal;

use super::{PAUSE, append_until_kept, assert_whole, delivery, paused};

/// How many send, and how many write, at once.
const TASKS: usize = 8;

/// What was answered with "it is kept".
#[derive(Debug, Default)]
struct Acknowledged {
    deliveries: Vec<String>,
    notes: Vec<String>,
}

/// Senders and writers on several instances.
pub(crate) struct Load {
    instances: Vec<Arc<PostgresJournal>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Acknowledged>,
}

impl Load {
    pub(crate) fn start(instances: &[Arc<PostgresJournal>]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let journal = Arc::clone(&instances[task % instances.len()]);
            tasks.spawn(send(Arc::clone(&stop), Arc::clone(&journal), task));
            tasks.spawn(write(Arc::clone(&stop), journal, task));
        }
        Self { instances: instances.to_vec(), stop, tasks }
    }

    /// Waits until there are so many entries more.
    pub(crate) async fn more(&self, entries: u64) {
        let mut head = self.instances[0].head();
        let from = *head.borrow_and_update();
        let more = head.wait_for(|head| head.0 >= from.0 + entries);
        tokio::time::timeout(Duration::from_mins(1), more).await.unwrap().unwrap();
    }

    /// Every instance writes again, by itself.
    pub(crate) async fn comes_back(&self, after: &str) {
        for (n, instance) in self.instances.iter().enumerate() {
            append_until_kept(&**instance, &format!("{after}, instance {n}")).await;
        }
    }

    /// Ends it: what was acknowledged is there, nothing is there twice, and the chain is whole.
    pub(crate) async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let done = self.tasks.join_all().await;
        let kept = Kept::read(&*self.instances[0]).await;
        let deliveries: Vec<_> = done.iter().flat_map(|done| &done.deliveries).collect();
        let notes: Vec<_> = done.iter().flat_map(|done| &done.notes).collect();
        assert!(deliveries.len() > 50 && notes.len() > 50, "too little happened");
        for message in deliveries {
            assert!(kept.deliveries.contains_key(message), "`{message}` was acknowledged");
        }
        for note in notes {
            assert!(kept.notes.contains_key(note), "`{note}` was acknowledged");
        }
        for (what, times) in kept.deliveries.iter().chain(&kept.notes) {
            assert_eq!(*times, 1, "`{what}` is there more than once");
        }
        assert_whole(&*self.instances[0]).await;
    }
}

/// What is in the journal, and how often.
struct Kept {
    deliveries: BTreeMap<String, usize>,
    notes: BTreeMap<String, usize>,
}

impl Kept {
    async fn read(journal: &dyn Journal) -> Self {
        let mut kept = Self { deliveries: BTreeMap::new(), notes: BTreeMap::new() };
        let mut at = Seq::START;
        loop {
            let page = journal.read(&Stream::All, at, 1_000).await.unwrap();
            let Some(last) = page.last() else { return kept };
            at = last.seq;
            for entry in page {
                if let Body::Received { delivery, .. } = entry.body {
                    *kept.deliveries.entry(delivery.message).or_default() += 1;
                } else if let Body::Paused { reason, .. } = entry.body {
                    *kept.notes.entry(reason).or_default() += 1;
                }
            }
        }
    }
}

/// Sends one delivery after the other, each until it is taken: as a sender does.
async fn send(stop: Arc<AtomicBool>, journal: Arc<PostgresJournal>, task: usize) -> Acknowledged {
    let mut done = Acknowledged::default();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let message = format!("{task}/{n}");
        match journal.receive(delivery(&message)).await {
            Ok(Receipt::Stored(_) | Receipt::Seen) => {
                done.deliveries.push(message);
                n += 1;
            }
            Err(JournalError::Unavailable(_) | JournalError::Overloaded) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    done
}

/// Writes one note after the other, each once.
async fn write(stop: Arc<AtomicBool>, journal: Arc<PostgresJournal>, task: usize) -> Acknowledged {
    let mut done = Acknowledged::default();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let note = format!("note {task}/{n}");
        match journal.append(paused(&note)).await {
            Ok(_) => done.notes.push(note),
            Err(AppendError::Journal(JournalError::Unavailable(_) | JournalError::Overloaded)) => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    done
}
