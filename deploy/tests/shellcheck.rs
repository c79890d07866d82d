//! The scripts are clean POSIX shell.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "it runs shellcheck and dash")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use untoil_deploy::documents;

fn script(content: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(content).unwrap();
    let lines = json["mainSteps"][0]["inputs"]["runCommand"].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Runs a checker with `text` on its standard input; `None` if there is no such program.
fn check(program: &str, args: &[&str], text: &str) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let told = [ended.stdout, ended.stderr].concat();
    Some(if ended.status.success() { String::new() } else { String::from_utf8(told).unwrap() })
}

#[test]
fn shellcheck_finds_nothing() {
    for document in documents() {
        let script = format!("#!/bin/sh\n{}", script(document.content));
        // 2034: the next part reads it; 2154: the agent sets it; 2015: `a && b || return` is meant; 2317: not every part uses all of the prelude.
        let args = ["-s", "sh", "-S", "style", "-e", "SC2034,SC2154,SC2015,SC2317", "-"];
        match check("shellcheck", &args, &script) {
            Some(told) => assert!(told.is_empty(), "{}:\n{told}", document.name),
            None => eprintln!(
                "SKIPPED: shellcheck is not installed; `{}` was not checked",
                document.name
            ),
        }
    }
}

#[test]
fn the_scripts_parse_as_posix_shell() {
    for document in documents() {
        let told = check("sh", &["-n"], &script(document.content)).expect("there is a shell");
        assert!(told.is_empty(), "{}:\n{told}", document.name);
    }
}
