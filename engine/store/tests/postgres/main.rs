//! The journal on PostgreSQL passes the suite, and survives what happens to a server.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]
#![expect(clippy::print_stderr, reason = "what is skipped is said loudly")]
#![expect(clippy::disallowed_methods, reason = "the tests start the server they run on")]

mod faults;
mod load;
mod proxy;
mod retention;
mod server;
mod sharing;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use untoil_journal::conformance::Instance;
use untoil_journal::{Batch, Journal, JournalError, Put, Receipt, Verified, conformance, verify};
use untoil_model::{Actor, Body, Delivery, DeliveryId, Draft, Seq, Stream};
use untoil_store::postgres::{PostgresConfig, PostgresError, PostgresJournal, Tls, migrate};

use proxy::{Cut, Proxy};
use server::Server;

/// How often a condition is looked at before the test fails: a minute.
const LOOKS_MAX: u32 = 1_200;
const PAUSE: Duration = Duration::from_millis(50);

async fn open(config: &PostgresConfig) -> Arc<PostgresJournal> {
    Arc::new(PostgresJournal::connect(config).await.unwrap())
}

fn delivery(message: &str) -> Delivery {
    Delivery {
        id: DeliveryId { source: "sns".parse().unwrap(), message: message.into() },
        sender: "topic".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [].into(),
        body: message.repeat(100).into(),
    }
}

fn paused(reason: &str) -> Batch {
    let body = Body::Paused { scope: "all".into(), reason: reason.into() };
    Batch::of(vec![Draft::new(Timestamp::UNIX_EPOCH, Actor::Engine("test".into()), body)])
}

/// How many entries say this.
async fn count(journal: &dyn Journal, reason: &str) -> usize {
    let mut found = 0;
    let mut at = Seq::START;
    loop {
        let page = journal.read(&Stream::All, at, 1_000).await.unwrap();
        let Some(last) = page.last() else { return found };
        at = last.seq;
        let says = |body: &Body| matches!(body, Body::Paused { reason: r, .. } if r == reason);
        found += page.iter().filter(|entry| says(&entry.body)).count();
    }
}

async fn assert_whole(journal: &dyn Journal) {
    assert!(matches!(verify(journal).await.unwrap(), Verified::Whole { .. }));
}

async fn append_many(journal: Arc<PostgresJournal>, name: String) {
    for n in 0..20 {
        journal.append(paused(&format!("{name}/{n}"))).await.unwrap();
    }
}

