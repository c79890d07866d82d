//! Tells what is missing before an alarm does. It only reads.
//!
//! AWS has no dry run for the calls that write; docs/actions.md lists what each action
//! needs, and the first denied call names what is missing.

use jiff::{SignedDuration, Timestamp};
use untoil_actions::{MetricQuery, Missing, ReadError};

use crate::connect::Aws;
use crate::identity::Identity;
use crate::limits::Priority;
use crate::sqs::SqsQueue;
use crate::sqs_address::QueueAddress;
use crate::sqs_look::QueueState;

/// A name that nobody uses: asking for it shows whether asking is allowed.
const NOBODY: &str = "untoil-doctor";

/// An instance that does not exist, for the same purpose.
const NO_INSTANCE: &str = "i-00000000";

/// What the rules use, so that exactly those permissions are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// SSM documents: name and pinned version.
    pub documents: Vec<(String, String)>,
    /// ECS services: cluster and name.
    pub services: Vec<(String, String)>,
    /// Auto Scaling groups.
    pub groups: Vec<String>,
    /// Queues that messages are taken from.
    pub queues: Vec<QueueAddress>,
}

/// What trying one read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Fine,
    /// It is allowed, but the thing does not exist.
    Absent(String),
    /// A permission is missing.
    Missing(Missing),
    /// It failed for another reason.
    Failed(String),
}

/// One read that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// `ssm:DescribeDocument untoil-host-disk`.
    pub what: String,
    /// What it showed.
    pub finding: Finding,
}

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// Whose credentials these are, or why that cannot be told; then nothing else was tried.
    pub identity: Result<Identity, ReadError>,
    /// How far this machine's clock is ahead of AWS's (negative: behind), to about a second.
    /// Beyond five minutes AWS refuses every signature.
    pub ahead: Option<SignedDuration>,
    /// Each read that was tried.
    pub probes: Vec<Probe>,
    /// How each queue is set up, in the order that was wanted.
    pub queues: Vec<QueueLook>,
}

/// What looking at a queue showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLook {
    /// The queue's ARN.
    pub arn: String,
    /// How it is set up, if that can be read.
    pub state: Option<QueueState>,
    /// What was tried: its attributes and, while nothing waits in it, a receipt. So nothing is taken.
    pub probes: Vec<Probe>,
}

/// Tries everything that the engine reads, one call each.
pub async fn examine(aws: &Aws, wanted: &Wanted) -> Checkup {
    let identity = aws.identity().await;
    let now = aws.shared.clock.now();
    let ahead = identity.as_ref().ok().and_then(|identity| identity.aws_time);
    let ahead = ahead.map(|aws_time| ahead_of(aws_time, now));
    if identity.is_err() {
        return Checkup { identity, ahead, probes: Vec::new(), queues: Vec::new() };
    }
    let mut queues = Vec::new();
    for address in &wanted.queues {
        queues.push(queue(&aws.queue(address)).await);
    }
    let mut probes = general(aws, now).await;
    probes.extend(named(aws, wanted).await);
    Checkup { identity, ahead, probes, queues }
}

/// Headers tell whole seconds, cut off: half a second is added to be right on average.
fn ahead_of(aws_time: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(aws_time) - SignedDuration::from_millis(500)
}

/// Reads that need no name of ours: what does not exist is fine there.
async fn general(aws: &Aws, now: Timestamp) -> Vec<Probe> {
    let eyes = aws.eyes_for(Priority::Report);
    let query = MetricQuery {
        namespace: "Untoil/Doctor".to_owned(),
        metric: NOBODY.to_owned(),
        dimensions: [].into(),
        statistic: "Average".to_owned(),
        period_secs: 60,
        from: now - SignedDuration::from_mins(5),
        to: now,
    };
    vec![
        probe("ssm:DescribeInstanceInformation", allowed(eyes.ssm.instance(NO_INSTANCE).await)),
        probe("ssm:ListCommands", allowed(eyes.ssm.commands_since(NO_INSTANCE, now).await)),
        probe(
            "autoscaling:DescribeAutoScalingInstances",
            allowed(eyes.asg.group_of(NO_INSTANCE).await),
        ),
        probe("cloudwatch:DescribeAlarms", allowed(eyes.metrics.alarm(NOBODY).await)),
        probe("cloudwatch:GetMetricData", allowed(eyes.metrics.metric(&query).await)),
    ]
}

/// Reads of what the rules name.
async fn named(aws: &Aws, wanted: &Wanted) -> Vec<Probe> {
    let eyes = aws.eyes_for(Priority::Report);
    let mut probes = Vec::new();
    for (name, version) in &wanted.documents {
        let what = format!("ssm:DescribeDocument {name}");
        let answer = eyes.ssm.document_hash(name, version).await;
        probes.push(Probe { what, finding: finding(answer) });
    }
    for (cluster, name) in &wanted.services {
        let what = format!("ecs:DescribeServices {cluster}/{name}");
        probes.push(Probe { what, finding: finding(eyes.ecs.service(cluster, name).await) });
    }
    for name in &wanted.groups {
        let what = format!("autoscaling:DescribeAutoScalingGroups {name}");
        probes.push(Probe { what, finding: finding(eyes.asg.group(name).await) });
    }
    if wanted.services.is_empty() {
        let answer = eyes.ecs.service(NOBODY, NOBODY).await;
        probes.push(probe("ecs:DescribeServices", allowed(answer)));
    }
    if wanted.groups.is_empty() {
        let answer = eyes.asg.group(NOBODY).await;
        probes.push(probe("autoscaling:DescribeAutoScalingGroups", allowed(answer)));
    }
    probes
}

async fn queue(queue: &SqsQueue) -> QueueLook {
    let arn = queue.arn().to_owned();
    let state = queue.state().await;
    let found = state.as_ref().ok().cloned();
    let mut probes = vec![probe(&format!("sqs:GetQueueAttributes {arn}"), finding(state))];
    if found.as_ref().is_some_and(QueueState::spares_a_receipt) {
        let received = queue.receive_nothing().await;
        probes.push(probe(&format!("sqs:ReceiveMessage {arn}"), finding(received)));
    }
    QueueLook { arn, state: found, probes }
}

fn probe(what: &str, finding: Finding) -> Probe {
    Probe { what: what.to_owned(), finding }
}

fn finding<T>(answer: Result<T, ReadError>) -> Finding {
    match answer {
        Ok(_) => Finding::Fine,
        Err(ReadError::NotFound { what }) => Finding::Absent(what),
        Err(ReadError::Refused { missing: Some(missing), .. }) => Finding::Missing(missing),
        Err(error @ (ReadError::Refused { .. } | ReadError::Unavailable { .. })) => {
            Finding::Failed(error.to_string())
        }
    }
}

/// The same for a made-up name: that it does not exist was to be expected.
fn allowed<T>(answer: Result<T, ReadError>) -> Finding {
    match finding(answer) {
        Finding::Absent(_) => Finding::Fine,
        // SSM's word for an instance that it does not know.
        Finding::Failed(why) if why.starts_with("InvalidInstanceId") => Finding::Fine,
        other @ (Finding::Fine | Finding::Missing(_) | Finding::Failed(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_ahead_by_what_the_header_is_behind() {
        let aws: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:06:00.5Z".parse().unwrap();
        assert_eq!(ahead_of(aws, now), SignedDuration::from_mins(6));
    }
}
