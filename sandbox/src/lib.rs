//! Where rule scripts run: Rhai locked down, manifests, checker with diagnostics, and the rule book.
//!
//! A rule folder becomes a [`Rule`] only when its manifest and its script pass every check; else
//! its author gets [`Diagnostic`]s with carets. [`RuleBook::matching`] finds the rules that answer an
//! alarm, [`Sandbox::ask`] asks one of them, and [`Reloader`] follows the folder while the engine
//! runs. Nothing here reads a clock, touches the network, or decides whether a step may happen.
//!
//! The program must install [`MeteredAlloc`]; without it the sandbox refuses to start.

mod meter;
mod pool;
mod turns;

mod cage;
mod steps;
mod views;

mod diagnostic;
mod glob;
mod manifest;
mod quick;
mod reading;
mod template;
mod yaml;

mod checker;
mod rule;
mod sandbox;
mod script;

mod book;
mod index;
mod reload;

pub use book::RuleBook;
pub use diagnostic::{Code, Diagnostic, Severity};
pub use glob::{Glob, GlobError};
pub use manifest::{AddressError, FactWish, Manifest, Matcher};
pub use meter::MeteredAlloc;
pub use reload::{ReloadEvent, Reloader};
pub use rule::{Rule, RuleFiles};
pub use sandbox::{Answer, Question, Sandbox, StartError};
pub use script::{Fault, ScriptError};
pub use steps::{CONSTRUCTORS, Constructor, Slot};
pub use template::{ALARM_FIELDS, Template, TemplateError};

#[cfg(test)]
#[global_allocator]
static METERED: MeteredAlloc = MeteredAlloc;