/// Appends until it is kept, as a caller who came back would.
async fn append_until_kept(journal: &dyn Journal, reason: &str) -> String {
    let mut refused = String::new();
    for _ in 0..LOOKS_MAX {
        match journal.append(paused(reason)).await {
            Ok(_) => return refused,
            Err(error) => refused = error.to_string(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("it does not come back: {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_journal_on_postgresql_does_what_every_store_must_for_three_instances() {
    let Some(server) = Server::shared().await else { return };
    conformance::all(async || {
        let config = server.fresh().await;
        let mut handles: Vec<Arc<dyn Journal>> = Vec::new();
        for _ in 0..3 {
            handles.push(open(&config).await);
        }
        handles
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instances_on_postgresql_share_the_work() {
    let Some(server) = Server::shared().await else { return };
    conformance::instances(async || {
        // Long enough for a check on a busy machine.
        let config = PostgresConfig { lease: Duration::from_secs(6), ..server.fresh().await };
        let mut made = Vec::new();
        for _ in 0..3 {
            let journal = open(&config).await;
            made.push(Instance {
                journal: Arc::clone(&journal) as Arc<dyn Journal>,
                roster: journal,
            });
        }
        made
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_behind_a_cursor_never_passes_over_an_entry_that_commits_late() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let mut writers = JoinSet::new();
    for instance in 0..3 {
        let journal = open(&config).await;
        for task in 0..8 {
            let journal = Arc::clone(&journal);
            writers.spawn(append_many(journal, format!("{instance}/{task}")));
        }
    }
    let reader = open(&config).await;
    let mut at = Seq::START;
    while at < Seq(3 * 8 * 20) {
        for entry in reader.read(&Stream::All, at, 100).await.unwrap() {
            assert_eq!(entry.seq, at.next(), "an entry was not visible before its successor");
            at = entry.seq;
        }
        // A statement of its own: the borrow locks out who moves the head, and must not await.
        let head = *reader.head().borrow();
        let seen = reader.read(&Stream::All, at, 1).await.unwrap();
        assert!(head <= at || !seen.is_empty(), "the head names what cannot be read");
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    assert_whole(&*reader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_answer_is_lost_is_looked_for_and_written_once() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let proxy = Proxy::before(server.port()).await;
    let url = server.url().replace(&server.port().to_string(), &proxy.port.to_string());
    let journal = open(&PostgresConfig { url, ..config.clone() }).await;
    for cut in [Cut::Before, Cut::After] {
        for n in 0..5 {
            let reason = format!("{cut:?} {n}");
            proxy.cut(cut);
            let written = journal.append(paused(&reason)).await.unwrap();
            assert!(proxy.has_cut(), "the commit was not cut");
            assert_eq!(written.len(), 1);
            assert_eq!(count(&*journal, &reason).await, 1, "{reason}");
            proxy.cut(cut);
            let stored = journal.receive(delivery(&reason)).await.unwrap();
            assert!(matches!(stored, Receipt::Stored(_)), "{stored:?}");
            assert_eq!(journal.receive(delivery(&reason)).await.unwrap(), Receipt::Seen);
        }
    }
    // Of a reader's step alone there is no trace to look for: it is said that it is not known.
    proxy.cut(Cut::After);
    let answer = journal.advance("reader", Seq(3), Vec::new()).await;
    assert!(matches!(answer, Err(JournalError::Unavailable(_))), "{answer:?}");
    journal.advance("reader", Seq(3), Vec::new()).await.unwrap();
    assert_whole(&*journal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_that_come_again_are_seen_and_those_beside_them_are_kept_once() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let instances = [open(&config).await, open(&config).await];
    let mut senders = JoinSet::new();
    for sender in 0..24 {
        let journal = Arc::clone(&instances[sender % 2]);
        senders.spawn(async move {
            let mut stored = 0;
            for n in 0..20 {
                // Each is sent by three, at about the same time and on both instances.
                let receipt = journal.receive(delivery(&format!("{}/{n}", sender / 3))).await;
                stored += u64::from(matches!(receipt.unwrap(), Receipt::Stored(_)));
            }
            stored
        });
    }
    let stored: u64 = senders.join_all().await.into_iter().sum();
    assert_eq!(stored, 8 * 20);
    let heads = instances.each_ref().map(|instance| *instance.head().borrow());
    assert_eq!(heads[0].max(heads[1]), Seq(8 * 20));
    assert_eq!(instances[0].pending(1_000).await.unwrap().len(), 8 * 20);
    assert_whole(&*instances[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_answer_in_time_is_unavailable_and_the_queue_is_bounded() {
    let Some(server) = Server::shared().await else { return };
    let config =
        PostgresConfig { statement_timeout: Duration::from_millis(500), ..server.fresh().await };
    let journal = open(&config).await;
    let holder = server.ready().await;
    let hold = format!("BEGIN; SELECT seq FROM {}.head FOR UPDATE", config.schema);
    holder.batch_execute(&hold).await.unwrap();
    let said = journal.append(paused("held")).await.unwrap_err().to_string();
    assert!(said.contains("did not answer in time"), "{said}");
    // Bodies of 1 MiB: more than 32 of them may not wait.
    let mut senders = JoinSet::new();
    for n in 0..64 {
        let journal = Arc::clone(&journal);
        let body = vec![b'x'; 1 << 20];
        senders.spawn(async move {
            journal.receive(Delivery { body, ..delivery(&n.to_string()) }).await
        });
    }
    let answers = senders.join_all().await;
    let overloaded = |answer: &&Result<_, _>| matches!(answer, Err(JournalError::Overloaded));
    assert!(answers.iter().filter(overloaded).count() >= 32);
    assert!(answers.iter().all(Result::is_err));
    holder.batch_execute("ROLLBACK").await.unwrap();
    append_until_kept(&*journal, "let go").await;
    assert_eq!(count(&*journal, "held").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_whose_data_is_refused_fails_alone() {
    let Some(server) = Server::shared().await else { return };
    let journal = open(&server.fresh().await).await;
    // No index takes a key of this length that cannot be compressed.
    let key: String =
        (0..60_000_u32).map(|n| char::from_u32(0x4e00 + n * 7919 % 20_000).unwrap()).collect();
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let (journal, key) = (Arc::clone(&journal), key.clone());
        tasks.spawn(async move {
            if n == 20 {
                let memo = Put { key, value: Some("x".into()) };
                let said = journal.advance("reader", Seq(1), vec![memo]).await;
                assert!(matches!(said, Err(JournalError::Unavailable(_))), "{said:?}");
            } else {
                journal.append(paused(&n.to_string())).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_whole(&*journal).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_deliveries_are_taken_than_are_decided_soon() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let [one, other] = [open(&config).await, open(&config).await];
    one.receive(delivery("first")).await.unwrap();
    // Others' deliveries that wait: as many as may wait.
    let client = server.ready().await;
    let schema = &config.schema;
    let fill = format!(
        "INSERT INTO {schema}.pending (seq, receiver) SELECT n, 9 FROM generate_series(2, 50000) n"
    );
    client.batch_execute(&fill).await.unwrap();
    for (n, instance) in [&one, &other].into_iter().enumerate() {
        let mut taken = 0;
        while !matches!(
            instance.receive(delivery(&format!("{n}/{taken}"))).await,
            Err(JournalError::Overloaded)
        ) {
            taken += 1;
            assert!(taken < LOOKS_MAX, "it is never refused");
            tokio::time::sleep(PAUSE).await;
        }
        // What was decided elsewhere is seen, too.
        assert!(instance.append(paused("goes on")).await.is_ok());
    }
    let decided = format!("DELETE FROM {schema}.pending WHERE receiver = 9");
    client.batch_execute(&decided).await.unwrap();
    for (n, instance) in [&one, &other].into_iter().enumerate() {
        let mut looks = 0;
        while instance.receive(delivery(&format!("{n}/again"))).await.is_err() {
            looks += 1;
            assert!(looks < LOOKS_MAX, "it is refused for ever");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_schema_of_another_version_is_refused_with_the_way_out() {
    let Some(server) = Server::shared().await else { return };
    let config = server.empty();
    let refused = PostgresJournal::connect(&config).await.unwrap_err();
    assert!(matches!(refused, PostgresError::TooOld { found: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("untoil migrate"), "{refused}");
    // Of several that migrate at once, one does it.
    let (one, other) = tokio::join!(migrate(&config), migrate(&config));
    let mut outcomes = [one.unwrap(), other.unwrap()];
    outcomes.sort_unstable();
    let newest = outcomes[0].1;
    assert_eq!(outcomes, [(0, newest), (newest, newest)]);
    let journal = open(&config).await;
    journal.append(paused("kept")).await.unwrap();
    assert_eq!(migrate(&config).await.unwrap(), (newest, newest));
    assert_eq!(count(&*journal, "kept").await, 1);
    let client = server.ready().await;
    let newer = format!(
        "INSERT INTO {0}.schema_version (version) VALUES (9); UPDATE {0}.head SET oldest = 9",
        config.schema
    );
    client.batch_execute(&newer).await.unwrap();
    for refused in [
        PostgresJournal::connect(&config).await.map(drop).unwrap_err(),
        PostgresJournal::connect_read_only(&config).await.map(drop).unwrap_err(),
        migrate(&config).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(refused, PostgresError::TooNew { found: 9, .. }), "{refused}");
    }
    let change = format!("UPDATE {}.entry SET text = ''", config.schema);
    let refused = client.batch_execute(&change).await.unwrap_err();
    assert!(format!("{refused:?}").contains("append-only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_server_is_believed_only_with_a_certificate_and_a_name_that_fit() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let ours = Some(server.certificate());
    let other = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(other.path(), made.cert.pem()).unwrap();
    let named = server.url().replace("127.0.0.1", "localhost");
    let table = [
        (named.clone(), ours.clone(), ""),
        (server.url(), ours, "connect by the name that the certificate has"),
        (named.clone(), Some(other.path().to_owned()), "in `store.postgres.ca`"),
        (named, None, "in `store.postgres.ca`"),
    ];
    for (url, ca, wrong) in table {
        let config = PostgresConfig { url, tls: Tls::VerifyFull { ca }, ..config.clone() };
        let opened = PostgresJournal::connect(&config).await;
        let said = opened.map_or_else(|error| error.to_string(), |_| String::new());
        assert!(said.contains(wrong) && said.is_empty() == wrong.is_empty(), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_certificate_of_the_server_that_has_expired_is_to_be_renewed() {
    let Some(server) = Server::own().await else { return };
    let config = server.fresh().await;
    let url = server.url().replace("127.0.0.1", "localhost");
    let tls = Tls::VerifyFull { ca: Some(server.certificate()) };
    let config = PostgresConfig { url, tls, ..config };
    drop(PostgresJournal::connect(&config).await.unwrap());
    server.certify(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    server.ready().await.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let mut said = String::new();
    // The server reads its certificate a moment later.
    for _ in 0..100 {
        let opened = PostgresJournal::connect(&config).await;
        said = opened.map_or_else(|error| error.to_string(), |_| String::new());
        if said.contains("renew") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        said.contains("expired") && said.ends_with("; renew the server's certificate"),
        "{said}"
    );
}
