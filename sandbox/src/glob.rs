//! Patterns of `on:`. `*` stands for any text, also none; everything else stands for itself.

use std::fmt;
use std::str::FromStr;

/// Longest pattern: as long as a CloudWatch alarm name.
const BYTES_MAX: usize = 255;
/// Most stars; more are a mistake, and each costs a search.
const STARS_MAX: usize = 8;

/// A text with `*` for any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob {
    // One place in memory, whatever it is made of: with many rules a match takes as long as it has
    // places to visit.
    text: Box<str>,
    is_exact: bool,
}

/// A text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GlobError(&'static str);

impl Glob {
    /// Whether it stands for `text`. Linear in the text for each star.
    pub fn matches(&self, text: &str) -> bool {
        if self.is_exact {
            return *self.text == *text;
        }
        // The literal pieces between the stars; two at least.
        let mut pieces = self.text.split('*');
        let (Some(first), Some(last)) = (pieces.next(), pieces.next_back()) else { return false };
        let Some(mut left) = text.strip_prefix(first) else { return false };
        for piece in pieces {
            match left.find(piece) {
                Some(at) => left = &left[at + piece.len()..],
                None => return false,
            }
        }
        left.ends_with(last)
    }

    /// The only text it stands for, when it has no `*`.
    pub fn exact(&self) -> Option<&str> {
        self.is_exact.then_some(&*self.text)
    }

    /// Whether it stands for every text.
    pub fn is_any(&self) -> bool {
        self.text.bytes().all(|byte| byte == b'*')
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
        Ok(Self { text: text.into(), is_exact: !text.contains('*') })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
