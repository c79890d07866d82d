//! Finds the rules that answer an alarm without looking at the others.

use std::collections::BTreeSet;
#[expect(
    clippy::disallowed_types,
    reason = "looked up by key only, never iterated: its order cannot show"
)]
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash as _, Hasher};

use untoil_model::Alarm;

use crate::glob::Glob;
use crate::manifest::Matcher;

/// The fields that the index knows, in order; a bit each in a mask.
const N_FIELDS: usize = 4;

/// Matchers under the exact texts of their source, namespace, metric and name.
///
/// A matcher stands under the fields for which it names an exact text; which fields those are is
/// its mask. An alarm is looked up once for each mask that occurs, 16 at most, however many rules
/// there are; then the matchers found are checked in full, so that a collision cannot match.
#[derive(Debug, Default)]
pub(crate) struct Index {
    masks: BTreeSet<u8>,
    #[expect(clippy::disallowed_types, reason = "as above")]
    buckets: HashMap<u64, Bucket, BuildHasherDefault<Hashed>>,
    /// A copy of each matcher with its rule, one beside the other: with many rules a match takes as
    /// long as it has places in memory to visit.
    matchers: Vec<(u32, Matcher)>,
}

/// The matchers under one key. Nearly always there is one.
#[derive(Debug)]
struct Bucket {
    first: usize,
    more: Vec<usize>,
}

impl Index {
    /// Adds a matcher of the `rule`th rule.
    pub(crate) fn add(&mut self, rule: u32, matcher: &Matcher) {
        let globs = [&matcher.source, &matcher.namespace, &matcher.metric, &matcher.name];
        let texts = globs.map(|glob| glob.as_ref().and_then(Glob::exact));
        let mask =
            (0..N_FIELDS).fold(0, |mask, bit| mask | (u8::from(texts[bit].is_some()) << bit));
        self.masks.insert(mask);
        let at = self.matchers.len();
        self.matchers.push((rule, matcher.clone()));
        self.buckets
            .entry(hash(mask, texts))
            .and_modify(|bucket| bucket.more.push(at))
            .or_insert(Bucket { first: at, more: Vec::new() });
    }

    /// The matchers that may match, each once and with its rule.
    pub(crate) fn candidates(&self, alarm: &Alarm) -> impl Iterator<Item = (u32, &Matcher)> {
        let texts = [
            Some(alarm.source.as_str()),
            alarm.namespace.as_deref(),
            alarm.metric.as_deref(),
            Some(alarm.name.as_str()),
        ];
        let buckets =
            self.masks.iter().filter_map(move |mask| self.buckets.get(&hash(*mask, texts)));
        let found =
            buckets.flat_map(|Bucket { first, more }| std::iter::once(first).chain(more).copied());
        found.filter_map(|at| self.matchers.get(at)).map(|(rule, matcher)| (*rule, matcher))
    }
}

/// The hasher of keys that are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The key of these texts under this mask. The hasher's keys are fixed: it repeats.
fn hash(mask: u8, texts: [Option<&str>; N_FIELDS]) -> u64 {
    let mut hasher = DefaultHasher::new();
    mask.hash(&mut hasher);
    for (bit, text) in texts.iter().enumerate() {
        if mask & (1 << bit) != 0 {
            text.hash(&mut hasher);
        }
    }
    hasher.finish()
}
