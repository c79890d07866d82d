//! Readers: the head they wait on, their cursors and memos.

use std::sync::Arc;

use tokio::task::JoinSet;
use untoil_model::{Seq, Stream};

use super::{Handles, delivery, note, pause};
use crate::{Batch, Journal, Put, Receipt};

fn put(key: &str, value: &str) -> Put {
    Put { key: key.into(), value: Some(value.into()) }
}

fn number(memo: Option<String>) -> u64 {
    memo.map_or(0, |text| text.parse().expect("a number was noted"))
}

pub(super) async fn a_reader_never_skips_a_late_commit(handles: Handles) {
    const TASKS: usize = 8;
    const EACH: usize = 25;
    const TOTAL: usize = TASKS * EACH * 3;
    let mut tasks = JoinSet::new();
    for journal in &handles.0 {
        tasks.spawn(follow(journal.clone(), Stream::All, TOTAL));
        tasks.spawn(follow(journal.clone(), Stream::Ledger, TOTAL / 3));
    }
    for task in 0..TASKS {
        let journal = handles.at(task).clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                journal.receive(delivery(&format!("{task}/{n}"))).await.expect("it is received");
                let batch = Batch::of(vec![note("a"), pause("b")]);
                journal.append(batch).await.expect("it is appended");
            }
        });
    }
    tasks.join_all().await;
}

/// Reads a stream as a reader does, behind its place, until it has seen `total` entries; one that
/// it skipped never comes, and the check hangs.
async fn follow(journal: Arc<dyn Journal>, stream: Stream, total: usize) {
    let mut head = journal.head();
    let (mut after, mut read) = (Seq::START, 0);
    while read < total {
        let now = *head.borrow_and_update();
        let page = journal.read(&stream, after, 7).await.expect("it can be read");
        for entry in &page {
            let follows = entry.seq == after.next();
            assert!(follows || stream != Stream::All, "after {after} came {}", entry.seq);
            after = entry.seq;
        }
        read += page.len();
        if page.is_empty() && read < total {
            head.wait_for(|head| *head > now).await.expect("the journal is open");
        }
    }
}

pub(super) async fn the_head_is_announced_after_the_commit(handles: Handles) {
    const LAST: u64 = 60;
    let journal = handles.one().clone();
    let mut head = journal.head();
    assert_eq!(*head.borrow_and_update(), Seq::START);
    let mut tasks = JoinSet::new();
    tasks.spawn({
        let journal = journal.clone();
        async move {
            let mut seen = Seq::START;
            while seen < Seq(LAST) {
                head.changed().await.expect("the journal is open");
                let now = *head.borrow_and_update();
                assert!(now > seen, "the head went from {seen} to {now}");
                let at = journal.read(&Stream::All, Seq(now.0 - 1), 1).await.expect("readable");
                assert_eq!(at.len(), 1, "entry {now} was announced before it could be read");
                seen = now;
            }
        }
    });
    for n in 0..LAST / 2 {
        let receipt = journal.receive(delivery(&format!("m{n}"))).await.expect("it is received");
        assert!(matches!(receipt, Receipt::Stored(seq) if seq <= *journal.head().borrow()));
        let written = journal.append(Batch::of(vec![note("x")])).await.expect("it is appended");
        assert!(written[0].seq <= *journal.head().borrow(), "it is announced when it is told");
    }
    tasks.join_all().await;
    assert_eq!(*journal.head().borrow(), Seq(LAST));
}

pub(super) async fn every_handle_hears_of_the_head(handles: Handles) {
    for n in 1..=9 {
        let batch = Batch::of(vec![note("x")]);
        let written = handles.at(n).append(batch).await.expect("it is appended");
        assert_eq!(written[0].seq, Seq(n as u64));
        for journal in &handles.0 {
            let mut head = journal.head();
            head.wait_for(|head| *head >= written[0].seq).await.expect("the journal is open");
        }
    }
}

pub(super) async fn a_cursor_never_moves_back(handles: Handles) {
    let journal = handles.one();
    assert_eq!(journal.cursor("slack").await.expect("it can be read"), Seq::START);
    for (to, then) in [(5, 5), (3, 5), (5, 5), (0, 5), (8, 8)] {
        journal.advance("slack", Seq(to), Vec::new()).await.expect("it is kept");
        assert_eq!(journal.cursor("slack").await.expect("it can be read"), Seq(then));
    }
    assert_eq!(journal.cursor("Slack").await.expect("it can be read"), Seq::START);
    assert_eq!(journal.cursor("이메일").await.expect("it can be read"), Seq::START);
    let mut tasks = JoinSet::new();
    for n in 0..40_u64 {
        let journal = handles.at(usize::try_from(n).expect("it is small")).clone();
        tasks.spawn(async move {
            journal.advance("이메일", Seq(n * 7 % 40), Vec::new()).await.expect("it is kept");
        });
    }
    tasks.join_all().await;
    assert_eq!(journal.cursor("이메일").await.expect("it can be read"), Seq(39));
    assert_eq!(*journal.head().borrow(), Seq::START, "a step of a reader is no entry");
}

pub(super) async fn memos_are_kept_by_reader_and_key(handles: Handles) {
    let journal = handles.one();
    let memos = vec![put("thread/01J", "1.2"), put("k", "first"), put("k", "second"), put("", "")];
    journal.advance("slack", Seq(3), memos).await.expect("it is kept");
    let long = "글".repeat(20_000);
    journal.advance("email", Seq(1), vec![put("k", &long)]).await.expect("it is kept");
    // A memo counts also where the cursor has nothing left to do.
    let gone = Put { key: "thread/01J".into(), value: None };
    journal.advance("slack", Seq(2), vec![gone.clone(), gone, put("n", "x")]).await.expect("kept");
    let cases = [
        ("slack", "thread/01J", None),
        ("slack", "k", Some("second".to_owned())),
        ("slack", "", Some(String::new())),
        ("slack", "n", Some("x".to_owned())),
        ("email", "k", Some(long)),
        ("email", "n", None),
        ("slac", "kk", None),
    ];
    for (reader, key, value) in cases {
        assert!(
            journal.memo(reader, key).await.expect("it can be read") == value,
            "{reader}/{key}"
        );
    }
    assert_eq!(journal.cursor("slack").await.expect("it can be read"), Seq(3));
}

pub(super) async fn a_cursor_moves_together_with_its_memos(handles: Handles) {
    const STEPS: u64 = 60;
    let (writer, reader) = (handles.at(0).clone(), handles.at(1).clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for n in 1..=STEPS {
            let text = n.to_string();
            let memos = vec![put("a", &text), put("b", &text)];
            writer.advance("r", Seq(n), memos).await.expect("it is kept");
        }
    });
    let mut last = 0;
    while last < STEPS {
        let a = || async { number(reader.memo("r", "a").await.expect("it can be read")) };
        let b = || async { number(reader.memo("r", "b").await.expect("it can be read")) };
        let at = || async { reader.cursor("r").await.expect("it can be read").0 };
        // All only grow, and together: what is read later is never behind.
        let seen = [at().await, a().await, b().await, a().await, at().await];
        assert!(seen.is_sorted(), "cursor and memos were moved apart: {seen:?}");
        last = seen[4];
    }
    tasks.join_all().await;
}
