//! An incident as it will be once drafts are written. It is kept nowhere.

use untoil_model::{Draft, Entry, Hash, Incident};

/// An incident with drafts folded in, by the same function as what is written.
///
/// Their places are only those of a journal in which nobody else writes. Whoever writes the drafts does
/// so on condition that the incident has not grown, so in this incident nothing comes before them.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) incident: Incident,
    entries: Vec<Entry>,
}

impl Ahead {
    /// With no drafts yet.
    pub(crate) fn of(incident: &Incident) -> Self {
        Self { incident: incident.clone(), entries: Vec::new() }
    }

    pub(crate) fn add(&mut self, draft: Draft) {
        let Draft { at, actor, incident, alarm, body } = draft;
        let (seq, none) = (self.incident.seq.next(), Hash::GENESIS);
        let entry = Entry { seq, at, actor, incident, alarm, body, prev: none, hash: none };
        self.incident.apply(&entry);
        self.entries.push(entry);
    }

    /// The drafts as they will be, but for their places and hashes.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The drafts, in order.
    pub(crate) fn into_drafts(self) -> Vec<Draft> {
        let unplaced = |entry| {
            let Entry { seq: _, at, actor, incident, alarm, body, prev: _, hash: _ } = entry;
            Draft { at, actor, incident, alarm, body }
        };
        self.entries.into_iter().map(unplaced).collect()
    }
}
