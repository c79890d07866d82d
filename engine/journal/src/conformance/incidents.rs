//! Incidents: found by being open, and by the order of their opening.

use untoil_model::IncidentId;

use super::{Handles, closed, incident, key, note, opened, unmatched};
use crate::Batch;

pub(super) async fn open_incidents_are_those_not_closed(handles: Handles) {
    let journal = handles.one();
    assert_eq!(journal.open_incidents(None, 9).await.expect("it can be read"), []);
    assert_eq!(journal.incidents(None, 9).await.expect("it can be read"), []);
    let alarm = key("generic:a");
    let drafts = (0..4).map(|n| opened(n, &alarm)).collect();
    journal.append(Batch::of(drafts)).await.expect("it is appended");
    journal.append(Batch::of(vec![closed(1), unmatched(2), closed(9)])).await.expect("appended");
    // Opened and closed in one batch.
    journal.append(Batch::of(vec![opened(5, &alarm), closed(5)])).await.expect("it is appended");
    // An entry of an incident that nothing opened does not make it one.
    journal.append(Batch::of(vec![unmatched(6), note("x")])).await.expect("it is appended");
    let open = journal.open_incidents(None, 9).await.expect("it can be read");
    assert_eq!(open, [incident(0), incident(2), incident(3)]);
    let all = journal.incidents(None, 9).await.expect("it can be read");
    assert_eq!(all, [5, 3, 2, 1, 0].map(incident));
}

pub(super) async fn incidents_are_paged_in_the_order_of_opening(handles: Handles) {
    const INCIDENTS: usize = 23;
    let journal = handles.one();
    // Written against their order, as a late delivery would.
    for n in (0..INCIDENTS).rev() {
        let batch = Batch::of(vec![opened(n, &key("generic:a"))]);
        handles.at(n).append(batch).await.expect("it is appended");
    }
    let oldest_first: Vec<IncidentId> = (0..INCIDENTS).map(incident).collect();
    for limit in [1, 5, INCIDENTS, usize::MAX] {
        let mut open: Vec<IncidentId> = Vec::new();
        loop {
            let page = journal.open_incidents(open.last(), limit).await.expect("it can be read");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            open.extend(page);
        }
        assert_eq!(open, oldest_first, "open, in pages of {limit}");
        let mut all: Vec<IncidentId> = Vec::new();
        loop {
            let page = journal.incidents(all.last(), limit).await.expect("it can be read");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        all.reverse();
        assert_eq!(all, oldest_first, "all, in pages of {limit}");
    }
    assert_eq!(journal.open_incidents(None, 0).await.expect("it can be read"), []);
    assert_eq!(journal.incidents(None, 0).await.expect("it can be read"), []);
}
