//! Batches: whole, in order, and only under their conditions.

use tokio::task::JoinSet;
use untoil_model::{Seq, Stream};

use super::{
    Handles, closed, delivery, end, incident, key, note, opened, pause, places, unmatched, whole,
};
use crate::{AppendError, Batch};

pub(super) async fn entries_come_back_as_they_were_written(handles: Handles) {
    let journal = handles.one();
    let alarm = key("cloudwatch:arn:aws:cloudwatch:ap-northeast-2:1:alarm:디스크 꽉 참");
    let drafts = vec![opened(1, &alarm), pause("배포 중"), note("\u{0}\t é 😀"), closed(1)];
    let written = journal.append(Batch::of(drafts.clone())).await.expect("it is appended");
    assert_eq!(written.len(), drafts.len());
    for (entry, draft) in written.iter().zip(drafts) {
        assert_eq!(
            (&entry.at, &entry.actor, &entry.incident, &entry.alarm, &entry.body),
            (&draft.at, &draft.actor, &draft.incident, &draft.alarm, &draft.body),
        );
    }
    assert_eq!(whole(journal, &Stream::All).await, written);
    let mut newest_first = journal.latest(&Stream::All, 9).await.expect("it can be read");
    newest_first.reverse();
    assert_eq!(newest_first, written);
}

pub(super) async fn a_batch_is_written_in_order_and_whole(handles: Handles) {
    const BATCH: usize = 7;
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let journal = handles.at(n).clone();
        tasks.spawn(async move {
            let drafts = (0..BATCH).map(|part| note(&format!("{n}/{part}"))).collect();
            journal.append(Batch::of(drafts)).await.expect("it is appended")
        });
    }
    for written in tasks.join_all().await {
        assert_eq!(written.len(), BATCH);
        let first = written[0].seq.0;
        let together: Vec<u64> = (first..first + BATCH as u64).collect();
        assert_eq!(places(&written), together, "nothing may come between");
    }
}

pub(super) async fn a_batch_of_nothing_writes_nothing(handles: Handles) {
    let journal = handles.one();
    assert_eq!(journal.append(Batch::default()).await.expect("it is appended"), []);
    assert_eq!(end(journal, &Stream::All).await, Seq::START);
    journal.append(Batch::of(vec![pause("a")])).await.expect("it is appended");
    let stale = journal.append(Batch::default().expect(Stream::Ledger, Seq::START)).await;
    assert!(matches!(stale, Err(AppendError::Conflict { at: Seq(1), .. })), "{stale:?}");
}

pub(super) async fn the_largest_batch_fits_and_a_larger_one_is_refused(handles: Handles) {
    let journal = handles.one();
    let drafts = |n: usize| -> Vec<_> { (0..n).map(|n| note(&format!("n{n}"))).collect() };
    let refused = journal.append(Batch::of(drafts(Batch::DRAFTS_MAX + 1))).await;
    assert!(matches!(refused, Err(AppendError::Journal(_))), "a batch has a bound");
    assert_eq!(end(journal, &Stream::All).await, Seq::START);
    let batch = Batch::of(drafts(Batch::DRAFTS_MAX));
    let written = journal.append(batch).await.expect("it is appended");
    assert_eq!(places(&written), (1..=Batch::DRAFTS_MAX as u64).collect::<Vec<_>>());
    assert!(whole(journal, &Stream::All).await == written, "it comes back whole");
}

pub(super) async fn a_conflict_writes_nothing(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    journal.append(Batch::of(vec![opened(1, &alarm), pause("a")])).await.expect("it is appended");
    let cases = [
        (Stream::Ledger, Seq::START, Seq(2)),
        (Stream::Ledger, Seq(1), Seq(2)),
        (Stream::Ledger, Seq(3), Seq(2)),
        (Stream::Incident(incident(1)), Seq::START, Seq(1)),
        (Stream::Incident(incident(1)), Seq(2), Seq(1)),
        (Stream::Alarm(alarm), Seq::START, Seq(1)),
        (Stream::Alarm(key("generic:b")), Seq(1), Seq::START),
        (Stream::Incident(incident(2)), Seq(2), Seq::START),
    ];
    for (expected, wrong, right) in cases {
        let batch = Batch::of(vec![note("x"), opened(2, &key("generic:c"))])
            .expect(expected.clone(), wrong);
        match journal.append(batch).await {
            Err(AppendError::Conflict { stream, at }) => {
                assert_eq!((stream, at), (expected, right));
            }
            other => panic!("{expected:?} at {wrong} must be a conflict: {other:?}"),
        }
        assert_eq!(end(journal, &Stream::All).await, Seq(2), "nothing is written");
    }
    let open = journal.open_incidents(None, 9).await.expect("it can be read");
    assert_eq!(open, [incident(1)], "a batch that is not written opens nothing");
}

