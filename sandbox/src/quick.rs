//! Manifests as nearly all are written, read in a few microseconds; a YAML library takes fifty.
//!
//! Block tables and lists, `{ … }` and `[ … ]` on one line, words, whole numbers and quoted texts without
//! escapes. What is anything else, or could be, is not read here but by [`crate::yaml`], which also
//! reads every manifest again before its rule is first asked. Places are not kept.

use std::borrow::Cow;

use crate::yaml::{Key, Node, Value};

/// Tables in tables; deeper ones are read by the library.
const DEPTH_MAX: usize = 8;
/// Lines; the shipped manifests have fewer than 40.
const LINES_MAX: usize = 200;
/// Lines that there is room for before more is asked for.
const LINES_EXPECTED: usize = 40;
/// Keys of a manifest, and of a table in it, that there is room for before more is asked for.
const ROOT_KEYS_EXPECTED: usize = 14;
const KEYS_EXPECTED: usize = 4;
/// Words that YAML, or Rust's numbers, may take for something else than a text.
const DOUBTFUL: [&str; 13] =
    ["true", "false", "null", "nan", "inf", "infinity", "y", "n", "yes", "no", "on", "off", "none"];

/// Reads a manifest, if it is a plain one.
pub(crate) fn parse(source: &str) -> Option<Node<'_>> {
    // Without an early end, so that many are looked at in one step.
    let all_ascii = |all: bool, c: u8| all & (c == b'\n' || (b' '..=b'~').contains(&c));
    let is_plain = |c: char| c == '\n' || (' '..='~').contains(&c) || c.is_alphanumeric();
    // Most are ASCII, which takes a fraction of the time.
    if !source.bytes().fold(true, all_ascii) && !source.chars().all(is_plain) {
        return None;
    }
    let mut lines = Vec::with_capacity(LINES_EXPECTED);
    for line in source.lines() {
        let text = line.trim_start_matches(' ');
        if !text.is_empty() && !text.starts_with('#') {
            lines.push(Line { indent: line.len() - text.len(), text: text.trim_end_matches(' ') });
        }
    }
    if lines.len() > LINES_MAX || lines.first()?.indent != 0 {
        return None;
    }
    let mut block = Block { lines: &mut lines, at: 0 };
    let root = block.table(0, DEPTH_MAX)?;
    (block.at == block.lines.len()).then_some(root)
}

fn node(value: Value<'_>) -> Node<'_> {
    Node { value, span: 0..0 }
}

/// A line that says something.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    indent: usize,
    text: &'a str,
}

/// What is left of the lines.
struct Block<'a, 'b> {
    lines: &'b mut [Line<'a>],
    at: usize,
}

impl<'a> Block<'a, '_> {
    fn indent(&self) -> Option<usize> {
        self.lines.get(self.at).map(|line| line.indent)
    }

    fn is_item(&self) -> bool {
        self.lines.get(self.at).is_some_and(|line| line.text.starts_with("- "))
    }

    fn table(&mut self, indent: usize, depth: usize) -> Option<Node<'a>> {
        let depth = depth.checked_sub(1)?;
        let room = if indent == 0 { ROOT_KEYS_EXPECTED } else { KEYS_EXPECTED };
        let mut entries: Vec<(Key<'a>, Node<'a>)> = Vec::with_capacity(room);
        while self.indent() == Some(indent) && !self.is_item() {
            let (key, value) = keyed(self.lines[self.at].text)?;
            if entries.iter().any(|(known, _)| known.text == key) {
                return None;
            }
            self.at += 1;
            let value =
                if value.is_empty() { self.below(indent, depth)? } else { inline(value, depth)? };
            entries.push((Key { text: Cow::Borrowed(key), span: 0..0 }, value));
        }
        // A deeper line goes on with what stands before it.
        let goes_on = self.indent().is_some_and(|next| next > indent);
        (!entries.is_empty() && !goes_on).then(|| node(Value::Table(entries)))
    }

    /// What stands under a key: a list may be as far left as the key.
    fn below(&mut self, indent: usize, depth: usize) -> Option<Node<'a>> {
        let next = self.indent()?;
        match (self.is_item(), next > indent) {
            (true, _) if next >= indent => self.list(next, depth),
            (false, true) => self.table(next, depth),
            (true | false, _) => None,
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Option<Node<'a>> {
        let depth = depth.checked_sub(1)?;
        let mut items = Vec::new();
        while self.indent() == Some(indent) && self.is_item() {
            let text = self.lines[self.at].text;
            let rest = text[1..].trim_start_matches(' ');
            if !rest.starts_with(['{', '[', '"', '\'']) && keyed(rest).is_some() {
                // A table that begins beside its dash.
                let inner = indent + text.len() - rest.len();
                self.lines[self.at] = Line { indent: inner, text: rest };
                items.push(self.table(inner, depth)?);
            } else {
                self.at += 1;
                items.push(inline(rest, depth)?);
            }
        }
        let goes_on = self.indent().is_some_and(|next| next > indent);
        (!goes_on).then(|| node(Value::List(items)))
    }
}

