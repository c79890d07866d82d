//! Lengths, names of modules, and words that must not be committed. Functions are measured by clippy.

use crate::checkout::{Text, has_extension, sources, texts};
use crate::code::{code_of, names};
use crate::none;

/// Most lines of one source file: what one can still keep in mind.
const LINES_MAX: usize = 600;
/// Names of modules that say nothing, and so collect everything.
const VAGUE: [&str; 7] = ["utils", "util", "common", "types", "helpers", "helper", "errors"];
/// Code that is not finished, not run, or not honest.
const BANNED: [&str; 7] = [
    "#[ignore",
    "should_panic",
    "todo!(",
    "unimplemented!(",
    "#[allow(",
    "#![allow(",
    "thread::sleep",
];
/// Text that belongs on somebody's machine or into a tool's settings, in two parts each so that this
/// file does not have them. A lock file names its registry; that is what it is for.
const PRIVATE: [(&str, &str); 8] = [
    ("FIX", "ME"),
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("crates", ".io"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("registry.npm", "js.org"),
];

fn lengths(files: &[Text]) -> Vec<String> {
    let long = files.iter().filter(|file| file.text.lines().count() > LINES_MAX);
    long.map(|file| format!("`{}` has more than {LINES_MAX} lines: split it", file.path)).collect()
}

fn modules(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let mut parts = file.path.trim_end_matches(".rs").split('/');
        let in_path = parts.any(|part| VAGUE.contains(&part));
        let code = code_of(&file.text);
        let inline = VAGUE.iter().any(|name| names(&code, &format!("mod {name}")));
        if in_path || inline {
            wrong.push(format!("`{}`: a module's name says what it holds", file.path));
        }
    }
    wrong
}

fn banned(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        for (line, code) in code_of(&file.text).lines().enumerate() {
            for word in BANNED.iter().filter(|word| names(code, word)) {
                wrong.push(format!("`{}:{}` has `{word}`", file.path, line + 1));
            }
        }
    }
    wrong
}

fn private(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !has_extension(&file.path, "lock")) {
        for (line, text) in file.text.lines().enumerate() {
            let found = PRIVATE.iter().map(|(start, end)| format!("{start}{end}")).find(|word| {
                text.match_indices(word.as_str()).any(|(at, _)| {
                    // Behind a word it is part of a name, such as a cluster's, and no path of ours.
                    let before = text[..at].chars().next_back();
                    !word.starts_with('/') || !before.is_some_and(char::is_alphanumeric)
                })
            });
            if let Some(word) = found {
                wrong.push(format!("`{}:{}` has `{word}`", file.path, line + 1));
            }
        }
    }
    wrong
}

#[test]
fn files_are_short() {
    none(&lengths(&sources()));
}

#[test]
fn modules_have_names_that_say_something() {
    none(&modules(&sources()));
}

#[test]
fn nothing_is_unfinished_ignored_or_silenced() {
    none(&banned(&sources()));
}

#[test]
fn nothing_private_is_committed() {
    none(&private(&texts()));
}

#[test]
fn each_rule_of_shape_can_be_broken() {
    type Check = fn(&[Text]) -> Vec<String>;
    let long = "x\n".repeat(LINES_MAX + 1);
    let home = ["see /ho", "me/somebody/notes"].concat();
    let cluster = ["ecs/wo", "rk/mailer"].concat();
    let marked = ["// FIX", "ME later"].concat();
    let host = ["https://index.crates", ".io/"].concat();
    let table: [(Check, &str, &str, usize); 16] = [
        (lengths, "a.rs", &long, 1),
        (lengths, "a.rs", &long[2..], 0),
        (modules, "engine/model/src/utils.rs", "", 1),
        (modules, "engine/model/tests/common/mod.rs", "", 1),
        (modules, "engine/model/src/plan.rs", "mod helpers;", 1),
        (modules, "engine/model/src/plan.rs", "mod helpers_of_people;", 0),
        (banned, "a.rs", "#[ignore = \"slow\"]", 1),
        (banned, "a.rs", "todo!()", 1),
        (banned, "a.rs", "#[allow(dead_code)]", 1),
        (banned, "a.rs", "std::thread::sleep(x);", 1),
        (banned, "a.rs", "let s = \"todo!(\"; // #[allow(x)]", 0),
        (private, "a.md", &home, 1),
        (private, "a.md", &cluster, 0),
        (private, "a.rs", &marked, 1),
        (private, "a.toml", &host, 1),
        (private, "Cargo.lock", &host, 0),
    ];
    for (check, path, text, n) in table {
        let found = check(&[Text::new(path, text)]);
        assert_eq!(found.len(), n, "{path}: {text:.60}: {found:?}");
    }
}
