//! What it costs to find the rules that answer an alarm, with few and with many rules.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use jiff::Timestamp;
use untoil_actions::Catalogue;
use untoil_model::{Alarm, AlarmState};
use untoil_sandbox::{RuleBook, Sandbox};

use crate::rules::{generated, shipped};
use crate::table::row;

/// How many rules there are.
const SIZES: [usize; 4] = [3, 10, 1_000, 10_000];
/// Different alarms, half of which no rule answers: a quarter each by metric and by name.
const ALARMS: usize = 4_000;
/// Of so many passes the median counts.
const PASSES: usize = 21;

pub(crate) fn measure() -> Result<()> {
    let catalogue = Arc::new(Catalogue::standard(Vec::new()));
    let one = shipped(&Sandbox::start(catalogue, 1)?)?;
    let books: Result<Vec<RuleBook>> = SIZES.iter().map(|n| generated(&one, *n)).collect();
    let mut nanos = Vec::new();
    for (n, book) in SIZES.into_iter().zip(books?) {
        let alarms: Result<Vec<Alarm>> = (0..ALARMS).map(|i| alarm(i, n)).collect();
        nanos.push((n, median(&book, &alarms?)?));
    }
    let at_ten = nanos.iter().find(|(n, _)| *n == 10).map_or(1.0, |(_, nanos)| *nanos);
    for (n, nanos) in nanos {
        let line = format!("{nanos:.0} ns an alarm, {:.2} x of that at 10", nanos / at_ten);
        row("matching", &format!("{n} rules, half of the alarms match"), &line, goal(n));
    }
    Ok(())
}

fn goal(n: usize) -> &'static str {
    if n == 10_000 { "<= 3 x" } else { "" }
}

/// Nanoseconds an alarm.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn median(book: &RuleBook, alarms: &[Alarm]) -> Result<f64> {
    let mut passes = Vec::new();
    for _ in 0..PASSES {
        let began = Instant::now();
        let found: usize = alarms.iter().map(|alarm| black_box(book.matching(alarm)).len()).sum();
        passes.push(began.elapsed().as_nanos() as f64 / alarms.len() as f64);
        if found != alarms.len() / 2 {
            bail!("{found} of {} alarms were answered", alarms.len());
        }
    }
    passes.sort_by(f64::total_cmp);
    Ok(passes[PASSES / 2])
}

/// The `i`th alarm for a book of `n` rules: every other one is nobody's.
fn alarm(i: usize, n: usize) -> Result<Alarm> {
    // An odd factor visits the rules in no order that a cache could follow.
    let rule = i.wrapping_mul(7_919) % n;
    let own = format!("alarm-{i}");
    let (name, metric) = match i % 4 {
        0 => (own, format!("metric-{rule}")),
        1 => (own, format!("other-{rule}")),
        2 => (format!("service-{rule}-errors"), "Errors".to_owned()),
        _ => (format!("service-{rule}-latency"), "Latency".to_owned()),
    };
    Ok(Alarm {
        key: format!("cloudwatch:{i}").parse()?,
        source: "cloudwatch".parse()?,
        name,
        state: AlarmState::Firing,
        changed_at: Timestamp::UNIX_EPOCH,
        severity: None,
        reason: String::new(),
        description: String::new(),
        account: None,
        region: None,
        namespace: Some(format!("Team/{}", rule % 50)),
        metric: Some(metric),
        dimensions: [("InstanceId".to_owned(), format!("i-{i:017x}"))].into(),
        labels: std::collections::BTreeMap::new(),
        value: None,
        threshold: None,
        link: None,
        origin: None,
    })
}
