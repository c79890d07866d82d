//! The only place that prints.

use std::io::{ErrorKind, Write as _};
use std::sync::OnceLock;

/// Why something could not be printed.
static LOST: OnceLock<String> = OnceLock::new();

/// A line for people or programs on standard output. A closed pipe ends the printing, not the work.
pub(crate) fn say(line: &str) {
    if let Err(why) = writeln!(std::io::stdout(), "{line}")
        && why.kind() != ErrorKind::BrokenPipe
    {
        LOST.get_or_init(|| why.to_string());
    }
}

/// Why not everything was printed, as on a full disk. Whoever closed the pipe wanted no more.
pub(crate) fn lost() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

/// A line on standard error.
pub(crate) fn complain(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
