//! Finds the rules that answer an alarm without looking at the others.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use untoil_model::Alarm;

use crate::glob::Glob;
use crate::manifest::Matcher;

/// The fields that the index knows, in order; a bit each in a mask.
const N_FIELDS: usize = 4;
/// How many masks there are.
const N_MASKS: usize = 1 << N_FIELDS;
/// Behind the last matcher of a key.
const NONE: u32 = u32::MAX;

/// Matchers under the exact texts of their source, namespace, metric and name.
///
/// A matcher stands under the fields for which it names an exact text; which fields those are is
/// its mask. An alarm is looked up once for each mask that occurs, 16 at most, however many rules
/// there are; then the matchers found are checked in full, so that a collision cannot match.
///
/// With many rules a match takes as long as it has places in memory to visit that no cache holds. So
/// there are two for each: a slot of four bytes, and a matcher in a cache line with its texts, unless they
/// are long. What matchers ask for beyond that is often the same, and then is kept once.
#[derive(Debug, Default)]
pub(crate) struct Index {
    masks: Vec<u8>,
    /// The first matcher of each key, at the key's hash or in the next free slot. A power of two of
    /// them, half of which at least is free: a search nearly always ends where it begins.
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    /// The exact texts of those matchers that do not hold them, one behind the other.
    texts: Vec<u8>,
    /// What matchers ask for beyond their exact texts.
    rests: Vec<Vec<Check>>,
}

/// How particular a matcher is: by exact texts, then by patterns.
pub(crate) type Rank = (usize, usize);

/// A matcher's number and one, below eight bits of its key's hash; zero is free.
type Slot = u32;

const FREE: Slot = 0;
/// The bits of a slot that are a number: for more matchers than 20,000 rules have.
const NUMBER_BITS: u32 = 24;

/// Bytes of exact texts that a matcher holds itself: what is left of a cache line. Where the system's own
/// namespaces and metrics are named they have about half of it.
const HELD_BYTES: usize = 43;

/// A matcher of a rule.
#[derive(Debug)]
#[repr(align(64))] // a cache line
struct Entry {
    rule: u32,
    /// The next one under the same key.
    next: u32,
    rest: u32,
    mask: u8,
    rank: (u8, u8),
    /// How many bytes the exact text of each field in its mask has; a pattern has at most 255.
    lengths: [u8; N_FIELDS],
    texts: Texts,
}

const _: () = assert!(size_of::<Entry>() == 64, "an entry is a cache line");

/// Exact texts, one behind the other.
#[derive(Debug)]
enum Texts {
    /// At the front of this.
    Held([u8; HELD_BYTES]),
    /// From there on in the index's own.
    At(u32),
}

impl Texts {
    /// Texts that are held if they can be, and else are added to the index's own.
    fn of(texts: &[u8], all: &mut Vec<u8>) -> Self {
        let mut held = [0; HELD_BYTES];
        if let Some(front) = held.get_mut(..texts.len()) {
            front.copy_from_slice(texts);
            return Self::Held(held);
        }
        let at = number(all.len());
        all.extend_from_slice(texts);
        Self::At(at)
    }
}

/// A pattern that the index does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Check {
    of: Of,
    glob: Glob,
}

/// What a pattern is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Of {
    /// One of the index's fields.
    Field(usize),
    Severity,
    Dimension(Box<str>),
    Label(Box<str>),
}

