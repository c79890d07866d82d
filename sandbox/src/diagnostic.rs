//! What is wrong with a rule: a stable code, a sentence, a place and a way out.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// Longest rendering kept; a source line may be as long as the file.
const RENDERED_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a line shown on each side of a place.
const SHOWN_BYTES_MAX: usize = 160;
/// Longest message: names in it come from the rule's author.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Largest edit distance of a suggestion; farther words are other words.
const SUGGESTION_DISTANCE_MAX: usize = 2;

macro_rules! codes {
    ($($code:ident = $title:literal,)*) => {
        /// The code of a diagnostic: R1xx the manifest, R2xx the script, R3xx its authority.
        ///
        /// A code that was in a release is never used for anything else.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[expect(missing_docs, reason = "`title` and docs/diagnostics.md say what each is")]
        pub enum Code { $($code,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The code as people quote it: `R102`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// What it is about, in a few words; the heading of its page.
            pub fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    R101 = "the manifest is not readable YAML",
    R102 = "unknown key",
    R103 = "missing key",
    R104 = "wrong value",
    R105 = "unknown alarm field in a template",
    R106 = "unknown fact",
    R107 = "wrong argument of a fact",
    R108 = "broken template",
    R109 = "the rule matches nothing or everything",
    R110 = "the rule's folder or a file of it cannot be used",
    R201 = "the script cannot be parsed",
    R202 = "the script is too large",
    R203 = "no `plan` function",
    R204 = "wrong parameters of `plan` or `next`",
    R205 = "statement at top level",
    R206 = "unknown function",
    R207 = "wrong number of arguments",
    R208 = "unknown alarm field",
    R209 = "unknown fact in the script",
    R210 = "comparison of different types",
    R211 = "unused variable",
    R212 = "word that rules may not use",
    R213 = "assignment to what a script may only read",
    R301 = "unknown action",
    R302 = "wrong term of a grant",
    R303 = "action that is not granted",
    R304 = "grant that is not used",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The rule cannot be loaded.
    Error,
    /// The rule is loaded; its author should look.
    Warning,
}

/// One finding in a rule's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The rule's folder, also when that is not a rule name.
    pub rule: String,
    /// The file, relative to the rules folder: `disk-full/rule.yaml`.
    pub file: String,
    /// Line, counted from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// Character in the line, counted from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The way out, where there is one to tell.
    pub help: Option<String>,
    /// All of it with the source and carets, for a terminal or a thread; at most 4 KiB.
    pub rendered: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rendered)
    }
}

