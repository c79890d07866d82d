//! Authority as a value.
//!
//! A permit can be read by anybody …
//! ```
//! fn read(permit: &untoil_guard::Permit) -> (&untoil_model::RunId, u32, &untoil_model::Plan, u32) {
//!     (permit.run(), permit.part(), permit.plan(), permit.first_step())
//! }
//! ```
//! … but not made outside this crate (its fields are private, which is all that is wrong here) …
//! ```compile_fail,E0451
//! fn make(run: untoil_model::RunId, plan: std::sync::Arc<untoil_model::Plan>) -> untoil_guard::Permit {
//!     untoil_guard::Permit { run, part: 0, plan, first_step: 0 }
//! }
//! ```
//! … nor is there a call without one: a clearance cannot be made either.
//! ```compile_fail,E0451
//! use std::sync::Arc;
//! use untoil_guard::Clearance;
//! use untoil_model::{Seq, Step, StepRef};
//! fn make(at: StepRef, step: Arc<Step>, not_after: jiff::Timestamp) -> Clearance {
//!     Clearance { at, step, attempt: 1, not_after, ledger_at: Seq(0) }
//! }
//! ```
//! A clearance is used once …
//! ```
//! fn once(c: untoil_guard::Clearance) -> untoil_guard::Clearance { c }
//! ```
//! … not twice.
//! ```compile_fail,E0382
//! fn twice(c: untoil_guard::Clearance) -> (untoil_guard::Clearance, untoil_guard::Clearance) { (c, c) }
//! ```

use std::sync::Arc;

use jiff::Timestamp;
use untoil_model::{Incident, Plan, Reason, RunId, Seq, Step, StepRef};

use crate::guard::number;

/// The right to run one part of one plan once. Made by [`crate::Guard`] only, consumed by the runner.
#[derive(Debug)]
pub struct Permit {
    pub(crate) run: RunId,
    pub(crate) part: u32,
    pub(crate) plan: Arc<Plan>,
    pub(crate) first_step: u32,
}

impl Permit {
    /// The run it is for.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Which asking of the rule it is for, from 0.
    pub fn part(&self) -> u32 {
        self.part
    }

    /// What it allows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The number, in the run, of the plan's first step.
    pub fn first_step(&self) -> u32 {
        self.first_step
    }

    pub(crate) fn claim(&self) -> Claim<'_> {
        let Self { run, part, plan, first_step } = self;
        Claim { run, part: *part, plan, first_step: *first_step }
    }
}

/// What a permit is for. It is no right: it may be of an incident that is ahead of its journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) run: &'a RunId,
    pub(crate) part: u32,
    pub(crate) plan: &'a Arc<Plan>,
    pub(crate) first_step: u32,
}

impl<'a> Claim<'a> {
    /// The newest part of the incident's run, whose steps are known.
    pub(crate) fn of(incident: &'a Incident) -> Option<Self> {
        let run = incident.run.as_ref()?;
        let plan = &run.part()?.plan;
        Some(Self {
            run: &run.id,
            part: number(run.parts.len().saturating_sub(1)),
            plan,
            first_step: number(run.steps.len().saturating_sub(plan.steps.len())),
        })
    }

    /// The right itself. The journal must say that the part is allowed.
    pub(crate) fn permit(self) -> Permit {
        let Self { run, part, plan, first_step } = self;
        Permit { run: run.clone(), part, plan: Arc::clone(plan), first_step }
    }
}

/// The right to make one call: this step, this attempt, until this time. Consumed by the port.
#[derive(Debug)]
pub struct Clearance {
    pub(crate) at: StepRef,
    pub(crate) step: Arc<Step>,
    pub(crate) attempt: u32,
    pub(crate) not_after: Timestamp,
    pub(crate) ledger_at: Seq,
}

impl Clearance {
    /// Which step of which run.
    pub fn at(&self) -> &StepRef {
        &self.at
    }

    /// What may be done.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Which try, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// After this the call must not begin; hosts are told, too.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The last entry of the ledger that was looked at.
    pub fn ledger_at(&self) -> Seq {
        self.ledger_at
    }

    /// What the call carries so that it can be found again.
    pub fn marker(&self) -> String {
        self.at.run.marker(self.at.step, self.attempt)
    }
}

/// What the guard says.
#[derive(Debug)]
pub enum Judgement {
    /// Now, with the right to do it.
    Allow(Permit),
    /// Not yet.
    Hold {
        /// Why.
        reason: Reason,
        /// Judge again then, at the latest.
        until: Timestamp,
    },
    /// No.
    Deny(Reason),
}
