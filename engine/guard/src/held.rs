//! Which runs hold what, found by what is wanted: a judgement looks at what gets in its way, not at
//! every run that goes on.

use std::collections::{BTreeMap, BTreeSet};

use untoil_model::{RunId, Seq, Target};

use crate::targets::Place;

/// Runs by what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    targets: BTreeMap<Target, BTreeSet<RunId>>,
    /// Those that hold an ECS cluster, by its name.
    clusters: BTreeMap<String, BTreeSet<RunId>>,
    /// Those that hold a service of an ECS cluster, by the cluster's name.
    services_of: BTreeMap<String, BTreeSet<RunId>>,
}

impl Held {
    /// A run holds a target from now on.
    pub(crate) fn hold(&mut self, run: &RunId, target: &Target) {
        self.targets.entry(target.clone()).or_default().insert(run.clone());
        match Place::of(target) {
            Place::Cluster(name) => {
                self.clusters.entry(name.to_owned()).or_default().insert(run.clone());
            }
            Place::ServiceOf(name) => {
                self.services_of.entry(name.to_owned()).or_default().insert(run.clone());
            }
            Place::Alone => {}
        }
    }

    /// A run lets go of all its targets. They are given together: two may lie in one cluster.
    pub(crate) fn release<'a>(&mut self, run: &RunId, targets: impl Iterator<Item = &'a Target>) {
        for target in targets {
            drop_from(&mut self.targets, target, run);
            match Place::of(target) {
                Place::Cluster(name) => drop_from(&mut self.clusters, name, run),
                Place::ServiceOf(name) => drop_from(&mut self.services_of, name, run),
                Place::Alone => {}
            }
        }
    }

    /// The first run but `run` that holds something which gets in the way of one of these.
    pub(crate) fn first_but(&self, run: &RunId, wanted: &[&Target]) -> Option<&RunId> {
        let near = wanted.iter().flat_map(|want| {
            let by_name = match Place::of(want) {
                Place::Cluster(name) => self.services_of.get(name),
                Place::ServiceOf(name) => self.clusters.get(name),
                Place::Alone => None,
            };
            self.targets.get(*want).into_iter().chain(by_name)
        });
        near.filter_map(|runs| runs.iter().find(|other| *other != run)).min()
    }
}

/// When what runs had held was last given free, as far as runs are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    targets: BTreeMap<Target, Seq>,
    /// Clusters themselves, by name.
    clusters: BTreeMap<String, Seq>,
    /// Services, by the name of their cluster.
    services_of: BTreeMap<String, Seq>,
}

impl Freed {
    /// A run that held these ended with the entry at `seq`.
    pub(crate) fn note<'a>(&mut self, targets: impl Iterator<Item = &'a Target>, seq: Seq) {
        for target in targets {
            self.targets.insert(target.clone(), seq);
            match Place::of(target) {
                Place::Cluster(name) => drop(self.clusters.insert(name.to_owned(), seq)),
                Place::ServiceOf(name) => drop(self.services_of.insert(name.to_owned(), seq)),
                Place::Alone => {}
            }
        }
    }

    /// The run that ended with the entry at `seq`, and had held these, is remembered no more.
    pub(crate) fn forget<'a>(&mut self, targets: impl Iterator<Item = &'a Target>, seq: Seq) {
        for target in targets {
            forget_at(&mut self.targets, target, seq);
            match Place::of(target) {
                Place::Cluster(name) => forget_at(&mut self.clusters, name, seq),
                Place::ServiceOf(name) => forget_at(&mut self.services_of, name, seq),
                Place::Alone => {}
            }
        }
    }

    /// The place at which something that gets in the way of one of these was last given free.
    pub(crate) fn last(&self, wanted: &[&Target]) -> Option<Seq> {
        let near = wanted.iter().flat_map(|want| {
            let by_name = match Place::of(want) {
                Place::Cluster(name) => self.services_of.get(name),
                Place::ServiceOf(name) => self.clusters.get(name),
                Place::Alone => None,
            };
            self.targets.get(*want).into_iter().chain(by_name)
        });
        near.copied().max()
    }
}

