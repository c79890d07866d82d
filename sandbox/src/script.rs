//! A compiled script, and what went wrong when it was asked.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rhai::{AST, EvalAltResult, ParseError, ParseErrorType, Position};
use serde::Serialize;
use untoil_model::{Hash, RuleVersion};

use crate::book::RULES_MAX;
use crate::cage::{self, Cage};
use crate::diagnostic::{self, Code, Finding};

/// Longest message of a failed script; a script can throw what it likes.
const MESSAGE_BYTES_MAX: usize = 500;

/// Names in one list of a script: as many as it may have variables.
const NAMES_MAX: usize = 64;

/// A script's text, compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) ast: AST,
    pub(crate) has_next: bool,
    pub(crate) source: String,
}

/// The scripts that some rule holds, by what their texts hash to.
#[derive(Debug, Default)]
pub(crate) struct AllCompiled(Mutex<BTreeMap<Hash, Weak<Compiled>>>);

impl AllCompiled {
    pub(crate) fn get(&self, source: &str) -> Option<Arc<Compiled>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&Hash::of(source.as_bytes())).and_then(Weak::upgrade)
    }

    pub(crate) fn keep(&self, compiled: &Arc<Compiled>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody holds most of them any more when there are more than rules.
        if all.len() >= RULES_MAX {
            all.retain(|_, compiled| compiled.strong_count() > 0);
        }
        all.insert(Hash::of(compiled.source.as_bytes()), Arc::downgrade(compiled));
    }
}

/// The script of a rule that was checked.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) compiled: Arc<Compiled>,
    /// Relative to the rules folder, for messages.
    pub(crate) file: String,
    pub(crate) rule: String,
    /// Which text of the rule it is of.
    pub(crate) version: RuleVersion,
}

/// How a script failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It ran longer than it may.
    Time,
    /// It held more memory than it may.
    Memory,
    /// It did more operations, nested deeper or made larger values than it may.
    Limits,
    /// It threw, or did something that cannot be done.
    Failed,
    /// It gave something else than steps.
    Shape,
    /// The engine itself failed; a bug to report.
    Engine,
    /// Too many rules are being asked; ask again later.
    Busy,
}

/// A script's failure, ready for the journal: bounded, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{message}")]
pub struct ScriptError {
    /// How it failed.
    pub fault: Fault,
    /// In words: lower case, no full stop; at most 500 bytes.
    pub message: String,
    /// Line of the script, counted from 1; 0 when there is none to name.
    pub line: usize,
    /// Character in the line, counted from 1; 0 when there is none to name.
    pub column: usize,
    /// With the source and a caret; at most 4 KiB.
    pub rendered: String,
}

impl ScriptError {
    /// A failure without a place in the script.
    pub(crate) fn plain(fault: Fault, message: impl fmt::Display) -> Self {
        let message = diagnostic::cut(&message.to_string(), MESSAGE_BYTES_MAX);
        Self { fault, rendered: format!("error: {message}"), message, line: 0, column: 0 }
    }

    /// What evaluation gave, with its place.
    pub(crate) fn of(script: &Script, error: &EvalAltResult) -> Self {
        let (fault, message) = explain(innermost(error));
        let message = diagnostic::cut(&message, MESSAGE_BYTES_MAX);
        let span = span_at(&script.compiled.source, position(error));
        let Some(span) = span else {
            let mut plain = Self::plain(fault, message);
            plain.rendered = format!("{}\n  --> {}", plain.rendered, script.file);
            return plain;
        };
        // The code is not shown: these are events of a run, not findings of a check.
        let finding = Finding::error(Code::R201, span, message.clone());
        let shown = finding.into_diagnostic(&script.rule, &script.file, &script.compiled.source);
        Self {
            fault,
            message,
            line: shown.line,
            column: shown.column,
            rendered: shown.rendered.replacen("error[R201]", "error", 1),
        }
    }
}

fn innermost(error: &EvalAltResult) -> &EvalAltResult {
    let mut inner = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _)
    | EvalAltResult::ErrorInModule(_, next, _) = inner
    {
        inner = next;
    }
    inner
}

