//! Streams, pages and limits.

use untoil_model::{AlarmKey, Seq, Stream};

use super::{
    Handles, closed, delivery, incident, key, note, opened, pause, places, unmatched, whole,
};
use crate::Batch;

pub(super) async fn streams_hold_what_belongs_to_them(handles: Handles) {
    let journal = handles.one();
    let (a, b) = (key("generic:a"), key("generic:b"));
    let drafts = vec![
        opened(1, &a),          // 1
        opened(2, &b),          // 2
        pause("x"),             // 3
        unmatched(1).about(&b), // 4: of one's incident, a word about the other's alarm
        note("x"),              // 5
        closed(2),              // 6
        pause("y"),             // 7
    ];
    journal.append(Batch::of(drafts)).await.expect("it is appended");
    journal.receive(delivery("m")).await.expect("it is received");
    let cases: [(Stream, &[u64]); 8] = [
        (Stream::All, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (Stream::Incident(incident(1)), &[1, 4]),
        (Stream::Incident(incident(2)), &[2, 6]),
        (Stream::Incident(incident(3)), &[]),
        (Stream::Alarm(a), &[1]),
        (Stream::Alarm(b), &[2, 4]),
        (Stream::Alarm(key("generic:c")), &[]),
        (Stream::Ledger, &[3, 7]),
    ];
    for (stream, expected) in cases {
        let entries = whole(journal, &stream).await;
        assert_eq!(places(&entries), expected, "{stream:?}");
        assert!(entries.iter().all(|entry| entry.is_in(&stream)), "{stream:?}");
        let newest = journal.latest(&stream, usize::MAX).await.expect("it can be read");
        let turned: Vec<u64> = expected.iter().rev().copied().collect();
        assert_eq!(places(&newest), turned, "{stream:?}, newest first");
        for after in 0..9 {
            let rest = journal.read(&stream, Seq(after), 9).await.expect("it can be read");
            let expected: Vec<u64> = expected.iter().copied().filter(|seq| *seq > after).collect();
            assert_eq!(places(&rest), expected, "{stream:?} after {after}");
        }
    }
}

pub(super) async fn odd_alarm_keys_are_streams_of_their_own(handles: Handles) {
    let journal = handles.one();
    let long = "k".repeat(2048);
    let almost = format!("{}j", "k".repeat(2047));
    let keys: Vec<AlarmKey> = [
        "cloudwatch:arn:aws:cloudwatch:ap-northeast-2:1:alarm:디스크 꽉 참",
        "cloudwatch:arn:aws:cloudwatch:ap-northeast-2:1:alarm:디스크 꽉 참 ",
        "\u{d55c}",                 // composed
        "\u{1112}\u{1161}\u{11ab}", // decomposed
        "\u{e9}",
        "e\u{301}",
        "A",
        "a",
        "a%",
        "a_",
        "a'b",
        "a\"b",
        "a\\b",
        "a\u{2028}b",
        " ",
        "😀",
        "0",
        "00",
        "0.0",
        "NULL",
        &long,
        &almost,
    ]
    .map(key)
    .into();
    let drafts = keys.iter().enumerate().map(|(n, key)| opened(n, key)).collect();
    journal.append(Batch::of(drafts)).await.expect("it is appended");
    for (n, key) in keys.iter().enumerate() {
        let stream = Stream::Alarm(key.clone());
        let seq = n as u64 + 1;
        assert_eq!(places(&whole(journal, &stream).await), [seq], "{key}");
        let again = Batch::of(vec![unmatched(n).about(key)]).expect(stream.clone(), Seq(seq));
        let again = journal.append(again).await.expect("no other key's entry is in its stream");
        let entries = whole(journal, &stream).await;
        assert_eq!(places(&entries), [seq, again[0].seq.0], "{key}");
        assert!(entries.iter().all(|entry| entry.alarm.as_ref() == Some(key)), "{key}");
    }
}

pub(super) async fn pages_join_without_gap_or_repeat(handles: Handles) {
    let journal = handles.one();
    let alarm = key("generic:a");
    let draft = |n: usize| match n % 4 {
        0 => note("x"),
        1 => unmatched(1),
        2 => note("y").about(&alarm),
        _ => pause("z"),
    };
    journal.append(Batch::of((0..101).map(draft).collect())).await.expect("it is appended");
    let streams =
        [Stream::All, Stream::Incident(incident(1)), Stream::Alarm(alarm.clone()), Stream::Ledger];
    for stream in streams {
        let expected = whole(journal, &stream).await;
        assert!(expected.len() >= 25);
        for limit in [1, 3, 25, 200] {
            let (mut joined, mut after) = (Vec::new(), Seq::START);
            loop {
                let page = journal.read(&stream, after, limit).await.expect("it can be read");
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = last.seq;
                joined.extend(page);
            }
            assert!(joined == expected, "{stream:?} in pages of {limit}");
        }
    }
}

pub(super) async fn limits_are_kept(handles: Handles) {
    let journal = handles.one();
    journal.append(Batch::of(vec![pause("a"), pause("b"), pause("c")])).await.expect("appended");
    for stream in [Stream::All, Stream::Ledger] {
        for (limit, first, newest) in
            [(0, vec![], vec![]), (2, vec![1, 2], vec![3, 2]), (9, vec![1, 2, 3], vec![3, 2, 1])]
        {
            let read = journal.read(&stream, Seq::START, limit).await.expect("it can be read");
            assert_eq!(places(&read), first);
            let latest = journal.latest(&stream, limit).await.expect("it can be read");
            assert_eq!(places(&latest), newest);
        }
        for after in [3, 4, i64::MAX as u64, u64::MAX] {
            let behind = journal.read(&stream, Seq(after), 9).await.expect("it can be read");
            assert_eq!(behind, [], "nothing stands after {after}");
        }
    }
    assert_eq!(journal.raw(Seq::START, 0).await.expect("it can be read"), []);
    assert_eq!(journal.raw(Seq(u64::MAX), 9).await.expect("it can be read"), []);
    assert_eq!(journal.raw(Seq::START, usize::MAX).await.expect("it can be read").len(), 3);
}

pub(super) async fn the_ends_of_several_streams_come_in_their_order(handles: Handles) {
    let journal = handles.one();
    let (a, b) = (key("generic:a"), key("generic:b"));
    let drafts = vec![opened(1, &a), opened(2, &b), unmatched(1).about(&b), closed(2).about(&b)];
    journal.append(Batch::of(drafts)).await.expect("it is appended");
    let streams = [
        Stream::Alarm(b.clone()),
        Stream::Alarm(key("generic:unknown")),
        Stream::Alarm(a),
        Stream::Alarm(b),
        Stream::Incident(incident(1)),
        Stream::Ledger,
        Stream::All,
    ];
    let each = journal.latest_each(&streams, 2).await.expect("it can be read");
    let found: Vec<_> = each.iter().map(|entries| places(entries)).collect();
    let expected: [&[u64]; 7] = [&[4, 3], &[], &[1], &[4, 3], &[3, 1], &[], &[4, 3]];
    assert_eq!(found, expected);
    assert_eq!(journal.latest_each(&[], 2).await.expect("it can be read"), Vec::<Vec<_>>::new());
}
