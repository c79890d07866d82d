//! What it costs to find the rules that answer an alarm, with few and with many rules.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::json;
use untoil_actions::Catalogue;
use untoil_intake::{Decoded, decode};
use untoil_model::{Alarm, AlarmState, Delivery, DeliveryId};
use untoil_sandbox::{RuleBook, Sandbox};

use crate::rules::{generated, shipped};
use crate::table::row;

/// How many rules there are.
const SIZES: [usize; 4] = [3, 10, 1_000, 10_000];
/// Different alarms, half of which no rule answers: a quarter each by metric and by name.
const ALARMS: usize = 4_000;
/// Of so many passes over all of them, in parts, the median part counts.
const PASSES: usize = 21;
/// A part takes less than a millisecond, so that most are not interrupted on a machine that does
/// something else too. Each asks for the same number of each quarter.
const PART: usize = 200;

pub(crate) fn measure() -> Result<()> {
    let catalogue = Arc::new(Catalogue::standard(Vec::new()));
    let one = shipped(&Sandbox::start(catalogue, 1)?)?;
    // Before the books: behind them the texts of one alarm would lie in holes all over the memory, where
    // those of one that was just read are in a cache.
    let alarms = SIZES.map(|n| (0..ALARMS).map(|i| alarm(i, n)).collect::<Result<Vec<Alarm>>>());
    let books: Result<Vec<RuleBook>> = SIZES.iter().map(|n| generated(&one, *n)).collect();
    let (mut matched, mut read) = (Vec::new(), Vec::new());
    for ((n, alarms), book) in SIZES.into_iter().zip(alarms).zip(books?) {
        let alarms = alarms?;
        matched.push((n, median(&alarms, |alarm| book.matching(alarm).len())?));
        let deliveries = alarms.iter().map(said).collect::<Result<Vec<Delivery>>>()?;
        let both = |delivery: &Delivery| match decode(delivery) {
            Ok(Decoded::Alarms(alarms)) => {
                alarms.iter().map(|alarm| book.matching(alarm).len()).sum()
            }
            Ok(Decoded::Note(_)) | Err(_) => usize::MAX,
        };
        read.push((n, median(&deliveries, both)?));
    }
    tell("matched", &matched, |n| if n == 10_000 { "<= 1.3 x" } else { "" });
    tell(
        "read from JSON and matched",
        &read,
        |n| {
            if n == 10_000 { "<= 6 us, <= 1.3 x" } else { "" }
        },
    );
    Ok(())
}

/// Prints a line for each size.
fn tell(what: &str, nanos: &[(usize, f64)], goal: fn(usize) -> &'static str) {
    let at_first = nanos.first().map_or(1.0, |(_, nanos)| *nanos);
    for (n, nanos) in nanos {
        let line = format!("{nanos:.0} ns an alarm, {:.2} x of that at 3", nanos / at_first);
        row("matching", &format!("{n} rules: {what}"), &line, goal(*n));
    }
}

/// Nanoseconds for each; half of them must find a rule.
#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn median<T>(all: &[T], find: impl Fn(&T) -> usize) -> Result<f64> {
    let mut parts = Vec::new();
    for _ in 0..PASSES {
        for part in all.chunks(PART) {
            let began = Instant::now();
            let found = part.iter().map(|one| black_box(find(one))).fold(0, usize::saturating_add);
            parts.push(began.elapsed().as_nanos() as f64 / part.len() as f64);
            if found != part.len() / 2 {
                bail!("{found} of {} alarms were answered", part.len());
            }
        }
    }
    parts.sort_by(f64::total_cmp);
    Ok(parts[parts.len() / 2])
}

/// The delivery that says so, about 1.3 KB.
fn said(alarm: &Alarm) -> Result<Delivery> {
    let prose = "Threshold Crossed: 3 out of the last 3 datapoints were greater. ".repeat(7);
    let body = json!({ "alarms": [{
        "key": alarm.name, "name": alarm.name, "state": "firing", "changed_at": alarm.changed_at,
        "severity": "warning", "reason": prose, "description": prose,
        "account": "123456789012", "region": "ap-northeast-2",
        "namespace": alarm.namespace, "metric": alarm.metric, "dimensions": alarm.dimensions,
        "labels": { "team": "platform", "env": "production" },
        "value": 91.2, "threshold": 85.0,
    }] });
    Ok(Delivery {
        id: DeliveryId { source: "generic".parse()?, message: alarm.name.clone() },
        sender: "bench".to_owned(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: BTreeMap::new(),
        body: body.to_string().into_bytes(),
    })
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
        key: format!("generic:{i}").parse()?,
        source: "generic".parse()?,
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
        labels: BTreeMap::new(),
        value: None,
        threshold: None,
        link: None,
        origin: None,
    })
}
