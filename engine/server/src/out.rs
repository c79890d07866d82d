//! The only place that prints.

use std::io::Write as _;

/// A line for people or programs on standard output. A closed pipe ends the printing, not the work.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
