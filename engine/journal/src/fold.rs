//! Incidents out of the journal.

use untoil_model::{Incident, IncidentId, Seq, Stream};

use crate::{Journal, JournalError};

/// How many entries are read at a time. Most incidents have fewer than fifty, and many incidents are
/// read at once when there is a storm.
const PAGE: usize = 64;

/// Folds an incident from its first entry; `None` when the journal does not know it.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read.
pub async fn load(
    journal: &dyn Journal,
    id: &IncidentId,
) -> Result<Option<Incident>, JournalError> {
    let stream = Stream::Incident(id.clone());
    let page = journal.read(&stream, Seq::START, PAGE).await?;
    let Some(mut incident) = Incident::fold(&page) else { return Ok(None) };
    if page.len() == PAGE {
        catch_up(journal, &mut incident).await?;
    }
    Ok(Some(incident))
}

/// Folds an incident on to its newest entry.
///
/// # Errors
/// [`JournalError`] when the journal cannot be read; the incident is then as far as it was read.
pub async fn catch_up(journal: &dyn Journal, incident: &mut Incident) -> Result<(), JournalError> {
    let stream = Stream::Incident(incident.id.clone());
    loop {
        let page = journal.read(&stream, incident.seq, PAGE).await?;
        for entry in &page {
            incident.apply(entry);
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}
