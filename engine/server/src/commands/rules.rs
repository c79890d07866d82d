//! `check` and `test`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use untoil_actions::Catalogue;
use untoil_sandbox::Severity;

use crate::cli::{Format, Rules};
use crate::config::Config;
use crate::out;
use crate::rulebook::Loaded;

/// Loads a folder of rules for looking at.
pub(crate) fn load(config: &Config, dir: Option<&Path>) -> anyhow::Result<Loaded> {
    let dir = dir.unwrap_or(&config.rules);
    if !dir.is_dir() {
        anyhow::bail!("there is no folder `{}`; give the folder of rules", dir.display());
    }
    Loaded::from(dir, Arc::new(Catalogue::standard(config.http_hosts.clone())))
}

/// `check`: every finding, with its caret. Exit 1 when there is an error.
pub(crate) fn check(config: &Config, what: &Rules, format: Format) -> anyhow::Result<ExitCode> {
    let loaded = load(config, what.rules.as_deref())?;
    let findings = loaded.diagnostics();
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let rules = loaded.rules().rules().len();
    match format {
        Format::Text => {
            for finding in &findings {
                out::say(&finding.rendered);
            }
            out::say(&format!(
                "{rules} rule(s) can be asked, {errors} error(s), {} warning(s)",
                findings.len() - errors
            ));
        }
        Format::Json => {
            let findings: Vec<Value> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "code": finding.code.as_str(),
                        "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
                        "rule": finding.rule,
                        "file": finding.file,
                        "line": finding.line,
                        "column": finding.column,
                        "message": finding.message,
                        "help": finding.help,
                    })
                })
                .collect();
            out::say(
                &json!({ "rules": rules, "errors": errors, "findings": findings }).to_string(),
            );
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
