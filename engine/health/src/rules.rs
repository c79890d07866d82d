//! Which rules could not be loaded, as the journal tells it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use untoil_model::{Body, DeliveryId, Entry, Seq};

use crate::{Observer, Part, Readiness};

/// Names of broken rules that are told; there are more in the log.
const TOLD_MAX: usize = 5;

/// Keeps [`Part::Rules`]: degraded while the newest text of some rule cannot be loaded. What was
/// loaded before goes on, so it takes no instance out of the load balancer.
#[derive(Debug)]
pub struct RuleWatch {
    broken: Mutex<BTreeSet<String>>,
    readiness: Readiness,
}

impl RuleWatch {
    /// No rule is known to be broken.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        Self { broken: Mutex::default(), readiness }
    }
}

impl Observer for RuleWatch {
    fn received(&self, _: &DeliveryId, _: Timestamp, _: Seq) {}

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "three kinds are about the loading of rules"
    )]
    fn wrote(&self, entries: &[Entry]) {
        for entry in entries {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = match &entry.body {
                Body::RuleBroken { rule, .. } => broken.insert(rule.clone()),
                Body::RuleLoaded { rule, .. } | Body::RuleRemoved { rule } => {
                    broken.remove(rule.as_str())
                }
                _ => false,
            };
            match (changed, broken.is_empty()) {
                (false, _) => {}
                (true, true) => self.readiness.ok(Part::Rules),
                (true, false) => {
                    let names: Vec<_> = broken.iter().take(TOLD_MAX).map(String::as_str).collect();
                    let why = format!("{} cannot be loaded: {}", broken.len(), names.join(", "));
                    self.readiness.degraded(Part::Rules, &why);
                }
            }
        }
    }
}
