//! Runs in the order of their times, so that a window is counted without looking at what is in it.

use std::collections::VecDeque;

use jiff::Timestamp;
use untoil_model::RunId;

/// When, and which run.
pub(crate) type Moment = (Timestamp, RunId);

/// Moments, ascending. Nearly all come in at the end and leave at the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moments(VecDeque<Moment>);

impl Moments {
    /// Adds one; one that is there already is not added again.
    pub(crate) fn insert(&mut self, moment: Moment) {
        if let Err(place) = self.0.binary_search(&moment) {
            self.0.insert(place, moment);
        }
    }

    /// Removes one.
    pub(crate) fn remove(&mut self, moment: &Moment) {
        if let Ok(place) = self.0.binary_search(moment) {
            self.0.remove(place);
        }
    }

    /// How many are later than `after`.
    pub(crate) fn count(&self, after: Timestamp) -> usize {
        self.0.len() - self.first_later(after)
    }

    /// Those later than `after`, oldest first.
    pub(crate) fn later(&self, after: Timestamp) -> impl Iterator<Item = &Moment> {
        self.0.range(self.first_later(after)..)
    }

    /// All, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Moment> {
        self.0.iter()
    }

    /// The oldest.
    pub(crate) fn first(&self) -> Option<&Moment> {
        self.0.front()
    }

    /// The newest.
    pub(crate) fn last(&self) -> Option<&Moment> {
        self.0.back()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn first_later(&self, after: Timestamp) -> usize {
        self.0.partition_point(|(at, _)| *at <= after)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn moment(secs: i64) -> Moment {
        let run = format!("01KE5QM0X08E4ZE0ZHZ8G2M2RD-{}", secs % 3 + 1);
        (Timestamp::from_second(secs).unwrap(), run.parse().unwrap())
    }

    proptest! {
        #[test]
        fn they_are_a_sorted_set_whose_windows_are_counted(
            steps in prop::collection::vec((any::<bool>(), 0_i64..20), 0..60),
            after in -1_i64..21,
        ) {
            let (mut moments, mut set) = (Moments::default(), BTreeSet::new());
            for (adds, secs) in steps {
                if adds {
                    moments.insert(moment(secs));
                    set.insert(moment(secs));
                } else {
                    moments.remove(&moment(secs));
                    set.remove(&moment(secs));
                }
            }
            let after = Timestamp::from_second(after).unwrap();
            let later: Vec<_> = set.iter().filter(|(at, _)| *at > after).collect();
            prop_assert!(moments.iter().eq(set.iter()));
            prop_assert_eq!(moments.count(after), later.len());
            prop_assert!(moments.later(after).eq(later));
            prop_assert_eq!(moments.first(), set.first());
            prop_assert_eq!(moments.last(), set.last());
            prop_assert_eq!(moments.is_empty(), set.is_empty());
        }
    }
}
