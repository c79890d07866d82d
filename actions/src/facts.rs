//! The facts that a rule may declare, and how each is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use untoil_model::{FactValue, Period, Target};

use crate::{Eyes, MetricQuery, Need, Param, ParamKind, ReadError};

/// A fact that a rule declares, with its arguments filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactRequest {
    /// The name that the manifest gives it.
    pub name: String,
    /// Its kind.
    pub kind: FactKind,
    /// Its arguments.
    pub args: BTreeMap<String, String>,
}

/// A kind of fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    /// `ssm.instance`: ping, agent, platform of one instance.
    SsmInstance,
    /// `ecs.service`: desired, running, pending, deployments of one service.
    EcsService,
    /// `asg.group`: sizes and instances of one group.
    AsgGroup,
    /// `cloudwatch.metric`: the latest datapoints of one metric.
    CloudwatchMetric,
}

impl FactKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::SsmInstance, Self::EcsService, Self::AsgGroup, Self::CloudwatchMetric];

    /// The kind with this name, as manifests write it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::SsmInstance => "ssm.instance",
            Self::EcsService => "ecs.service",
            Self::AsgGroup => "asg.group",
            Self::CloudwatchMetric => "cloudwatch.metric",
        }
    }

    /// The arguments that a manifest may give it.
    pub fn params(self) -> &'static [Param] {
        match self {
            Self::SsmInstance => INSTANCE,
            Self::EcsService => SERVICE,
            Self::AsgGroup => GROUP,
            Self::CloudwatchMetric => METRIC,
        }
    }

    /// The fields that a script may read of it.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Self::SsmInstance => {
                &["instance", "ping", "last_ping_age_secs", "platform", "agent_version", "group"]
            }
            Self::EcsService => &[
                "cluster",
                "service",
                "status",
                "desired",
                "running",
                "pending",
                "deployments",
                "rollout",
                "controller",
            ],
            Self::AsgGroup => {
                &["group", "min", "max", "desired", "healthy", "in_service", "suspended"]
            }
            Self::CloudwatchMetric => {
                &["namespace", "metric", "latest", "min", "max", "avg", "points", "age_secs"]
            }
        }
    }

    /// The permissions that reading it needs. None of these APIs but ECS's knows a smaller resource.
    pub fn needs(self, args: &BTreeMap<String, String>) -> Vec<Need> {
        let all = |action| Need { action, resource: "*".into() };
        let arg = |name: &str| args.get(name).map_or("*", String::as_str);
        match self {
            Self::SsmInstance => vec![
                all("ssm:DescribeInstanceInformation"),
                all("autoscaling:DescribeAutoScalingInstances"),
            ],
            Self::EcsService => vec![Need {
                action: "ecs:DescribeServices",
                resource: format!(
                    "arn:aws:ecs:${{region}}:${{account}}:service/{}/{}",
                    arg("cluster"),
                    arg("service")
                ),
            }],
            Self::AsgGroup => vec![all("autoscaling:DescribeAutoScalingGroups")],
            Self::CloudwatchMetric => vec![all("cloudwatch:GetMetricData")],
        }
    }
}

/// Age of what was never heard of, in seconds: more than any bound, and still a whole number.
const NEVER_SECS: i64 = 4_294_967_295;
/// Longest name in AWS that a fact takes.
const NAME: ParamKind = ParamKind::Text(255);
/// Longest span of a metric: what fits 1,440 datapoints of a minute.
const WINDOW_MAX: Period = Period::hours(24);

const fn needed(name: &'static str, kind: ParamKind, doc: &'static str) -> Param {
    Param { name, kind, required: true, doc }
}

const fn optional(name: &'static str, kind: ParamKind, doc: &'static str) -> Param {
    Param { name, kind, required: false, doc }
}

const INSTANCE: &[Param] = &[needed("instance", NAME, "the instance's id, or `ec2/` and its id")];
const SERVICE: &[Param] = &[
    needed("cluster", NAME, "name of the cluster"),
    needed("service", NAME, "name of the service"),
];
const GROUP: &[Param] = &[needed("group", NAME, "name of the group")];
const METRIC: &[Param] = &[
    needed("namespace", NAME, "such as `AWS/SQS`"),
    needed("metric", NAME, "such as `ApproximateNumberOfMessagesVisible`"),
    optional("dimensions", ParamKind::Text(1_000), "`QueueName=contacts, Stage=prod`"),
    optional(
        "statistic",
        ParamKind::Text(11),
        "`Average`, `Maximum`, `Minimum`, `Sum` or `SampleCount`; `Average` when it is not said",
    ),
    optional("period", ParamKind::Time, "a multiple of 60s; `1m` when it is not said"),
    optional(
        "window",
        ParamKind::Time,
        "how far to look back, up to 24h; `15m` when it is not said",
    ),
];

impl FactRequest {
    /// Reads it.
    ///
    /// # Errors
    /// [`ReadError`]; a missing fact means that nothing is written.
    pub async fn read(&self, eyes: &Eyes, now: Timestamp) -> Result<FactValue, ReadError> {
        let (source, value) = match self.kind {
            FactKind::SsmInstance => {
                ("ssm:DescribeInstanceInformation", self.instance(eyes, now).await?)
            }
            FactKind::EcsService => ("ecs:DescribeServices", self.service(eyes).await?),
            FactKind::AsgGroup => {
                ("autoscaling:DescribeAutoScalingGroups", self.group(eyes).await?)
            }
            FactKind::CloudwatchMetric => {
                ("cloudwatch:GetMetricData", self.metric(eyes, now).await?)
            }
        };
        Ok(FactValue {
            kind: self.kind.name().to_owned(),
            source: source.to_owned(),
            read_at: now,
            value,
        })
    }

