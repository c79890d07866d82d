//! What must not be there: clocks, the environment, `unsafe`, permits that the guard did not make.

use crate::checkout::{Text, read, sources};
use crate::code::{code_of, code_without_tests, names};
use crate::crates::members;
use crate::none;

/// What reads the time.
const CLOCKS: [&str; 4] = ["SystemTime", "Instant", "Timestamp::now", "Zoned::now"];
/// What waits for it, or hands it on: absent where time is an argument only.
const WAITS: [&str; 3] = ["tokio::time", "untoil_clock", "Instant::now"];
/// Where time is an argument only. The sandbox stops a script by counting the ticks of a condition's
/// time-out (`pool.rs`): it learns that time passes, never what time it is.
const TIMELESS: [&str; 3] = ["engine/model/src/", "engine/guard/src/", "sandbox/src/"];
/// What reads the environment.
const ENVIRONMENT: [&str; 4] = ["env::var", "env::vars", "env::var_os", "env::vars_os"];
/// Where the environment is read. (`cli.rs` names two variables in attributes that clap reads.)
const CONFIG: &str = "engine/server/src/config.rs";
/// Where `unsafe` is: the allocator that counts a script's memory, and the test that watches it.
const UNSAFE: [&str; 2] = ["sandbox/src/meter.rs", "sandbox/tests/hostile.rs"];

/// Whether a file is part of what runs in production. `bench` measures, and may read clocks; so may
/// the trials, which run the real program.
fn is_engine(file: &Text) -> bool {
    let outside = ["bench/", "trials/"].iter().any(|place| file.path.starts_with(place));
    file.path.contains("src/") && !outside
}

fn clocks(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| is_engine(file)) {
        let code = code_without_tests(&file.text);
        let timeless = TIMELESS.iter().any(|place| file.path.starts_with(place));
        let readers = CLOCKS.iter().filter(|_| !file.path.starts_with("engine/clock/"));
        // Virtual time may be measured; that is how waiting on it is made.
        let waits = WAITS.iter().filter(|_| timeless);
        for word in readers.chain(waits).filter(|word| names(&code, word)) {
            wrong.push(format!("`{}` names `{word}`: take the time as an argument", file.path));
        }
    }
    wrong
}

fn environment(files: &[Text]) -> Vec<String> {
    let engine = files.iter().filter(|file| is_engine(file) && file.path != CONFIG);
    let wrong = engine.filter(|file| {
        let code = code_without_tests(&file.text);
        ENVIRONMENT.iter().any(|word| names(&code, word))
    });
    wrong
        .map(|file| format!("`{}` reads the environment; only `{CONFIG}` does", file.path))
        .collect()
}

fn unsafe_code(files: &[Text]) -> Vec<String> {
    let others = files.iter().filter(|file| !UNSAFE.contains(&file.path.as_str()));
    let wrong = others.filter(|file| names(&code_of(&file.text), "unsafe"));
    wrong.map(|file| format!("`{}` has `unsafe` code", file.path)).collect()
}

/// Where a choice between things that are ready at once is made in the order they stand in, so that
/// `trials/simulation` can repeat it. The rest talks to sockets, which nothing can repeat.
const REPEATABLE: [&str; 5] = [
    "engine/dispatcher/src/",
    "engine/guard/src/",
    "engine/journal/src/",
    "engine/notifier/src/",
    "engine/runner/src/",
];

fn chance(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    let inside = |file: &&Text| REPEATABLE.iter().any(|place| file.path.starts_with(place));
    for file in files.iter().filter(inside) {
        let code = code_without_tests(&file.text);
        let mut after = code.split("select! {").skip(1);
        if after.any(|branches| !branches.trim_start().starts_with("biased;")) {
            wrong.push(format!(
                "`{}` has a `select!` that rolls dice; begin it with `biased;`",
                file.path
            ));
        }
    }
    wrong
}

/// Values that only the guard makes. (The compiler says so too: their fields are private.)
fn authority(files: &[Text]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("engine/guard/")) {
        let code = code_of(&file.text);
        for word in ["Permit {", "Clearance {"] {
            let made = code.match_indices(word).any(|(at, _)| {
                let before = code[..at].trim_end();
                let whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                whole && !["->", "impl", "for", "struct"].iter().any(|end| before.ends_with(end))
            });
            if made {
                wrong.push(format!("`{}` makes `{word}…`; only the guard does", file.path));
            }
        }
    }
    wrong
}

#[test]
fn time_is_read_by_the_clock_alone() {
    none(&clocks(&sources()));
}

#[test]
fn the_environment_is_read_in_one_file() {
    none(&environment(&sources()));
}

#[test]
fn unsafe_code_is_in_the_allocator_alone() {
    none(&unsafe_code(&sources()));
}

#[test]
fn permits_are_made_by_the_guard_alone() {
    none(&authority(&sources()));
}

#[test]
fn the_engine_rolls_no_dice() {
    none(&chance(&sources()));
}

#[test]
fn every_crate_but_the_sandbox_forbids_unsafe_code() {
    for path in members().iter().filter(|path| *path != "sandbox") {
        let roots = ["lib.rs", "main.rs"].map(|root| format!("{path}/src/{root}"));
        let roots: Vec<_> =
            roots.iter().filter(|root| crate::checkout::root().join(root).is_file()).collect();
        assert!(!roots.is_empty(), "`{path}` has neither `lib.rs` nor `main.rs`");
        for root in roots {
            let code = code_of(&read(root));
            assert!(code.contains("#![forbid(unsafe_code)]"), "`{root}` lacks the line");
        }
    }
}

#[test]
fn each_absence_can_be_missed() {
    type Check = fn(&[Text]) -> Vec<String>;
    let table: [(Check, &str, &str, usize); 18] = [
        (clocks, "engine/runner/src/a.rs", "let now = Timestamp::now();", 1),
        (clocks, "engine/runner/src/a.rs", "use std::time::{Duration, SystemTime};", 1),
        (clocks, "engine/runner/src/a.rs", "// Timestamp::now()", 0),
        (clocks, "engine/runner/src/a.rs", "#[cfg(test)]\nmod tests { Instant::now() }", 0),
        (clocks, "engine/guard/src/a.rs", "use tokio::time::timeout;", 1),
        (clocks, "engine/intake/src/a.rs", "use tokio::time::timeout;", 0),
        (clocks, "sandbox/src/a.rs", "use untoil_clock::Clock;", 1),
        (clocks, "engine/clock/src/lib.rs", "Timestamp::now()", 0),
        (environment, "engine/server/src/plant.rs", "std::env::var(name)", 1),
        (environment, CONFIG, "std::env::var(name)", 0),
        (unsafe_code, "engine/model/src/a.rs", "unsafe { x() }", 1),
        (unsafe_code, "sandbox/src/meter.rs", "unsafe { x() }", 0),
        (chance, "engine/runner/src/a.rs", "tokio::select! {\n a = b => {}", 1),
        (chance, "engine/runner/src/a.rs", "tokio::select! {\n biased;\n a = b => {}", 0),
        (chance, "engine/server/src/a.rs", "tokio::select! {\n a = b => {}", 0),
        (authority, "engine/runner/src/a.rs", "let p = Permit { run, plan };", 1),
        (authority, "engine/runner/src/a.rs", "fn f() -> Clearance { g() }", 0),
        (authority, "engine/guard/src/a.rs", "Ok(Clearance { at })", 0),
    ];
    for (check, path, text, n) in table {
        let found = check(&[Text::new(path, text)]);
        assert_eq!(found.len(), n, "{path}: {text}: {found:?}");
    }
}
