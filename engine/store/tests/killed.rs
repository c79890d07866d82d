//! Accepted is kept: a process that writes is killed with SIGKILL, again and again.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]
#![expect(clippy::disallowed_methods, reason = "the test starts itself again as the victim")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jiff::Timestamp;
use tempfile::TempDir;
use tokio::task::JoinSet;
use untoil_journal::{Batch, Journal, Receipt, Verified, verify};
use untoil_model::{Actor, Body, Delivery, DeliveryId, Draft, Seq, Stream};
use untoil_store::SqliteJournal;

const TEST: &str = "what_was_acknowledged_survives_being_killed_while_writing";
const VICTIM_FILE: &str = "UNTOIL_TEST_VICTIM_FILE";
const VICTIM_ROUND: &str = "UNTOIL_TEST_VICTIM_ROUND";
const WRITERS: usize = 8;

fn delivery(message: &str) -> Delivery {
    Delivery {
        id: DeliveryId { source: "sns".parse().unwrap(), message: message.into() },
        sender: "topic".into(),
        received_at: Timestamp::UNIX_EPOCH,
        headers: [].into(),
        body: message.repeat(100).into(),
    }
}

/// Each writer receives a delivery and appends a pair that tells of it, and says so when it is
/// acknowledged, until the process is killed.
async fn be_the_victim(file: String, round: String) {
    let journal = Arc::new(SqliteJournal::open(file).unwrap());
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let (journal, round) = (Arc::clone(&journal), round.clone());
        tasks.spawn(async move {
            for n in 0.. {
                let message = format!("{round}/{writer}/{n}");
                let stored = journal.receive(delivery(&message)).await.unwrap();
                assert!(matches!(stored, Receipt::Stored(_)));
                say(&format!("received {message}"));
                let half = |half: &str| {
                    let body = Body::Paused { scope: half.into(), reason: message.clone() };
                    Draft::new(Timestamp::UNIX_EPOCH, Actor::Engine("victim".into()), body)
                };
                journal.append(Batch::of(vec![half("one"), half("two")])).await.unwrap();
                say(&format!("appended {message}"));
            }
        });
    }
    tasks.join_all().await;
}

fn say(line: &str) {
    // One write per line, straight to the pipe: what was said is out, whenever the kill comes.
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn start_victim(file: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(VICTIM_FILE, file)
        .env(VICTIM_ROUND, round.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_being_killed_while_writing() {
    if let (Ok(file), Ok(round)) = (std::env::var(VICTIM_FILE), std::env::var(VICTIM_ROUND)) {
        return be_the_victim(file, round).await;
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("journal.db");
    let (mut received, mut appended) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..5 {
        let mut victim = start_victim(&file, round);
        let mut said = BufReader::new(victim.stderr.take().unwrap()).lines();
        let mut take = |line: String| match line.split_once(' ') {
            Some(("received", message)) => received.insert(message.to_owned()),
            Some(("appended", message)) => appended.insert(message.to_owned()),
            _ => panic!("the victim failed: {line}"),
        };
        // Killed at another place of its work each time.
        for _ in 0..150 + round * 37 {
            take(said.next().expect("the victim goes on until it is killed").unwrap());
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        // What it had said before the kill and we had not read yet; a last line may be cut.
        for line in said.map_while(Result::ok).filter(|line| line.split('/').count() == 3) {
            take(line);
        }
        check(&file, &received, &appended).await;
    }
}

async fn check(file: &Path, received: &BTreeSet<String>, appended: &BTreeSet<String>) {
    let journal = SqliteJournal::open(file).unwrap();
    for message in received {
        let sent = delivery(message);
        assert!(journal.delivery(&sent.id).await.unwrap() == Some(sent), "{message} was lost");
    }
    let mut halves = BTreeSet::new();
    let mut deliveries = 0;
    for entry in journal.read(&Stream::All, Seq::START, usize::MAX).await.unwrap() {
        if let Body::Paused { scope, reason } = entry.body {
            assert!(halves.insert((reason, scope)), "an entry stands twice");
        } else {
            deliveries += 1;
        }
    }
    assert!(received.len() <= deliveries);
    assert_eq!(journal.pending(usize::MAX).await.unwrap().len(), deliveries);
    for message in appended {
        assert!(halves.contains(&(message.clone(), "one".into())), "{message} was lost");
    }
    for (message, half) in &halves {
        let other = if half == "one" { "two" } else { "one" };
        assert!(halves.contains(&(message.clone(), other.into())), "half of {message} is there");
    }
    let verified = verify(&journal).await.unwrap();
    assert!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
}