impl Index {
    /// An index of these matchers, each with the number of its rule.
    pub(crate) fn of<'a>(matchers: impl Iterator<Item = (u32, &'a Matcher)>) -> Self {
        let mut index = Self::default();
        let (mut hashes, mut rests) = (Vec::new(), BTreeMap::new());
        for (rule, matcher) in matchers {
            let globs = [&matcher.source, &matcher.namespace, &matcher.metric, &matcher.name];
            let exact = globs.map(|glob| glob.as_ref().and_then(Glob::exact));
            let (mut mask, mut lengths, mut texts) = (0, [0; N_FIELDS], Vec::new());
            for (field, text) in exact.into_iter().enumerate() {
                mask |= u8::from(text.is_some()) << field;
                let text = text.unwrap_or_default().as_bytes();
                lengths[field] = u8::try_from(text.len()).expect("a pattern has 255 bytes");
                texts.extend_from_slice(text);
            }
            if let Err(at) = index.masks.binary_search(&mask) {
                index.masks.insert(at, mask);
            }
            let (exactly, open) = matcher.specificity();
            let few = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
            let n_rests = number(rests.len());
            let rest = *rests.entry(rest(matcher, mask)).or_insert(n_rests);
            hashes.push(hash(mask, exact));
            index.entries.push(Entry {
                rule,
                next: NONE,
                rest,
                mask,
                rank: (few(exactly), few(open)),
                lengths,
                texts: Texts::of(&texts, &mut index.texts),
            });
        }
        let mut rests: Vec<_> = rests.into_iter().collect();
        rests.sort_unstable_by_key(|(_, at)| *at);
        index.rests = rests.into_iter().map(|(rest, _)| rest).collect();
        index.keep(&hashes);
        index
    }

    /// Gives each entry its slot, or its place behind another of its key.
    fn keep(&mut self, hashes: &[u64]) {
        self.slots = vec![FREE; (2 * hashes.len()).next_power_of_two()];
        for (entry, (at, hash)) in (0..).zip(hashes.iter().enumerate()) {
            let slot = self.slot(*hash);
            self.entries[at].next = first(self.slots[slot]);
            assert!(entry + 1 < 1 << NUMBER_BITS, "20,000 rules have at most 64 matchers each");
            self.slots[slot] = tag(*hash) << NUMBER_BITS | (entry + 1);
        }
    }

    /// Where the search for a key begins.
    fn home(&self, hash: u64) -> usize {
        usize::try_from(hash & u64::from(u32::MAX)).unwrap_or(0) & (self.slots.len() - 1)
    }

    /// The slot of a key, or the free one that it would get.
    fn slot(&self, hash: u64) -> usize {
        let (last, mut at) = (self.slots.len() - 1, self.home(hash));
        while self.slots[at] != FREE && self.slots[at] >> NUMBER_BITS != tag(hash) {
            at = (at + 1) & last;
        }
        at
    }

    /// The rules that answer an alarm, once for each of their matchers, and how particular it is.
    pub(crate) fn matching(&self, alarm: &Alarm) -> impl Iterator<Item = (Rank, u32)> {
        let texts = texts_of(alarm);
        // All homes are looked at before anything depends on what stands there: so the processor waits
        // for the memory once, and not once for each mask.
        let mut homes = [(0, FREE); N_MASKS];
        for (home, mask) in homes.iter_mut().zip(&self.masks) {
            let hash = hash(*mask, texts);
            *home = (hash, self.slots[self.home(hash)]);
        }
        let homes = homes.into_iter().take(self.masks.len());
        let firsts = homes.filter(|(_, slot)| *slot != FREE);
        let firsts = firsts.map(move |(hash, _)| first(self.slots[self.slot(hash)]));
        let entries = firsts.flat_map(|first| {
            let entry = |at: u32| self.entries.get(at as usize);
            std::iter::successors(entry(first), move |found| entry(found.next))
        });
        entries.filter(move |entry| self.matches(entry, alarm, texts)).map(|entry| {
            let (exact, open) = entry.rank;
            ((exact.into(), open.into()), entry.rule)
        })
    }

    fn matches(&self, entry: &Entry, alarm: &Alarm, texts: [Option<&str>; N_FIELDS]) -> bool {
        let own = match &entry.texts {
            Texts::Held(own) => own.as_slice(),
            Texts::At(at) => &self.texts[*at as usize..],
        };
        let mut start = 0;
        let are_exact =
            texts.into_iter().zip(entry.lengths).enumerate().all(|(field, (text, length))| {
                let end = start + usize::from(length);
                let own = &own[start..end];
                start = end;
                entry.mask & (1 << field) == 0 || text.map(str::as_bytes) == Some(own)
            });
        are_exact
            && self.rests[entry.rest as usize].iter().all(|Check { of, glob }| {
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

/// A number of matchers, or of bytes of their texts.
fn number(n: usize) -> u32 {
    u32::try_from(n).expect("20,000 rules have at most 64 matchers each of 1020 bytes")
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
fn rest(matcher: &Matcher, mask: u8) -> Vec<Check> {
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

/// The bits of a key's hash that its slot holds; those of its place are others.
fn tag(hash: u64) -> u32 {
    u32::try_from(hash >> (u64::BITS - u32::BITS + NUMBER_BITS)).expect("eight bits are left")
}

/// The first matcher under a key; [`NONE`] for a free slot.
fn first(slot: Slot) -> u32 {
    (slot & ((1 << NUMBER_BITS) - 1)).wrapping_sub(1)
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
