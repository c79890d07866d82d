//! One order, one chain.

use tokio::task::JoinSet;
use untoil_model::{Hash, Seq, Stream};

use super::{Handles, delivery, note, pause, places, whole};
use crate::{Batch, Receipt, Verified, verify};

pub(super) async fn an_empty_journal_is_whole(handles: Handles) {
    let journal = handles.one();
    let verified = verify(&**journal).await.expect("it can be read");
    assert_eq!(verified, Verified::Whole { entries: 0, head: Hash::GENESIS });
    assert_eq!(*journal.head().borrow(), Seq::START);
    assert_eq!(whole(journal, &Stream::All).await, []);
    assert_eq!(whole(journal, &Stream::Ledger).await, []);
}

pub(super) async fn places_have_no_gaps_however_many_write(handles: Handles) {
    const TASKS: usize = 16;
    const EACH: usize = 15;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let journal = handles.at(task).clone();
        tasks.spawn(async move {
            let mut seen = Vec::new();
            for n in 0..EACH {
                let received = journal.receive(delivery(&format!("{task}/{n}"))).await;
                if let Receipt::Stored(seq) = received.expect("it is received") {
                    seen.push(seq.0);
                }
                let batch = Batch::of(vec![note("a"), pause("b")]);
                seen.extend(places(&journal.append(batch).await.expect("it is appended")));
            }
            assert!(seen.is_sorted(), "what is written later stands later");
            seen
        });
    }
    let mut acknowledged = tasks.join_all().await.concat();
    acknowledged.sort_unstable();
    let all: Vec<u64> = (1..=(TASKS * EACH * 3) as u64).collect();
    assert_eq!(acknowledged, all);
    for journal in &handles.0 {
        let entries = whole(journal, &Stream::All).await;
        assert_eq!(places(&entries), all);
        let head = entries.last().expect("it is not empty").hash;
        let verified = verify(&**journal).await.expect("it can be read");
        assert_eq!(verified, Verified::Whole { entries: all.len() as u64, head });
    }
}

pub(super) async fn the_kept_texts_are_chained(handles: Handles) {
    let journal = handles.one();
    journal.receive(delivery("m")).await.expect("it is received");
    let batch = Batch::of(vec![note("한"), pause("b")]);
    journal.append(batch).await.expect("it is appended");
    let entries = whole(journal, &Stream::All).await;
    let raw = journal.raw(Seq::START, 9).await.expect("it can be read");
    assert_eq!(raw.len(), entries.len());
    let mut head = Hash::GENESIS;
    for (raw, entry) in raw.iter().zip(entries) {
        assert_eq!(raw.text, entry.text(), "the text is kept as it was hashed");
        assert_eq!(raw.prev, head);
        head = head.chain(&raw.text);
        assert_eq!((raw.seq, raw.hash, raw.prev), (entry.seq, head, entry.prev));
        assert_eq!(entry.hash, head);
    }
    assert_eq!(journal.raw(Seq(1), 1).await.expect("it can be read"), raw[1..2]);
    assert_eq!(journal.raw(Seq(3), 9).await.expect("it can be read"), []);
}
