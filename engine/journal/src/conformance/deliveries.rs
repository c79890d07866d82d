//! Deliveries: kept once, byte for byte, and pending until they are decided.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use untoil_model::{Actor, Body, Delivery, Hash, Seq, Stream};

use super::{Handles, delivery, delivery_id, moment, note, pause, whole};
use crate::{AppendError, Batch, DECIDED_TOGETHER_BYTES, Put, Receipt};

pub(super) async fn a_delivery_is_kept_byte_for_byte(handles: Handles) {
    let journal = handles.one();
    let every_byte: Vec<u8> = (0..=255).collect();
    let bodies = [Vec::new(), every_byte.clone(), every_byte.repeat(4096), "한국어".into()];
    for (n, body) in bodies.into_iter().enumerate() {
        let message = format!("메시지 {n} '\"%_ {}", "x".repeat(150));
        let headers = BTreeMap::from([
            ("x-odd".into(), "é, \"q\"\\".into()),
            ("x-empty".into(), String::new()),
        ]);
        let sent = Delivery { headers, body, received_at: moment(n), ..delivery(&message) };
        let seq = Seq(n as u64 + 1);
        let stored = journal.receive(sent.clone()).await.expect("it is received");
        assert_eq!(stored, Receipt::Stored(seq));
        let kept = journal.delivery(&sent.id).await.expect("it can be read");
        assert!(kept.as_ref() == Some(&sent), "delivery {n} is not what was sent");
        let entries = journal.read(&Stream::All, Seq(seq.0 - 1), 1).await.expect("it can be read");
        let entry = entries.first().expect("a delivery has its entry");
        assert_eq!(entry.at, sent.received_at);
        assert_eq!(entry.actor, Actor::Sender(sent.sender.clone()));
        let bytes = sent.body.len() as u64;
        let body = Body::Received { delivery: sent.id, bytes, sha256: Hash::of(&sent.body) };
        assert_eq!(entry.body, body);
    }
    let unknown = journal.delivery(&delivery_id("sns", "unknown")).await;
    assert_eq!(unknown.expect("it can be read"), None);
}

/// Senders choose ids, and PostgreSQL keeps no text with U+0000: what is refused comes again for ever.
pub(super) async fn every_character_of_a_text_is_kept(handles: Handles) {
    let journal = handles.one();
    let texts =
        ["a\0b", "\0", r"a\0b", "\u{10ffff}", "\u{10ffff}\0\\0", "\u{1}\u{7f}\u{feff}\u{fffe}"];
    for (n, text) in texts.into_iter().enumerate() {
        let headers = BTreeMap::from([("x-odd".into(), text.into())]);
        let sent = Delivery { headers, sender: text.into(), ..delivery(text) };
        let stored = journal.receive(sent.clone()).await.expect("it is received");
        assert!(matches!(stored, Receipt::Stored(_)), "{text:?}: {stored:?}");
        let again = handles.at(1).receive(sent.clone()).await.expect("it is received");
        assert_eq!(again, Receipt::Seen, "{text:?}");
        let kept = journal.delivery(&sent.id).await.expect("it can be read");
        assert!(kept.as_ref() == Some(&sent), "{text:?} came back as {kept:?}");
        let pending = journal.pending(9).await.expect("it can be read");
        assert_eq!(pending, std::slice::from_ref(&sent.id));
        let decided = Batch::of(vec![note(text)]).deciding(sent.id.clone());
        journal.append(decided.clone()).await.expect("it is appended");
        let twice = journal.append(decided).await;
        assert!(matches!(twice, Err(AppendError::Decided(_))), "{twice:?}");
        let memo = Put { key: text.into(), value: Some(text.into()) };
        journal.advance(text, Seq(n as u64), vec![memo]).await.expect("it is kept");
        assert_eq!(journal.cursor(text).await.expect("it can be read"), Seq(n as u64));
        let memo = journal.memo(text, text).await.expect("it can be read");
        assert_eq!(memo.as_deref(), Some(text));
    }
}

