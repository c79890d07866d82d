//! The gates, in their order, as one pure function.

use std::collections::BTreeMap;

use jiff::Timestamp;
use untoil_model::{EngineMode, Incident, Verdict};

use crate::{Ledger, Policy};

/// What is to be judged: the newest part of an incident's run.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The incident; its newest part is the plan.
    pub incident: &'a Incident,
    /// What the engine as a whole may do.
    pub engine: EngineMode,
}

/// The verdict with everything that an auditor wants to see beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// Allow, hold or deny.
    pub verdict: Verdict,
    /// On whose authority: `rule disk-full@1a2b… (auto)`, `approved by kim`.
    pub authority: String,
    /// Each gate that was reached, with its numbers.
    pub gates: BTreeMap<String, String>,
}

/// Judges a plan. Pure: the same arguments give the same opinion.
#[must_use]
pub fn judge(request: &Request<'_>, ledger: &Ledger, policy: &Policy, now: Timestamp) -> Opinion {
    let _ = (request, ledger, policy, now);
    unimplemented!("the gates")
}
