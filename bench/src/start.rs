//! How long it takes until 10,000 rules can be asked, as the service opens them: it answers 503 until then.
//! And until all are compiled and checked, which it does behind that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use untoil_actions::Catalogue;
use untoil_sandbox::{Reloader, Sandbox};

use crate::rules::write;
use crate::table::row;

/// How many rules there are.
const SIZES: [usize; 2] = [10, 10_000];

/// As in the binary.
const CHECKED_AT_ONCE: usize = 500;

pub(crate) fn measure() -> Result<()> {
    for n in SIZES {
        let folder = tempfile::tempdir()?;
        write(folder.path(), n)?;
        let began = Instant::now();
        let sandbox = Sandbox::start(Arc::new(Catalogue::standard(Vec::new())), 2)?;
        let (mut reloader, found) = Reloader::open(folder.path(), sandbox);
        let opened = began.elapsed();
        if reloader.book().rules().len() != n {
            bail!(
                "{} of {n} rules were opened: {:?}",
                reloader.book().rules().len(),
                found.first()
            );
        }
        while !reloader.check(CHECKED_AT_ONCE).is_empty() {}
        let checked = began.elapsed();
        if reloader.book().rules().len() != n {
            bail!("{} of {n} rules passed", reloader.book().rules().len());
        }
        let goal = if n == 10_000 { "<= 150 ms" } else { "" };
        let tell = |case: &str, took: Duration, goal: &str| {
            row("start", &format!("{n} rules, {case}"), &format!("{} ms", took.as_millis()), goal);
        };
        tell("ready to be asked", opened, goal);
        tell("all checked behind that", checked, "");
    }
    Ok(())
}