pub(super) async fn a_delivery_is_kept_once(handles: Handles) {
    let journal = handles.one();
    let first = delivery("m");
    let stored = journal.receive(first.clone()).await.expect("it is received");
    assert_eq!(stored, Receipt::Stored(Seq(1)));
    let other = Delivery { body: b"another body".to_vec(), ..first.clone() };
    for n in 0..3 {
        let again = handles.at(n).receive(other.clone()).await.expect("it is received");
        assert_eq!(again, Receipt::Seen);
    }
    let decided = Batch::of(vec![note("decided")]).deciding(first.id.clone());
    journal.append(decided).await.expect("it is appended");
    let after = journal.receive(first.clone()).await.expect("it is received");
    assert_eq!(after, Receipt::Seen, "a decided delivery is still known");
    assert_eq!(journal.pending(9).await.expect("it can be read"), []);
    let kept = journal.delivery(&first.id).await.expect("it can be read");
    assert_eq!(kept, Some(first), "the first body stays");
    assert_eq!(whole(journal, &Stream::All).await.len(), 2);
}

pub(super) async fn of_deliveries_that_race_one_is_stored(handles: Handles) {
    const MESSAGES: usize = 20;
    const TIMES: usize = 8;
    let mut tasks = JoinSet::new();
    for n in 0..MESSAGES * TIMES {
        let journal = handles.at(n / MESSAGES).clone();
        let sent = delivery(&format!("m{}", n % MESSAGES));
        tasks.spawn(async move {
            let receipt = journal.receive(sent.clone()).await.expect("it is received");
            // Also the one that was told `Seen` may rely on its being kept.
            let kept = journal.delivery(&sent.id).await.expect("it can be read");
            assert_eq!(kept, Some(sent));
            receipt
        });
    }
    let receipts = tasks.join_all().await;
    let mut stored: Vec<u64> = Vec::new();
    for receipt in receipts {
        match receipt {
            Receipt::Stored(seq) => stored.push(seq.0),
            Receipt::Seen => {}
        }
    }
    stored.sort_unstable();
    assert_eq!(stored, (1..=MESSAGES as u64).collect::<Vec<_>>(), "each is stored exactly once");
    assert_eq!(whole(handles.one(), &Stream::All).await.len(), MESSAGES);
    let pending = handles.one().pending(usize::MAX).await.expect("it can be read");
    assert_eq!(pending.len(), MESSAGES);
}

pub(super) async fn the_same_message_of_two_sources_is_two_deliveries(handles: Handles) {
    let journal = handles.one();
    let sns = delivery("same");
    let generic = Delivery { id: delivery_id("generic", "same"), ..sns.clone() };
    for (sent, seq) in [(&sns, 1), (&generic, 2)] {
        let stored = journal.receive(sent.clone()).await.expect("it is received");
        assert_eq!(stored, Receipt::Stored(Seq(seq)));
    }
    let pending = journal.pending(9).await.expect("it can be read");
    assert_eq!(pending, [sns.id, generic.id]);
}

pub(super) async fn a_delivery_is_pending_until_it_is_decided(handles: Handles) {
    let journal = handles.one();
    // Named against the order of arrival, so that only the latter can sort them.
    let ids: Vec<_> = (0..5).map(|n| delivery_id("sns", &format!("m{}", 9 - n))).collect();
    for id in &ids {
        journal.receive(delivery(&id.message)).await.expect("it is received");
    }
    assert_eq!(journal.pending(9).await.expect("it can be read"), ids);
    assert_eq!(journal.pending(2).await.expect("it can be read"), ids[..2]);
    assert_eq!(journal.pending(0).await.expect("it can be read"), []);

    let decides = Batch::of(vec![note("decided")]).deciding(ids[1].clone());
    journal.append(decides).await.expect("it is appended");
    let left = [ids[0].clone(), ids[2].clone(), ids[3].clone(), ids[4].clone()];
    assert_eq!(journal.pending(9).await.expect("it can be read"), left);

    journal.append(Batch::of(vec![pause("p")])).await.expect("it is appended");
    let conflicting =
        Batch::of(vec![note("late")]).expect(Stream::Ledger, Seq::START).deciding(ids[0].clone());
    let refused = journal.append(conflicting).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    let pending = journal.pending(9).await.expect("it can be read");
    assert_eq!(pending, left, "a batch that is not written decides nothing");
}

