//! How often AWS takes which calls, and who goes first.
//!
//! AWS counts calls per account, Region and API. The table is what AWS publishes; where it publishes
//! nothing it is a cautious guess, and says so. [`Limits::account`] is how an account whose quotas are other
//! ones is told.

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

/// Operations that are called, too, and of which nothing is published: each counts by itself.
const UNPUBLISHED: [&str; 7] = [
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:SetDesiredCapacity",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sts:GetCallerIdentity",
];

/// More calls a second than any quota of these APIs: beyond it somebody mistyped.
const PER_SEC_MAX: f64 = 1_000.0;
/// Less than one call in a hundred seconds would wait longer than anything waits for it.
const PER_SEC_MIN: f64 = 0.01;

/// Why an account's own rate cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// No such API is called.
    #[error("no API `{api}` is called; there are {}", known().join(", "))]
    Unknown {
        /// As it was named.
        api: String,
    },
    /// It is no rate.
    #[error("`{api}` is {per_sec} calls a second: give {PER_SEC_MIN} to {PER_SEC_MAX}")]
    Rate {
        /// Whose.
        api: String,
        /// The rate.
        per_sec: f64,
    },
}

/// All names that [`Limits::account`] takes, in backticks.
fn known() -> Vec<String> {
    let published = PUBLISHED.iter().map(|one| one.api);
    published.chain(UNPUBLISHED).map(|api| format!("`{api}`")).collect()
}

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

    /// With the account's own rate for one API, by its name in [`PUBLISHED`] or that of an operation that
    /// counts by itself. As many calls may come at once as before; fewer where the rate is lower, and as
    /// many as in a second where that is more.
    ///
    /// # Errors
    /// [`LimitError`].
    pub fn account(self, api: &str, per_sec: f64) -> Result<Self, LimitError> {
        let published = PUBLISHED.iter().find(|one| one.api == api).map(|one| one.rate);
        let guess = || UNPUBLISHED.contains(&api).then(|| other(api));
        let Some(before) = published.or_else(guess) else {
            return Err(LimitError::Unknown { api: api.to_owned() });
        };
        if !(PER_SEC_MIN..=PER_SEC_MAX).contains(&per_sec) {
            return Err(LimitError::Rate { api: api.to_owned(), per_sec });
        }
        let burst = before.burst * (per_sec / before.per_sec).min(1.0);
        Ok(self.with(api, Rate { per_sec, burst: burst.max(per_sec).max(1.0) }))
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

    #[test]
    fn an_account_tells_its_own_rates_by_the_names_of_what_is_counted() {
        let table = [
            ("ecs service modify", 10.0, "ecs:UpdateService", 50.0),
            ("ecs service modify", 100.0, "ecs:UpdateService", 100.0),
            ("ecs service modify", 1.0, "ecs:UpdateService", 10.0),
            ("ssm:SendCommand", 0.5, "ssm:SendCommand", 1.0),
            ("autoscaling:SetDesiredCapacity", 4.0, "autoscaling:SetDesiredCapacity", 4.0),
        ];
        for (api, per_sec, operation, burst) in table {
            let limits = Limits::published().account(api, per_sec).unwrap();
            assert_eq!(limits.of(operation), (api, Rate { per_sec, burst }));
        }
        for (api, per_sec, says) in [
            ("ecs:UpdateService", 10.0, "there are `ecs service modify`, `ecs service read`"),
            ("nothing", 10.0, "`autoscaling:SetDesiredCapacity`"),
            ("ssm read", 0.0, "`ssm read` is 0 calls a second: give 0.01 to 1000"),
            ("ssm read", f64::NAN, "give 0.01 to 1000"),
        ] {
            let error = Limits::published().account(api, per_sec).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn every_operation_that_is_called_has_a_name_that_an_account_can_give() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut n_operations = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for after in code.split("Call::new(").skip(1) {
                let Some(operation) = after.trim_start().strip_prefix('"') else { continue };
                let operation = operation.split('"').next().unwrap();
                // What takes messages goes past the gate.
                let passes = path.ends_with("sqs.rs");
                let is_known = UNPUBLISHED.contains(&operation)
                    || PUBLISHED.iter().any(|one| one.operations.contains(&operation));
                assert!(is_known || passes, "{operation} in {}", path.display());
                n_operations += 1;
            }
        }
        assert!(n_operations > 10, "{n_operations}");
    }
}
