//! CloudWatch: one metric, one alarm.

use async_trait::async_trait;
use aws_sdk_cloudwatch::types::{
    AlarmType, Dimension, Metric, MetricDataQuery, MetricStat, ScanBy, StateValue, StatusCode,
};
use jiff::Timestamp;
use untoil_actions::{AlarmLook, MetricQuery, MetricReads, ReadError};

use crate::call::{Call, date_time, timestamp};
use crate::connect::Shared;
use crate::limits::Priority;
use crate::ssm::unreadable;

/// Datapoints that one query may ask for: a day of minutes.
const DATAPOINTS_MAX: i32 = 1_440;

/// Pages of one query. One holds 100,800 datapoints; CloudWatch may still answer in parts.
const PAGES_MAX: usize = 5;

/// Reads of CloudWatch.
#[derive(Debug)]
pub(crate) struct MetricEyes {
    pub(crate) client: aws_sdk_cloudwatch::Client,
    pub(crate) shared: Shared,
    pub(crate) priority: Priority,
}

#[async_trait]
impl MetricReads for MetricEyes {
    async fn metric(&self, query: &MetricQuery) -> Result<Vec<(Timestamp, f64)>, ReadError> {
        let what = format!("metric `{}/{}`", query.namespace, query.metric);
        fits(query).map_err(|why| unreadable("InvalidQuery", format!("{what}: {why}")))?;
        let call = Call::new("cloudwatch:GetMetricData", "*");
        let mut points = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self
                .client
                .get_metric_data()
                .metric_data_queries(data_query(query))
                .start_time(date_time(query.from))
                .end_time(date_time(query.to))
                .scan_by(ScanBy::TimestampAscending)
                .max_datapoints(DATAPOINTS_MAX)
                .set_next_token(next.take());
            let send = |watch| page.clone().customize().interceptor(watch).send();
            let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
            for result in answer.metric_data_results() {
                match result.status_code() {
                    Some(StatusCode::Forbidden) => {
                        let why = format!("{what}: CloudWatch says `Forbidden`");
                        return Err(unreadable("Forbidden", why));
                    }
                    Some(StatusCode::InternalError) => {
                        let why = format!("{what}: CloudWatch says `InternalError`");
                        return Err(ReadError::Unavailable { why });
                    }
                    _ => {}
                }
                let times = result.timestamps().iter().filter_map(timestamp);
                points.extend(times.zip(result.values().iter().copied()));
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                points.sort_by_key(|(at, _)| *at);
                return Ok(points);
            }
        }
        Err(ReadError::Unavailable { why: format!("{what}: more than {PAGES_MAX} pages") })
    }

    async fn alarm(&self, name: &str) -> Result<AlarmLook, ReadError> {
        if name.is_empty() {
            // Without a name the API answers every alarm.
            return Err(unreadable("EmptyName", "an alarm is looked up by its name".to_owned()));
        }
        let call = Call::new("cloudwatch:DescribeAlarms", "*");
        // Without types the API answers metric alarms only.
        let sent = self.client.describe_alarms().alarm_names(name);
        let sent = sent.alarm_types(AlarmType::MetricAlarm).alarm_types(AlarmType::CompositeAlarm);
        let what = format!("alarm `{name}`");
        let send = |watch| sent.clone().customize().interceptor(watch).send();
        let answer = self.shared.gate.read((&call, self.priority), &what, send).await?;
        let metric = answer.metric_alarms().iter().find(|one| one.alarm_name() == Some(name));
        if let Some(one) = metric {
            let changed = one.state_transitioned_timestamp();
            return Ok(AlarmLook {
                arn: one.alarm_arn().map(str::to_owned),
                state: state(one.state_value()),
                changed_at: changed.or_else(|| one.state_updated_timestamp()).and_then(timestamp),
                reason: one.state_reason().unwrap_or_default().to_owned(),
            });
        }
        let composite = answer.composite_alarms().iter().find(|one| one.alarm_name() == Some(name));
        let one = composite.ok_or(ReadError::NotFound { what })?;
        let changed = one.state_transitioned_timestamp();
        Ok(AlarmLook {
            arn: one.alarm_arn().map(str::to_owned),
            state: state(one.state_value()),
            changed_at: changed.or_else(|| one.state_updated_timestamp()).and_then(timestamp),
            reason: one.state_reason().unwrap_or_default().to_owned(),
        })
    }
}

fn state(value: Option<&StateValue>) -> String {
    value.map(|value| value.as_str().to_owned()).unwrap_or_default()
}

fn data_query(query: &MetricQuery) -> MetricDataQuery {
    let dimensions = query.dimensions.iter();
    let dimensions =
        dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build());
    let metric = Metric::builder()
        .namespace(&query.namespace)
        .metric_name(&query.metric)
        .set_dimensions(Some(dimensions.collect()));
    let stat = MetricStat::builder()
        .metric(metric.build())
        .period(i32::try_from(query.period_secs).expect("a day fits"))
        .stat(&query.statistic);
    MetricDataQuery::builder().id("m").metric_stat(stat.build()).build()
}

/// Refuses what CloudWatch would answer with an error or with everything.
fn fits(query: &MetricQuery) -> Result<(), String> {
    const DAY_SECS: u32 = 86_400;
    if query.namespace.is_empty() || query.metric.is_empty() || query.statistic.is_empty() {
        return Err("namespace, name and statistic are needed".to_owned());
    }
    let period = query.period_secs;
    if period == 0 || !period.is_multiple_of(60) || period > DAY_SECS {
        return Err(format!("a period of {period} s is not a multiple of 60 s up to a day"));
    }
    let secs = query.to.as_second().saturating_sub(query.from.as_second());
    if secs <= 0 {
        return Err("its time ends before it begins".to_owned());
    }
    let points = secs / i64::from(period);
    if points > i64::from(DATAPOINTS_MAX) {
        return Err(format!("{points} datapoints are more than {DATAPOINTS_MAX}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_cloudwatch_would_refuse_is_refused_here() {
        let fine = MetricQuery {
            namespace: "Remember/ContactSync".into(),
            metric: "PendingContacts".into(),
            dimensions: [].into(),
            statistic: "Average".into(),
            period_secs: 60,
            from: Timestamp::from_second(0).unwrap(),
            to: Timestamp::from_second(86_400).unwrap(),
        };
        assert_eq!(fits(&fine), Ok(()));
        let broken = [
            MetricQuery { metric: String::new(), ..fine.clone() },
            MetricQuery { period_secs: 0, ..fine.clone() },
            MetricQuery { period_secs: 90, ..fine.clone() },
            MetricQuery { to: fine.from, ..fine.clone() },
            MetricQuery { to: Timestamp::from_second(86_461).unwrap(), ..fine },
        ];
        for query in broken {
            assert!(fits(&query).is_err(), "{query:?}");
        }
    }
}
