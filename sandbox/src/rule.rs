//! A rule: a manifest and a script that passed every check, under a name and a version.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use untoil_model::{Alarm, RuleName, RuleVersion};

use crate::checker::{self, Subject};
use crate::diagnostic::{Code, Diagnostic, Finding, Severity};
use crate::manifest::Manifest;
use crate::reading;
use crate::sandbox::Sandbox;
use crate::script::{self, Script};

/// Longest manifest: the shipped ones have less than 2 KiB.
pub(crate) const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// A rule that can be asked.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its folder's name.
    pub name: RuleName,
    /// Which text of it this is.
    pub version: RuleVersion,
    /// Its manifest.
    pub manifest: Manifest,
    /// What its author should look at; never an error.
    pub warnings: Vec<Diagnostic>,
    pub(crate) script: Arc<Script>,
}

impl Rule {
    /// Whether it wants to be asked again when its steps are done.
    pub fn has_next(&self) -> bool {
        self.script.has_next
    }

    /// Whether it answers this alarm.
    pub fn answers(&self, alarm: &Alarm) -> bool {
        self.manifest.on.iter().any(|matcher| matcher.matches(alarm))
    }

    /// The script's text, for people.
    pub fn source(&self) -> &str {
        &self.script.source
    }
}

/// The files of a rule as they were read. A file that is not there is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFiles {
    /// The folder's name.
    pub name: String,
    /// `rule.yaml`.
    pub manifest: Option<Vec<u8>>,
    /// `rule.rhai`.
    pub script: Option<Vec<u8>>,
}

impl RuleFiles {
    /// Names this text: the first 16 hexadecimal digits of the SHA-256 of the manifest, a zero byte
    /// and the script.
    pub fn version(&self) -> RuleVersion {
        let mut hash = Sha256::new();
        hash.update(self.manifest.as_deref().unwrap_or_default());
        hash.update([0]);
        hash.update(self.script.as_deref().unwrap_or_default());
        let first =
            hash.finalize().iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        format!("{first:016x}").parse().expect("16 hexadecimal digits are a version")
    }
}

/// Checks a rule's files and compiles the script. Every mistake is reported, not only the first.
///
/// # Errors
/// All findings, errors and warnings, when there is at least one error.
pub(crate) fn build(files: &RuleFiles, sandbox: &Sandbox) -> Result<Rule, Vec<Diagnostic>> {
    let mut report = Report { rule: &files.name, findings: Vec::new() };
    let name: Option<RuleName> = files
        .name
        .parse()
        .map_err(|error| {
            report.add("", "", Finding::of_file(Code::R110, format!("{error}")));
        })
        .ok();
    let manifest_text = report.text("rule.yaml", files.manifest.as_deref());
    let script_text = report.text("rule.rhai", files.script.as_deref());
    let (mut manifest, mut places) = (None, reading::Places::default());
    if let Some(text) = &manifest_text {
        let (read, found_places, findings) = reading::read(text, sandbox.catalogue());
        (manifest, places) = (read, found_places);
        report.all("rule.yaml", text, findings);
    }
    let ast = script_text.as_ref().and_then(|text| match sandbox.compile(text) {
        Ok(ast) => Some(ast),
        Err(finding) => {
            report.all("rule.rhai", text, vec![finding]);
            None
        }
    });
    if let (Some(text), Some(ast)) = (&script_text, &ast) {
        let subject =
            Subject { source: text, ast, manifest: manifest.as_ref(), grants: &places.grants };
        let findings = checker::check(&subject, sandbox.functions());
        report.all("rule.rhai", text, findings.script);
        // With a broken manifest its grants are unknown or half known.
        if let (Some(yaml), Some(_)) = (&manifest_text, &manifest) {
            report.all("rule.yaml", yaml, findings.manifest);
        }
    }
    let has_errors = report.findings.iter().any(|found| found.severity == Severity::Error);
    let (Some(name), Some(manifest), Some(source), Some(ast), false) =
        (name, manifest, script_text, ast, has_errors)
    else {
        return Err(report.findings);
    };
    let has_next = ast.iter_functions().any(|function| function.name == "next");
    let script = Script {
        ast: Arc::unwrap_or_clone(ast),
        has_next,
        source,
        file: format!("{name}/rule.rhai"),
        rule: name.to_string(),
    };
    Ok(Rule {
        version: files.version(),
        name,
        manifest,
        warnings: report.findings,
        script: Arc::new(script),
    })
}

struct Report<'a> {
    rule: &'a str,
    findings: Vec<Diagnostic>,
}

impl Report<'_> {
    fn add(&mut self, file: &str, source: &str, finding: Finding) {
        let path =
            if file.is_empty() { self.rule.to_owned() } else { format!("{}/{file}", self.rule) };
        self.findings.push(finding.into_diagnostic(self.rule, &path, source));
    }

    fn all(&mut self, file: &str, source: &str, findings: Vec<Finding>) {
        for finding in findings {
            self.add(file, source, finding);
        }
    }

    /// The text of a file that is there, not too long and UTF-8.
    fn text(&mut self, file: &str, bytes: Option<&[u8]>) -> Option<String> {
        let Some(bytes) = bytes else {
            self.add(file, "", Finding::of_file(Code::R110, format!("there is no `{file}`")));
            return None;
        };
        if file == "rule.yaml" && bytes.len() > MANIFEST_BYTES_MAX {
            let message =
                format!("`{file}` has {} bytes, at most {MANIFEST_BYTES_MAX}", bytes.len());
            self.add(file, "", Finding::of_file(Code::R110, message));
            return None;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(text.trim_start_matches('\u{feff}').to_owned()),
            Err(_) => {
                self.add(file, "", Finding::of_file(Code::R110, format!("`{file}` is not UTF-8")));
                None
            }
        }
    }
}

impl Sandbox {
    /// Checks one rule's files, as `check` and rule tests do.
    ///
    /// # Errors
    /// All findings, errors and warnings, when there is at least one error.
    pub fn build(&self, files: &RuleFiles) -> Result<Rule, Vec<Diagnostic>> {
        build(files, self)
    }

    pub(crate) fn compile(&self, source: &str) -> Result<Arc<rhai::AST>, Finding> {
        let cage = Arc::clone(self.cage());
        let text = source.to_owned();
        self.pool()
            .run(crate::sandbox::COMPILE_TIME, move || script::compile(&cage, &text))
            .unwrap_or_else(|error| {
                Err(Finding::of_file(
                    Code::R201,
                    format!("the script could not be compiled: {error}"),
                ))
            })
    }
}
