//! Letting go of what is in files.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use untoil_journal::{JournalError, Prune, Retention, Waiting, incident_memo};

use crate::SqliteJournal;
use crate::fault::Fault;
use crate::transaction::{Transaction, column, place};
use crate::writer::{Pace, Write};

/// A deletion. The schema's triggers refuse what must not go, and then all of it stays.
#[derive(Debug)]
struct Deletes(Prune);

impl Write for Deletes {
    type Reply = u64;

    fn write(&mut self, transaction: &mut Transaction<'_>) -> Result<u64, Fault> {
        let connection = transaction.connection;
        let mut gone = 0;
        for seq in &self.0.entries {
            let seq = column(*seq);
            let deleted = connection.prepare_cached(DELETE_ENTRY)?.execute([seq])?;
            gone += u64::try_from(deleted).unwrap_or(u64::MAX);
            connection.prepare_cached(DELETE_DELIVERY)?.execute([seq])?;
        }
        for incident in &self.0.incidents {
            let deleted =
                connection.prepare_cached(DELETE_INCIDENT)?.execute([incident.as_str()])?;
            if deleted > 0 {
                let memo = incident_memo(incident);
                connection.prepare_cached(DELETE_MEMO)?.execute([memo])?;
            }
        }
        transaction.prune();
        Ok(gone)
    }

    fn take_back(&mut self, _reply: u64) {}
}

fn waiting(connection: &Connection) -> Result<Waiting, Fault> {
    let mut oldest = connection.prepare_cached(OLDEST_PENDING)?;
    let pending: Option<i64> = oldest.query_one([], |row| row.get(0))?;
    let mut last = connection.prepare_cached(LAST_READER)?;
    let reader = last.query_one(params![], |row| Ok((row.get(0)?, place(row.get(1)?))));
    Ok(Waiting { pending: pending.map(place), reader: reader.optional()? })
}

#[async_trait]
impl Retention for SqliteJournal {
    async fn waiting(&self) -> Result<Waiting, JournalError> {
        self.ask(waiting).await
    }

    async fn prune(&self, prune: Prune) -> Result<u64, JournalError> {
        self.write(Deletes(prune), Pace::Gathered).await
    }
}

pub(crate) const DELETE_ENTRY: &str = "DELETE FROM entry WHERE seq = ?1";
pub(crate) const DELETE_DELIVERY: &str = "DELETE FROM delivery WHERE seq = ?1";
pub(crate) const DELETE_INCIDENT: &str = "DELETE FROM incident \
    WHERE id = ?1 AND closed_seq IS NOT NULL \
    AND NOT EXISTS (SELECT 1 FROM entry WHERE incident = ?1)";
/// The readers are few, and memos are found by reader and key.
const DELETE_MEMO: &str = "DELETE FROM memo WHERE reader IN (SELECT name FROM reader) AND key = ?1";
const OLDEST_PENDING: &str = "SELECT min(seq) FROM pending";
const LAST_READER: &str = "SELECT name, at FROM reader ORDER BY at LIMIT 1";
