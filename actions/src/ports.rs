//! The doors to the world. `actions/aws` opens them over the AWS SDK, `sandbox/world` over a
//! simulated AWS; nothing else does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use untoil_guard::Clearance;

use crate::Missing;

/// What became of a call that changes something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The service proved that nothing happened, and trying again will not help.
    #[error("{code}: {why}")]
    Refused {
        /// The service's own code.
        code: String,
        /// In its words.
        why: String,
        /// The permission that is missing, when that is why.
        missing: Option<Missing>,
    },
    /// Nothing happened because there were too many calls; try again later.
    #[error("throttled: {why}")]
    Throttled {
        /// In the service's words.
        why: String,
        /// When the service says so.
        retry_after: Option<Duration>,
    },
    /// The request never left: no connection was made.
    #[error("not sent: {why}")]
    NotSent {
        /// Why.
        why: String,
    },
    /// Nobody can tell: time-out, reset, 5xx, or an answer that cannot be read.
    #[error("unknown outcome: {why}")]
    Unknown {
        /// What is known.
        why: String,
    },
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// The service refused.
    #[error("{code}: {why}")]
    Refused {
        /// The service's own code.
        code: String,
        /// In its words.
        why: String,
        /// The permission that is missing, when that is why.
        missing: Option<Missing>,
    },
    /// It did not answer, or not in time; reading again may help.
    #[error("unavailable: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
}

/// Everything that reads. Methods may be retried at will.
#[derive(Debug, Clone)]
pub struct Eyes {
    /// Systems Manager.
    pub ssm: Arc<dyn SsmReads>,
    /// ECS.
    pub ecs: Arc<dyn EcsReads>,
    /// EC2 Auto Scaling.
    pub asg: Arc<dyn AsgReads>,
    /// CloudWatch.
    pub metrics: Arc<dyn MetricReads>,
}

/// Everything that writes. A dry run has none.
#[derive(Debug, Clone)]
pub struct Hands {
    /// Systems Manager.
    pub ssm: Arc<dyn SsmWrites>,
    /// ECS.
    pub ecs: Arc<dyn EcsWrites>,
    /// EC2 Auto Scaling.
    pub asg: Arc<dyn AsgWrites>,
    /// People.
    pub chat: Arc<dyn ChatWrites>,
    /// Other services, on allowed hosts only.
    pub http: Arc<dyn HttpWrites>,
}

/// An instance as Systems Manager knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedInstance {
    /// `i-…` or `mi-…`.
    pub id: String,
    /// `Online`, `ConnectionLost` or `Inactive`.
    pub ping: String,
    /// When it was last heard of.
    pub last_ping: Option<Timestamp>,
    /// `Linux`, `Windows` or `MacOS`.
    pub platform: String,
    /// Version of its agent.
    pub agent_version: String,
}

/// What to send to one instance. Never more than one: `InstanceIds` has exactly one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendCommand {
    /// Name of a fixed document.
    pub document: String,
    /// Its pinned version, a number.
    pub version: String,
    /// SHA-256 of its content in hexadecimal, when pinned by hash.
    pub sha256: Option<String>,
    /// The instance.
    pub instance: String,
    /// Parameters; each value is one string.
    pub params: BTreeMap<String, String>,
    /// Not started on the host within this time, it does not start; SSM's least is 30 s.
    pub delivery_timeout: Duration,
}

/// Where a command stands, on its one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    /// Pending, in progress, delayed or cancelling.
    Going,
    /// Its script ended with exit status 0.
    Success,
    /// Its script ended otherwise.
    Failed,
    /// It never reached the host, provably: undeliverable, invalid platform, access denied, cancelled before start.
    NeverRan,
    /// It may have run: delivery timed out, execution timed out, cancelled, terminated.
    Unclear,
}

/// A command and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Its comment, which carries our marker.
    pub comment: String,
    /// When it was asked for.
    pub requested_at: Option<Timestamp>,
    /// Where it stands.
    pub state: CommandState,
    /// SSM's own word for that, `StatusDetails`.
    pub status: String,
    /// Exit status of the script, when it ended.
    pub exit_code: Option<i32>,
    /// The first 24,000 characters that it printed.
    pub stdout: String,
    /// The first 8,000 characters of its errors.
    pub stderr: String,
}

