//! Rhai, locked down: no I/O, clock, eval or imports, and every resource bounded.
//!
//! The documented limits of Rhai 1.27 let fifteen kinds of script through (`tests/hostile.rs` holds
//! them all). What is added here: hand-picked packages, no optimiser, checked versions of the native
//! functions that hang or explode, a byte meter and a stop flag looked at before every operation,
//! and bounded printing.

use std::cell::RefCell;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicIteratorPackage, BasicMapPackage, BasicMathPackage,
    BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{
    AST, CallFnOptions, Dynamic, Engine, EvalAltResult, FuncArgs, ImmutableString,
    OptimizationLevel, ParseError, Position, Scope,
};

use crate::{meter, pool, steps, views};

/// Longest script: parsing is not metered, and some parts of it are quadratic.
pub(crate) const SOURCE_BYTES_MAX: usize = 32 * 1024;
/// Most lines: Rhai's line numbers end at 65,535.
pub(crate) const LINES_MAX: usize = 4_000;
/// Most arguments of a call and parameters of a function: an unknown function with many arguments
/// costs seconds in one operation.
pub(crate) const ARGS_MAX: usize = 16;
/// Operations in one asking. Shipped rules need fewer than 500.
const OPERATIONS_MAX: u64 = 100_000;
/// Nested calls.
const CALL_LEVELS_MAX: usize = 16;
/// Nested expressions, the same in debug and release builds.
const EXPR_DEPTH_MAX: usize = 32;
/// Bytes of one text.
const STRING_BYTES_MAX: usize = 16 * 1024;
/// Items of one list, with those of the lists in it.
const ARRAY_ITEMS_MAX: usize = 1_000;
/// Entries of one table, with those of the tables in it.
const MAP_ENTRIES_MAX: usize = 200;
/// Variables in scope at once.
const VARIABLES_MAX: usize = 64;
/// Functions of one script.
const FUNCTIONS_MAX: usize = 64;
/// Bytes held between operations. One operation may add about as much again for its own result.
const MEMORY_BYTES_MAX: isize = 8 << 20;
/// Lines kept of what a script prints.
const PRINTED_LINES_MAX: usize = 50;
/// Bytes kept of what a script prints.
const PRINTED_BYTES_MAX: usize = 4 * 1024;
/// Stands for what was printed beyond that.
const CUT_MARK: &str = "… (more was printed than is kept)";
/// Words that rules may not use.
pub(crate) const FORBIDDEN: &[&str] =
    &["eval", "Fn", "call", "curry", "import", "export", "is_shared"];

/// Ends a script that holds too much.
pub(crate) const OUT_OF_MEMORY: &str = "memory";
/// Ends a script that runs too long.
pub(crate) const OUT_OF_TIME: &str = "time";

thread_local! {
    static PRINTED: RefCell<Printed> = RefCell::default();
}

#[derive(Default)]
struct Printed {
    lines: Vec<String>,
    bytes: usize,
    is_cut: bool,
}

/// The engine that all rules share.
#[derive(Debug)]
pub(crate) struct Cage {
    engine: Engine,
}

/// What one call gave.
pub(crate) struct Called {
    pub(crate) outcome: Result<Dynamic, Box<EvalAltResult>>,
    pub(crate) printed: Vec<String>,
}

impl Cage {
    pub(crate) fn new() -> Self {
        let mut engine = Engine::new_raw();
        // Not LanguageCore (sleep, exit, parse_json), BasicTime, BasicBlob, BitField, BasicFn.
        ArithmeticPackage::new().register_into_engine(&mut engine);
        LogicPackage::new().register_into_engine(&mut engine);
        BasicMathPackage::new().register_into_engine(&mut engine);
        BasicStringPackage::new().register_into_engine(&mut engine);
        MoreStringPackage::new().register_into_engine(&mut engine);
        BasicIteratorPackage::new().register_into_engine(&mut engine);
        BasicArrayPackage::new().register_into_engine(&mut engine);
        BasicMapPackage::new().register_into_engine(&mut engine);
        // The optimiser folds constants into assignment targets and panics, and hides misspelt fields.
        engine.set_optimization_level(OptimizationLevel::None);
        engine
            .set_max_operations(OPERATIONS_MAX)
            .set_max_call_levels(CALL_LEVELS_MAX)
            .set_max_expr_depths(EXPR_DEPTH_MAX, EXPR_DEPTH_MAX)
            .set_max_string_size(STRING_BYTES_MAX)
            .set_max_array_size(ARRAY_ITEMS_MAX)
            .set_max_map_size(MAP_ENTRIES_MAX)
            .set_max_variables(VARIABLES_MAX)
            .set_max_functions(FUNCTIONS_MAX)
            .set_max_modules(0)
            .set_strict_variables(true)
            .set_fail_on_invalid_map_property(true);
        for word in FORBIDDEN {
            engine.disable_symbol(*word);
        }
        checked_versions(&mut engine);
        views::register(&mut engine);
        steps::register(&mut engine);
        engine.on_print(keep);
        engine.on_debug(|text, _, _| keep(text));
        engine.on_progress(|_| {
            if meter::used() > MEMORY_BYTES_MAX {
                Some(OUT_OF_MEMORY.into())
            } else if pool::is_stopped() {
                Some(OUT_OF_TIME.into())
            } else {
                None
            }
        });
        Self { engine }
    }