/// The place of the innermost error that has one.
fn position(error: &EvalAltResult) -> Position {
    let mut place = error.position();
    let mut inner = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _)
    | EvalAltResult::ErrorInModule(_, next, _) = inner
    {
        inner = next;
        if !inner.position().is_none() {
            place = inner.position();
        }
    }
    place
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Rhai's errors are many and not ours; each says itself"
)]
fn explain(error: &EvalAltResult) -> (Fault, String) {
    match error {
        EvalAltResult::ErrorTerminated(why, _) => {
            let is_memory =
                why.as_immutable_string_ref().is_ok_and(|why| *why == cage::OUT_OF_MEMORY);
            if is_memory {
                (Fault::Memory, "it held more than 8 MiB".into())
            } else {
                (Fault::Time, "it ran longer than 200 ms".into())
            }
        }
        EvalAltResult::ErrorTooManyOperations(_) => {
            (Fault::Limits, "it did more than 100,000 operations".into())
        }
        EvalAltResult::ErrorStackOverflow(_) => {
            (Fault::Limits, "its functions call each other more than 16 deep".into())
        }
        EvalAltResult::ErrorTooManyVariables(_) => {
            (Fault::Limits, "it has more than 64 variables at once".into())
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            (Fault::Limits, format!("too large: {}", what.to_lowercase()))
        }
        EvalAltResult::ErrorRuntime(thrown, _) => (Fault::Failed, cage::show(thrown)),
        EvalAltResult::ErrorIndexNotFound(index, _) => {
            (Fault::Failed, format!("no item at `{}`", cage::show(index)))
        }
        EvalAltResult::ErrorFunctionNotFound(signature, _) => {
            (Fault::Failed, format!("no function `{signature}`"))
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => {
            (Fault::Failed, format!("no variable `{name}`"))
        }
        other => {
            let text = other.to_string();
            // The place is shown by the caret.
            let text = text.split(" (line ").next().unwrap_or_default();
            (Fault::Failed, text.to_owned())
        }
    }
}

/// The token at a place of the engine.
pub(crate) fn span_at(source: &str, position: Position) -> Option<Range<usize>> {
    let line = position.line()?;
    let mut start = diagnostic::offset(source, line, position.position().unwrap_or(1));
    // A failing field is reported at its dot.
    start += usize::from(source[start..].starts_with('.'));
    let rest = &source[start..];
    let first = rest.chars().next().unwrap_or(' ');
    let length = if first == '"' || first == '`' {
        rest[1..].find(first).map_or(1, |at| at + 2)
    } else if first.is_alphanumeric() || first == '_' {
        rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
    } else {
        first.len_utf8()
    };
    Some(start..(start + length).min(source.len()))
}

/// Compiles `source` after its size was checked.
pub(crate) fn compile(cage: &Cage, source: String) -> Result<Arc<Compiled>, Finding> {
    if source.len() > cage::SOURCE_BYTES_MAX {
        let message =
            format!("the script has {} bytes, at most {}", source.len(), cage::SOURCE_BYTES_MAX);
        return Err(Finding::of_file(Code::R202, message));
    }
    let n_lines = source.lines().count();
    if n_lines > cage::LINES_MAX {
        let message = format!("the script has {n_lines} lines, at most {}", cage::LINES_MAX);
        return Err(Finding::of_file(Code::R202, message));
    }
    if let Some(span) = long_list(&source) {
        let message = format!("more than {NAMES_MAX} names in one list");
        return Err(Finding::error(Code::R202, span, message));
    }
    let ast = cage.compile(&source).map_err(|error| parse_finding(&source, &error))?;
    let has_next = ast.iter_functions().any(|function| function.name == "next");
    Ok(Arc::new(Compiled { ast, has_next, source }))
}

/// The first name after too many in a row with commas between them: parameters, where Rhai's
/// parser needs quadratic time. No list in a rule that could run is as long.
fn long_list(source: &str) -> Option<Range<usize>> {
    let mut n_names = 0;
    let mut at = 0;
    for piece in source.split(',') {
        let name = piece.trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let is_number = name.starts_with(|c: char| c.is_ascii_digit());
        n_names = if is_name && !is_number { n_names + 1 } else { 0 };
        if n_names > NAMES_MAX {
            return Some(at..at + piece.len());
        }
        at += piece.len() + 1;
    }
    None
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "Rhai's errors are many and not ours; each says itself"
)]
fn parse_finding(source: &str, error: &ParseError) -> Finding {
    let span = span_at(source, error.position()).unwrap_or(source.len()..source.len());
    let word = &source[span.clone()];
    if cage::FORBIDDEN.contains(&word) {
        return Finding::error(Code::R212, span, format!("rules may not use `{word}`"));
    }
    match error.err_type() {
        ParseErrorType::ModuleUndefined(name) => {
            let modules: std::collections::BTreeSet<&str> =
                crate::steps::CONSTRUCTORS.iter().map(|constructor| constructor.module).collect();
            let message = format!("no module `{name}`");
            Finding::error(Code::R206, span, message).suggest(name, modules)
        }
        ParseErrorType::VariableUndefined(name) => {
            let finding = Finding::error(Code::R201, span, format!("no variable `{name}`"));
            if source.contains(&format!("const {name}")) {
                return finding
                    .help(format!("a constant is read in functions as `global::{name}`"));
            }
            finding.suggest(name, ["alarm", "facts", "results"])
        }
        ParseErrorType::TooManyFunctions => {
            Finding::error(Code::R202, span, "a script has at most 64 functions")
        }
        ParseErrorType::ExprTooDeep => {
            Finding::error(Code::R202, span, "this nests more than 32 deep")
        }
        other => {
            let mut text = other.to_string();
            if let Some(first) = text.get(..1) {
                text = first.to_lowercase() + &text[1..];
            }
            Finding::error(Code::R201, span, text)
        }
    }
}