/// What to automate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartAutomation {
    /// Name of the runbook.
    pub document: String,
    /// Its pinned version.
    pub version: String,
    /// Parameters.
    pub params: BTreeMap<String, Vec<String>>,
    /// A UUID made from the marker: the same call again is the same execution.
    pub client_token: String,
}

/// An automation execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automation {
    /// Its id.
    pub id: String,
    /// Whether it ended.
    pub ended: bool,
    /// Whether it ended well.
    pub succeeded: bool,
    /// SSM's own word.
    pub status: String,
    /// Its failure message, or outputs as text; bounded.
    pub detail: String,
}

/// Reads of Systems Manager.
#[async_trait]
pub trait SsmReads: Send + Sync + Debug {
    /// `DescribeInstanceInformation` of one instance.
    async fn instance(&self, id: &str) -> Result<ManagedInstance, ReadError>;
    /// `GetCommandInvocation`. Just after sending it may not be there yet: [`ReadError::NotFound`].
    async fn command(&self, id: &str, instance: &str) -> Result<Command, ReadError>;
    /// `ListCommands` on an instance since a time; states and outputs need [`SsmReads::command`].
    async fn commands_since(
        &self,
        instance: &str,
        since: Timestamp,
    ) -> Result<Vec<Command>, ReadError>;
    /// `GetAutomationExecution`.
    async fn automation(&self, id: &str) -> Result<Automation, ReadError>;
    /// `DescribeAutomationExecutions` with our tag since a time.
    async fn automation_with(
        &self,
        marker: &str,
        since: Timestamp,
    ) -> Result<Option<Automation>, ReadError>;
    /// The hash of a document's pinned version, as `DescribeDocument` tells it (lower-case hex).
    async fn document_hash(&self, name: &str, version: &str) -> Result<String, ReadError>;
}

/// Calls of Systems Manager that change something. No SDK retries.
#[async_trait]
pub trait SsmWrites: Send + Sync + Debug {
    /// `SendCommand`; answers the command's id. The marker goes into `Comment`.
    async fn send_command(&self, may: Clearance, what: SendCommand) -> Result<String, CallError>;
    /// `StartAutomationExecution`; answers its id. The marker goes into a tag.
    async fn start_automation(
        &self,
        may: Clearance,
        what: StartAutomation,
    ) -> Result<String, CallError>;
}

/// An ECS deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// `PRIMARY`, `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// `IN_PROGRESS`, `COMPLETED`, `FAILED`, or empty.
    pub rollout: String,
    /// When it began.
    pub created_at: Option<Timestamp>,
}

/// An ECS service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its cluster's name.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// `ACTIVE`, `DRAINING` or `INACTIVE`.
    pub status: String,
    /// Wanted tasks.
    pub desired: i64,
    /// Running tasks.
    pub running: i64,
    /// Tasks on their way.
    pub pending: i64,
    /// `ECS`, `CODE_DEPLOY` or `EXTERNAL`.
    pub controller: String,
    /// Its deployments, the primary first.
    pub deployments: Vec<Deployment>,
}

/// An ECS task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its ARN.
    pub arn: String,
    /// `service:<name>` for a service's task.
    pub group: String,
    /// `RUNNING`, `STOPPED`, …
    pub last_status: String,
    /// `RUNNING` or `STOPPED`.
    pub desired_status: String,
    /// Why it was stopped.
    pub stopped_reason: String,
}

/// Reads of ECS.
#[async_trait]
pub trait EcsReads: Send + Sync + Debug {
    /// `DescribeServices` of one service.
    async fn service(&self, cluster: &str, name: &str) -> Result<Service, ReadError>;
    /// `DescribeTasks` of one task.
    async fn task(&self, cluster: &str, arn: &str) -> Result<Task, ReadError>;
}

