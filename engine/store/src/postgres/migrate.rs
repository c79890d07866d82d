//! The schema's versions, forward only.

use tokio_postgres::Client;

use super::config::PostgresConfig;
use super::connect::{Purpose, Target};
use super::fault::{Fault, PostgresError};

/// One step of the schema.
struct Migration {
    sql: &'static str,
    /// The oldest version that a program must know to go on working after it. A step that only adds
    /// what such a program need not know keeps the number of the step before it.
    oldest: i64,
}

/// The schema's versions in order; `schema_version` says how many of them it has had.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("schema/1.sql"), oldest: 1 },
    Migration { sql: include_str!("schema/2_archive.sql"), oldest: 2 },
    Migration { sql: include_str!("schema/3_instances.sql"), oldest: 3 },
    Migration { sql: include_str!("schema/4_synced.sql"), oldest: 3 },
    Migration { sql: include_str!("schema/5_in_place.sql"), oldest: 3 },
];

/// From this version on the `head` row says which programs may work; before it, only those of the
/// very same version.
const TELLS_OLDEST: i64 = 3;

/// What a schema says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its version; 0 when there is no schema of ours.
    pub(crate) version: i64,
    /// The oldest version that a program must know to work with it.
    pub(crate) oldest: i64,
}

/// "utjm": the lock that migrations of one schema wait for.
const LOCK_CLASS: i32 = 0x7574_6a6d;

/// Makes the schema, or brings it up to date; says from which version to which.
///
/// Instances that are running go on, unless the step is one that they cannot work with: these
/// write nothing from its commit on, whatever they were doing. A schema that is newer than this
/// program and fits it is left as it is.
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
    if found.version > known() {
        check(schema, found)?;
    }
    Ok((found.version, found.version.max(known())))
}

async fn step(client: &Client, target: &Target) -> Result<Found, Fault> {
    let schema = &target.schema;
    client.batch_execute("SET statement_timeout = 0; BEGIN").await?;
    let keys = [LOCK_CLASS, target.lock_key()];
    client.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&keys[0], &keys[1]]).await?;
    let found = version(client, schema).await?;
    if found.version >= known() {
        client.batch_execute("ROLLBACK").await?;
        return Ok(found);
    }
    // Whoever has been given a schema need not be allowed to make one.
    let given = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    if client.query_opt(given, &[schema]).await?.is_none() {
        client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT PRIMARY KEY)";
    client.batch_execute(table).await?;
    for (number, step) in (1_i64..).zip(MIGRATIONS).filter(|(n, _)| *n > found.version) {
        client.batch_execute(step.sql).await?;
        client.execute("INSERT INTO schema_version (version) VALUES ($1)", &[&number]).await?;
    }
    // The end of an empty journal; the lock of every write.
    let genesis: &[u8] = untoil_model::Hash::GENESIS.as_bytes();
    let head = "INSERT INTO head (id, seq, hash) VALUES (1, 0, $1) ON CONFLICT (id) DO NOTHING";
    client.execute(head, &[&genesis]).await?;
    // Whoever writes locks this row and reads it: nothing is written past it by who must not.
    let oldest = MIGRATIONS.last().expect("there is a first version").oldest;
    client.execute("UPDATE head SET oldest = $1 WHERE id = 1", &[&oldest]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(found)
}

/// The newest version there is.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).expect("there are few migrations")
}

/// What the schema says of itself, to a user who may use it.
pub(crate) async fn version(client: &Client, schema: &str) -> Result<Found, Fault> {
    // The catalogue shows everybody what there is; `information_schema` leaves out what the user may not
    // use, which would look like a schema that nobody has made.
    let sql = "SELECT has_schema_privilege(n.oid, 'USAGE'), c.oid IS NOT NULL \
        FROM pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c \
        ON c.relnamespace = n.oid AND c.relname = 'schema_version' WHERE n.nspname = $1";
    match client.query_opt(sql, &[&schema]).await? {
        Some(row) if !row.get::<_, bool>(0) => {
            return Err(Fault::Refused(format!(
                "the user may not use the schema `{schema}`; grant the user its schema"
            )));
        }
        Some(row) if row.get(1) => {}
        Some(_) | None => return Ok(Found { version: 0, oldest: 0 }),
    }
    let row = client.query_one("SELECT max(version) FROM schema_version", &[]).await?;
    let version = row.get::<_, Option<i64>>(0).unwrap_or(0);
    if version < TELLS_OLDEST {
        return Ok(Found { version, oldest: version });
    }
    let row = client.query_opt("SELECT oldest FROM head WHERE id = 1", &[]).await?;
    Ok(Found { version, oldest: row.map_or(version, |row| row.get(0)) })
}

/// Refuses a schema that this program cannot work with.
pub(crate) fn check(schema: &str, found: Found) -> Result<(), PostgresError> {
    let (schema, known) = (schema.to_owned(), known());
    let Found { version, oldest } = found;
    if version < known {
        return Err(PostgresError::TooOld { schema, found: version, known });
    }
    if oldest > known {
        return Err(PostgresError::TooNew { schema, found: version, known });
    }
    Ok(())
}

/// Refuses what the `head` row says to a program that is too old, in the middle of its work.
pub(crate) fn check_running(oldest: i64) -> Result<(), Fault> {
    if oldest <= known() {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "its schema was migrated and is for untoil of schema version {oldest} or later, and this one \
        knows versions up to {}; start the newer untoil in its place",
        known()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_step_forgets_what_a_step_before_it_demands() {
        for (number, pair) in (2_i64..).zip(MIGRATIONS.windows(2)) {
            assert!(pair[0].oldest <= pair[1].oldest, "{number}");
            assert!(pair[1].oldest <= number, "{number} demands more than itself");
        }
    }

    #[test]
    fn a_program_works_with_its_own_version_and_with_newer_ones_that_only_add() {
        let known = known();
        let table = [
            (0, 0, "untoil migrate"),
            (known - 1, known - 1, "untoil migrate"),
            (known, known, ""),
            (known + 1, known, ""),
            (known + 4, known - 1, ""),
            (known + 1, known + 1, "run the newer untoil"),
        ];
        for (version, oldest, expected) in table {
            let said = check("s", Found { version, oldest })
                .map_or_else(|e| e.to_string(), |()| String::new());
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
        }
    }
}
