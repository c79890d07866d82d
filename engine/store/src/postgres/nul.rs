//! U+0000 in texts, which PostgreSQL keeps no text with.
//!
//! Senders choose the ids of their messages, so one may hold it. What is refused would be sent again
//! for ever; so it is kept, written another way, and is told as it was.

use std::borrow::Cow;

/// Begins a text that is written another way. It is no character (Unicode, 23.7), so no text that
/// was kept before begins with it.
const MARK: char = '\u{10ffff}';

/// A text as it is kept: as it is, but for one that holds U+0000 or begins with the mark.
pub(crate) fn kept(text: &str) -> Cow<'_, str> {
    if !text.contains('\0') && !text.starts_with(MARK) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len() + 8);
    kept.push(MARK);
    for char in text.chars() {
        match char {
            '\0' => kept.push_str("\\0"),
            '\\' => kept.push_str("\\\\"),
            other => kept.push(other),
        }
    }
    Cow::Owned(kept)
}

/// A text as it was before it was [`kept`].
pub(crate) fn told(kept: &str) -> String {
    let Some(written) = kept.strip_prefix(MARK) else { return kept.to_owned() };
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('0') => text.push('\0'),
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_is_told_as_it_was(text in r"[\x{0}\\0a한\x{10ffff}]{0,12}|\PC{0,12}") {
            let kept = kept(&text);
            prop_assert!(!kept.contains('\0'));
            prop_assert_eq!(told(&kept), text);
        }
    }

    #[test]
    fn usual_texts_are_kept_as_they_are() {
        for text in ["", "a", r"a\0b", "메시지", "arn:aws:sns:…"] {
            assert!(matches!(kept(text), Cow::Borrowed(same) if same == text));
            assert_eq!(told(text), text);
        }
        assert_eq!(kept("a\0\\b"), "\u{10ffff}a\\0\\\\b");
    }
}