    /// What the fact tells of the parents of a target, such as an instance's group.
    ///
    /// Only an instance has one. Services of one cluster are independent, so a cluster is none.
    #[must_use]
    pub fn parents(&self, value: &FactValue) -> Vec<Target> {
        match self.kind {
            FactKind::SsmInstance => {
                let group = value.value.get("group").and_then(Value::as_str);
                group.and_then(|name| format!("asg/{name}").parse().ok()).into_iter().collect()
            }
            FactKind::EcsService | FactKind::AsgGroup | FactKind::CloudwatchMetric => Vec::new(),
        }
    }

    fn arg(&self, name: &str) -> Result<&str, ReadError> {
        let found = self.args.get(name).map(String::as_str).filter(|text| !text.is_empty());
        found.ok_or_else(|| wrong(format!("`{}` is told no `{name}`", self.kind.name())))
    }

    async fn instance(&self, eyes: &Eyes, now: Timestamp) -> Result<Value, ReadError> {
        let id = self.arg("instance")?;
        let id = id.strip_prefix("ec2/").unwrap_or(id);
        let (instance, group) = futures::join!(eyes.ssm.instance(id), eyes.asg.group_of(id));
        let (instance, group) = (instance?, group?);
        // Not known when it was last heard of: as old as can be.
        let age = instance.last_ping.map(|at| now.duration_since(at).as_secs().max(0));
        Ok(json!({
            "instance": instance.id,
            "ping": instance.ping,
            "last_ping_age_secs": age.unwrap_or(NEVER_SECS),
            "platform": instance.platform,
            "agent_version": instance.agent_version,
            "group": group.unwrap_or_default(),
        }))
    }

    async fn service(&self, eyes: &Eyes) -> Result<Value, ReadError> {
        let (cluster, name) = (self.arg("cluster")?, self.arg("service")?);
        let service = eyes.ecs.service(cluster, name).await?;
        let primary = service.deployments.iter().find(|d| d.status == "PRIMARY");
        Ok(json!({
            "cluster": cluster,
            "service": name,
            "status": service.status,
            "desired": service.desired,
            "running": service.running,
            "pending": service.pending,
            "deployments": service.deployments.len(),
            "rollout": primary.map_or("", |deployment| deployment.rollout.as_str()),
            "controller": service.controller,
        }))
    }

    async fn group(&self, eyes: &Eyes) -> Result<Value, ReadError> {
        let name = self.arg("group")?;
        let name = name.strip_prefix("asg/").unwrap_or(name);
        let group = eyes.asg.group(name).await?;
        let serving = || group.instances.iter().filter(|i| i.lifecycle == "InService");
        Ok(json!({
            "group": name,
            "min": group.min,
            "max": group.max,
            "desired": group.desired,
            "healthy": serving().filter(|i| i.health == "Healthy").count(),
            "in_service": serving().count(),
            "suspended": group.suspended,
        }))
    }

    async fn metric(&self, eyes: &Eyes, now: Timestamp) -> Result<Value, ReadError> {
        let query = self.query(now)?;
        let points = eyes.metrics.metric(&query).await?;
        let Some((at, latest)) = points.last() else {
            let what = format!("a datapoint of `{}` in `{}`", query.metric, query.namespace);
            return Err(ReadError::NotFound { what });
        };
        let values = || points.iter().map(|(_, value)| *value);
        let count = i32::try_from(points.len()).unwrap_or(i32::MAX);
        Ok(json!({
            "namespace": query.namespace,
            "metric": query.metric,
            "latest": latest,
            "min": values().fold(f64::INFINITY, f64::min),
            "max": values().fold(f64::NEG_INFINITY, f64::max),
            "avg": values().sum::<f64>() / f64::from(count),
            "points": count,
            "age_secs": now.duration_since(*at).as_secs().max(0),
        }))
    }

    fn query(&self, now: Timestamp) -> Result<MetricQuery, ReadError> {
        let time = |name: &str, default: Period| match self.args.get(name) {
            Some(text) => text.parse::<Period>().map_err(|error| wrong(error.to_string())),
            None => Ok(default),
        };
        let (period, window) =
            (time("period", Period::mins(1))?, time("window", Period::mins(15))?);
        if period == Period::ZERO || period.as_secs() % 60 != 0 || period > window {
            return Err(wrong(format!(
                "`period: {period}` is not a multiple of 60s within `window`"
            )));
        }
        if window > WINDOW_MAX {
            return Err(wrong(format!("`window: {window}` is more than {WINDOW_MAX}")));
        }
        let statistic = self.args.get("statistic").map_or("Average", String::as_str);
        if !matches!(statistic, "Average" | "Maximum" | "Minimum" | "Sum" | "SampleCount") {
            return Err(wrong(format!("`{statistic}` is not a statistic of CloudWatch")));
        }
        let from = now - jiff::SignedDuration::from_secs(window.as_secs().cast_signed());
        Ok(MetricQuery {
            namespace: self.arg("namespace")?.to_owned(),
            metric: self.arg("metric")?.to_owned(),
            dimensions: dimensions(self.args.get("dimensions").map_or("", String::as_str))?,
            statistic: statistic.to_owned(),
            period_secs: u32::try_from(period.as_secs()).unwrap_or(u32::MAX),
            from,
            to: now,
        })
    }
}

/// `QueueName=contacts, Stage=prod`.
fn dimensions(text: &str) -> Result<BTreeMap<String, String>, ReadError> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            Some(_) | None => {
                Err(wrong(format!("`{pair}` is not a dimension: write `Name=value`")))
            }
        })
        .collect()
}

/// An argument that cannot be read with; the check of rules finds it earlier.
fn wrong(why: String) -> ReadError {
    ReadError::Refused { code: "wrong_argument".into(), why, missing: None }
}
