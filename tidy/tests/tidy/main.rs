//! The shape of the repository: who may name whom, what is absent, how long things are, and that
//! the documents say what is there. It must never depend on any crate of ours.
#![forbid(unsafe_code)]

mod absences;
mod checkout;
mod code;
mod corpus;
mod crates;
mod documents;
mod manual;
mod shape;

/// Fails with everything that was found, one finding a line.
fn none(findings: &[String]) {
    assert!(findings.is_empty(), "{} finding(s):\n{}", findings.len(), findings.join("\n"));
}