/// A key and what stands behind it on the line.
fn keyed(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')))?;
    let (key, rest) = text.split_at(end);
    let rest = rest.strip_prefix(':')?;
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_doubtful = key != "on" && is_doubtful(key);
    let is_key = is_word && !is_doubtful && (rest.is_empty() || rest.starts_with(' '));
    is_key.then(|| (key, rest.trim_start_matches(' ')))
}

/// A value that ends with its line.
fn inline(text: &str, depth: usize) -> Option<Node<'_>> {
    if text.starts_with(['{', '[', '"', '\'']) {
        let mut flow = Flow { left: text };
        let value = flow.value(depth)?;
        return flow.left.is_empty().then_some(value);
    }
    let is_whole = !text.contains(": ") && !text.contains(" #") && !text.ends_with(':');
    if is_whole { word(text) } else { None }
}

/// A text without quotes, or a whole number.
fn word(text: &str) -> Option<Node<'_>> {
    let value = match text.chars().next()? {
        first if first.is_alphabetic() || matches!(first, '/' | '_') => {
            (!is_doubtful(text)).then_some(Value::Text(Cow::Borrowed(text)))
        }
        '0'..='9' => number_or_time(text),
        _ => None,
    };
    value.map(node)
}

fn is_doubtful(text: &str) -> bool {
    DOUBTFUL.iter().any(|doubtful| text.eq_ignore_ascii_case(doubtful))
}

/// `20`, `20m`, `3 per 24h`; numbers of other kinds are for the library.
fn number_or_time(text: &str) -> Option<Value<'_>> {
    let is_number = |text: &str| {
        let is_short = (1..=9).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        is_short && (text == "0" || !text.starts_with('0'))
    };
    if is_number(text) {
        return text.parse().ok().map(Value::Whole);
    }
    let (n, per) = text.split_once(" per ").map_or((None, text), |(n, per)| (Some(n), per));
    let is_time = per.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(is_number);
    (is_time && n.is_none_or(is_number)).then_some(Value::Text(Cow::Borrowed(text)))
}

/// What is left of a value in brackets.
struct Flow<'a> {
    left: &'a str,
}

impl<'a> Flow<'a> {
    fn skip(&mut self, c: char) -> bool {
        let skipped = self.left.strip_prefix(c);
        self.left = skipped.unwrap_or(self.left).trim_start_matches(' ');
        skipped.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Node<'a>> {
        if self.skip('{') {
            return self.table(depth.checked_sub(1)?);
        }
        if self.skip('[') {
            return self.list(depth.checked_sub(1)?);
        }
        for quote in ['"', '\''] {
            if let Some(rest) = self.left.strip_prefix(quote) {
                let (text, rest) = rest.split_once(quote)?;
                // Escapes, and `''` for one quote.
                if text.contains('\\') || rest.starts_with(quote) {
                    return None;
                }
                self.left = rest.trim_start_matches(' ');
                return Some(node(Value::Text(Cow::Borrowed(text))));
            }
        }
        let end = self.left.find([',', '}', ']', '{', '[', ':', '#'])?;
        let (text, rest) = self.left.split_at(end);
        self.left = rest;
        rest.starts_with([',', '}', ']']).then(|| word(text.trim_end_matches(' ')))?
    }

