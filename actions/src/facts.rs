//! The facts that a rule may declare, and how each is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_model::{FactValue, Target};

use crate::{Eyes, Param, ReadError};

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
        &[]
    }

    /// The fields that a script may read of it.
    pub fn fields(self) -> &'static [&'static str] {
        &[]
    }
}

impl FactRequest {
    /// Reads it.
    ///
    /// # Errors
    /// [`ReadError`]; a missing fact means that nothing is written.
    pub async fn read(&self, eyes: &Eyes, now: Timestamp) -> Result<FactValue, ReadError> {
        let _ = (eyes, now);
        Err(ReadError::Unavailable { why: "being written".into() })
    }

    /// What the fact tells of the parents of a target, such as an instance's group.
    #[must_use]
    pub fn parents(&self, value: &FactValue) -> Vec<Target> {
        let _ = value;
        Vec::new()
    }
}