/// Calls of ECS that change something. No SDK retries.
#[async_trait]
pub trait EcsWrites: Send + Sync + Debug {
    /// `UpdateService` with `desiredCount`.
    async fn set_desired(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
        n: i64,
    ) -> Result<(), CallError>;
    /// `UpdateService` with `forceNewDeployment`; answers the new deployment's id. Not repeatable.
    async fn redeploy(
        &self,
        may: Clearance,
        cluster: &str,
        service: &str,
    ) -> Result<String, CallError>;
    /// `StopTask`; `reason` is complete and carries the marker already.
    async fn stop_task(
        &self,
        may: Clearance,
        cluster: &str,
        task: &str,
        reason: &str,
    ) -> Result<(), CallError>;
}

/// An instance in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInstance {
    /// Its id.
    pub id: String,
    /// `InService`, `Terminating`, …
    pub lifecycle: String,
    /// `Healthy` or `Unhealthy`.
    pub health: String,
    /// Whether it is protected from scale-in; the engine honours that for replacement, too.
    pub protected: bool,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Least size.
    pub min: i64,
    /// Largest size: the only outer fence, as IAM knows no condition on the value.
    pub max: i64,
    /// Wanted size.
    pub desired: i64,
    /// Its instances.
    pub instances: Vec<GroupInstance>,
    /// Suspended processes.
    pub suspended: Vec<String>,
}

/// Reads of EC2 Auto Scaling.
#[async_trait]
pub trait AsgReads: Send + Sync + Debug {
    /// `DescribeAutoScalingGroups` of one group, always by name: without one the API returns all.
    async fn group(&self, name: &str) -> Result<Group, ReadError>;
    /// `DescribeAutoScalingInstances`: the name of the group an instance belongs to.
    async fn group_of(&self, instance: &str) -> Result<Option<String>, ReadError>;
}

/// Calls of EC2 Auto Scaling that change something. No SDK retries.
#[async_trait]
pub trait AsgWrites: Send + Sync + Debug {
    /// `SetDesiredCapacity` without waiting for cooldown.
    async fn set_desired(&self, may: Clearance, group: &str, n: i64) -> Result<(), CallError>;
    /// `TerminateInstanceInAutoScalingGroup` without decrement: the group replaces it.
    async fn replace_instance(&self, may: Clearance, instance: &str) -> Result<(), CallError>;
}

/// Which metric, over which time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricQuery {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub metric: String,
    /// Dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// `Average`, `Maximum`, `Minimum`, `Sum` or `SampleCount`.
    pub statistic: String,
    /// In seconds, a multiple of 60.
    pub period_secs: u32,
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
}

/// An alarm as CloudWatch has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmLook {
    /// Its ARN: another account or Region may have an alarm of the same name.
    pub arn: Option<String>,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    /// When it changed to that.
    pub changed_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// Reads of CloudWatch.
#[async_trait]
pub trait MetricReads: Send + Sync + Debug {
    /// `GetMetricData`: time and value of each datapoint, oldest first; at most 1,440.
    async fn metric(&self, query: &MetricQuery) -> Result<Vec<(Timestamp, f64)>, ReadError>;
    /// `DescribeAlarms` of one alarm by its name.
    async fn alarm(&self, name: &str) -> Result<AlarmLook, ReadError>;
}

/// A message to people that a rule asks for.
#[async_trait]
pub trait ChatWrites: Send + Sync + Debug {
    /// Says `text` in the incident's thread; answers an id of the message.
    async fn say(&self, may: Clearance, text: &str) -> Result<String, CallError>;
}

/// A request to another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// `https://host/path` on an allowed host.
    pub url: String,
    /// A JSON body.
    pub body: String,
    /// The `Idempotency-Key`: the marker without its attempt, so that a repeat carries the same key.
    pub key: String,
}

/// Its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// 100 to 599.
    pub status: u16,
    /// The first 4 KiB of the body.
    pub body: String,
}

/// Requests to other services.
#[async_trait]
pub trait HttpWrites: Send + Sync + Debug {
    /// Sends it, with its `key` as `Idempotency-Key`; never follows redirects.
    async fn send(&self, may: Clearance, what: &HttpRequest) -> Result<HttpReply, CallError>;
}
