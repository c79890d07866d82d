//! A rule: a manifest and a script that passed every check, under a name and a version.

use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use untoil_model::{Alarm, RuleName, RuleVersion};

use crate::cage;
use crate::checker::{self, Subject};
use crate::diagnostic::{Code, Diagnostic, Finding, Severity};
use crate::manifest::Manifest;
use crate::reading;
use crate::sandbox::Sandbox;
use crate::script::{self, Compiled, Fault, Script, ScriptError};

/// Longest manifest: the shipped ones have less than 2 KiB.
pub(crate) const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// A rule that can be asked.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its folder's name.
    pub name: RuleName,
    /// Its manifest.
    pub manifest: Manifest,
    /// What its author should look at; never an error.
    pub warnings: Vec<Diagnostic>,
    pub(crate) script: Held,
}

/// A rule's script: checked, or to be checked before it is first asked.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Checked(Arc<Script>),
    Unchecked(Arc<Unchecked>),
}

/// The files of a rule whose manifest was read, and its script once it has passed the check.
#[derive(Debug)]
pub(crate) struct Unchecked {
    files: RuleFiles,
    /// Made when it is first asked for: to hash all texts takes a tenth of a start.
    version: OnceLock<RuleVersion>,
    passed: OnceLock<Arc<Script>>,
}

impl Rule {
    /// Which text of it this is.
    pub fn version(&self) -> &RuleVersion {
        match &self.script {
            Held::Checked(script) => &script.version,
            Held::Unchecked(rule) => rule.version.get_or_init(|| rule.files.version()),
        }
    }

    /// Whether it wants to be asked again when its steps are done. Known once it was asked.
    pub fn has_next(&self) -> bool {
        self.checked().is_some_and(|script| script.compiled.has_next)
    }

    /// The script, if it has passed its check.
    pub(crate) fn checked(&self) -> Option<Arc<Script>> {
        match &self.script {
            Held::Checked(script) => Some(Arc::clone(script)),
            Held::Unchecked(rule) => rule.passed.get().map(Arc::clone),
        }
    }

    /// What is still to be checked of it, if it is not.
    pub(crate) fn unchecked(&self) -> Option<&RuleFiles> {
        match &self.script {
            Held::Checked(_) => None,
            Held::Unchecked(rule) => Some(&rule.files),
        }
    }

    /// Whether it answers this alarm.
    pub fn answers(&self, alarm: &Alarm) -> bool {
        self.manifest.on.iter().any(|matcher| matcher.matches(alarm))
    }

    /// The script's text, for people.
    pub fn source(&self) -> &str {
        match &self.script {
            Held::Checked(script) => &script.compiled.source,
            Held::Unchecked(rule) => {
                let text = rule.files.script.as_deref().map(str::from_utf8);
                text.and_then(Result::ok).unwrap_or_default()
            }
        }
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
        self.digest().version()
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        hash.update(self.manifest.as_deref().unwrap_or_default());
        hash.update([0]);
        hash.update(self.script.as_deref().unwrap_or_default());
        let has_both = self.manifest.is_some() && self.script.is_some();
        Digest { has_both, sha256: hash.finalize().into() }
    }
}

/// Tells texts of a rule apart without keeping them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    /// A file that is not there is not an empty one.
    has_both: bool,
    sha256: [u8; 32],
}

impl Digest {
    pub(crate) fn version(self) -> RuleVersion {
        let first = self.sha256.iter().take(8).fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
        format!("{first:016x}").parse().expect("16 hexadecimal digits are a version")
    }
}

/// Reads a rule's manifest, if it is a plain one without mistakes, and leaves the script for later.
///
/// # Errors
/// Gives the files back when they must be checked as a whole.
pub(crate) fn index(files: RuleFiles, sandbox: &Sandbox) -> Result<Rule, RuleFiles> {
    let name: Option<RuleName> = files.name.parse().ok();
    let manifest = plain_text(files.manifest.as_deref(), MANIFEST_BYTES_MAX);
    let manifest = manifest.and_then(|text| reading::read_plain(text, sandbox.catalogue()));
    let has_script = plain_text(files.script.as_deref(), cage::SOURCE_BYTES_MAX).is_some();
    let (Some(name), Some(manifest), true) = (name, manifest, has_script) else {
        return Err(files);
    };
    let unchecked = Unchecked { files, version: OnceLock::new(), passed: OnceLock::new() };
    let script = Held::Unchecked(Arc::new(unchecked));
    Ok(Rule { name, manifest, warnings: Vec::new(), script })
}

