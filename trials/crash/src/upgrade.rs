//! The way back from an upgrade: the older program on what the newer one has left.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::engine::{Engine, Setting};

/// How long it may take to become ready, or to say why not.
const SAYS_WITHIN: Duration = Duration::from_mins(1);
/// How long its end in order may take.
const DRAINS_WITHIN: Duration = Duration::from_secs(40);
/// How long one answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// What is noted of an older program that works.
pub const WORKS: &str = "the older program afterwards: works";
/// What whoever is refused must be told to do.
const WAY_OUT: &str = "newer untoil";

/// What came of it. Which of the two is right, the manual says for the versions at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// It became ready, and ended in order.
    Works,
    /// It ended, and said why and what to do.
    Refused(String),
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => write!(f, "{WORKS}"),
            Self::Refused(said) => write!(f, "the older program afterwards: refused: {said}"),
        }
    }
}

/// Starts the older program alone.
pub(crate) async fn go_back(setting: &Setting, old: &Path, aws: u16) -> Result<Back> {
    let name = "untoil-older";
    let mut engine = Engine::new(name, setting.of(old), aws)?;
    engine.tend()?;
    let client = reqwest::Client::builder().timeout(ANSWERS_WITHIN).build()?;
    let began = Instant::now();
    let url = format!("http://127.0.0.1:{}/readyz", engine.port);
    while began.elapsed() < SAYS_WITHIN {
        if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            engine.stop(DRAINS_WITHIN).await?;
            return in_order(&engine.own_ends);
        }
        if engine.has_ended()? {
            return refusal(&std::fs::read_to_string(
                setting.folder.join(format!("{name}.stderr")),
            )?);
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("it became neither ready nor ended within {} s", SAYS_WITHIN.as_secs())
}

/// Whether it ended as it was told to.
fn in_order(own_ends: &[String]) -> Result<Back> {
    match own_ends {
        [] => Ok(Back::Works),
        [end, ..] => bail!("it was ready, and did not end in order: {end}"),
    }
}

/// What was said, if it names the way out.
fn refusal(said: &str) -> Result<Back> {
    match said.lines().find(|line| line.contains(WAY_OUT)) {
        Some(line) => Ok(Back::Refused(line.to_owned())),
        None => bail!("it ended without naming the `{WAY_OUT}`: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_end_in_order_does_not_work() {
        assert_eq!(in_order(&[]).unwrap(), Back::Works);
        let end = in_order(&["untoil-older: told to end: exit status: 1".to_owned()]);
        assert!(end.unwrap_err().to_string().contains("exit status: 1"));
    }

    #[test]
    fn a_refusal_counts_only_where_it_names_the_way_out() {
        let said = "untoil 0.1\nError: version 9; run the newer untoil that wrote it\n";
        let line = "Error: version 9; run the newer untoil that wrote it".to_owned();
        assert_eq!(refusal(said).unwrap(), Back::Refused(line));
        assert!(refusal("thread 'main' panicked").is_err());
    }
}
