//! The documents: they are short, they are whole, and their links lead somewhere.
//!
//! Pages made of or compared with code have tests beside that code: `docs/actions.md` in `actions`,
//! `docs/guard.md` in `engine/guard`, `docs/diagnostics.md` in `sandbox`.

use std::path::Path;

use crate::checkout::{Text, has_extension, read, root, texts};
use crate::crates::members;
use crate::none;

/// Most words of the README: it is read once, standing.
const README_WORDS_MAX: usize = 600;
/// Most words of the architecture: it is read whole, or not at all.
const ARCHITECTURE_WORDS_MAX: usize = 2_500;

fn too_long(name: &str, text: &str, words_max: usize) -> Option<String> {
    let words = text.split_whitespace().count();
    (words > words_max).then(|| format!("`{name}` has {words} words; at most {words_max}"))
}

/// Crates without a `**path**` of their own in the architecture.
fn unnamed(architecture: &str, members: &[String]) -> Vec<String> {
    let missing = members.iter().filter(|path| !architecture.contains(&format!("**{path}**")));
    missing.map(|path| format!("ARCHITECTURE.md does not name `{path}`")).collect()
}

/// The targets of `[text](target)` that are paths, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        let prose: Vec<&str> = line.split('`').step_by(2).collect();
        for part in prose.join("x").split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Links that lead nowhere; `exists` says what is there.
fn dead(files: &[Text], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let folder = Path::new(&file.path).parent().unwrap_or_else(|| Path::new(""));
        for target in links(&file.text) {
            if !exists(&folder.join(&target)) {
                wrong.push(format!("`{}` links to `{target}`, which is not there", file.path));
            }
        }
    }
    wrong
}

/// The commands of the first block of shell, without comments.
fn commands(text: &str) -> Vec<String> {
    let block = text.split("```sh\n").nth(1).unwrap_or_default();
    let block = block.split("```").next().unwrap_or_default();
    let lines = block.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A line of the gate as a reader would type it.
fn plain(line: &str) -> String {
    let line = line.split(" >").next().unwrap_or_default();
    let words = line.split_whitespace().filter(|word| !matches!(*word, "--quiet" | "--locked"));
    words.collect::<Vec<_>>().join(" ")
}

/// Commands of the README that the gate does not run.
fn unproven(readme: &str, gate: &str) -> Vec<String> {
    let commands = commands(readme);
    let run: Vec<String> = gate.lines().map(plain).collect();
    let missing = commands.iter().filter(|command| !run.contains(command));
    let mut wrong: Vec<String> =
        missing.map(|command| format!("README: `{command}` is not what the gate runs")).collect();
    if commands.len() != 2 {
        wrong.push(format!("README: two commands are promised, {} are there", commands.len()));
    }
    wrong
}

#[test]
fn the_readme_and_the_architecture_are_short() {
    let long = [
        too_long("README.md", &read("README.md"), README_WORDS_MAX),
        too_long("ARCHITECTURE.md", &read("ARCHITECTURE.md"), ARCHITECTURE_WORDS_MAX),
    ];
    none(&long.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn the_architecture_names_every_crate() {
    none(&unnamed(&read("ARCHITECTURE.md"), &members()));
}

#[test]
fn every_link_leads_somewhere() {
    let pages: Vec<Text> =
        texts().into_iter().filter(|file| has_extension(&file.path, "md")).collect();
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    none(&dead(&pages, |path| root().join(path).exists()));
}

#[test]
fn the_gate_runs_what_the_readme_says() {
    none(&unproven(&read("README.md"), &read(".ci/run")));
}

#[test]
fn each_rule_of_documents_can_be_broken() {
    assert!(too_long("a", "one two three", 2).is_some());
    assert!(too_long("a", "one two", 2).is_none());
    let members = ["engine/model".to_owned(), "deploy".to_owned()];
    assert_eq!(unnamed("**engine/model**: nouns. deploy", &members).len(), 1);
    let page = "[a](there.md) [b](gone.md#part) [c](https://example.com) [d](#here)\n\
                `[e](code.md)`\n```\n[f](fenced.md)\n```\n";
    let pages = [Text::new("docs/a.md", page)];
    let found = dead(&pages, |path| path == Path::new("docs/there.md"));
    assert_eq!(found, ["`docs/a.md` links to `gone.md`, which is not there"]);
    let gate = "cargo run --quiet --locked -p x -- demo > target/demo.txt\n.ci/test\n";
    let good = "```sh\ncargo run -p x -- demo    # shows\n.ci/test   # tests\n```\n";
    assert!(unproven(good, gate).is_empty());
    assert_eq!(unproven(&good.replace("demo", "show"), gate).len(), 1);
    assert_eq!(unproven("```sh\n.ci/test\n```\n", gate).len(), 1);
}
