//! What happens to a server in production: whatever it is, what was acknowledged is there, nothing
//! is there twice, the chain is whole, and every instance goes on by itself when it is over.

use std::sync::Arc;
use std::time::Duration;

use untoil_journal::{Journal, Receipt};
use untoil_model::{Seq, Stream};
use untoil_store::postgres::{PostgresConfig, PostgresJournal};

use super::load::Load;
use super::server::Server;
use super::{LOOKS_MAX, PAUSE, append_until_kept, assert_whole, count, delivery, open, paused};

async fn two(config: &PostgresConfig) -> [Arc<PostgresJournal>; 2] {
    [open(config).await, open(config).await]
}

/// Writes until a write is refused; says how. Only for a server that refuses for good.
async fn refused(journal: &dyn Journal, note: &str) -> String {
    for n in 0..LOOKS_MAX {
        if let Err(error) = journal.append(paused(&format!("{note} {n}"))).await {
            return error.to_string();
        }
    }
    panic!("it is never refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_killed_under_load() {
    let Some(server) = Server::own().await else { return };
    let load = Load::start(&two(&server.fresh().await).await);
    for round in 0..3 {
        load.more(300).await;
        server.kill();
        drop(server.ready().await);
        load.comes_back(&format!("after kill {round}")).await;
    }
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_restarted_in_order_under_load() {
    let Some(server) = Server::own().await else { return };
    let load = Load::start(&two(&server.fresh().await).await);
    for round in 0..3 {
        load.more(300).await;
        server.stop();
        drop(server.ready().await);
        load.comes_back(&format!("after restart {round}")).await;
    }
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standby_takes_over_from_a_server_that_is_killed() {
    let Some(first) = Server::own().await else { return };
    let config = first.fresh().await;
    let second = first.standby().await;
    let url = format!(
        "postgres://untoil@127.0.0.1:{},127.0.0.1:{}/postgres",
        first.port(),
        second.port()
    );
    let config = PostgresConfig { url, ..config };
    let load = Load::start(&two(&config).await);
    load.more(300).await;
    first.kill();
    second.promote();
    load.comes_back("after the failover").await;
    load.more(300).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_is_frozen_for_longer_than_anybody_waits() {
    let Some(server) = Server::own().await else { return };
    let config =
        PostgresConfig { statement_timeout: Duration::from_millis(500), ..server.fresh().await };
    let instances = two(&config).await;
    let load = Load::start(&instances);
    load.more(300).await;
    server.freeze();
    let said = refused(&*instances[0], "frozen").await;
    server.thaw();
    assert!(said.contains("does not answer"), "{said}");
    load.comes_back("after the thaw").await;
    load.more(300).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_disk_of_a_server_is_full() {
    let Some(server) = Server::on_small_disk(160).await else { return };
    let instances = two(&server.fresh().await).await;
    let load = Load::start(&instances);
    load.more(300).await;
    let ballast = server.fill();
    refused(&*instances[0], "full").await;
    std::fs::remove_file(ballast).unwrap();
    // One that could not even write its log has ended; its operator starts it again.
    drop(server.ready().await);
    load.comes_back("with room again").await;
    load.more(300).await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_are_ended_by_an_operator_under_load() {
    let Some(server) = Server::own().await else { return };
    let load = Load::start(&two(&server.fresh().await).await);
    let client = server.ready().await;
    for round in 0..5 {
        load.more(100).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE application_name = 'untoil'";
        client.batch_execute(end).await.unwrap();
        load.comes_back(&format!("after round {round}")).await;
    }
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_has_no_connection_left() {
    let Some(server) = Server::own().await else { return };
    let config = server.fresh().await;
    let journal = open(&config).await;
    let client = server.ready().await;
    // A superuser is not counted.
    let limited = "CREATE ROLE guest LOGIN CONNECTION LIMIT 3; GRANT ALL ON SCHEMA public TO guest";
    client.batch_execute(limited).await.unwrap();
    let grant = format!(
        "GRANT USAGE ON SCHEMA {0} TO guest; GRANT ALL ON ALL TABLES IN SCHEMA {0} TO guest",
        config.schema
    );
    client.batch_execute(&grant).await.unwrap();
    let url = config.url.replace("untoil@", "guest@");
    let guest = PostgresConfig { url, pool: 1, ..config };
    let first = open(&guest).await;
    first.append(paused("first")).await.unwrap();
    let refused = PostgresJournal::connect(&guest).await.unwrap_err().to_string();
    assert!(refused.contains("53300") && refused.contains("lower `pool`"), "{refused}");
    // Who has its connections goes on.
    first.append(paused("again")).await.unwrap();
    assert_whole(&*journal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_takes_no_writes_is_unavailable_and_can_be_read_until_it_takes_them() {
    let Some(server) = Server::own().await else { return };
    let config = server.fresh().await;
    let journal = open(&config).await;
    journal.append(paused("before")).await.unwrap();
    let client = server.ready().await;
    let read_only = async |value: &str| {
        let set = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        client.batch_execute("SET default_transaction_read_only = off").await.unwrap();
        client.batch_execute(&set).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    };
    read_only("on").await;
    let mut said = None;
    for _ in 0..LOOKS_MAX {
        if let Err(error) = journal.append(paused("during")).await {
            said = Some(error);
            break;
        }
    }
    let said = said.unwrap().to_string();
    assert!(said.contains("25006") || said.contains("does not allow writes"), "{said}");
    assert!(count(&*journal, "before").await == 1);
    read_only("off").await;
    append_until_kept(&*journal, "after").await;
    assert_whole(&*journal).await;
}

/// Waits until commits wait for a standby that is not there.
async fn lose_standby(client: &tokio_postgres::Client) {
    client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    for n in 0..LOOKS_MAX {
        let commit = format!("CREATE TABLE public.waits_{n} ()");
        if tokio::time::timeout(Duration::from_secs(1), client.batch_execute(&commit))
            .await
            .is_err()
        {
            return;
        }
    }
    panic!("no commit waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_acknowledged_or_told_before_the_standby_has_it() {
    let Some(server) = Server::own().await else { return };
    let config =
        PostgresConfig { statement_timeout: Duration::from_millis(500), ..server.fresh().await };
    let instances = two(&config).await;
    let mut last = Seq::START;
    // They take turns, so each knows that another writes.
    for n in 0..8 {
        let receipt = instances[n % 2].receive(delivery(&n.to_string())).await.unwrap();
        let Receipt::Stored(seq) = receipt else { panic!("{receipt:?}") };
        last = seq;
    }
    for instance in &instances {
        instance.head().wait_for(|head| *head == last).await.unwrap();
    }
    lose_standby(&server.ready().await).await;
    let [one, other] = &instances;
    let first = one.receive(delivery("first"));
    let second = async {
        // It finds the first one committed, and must not say so.
        let client = server.ready().await;
        let find = format!("SELECT 1 FROM {}.delivery WHERE message = 'first'", config.schema);
        let mut looks = 0;
        while client.query_opt(&find, &[]).await.unwrap().is_none() {
            looks += 1;
            assert!(looks < LOOKS_MAX, "the row is held while the standby is waited for");
            tokio::time::sleep(PAUSE).await;
        }
        other.receive(delivery("first")).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err() && second.is_err(), "{first:?}, {second:?}");
    // Nor is it read by who would keep it in mind: a server that crashes may take it back.
    let read = other.read(&Stream::All, last, 10).await;
    let newest = other.latest(&Stream::All, 1).await;
    assert!(read.is_err() && newest.is_err(), "{read:?}, {newest:?}");
    assert_eq!(other.read(&Stream::All, Seq::START, 3).await.unwrap().len(), 3);
    assert_eq!([*one.head().borrow(), *other.head().borrow()], [last, last]);
    let client = server.ready().await;
    client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    append_until_kept(&**one, "with a standby again").await;
    assert_eq!(other.receive(delivery("first")).await.unwrap(), Receipt::Seen);
    assert_whole(&**other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_alone_acknowledges_nothing_before_the_standby_has_it() {
    let Some(server) = Server::own().await else { return };
    let config =
        PostgresConfig { statement_timeout: Duration::from_millis(500), ..server.fresh().await };
    let journal = open(&config).await;
    for n in 0..3 {
        journal.receive(delivery(&n.to_string())).await.unwrap();
    }
    lose_standby(&server.ready().await).await;
    let said = journal.receive(delivery("alone")).await;
    assert!(said.is_err(), "{said:?}");
    assert_eq!(*journal.head().borrow(), Seq(3));
    let client = server.ready().await;
    client.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    append_until_kept(&*journal, "with a standby again").await;
    assert_eq!(journal.receive(delivery("alone")).await.unwrap(), Receipt::Seen);
    assert_whole(&*journal).await;
}