    /// Compiles a script that is not larger than [`SOURCE_BYTES_MAX`].
    pub(crate) fn compile(&self, source: &str) -> Result<AST, ParseError> {
        self.engine.compile(source)
    }

    /// The engine, for its tokens and its list of functions.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Calls a function of a script on this thread, metered from here.
    pub(crate) fn call(&self, ast: &AST, function: &str, args: impl FuncArgs) -> Called {
        PRINTED.set(Printed::default());
        meter::begin();
        // Top-level constants are evaluated each time; the checker lets nothing else stand there.
        let options = CallFnOptions::new().eval_ast(true);
        let mut scope = Scope::new();
        let outcome = self.engine.call_fn_with_options(options, &mut scope, ast, function, args);
        drop(scope);
        let printed = PRINTED.take().lines;
        Called { outcome, printed }
    }
}

fn keep(text: &str) {
    PRINTED.with_borrow_mut(|printed| {
        if printed.is_cut {
            return;
        }
        let left = PRINTED_BYTES_MAX - CUT_MARK.len() - printed.bytes;
        if printed.lines.len() >= PRINTED_LINES_MAX - 1 || text.len() > left {
            printed.is_cut = true;
            printed.lines.push(CUT_MARK.into());
            return;
        }
        printed.bytes += text.len();
        printed.lines.push(text.to_owned());
    });
}

#[expect(clippy::unnecessary_box_returns, reason = "Rhai's functions fail with boxed errors")]
fn too_large(what: &str) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorDataTooLarge(what.to_owned(), Position::NONE))
}

/// Native functions that would do too much in one operation, checked before they begin.
fn checked_versions(engine: &mut Engine) {
    type Done = Result<(), Box<EvalAltResult>>;
    engine
        .register_fn("pad", |text: &mut ImmutableString, length: i64, with: &str| -> Done {
            // The native one never ends when `with` is empty.
            pad(text, length, with)
        })
        .register_fn("replace", |text: &mut ImmutableString, find: &str, with: &str| -> Done {
            replace(text, find, with)
        })
        .register_fn("replace", |text: &mut ImmutableString, find: char, with: &str| -> Done {
            replace(text, find.encode_utf8(&mut [0; 4]), with)
        })
        .register_fn("replace", |text: &mut ImmutableString, find: &str, with: char| -> Done {
            replace(text, find, with.encode_utf8(&mut [0; 4]))
        });
    for name in ["to_string", "to_debug", "print", "debug"] {
        // The native ones write nested lists out without any limit.
        engine
            .register_fn(name, |items: &mut rhai::Array| {
                let mut text = String::new();
                write_list(items, &mut text);
                ImmutableString::from(crate::diagnostic::cut(&text, STRING_BYTES_MAX))
            })
            .register_fn(name, |fields: &mut rhai::Map| {
                let mut text = String::new();
                write_table(fields, &mut text);
                ImmutableString::from(crate::diagnostic::cut(&text, STRING_BYTES_MAX))
            });
    }
}