pub(super) async fn a_delivery_is_decided_once(handles: Handles) {
    let journal = handles.one();
    let sent = delivery("m");
    journal.receive(sent.clone()).await.expect("it is received");
    let unknown = delivery_id("sns", "unknown");
    let refused = journal.append(Batch::of(vec![note("a")]).deciding(unknown.clone())).await;
    assert!(
        matches!(&refused, Err(AppendError::Decided(id)) if *id == unknown),
        "what was never kept cannot be decided: {refused:?}"
    );
    let pending = journal.pending(9).await.expect("it can be read");
    assert_eq!(pending, std::slice::from_ref(&sent.id));
    let only = Batch::default().deciding(sent.id.clone());
    assert_eq!(journal.append(only.clone()).await.expect("it is appended"), []);
    assert_eq!(journal.pending(9).await.expect("it can be read"), []);
    for n in 0..3 {
        let again = Batch::of(vec![note("again")]).deciding(sent.id.clone());
        let refused = handles.at(n).append(again).await;
        assert!(matches!(refused, Err(AppendError::Decided(_))), "{refused:?}");
    }
    assert_eq!(whole(journal, &Stream::All).await.len(), 1, "what is refused writes nothing");
}

pub(super) async fn of_those_who_decide_at_once_one_does(handles: Handles) {
    const DELIVERIES: usize = 12;
    const TIMES: usize = 6;
    for n in 0..DELIVERIES {
        handles.one().receive(delivery(&format!("m{n}"))).await.expect("it is received");
    }
    let mut tasks = JoinSet::new();
    for n in 0..DELIVERIES * TIMES {
        let journal = handles.at(n / DELIVERIES).clone();
        let decides = delivery_id("sns", &format!("m{}", n % DELIVERIES));
        tasks.spawn(async move {
            match journal.append(Batch::of(vec![note("decided")]).deciding(decides)).await {
                Ok(entries) => entries.len(),
                Err(AppendError::Decided(_)) => 0,
                Err(error) => panic!("{error}"),
            }
        });
    }
    let written: usize = tasks.join_all().await.into_iter().sum();
    assert_eq!(written, DELIVERIES, "each is decided exactly once");
    assert_eq!(whole(handles.one(), &Stream::All).await.len(), DELIVERIES * 2);
}

pub(super) async fn what_is_to_be_decided_comes_whole_and_in_pages(handles: Handles) {
    let journal = handles.one();
    let large = |n: usize| Delivery {
        body: vec![b'x'; DECIDED_TOGETHER_BYTES / 2 - 1],
        ..delivery(&format!("large{n}"))
    };
    let huge = Delivery { body: vec![b'x'; DECIDED_TOGETHER_BYTES + 1], ..delivery("huge") };
    let sent = [large(0), large(1), large(2), huge.clone(), delivery("small")];
    for delivery in &sent {
        journal.receive(delivery.clone()).await.expect("it is received");
    }
    let mut left = &sent[..];
    for size in [2, 1, 1, 1] {
        let page = journal.to_decide(9).await.expect("it can be read");
        assert!(page == left[..size], "{size} were expected, {} came", page.len());
        for delivery in page {
            let decides = Batch::default().deciding(delivery.id);
            journal.append(decides).await.expect("it is appended");
        }
        left = &left[size..];
    }
    assert_eq!(journal.to_decide(9).await.expect("it can be read"), []);
    assert_eq!(journal.to_decide(0).await.expect("it can be read"), []);
}
