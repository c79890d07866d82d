//! Finds the rules that answer an alarm without looking at the others.

use std::collections::BTreeSet;
#[expect(
    clippy::disallowed_types,
    reason = "looked up by key only, never iterated: its order cannot show"
)]
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

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
    buckets: HashMap<u64, Vec<(u32, u32)>>,
}

impl Index {
    /// Adds the `matcher`th matcher of the `rule`th rule.
    pub(crate) fn add(&mut self, rule: u32, at: u32, matcher: &Matcher) {
        let globs = [&matcher.source, &matcher.namespace, &matcher.metric, &matcher.name];
        let texts = globs.map(|glob| glob.as_ref().and_then(Glob::exact));
        let mask =
            (0..N_FIELDS).fold(0, |mask, bit| mask | (u8::from(texts[bit].is_some()) << bit));
        self.masks.insert(mask);
        self.buckets.entry(hash(mask, texts)).or_default().push((rule, at));
    }

    /// The (rule, matcher) pairs that may match; each pair once.
    pub(crate) fn candidates(&self, alarm: &Alarm) -> impl Iterator<Item = (u32, u32)> {
        let texts = [
            Some(alarm.source.as_str()),
            alarm.namespace.as_deref(),
            alarm.metric.as_deref(),
            Some(alarm.name.as_str()),
        ];
        let buckets =
            self.masks.iter().filter_map(move |mask| self.buckets.get(&hash(*mask, texts)));
        buckets.flatten().copied()
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
