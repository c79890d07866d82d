//! How many deliveries a second are kept durably on PostgreSQL, against a bare insert in the same
//! run, by one and by three instances.
//!
//! `cargo run --release -p untoil-store --example postgres_receives postgres://user@host/database`
//!
//! The bare insert is the limit of one connection to this server: one table, a group as one
//! statement of arrays, committed, and no entry, index or hash. Schemas of their own are made and
//! dropped again; give it a database that may be played with.
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use untoil_journal::Journal;
use untoil_model::{Delivery, DeliveryId};
use untoil_store::postgres::{PostgresConfig, PostgresJournal, migrate};

const BODY_BYTES: usize = 1_640;
const MEASURED: Duration = Duration::from_secs(4);
const GROUP_MAX: usize = 256;
const CONCURRENCIES: [usize; 3] = [1, 64, 256];
const INSTANCES_MAX: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

type Bare = (String, Vec<u8>, oneshot::Sender<()>);

fn delivery(task: usize, n: u64) -> Outcome<Delivery> {
    Ok(Delivery {
        id: DeliveryId { source: "sns".parse()?, message: format!("{task:08x}-{n:027x}") },
        sender: "arn:aws:sns:ap-northeast-2:123456789012:alarms".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [("content-type".to_owned(), "text/plain".to_owned())].into(),
        body: vec![b'x'; BODY_BYTES],
    })
}

async fn bare_writer(client: Client, mut queue: mpsc::Receiver<Bare>) -> Outcome<()> {
    let insert = "INSERT INTO bare (id, body) SELECT * FROM unnest($1::text[], $2::bytea[])";
    let insert = client.prepare(insert).await?;
    let mut group = Vec::new();
    while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
        let ids: Vec<&str> = group.iter().map(|(id, ..)| id.as_str()).collect();
        let bodies: Vec<&[u8]> = group.iter().map(|(_, body, _)| body.as_slice()).collect();
        client.execute(&insert, &[&ids, &bodies]).await?;
        for (.., ack) in group.drain(..) {
            ack.send(()).map_err(|()| "nobody waits")?;
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

async fn connect(url: &str, tasks: &mut JoinSet<()>) -> Outcome<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tasks.spawn(async move { drop(connection.await) });
    Ok(client)
}

async fn bare(url: &str, schema: &str, concurrency: usize) -> Outcome<(f64, u128, u128)> {
    let mut driver = JoinSet::new();
    let client = connect(url, &mut driver).await?;
    let table = format!(
        "CREATE SCHEMA {schema}; SET search_path = {schema}; \
         CREATE TABLE bare (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT, body BYTEA)"
    );
    client.batch_execute(&table).await?;
    let (queue, requests) = mpsc::channel::<Bare>(4_096);
    let mut writer = JoinSet::new();
    writer.spawn(bare_writer(client, requests));
    measure(concurrency, move |task, n| {
        let queue = queue.clone();
        async move {
            let delivery = delivery(task, n)?;
            let (ack, acknowledged) = oneshot::channel();
            queue.send((delivery.id.message, delivery.body, ack)).await?;
            Ok(acknowledged.await?)
        }
    })
    .await
}

async fn ours(url: &str, schema: &str, load: (usize, usize)) -> Outcome<(f64, u128, u128)> {
    let (instances, concurrency) = load;
    let config = PostgresConfig { schema: schema.to_owned(), ..PostgresConfig::new(url) };
    migrate(&config).await?;
    let mut journals = Vec::new();
    for _ in 0..instances {
        journals.push(Arc::new(PostgresJournal::connect(&config).await?));
    }
    measure(concurrency, move |task, n| {
        let journal = Arc::clone(&journals[task % journals.len()]);
        async move {
            journal.receive(delivery(task, n)?).await?;
            Ok(())
        }
    })
    .await
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::args().nth(1).ok_or("give the address of a database to play with")?;
    let mut driver = JoinSet::new();
    let client = connect(&url, &mut driver).await?;
    println!(
        "instances  concurrency |    bare/s  p50 us  p99 us | receive/s  p50 us  p99 us | share"
    );
    for concurrency in CONCURRENCIES {
        for instances in [1, INSTANCES_MAX] {
            let schemas = ["untoil_bare", "untoil_receives"];
            for schema in schemas {
                client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
            }
            let bare = bare(&url, schemas[0], concurrency).await?;
            let ours = ours(&url, schemas[1], (instances, concurrency)).await?;
            println!(
                "{instances:>9}  {concurrency:>11} | {:>9.0} {:>7} {:>7} | {:>9.0} {:>7} {:>7} | {:>4.0} %",
                bare.0,
                bare.1,
                bare.2,
                ours.0,
                ours.1,
                ours.2,
                ours.0 / bare.0 * 100.0
            );
            for schema in schemas {
                client.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).await?;
            }
        }
    }
    Ok(())
}
