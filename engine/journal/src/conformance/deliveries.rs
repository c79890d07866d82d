//! Deliveries: kept once, byte for byte, and pending until they are decided.

use std::collections::BTreeMap;

use tokio::task::JoinSet;
use untoil_model::{Actor, Body, Delivery, Hash, Seq, Stream};

use super::{Handles, delivery, delivery_id, moment, note, pause, whole};
use crate::{AppendError, Batch, Receipt};

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

pub(super) async fn deciding_is_harmless_when_there_is_nothing_to_decide(handles: Handles) {
    let journal = handles.one();
    let sent = delivery("m");
    journal.receive(sent.clone()).await.expect("it is received");
    let unknown = Batch::of(vec![note("a")]).deciding(delivery_id("sns", "unknown"));
    journal.append(unknown).await.expect("it is appended");
    let pending = journal.pending(9).await.expect("it can be read");
    assert_eq!(pending, std::slice::from_ref(&sent.id));
    for _ in 0..2 {
        let only = Batch::default().deciding(sent.id.clone());
        assert_eq!(journal.append(only).await.expect("it is appended"), []);
        assert_eq!(journal.pending(9).await.expect("it can be read"), []);
    }
    assert_eq!(whole(journal, &Stream::All).await.len(), 2);
}
