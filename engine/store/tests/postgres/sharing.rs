//! What the suite of instances cannot see: leases in the database, locks, and rows of those gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::task::JoinSet;
use untoil_clock::Clock;
use untoil_journal::{Batch, Journal, Roster};
use untoil_model::{Actor, Alarm, Body, Draft, IncidentId, Seq};
use untoil_store::postgres::{PostgresConfig, PostgresJournal};

use super::server::Server;
use super::{LOOKS_MAX, PAUSE, delivery, open};

pub(crate) fn incident(n: i64) -> IncidentId {
    let at = Timestamp::from_second(n).unwrap();
    IncidentId::derive(at, &"generic:x".parse().unwrap(), "test")
}

/// Opens an incident.
pub(crate) fn opening(n: i64) -> Batch {
    let alarm: Alarm = serde_json::from_value(serde_json::json!({
        "key": "generic:x", "source": "generic", "name": "x", "state": "firing",
        "changed_at": "2026-01-01T00:00:00Z",
    }))
    .unwrap();
    let body =
        Body::Opened { delivery: delivery("x").id, alarm: Arc::new(alarm), skewed_from: None };
    let actor = Actor::Engine("test".into());
    Batch::of(vec![Draft::of(&incident(n), Timestamp::UNIX_EPOCH, actor, body)])
}

