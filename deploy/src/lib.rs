//! What it takes to run untoil: the fixed SSM documents through which it acts on hosts.
//!
//! A rule never writes shell text. It names one of [`documents`] and gives it parameters, each of
//! which [`Parameter::check`] has accepted; the engine pins the document's name, version and hash.
//! The scripts live in `deploy/ssm/scripts`, the committed documents beside them are [`assemble()`]d
//! from those, and a test fails when the two differ.

#![forbid(unsafe_code)]

mod assemble;
mod catalogue;
mod document;
mod parameter;

pub use assemble::assemble;
pub use catalogue::{document, documents};
pub use document::{Document, Ending, RESULT_MARK};
pub use parameter::{Accepts, BadParameter, Filler, Parameter};
