//! What people were told.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a check looks at the kinds of entries that it is about"
)]

use std::collections::BTreeMap;

use untoil_model::{Body, IncidentId};
use untoil_notifier::PartOf;

use super::Outcome;
use crate::chat::Said;

/// Every opening, every call for a person and every end was told at least once.
pub(super) fn people_hear(outcome: &Outcome) -> Vec<String> {
    let mut said: BTreeMap<&IncidentId, Vec<&Said>> = BTreeMap::new();
    for words in &outcome.said {
        if let Some(incident) = &words.key.incident {
            said.entry(incident).or_default().push(words);
        }
    }
    let mut wrong = Vec::new();
    for entry in &outcome.entries {
        let Some(incident) = &entry.incident else { continue };
        let words = said.get(incident).map_or(&[][..], Vec::as_slice);
        let told = words.iter().any(|said| match said.key.part {
            PartOf::Parent | PartOf::Notice => false,
            PartOf::Reply => said.key.seq <= entry.seq && entry.seq <= said.key.upto,
        });
        match &entry.body {
            Body::Opened { .. } if !words.iter().any(|said| said.key.part == PartOf::Parent) => {
                wrong.push(format!("nobody was told that {incident} was opened"));
            }
            Body::Escalated { .. } if !told => {
                wrong.push(format!("nobody was called by entry {} of {incident}", entry.seq));
            }
            Body::Closed { .. } if !told => {
                wrong.push(format!("nobody was told that {incident} was closed"));
            }
            _ => {}
        }
    }
    wrong
}

/// What is told stands on the disk: it cannot be otherwise after a power cut.
pub(super) fn nothing_is_told_that_may_be_lost(outcome: &Outcome) -> Vec<String> {
    let upto = |said: &Said| said.key.seq.max(said.key.upto);
    let early = outcome.said.iter().filter(|said| upto(said) > said.kept);
    early
        .map(|said| {
            let (part, upto) = (said.key.part, upto(said));
            format!("{part:?} told of entry {upto} when only {} was on the disk", said.kept)
        })
        .collect()
}
