//! Series: a metric by its labels, with a bound on how many there can be.
//!
//! What comes from outside must not make new series without end, so each metric has at most
//! [`SERIES_MAX`]; what would be one more is counted under [`OTHERS`].

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Most series of one metric. A rule folder has some dozens; a scrape of 1,000 is some 100 KiB.
const SERIES_MAX: usize = 1_000;
/// What stands in every label once there are so many series.
const OTHERS: &str = "others";
/// Longest value of a label.
const VALUE_CHARS_MAX: usize = 60;

/// Buckets for what a machine does: 1 ms to a minute.
pub(crate) const QUICK: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets for what takes its time: 1 s to a week.
pub(crate) const SLOW: &[f64] =
    &[1.0, 5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0];

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// What is known of a metric: what the documentation's table says, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name as it is scraped and queried: with `_total` for a counter, without a histogram's
    /// `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<&'static str>,
    /// What it tells.
    pub help: &'static str,
}

/// Makes metrics and keeps the list of them.
#[derive(Debug, Default)]
pub(crate) struct Register {
    pub(crate) registry: Registry,
    pub(crate) known: Vec<Known>,
}

impl Register {
    /// A counter; its name ends with `_total`, which is not given here.
    pub(crate) fn counts<const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
    ) -> Counts<N> {
        let family = Family::default();
        self.registry.register(name, help, family.clone());
        self.know(format!("{name}_total"), "counter", (&labels, help));
        Counts(Series::new(labels, family))
    }

    /// A histogram of seconds; its name ends with `_seconds`, which is not given here.
    pub(crate) fn times<const N: usize>(
        &mut self,
        (name, help): (&'static str, &'static str),
        labels: [&'static str; N],
        buckets: &'static [f64],
    ) -> Times<N> {
        let family = Family::new_with_constructor(Buckets(buckets));
        self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        self.know(format!("{name}_seconds"), "histogram", (&labels, help));
        Times(Series::new(labels, family))
    }

    /// A gauge, with its unit as the end of its name if it has one.
    pub(crate) fn level(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
    ) -> Gauge<f64, AtomicU64> {
        let gauge = Gauge::<f64, AtomicU64>::default();
        let whole = unit.as_ref().map_or_else(|| name.into(), |u| format!("{name}_{}", u.as_str()));
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, gauge.clone()),
            None => self.registry.register(name, help, gauge.clone()),
        }
        self.know(whole, "gauge", (&[], help));
        gauge
    }

    /// A gauge with one label.
    pub(crate) fn levels(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
    ) -> Levels {
        let family = Family::default();
        self.registry.register(name, help, family.clone());
        self.know(name.into(), "gauge", (&[label], help));
        Levels(Series::new([label], family))
    }

    pub(crate) fn know(
        &mut self,
        name: String,
        kind: &'static str,
        (labels, help): (&[&'static str], &'static str),
    ) {
        self.known.push(Known { name, kind, labels: labels.to_vec(), help });
    }
}

/// Series of one metric.
struct Series<const N: usize, M, C = fn() -> M> {
    labels: [&'static str; N],
    family: Family<Labels<N>, M, C>,
    /// Each by its values, in their order: they are looked up for every entry, and their labels need
    /// not be made anew for that. At most [`SERIES_MAX`].
    known: RwLock<Vec<([Box<str>; N], M)>>,
}

impl<const N: usize, M: Clone, C: MetricConstructor<M>> Series<N, M, C> {
    fn new(labels: [&'static str; N], family: Family<Labels<N>, M, C>) -> Self {
        Self { labels, family, known: RwLock::default() }
    }

    /// Reaches a series, or the one for all others when there are too many.
    fn reach(&self, values: [&str; N], reach: impl Fn(&M)) {
        let values = values.map(cut);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Ok(place) = place(&known, values) {
            return reach(&known[place].1);
        }
        drop(known);
        reach(&self.make(values));
    }

    fn make(&self, values: [&str; N]) -> M {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let place = match place(&known, values) {
            // Somebody else has made it meanwhile.
            Ok(place) => return known[place].1.clone(),
            Err(place) => place,
        };
        if known.len() >= SERIES_MAX {
            let others = self.labels.map(|label| (label, Cow::Borrowed(OTHERS)));
            return self.family.get_or_create(&others).clone();
        }
        let labels: Labels<N> =
            std::array::from_fn(|n| (self.labels[n], Cow::Owned(values[n].to_owned())));
        let series = self.family.get_or_create(&labels).clone();
        known.insert(place, (values.map(Box::from), series.clone()));
        series
    }
}

/// Where the series with these values is, or would be.
fn place<const N: usize, M>(
    known: &[([Box<str>; N], M)],
    values: [&str; N],
) -> Result<usize, usize> {
    known.binary_search_by(|(known, _)| known.iter().map(|value| &**value).cmp(values))
}

/// As much of a value as is kept.
fn cut(value: &str) -> &str {
    if value.len() <= VALUE_CHARS_MAX {
        return value;
    }
    value.char_indices().nth(VALUE_CHARS_MAX).map_or(value, |(end, _)| &value[..end])
}

impl<const N: usize, M, C> fmt::Debug for Series<N, M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Series").field(&self.labels).finish()
    }
}

/// Counters by labels.
#[derive(Debug)]
pub(crate) struct Counts<const N: usize>(Series<N, Counter>);

impl<const N: usize> Counts<N> {
    /// One more.
    pub(crate) fn add(&self, values: [&str; N]) {
        self.add_n(values, 1);
    }

    /// So many more.
    pub(crate) fn add_n(&self, values: [&str; N], n: u64) {
        self.0.reach(values, |counter| {
            counter.inc_by(n);
        });
    }
}

/// Histograms of seconds by labels.
#[derive(Debug)]
pub(crate) struct Times<const N: usize>(Series<N, Histogram, Buckets>);

impl<const N: usize> Times<N> {
    /// It took so long.
    pub(crate) fn took(&self, values: [&str; N], time: Duration) {
        self.0.reach(values, |histogram| histogram.observe(time.as_secs_f64()));
    }
}

/// Gauges by one label.
#[derive(Debug)]
pub(crate) struct Levels(Series<1, Gauge<f64, AtomicU64>>);

impl Levels {
    /// It is this now.
    pub(crate) fn set(&self, value: &str, level: f64) {
        self.0.reach([value], |gauge| {
            gauge.set(level);
        });
    }
}

/// A histogram's upper bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_makes_no_series_without_end() {
        let mut register = Register::default();
        let counts = register.counts("tested", "For this test", ["name"]);
        for n in 0..SERIES_MAX + 500 {
            counts.add([&format!("name-{n}")]);
        }
        let of = |name: &str| {
            let series = counts.0.family.get(&[("name", Cow::Owned(name.to_owned()))]);
            series.map_or(0, |counter| counter.get())
        };
        assert_eq!((of("name-999"), of("name-1000"), of(OTHERS)), (1, 0, 500));
        counts.add(["name-7"]);
        assert_eq!(of("name-7"), 2, "what is known goes on being counted");
        counts.add([&"long".repeat(100)]);
        assert_eq!(of(OTHERS), 501);
    }
}
