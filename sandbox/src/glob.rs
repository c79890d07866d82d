//! Patterns of `on:`. `*` stands for any text, also none; everything else stands for itself.

use std::fmt;
use std::str::FromStr;

/// Longest pattern: as long as a CloudWatch alarm name.
const BYTES_MAX: usize = 255;
/// Most stars; more are a mistake, and each costs a search.
const STARS_MAX: usize = 8;

/// A text with `*` for any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(Parts);

/// What it is made of. A text without stars is by far the most frequent, and stands by itself: each
/// place in memory that a match visits counts when there are many rules.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Parts {
    /// No star.
    Exact(Box<str>),
    /// The literal pieces between the stars; two at least.
    Pieces(Vec<String>),
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GlobError(&'static str);

impl Glob {
    /// Whether it stands for `text`. Linear in the text for each star.
    pub fn matches(&self, text: &str) -> bool {
        let pieces = match &self.0 {
            Parts::Exact(only) => return **only == *text,
            Parts::Pieces(pieces) => pieces,
        };
        let [first, middle @ .., last] = pieces.as_slice() else { return false };
        let Some(mut left) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match left.find(piece.as_str()) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        left.ends_with(last.as_str())
    }

    /// The only text it stands for, when it has no `*`.
    pub fn exact(&self) -> Option<&str> {
        match &self.0 {
            Parts::Exact(only) => Some(only),
            Parts::Pieces(_) => None,
        }
    }

    /// Whether it stands for every text.
    pub fn is_any(&self) -> bool {
        match &self.0 {
            Parts::Exact(_) => false,
            Parts::Pieces(pieces) => pieces.iter().all(String::is_empty),
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError(
                "an empty pattern matches nothing: leave the key out to match anything",
            ));
        }
        if text.len() > BYTES_MAX {
            return Err(GlobError("a pattern is at most 255 bytes"));
        }
        if text.contains(['?', '[', ']', '{', '}']) {
            return Err(GlobError(
                "only `*` is special in a pattern; `?`, `[…]` and `{…}` are not supported",
            ));
        }
        if text.matches('*').count() > STARS_MAX {
            return Err(GlobError("a pattern has at most 8 `*`"));
        }
        if !text.contains('*') {
            return Ok(Self(Parts::Exact(text.into())));
        }
        Ok(Self(Parts::Pieces(text.split('*').map(str::to_owned).collect())))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Parts::Exact(only) => f.write_str(only),
            Parts::Pieces(pieces) => f.write_str(&pieces.join("*")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let table = [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("disk-*", "disk-/var", true),
            ("disk-*", "a disk-", false),
            ("*disk*", "a disk is full", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("ab*ba", "aba", false),
            ("디스크*", "디스크 사용량", true),
            ("A*", "a", false),
        ];
        for (pattern, text, want) in table {
            assert_eq!(pattern.parse::<Glob>().unwrap().matches(text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_would_surprise_is_refused() {
        for pattern in ["", "a?c", "[ab]", "{a,b}", "*a*b*c*d*e*f*g*h*"] {
            assert!(pattern.parse::<Glob>().is_err(), "{pattern}");
        }
    }

    fn slow_matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| slow_matches(rest, &text[at..])),
            [c, rest @ ..] => text.first() == Some(c) && slow_matches(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_give_the_same_pattern(text in "[a-c*가-나]{1,12}") {
            if let Ok(glob) = text.parse::<Glob>() {
                prop_assert_eq!(glob.to_string(), text);
                prop_assert_eq!(glob.to_string().parse::<Glob>().unwrap(), glob);
            }
        }

        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab*]{1,7}", text in "[ab]{0,8}") {
            let want = slow_matches(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(pattern.parse::<Glob>().unwrap().matches(&text), want);
        }
    }
}
