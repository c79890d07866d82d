//! A PostgreSQL server all of whose connections others have taken while the service runs.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::alarm::backlog;
use crate::database::Database;
use crate::service::Untoil;
use crate::stand_in::free_port;

/// More than the service has, and few enough to be used up at once.
const CONNECTIONS: usize = 40;
/// Between two tries to get another one: sooner than the service tries.
const AGAIN_AFTER: Duration = Duration::from_millis(1);
/// How long a try may take, and all of them together.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
const TAKEN_WITHIN: Duration = Duration::from_mins(1);
/// Who tries.
const HANDS: usize = 4;
/// Tries until something is as expected, ten a second.
const TRIES_MAX: u32 = 600;

/// The session's name by which those of others are told apart.
const NAME: &str = "crowd";
/// Ends all other sessions for as long as there are any and others are free, says so, and keeps its own.
const ALONE: &str = "DO $$ BEGIN
    WHILE EXISTS (SELECT 1 FROM pg_stat_activity WHERE backend_type = 'client backend'
                  AND application_name <> 'crowd' AND pid <> pg_backend_pid())
       OR (SELECT count(*) < CONNECTIONS FROM pg_stat_activity WHERE backend_type = 'client backend')
    LOOP
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE backend_type = 'client backend'
            AND application_name <> 'crowd' AND pid <> pg_backend_pid();
        PERFORM pg_sleep(0.02);
        PERFORM pg_stat_clear_snapshot();
    END LOOP;
    RAISE NOTICE 'alone';
    PERFORM pg_sleep(600);
END $$";

/// Takes every connection that there is. Lets go of them when it is dropped.
struct Crowd {
    _hands: JoinSet<()>,
    _ends_others: tokio::process::Child,
}

impl Crowd {
    /// Takes them; they are all taken when it answers.
    async fn of(database: &Database) -> Self {
        let ends_others = ALONE.replace("CONNECTIONS", &CONNECTIONS.to_string());
        let mut ends_others = tokio::process::Command::from(database.asks(&ends_others));
        let mut ends_others =
            ends_others.kill_on_drop(true).stderr(Stdio::piped()).spawn().unwrap();
        let (taken, mut hands) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
        for _ in 0..HANDS {
            let (taken, port) = (Arc::clone(&taken), database.port());
            hands.spawn(async move {
                loop {
                    let another = tokio::time::timeout(ANSWERS_WITHIN, connected(port)).await;
                    taken.lock().unwrap().extend(another.ok().flatten());
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            });
        }
        let mut said = BufReader::new(ends_others.stderr.take().unwrap()).lines();
        let alone = async {
            while let Some(line) = said.next_line().await.unwrap() {
                if line.contains("alone") {
                    return;
                }
            }
            panic!("who ends the others has ended");
        };
        tokio::time::timeout(TAKEN_WITHIN, alone).await.expect("others keep connecting");
        Self { _hands: hands, _ends_others: ends_others }
    }
}

/// A session of our own, unless there is none left.
async fn connected(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let about = format!("user\0untoil\0database\0postgres\0application_name\0{NAME}\0\0");
    // The protocol's first message: its length, version 3.0, who wants what.
    let length = u32::try_from(8 + about.len()).unwrap();
    let hello = [&length.to_be_bytes()[..], &[0, 3, 0, 0], about.as_bytes()].concat();
    stream.write_all(&hello).await.ok()?;
    let mut kind = [0];
    stream.read_exact(&mut kind).await.ok()?;
    // "R" asks for no password here; "E" refuses.
    (kind == *b"R").then_some(stream)
}

async fn settles(untoil: &Untoil, what: &str, ready: bool) {
    for _ in 0..TRIES_MAX {
        if untoil.get("/readyz").await["ready"] == ready {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: {}\n{}", untoil.text("/readyz").await, untoil.said("stderr"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_without_a_connection_says_so_keeps_nothing_and_comes_back_by_itself() {
    let limit = format!("max_connections={CONNECTIONS}");
    let settings = [limit.as_str(), "superuser_reserved_connections=0"];
    let Some(database) = Database::with(&settings).await else { return };
    // It needs no AWS: the rule only says what it would do.
    let mut untoil = Untoil::towards(free_port());
    untoil.ship("contact-sync-backlog", "shadow");
    let store = json!({ "postgres": { "url": { "env": "DATABASE" } } });
    untoil.set("UNTOIL_STORE", &store.to_string());
    untoil.set("DATABASE", &database.url());
    let made = untoil.run(&["migrate"]).await;
    assert_eq!(made.status, 0, "{made:?}");
    untoil.start().await;
    assert_eq!(untoil.post(&backlog("ALARM", 9_120.0)).await, 202);
    untoil.until("matched", 1).await;
    let before = untoil.journal().await.len();

    let crowd = Crowd::of(&database).await;
    settles(&untoil, "it is not noticed that there is no connection left", false).await;
    let told = untoil.get("/readyz").await;
    let store = &told["parts"]["store"];
    assert_eq!(store["state"], "failed", "{told}");
    assert!(store["last_error"].as_str().unwrap().contains("no connection left"), "{told}");
    assert!(untoil.said("stderr").contains("no connection left"), "the log says so");
    let client = reqwest::Client::new();
    for n in 0..5 {
        let sent = client.post(untoil.url("/v1/events/cloudwatch"));
        let sent = sent.header("x-api-key", crate::service::SECRET);
        let sent = sent.body(backlog("OK", f64::from(n)).to_string()).send().await.unwrap();
        assert_eq!(sent.status(), 503);
        let retry = sent.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap();
        assert!((1..=30).contains(&retry), "{retry}");
    }
    assert_eq!(untoil.text("/healthz").await, "ok\n", "it lives");

    drop(crowd);
    settles(&untoil, "it does not come back", true).await;
    let after = untoil.journal().await;
    let received = after[before..].iter().filter(|entry| entry["body"].get("received").is_some());
    assert_eq!(received.count(), 0, "what was refused was not kept");
    assert_eq!(untoil.post(&backlog("OK", 120.0)).await, 202);
    untoil.until("received", 2).await;
    let verified = untoil.run(&["audit", "verify"]).await;
    assert_eq!(verified.status, 0, "{verified:?}");
    untoil.terminate().await;
    assert_eq!(untoil.ended().await, 0, "{}", untoil.said("stderr"));
}
