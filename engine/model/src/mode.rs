//! Modes: how much a rule, and the engine as a whole, may do.

use serde::{Deserialize, Serialize};

/// What a rule may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing: it is not even asked.
    Off,
    /// Plans and records what it would have done; only reading steps run.
    Shadow,
    /// Plans, then waits for a person before each plan that writes.
    Approve,
    /// Acts within its limits.
    Auto,
}

impl Mode {
    /// The word used in manifests and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Approve => "approve",
            Self::Auto => "auto",
        }
    }
}

/// What the engine as a whole may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineMode {
    /// It has no port that writes.
    DryRun,
    /// It acts where the guard allows it.
    Live,
}

impl EngineMode {
    /// The word used in configuration and entries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "dry_run",
            Self::Live => "live",
        }
    }
}