fn plain_text(bytes: Option<&[u8]>, bytes_max: usize) -> Option<&str> {
    str::from_utf8(bytes.filter(|bytes| bytes.len() <= bytes_max)?).ok()
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
    let compiled = script_text.as_ref().and_then(|text| match sandbox.compile(text) {
        Ok(compiled) => Some(compiled),
        Err(finding) => {
            report.all("rule.rhai", text, vec![finding]);
            None
        }
    });
    if let (Some(text), Some(compiled)) = (&script_text, &compiled) {
        let (ast, manifest) = (&compiled.ast, manifest.as_ref());
        let subject = Subject { source: text, ast, manifest, grants: &places.grants };
        let findings = checker::check(&subject, sandbox.functions());
        report.all("rule.rhai", text, findings.script);
        // With a broken manifest its grants are unknown or half known.
        if let (Some(yaml), Some(_)) = (&manifest_text, &manifest) {
            report.all("rule.yaml", yaml, findings.manifest);
        }
    }
    let has_errors = report.findings.iter().any(|found| found.severity == Severity::Error);
    let (Some(name), Some(manifest), Some(compiled), false) =
        (name, manifest, compiled, has_errors)
    else {
        return Err(report.findings);
    };
    let (file, rule) = (format!("{name}/rule.rhai"), name.to_string());
    let script = Script { compiled, file, rule, version: files.version() };
    Ok(Rule { name, manifest, warnings: report.findings, script: Held::Checked(Arc::new(script)) })
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

    /// The script of a rule that is to be asked. Blocks, once, while it is checked.
    ///
    /// # Errors
    /// When the rule does not pass its check.
    pub(crate) fn script(&self, rule: &Rule) -> Result<Arc<Script>, ScriptError> {
        let unchecked = match &rule.script {
            Held::Checked(script) => return Ok(Arc::clone(script)),
            Held::Unchecked(unchecked) => unchecked,
        };
        if let Some(script) = unchecked.passed.get() {
            return Ok(Arc::clone(script));
        }
        let built = self.check(rule, &unchecked.files).map_err(|found| {
            let first = found.iter().find(|found| found.severity == Severity::Error);
            let why = first.map(|found| found.message.as_str()).unwrap_or_default();
            let mut error = ScriptError::plain(
                Fault::Failed,
                format!("`{}` does not pass its check: {why}", rule.name),
            );
            if let Some(first) = first {
                error.rendered.clone_from(&first.rendered);
            }
            error
        })?;
        let script = match built.script {
            Held::Checked(script) => script,
            Held::Unchecked(_) => {
                return Err(ScriptError::plain(Fault::Engine, "the check left the script out"));
            }
        };
        Ok(Arc::clone(unchecked.passed.get_or_init(|| script)))
    }

    /// Checks a rule whose manifest alone was read. The manifest is read again, by the library.
    pub(crate) fn check(&self, rule: &Rule, files: &RuleFiles) -> Result<Rule, Vec<Diagnostic>> {
        let built = self.build(files)?;
        if built.manifest == rule.manifest {
            return Ok(built);
        }
        let message = "the manifest was read in two ways; a bug to report".to_owned();
        let finding = Finding::of_file(Code::R101, message);
        Err(vec![finding.into_diagnostic(&files.name, &format!("{}/rule.yaml", files.name), "")])
    }

    /// The script, compiled. Rules with one script share it.
    pub(crate) fn compile(&self, source: &str) -> Result<Arc<Compiled>, Finding> {
        if let Some(known) = self.compiled().get(source) {
            return Ok(known);
        }
        let cage = Arc::clone(self.cage());
        let text = source.to_owned();
        let compiled = self
            .pool()
            .run_patiently(crate::sandbox::COMPILE_TIME, move || script::compile(&cage, text))
            .unwrap_or_else(|error| {
                Err(Finding::of_file(
                    Code::R201,
                    format!("the script could not be compiled: {error}"),
                ))
            })?;
        self.compiled().keep(&compiled);
        Ok(compiled)
    }
}
