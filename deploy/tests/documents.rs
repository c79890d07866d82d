//! The committed documents are those that the scripts make, and accept only what is harmless.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect_file;
use proptest::prelude::*;
use untoil_deploy::{Accepts, Filler, assemble, document, documents};

/// The script of a committed document, as the agent joins it.
fn script(content: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(content).unwrap();
    let lines = json["mainSteps"][0]["inputs"]["runCommand"].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_committed_documents_are_assembled_from_the_scripts() {
    // `UPDATE_EXPECT=1 cargo test -p untoil-deploy` writes them anew.
    for document in documents() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("ssm/{}.json", document.name));
        expect_file![path].assert_eq(&assemble(document));
    }
}

#[test]
fn documents_fit_ssm() {
    for document in documents() {
        assert!(document.content.len() <= 65_536, "{}: {}", document.name, document.content.len());
        assert_eq!(document.sha256().len(), 64);
        assert_eq!(document.version, "1");
        let json: serde_json::Value = serde_json::from_str(document.content).unwrap();
        assert_eq!(json["schemaVersion"], "2.2");
        assert_eq!(json["mainSteps"][0]["precondition"]["StringEquals"][1], "Linux");
        for (name, declared) in json["parameters"].as_object().unwrap() {
            let limited =
                declared["allowedPattern"].is_string() || declared["allowedValues"].is_array();
            assert!(limited, "{}: `{name}` accepts anything", document.name);
            let env = declared["interpolationType"] == "ENV_VAR";
            assert_eq!(env, name != "executionTimeout", "{}: `{name}`", document.name);
        }
    }
}

#[test]
fn braces_stand_only_for_declared_parameters() {
    // SSM takes every `{{ word }}` for a parameter, also one meant for `docker --format`.
    for document in documents() {
        let script = script(document.content);
        for (at, _) in script.match_indices("{{") {
            let name = script[at + 2..].split("}}").next().unwrap().trim();
            assert!(document.parameter(name).is_some(), "{}: `{{{{{name}}}}}`", document.name);
        }
    }
}

#[test]
fn the_engine_fills_the_same_parameters_of_every_document() {
    for document in documents() {
        let filled: Vec<_> = document
            .parameters
            .iter()
            .filter(|p| p.filler == Filler::Engine)
            .map(|p| p.name)
            .collect();
        assert_eq!(filled, ["RunId", "NotAfter", "Mode", "executionTimeout"], "{}", document.name);
    }
}

#[test]
fn defaults_are_accepted() {
    for parameter in documents().iter().flat_map(|document| document.parameters) {
        if let Some(value) = parameter.default {
            parameter.check(value).unwrap();
        }
    }
}

#[test]
fn what_the_shell_minds_is_never_accepted() {
    let hostile = [
        "",
        " ",
        "$(id)",
        "`id`",
        "a;b",
        "a\"b",
        "a'b",
        "a\\b",
        "/a b",
        "/a\n",
        "/$x",
        "80\n",
        "-1",
        "--x",
        "/-x",
        "/a/../b",
        "/..",
        "//",
        "/a/",
        "dry ",
        "ds_agent.service;id",
        "sshd.service",
        "080",
        "0",
        "９",
        "&",
        "|",
        "*",
        "/*",
        "{{ RunId }}",
        "한글",
    ];
    for document in documents() {
        for parameter in document.parameters {
            for value in hostile {
                let checked = parameter.check(value);
                assert!(
                    checked.is_err(),
                    "{}: `{}` accepts `{value}`",
                    document.name,
                    parameter.name
                );
            }
        }
    }
}

#[test]
fn a_refused_value_is_told_with_the_way_out() {
    let reclaim = document("untoil-disk-reclaim").unwrap();
    let target = reclaim.parameter("TargetUsedPct").unwrap();
    assert_eq!(
        target.check("20").unwrap_err().to_string(),
        "`20` is not a `TargetUsedPct`: use a whole number from 50 to 95"
    );
    let restart = document("untoil-restart-unit").unwrap();
    let told = restart.parameter("Unit").unwrap().check("sshd.service").unwrap_err().to_string();
    assert!(told.contains("`newrelic-infra.service`"), "{told}");
}

#[test]
fn every_code_in_a_script_is_declared_and_the_other_way_round() {
    for document in documents() {
        let script = script(document.content) + "\n";
        // `refuse CODE STATUS` and `finish OK CODE STATUS`, wherever they stand.
        let words: Vec<&str> = script.split([' ', '\n', ';', '\'']).collect();
        let said: BTreeSet<(String, String)> = words
            .windows(4)
            .filter_map(|w| match w {
                ["refuse", code, status, _] => Some((*code, *status)),
                ["finish", "true" | "false", code, status] => Some((*code, *status)),
                _ => None,
            })
            .filter(|(_, status)| status.bytes().all(|c| c.is_ascii_digit()))
            .map(|(code, status)| (code.to_owned(), status.to_owned()))
            .filter(|(code, status)| (code.as_str(), status.as_str()) != ("already_done", "71"))
            .collect();
        let shared = ["already_done", "already_started"];
        let declared: BTreeSet<_> = document
            .endings
            .iter()
            .map(|ending| (ending.code.to_owned(), ending.status.to_string()))
            .collect();
        let unused: Vec<_> = declared.difference(&said).collect();
        assert!(unused.is_empty(), "{}: declared but never said: {unused:?}", document.name);
        let undeclared: Vec<_> = said
            .difference(&declared)
            .filter(|(code, _)| document.writes || !shared.contains(&code.as_str()))
            .collect();
        assert!(undeclared.is_empty(), "{}: said but not declared: {undeclared:?}", document.name);
    }
}

#[test]
fn the_manual_tells_of_every_document_parameter_and_code() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ssm-documents.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for document in documents() {
        assert!(manual.contains(&format!("`{}`", document.name)), "{}", document.name);
        for parameter in document.parameters {
            assert!(manual.contains(&format!("`{}`", parameter.name)), "{}", parameter.name);
        }
        for ending in document.endings {
            let line = format!("| `{}` | {} |", ending.code, ending.status);
            assert!(manual.contains(&line), "docs/ssm-documents.md lacks `{line}`");
        }
    }
}

/// Strings that fit the committed `allowedPattern` of `accepts`.
fn fitting(accepts: Accepts) -> BoxedStrategy<String> {
    let pattern = accepts.pattern().unwrap();
    let inner = pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
    proptest::string::string_regex(&inner).unwrap().boxed()
}

proptest! {
    #[test]
    fn an_id_that_ssm_accepts_is_accepted_here(id in fitting(Accepts::Id)) {
        let run = document("untoil-disk-diag").unwrap().parameter("RunId").unwrap();
        prop_assert!(run.check(&id).is_ok(), "{}", id);
    }

    #[test]
    fn a_mount_that_ssm_accepts_is_accepted_here_unless_too_long(mount in fitting(Accepts::Mount)) {
        let parameter = document("untoil-disk-diag").unwrap().parameter("Mount").unwrap();
        prop_assert_eq!(parameter.check(&mount).is_ok(), mount.len() <= 200, "{}", mount);
    }

    #[test]
    fn a_number_within_bounds_fits_the_pattern_and_no_other_is_accepted(n in 0u64..20_000) {
        let accepts = Accepts::Number { least: 10, most: 9999 };
        let minimum = document("untoil-restart-unit").unwrap().parameter("MinCorePct").unwrap();
        prop_assert_eq!(minimum.accepts, accepts);
        prop_assert_eq!(minimum.check(&n.to_string()).is_ok(), (10..=9999).contains(&n));
    }
}
