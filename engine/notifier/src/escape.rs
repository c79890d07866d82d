//! Makes foreign text harmless: alarm names, reasons and host output are written by anybody.
//!
//! [`clean`] takes away what could act or mislead, in every rendering; [`push_escaped`] is what
//! Slack's mrkdwn needs on top (docs.slack.dev, "Formatting message text": `&`, `<` and `>`).

use unicode_segmentation::UnicodeSegmentation as _;

/// Names that notify a whole channel when a client or a server links plain names.
const LOUD: [&str; 3] = ["channel", "here", "everyone"];

/// One line without mentions, backticks, control, bidirectional and invisible characters.
pub(crate) fn clean(text: &str) -> String {
    let mut line = clean_lines(text).split_whitespace().collect::<Vec<_>>().join(" ");
    // The end may only have become the end by this.
    drop_ats(&mut line);
    line
}

/// As [`clean`], with its lines kept.
pub(crate) fn clean_lines(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '`' => visible.push('\''),
            '\n' | '\u{2028}' | '\u{2029}' => visible.push('\n'),
            '\t' => visible.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => visible.push(c),
        }
    }
    without_loud_names(&without_markup(&visible))
}

/// Bidirectional controls turn text round; the others hide it or split words that filters look for.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{061C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}'
    )
}

/// `<!channel>`, `<@U1>`, `<#C1|x>` and `<!subteam^S1>` go, until none is left: taking one away may
/// put another together.
fn without_markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(c);
        if c == '>' {
            // Every `>` is looked at once, with what is left before it: linear, and complete.
            if let Some(at) = out.rfind('<')
                && out[at + 1..].starts_with(['!', '@', '#'])
            {
                out.truncate(at);
            }
        }
    }
    out
}

/// `@channel` and its like lose every `@` before them. So does the end of the text: what is put
/// behind it later may begin with such a name.
fn without_loud_names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        let is_loud = LOUD.iter().any(|name| {
            rest.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        if is_loud {
            drop_ats(&mut out);
        }
        out.push(c);
    }
    drop_ats(&mut out);
    out
}

fn drop_ats(text: &mut String) {
    let kept = text.trim_end_matches(['@', '＠']).len();
    text.truncate(kept);
}

/// Appends one grapheme as mrkdwn.
pub(crate) fn push_escaped(out: &mut String, grapheme: &str) {
    for c in grapheme.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

/// The length of a text as Slack's JavaScript counts it: UTF-16 units, never fewer than characters.
pub(crate) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// At most `max` units of a text, cut between graphemes; a cut is shown by `…`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if units(text) <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = max.saturating_sub(1);
    for grapheme in text.graphemes(true) {
        let n = units(grapheme);
        if n > left {
            break;
        }
        left -= n;
        out.push_str(grapheme);
    }
    if max > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_act_or_mislead_is_gone() {
        for (text, expected) in [
            ("disk_used_percent > 85 & <b>", "disk_used_percent > 85 & <b>"),
            ("hi <!channel> there", "hi there"),
            ("<@U123|kim> and <#C1>", "and"),
            ("<!subteam^S1|@ops>", ""),
            ("<!chan<!here>nel>", ""),
            ("<<!here>!channel>", ""),
            ("@channel @Here ＠everyone @kim", "channel Here everyone @kim"),
            ("@chan\u{200B}nel", "channel"),
            ("@@everyone @＠here me@", "everyone here me"),
            ("`rm -rf`", "'rm -rf'"),
            ("a\u{202E}gpj.exe\u{0}\u{7}", "agpj.exe"),
            ("줄\n바꿈\t탭", "줄 바꿈 탭"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_cut_keeps_graphemes_whole() {
        for (text, max, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("한글입니다", 3, "한글…"),
            ("👨‍👩‍👧가", 5, "…"),
            ("e\u{301}e\u{301}e\u{301}", 5, "e\u{301}e\u{301}…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(cut(text, max), expected, "{text:?} at {max}");
        }
    }
}
