//! The members of an object that is being written, and their order in canonical JSON.

use std::cmp::Ordering;
use std::ops::Range;

/// A member of an object that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// How its name begins: see [`prefix`].
    prefix: u64,
    /// Where its name is in `keys`.
    key: Range<usize>,
    /// Where its text is, name, comma and all.
    pub(crate) text: Range<usize>,
}

impl Member {
    /// Before which of two names' members the other is written.
    pub(crate) fn order(&self, other: &Self, keys: &str) -> Ordering {
        let whole = || in_order(&keys[self.key.clone()], &keys[other.key.clone()]);
        self.prefix.cmp(&other.prefix).then_with(whole)
    }
}

/// Notes a member with this name, whose text begins at a place; says whether it follows in order on those
/// of its object, of which this is the first.
pub(crate) fn join(
    (members, first): (&mut Vec<Member>, usize),
    keys: &mut String,
    (key, at): (&str, usize),
) -> bool {
    let start = keys.len();
    keys.push_str(key);
    let member = Member { prefix: prefix(key), key: start..keys.len(), text: at..at };
    let follows = members[first..].last().is_none_or(|last| last.order(&member, keys).is_lt());
    members.push(member);
    follows
}

/// How a name begins, as a number: two names that differ in it are in its order. What is not ASCII is
/// all the same in it, and ends it, because UTF-8 has another order than UTF-16.
fn prefix(key: &str) -> u64 {
    let key = key.as_bytes();
    let first = match key.first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => (0..8).fold(0, |all, at| all << 8 | key.get(at).map_or(0, |byte| u64::from(*byte))),
    };
    let other = first & 0x8080_8080_8080_8080;
    if other == 0 {
        return first;
    }
    // In whole bytes: as many are before it.
    let before = other.leading_zeros() / 8 * 8;
    first & !(u64::MAX >> before) | 0x80 << 56 >> before
}

/// The order of RFC 8785: by UTF-16 code units.
fn in_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}
