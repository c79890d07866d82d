//! Finds the rules that answer an alarm without looking at the others.

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
/// Behind the last matcher of a key.
const NONE: u32 = u32::MAX;

/// Matchers under the exact texts of their source, namespace, metric and name.
///
/// A matcher stands under the fields for which it names an exact text; which fields those are is
/// its mask. An alarm is looked up once for each mask that occurs, 16 at most, however many rules
/// there are; then the matchers found are checked in full, so that a collision cannot match.
///
/// With many rules a match takes as long as it has places in memory to visit, so each matcher is kept
/// as what is left to look at: its exact texts as one, and the other patterns.
#[derive(Debug, Default)]
pub(crate) struct Index {
    masks: Vec<u8>,
    /// The first matcher of each key.
    #[expect(clippy::disallowed_types, reason = "as above")]
    keys: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    entries: Vec<Entry>,
}

/// How particular a matcher is: by exact texts, then by patterns.
pub(crate) type Rank = (usize, usize);

/// A matcher of a rule.
#[derive(Debug)]
struct Entry {
    rule: u32,
    /// The next one under the same key.
    next: u32,
    /// The exact texts of the fields in its mask, one behind the other.
    texts: Box<str>,
    /// Where each of them ends; a pattern has at most 255 bytes.
    ends: [u16; N_FIELDS],
    mask: u8,
    rank: (u8, u8),
    rest: Box<[Check]>,
}

/// A pattern that the index does not know.
#[derive(Debug)]
struct Check {
    of: Of,
    glob: Glob,
}

/// What a pattern is about.
#[derive(Debug)]
enum Of {
    /// One of the index's fields.
    Field(usize),
    Severity,
    Dimension(Box<str>),
    Label(Box<str>),
}

impl Index {
    /// Adds a matcher of the `rule`th rule.
    pub(crate) fn add(&mut self, rule: u32, matcher: &Matcher) {
        let globs = [&matcher.source, &matcher.namespace, &matcher.metric, &matcher.name];
        let exact = globs.map(|glob| glob.as_ref().and_then(Glob::exact));
        let (mut mask, mut texts, mut ends) = (0, String::new(), [0; N_FIELDS]);
        for (field, text) in exact.into_iter().enumerate() {
            mask |= u8::from(text.is_some()) << field;
            texts.push_str(text.unwrap_or_default());
            ends[field] = u16::try_from(texts.len()).expect("four patterns have 1020 bytes");
        }
        if let Err(at) = self.masks.binary_search(&mask) {
            self.masks.insert(at, mask);
        }
        let at = u32::try_from(self.entries.len()).expect("there are at most 20,000 rules");
        let next = self.keys.insert(hash(mask, exact), at).unwrap_or(NONE);
        let (exact, open) = matcher.specificity();
        let few = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        self.entries.push(Entry {
            rule,
            next,
            texts: texts.into(),
            ends,
            mask,
            rank: (few(exact), few(open)),
            rest: rest(matcher, mask),
        });
    }

    /// The rules that answer an alarm, once for each of their matchers, and how particular it is.
    pub(crate) fn matching(&self, alarm: &Alarm) -> impl Iterator<Item = (Rank, u32)> {
        let texts = texts_of(alarm);
        let firsts = self.masks.iter().filter_map(move |mask| self.keys.get(&hash(*mask, texts)));
        let entries = firsts.flat_map(|first| {
            let entry = |at: u32| self.entries.get(at as usize);
            std::iter::successors(entry(*first), move |found| entry(found.next))
        });
        entries.filter(move |entry| entry.matches(alarm, texts)).map(|entry| {
            let (exact, open) = entry.rank;
            ((exact.into(), open.into()), entry.rule)
        })
    }
}

impl Entry {
    fn matches(&self, alarm: &Alarm, texts: [Option<&str>; N_FIELDS]) -> bool {
        let mut start = 0;
        let are_exact = texts.into_iter().zip(self.ends).enumerate().all(|(field, (text, end))| {
            let own = &self.texts[start..usize::from(end)];
            start = usize::from(end);
            self.mask & (1 << field) == 0 || text == Some(own)
        });
        are_exact
            && self.rest.iter().all(|Check { of, glob }| {
                let value = match of {
                    Of::Field(field) => texts[*field],
                    Of::Severity => alarm.severity.as_deref(),
                    Of::Dimension(name) => alarm.dimensions.get(&**name).map(String::as_str),
                    Of::Label(name) => alarm.labels.get(&**name).map(String::as_str),
                };
                value.is_some_and(|value| glob.matches(value))
            })
    }
}

fn texts_of(alarm: &Alarm) -> [Option<&str>; N_FIELDS] {
    [
        Some(alarm.source.as_str()),
        alarm.namespace.as_deref(),
        alarm.metric.as_deref(),
        Some(alarm.name.as_str()),
    ]
}

/// The patterns of a matcher that its key does not hold.
fn rest(matcher: &Matcher, mask: u8) -> Box<[Check]> {
    let globs = [&matcher.source, &matcher.namespace, &matcher.metric, &matcher.name];
    let fields = globs.into_iter().enumerate().filter(|(field, _)| mask & (1 << field) == 0);
    let fields = fields.filter_map(|(field, glob)| Some((Of::Field(field), glob.as_ref()?)));
    let severity = matcher.severity.iter().map(|glob| (Of::Severity, glob));
    let dimensions =
        matcher.dimensions.iter().map(|(name, glob)| (Of::Dimension(name.as_str().into()), glob));
    let labels = matcher.labels.iter().map(|(name, glob)| (Of::Label(name.as_str().into()), glob));
    let all = fields.chain(severity).chain(dimensions).chain(labels);
    all.map(|(of, glob)| Check { of, glob: glob.clone() }).collect()
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