pub(super) async fn every_condition_counts(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    journal.append(Batch::of(vec![opened(1, &alarm), pause("a")])).await.expect("it is appended");
    let conditions = [
        (Stream::Incident(incident(1)), Seq(1)),
        (Stream::Alarm(alarm), Seq(1)),
        (Stream::Ledger, Seq(2)),
    ];
    for broken in 0..conditions.len() {
        let mut batch = Batch::of(vec![note("x")]);
        for (n, (stream, at)) in conditions.iter().enumerate() {
            batch = batch.expect(stream.clone(), if n == broken { Seq(7) } else { *at });
        }
        match journal.append(batch).await {
            Err(AppendError::Conflict { stream, at }) => {
                assert_eq!((stream, at), conditions[broken].clone());
            }
            other => panic!("condition {broken} does not count: {other:?}"),
        }
    }
    let mut batch = Batch::of(vec![note("x")]);
    for (stream, at) in conditions {
        batch = batch.expect(stream, at);
    }
    let written = journal.append(batch).await.expect("all conditions hold");
    assert_eq!(places(&written), [3]);
}

pub(super) async fn a_condition_sees_its_own_stream_only(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    journal.append(Batch::of(vec![opened(1, &alarm), pause("a")])).await.expect("it is appended");
    journal.receive(delivery("m")).await.expect("it is received");
    let others = vec![opened(2, &key("generic:A")), unmatched(2), note("x")];
    journal.append(Batch::of(others)).await.expect("it is appended");
    let batch = Batch::of(vec![unmatched(1)])
        .expect(Stream::Incident(incident(1)), Seq(1))
        .expect(Stream::Alarm(alarm), Seq(1))
        .expect(Stream::Ledger, Seq(2));
    let written = journal.append(batch).await.expect("its streams have not grown");
    assert_eq!(places(&written), [7]);
}

pub(super) async fn of_conditional_writers_that_race_one_wins(handles: Handles) {
    const TASKS: usize = 12;
    let alarm = key("generic:raced");
    for round in 0..12 {
        let stream = match round % 3 {
            0 => Stream::Ledger,
            1 => Stream::Incident(incident(1)),
            _ => Stream::Alarm(alarm.clone()),
        };
        let at = end(handles.one(), &stream).await;
        let mut tasks = JoinSet::new();
        for n in 0..TASKS {
            let (journal, alarm) = (handles.at(n).clone(), alarm.clone());
            let batch = Batch::of(vec![pause("p"), opened(1, &alarm)]).expect(stream.clone(), at);
            tasks.spawn(async move { journal.append(batch).await });
        }
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for outcome in tasks.join_all().await {
            match outcome {
                Ok(written) => won.push(places(&written)),
                Err(AppendError::Conflict { at, .. }) => lost.push(at.0),
                Err(error @ (AppendError::Decided(_) | AppendError::Journal(_))) => {
                    panic!("the store failed: {error}")
                }
            }
        }
        assert_eq!(won.len(), 1, "round {round} of {stream:?}: exactly one may win");
        let now = end(handles.one(), &stream).await.0;
        assert_eq!(lost, vec![now; TASKS - 1], "the losers are told where it ends now");
        assert!(won[0].contains(&now));
    }
}

pub(super) async fn conflicts_do_not_disturb_their_neighbours(handles: Handles) {
    const WRITERS: usize = 60;
    handles.one().append(Batch::of(vec![pause("p")])).await.expect("it is appended");
    let mut tasks = JoinSet::new();
    for n in 0..WRITERS {
        let journal = handles.at(n).clone();
        tasks.spawn(async move {
            let stale = Batch::of(vec![note("stale"), note("stale")]);
            let stale = journal.append(stale.expect(Stream::Ledger, Seq::START));
            let sound = Batch::of(vec![unmatched(n)]);
            let sound = journal.append(sound.expect(Stream::Incident(incident(n)), Seq::START));
            let received = journal.receive(delivery(&format!("m{n}")));
            let (stale, sound, received) = tokio::join!(stale, sound, received);
            assert!(matches!(stale, Err(AppendError::Conflict { at: Seq(1), .. })), "{stale:?}");
            assert_eq!(sound.expect("its condition holds").len(), 1);
            received.expect("it is received");
        });
    }
    tasks.join_all().await;
    let entries = whole(handles.one(), &Stream::All).await;
    assert_eq!(places(&entries), (1..=1 + 2 * WRITERS as u64).collect::<Vec<_>>());
}

pub(super) async fn cancelled_writers_leave_whole_batches(handles: Handles) {
    const BATCH: usize = 5;
    let mut tasks = JoinSet::new();
    for n in 0..60 {
        let journal = handles.at(n).clone();
        tasks.spawn(async move {
            let drafts = (0..BATCH).map(|_| unmatched(n)).collect();
            journal.append(Batch::of(drafts)).await
        });
        if n % 3 == 0 {
            tokio::task::yield_now().await;
            tasks.abort_all();
        }
    }
    while tasks.join_next().await.is_some() {}
    // Whatever was queued is written before this one answers, on the same handle.
    for journal in &handles.0 {
        journal.append(Batch::of(vec![note("after")])).await.expect("it is appended");
    }
    for n in 0..60 {
        let kept = whole(handles.one(), &Stream::Incident(incident(n))).await.len();
        assert!(kept == 0 || kept == BATCH, "{kept} of {BATCH} entries of a batch were written");
    }
}
