//! Writing ahead of the disk: to be read at once, in the one order, and durable before what follows.

use tokio::task::JoinSet;
use untoil_model::{Seq, Stream};

use super::{Handles, delivery, incident, key, note, opened, pause, places, unmatched, whole};
use crate::{AppendError, Batch};

pub(super) async fn what_is_written_ahead_can_be_read_at_once(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    journal.receive(delivery("m")).await.expect("it is received");
    let decided = delivery("m").id;
    let batch = Batch::of(vec![opened(1, &alarm), pause("a")]).deciding(decided.clone());
    let written = journal.append_ahead(batch).await.expect("it is appended");
    assert_eq!(places(&written), [2, 3]);
    assert_eq!(whole(journal, &Stream::All).await[1..], written);
    assert_eq!(whole(journal, &Stream::Incident(incident(1))).await, written[..1]);
    assert_eq!(whole(journal, &Stream::Alarm(alarm)).await, written[..1]);
    assert_eq!(whole(journal, &Stream::Ledger).await, written[1..]);
    assert_eq!(journal.latest(&Stream::All, 1).await.expect("it can be read"), written[1..]);
    assert_eq!(journal.open_incidents(None, 9).await.expect("it can be read"), [incident(1)]);
    assert_eq!(journal.to_decide(9).await.expect("it can be read"), [], "it is decided");
    assert!(*journal.written().borrow() >= Seq(3), "it is announced when it is told");
    let again = journal.append_ahead(Batch::of(vec![note("x")]).deciding(decided)).await;
    assert!(matches!(again, Err(AppendError::Decided(_))), "{again:?}");
}

pub(super) async fn a_condition_sees_what_was_written_ahead(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    let mut at = Seq::START;
    for round in 0..40 {
        let batch = Batch::of(vec![opened(1, &alarm), pause("p")])
            .expect(Stream::Alarm(alarm.clone()), at)
            .expect(Stream::Incident(incident(1)), at);
        let ahead = round % 3 != 0;
        let written = if ahead {
            journal.append_ahead(batch.clone()).await
        } else {
            journal.append(batch.clone()).await
        };
        let written = written.expect("nobody else writes");
        let grown = written[0].seq;
        for stale in [journal.append(batch.clone()).await, journal.append_ahead(batch).await] {
            assert!(
                matches!(&stale, Err(AppendError::Conflict { at, .. }) if *at == grown),
                "{stale:?}"
            );
        }
        at = grown;
    }
}

pub(super) async fn what_was_waited_for_is_behind_the_head(handles: Handles) {
    let journal = handles.one();
    journal.durable(Seq::START).await.expect("there is nothing to wait for");
    for n in 0..30 {
        let ahead = journal.append_ahead(Batch::of(vec![note("x"), unmatched(n)])).await;
        let last = ahead.expect("it is appended")[1].seq;
        match n % 3 {
            0 => journal.durable(last).await.expect("it comes to the disk"),
            1 => drop(journal.append(Batch::of(vec![note("y")])).await.expect("it is appended")),
            _ => drop(journal.receive(delivery(&format!("m{n}"))).await.expect("it is received")),
        }
        assert!(*journal.head().borrow() >= last, "what came later is on the disk, and it is not");
        journal.durable(last).await.expect("it is on the disk");
    }
}

pub(super) async fn what_is_written_is_announced_in_order_and_never_behind_the_head(
    handles: Handles,
) {
    const TASKS: usize = 6;
    const EACH: usize = 20;
    const LAST: u64 = 3 * (TASKS * EACH) as u64;
    let journal = handles.one().clone();
    let mut tasks = JoinSet::new();
    let (watching, mut announced) = (journal.clone(), journal.written());
    tasks.spawn(async move {
        let mut seen = Seq::START;
        while seen < Seq(LAST) {
            announced.changed().await.expect("the journal is open");
            let now = *announced.borrow_and_update();
            // It may have been seen a moment before it was announced.
            assert!(now >= seen, "what is written went back from {seen} to {now}");
            let at = watching.read(&Stream::All, Seq(now.0 - 1), 1).await.expect("readable");
            assert_eq!(at.len(), 1, "entry {now} was announced before it could be read");
            // In this order: it may grow between the two looks.
            let (head, written) = (*watching.head().borrow(), *watching.written().borrow());
            assert!(head <= written, "{head} is on the disk, and only {written} was written");
            seen = now;
        }
    });
    for task in 0..TASKS {
        let journal = journal.clone();
        tasks.spawn(async move {
            for n in 0..EACH {
                journal.append_ahead(Batch::of(vec![note("a")])).await.expect("it is appended");
                journal.receive(delivery(&format!("{task}/{n}"))).await.expect("it is received");
                journal.append(Batch::of(vec![note("b")])).await.expect("it is appended");
            }
        });
    }
    tasks.join_all().await;
    journal.durable(Seq(LAST)).await.expect("it comes to the disk");
    assert_eq!(*journal.head().borrow(), Seq(LAST));
    let all = whole(&journal, &Stream::All).await;
    assert_eq!(places(&all), (1..=LAST).collect::<Vec<_>>());
}
