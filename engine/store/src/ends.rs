//! Where streams end, as the file's only writer knows without asking it.
//!
//! Whoever works on an incident asks again and again whether it has grown, and nearly always it has
//! not. What is known here is either exact or not there: then the file is asked.

use std::collections::BTreeMap;

use untoil_model::{Entry, IncidentId, Seq, Stream};

/// How many incidents' ends are known: more than the 10,000 that are worked on at once, and about 1 MiB.
/// Beyond it those that were opened first are forgotten, since ids sort by the time of opening.
const INCIDENTS_MAX: usize = 16_384;

/// Where streams end. Alarms' are not in it: their keys may be long, and are asked for once.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    incidents: BTreeMap<IncidentId, Seq>,
    ledger: Option<Seq>,
    has_forgotten: bool,
}

impl Ends {
    /// Whether something was forgotten: what is not known here may have been, and have changed.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.has_forgotten
    }

    /// Where a stream ends; `None` when that is not known.
    pub(crate) fn of(&self, stream: &Stream) -> Option<Seq> {
        match stream {
            Stream::Incident(id) => self.incidents.get(id).copied(),
            Stream::Ledger => self.ledger,
            Stream::All | Stream::Alarm(_) | Stream::Archive => None,
        }
    }

    /// Notes an entry that stands behind all others.
    pub(crate) fn grow(&mut self, entry: &Entry) {
        if let Some(incident) = &entry.incident {
            self.put(incident, entry.seq);
        }
        if entry.body.is_ledger() {
            self.ledger = Some(entry.seq);
        }
    }

    /// Notes what the file says.
    pub(crate) fn learn(&mut self, stream: &Stream, end: Seq) {
        match stream {
            Stream::Incident(id) => self.put(id, end),
            Stream::Ledger => self.ledger = Some(end),
            Stream::All | Stream::Alarm(_) | Stream::Archive => {}
        }
    }

    /// Takes over what a transaction knows that was committed.
    pub(crate) fn merge(&mut self, newer: Self) {
        if newer.has_forgotten {
            // What it has forgotten may be known here as it was before.
            *self = newer;
            return;
        }
        for (id, end) in newer.incidents {
            self.put(&id, end);
        }
        self.ledger = newer.ledger.or(self.ledger);
    }

    fn put(&mut self, incident: &IncidentId, end: Seq) {
        if let Some(known) = self.incidents.get_mut(incident) {
            *known = end;
            return;
        }
        self.incidents.insert(incident.clone(), end);
        if self.incidents.len() > INCIDENTS_MAX {
            self.incidents.pop_first();
            self.has_forgotten = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded_and_the_oldest_goes_first() {
        let id = |n: usize| -> IncidentId { format!("{n:026}").parse().unwrap() };
        let mut ends = Ends::default();
        for n in 0..INCIDENTS_MAX + 10 {
            ends.learn(&Stream::Incident(id(n)), Seq(u64::try_from(n).unwrap()));
        }
        assert_eq!(ends.incidents.len(), INCIDENTS_MAX);
        assert!(ends.has_forgotten());
        assert_eq!(ends.of(&Stream::Incident(id(9))), None);
        assert_eq!(ends.of(&Stream::Incident(id(10))), Some(Seq(10)));
        // One that is older than all that are known is not, and costs none of the others.
        ends.learn(&Stream::Incident(id(0)), Seq(99_999));
        assert_eq!(ends.of(&Stream::Incident(id(0))), None);
        assert_eq!(ends.of(&Stream::Incident(id(10))), Some(Seq(10)));
    }
}
