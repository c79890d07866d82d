//! Where everything ends up.

use untoil_model::Incident;

use super::{Outcome, why_open};

/// One entry after the other gives the same incident as all at once.
pub(super) fn everybody_folds_the_same(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for read in &outcome.incidents {
        let own = outcome.entries.iter().filter(|entry| entry.incident.as_ref() == Some(&read.id));
        let mut live: Option<Incident> = None;
        for entry in own {
            match &mut live {
                None => live = Incident::open(entry),
                Some(incident) => {
                    incident.apply(entry);
                    // Hearing of it twice changes nothing.
                    incident.apply(entry);
                }
            }
        }
        if live.as_ref() != Some(read) {
            wrong.push(format!("{} is not what its entries make of it", read.id));
        }
    }
    wrong
}

/// Nothing is left to do, and what stays open says why.
pub(super) fn everything_comes_to_rest(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    if outcome.posting > 0 {
        wrong.push(format!("{} senders or people do not get through", outcome.posting));
    }
    for incident in &outcome.incidents {
        match why_open(incident) {
            Ok(()) => {}
            // A clock that is wrong by more than two minutes puts words out of order.
            Err(why) if outcome.is_wild && why.contains("is taken for") => {}
            Err(why) => wrong.push(why),
        }
    }
    wrong
}