fn pad(text: &mut ImmutableString, length: i64, with: &str) -> Result<(), Box<EvalAltResult>> {
    let wanted = usize::try_from(length).unwrap_or(0);
    if wanted > STRING_BYTES_MAX {
        return Err(too_large("Length of string"));
    }
    let missing = wanted.saturating_sub(text.chars().count());
    if missing == 0 {
        return Ok(());
    }
    if with.is_empty() {
        return Err(views::runtime("`pad` needs something to pad with"));
    }
    let padding: String = with.chars().cycle().take(missing).collect();
    if text.len() + padding.len() > STRING_BYTES_MAX {
        return Err(too_large("Length of string"));
    }
    *text += padding.as_str();
    Ok(())
}

fn replace(text: &mut ImmutableString, find: &str, with: &str) -> Result<(), Box<EvalAltResult>> {
    let n = text.matches(find).count();
    let bytes = text.len() + n * with.len().saturating_sub(find.len());
    if bytes > STRING_BYTES_MAX {
        return Err(too_large("Length of string"));
    }
    *text = text.replace(find, with).into();
    Ok(())
}

/// Any value as a text of bounded length; what does not fit is cut.
pub(crate) fn show(value: &Dynamic) -> String {
    let mut text = String::new();
    write_value(value, &mut text, true);
    crate::diagnostic::cut(&text, STRING_BYTES_MAX)
}

fn write_value(value: &Dynamic, text: &mut String, is_outer: bool) {
    if text.len() > STRING_BYTES_MAX {
        return;
    }
    if let Ok(items) = value.as_array_ref() {
        write_list(&items, text);
    } else if let Ok(fields) = value.as_map_ref() {
        write_table(&fields, text);
    } else if let Ok(string) = value.as_immutable_string_ref() {
        let shown = crate::diagnostic::cut(&string, STRING_BYTES_MAX);
        if is_outer {
            text.push_str(&shown);
        } else {
            text.extend(["\"", shown.escape_debug().to_string().as_str(), "\""]);
        }
    } else if value.is_int()
        || value.is_float()
        || value.is_bool()
        || value.is_char()
        || value.is_unit()
    {
        text.push_str(&value.to_string());
    } else {
        text.push_str(steps::type_name(value));
    }
}

fn write_list(items: &[Dynamic], text: &mut String) {
    text.push('[');
    for (at, item) in items.iter().enumerate() {
        if text.len() > STRING_BYTES_MAX {
            return;
        }
        text.push_str(if at > 0 { ", " } else { "" });
        write_value(item, text, false);
    }
    text.push(']');
}

fn write_table(fields: &rhai::Map, text: &mut String) {
    text.push_str("#{");
    for (at, (key, field)) in fields.iter().enumerate() {
        if text.len() > STRING_BYTES_MAX {
            return;
        }
        text.push_str(if at > 0 { ", " } else { "" });
        text.push_str(key);
        text.push_str(": ");
        write_value(field, text, false);
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_tables_as_texts_are_cut_however_deep() {
        let line = Dynamic::from("x".repeat(8_000));
        let list = Dynamic::from_array(vec![line; 900]);
        let deep = Dynamic::from_array(vec![list.clone(); 900]);
        for value in [list, deep] {
            let text = show(&value);
            assert!(text.len() <= STRING_BYTES_MAX && text.ends_with('…'), "{}", text.len());
        }
    }

    #[test]
    fn the_checked_versions_do_what_the_native_ones_do() {
        let cage = Cage::new();
        let table = [
            ("let s = \"a\"; s.pad(4, \"xy\"); s", "axyx"),
            ("let s = \"abc\"; s.pad(2, \"xy\"); s", "abc"),
            ("let s = \"abc\"; s.pad(-2, \"\"); s", "abc"),
            ("let s = \"a\"; s.pad(3, 'z'); s", "azz"),
            ("let s = \"가나가\"; s.replace(\"가\", \"x\"); s", "x나x"),
            ("let s = \"aba\"; s.replace('a', \"xy\"); s", "xybxy"),
            ("let s = \"aba\"; s.replace(\"ab\", 'z'); s", "za"),
            ("let s = \"aba\"; s.replace('a', 'b'); s", "bbb"),
            ("`${[1, \"a\", #{b: ()}]}`", "[1, \"a\", #{b: }]"),
        ];
        for (body, want) in table {
            let ast = cage.compile(&format!("fn plan() {{ {body} }}")).unwrap();
            let text = cage.call(&ast, "plan", ()).outcome.unwrap().into_string().unwrap();
            assert_eq!(text, want, "{body}");
        }
    }
}
