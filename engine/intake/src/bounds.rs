//! What outside text may be at most, and how it is cut and made visible.
//!
//! Text is cut at a character's end and the cut is shown as `…`. What identifies something (a key, a
//! dimension's value) is never cut: it is refused, because a cut name is another name.

use std::collections::BTreeMap;

use untoil_model::AlarmKey;

use crate::DecodeError;

/// Alarms in one delivery. Alertmanager sends groups without a cap; 2,000 is ten times the largest
/// group of the team this is for, and what one batch of the journal takes.
pub(crate) const ALARMS_MAX: usize = 2_000;
/// A name: CloudWatch allows 255 characters, and a character is at most four bytes.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;
/// Prose and values: CloudWatch's longest (1,024 characters) in four-byte characters.
pub(crate) const TEXT_BYTES_MAX: usize = 4_096;
/// Dimensions or labels of one alarm: CloudWatch allows 30 and 50, Prometheus users rarely pass 40.
pub(crate) const PAIRS_MAX: usize = 128;
/// A link: what browsers and Slack take.
pub(crate) const LINK_BYTES_MAX: usize = 2_048;
/// Outside text quoted in a message of ours.
const QUOTE_CHARS_MAX: usize = 80;
/// A remark that may list what was expected, and quotes outside text with it.
const REMARK_CHARS_MAX: usize = 300;

/// One line: control characters are made visible, and what is too long is cut.
pub(crate) fn name(text: &str) -> String {
    cut(identifier(text), NAME_BYTES_MAX)
}

/// Prose: line ends and tabs stay, other control characters are made visible.
pub(crate) fn prose(text: &str) -> String {
    if is_plain(text, |byte| matches!(byte, b'\n' | b'\t')) {
        return cut(text.to_owned(), TEXT_BYTES_MAX);
    }
    let lines = text.replace("\r\n", "\n");
    let shown = lines.chars().map(|c| if c == '\n' || c == '\t' { c } else { visible(c) });
    cut(shown.collect(), TEXT_BYTES_MAX)
}

/// A short piece of outside text for a message of ours.
pub(crate) fn quote(text: &str) -> String {
    first(text, QUOTE_CHARS_MAX)
}

/// A parser's remark, which may quote outside text.
pub(crate) fn remark(text: &str) -> String {
    first(text, REMARK_CHARS_MAX)
}

/// An identifier that the sender's API is asked with. Its key is checked for length, so it is short.
pub(crate) fn identifier(text: &str) -> String {
    if is_plain(text, |_| false) { text.to_owned() } else { text.chars().map(visible).collect() }
}

/// Whether nothing in a text has to be made visible, which is so for nearly all: no control characters
/// (those of Latin-1 begin with `0xc2`), unless they are `fine`. Looking at bytes is ten times quicker
/// than copying characters.
fn is_plain(text: &str, fine: impl Fn(u8) -> bool) -> bool {
    let is_plain = |byte: u8| (byte >= b' ' && byte != 0x7f && byte != 0xc2) || fine(byte);
    text.bytes().fold(true, |all, byte| all & is_plain(byte))
}

fn first(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).map(visible).collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}

/// A web page's address; anything else is not a link.
pub(crate) fn link(text: &str) -> Option<String> {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let is_graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_plain = is_graphic || !text.chars().any(|c| c.is_control() || c.is_whitespace());
    (is_web && is_plain && text.len() <= LINK_BYTES_MAX).then(|| text.to_owned())
}

/// An alarm's key. Control characters are made visible, because a key has none.
pub(crate) fn key(text: &str) -> Result<AlarmKey, DecodeError> {
    identifier(text)
        .parse()
        .map_err(|_| DecodeError::TooLong { what: "alarm's identity", max: 2_048 })
}

/// Adds a dimension. Neither its name nor its value is ever cut.
pub(crate) fn dimension(
    all: &mut BTreeMap<String, String>,
    key: &str,
    value: &str,
) -> Result<(), DecodeError> {
    if key.len() > NAME_BYTES_MAX || value.len() > TEXT_BYTES_MAX {
        return Err(DecodeError::TooLong { what: "dimension", max: TEXT_BYTES_MAX });
    }
    add(all, name(key), identifier(value))
}

/// Adds a label. Its value is prose and may be cut, its name is not.
pub(crate) fn label(
    all: &mut BTreeMap<String, String>,
    key: &str,
    value: &str,
) -> Result<(), DecodeError> {
    if key.len() > NAME_BYTES_MAX {
        return Err(DecodeError::TooLong { what: "label's name", max: NAME_BYTES_MAX });
    }
    add(all, name(key), prose(value))
}

fn add(all: &mut BTreeMap<String, String>, key: String, value: String) -> Result<(), DecodeError> {
    all.insert(key, value);
    if all.len() > PAIRS_MAX {
        return Err(DecodeError::TooMany {
            what: "labels or dimensions of one alarm",
            max: PAIRS_MAX,
        });
    }
    Ok(())
}

/// The visible picture of a control character (`␀` for NUL), or the character itself.
fn visible(c: char) -> char {
    match u32::from(c) {
        code @ 0..=0x1f => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        0x80..=0x9f => '\u{fffd}',
        _ => c,
    }
}

fn cut(mut text: String, max: usize) -> String {
    const MARK: char = '…';
    if text.len() > max {
        let end = text.floor_char_boundary(max - MARK.len_utf8());
        text.truncate(end);
        text.push(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible_and_lines_of_prose_stay() {
        assert_eq!(name("a\n\u{0}\u{7f}\u{85}b"), "a␊␀␡\u{fffd}b");
        assert_eq!(prose("a\r\nb\tc\u{1b}[31m"), "a\nb\tc␛[31m");
    }

    #[test]
    fn text_is_cut_between_characters() {
        let long = "디".repeat(1_000);
        let cut = name(&long);
        assert!(cut.len() <= NAME_BYTES_MAX && cut.ends_with("디…"), "{}", cut.len());
        assert_eq!(name(&"디".repeat(341)), "디".repeat(341));
    }

    #[test]
    fn what_identifies_is_refused_rather_than_cut() {
        let mut all = BTreeMap::new();
        assert!(dimension(&mut all, "path", &"x".repeat(TEXT_BYTES_MAX + 1)).is_err());
        assert!(key(&"x".repeat(2_049)).is_err());
        assert!(label(&mut all, "k", &"x".repeat(TEXT_BYTES_MAX + 1)).is_ok());
    }

    #[test]
    fn only_web_pages_are_links() {
        assert!(link("javascript:alert(1)").is_none());
        assert!(link("https://example.com/a b").is_none());
        assert_eq!(link("https://example.com/a").unwrap(), "https://example.com/a");
    }
}