/// Takes a place away, unless a later one has come after it.
fn forget_at<K, Q>(index: &mut BTreeMap<K, Seq>, key: &Q, seq: Seq)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if index.get(key) == Some(&seq) {
        index.remove(key);
    }
}

fn drop_from<K, Q>(index: &mut BTreeMap<K, BTreeSet<RunId>>, key: &Q, run: &RunId)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if let Some(runs) = index.get_mut(key) {
        runs.remove(run);
        if runs.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::targets::overlap;

    /// Few names, so that they meet.
    fn target() -> impl Strategy<Value = Target> {
        let texts = prop::sample::select(vec![
            "ec2/i-0a1b2c3d",
            "ec2/i-0a1b2c3e",
            "asg/one",
            "ecs/one/mail",
            "ecs/one/sync",
            "ecs/two/mail",
            "ecs-cluster/one",
            "ecs-cluster/two",
            "ecs-cluster/two/odd",
        ]);
        texts.prop_map(|text| text.parse().unwrap())
    }

    fn run(n: usize) -> RunId {
        format!("01KE5QM0X08E4ZE0ZHZ8G2M2RD-{n}").parse().unwrap()
    }

    proptest! {
        #[test]
        fn what_was_freed_last_is_what_looking_at_every_end_answers(
            ends in prop::collection::vec(prop::collection::vec(target(), 1..4), 0..8),
            forgotten in prop::collection::vec(any::<bool>(), 8),
            wanted in prop::collection::vec(target(), 1..4),
        ) {
            let place = |n: usize| Seq(u64::try_from(n).unwrap() + 1);
            let mut freed = Freed::default();
            for (n, targets) in ends.iter().enumerate() {
                freed.note(targets.iter(), place(n));
            }
            for (n, targets) in ends.iter().enumerate().filter(|(n, _)| forgotten[*n]) {
                freed.forget(targets.iter(), place(n));
            }
            let gets_in_the_way =
                |held: &Target| wanted.iter().any(|want| overlap(held, want));
            let last = ends.iter().rposition(|held| held.iter().any(gets_in_the_way));
            let wanted: Vec<&Target> = wanted.iter().collect();
            let said = freed.last(&wanted);
            // Of one that is forgotten nothing is said; an older one may be said in its place.
            match last {
                Some(n) if !forgotten[n] => prop_assert_eq!(said, Some(place(n))),
                Some(n) => prop_assert!(said.is_none_or(|said| said < place(n))),
                None => prop_assert_eq!(said, None),
            }
            if forgotten[..ends.len()].iter().all(|forgotten| *forgotten) {
                prop_assert_eq!(freed, Freed::default(), "nothing is left behind");
            }
        }

        #[test]
        fn the_index_answers_what_looking_at_every_run_answers(
            holds in prop::collection::vec(prop::collection::vec(target(), 1..4), 0..8),
            over in prop::collection::vec(any::<bool>(), 8),
            wanted in prop::collection::vec(target(), 1..4),
            itself in 0_usize..8,
        ) {
            let mut index = Held::default();
            let mut live = BTreeMap::new();
            for (n, targets) in holds.iter().enumerate() {
                for target in targets {
                    index.hold(&run(n), target);
                }
                live.insert(run(n), targets);
            }
            for (n, targets) in holds.iter().enumerate().filter(|(n, _)| over[*n]) {
                index.release(&run(n), targets.iter());
                live.remove(&run(n));
            }
            let gets_in_the_way =
                |held: &Target| wanted.iter().any(|want| overlap(held, want));
            let mut scan = live.iter().filter(|(run, held)| {
                **run != self::run(itself) && held.iter().any(gets_in_the_way)
            });
            let wanted: Vec<&Target> = wanted.iter().collect();
            prop_assert_eq!(
                index.first_but(&self::run(itself), &wanted),
                scan.next().map(|(run, _)| run)
            );
            if live.is_empty() {
                prop_assert_eq!(index, Held::default(), "nothing is left behind");
            }
        }
    }
}
