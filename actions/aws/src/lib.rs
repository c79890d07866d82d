//! The ports of [`untoil_actions`], and the queues of [`untoil_intake`], over the AWS SDK. Nothing else names an AWS crate.
//!
//! [`connect()`] makes an [`Aws`] from the usual credential chain. Its [`Aws::eyes`] only read and may
//! repeat a call; its [`Aws::writes`] send every request at most once, because nearly none of the
//! calls that change something can be recognised as a repeat by AWS. What an answer, or its absence,
//! proves is decided in one place, [`answer`]; `docs/aws.md` has the same table in words.
//! Every call goes through one gate, which keeps to what AWS takes per API and lets the more urgent
//! go first; `docs/aws-limits.md` tells. [`doctor`] tells what is missing before an alarm does.
#![forbid(unsafe_code)]

pub mod answer;
mod asg;
mod bucket;
mod call;
mod cloudwatch;
mod connect;
pub mod doctor;
mod ecs;
mod gate;
mod identity;
mod limits;
mod missing;
mod sqs;
mod sqs_address;
mod sqs_look;
mod ssm;
mod ssm_automation;
mod ssm_command;

pub use connect::{Aws, AwsConfig, Credentials, Timeouts, Writes, connect, read_certificates};
pub use gate::Flow;
pub use identity::Identity;
pub use limits::{LimitError, Limits, PUBLISHED, Priority, Published, Rate};
pub use sqs::{SqsQueue, TAKING};
pub use sqs_address::{QueueAddress, QueueAddressError};
pub use sqs_look::{QueueState, Redrive};
