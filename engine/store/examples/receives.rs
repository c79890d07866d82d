//! How many deliveries a second are kept durably, against a bare insert in the same run.
//!
//! `cargo run --release -p untoil-store --example receives`
//!
//! The bare insert is the limit of one SQLite file on this disk: one table, one row per request,
//! the same thread, queue, group commit and `synchronous=FULL`, and no entry, index or hash.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use untoil_journal::Journal;
use untoil_model::{Delivery, DeliveryId};
use untoil_store::SqliteJournal;

const BODY_BYTES: usize = 1_640;
const MEASURED: Duration = Duration::from_secs(4);
const GROUP_MAX: usize = 256;

fn delivery(task: usize, n: u64) -> Outcome<Delivery> {
    Ok(Delivery {
        id: DeliveryId { source: "sns".parse()?, message: format!("{task:08x}-{n:027x}") },
        sender: "arn:aws:sns:ap-northeast-2:123456789012:alarms".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [("content-type".to_owned(), "text/plain".to_owned())].into(),
        body: vec![b'x'; BODY_BYTES],
    })
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Bare = (String, Vec<u8>, oneshot::Sender<()>);

fn bare_writer(connection: &Connection, queue: &mut mpsc::Receiver<Bare>) -> rusqlite::Result<()> {
    let mut group = Vec::new();
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut acks = Vec::with_capacity(group.len());
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for (id, body, ack) in group.drain(..) {
            let mut insert =
                connection.prepare_cached("INSERT INTO bare (id, body) VALUES (?1, ?2)")?;
            insert.execute(params![id, body])?;
            acks.push(ack);
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        for ack in acks {
            ack.send(()).map_err(|()| rusqlite::Error::InvalidQuery)?;
        }
    }
    Ok(())
}

/// Requests a second and the median and 99th percentile of their time, in microseconds.
async fn measure<F, Fut>(concurrency: usize, request: F) -> Outcome<(f64, u128, u128)>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Outcome<()>> + Send,
{
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..concurrency {
        let request = request.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < MEASURED {
                let sent = Instant::now();
                request(task, took.len() as u64).await?;
                took.push(sent.elapsed().as_micros());
            }
            Outcome::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(task) = tasks.join_next().await {
        took.extend(task??);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "it is far below 2^52")]
    let rate = took.len() as f64 / seconds;
    Ok((rate, took[took.len() / 2], took[took.len() * 99 / 100]))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    println!("concurrency |    bare/s  p50 us  p99 us | receive/s  p50 us  p99 us | share");
    for concurrency in [1, 64, 256] {
        let folder = tempfile::TempDir::new()?;
        let connection = Connection::open(folder.path().join("bare.db"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection
            .execute_batch("CREATE TABLE bare (seq INTEGER PRIMARY KEY, id TEXT, body BLOB)")?;
        let (queue, mut requests) = mpsc::channel::<Bare>(4_096);
        let writer = std::thread::spawn(move || bare_writer(&connection, &mut requests));
        let bare = measure(concurrency, move |task, n| {
            let queue = queue.clone();
            async move {
                let delivery = delivery(task, n)?;
                let (ack, acknowledged) = oneshot::channel();
                queue.try_send((delivery.id.message, delivery.body, ack))?;
                Ok(acknowledged.await?)
            }
        })
        .await?;
        writer.join().map_err(|_| "the bare writer panicked")??;

        let journal = Arc::new(SqliteJournal::open(folder.path().join("journal.db"))?);
        let ours = measure(concurrency, move |task, n| {
            let journal = Arc::clone(&journal);
            async move {
                journal.receive(delivery(task, n)?).await?;
                Ok(())
            }
        })
        .await?;
        println!(
            "{concurrency:>11} | {:>9.0} {:>7} {:>7} | {:>9.0} {:>7} {:>7} | {:>4.0} %",
            bare.0,
            bare.1,
            bare.2,
            ours.0,
            ours.1,
            ours.2,
            ours.0 / bare.0 * 100.0
        );
    }
    Ok(())
}