/// Beats and adopts until there is something.
pub(crate) async fn adopted(instance: &PostgresJournal) -> Vec<IncidentId> {
    for _ in 0..LOOKS_MAX {
        instance.beat().await.unwrap();
        let adopted = instance.adopt(9).await.unwrap();
        if !adopted.is_empty() {
            return adopted;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("there is nothing to adopt");
}

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
struct Stopped(AtomicU64);

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn ticks(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _duration: Duration) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_stops_before_others_may_go_on_in_its_place() {
    let Some(server) = Server::shared().await else { return };
    let clock = Arc::new(Stopped::default());
    clock.0.store(7_000, Ordering::SeqCst);
    let config = PostgresConfig { clock: clock.clone(), ..server.fresh().await };
    assert_eq!(config.lease, Duration::from_secs(15));
    let instance = open(&config).await;
    let tenure = instance.tenure();
    assert!(!tenure.lasts(&*clock), "it was not heard yet");
    instance.beat().await.unwrap();
    for (at, lasts) in [(7_000, true), (18_999, true), (19_000, false), (22_000, false)] {
        clock.0.store(at, Ordering::SeqCst);
        assert_eq!(tenure.lasts(&*clock), lasts, "{at}");
    }
    let left = format!(
        "SELECT extract(epoch FROM until - clock_timestamp())::float8 \
        FROM {}.instance WHERE number = 1",
        config.schema
    );
    let row = server.ready().await.query_one(&left, &[]).await.unwrap();
    let left: f64 = row.get(0);
    assert!(left > 0.0 && left <= 15.0, "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_beat_waits_for_nobody_who_writes() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let instance = open(&config).await;
    let holder = server.ready().await;
    let hold = format!("BEGIN; SELECT seq FROM {}.head FOR UPDATE", config.schema);
    holder.batch_execute(&hold).await.unwrap();
    let beat = tokio::time::timeout(Duration::from_secs(30), instance.beat()).await;
    beat.unwrap().unwrap();
    assert!(instance.tenure().lasts(&*config.clock));
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_back_first_after_an_outage_takes_nothing_from_who_comes_back_too() {
    let Some(server) = Server::shared().await else { return };
    let config = PostgresConfig { lease: Duration::from_secs(6), ..server.fresh().await };
    let [first, second] = [open(&config).await, open(&config).await];
    for instance in [&first, &second] {
        instance.beat().await.unwrap();
    }
    first.append(opening(1)).await.unwrap();
    // The database was away from everybody for a minute.
    let lapsed = format!(
        "UPDATE {}.instance SET until = until - interval '1 min', \
        since = since - interval '10 min'",
        config.schema
    );
    server.ready().await.batch_execute(&lapsed).await.unwrap();
    second.beat().await.unwrap();
    assert_eq!(second.adopt(9).await.unwrap(), [], "the other one may be about to come back");
    first.beat().await.unwrap();
    assert_eq!(first.mine(None, 9).await.unwrap(), [incident(1)]);
    // And when it does not.
    assert_eq!(adopted(&second).await, [incident(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_leaves_wakes_the_others() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let [leaver, heir] = [open(&config).await, open(&config).await];
    for instance in [&leaver, &heir] {
        instance.beat().await.unwrap();
    }
    leaver.append(opening(1)).await.unwrap();
    let mut head = heir.head();
    head.wait_for(|head| *head == Seq(1)).await.unwrap();
    head.mark_unchanged();
    leaver.leave().await.unwrap();
    assert!(!leaver.tenure().lasts(&*config.clock));
    tokio::time::timeout(Duration::from_mins(1), head.changed()).await.unwrap().unwrap();
    assert_eq!(heir.adopt(9).await.unwrap(), [incident(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_gone_and_writes_while_rows_are_cleaned_up_is_not_forgotten() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let gone = open(&config).await;
    let schema = &config.schema;
    let client = server.ready().await;
    let days = "until = until - interval '2 days', since = since - interval '2 days'";
    let pass = format!("UPDATE {schema}.instance SET {days}");
    client.batch_execute(&pass).await.unwrap();
    // It is only asleep, and in the middle of writing.
    let writing = format!(
        "BEGIN; SELECT seq FROM {schema}.head FOR UPDATE; \
        INSERT INTO {schema}.pending (seq, receiver) VALUES (1, 1)"
    );
    client.batch_execute(&writing).await.unwrap();
    let next = config.clone();
    let mut opening = JoinSet::new();
    opening.spawn(async move { open(&next).await });
    let waits = "SELECT count(*) FROM pg_stat_activity \
        WHERE wait_event_type = 'Lock' AND query LIKE '%head%FOR UPDATE%'";
    let watch = server.ready().await;
    let mut looks = 0;
    while watch.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        looks += 1;
        assert!(looks < LOOKS_MAX, "nobody waits for the lock");
        tokio::time::sleep(PAUSE).await;
    }
    client.batch_execute("COMMIT").await.unwrap();
    let _second = opening.join_next().await.unwrap().unwrap();
    let sql = format!("SELECT array(SELECT number FROM {schema}.instance ORDER BY 1)");
    let numbers: Vec<i64> = client.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(numbers, [0, 1, 2], "what it took in could be decided by nobody");
    drop(gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_long_been_gone_is_forgotten_and_may_still_come_back() {
    let Some(server) = Server::shared().await else { return };
    let config = server.fresh().await;
    let [gone, other] = [open(&config).await, open(&config).await];
    gone.append(opening(1)).await.unwrap();
    let client = server.ready().await;
    let rows = async || {
        let sql = format!("SELECT array(SELECT number FROM {}.instance ORDER BY 1)", config.schema);
        client.query_one(&sql, &[]).await.unwrap().get::<_, Vec<i64>>(0)
    };
    let days_pass = async || {
        let sql = format!(
            "UPDATE {}.instance SET until = until - interval '2 days', \
            since = since - interval '2 days'",
            config.schema
        );
        client.batch_execute(&sql).await.unwrap();
    };
    days_pass().await;
    let third = open(&config).await;
    assert_eq!(rows().await, [0, 1, 3], "one has nothing, the other an incident that is open");
    assert_eq!(adopted(&third).await, [incident(1)]);
    days_pass().await;
    let fourth = open(&config).await;
    fourth.beat().await.unwrap();
    assert_eq!(rows().await, [0, 3, 4]);
    // It was only asleep. What it takes in is not lost if it never says that it lives.
    gone.receive(delivery("late")).await.unwrap();
    assert_eq!(fourth.to_decide(9).await.unwrap().len(), 1);
    gone.beat().await.unwrap();
    assert_eq!(rows().await, [0, 1, 3, 4]);
    assert!(fourth.to_decide(9).await.unwrap().is_empty());
    assert_eq!(gone.to_decide(9).await.unwrap().len(), 1);
    other.beat().await.unwrap();
    assert_eq!(rows().await, [0, 1, 2, 3, 4], "no number was given twice");
}
