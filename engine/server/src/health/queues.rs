//! The queues with somebody standing at them: what came, what was deleted, and which cannot be read.
//!
//! Nothing is changed on the way: the same messages, the same answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use untoil_clock::Clock;
use untoil_health::{Metrics, Part, Readiness};
use untoil_intake::{Queue, QueueError, QueueMessage};
use untoil_model::Source;

use super::failing::{Failing, Fails};

/// What is done with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Receive,
    Delete,
    Hide,
}

/// Counts what comes and goes, and knows what fails at the moment.
#[derive(Debug)]
struct Keeper {
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    /// How many queues there are.
    count: usize,
    /// By queue and deed.
    failing: Failing<(String, Deed)>,
}

/// The same queues, watched.
pub(super) fn watched(
    queues: Vec<(Source, Arc<dyn Queue>)>,
    (clock, metrics): (Arc<dyn Clock>, Arc<Metrics>),
    readiness: Readiness,
) -> Vec<(Source, Arc<dyn Queue>)> {
    // Nothing is wrong until something was tried.
    match queues.len() {
        0 => readiness.off(Part::Queues),
        _ => readiness.ok(Part::Queues),
    }
    let failing = Failing::default();
    let keeper = Keeper { clock, metrics, readiness, count: queues.len(), failing };
    let keeper = Arc::new(keeper);
    let watch = |(source, queue): (Source, Arc<dyn Queue>)| {
        let label = label(queue.name());
        let watched = Watched { queue, label, keeper: Arc::clone(&keeper) };
        (source, Arc::new(watched) as _)
    };
    queues.into_iter().map(watch).collect()
}

/// Account and name of a queue: its address without the host.
fn label(url: &str) -> String {
    let path: Vec<&str> = url.rsplitn(3, '/').take(2).collect();
    path.into_iter().rev().collect::<Vec<_>>().join("/")
}

impl Keeper {
    fn remember(&self, queue: &str, deed: Deed, failed: Option<&QueueError>) {
        let now = self.clock.ticks();
        let (tried, failed) = ((queue.to_owned(), deed), failed.map(ToString::to_string));
        self.failing.tried((tried, now), failed, |fails| self.tell(fails));
    }

    fn tell(&self, fails: Option<Fails<'_, (String, Deed)>>) {
        let Some(fails) = fails else { return self.readiness.ok(Part::Queues) };
        let (first, deed) = fails.first;
        let deed = match deed {
            Deed::Receive => "cannot be read",
            Deed::Delete => "keeps what should be deleted",
            Deed::Hide => "does not hide messages",
        };
        let why = format!("`{first}` {deed}: {}{}", fails.why, fails.more());
        let unread = fails.whats().filter(|(_, deed)| *deed == Deed::Receive).count();
        if unread == self.count {
            self.readiness.failed(Part::Queues, &why);
        } else {
            self.readiness.degraded(Part::Queues, &why);
        }
    }
}

/// A queue with its keeper.
#[derive(Debug)]
struct Watched {
    queue: Arc<dyn Queue>,
    label: String,
    keeper: Arc<Keeper>,
}

impl Watched {
    fn saw(
        &self,
        deed: Deed,
        (done, not_done): (&str, &str),
        n: usize,
        it: &Result<(), QueueError>,
    ) {
        let what = if it.is_ok() { done } else { not_done };
        self.keeper.metrics.messages(&self.label, what, n);
        self.keeper.remember(&self.label, deed, it.as_ref().err());
    }
}

#[async_trait]
impl Queue for Watched {
    fn name(&self) -> &str {
        self.queue.name()
    }

    async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError> {
        let received = self.queue.receive().await;
        let result = match &received {
            Ok(messages) if messages.is_empty() => "empty",
            Ok(messages) => {
                self.keeper.metrics.messages(&self.label, "received", messages.len());
                "messages"
            }
            Err(_) => "failed",
        };
        self.keeper.metrics.polled(&self.label, result);
        self.keeper.remember(&self.label, Deed::Receive, received.as_ref().err());
        received
    }

    async fn delete(&self, receipts: &[String]) -> Result<(), QueueError> {
        let deleted = self.queue.delete(receipts).await;
        self.saw(Deed::Delete, ("deleted", "not_deleted"), receipts.len(), &deleted);
        deleted
    }

