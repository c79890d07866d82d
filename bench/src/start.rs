//! How long it takes until 10,000 rules can be asked: reading, checking and compiling all of them. The
//! service answers 503 until then.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use untoil_actions::Catalogue;
use untoil_sandbox::{RuleBook, Sandbox};

use crate::rules::write;
use crate::table::row;

/// How many rules there are.
const SIZES: [usize; 2] = [10, 10_000];

pub(crate) fn measure() -> Result<()> {
    for n in SIZES {
        let folder = tempfile::tempdir()?;
        write(folder.path(), n)?;
        let began = Instant::now();
        let sandbox = Sandbox::start(Arc::new(Catalogue::standard(Vec::new())), 2)?;
        let (book, found) = RuleBook::load(folder.path(), &sandbox)?;
        let took = began.elapsed();
        if book.rules().len() != n {
            bail!("{} of {n} rules were loaded: {:?}", book.rules().len(), found.first());
        }
        let goal = if n == 10_000 { "<= 150 ms" } else { "" };
        row(
            "start",
            &format!("{n} rules, ready to be asked"),
            &format!("{} ms", took.as_millis()),
            goal,
        );
    }
    Ok(())
}
