//! Writes and archives a simulated year of traffic, and prints how large everything is each month.
//!
//! `cargo run --release -p untoil-store --example soak -- [days] [incidents a day] [postgres://…]`
//!
//! Without an address it is one SQLite file in a temporary folder. With one, a schema `untoil_soak`
//! of that database is made and left there; what is in it from another run is removed first.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod traffic;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use traffic::{Outcome, Soak};
use untoil_journal::{Archive, Verified, verify, verify_archive, verify_files};
use untoil_model::Stream;
use untoil_store::SqliteJournal;
use untoil_store::postgres::{PostgresConfig, PostgresJournal, migrate};

const SCHEMA: &str = "untoil_soak";
/// How many simulated days are between two vacuums.
const VACUUM_DAYS: u32 = 7;
const MIB: u64 = 1 << 20;

/// How large the store is.
enum Scale {
    File(std::path::PathBuf),
    Schema(
        tokio_postgres::Client,
        #[expect(dead_code, reason = "it drives the client")] JoinSet<()>,
    ),
}

impl Scale {
    /// What PostgreSQL's autovacuum does by itself: it wakes once a minute, in which this program
    /// lives through months.
    async fn vacuum(&self) -> Outcome<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Schema(client, _) => {
                for table in ["entry", "delivery", "pending", "incident", "memo"] {
                    client.batch_execute(&format!("VACUUM {SCHEMA}.{table}")).await?;
                }
                Ok(())
            }
        }
    }

    /// Bytes of the store.
    async fn bytes(&self) -> Outcome<u64> {
        match self {
            Self::File(file) => {
                let mut wal = file.clone().into_os_string();
                wal.push("-wal");
                let wal = std::fs::metadata(wal).map_or(0, |found| found.len());
                Ok(std::fs::metadata(file)?.len() + wal)
            }
            Self::Schema(client, _) => {
                let sql = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c \
                    JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = $1 AND c.relkind = 'r'";
                let row = client.query_one(sql, &[&SCHEMA]).await?;
                Ok(u64::try_from(row.get::<_, i64>(0))?)
            }
        }
    }
}

fn folder_bytes(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, or: u32| arguments.get(n).map_or(Ok(or), |text| text.parse());
    let (days, incidents) = (number(0, 365)?, number(1, 20)?);
    let home = tempfile::TempDir::new()?;
    let archive = Archive::at(home.path().join("archive"));
    let (mut soak, scale) = match arguments.get(2) {
        None => {
            let file = home.path().join("journal.db");
            let journal = Arc::new(SqliteJournal::open(&file)?);
            let soak = Soak::new(journal.clone(), journal, archive.clone(), incidents)?;
            (soak, Scale::File(file))
        }
        Some(url) => {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            let mut driver = JoinSet::new();
            driver.spawn(async move { drop(connection.await) });
            client.batch_execute(&format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")).await?;
            let config = PostgresConfig { schema: SCHEMA.into(), ..PostgresConfig::new(url) };
            migrate(&config).await?;
            let journal = Arc::new(PostgresJournal::connect(&config).await?);
            let soak = Soak::new(journal.clone(), journal, archive.clone(), incidents)?;
            (soak, Scale::Schema(client, driver))
        }
    };
    println!(
        "   day | deliveries |  entries | in store |  store MiB | files | archive MiB | seconds"
    );
    let began = Instant::now();
    for day in 0..days {
        soak.day(day).await?;
        if day % VACUUM_DAYS == 0 {
            scale.vacuum().await?;
        }
        if (day + 1) % 30 == 0 || day + 1 == days {
            let entries = soak.journal.latest(&Stream::All, 1).await?;
            let entries = entries.first().map_or(0, |entry| entry.seq.0);
            let files = archive.files()?;
            let archived = if files.is_empty() { 0 } else { folder_bytes(archive.folder())? };
            println!(
                "{:>6} | {:>10} | {entries:>8} | {:>8} | {:>10.1} | {:>5} | {:>11.1} | {:>7}",
                day + 1,
                soak.received,
                rows(&soak).await?,
                mib(scale.bytes().await?),
                files.len(),
                mib(archived),
                began.elapsed().as_secs(),
            );
        }
    }
    let store = verify(&*soak.journal).await?;
    let both = verify_archive(&*soak.journal, &archive).await?;
    let files = verify_files(&archive)?;
    println!("store: {store:?}");
    println!(
        "with its {} files: {} flaws; files alone: {} flaws",
        both.files,
        both.flaws.len(),
        files.flaws.len()
    );
    if !matches!(store, Verified::Whole { .. }) || both.flaws.len() + files.flaws.len() > 0 {
        return Err("what is kept is not what was written".into());
    }
    Ok(())
}

/// Entries that are in the store.
async fn rows(soak: &Soak) -> Outcome<u64> {
    let (mut rows, mut at) = (0, untoil_model::Seq::START);
    loop {
        let page = soak.journal.raw(at, 5_000).await?;
        let Some(last) = page.last() else { return Ok(rows) };
        at = last.seq;
        rows += page.len() as u64;
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
