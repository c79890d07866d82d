//! The simulated CloudWatch: one datapoint a minute of everything that is modelled.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use untoil_actions::{AlarmLook, MetricQuery, MetricReads, ReadError};

use crate::World;
use crate::state::{Host, State};

/// Most datapoints kept of a series: a day of minutes.
const POINTS_MAX: usize = 1_440;

/// What a datapoint is of. Dimensions are matched exactly, as CloudWatch does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) namespace: String,
    pub(crate) metric: String,
    pub(crate) dimensions: BTreeMap<String, String>,
}

impl Series {
    pub(crate) fn new(namespace: &str, metric: &str, dimensions: &[(&str, &str)]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            metric: metric.to_owned(),
            dimensions: dimensions.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }
}

impl Host {
    pub(crate) fn cpu(&self) -> f64 {
        let units: f64 = self.units.values().map(|unit| unit.core_pct).sum();
        (self.base_pct + units / f64::from(self.cores)).min(100.0)
    }
}

impl State {
    /// Takes a datapoint of everything.
    pub(crate) fn sample(&mut self) {
        let mut points = Vec::new();
        for (id, host) in &self.hosts {
            points.push((
                Series::new("AWS/EC2", "CPUUtilization", &[("InstanceId", id)]),
                host.cpu(),
            ));
            for (mount, disk) in &host.disks {
                let dimensions = [("InstanceId", id.as_str()), ("path", mount)];
                points.push((
                    Series::new("CWAgent", "disk_used_percent", &dimensions),
                    disk.used_pct,
                ));
            }
        }
        for queue in self.queues.values() {
            let series = Series {
                namespace: queue.namespace.clone(),
                metric: queue.metric.clone(),
                dimensions: queue.dimensions.clone(),
            };
            points.push((series, queue.backlog));
        }
        for (series, value) in points {
            self.put(series, value);
        }
    }

    pub(crate) fn put(&mut self, series: Series, value: f64) {
        let now = self.now;
        let kept = self.series.entry(series).or_default();
        kept.push((now, value));
        if kept.len() > POINTS_MAX {
            kept.remove(0);
        }
    }
}

impl World {
    /// Puts a datapoint of a custom metric.
    pub fn put_metric(
        &self,
        namespace: &str,
        metric: &str,
        dimensions: &[(&str, &str)],
        value: f64,
    ) {
        self.state().put(Series::new(namespace, metric, dimensions), value);
    }
}

/// One value of a period.
fn statistic(name: &str, values: &[f64]) -> f64 {
    let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
    match name {
        "Minimum" => values.iter().copied().fold(f64::INFINITY, f64::min),
        "Maximum" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "Sum" => values.iter().sum(),
        "SampleCount" => count,
        _ => values.iter().sum::<f64>() / count,
    }
}

#[async_trait]
impl MetricReads for World {
    async fn metric(&self, query: &MetricQuery) -> Result<Vec<(Timestamp, f64)>, ReadError> {
        self.read("cloudwatch:GetMetricData").await?;
        let series = Series {
            namespace: query.namespace.clone(),
            metric: query.metric.clone(),
            dimensions: query.dimensions.clone(),
        };
        let state = self.state();
        let mut periods: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        let length = i64::from(query.period_secs.max(60));
        let points = state.series.get(&series).into_iter().flatten();
        for (at, value) in points.filter(|(at, _)| *at >= query.from && *at <= query.to) {
            periods.entry(at.as_second().div_euclid(length) * length).or_default().push(*value);
        }
        let at = |secs: i64| Timestamp::from_second(secs).unwrap_or(query.to);
        Ok(periods
            .iter()
            .map(|(secs, all)| (at(*secs), statistic(&query.statistic, all)))
            .collect())
    }

    async fn alarm(&self, name: &str) -> Result<AlarmLook, ReadError> {
        self.read("cloudwatch:DescribeAlarms").await?;
        let state = self.state();
        let alarm = state.alarms.get(name);
        let alarm = alarm.ok_or_else(|| ReadError::NotFound { what: format!("alarm `{name}`") })?;
        Ok(AlarmLook {
            arn: Some(alarm.spec.arn()),
            state: alarm.state.to_owned(),
            changed_at: Some(alarm.changed_at),
            reason: alarm.reason.clone(),
        })
    }
}
