//! How often AWS takes which calls, and who goes first.
//!
//! AWS counts calls per account, Region and API. The table is what AWS publishes; where it publishes
//! nothing it is a cautious guess, and says so. No configuration tells of raised quotas yet; [`Limits::with`]
//! is where they would go.

use std::collections::BTreeMap;

/// What a call is for. Of calls that wait for the same API the first of these goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Whether something that was done helped, and whether a lost call happened.
    Verify,
    /// A call that changes something.
    Act,
    /// Facts that a rule needs.
    Diagnose,
    /// Reports, the doctor, and looking round.
    Report,
}

/// How many calls AWS takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Calls per second that may go on for ever; above 0.
    pub per_sec: f64,
    /// Calls that may come at once after a rest; 1 or more.
    pub burst: f64,
}

impl Rate {
    /// So many per second, and as many at once, but at least one.
    const fn steady(per_sec: f64) -> Self {
        Self { per_sec, burst: if per_sec < 1.0 { 1.0 } else { per_sec } }
    }
}

/// Operations that AWS counts together, and how many of them it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Its name: the operation, or what AWS calls the group.
    pub api: &'static str,
    /// As IAM names them.
    pub operations: &'static [&'static str],
    /// How many it takes.
    pub rate: Rate,
    /// Where that is written.
    pub source: &'static str,
}

/// ECS counts by kind of operation, in token buckets with a burst and a refill rate.
const ECS: &str = "ECS developer guide, request throttling";
/// Systems Manager publishes nothing per operation.
const SSM: &str = "not published; a cautious guess";
/// `CloudWatch` and `CloudTrail` publish transactions per second.
const CLOUDWATCH: &str = "CloudWatch user guide, service quotas";
const CLOUDTRAIL: &str = "CloudTrail API reference, LookupEvents";

/// Every API of which a rate is known or guessed.
pub const PUBLISHED: [Published; 12] = [
    Published {
        api: "ecs service modify",
        operations: &["ecs:UpdateService"],
        rate: Rate { per_sec: 5.0, burst: 50.0 },
        source: ECS,
    },
    Published {
        api: "ecs service read",
        operations: &["ecs:DescribeServices", "ecs:ListServices"],
        rate: Rate { per_sec: 20.0, burst: 100.0 },
        source: ECS,
    },
    Published {
        api: "ecs cluster resource modify",
        operations: &["ecs:RunTask", "ecs:StopTask", "ecs:UpdateContainerInstancesState"],
        rate: Rate { per_sec: 40.0, burst: 100.0 },
        source: ECS,
    },
    Published {
        api: "ecs cluster resource read",
        operations: &["ecs:DescribeTasks", "ecs:ListTasks"],
        rate: Rate { per_sec: 20.0, burst: 100.0 },
        source: ECS,
    },
    Published {
        api: "ecs service deployment read",
        operations: &["ecs:DescribeServiceDeployments", "ecs:ListServiceDeployments"],
        rate: Rate { per_sec: 20.0, burst: 50.0 },
        source: ECS,
    },
    Published {
        api: "ssm:SendCommand",
        operations: &["ssm:SendCommand"],
        rate: Rate::steady(1.0),
        source: SSM,
    },
    Published {
        api: "ssm read",
        operations: &[
            "ssm:DescribeAutomationExecutions",
            "ssm:DescribeDocument",
            "ssm:DescribeInstanceInformation",
            "ssm:GetAutomationExecution",
            "ssm:GetCommandInvocation",
            "ssm:ListCommandInvocations",
            "ssm:ListCommands",
        ],
        rate: Rate::steady(5.0),
        source: SSM,
    },
    Published {
        api: "ssm:StartAutomationExecution",
        operations: &["ssm:StartAutomationExecution"],
        rate: Rate::steady(1.0),
        source: SSM,
    },
    Published {
        api: "cloudwatch:DescribeAlarms",
        operations: &["cloudwatch:DescribeAlarms"],
        rate: Rate::steady(9.0),
        source: CLOUDWATCH,
    },
    Published {
        api: "cloudwatch:DescribeAlarmHistory",
        operations: &["cloudwatch:DescribeAlarmHistory"],
        rate: Rate::steady(3.0),
        source: CLOUDWATCH,
    },
    Published {
        api: "cloudwatch:GetMetricData",
        operations: &["cloudwatch:GetMetricData"],
        rate: Rate::steady(50.0),
        source: CLOUDWATCH,
    },
    Published {
        api: "cloudtrail:LookupEvents",
        operations: &["cloudtrail:LookupEvents"],
        rate: Rate::steady(2.0),
        source: CLOUDTRAIL,
    },
];

