//! The table: a line for each scenario.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Counts;
use crate::trial::Verdict;

/// Lines of scenarios, in their order, with sums over all trials.
#[derive(Debug, Default)]
pub struct Table {
    lines: BTreeMap<(usize, String), (usize, Counts)>,
    skipped: BTreeMap<String, String>,
}

impl Table {
    /// Adds what a trial came to; `order` is its scenario's place.
    pub fn add(&mut self, order: usize, name: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Played(counts) => {
                let line = self.lines.entry((order, name.to_owned())).or_default();
                line.0 += 1;
                line.1.add(counts);
            }
            Verdict::Skipped(why) => drop(self.skipped.insert(name.to_owned(), why.clone())),
        }
    }

    /// How many trials were played.
    #[must_use]
    pub fn played(&self) -> usize {
        self.lines.values().map(|(n, _)| n).sum()
    }

    /// Scenarios that show nothing, because nothing was done in any trial.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let idle = self.lines.iter().filter(|(_, (_, counts))| counts.effects == 0);
        idle.map(|((_, name), _)| format!("{name}: AWS was never asked to do anything")).collect()
    }

    /// The table as Markdown.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text =
            "| scenario | trials | accepted | not answered | undecided | effects | twice \
             | without intent | unknown | open | starts | back (ms) | drain (ms) | wrong |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
                .to_owned();
        let mut sum = (0, Counts::default());
        for ((_, name), (n, counts)) in &self.lines {
            sum.0 += n;
            sum.1.add(counts);
            line(&mut text, name, *n, counts);
        }
        line(&mut text, "all", sum.0, &sum.1);
        for (name, why) in &self.skipped {
            writeln!(text, "SKIPPED {name}: {why}").expect("a string takes all");
        }
        text
    }
}

fn line(text: &mut String, name: &str, n: usize, c: &Counts) {
    writeln!(
        text,
        "| {name} | {n} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        c.accepted,
        c.missed,
        c.undecided,
        c.effects,
        c.twice,
        c.unintended,
        c.unknown,
        c.open,
        c.starts,
        c.back_ms,
        c.drain_ms,
        c.wrong.len()
    )
    .expect("a string takes all");
}
