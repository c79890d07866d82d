//! Rust source without what is not code: comments, and the insides of strings and characters.

/// The code alone. Line breaks stay where they are, so lines keep their numbers.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| string(rest)).or_else(|| character(rest));
        let length = match skipped {
            Some(length) => {
                code.extend(rest[..length].chars().filter(|c| *c == '\n'));
                code.push(' ');
                length
            }
            None => {
                let length = word(rest).unwrap_or_else(|| first.len_utf8());
                code.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    code
}

/// The code up to its tests: by our convention they come last.
pub(crate) fn code_without_tests(text: &str) -> String {
    let code = code_of(text);
    let end = code.find("#[cfg(test)]").unwrap_or(code.len());
    code[..end].to_owned()
}

/// Whether the code has this text as words of its own, not as part of longer ones.
pub(crate) fn names(code: &str, what: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + what.len()..].chars().next();
        let open_end = what.ends_with(|c: char| !in_word(c));
        let open_start = what.starts_with(|c: char| !in_word(c));
        (open_start || !before.is_some_and(in_word)) && (open_end || !after.is_some_and(in_word))
    })
}

/// A word that is no prefix of a string, so that the `r` of `for` begins none.
fn word(rest: &str) -> Option<usize> {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    (end > 0).then_some(end)
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if here.starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    Some(rest.len())
}

fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|after| {
            after.starts_with('"') || (prefix.ends_with('r') && raw(after).is_some())
        })
    })?;
    let after = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = raw(after)?;
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = &after[hashes + 1..];
        let end = inside.find(&close).map_or(inside.len(), |at| at + close.len());
        return Some(prefix.len() + hashes + 1 + end);
    }
    let mut escaped = false;
    for (at, byte) in after.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// How many `#` stand before the quotation mark of a raw string, if this is one.
fn raw(after: &str) -> Option<usize> {
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// A character such as `'"'` or `'\n'`, as opposed to a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let end = inside[2..].find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(1 + at + 1)
}

#[test]
fn comments_and_strings_are_not_code() {
    let table = [
        ("a // b\nc", "a  \nc"),
        ("a /* b /* c */ d */ e", "a   e"),
        (r#"f("todo!(")"#, "f( )"),
        (r##"f(r#"a "b" c"#)"##, "f( )"),
        (r#"f("a \" b", c)"#, "f( , c)"),
        (r"f('\'', '\n', 'x')", "f( ,  ,  )"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("for r in b", "for r in b"),
    ];
    for (text, code) in table {
        assert_eq!(code_of(text), code, "{text}");
    }
}

#[test]
fn words_are_whole() {
    assert!(names("std::time::Instant::now()", "Instant"));
    assert!(!names("Instants", "Instant"));
    assert!(!names("unsafe_code", "unsafe"));
    assert!(names("std::env::var_os", "env::var_os"));
    assert!(names("x.todo!(", "todo!("));
}
