//! The schema's versions, forward only.

use tokio_postgres::Client;

use super::config::PostgresConfig;
use super::connect::{Purpose, Target};
use super::fault::{Fault, PostgresError};

/// The schema's versions in order; `schema_version` says how many of them it has had.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2_archive.sql")];

/// "utjm": the lock that migrations of one schema wait for.
const LOCK_CLASS: i32 = 0x7574_6a6d;

/// Makes the schema, or brings it up to date; says from which version to which.
///
/// All of it is one transaction under a lock: of programs that start it at once, one does it, and
/// when it fails the schema is as it was. Run again, it changes nothing.
///
/// # Errors
/// [`PostgresError`]; nothing was changed then.
pub async fn migrate(config: &PostgresConfig) -> Result<(i64, i64), PostgresError> {
    let target = Target::of(config)?;
    let schema = config.schema.as_str();
    let session = target.session(Purpose::Write).await.map_err(|fault| fault.at_open(schema))?;
    // Its statements may take long on a full journal; nobody waits for them but a person.
    let found = step(&session.client, &target).await.map_err(|fault| fault.at_open(schema))?;
    if found > known() {
        return Err(PostgresError::TooNew { schema: schema.into(), found, known: known() });
    }
    Ok((found, known()))
}

async fn step(client: &Client, target: &Target) -> Result<i64, Fault> {
    let schema = &target.schema;
    client.batch_execute("SET statement_timeout = 0; BEGIN").await?;
    let keys = [LOCK_CLASS, target.lock_key()];
    client.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&keys[0], &keys[1]]).await?;
    let found = version(client, schema).await?;
    if found >= known() {
        client.batch_execute("ROLLBACK").await?;
        return Ok(found);
    }
    // Whoever has been given a schema need not be allowed to make one.
    let given = "SELECT 1 FROM information_schema.schemata WHERE schema_name = $1";
    if client.query_opt(given, &[schema]).await?.is_none() {
        client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)";
    client.batch_execute(table).await?;
    for (number, sql) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        client.batch_execute(sql).await?;
        client.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&number]).await?;
    }
    // The end of an empty journal; the lock of every write.
    let genesis: &[u8] = untoil_model::Hash::GENESIS.as_bytes();
    let head = "INSERT INTO head (id, seq, hash) VALUES (1, 0, $1) ON CONFLICT (id) DO NOTHING";
    client.execute(head, &[&genesis]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(found)
}

/// The newest version there is.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// The schema's version; 0 when there is no schema of ours.
pub(crate) async fn version(client: &Client, schema: &str) -> Result<i64, Fault> {
    let sql = "SELECT 1 FROM information_schema.tables \
        WHERE table_schema = $1 AND table_name = 'schema_version'";
    if client.query_opt(sql, &[&schema]).await?.is_none() {
        return Ok(0);
    }
    let row = client.query_one("SELECT max(version) FROM schema_version", &[]).await?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(0))
}

/// Refuses a schema that is not of this program's version.
pub(crate) fn check(schema: &str, found: i64) -> Result<(), PostgresError> {
    let (schema, known) = (schema.to_owned(), known());
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(PostgresError::TooOld { schema, found, known }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(PostgresError::TooNew { schema, found, known }),
    }
}
