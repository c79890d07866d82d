//! Deliveries that are left to a newer program, so that they do not hide those behind them.

use std::collections::BTreeSet;
use std::time::Duration;

use untoil_journal::DECIDED_TOGETHER_BYTES;
use untoil_model::{Delivery, DeliveryId};

use crate::dispatcher::PAGE;

/// Deliveries that are remembered and looked past. It takes a newer program that wrote of so many alarms,
/// and stays away.
pub(crate) const LEFT_MAX: usize = 16 * 1024;
/// When all of them are tried again: what was written since may be readable.
const AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Those that only a newer program can decide, as far as was seen.
#[derive(Debug, Default)]
pub(crate) struct Left {
    ids: BTreeSet<DeliveryId>,
    since: Duration,
}

impl Left {
    /// Forgets all of them when it is time to try them again.
    pub(crate) fn refresh(&mut self, ticks: Duration) {
        if ticks.saturating_sub(self.since) >= AGAIN_AFTER {
            *self = Self { ids: BTreeSet::new(), since: ticks };
        }
    }

    /// Leaves one; says whether it is remembered.
    pub(crate) fn leave(&mut self, id: DeliveryId) -> bool {
        self.ids.len() < LEFT_MAX && self.ids.insert(id)
    }

    /// Whether it is to be tried.
    pub(crate) fn is_free(&self, id: &DeliveryId) -> bool {
        !self.ids.contains(id)
    }

    /// Takes those away from a page that are left; says whether they may have hidden others.
    pub(crate) fn take_from(&self, page: &mut Vec<Delivery>) -> bool {
        let bytes: usize = page.iter().map(|delivery| delivery.body.len()).sum();
        let is_full = page.len() == PAGE || bytes > DECIDED_TOGETHER_BYTES / 2;
        page.retain(|delivery| self.is_free(&delivery.id));
        is_full && page.is_empty()
    }
}