    fn table(&mut self, depth: usize) -> Option<Node<'a>> {
        let mut entries: Vec<(Key<'a>, Node<'a>)> = Vec::with_capacity(1);
        if self.skip('}') {
            return Some(node(Value::Table(entries)));
        }
        loop {
            let (key, rest) = keyed(self.left)?;
            if rest.is_empty() || entries.iter().any(|(known, _)| known.text == key) {
                return None;
            }
            let key = Key { text: Cow::Borrowed(key), span: 0..0 };
            self.left = rest;
            entries.push((key, self.value(depth)?));
            if self.skip('}') {
                return Some(node(Value::Table(entries)));
            }
            if !self.skip(',') {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Node<'a>> {
        let mut items = Vec::new();
        if self.skip(']') {
            return Some(node(Value::List(items)));
        }
        loop {
            items.push(self.value(depth)?);
            if self.skip(']') {
                return Some(node(Value::List(items)));
            }
            if !self.skip(',') {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::yaml;

    fn shown(node: &Node<'_>) -> String {
        match &node.value {
            Value::List(items) => format!("{:?}", items.iter().map(shown).collect::<Vec<_>>()),
            Value::Table(entries) => {
                let shown = entries.iter().map(|(key, node)| (&*key.text, shown(node)));
                format!("{:?}", shown.collect::<Vec<_>>())
            }
            other @ (Value::Null
            | Value::Flag(_)
            | Value::Whole(_)
            | Value::Decimal(_)
            | Value::Text(_)) => format!("{other:?}"),
        }
    }

    /// Whatever is read here reads the same there. Whether it was read here.
    fn check(source: &str) -> bool {
        let Some(quick) = parse(source) else { return false };
        match yaml::parse(source) {
            Ok(full) => assert_eq!(shown(&quick), shown(&full), "{source}"),
            Err(finding) => panic!("the library refuses it: {finding:?}\n{source}"),
        }
        true
    }

    #[test]
    fn the_shipped_manifests_are_read_as_the_library_reads_them() {
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../rules");
        let mut n_read = 0;
        let mut n_all = 0;
        for folder in std::fs::read_dir(rules).unwrap() {
            let manifest = folder.unwrap().path().join("rule.yaml");
            let Ok(text) = std::fs::read_to_string(manifest) else { continue };
            n_all += 1;
            n_read += usize::from(check(&text));
        }
        assert!(n_all >= 3 && n_read * 2 >= n_all, "{n_read} of {n_all} were plain enough");
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_library() {
        for (value, wanted) in [
            ("word", true),
            ("two words, {and} [more]", true),
            ("ec2/{alarm.dimensions.InstanceId}", true),
            ("'single'", true),
            ("\"double\"", true),
            ("20m", true),
            ("3 per 24h", true),
            ("0", true),
            ("{ a: b, c: [d, 'e'], f: {} }", true),
            ("", false),
            ("\"a\\n\"", false),
            ("'it''s'", false),
            ("true", false),
            ("Off", false),
            ("~", false),
            ("1.5", false),
            ("010", false),
            ("0x1f", false),
            ("1e3", false),
            ("2026-11-22", false),
            ("-5", false),
            ("&a b", false),
            ("*a", false),
            ("!!str a", false),
            ("|", false),
            ("a # comment", false),
            ("a: b", false),
            ("{ a: b", false),
            ("{ a: b, }", false),
            ("{ a:b }", false),
            ("[a, [b]", false),
            ("\"a\" b", false),
            ("a\n  goes on", false),
            ("a\nkey: b", false),
        ] {
            assert_eq!(check(&format!("key: {value}\nlast: x\n")), wanted, "{value}");
        }
        for source in ["", "a", "- a", " a: b", "a: b\n c: d", "a:\nb: c", "<<: a", "a: b\n---\n"] {
            assert!(!check(source), "{source}");
        }
        assert!(check("on:\n- a: b\n  c: d\n-   e: f\nk:\n  l:\n    - g\n    - {h: i}\n  m: 1\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_read_here_reads_the_same_there(
            source in "((  ){0,3}(- )?([a-c]: |[a-c]:)?([a-d0-9]{1,3}|'[a-c #:]{0,3}'|\"[a-c,}]{0,3}\"|\\{ ?[a-c]: ?[a-c0-9]{0,2} ?\\}|\\[[a-c], ?[a-c]?\\]|[-a-c #:,\\[\\]{}&*!|>%@`'\"?~0-9.]{0,6})?\n){1,6}",
        ) {
            check(&source);
        }

        #[test]
        fn words_are_what_the_library_takes_them_for(word in "[A-Za-z0-9/_][-A-Za-z0-9 .:,_/+*'\"#{}\\[\\]=가-나]{0,8}") {
            check(&format!("key: {word}\n"));
            check(&format!("key: {{ a: {word} }}\n"));
            check(&format!("key: [{word}, b]\n"));
            check(&format!("key:\n  - {word}\n  - b\n"));
        }
    }
}
