//! Letting go of what is in files.

use std::sync::Arc;

use async_trait::async_trait;
use untoil_journal::{JournalError, Prune, Retention, Waiting, incident_memo};
use untoil_model::IncidentId;

use super::fault::Fault;
use super::group::{column, place};
use super::journal::PostgresJournal;
use super::nul;
use super::queries::Reader;

async fn waiting(reader: &Reader) -> Result<Waiting, Fault> {
    let oldest = reader.prepare_cached(OLDEST_PENDING).await?;
    let pending: Option<i64> = reader.query_one(&oldest, &[]).await?.get(0);
    let last = reader.prepare_cached(LAST_READER).await?;
    let last = reader.query_opt(&last, &[]).await?;
    let last = last.map(|row| (nul::told(row.get(0)), place(row.get(1))));
    Ok(Waiting { pending: pending.map(place), reader: last })
}

/// One statement, so that it is done whole or not at all without a transaction to be left open; and
/// not by the connection that writes, so that nobody waits for it. The schema's triggers refuse what
/// must not go.
async fn delete(reader: &Reader, prune: &Prune) -> Result<u64, Fault> {
    let places: Vec<i64> = prune.entries.iter().map(|seq| column(*seq)).collect();
    let incidents: Vec<&str> = prune.incidents.iter().map(IncidentId::as_str).collect();
    let memos: Vec<String> = prune.incidents.iter().map(incident_memo).collect();
    let delete = reader.prepare_cached(DELETE).await?;
    let gone: i64 = reader.query_one(&delete, &[&places, &incidents, &memos]).await?.get(0);
    Ok(u64::try_from(gone).unwrap_or(0))
}

#[async_trait]
impl Retention for PostgresJournal {
    async fn waiting(&self) -> Result<Waiting, JournalError> {
        self.ask(|reader| Box::pin(async move { waiting(&reader).await })).await
    }

    async fn prune(&self, prune: Prune) -> Result<u64, JournalError> {
        self.writing()?;
        let prune = Arc::new(prune);
        self.ask(move |reader| {
            let prune = Arc::clone(&prune);
            Box::pin(async move { delete(&reader, &prune).await })
        })
        .await
    }
}

/// All of it sees the entries as they were before, so those that go do not count for an incident.
const DELETE: &str = "WITH entries AS \
    (DELETE FROM entry WHERE seq = ANY($1::bigint[]) RETURNING 1), \
    deliveries AS (DELETE FROM delivery WHERE seq = ANY($1::bigint[])), \
    incidents AS (DELETE FROM incident USING unnest($2::text[], $3::text[]) AS k (id, memo) \
    WHERE incident.id = k.id AND closed_seq IS NOT NULL AND NOT EXISTS \
    (SELECT 1 FROM entry WHERE entry.incident = k.id AND NOT entry.seq = ANY($1::bigint[])) \
    RETURNING k.memo), \
    memos AS (DELETE FROM memo USING incidents, reader \
    WHERE memo.reader = reader.name AND memo.key = incidents.memo) \
    SELECT count(*) FROM entries";
const OLDEST_PENDING: &str = "SELECT min(seq) FROM pending";
const LAST_READER: &str = "SELECT name, at FROM reader ORDER BY at LIMIT 1";