    async fn hide(&self, receipts: &[String], how_long: Duration) -> Result<(), QueueError> {
        let hidden = self.queue.hide(receipts, how_long).await;
        self.saw(Deed::Hide, ("hidden", "not_hidden"), receipts.len(), &hidden);
        hidden
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::needless_raw_string_hashes, reason = "`expect-test` writes them")]

    use std::sync::Mutex;

    use untoil_clock::VirtualClock;

    use super::*;

    /// Answers as it is told.
    #[derive(Debug)]
    struct Scripted {
        name: &'static str,
        fails: Mutex<Option<Deed>>,
    }

    impl Scripted {
        fn answer(&self, deed: Deed) -> Result<(), QueueError> {
            let fails = *self.fails.lock().unwrap() == Some(deed);
            if fails { Err(QueueError("AccessDenied: no".into())) } else { Ok(()) }
        }
    }

    #[async_trait]
    impl Queue for Scripted {
        fn name(&self) -> &str {
            self.name
        }
        async fn receive(&self) -> Result<Vec<QueueMessage>, QueueError> {
            self.answer(Deed::Receive).map(|()| Vec::new())
        }
        async fn delete(&self, _: &[String]) -> Result<(), QueueError> {
            self.answer(Deed::Delete)
        }
        async fn hide(&self, _: &[String], _: Duration) -> Result<(), QueueError> {
            self.answer(Deed::Hide)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_fails_is_told_apart_and_takes_no_instance_out_of_service() {
        let clock = Arc::new(VirtualClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let metrics = Arc::new(Metrics::new("1.2.3", Vec::new()));
        let readiness = Readiness::new(Arc::clone(&clock) as _);
        for part in Part::ALL {
            readiness.ok(part);
        }
        let new = |name| Arc::new(Scripted { name, fails: Mutex::default() });
        let (a, b) = (new("https://sqs/123456789012/a"), new("https://sqs/123456789012/b"));
        let source: Source = "aws".parse().unwrap();
        let both = vec![(source.clone(), Arc::clone(&a) as _), (source, Arc::clone(&b) as _)];
        let base = (Arc::clone(&clock) as _, Arc::clone(&metrics));
        let both: Vec<(Source, Arc<dyn Queue>)> = watched(both, base, readiness.clone());
        let mut told = String::new();
        let all: [(&str, [Option<Deed>; 2]); 5] = [
            ("both are fine", [None, None]),
            ("one unread", [Some(Deed::Receive), None]),
            ("both unread", [Some(Deed::Receive), Some(Deed::Receive)]),
            ("one keeps", [None, Some(Deed::Delete)]),
            ("both fine again", [None, None]),
        ];
        for (what, [fails_a, fails_b]) in all {
            *a.fails.lock().unwrap() = fails_a;
            *b.fails.lock().unwrap() = fails_b;
            for (_, queue) in &both {
                drop(queue.receive().await);
                drop(queue.delete(&["r".into(), "s".into()]).await);
                drop(queue.hide(&["r".into()], Duration::ZERO).await);
            }
            let part = readiness.report().parts[&Part::Queues].clone();
            let why = part.way_out.and(part.last_error).unwrap_or_default();
            told.extend([what, ": ", &format!("{:?}", part.state), " ", &why, "\n"]);
            assert!(readiness.is_ready(), "{what}: what comes over HTTP is taken");
        }
        expect_test::expect![[r#"
            both are fine: Ok 
            one unread: Degraded `123456789012/a` cannot be read: AccessDenied: no
            both unread: Failed `123456789012/a` cannot be read: AccessDenied: no (and 1 more)
            one keeps: Degraded `123456789012/b` keeps what should be deleted: AccessDenied: no
            both fine again: Ok 
        "#]]
        .assert_eq(&told);
        let text = metrics.text();
        let ours = text.lines().filter(|line| line.starts_with("untoil_queue"));
        let mut ours: Vec<&str> = ours.collect();
        ours.sort_unstable();
        expect_test::expect![[r#"
            untoil_queue_messages_total{queue="123456789012/a",what="deleted"} 10
            untoil_queue_messages_total{queue="123456789012/a",what="hidden"} 5
            untoil_queue_messages_total{queue="123456789012/b",what="deleted"} 8
            untoil_queue_messages_total{queue="123456789012/b",what="hidden"} 5
            untoil_queue_messages_total{queue="123456789012/b",what="not_deleted"} 2
            untoil_queue_polls_total{queue="123456789012/a",result="empty"} 3
            untoil_queue_polls_total{queue="123456789012/a",result="failed"} 2
            untoil_queue_polls_total{queue="123456789012/b",result="empty"} 4
            untoil_queue_polls_total{queue="123456789012/b",result="failed"} 1"#]]
        .assert_eq(&ours.join("\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_queues_the_part_is_off() {
        let clock = Arc::new(VirtualClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        let readiness = Readiness::new(Arc::clone(&clock) as _);
        let metrics = Arc::new(Metrics::new("1.2.3", Vec::new()));
        assert!(watched(Vec::new(), (clock as _, metrics), readiness.clone()).is_empty());
        assert_eq!(readiness.state(Part::Queues), untoil_health::State::Off);
    }
}