/// What is said about a place, before it is rendered.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Finding {
    /// An error at `span`.
    pub(crate) fn error(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, Some(span), message.into())
    }

    /// An error about a whole file.
    pub(crate) fn of_file(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, None, message.into())
    }

    /// A warning at `span`.
    pub(crate) fn warning(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, Some(span), message.into())
    }

    fn new(code: Code, severity: Severity, span: Option<Range<usize>>, message: String) -> Self {
        Self { code, severity, message, span, label: String::new(), help: None }
    }

    /// With words under the caret.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a way out.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a suggestion, if one of `known` is near `word`; else with the list of them.
    pub(crate) fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(word, known.iter().copied()) {
            Some(near) => self.label(format!("did you mean `{near}`?")),
            None if known.is_empty() || known.len() > 24 => self,
            None => self.help(format!("known are {}", list(&known))),
        }
    }

    /// Renders it against the text of `file`.
    pub(crate) fn into_diagnostic(self, rule: &str, file: &str, source: &str) -> Diagnostic {
        let message = cut(&one_line(&self.message), MESSAGE_BYTES_MAX);
        let help = self.help.map(|help| cut(&help, MESSAGE_BYTES_MAX));
        let span = self.span.map(|span| clamp(source, span));
        let (line, column) = span.as_ref().map_or((0, 0), |span| place(source, span.start));
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let window = span.as_ref().map(|span| window(source, span));
        let mut group = level.primary_title(message.as_str()).id(self.code.as_str()).elements(
            window.as_ref().map(|(text, mark)| {
                let mut mark = AnnotationKind::Primary.span(mark.clone());
                if !self.label.is_empty() {
                    mark = mark.label(self.label.as_str());
                }
                Snippet::source(text.as_str()).line_start(line).path(file).annotation(mark)
            }),
        );
        if let Some(help) = help.as_ref().filter(|_| span.is_some()) {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let mut rendered = Renderer::plain().render(&[group]);
        if span.is_none() {
            rendered = format!("{rendered}\n --> {file}");
            if let Some(help) = &help {
                rendered = format!("{rendered}\n  = help: {help}");
            }
        }
        Diagnostic {
            code: self.code,
            severity: self.severity,
            rule: rule.to_owned(),
            file: file.to_owned(),
            line,
            column,
            message,
            help: help.or_else(|| (!self.label.is_empty()).then(|| self.label.clone())),
            rendered: cut(&rendered, RENDERED_BYTES_MAX),
        }
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            // Every word of two letters is near every other one.
            *distance <= SUGGESTION_DISTANCE_MAX
                && *distance < candidate.chars().count().min(word.chars().count())
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// "`a`, `b` and `c`".
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "none".into(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The text, or its beginning and `…`, within `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A span inside `source`, on character boundaries, at least one character wide where there is one,
/// never in the blank end of the file: engines report what is missing at the token after it.
fn clamp(source: &str, span: Range<usize>) -> Range<usize> {
    let text_end = source.trim_end().len();
    let mut start = span.start.min(source.len());
    if start >= text_end {
        start = source[..text_end].char_indices().next_back().map_or(0, |(at, _)| at);
    }
    while !source.is_char_boundary(start) {
        start -= 1;
    }
    let next = source[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    let mut end = span.end.clamp(next, source.len().max(next));
    while !source.is_char_boundary(end) {
        end += 1;
    }
    // One line: what follows is shown by its beginning.
    let line_end = source[start..].find('\n').map_or(source.len(), |at| start + at);
    start..end.min(line_end.max(next))
}

/// The line of a span, cut where it is too long to read, and the span in it. Rendering costs as
/// much as the text it is given.
fn window(source: &str, span: &Range<usize>) -> (String, Range<usize>) {
    let line_start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let mut start = line_start.max(span.start.saturating_sub(SHOWN_BYTES_MAX));
    while !source.is_char_boundary(start) {
        start += 1;
    }
    let line = source[start..].split('\n').next().unwrap_or_default().trim_end_matches('\r');
    let mut end = line.len().min(span.start - start + SHOWN_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let from = (span.start - start).min(end);
    (line[..end].to_owned(), from..(span.end - start).clamp(from, end))
}

/// Line and character of a byte offset, from 1.
fn place(source: &str, at: usize) -> (usize, usize) {
    let before = &source[..at];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The byte offset of a line and character counted from 1; the end of the line where it is shorter.
pub(crate) fn offset(source: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match source[start..].find('\n') {
            Some(at) => start += at + 1,
            None => return source.len(),
        }
    }
    let text = source[start..].split('\n').next().unwrap_or_default();
    let within = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    start + within
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_unique_and_has_one_section_in_the_documentation() {
        let unique: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(unique.len(), Code::ALL.len());
        let page = include_str!("../../docs/diagnostics.md");
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("### ")).collect();
        let wanted: Vec<String> =
            Code::ALL.iter().map(|code| format!("### {code}: {}", code.title())).collect();
        assert_eq!(headings, wanted);
    }

    #[test]
    fn suggestions_stay_within_two_edits() {
        let known = ["ecs.scale", "ecs.redeploy", "slack.message"];
        assert_eq!(nearest("ecs.scael", known), Some("ecs.scale"));
        assert_eq!(nearest("ecs.scal", known), Some("ecs.scale"));
        assert_eq!(nearest("lambda.invoke", known), None);
        assert_eq!(nearest("ab", ["cd"]), None);
    }

    #[test]
    fn rendering_is_bounded_and_stays_inside_the_text() {
        for source in ["", "\n\n", "가나다", "a\nb", &"x".repeat(100_000)] {
            for span in [0..0, 0..1, 1..2, 5..900, 99_999..200_000] {
                let found = Finding::error(Code::R201, span, "m".repeat(5_000)).label("here");
                let diagnostic = found.into_diagnostic("r", "r/rule.rhai", source);
                assert!(diagnostic.rendered.len() <= RENDERED_BYTES_MAX);
                assert!(diagnostic.message.len() <= MESSAGE_BYTES_MAX);
            }
        }
    }

    #[test]
    fn an_error_at_the_end_of_the_file_points_at_its_last_character() {
        let source = "fn plan(a, f) {\n  1\n\n\n";
        let found = Finding::error(Code::R201, source.len()..source.len(), "missing `}`");
        let diagnostic = found.into_diagnostic("r", "r/rule.rhai", source);
        assert_eq!((diagnostic.line, diagnostic.column), (2, 3));
    }
}
