//! Deliveries that wait for their decision, as the file's only writer has just kept them.
//!
//! In quiet times it is one or two, and whoever decides need not ask the file for what was in memory a
//! moment ago. What is known here is all of them, or nothing: then the file is asked.

use std::collections::BTreeMap;

use untoil_model::{Delivery, DeliveryId, Seq};

/// How many are kept: as many as are decided together.
const DELIVERIES_MAX: usize = 256;

/// How many bytes of bodies are kept: a burst costs no more memory than this.
const BYTES_MAX: usize = 1024 * 1024;

/// The deliveries that wait, oldest first, if there are few.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    kept: BTreeMap<Seq, Delivery>,
    places: BTreeMap<DeliveryId, Seq>,
    bytes: usize,
    /// Whether these are all that wait.
    is_complete: bool,
}

impl Fresh {
    /// One more waits.
    pub(crate) fn keep(&mut self, seq: Seq, delivery: Delivery) {
        self.bytes += delivery.body.len();
        if !self.is_complete || self.kept.len() >= DELIVERIES_MAX || self.bytes > BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.places.insert(delivery.id.clone(), seq);
        self.kept.insert(seq, delivery);
    }

    /// The place of one that waits, if it is known.
    pub(crate) fn place_of(&self, id: &DeliveryId) -> Option<Seq> {
        self.places.get(id).copied()
    }

    /// One was decided.
    pub(crate) fn decided(&mut self, id: &DeliveryId) {
        if let Some(delivery) = self.places.remove(id).and_then(|seq| self.kept.remove(&seq)) {
            self.bytes -= delivery.body.len();
        }
    }

    /// So many wait in the file: where none do, all are known.
    pub(crate) fn reckon(&mut self, waiting: i64) {
        if waiting == 0 {
            *self = Self { is_complete: true, ..Self::default() };
        }
    }

    /// The oldest; `None` when the file must be asked.
    pub(crate) fn oldest(&self, limit: usize) -> Option<Vec<Delivery>> {
        self.is_complete.then(|| self.kept.values().take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(n: usize, bytes: usize) -> Delivery {
        Delivery {
            id: DeliveryId { source: "sns".parse().unwrap(), message: n.to_string() },
            sender: "topic".into(),
            received_at: jiff::Timestamp::UNIX_EPOCH,
            headers: [].into(),
            body: vec![b'x'; bytes],
        }
    }

    #[test]
    fn it_is_all_that_wait_or_nothing() {
        let mut fresh = Fresh::default();
        assert_eq!(fresh.oldest(9), None, "what waits in the file is not known");
        fresh.reckon(3);
        fresh.keep(Seq(1), delivery(1, 10));
        assert_eq!(fresh.oldest(9), None, "one is known, and more may wait");
        fresh.reckon(0);
        for n in 1..=3 {
            fresh.keep(Seq(n as u64), delivery(n, 10));
        }
        assert_eq!(fresh.oldest(2).unwrap(), [delivery(1, 10), delivery(2, 10)]);
        assert_eq!(fresh.place_of(&delivery(2, 10).id), Some(Seq(2)));
        fresh.decided(&delivery(1, 10).id);
        fresh.decided(&delivery(9, 10).id);
        assert_eq!(fresh.oldest(9).unwrap(), [delivery(2, 10), delivery(3, 10)]);
        assert_eq!(fresh.bytes, 20);
    }

    #[test]
    fn too_many_are_left_to_the_file_until_none_waits() {
        for (many, bytes) in [(DELIVERIES_MAX + 1, 1), (5, BYTES_MAX / 4)] {
            let mut fresh = Fresh::default();
            fresh.reckon(0);
            for n in 0..many {
                assert!(fresh.oldest(1).is_some());
                fresh.keep(Seq(n as u64 + 1), delivery(n, bytes));
            }
            assert_eq!((fresh.oldest(1), fresh.kept.len(), fresh.bytes), (None, 0, 0));
            fresh.decided(&delivery(1, bytes).id);
            fresh.reckon(1);
            assert_eq!(fresh.oldest(1), None);
            fresh.reckon(0);
            assert_eq!(fresh.oldest(1), Some(Vec::new()));
        }
    }
}
