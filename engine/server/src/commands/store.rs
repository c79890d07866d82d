//! Opening the journal in the store that is configured; `migrate`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use untoil_journal::{Journal, Retention, Roster, Sole};
use untoil_store::SqliteJournal;
use untoil_store::postgres::{self, PostgresConfig, PostgresJournal, Tls};

use crate::cli::Format;
use crate::config::{Config, PostgresStore, StoreConfig, TlsMode};
use crate::out;

/// The journal to serve with, this instance's share of the work, and what lets go of the old.
pub(crate) type Opened = (Arc<dyn Journal>, Arc<dyn Roster>, Arc<dyn Retention>);

/// Opens the journal to serve with.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Opened> {
    match &config.store {
        StoreConfig::Sqlite {} => {
            let (data, file) = (config.data.clone(), config.journal());
            // A long write-ahead log takes a while, and meanwhile this instance says that it starts.
            let opening = tokio::task::spawn_blocking(move || embedded(&data, &file));
            let journal = Arc::new(opening.await.context("a bug ended the opening")??);
            Ok((journal.clone(), Arc::new(Sole::new(journal.clone())), journal))
        }
        StoreConfig::Postgres(store) => {
            let journal = Arc::new(PostgresJournal::connect(&at(config, store)?).await?);
            Ok((journal.clone(), journal.clone(), journal))
        }
    }
}

fn embedded(data: &Path, file: &Path) -> anyhow::Result<SqliteJournal> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the folder `{}`", data.display()))?;
    SqliteJournal::open(file)
        .with_context(|| format!("cannot open the journal `{}`", file.display()))
}

/// The journal to read, also beside a running service.
pub(crate) async fn open_read_only(config: &Config) -> anyhow::Result<Box<dyn Journal>> {
    match &config.store {
        StoreConfig::Sqlite {} => {
            let file = config.journal();
            is_there(config)?;
            let journal = SqliteJournal::open_read_only(&file)
                .with_context(|| format!("cannot read the journal `{}`", file.display()))?;
            Ok(Box::new(journal))
        }
        StoreConfig::Postgres(store) => {
            Ok(Box::new(PostgresJournal::connect_read_only(&at(config, store)?).await?))
        }
    }
}

/// Refuses where there is no journal yet, which opening it to serve with would make.
///
/// # Errors
/// What to do about it.
pub(crate) fn is_there(config: &Config) -> anyhow::Result<()> {
    match &config.store {
        StoreConfig::Sqlite {} if !config.journal().exists() => bail!(
            "there is no journal at `{}`; set `data`, or start with `untoil serve`",
            config.journal().display()
        ),
        // A schema without tables is refused when it is opened.
        StoreConfig::Sqlite {} | StoreConfig::Postgres(_) => Ok(()),
    }
}

/// Where the journal is, for people.
pub(crate) fn place(config: &Config) -> String {
    match &config.store {
        StoreConfig::Sqlite {} => format!("`{}`", config.journal().display()),
        StoreConfig::Postgres(store) => format!("PostgreSQL, schema `{}`", store.schema),
    }
}

/// `migrate`.
pub(crate) async fn migrate(config: &Config, format: Format) -> anyhow::Result<ExitCode> {
    let (text, told) = match &config.store {
        StoreConfig::Sqlite {} => {
            let text = "the store is SQLite: `untoil serve` brings its file up to date by itself";
            (text.to_owned(), json!({ "store": "sqlite" }))
        }
        StoreConfig::Postgres(store) => {
            let (from, to) = postgres::migrate(&at(config, store)?).await?;
            migrated(&store.schema, from, to)
        }
    };
    out::say(&match format {
        Format::Text => text,
        Format::Json => told.to_string(),
    });
    Ok(ExitCode::SUCCESS)
}

/// What became of a schema, for people and for programs.
fn migrated(schema: &str, from: i64, to: i64) -> (String, Value) {
    let text = if from == to {
        format!("the schema `{schema}` has version {to} already")
    } else {
        format!("the schema `{schema}` was brought from version {from} to {to}")
    };
    (text, json!({ "store": "postgres", "schema": schema, "from": from, "to": to }))
}

fn at(config: &Config, store: &PostgresStore) -> anyhow::Result<PostgresConfig> {
    let url = store.url.read().context("in `store.postgres.url`")?;
    let tls = match (store.tls, &store.ca) {
        (TlsMode::Auto, None) => Tls::Auto,
        (TlsMode::Auto | TlsMode::VerifyFull, ca) => Tls::VerifyFull { ca: ca.clone() },
        (TlsMode::Disabled, _) => Tls::Off,
    };
    Ok(PostgresConfig {
        name: config.instance.clone(),
        schema: store.schema.clone(),
        pool: store.pool,
        tls,
        ..PostgresConfig::new(url)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_schema_is_told_to_people_and_to_programs() {
        let table = [
            (4, "the schema `ops` has version 4 already"),
            (0, "the schema `ops` was brought from version 0 to 4"),
        ];
        for (from, wanted) in table {
            let (text, told) = migrated("ops", from, 4);
            assert_eq!(text, wanted);
            let wanted = json!({ "store": "postgres", "schema": "ops", "from": from, "to": 4 });
            assert_eq!(told, wanted);
        }
    }
}
