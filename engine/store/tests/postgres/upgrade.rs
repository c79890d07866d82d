//! Versions of the schema under programs that run: who goes on, who is refused, and how clearly.

use jiff::Timestamp;
use tokio_postgres::Client;
use untoil_journal::{Journal, JournalError, Roster, Verified, verify};
use untoil_model::{Actor, Body, Draft, Entry, Hash, Seq, Stream};
use untoil_store::postgres::{PostgresConfig, PostgresError, PostgresJournal, migrate};

use super::server::Server;
use super::sharing::{adopted, incident, opening};
use super::{count, open, paused};

/// What a migration of a later program would do.
async fn upgrade(client: &Client, config: &PostgresConfig, oldest: i64) {
    let sql = format!(
        "BEGIN; ALTER TABLE {0}.entry ADD COLUMN later TEXT; \
         ALTER TABLE {0}.incident ADD COLUMN later BIGINT NOT NULL DEFAULT 7; \
         INSERT INTO {0}.schema_version (version) VALUES (9); \
         UPDATE {0}.head SET oldest = {oldest}; COMMIT",
        config.schema
    );
    client.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_goes_on_beside_a_newer_one_whose_schema_only_adds() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let (_, known) = migrate(&config).await.unwrap();
    let running = open(&config).await;
    running.beat().await.unwrap();
    running.append(opening(1)).await.unwrap();
    upgrade(&server.ready().await, &config, known).await;
    running.beat().await.unwrap();
    running.append(paused("after").holding(incident(1))).await.unwrap();
    assert_eq!(count(&*running, "after").await, 1);
    let restarted = open(&config).await;
    restarted.append(opening(2)).await.unwrap();
    PostgresJournal::connect_read_only(&config).await.unwrap();
    assert_eq!(migrate(&config).await.unwrap(), (9, 9), "there is nothing for it to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_program_that_is_too_old_writes_nothing_from_the_migration_on() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let running = open(&config).await;
    running.append(paused("before")).await.unwrap();
    running.beat().await.unwrap();
    upgrade(&server.ready().await, &config, 9).await;
    for _ in 0..2 {
        let refused = running.append(paused("after")).await.unwrap_err().to_string();
        assert!(refused.contains("newer untoil"), "{refused}");
        let refused = running.beat().await.unwrap_err().to_string();
        assert!(refused.contains("newer untoil"), "{refused}");
    }
    assert_eq!(count(&*running, "after").await, 0);
    for refused in [
        PostgresJournal::connect(&config).await.map(drop).unwrap_err(),
        PostgresJournal::connect_read_only(&config).await.map(drop).unwrap_err(),
        migrate(&config).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, PostgresError::TooNew { found: 9, .. }), "{refused}");
        assert!(refused.to_string().contains("run the newer untoil"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_without_rights_is_told_to_be_given_the_schema_and_not_to_migrate() {
    let Some(server) = Server::own().await else { return };
    let config = server.fresh().await;
    open(&config).await.append(paused("before")).await.unwrap();
    let client = server.ready().await;
    client.batch_execute("CREATE ROLE guest LOGIN").await.unwrap();
    let guest = PostgresConfig { url: config.url.replace("untoil@", "guest@"), ..config.clone() };
    let usage = format!("GRANT USAGE ON SCHEMA {} TO guest", config.schema);
    let read = format!("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO guest", config.schema);
    for granted in ["SELECT 1", &usage] {
        client.batch_execute(granted).await.unwrap();
        for refused in [
            PostgresJournal::connect(&guest).await.map(drop).unwrap_err(),
            PostgresJournal::connect_read_only(&guest).await.map(drop).unwrap_err(),
            migrate(&guest).await.map(drop).unwrap_err(),
        ] {
            let said = refused.to_string();
            assert!(said.contains("grant the user its schema"), "{granted}: {said}");
            assert!(!said.contains("untoil migrate"), "{granted}: {said}");
        }
    }
    client.batch_execute(&read).await.unwrap();
    let reader = PostgresJournal::connect_read_only(&guest).await.unwrap();
    assert_eq!(count(&reader, "before").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_written_before_there_were_instances_goes_on_after_the_migration() {
    let Some(server) = Server::shared().await else { return };
    let config = server.empty();
    let client = server.ready().await;
    let old = format!(
        "CREATE SCHEMA {0}; SET search_path = {0}; \
         CREATE TABLE schema_version (version BIGINT PRIMARY KEY); {1} {2} \
         INSERT INTO schema_version VALUES (1), (2); \
         INSERT INTO head (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex')); \
         INSERT INTO incident (id, alarm, opened_seq) VALUES ('{3}', 'generic:x', 1); \
         INSERT INTO delivery VALUES (2, 'sns', 'waits', 'topic', 0, '{{}}', 'body'); \
         INSERT INTO pending VALUES (2)",
        config.schema,
        include_str!("../../src/postgres/schema/1.sql"),
        include_str!("../../src/postgres/schema/2_archive.sql"),
        incident(1),
    );
    client.batch_execute(&old).await.unwrap();
    let refused = PostgresJournal::connect(&config).await.unwrap_err();
    assert!(matches!(refused, PostgresError::TooOld { found: 2, .. }), "{refused}");
    assert_eq!(migrate(&config).await.unwrap().0, 2);
    let instance = open(&config).await;
    assert_eq!(adopted(&instance).await, [incident(1)]);
    assert_eq!(instance.to_decide(9).await.unwrap()[0].body, b"body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_migration_takes_nothing_from_a_program_of_version_3_that_lives() {
    let Some(server) = Server::shared().await else { return };
    let config = server.empty();
    let client = server.ready().await;
    // One of version 3 is there, holds an incident and has taken a delivery; another is gone.
    let old = format!(
        "CREATE SCHEMA {0}; SET search_path = {0}; \
         CREATE TABLE schema_version (version BIGINT PRIMARY KEY); {1} {2} {3} \
         INSERT INTO schema_version VALUES (1), (2), (3); \
         INSERT INTO head (id, seq, hash, instances) \
           VALUES (1, 0, decode(repeat('00', 32), 'hex'), 2); \
         INSERT INTO instance VALUES (1, 'old', '0.1.0', now(), now() + interval '1 hour'), \
           (2, 'gone', '0.1.0', now() - interval '2 hours', now() - interval '1 hour'); \
         INSERT INTO incident (id, alarm, opened_seq, holder) \
           VALUES ('{4}', 'generic:x', 1, 1), ('{5}', 'generic:y', 1, 2); \
         INSERT INTO delivery VALUES (2, 'sns', 'waits', 'topic', 0, '{{}}', 'body'); \
         INSERT INTO pending (seq, receiver) VALUES (2, 1)",
        config.schema,
        include_str!("../../src/postgres/schema/1.sql"),
        include_str!("../../src/postgres/schema/2_archive.sql"),
        include_str!("../../src/postgres/schema/3_instances.sql"),
        incident(1),
        incident(2),
    );
    client.batch_execute(&old).await.unwrap();
    let refused = PostgresJournal::connect(&config).await.unwrap_err();
    assert!(matches!(refused, PostgresError::TooOld { found: 3, .. }), "{refused}");
    assert_eq!(migrate(&config).await.unwrap().0, 3);
    let oldest = client.query_one("SELECT oldest FROM head", &[]).await.unwrap();
    assert_eq!(oldest.get::<_, i64>(0), 3, "which is what lets it go on writing");
    let new = open(&config).await;
    assert_eq!(adopted(&new).await, [incident(2)], "of who is gone, and nothing of who lives");
    assert_eq!(new.to_decide(9).await.unwrap(), []);
    client.batch_execute("UPDATE instance SET until = now() WHERE number = 1").await.unwrap();
    assert_eq!(adopted(&new).await, [incident(1)], "as soon as it is not heard any more");
    assert_eq!(new.to_decide(9).await.unwrap()[0].body, b"body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_entry_of_a_kind_that_only_a_newer_program_knows_is_named_and_stops_nobody() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let [mine, other] = [open(&config).await, open(&config).await];
    mine.append(opening(1)).await.unwrap();
    let last = mine.raw(Seq::START, 9).await.unwrap().remove(0).hash;
    let body = Body::Paused { scope: "all".into(), reason: "x".into() };
    let draft = Draft::of(&incident(1), Timestamp::UNIX_EPOCH, Actor::Engine("later".into()), body);
    let (_, text) = Entry::seal(draft, Seq(2), last);
    let text = text.replace("\"paused\"", "\"postponed\"");
    let hash: Hash = last.chain(&text);
    let written = format!(
        "WITH entry AS (INSERT INTO {0}.entry \
         (seq, at, kind, incident, ledger, text, prev, hash, writer) \
         VALUES (2, 0, 'postponed', $1, false, $2, $3, $4, 99)) \
         UPDATE {0}.head SET seq = 2, hash = $4",
        config.schema
    );
    let (id, prev, sealed) = (incident(1), last.as_bytes().to_vec(), hash.as_bytes().to_vec());
    let client = server.ready().await;
    client.execute(&written, &[&id.as_str(), &text, &prev, &sealed]).await.unwrap();

    let stream = Stream::Incident(incident(1));
    let said = mine.read(&stream, Seq::START, 9).await.unwrap_err();
    assert!(matches!(said, JournalError::Newer(_)), "{said:?}");
    assert!(said.to_string().contains("entry 2 was written by a newer untoil"), "{said}");
    // It hears of it, goes on with everything else, and starts again.
    assert_eq!(mine.news(Seq(1), 9).await.unwrap().incidents, [incident(1)]);
    other.append(paused("on")).await.unwrap();
    assert_eq!(open(&config).await.read(&Stream::All, Seq(2), 9).await.unwrap().len(), 1);
    let raw = mine.raw(Seq(1), 9).await.unwrap();
    assert_eq!((raw[0].text.as_str(), raw[0].hash), (text.as_str(), raw[1].prev));
    assert!(matches!(verify(&*mine).await.unwrap(), Verified::Broken(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_every_group_changes_get_room_beside_programs_that_do_not_know_of_it() {
    let Some(server) = Server::shared().await else { return };
    let config = server.empty();
    let client = server.ready().await;
    let old = format!(
        "CREATE SCHEMA {0}; SET search_path = {0}; \
         CREATE TABLE schema_version (version BIGINT PRIMARY KEY); {1} {2} {3} {4} \
         INSERT INTO schema_version VALUES (1), (2), (3), (4); \
         INSERT INTO head (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'))",
        config.schema,
        include_str!("../../src/postgres/schema/1.sql"),
        include_str!("../../src/postgres/schema/2_archive.sql"),
        include_str!("../../src/postgres/schema/3_instances.sql"),
        include_str!("../../src/postgres/schema/4_synced.sql"),
    );
    client.batch_execute(&old).await.unwrap();
    let refused = PostgresJournal::connect(&config).await.unwrap_err();
    assert!(matches!(refused, PostgresError::TooOld { found: 4, .. }), "{refused}");
    assert_eq!(migrate(&config).await.unwrap(), (4, 5));
    let sql = "SELECT array(SELECT relname::text FROM pg_class WHERE relnamespace = $1::text::regnamespace \
        AND 'fillfactor=10' = ANY(reloptions) ORDER BY 1), (SELECT oldest FROM head)";
    let row = client.query_one(sql, &[&config.schema]).await.unwrap();
    assert_eq!(row.get::<_, Vec<String>>(0), ["head", "instance", "reader", "synced"]);
    assert_eq!(row.get::<_, i64>(1), 3, "programs of version 3 and 4 go on");
    open(&config).await.append(paused("after")).await.unwrap();
}