/// For an operation that only reads and of which nothing is known.
const OTHER_READ: Rate = Rate::steady(5.0);
/// For any other operation of which nothing is known.
const OTHER: Rate = Rate::steady(1.0);

/// How often each API of one account in one Region is called at most.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    of: BTreeMap<String, Rate>,
    all: Option<Rate>,
}

impl Limits {
    /// As AWS publishes them.
    #[must_use]
    pub fn published() -> Self {
        Self::default()
    }

    /// The same for every API; for stand-ins of AWS, which count nothing.
    #[must_use]
    pub fn every(rate: Rate) -> Self {
        Self { of: BTreeMap::new(), all: Some(rate) }
    }

    /// With another rate for one API, by its name in [`PUBLISHED`] or the operation's.
    #[must_use]
    pub fn with(mut self, api: &str, rate: Rate) -> Self {
        self.of.insert(api.to_owned(), rate);
        self
    }

    /// The API that an operation counts for, and its rate.
    pub(crate) fn of(&self, operation: &'static str) -> (&'static str, Rate) {
        let known = PUBLISHED.iter().find(|one| one.operations.contains(&operation));
        let (api, rate) =
            known.map_or_else(|| (operation, other(operation)), |one| (one.api, one.rate));
        (api, self.of.get(api).copied().or(self.all).unwrap_or(rate))
    }
}

fn other(operation: &str) -> Rate {
    let verb = operation.split_once(':').map_or(operation, |(_, verb)| verb);
    let reads = ["Describe", "Get", "List"].iter().any(|word| verb.starts_with(word));
    if reads { OTHER_READ } else { OTHER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_aws_counts_together_share_a_rate_and_others_do_not() {
        let limits = Limits::published();
        assert_eq!(limits.of("ecs:DescribeTasks").0, limits.of("ecs:ListTasks").0);
        assert_ne!(limits.of("ecs:StopTask").0, limits.of("ecs:UpdateService").0);
        assert_eq!(limits.of("ecs:UpdateService").1, Rate { per_sec: 5.0, burst: 50.0 });
        assert_eq!(limits.of("cloudwatch:DescribeAlarms").1, Rate::steady(9.0));
        assert_eq!(limits.of("cloudtrail:LookupEvents").1, Rate::steady(2.0));
    }

    #[test]
    fn what_is_not_published_is_guessed_by_whether_it_reads() {
        let limits = Limits::published();
        let read = limits.of("autoscaling:DescribeAutoScalingGroups");
        assert_eq!(read, ("autoscaling:DescribeAutoScalingGroups", OTHER_READ));
        assert_eq!(limits.of("autoscaling:SetDesiredCapacity").1, OTHER);
    }

    #[test]
    fn no_operation_counts_twice_and_every_rate_lets_something_through() {
        let operations = PUBLISHED.iter().flat_map(|one| one.operations);
        let mut operations: Vec<_> = operations.collect();
        let n_operations = operations.len();
        operations.sort_unstable();
        operations.dedup();
        assert_eq!(operations.len(), n_operations);
        for one in PUBLISHED {
            assert!(one.rate.per_sec > 0.0 && one.rate.burst >= 1.0, "{}", one.api);
            assert!(!one.source.is_empty(), "{}", one.api);
        }
    }

    #[test]
    fn a_raised_quota_replaces_what_is_published() {
        let raised = Rate { per_sec: 20.0, burst: 80.0 };
        let limits = Limits::published().with("ecs service modify", raised);
        assert_eq!(limits.of("ecs:UpdateService").1, raised);
    }
}
