//! The gate seen from outside: what does not get its turn is not sent, and throttling slows down.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use untoil_actions::CallError;
use untoil_aws::{Aws, AwsConfig, Credentials, Flow, Limits, Priority, Rate, connect};
use untoil_clock::{Clock, SystemClock};

use crate::clearance::cleared_at;
use crate::faults::{THROTTLED_JSON, UNAVAILABLE};
use crate::moto::command;
use crate::operator::{NO_INSTANCE, Operator};
use crate::proxy::{Fault, Proxy};
use crate::server::{REGION, free_port, moto, reach};

/// A clock on which waiting takes no time of ours.
#[derive(Debug)]
struct Leaping {
    start: Timestamp,
    micros: AtomicI64,
}

impl Leaping {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: SystemClock.now(), micros: AtomicI64::new(0) })
    }
}

#[async_trait]
impl Clock for Leaping {
    fn now(&self) -> Timestamp {
        self.start + SignedDuration::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn ticks(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.load(Ordering::SeqCst)).unwrap())
    }

    async fn sleep(&self, duration: Duration) {
        self.micros.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
}

async fn reach_at(port: u16, clock: Arc<dyn Clock>, rate: Rate) -> Aws {
    let config = AwsConfig {
        region: Some(REGION.into()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        credentials: Credentials::Fixed { id: "test".into(), secret: "test".into() },
        limits: Limits::every(rate),
        ..AwsConfig::new(clock)
    };
    connect(config).await
}

/// Sends a command with a clearance that was given so long ago.
async fn send(aws: &Aws, clock: &Leaping, ago: SignedDuration) -> Result<String, CallError> {
    let may = cleared_at("ssm.document", &format!("ec2/{NO_INSTANCE}"), clock.now() - ago).await;
    aws.writes().ssm.send_command(may, command("1", None)).await
}

fn flow(aws: &Aws) -> Flow {
    let mut flows = aws.flows();
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows.remove(0)
}

#[tokio::test]
async fn a_write_whose_turn_comes_after_its_clearance_is_not_sent() {
    let Some(moto) = moto().await else { return };
    Operator::new(moto.port).await.document().await;
    let proxy = Proxy::before(moto.port).await;
    let clock = Leaping::new();
    let aws = reach_at(proxy.port, clock.clone(), Rate { per_sec: 1.0, burst: 1.0 }).await;
    send(&aws, &clock, SignedDuration::ZERO).await.unwrap();
    assert_eq!(proxy.requests(), 1);

    // Half a second of its two minutes is left, and its turn comes in one.
    let error = send(&aws, &clock, SignedDuration::from_millis(119_500)).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent { .. }), "{error:?}");
    assert_eq!(proxy.requests(), 1);

    let before = clock.ticks();
    send(&aws, &clock, SignedDuration::ZERO).await.unwrap();
    assert_eq!(proxy.requests(), 2, "one that has the time waits, and is sent once");
    assert!(clock.ticks() > before);
}

#[tokio::test]
async fn a_write_that_would_wait_long_is_throttled_at_once_and_not_sent() {
    let proxy = Proxy::before(free_port()).await;
    proxy.set(UNAVAILABLE);
    let clock = Leaping::new();
    let aws = reach_at(proxy.port, clock.clone(), Rate { per_sec: 0.1, burst: 1.0 }).await;
    send(&aws, &clock, SignedDuration::ZERO).await.unwrap_err();
    let error = send(&aws, &clock, SignedDuration::ZERO).await.unwrap_err();
    let CallError::Throttled { why, retry_after } = error else { panic!("{error:?}") };
    assert_eq!(why, "too many calls of `ssm:SendCommand`: 0 wait, for about 10 s");
    assert!(retry_after.is_some_and(|after| after <= Duration::from_secs(10)), "{retry_after:?}");
    assert_eq!(clock.ticks(), Duration::ZERO, "it did not wait for that");
    assert_eq!(proxy.requests(), 1);
    assert_eq!((flow(&aws).taken, flow(&aws).turned_away), (1, 1));
}

#[tokio::test]
async fn throttled_answers_slow_down_for_all_and_good_ones_speed_up_again() {
    let Some(moto) = moto().await else { return };
    Operator::new(moto.port).await.service().await;
    let proxy = Proxy::before(moto.port).await;
    let aws = reach(proxy.port).await;
    let look = async |priority| aws.eyes_for(priority).ecs.service("workers", "contact-sync").await;
    look(Priority::Diagnose).await.unwrap();
    assert!((flow(&aws).per_sec - flow(&aws).per_sec_max).abs() < 1.0);

    proxy.set(UNAVAILABLE);
    look(Priority::Diagnose).await.unwrap_err();
    assert!(flow(&aws).per_sec > 900.0, "a failure says nothing of the rate");

    proxy.set(THROTTLED_JSON);
    look(Priority::Diagnose).await.unwrap_err();
    let cut = flow(&aws);
    assert_eq!(cut.throttled, 3, "each try is told");
    assert!(cut.per_sec < 200.0, "{cut:?}");

    proxy.set(Fault::None);
    look(Priority::Verify).await.unwrap();
    let better = flow(&aws);
    assert!(better.per_sec > cut.per_sec && better.per_sec < 300.0, "{better:?}");
    for _ in 0..50 {
        look(Priority::Report).await.unwrap();
    }
    assert!(flow(&aws).per_sec > 999.0, "{:?}", flow(&aws));
}

/// What takes messages from queues, deletes and hides them; `sqs.rs` says why it needs no turn. It
/// can make no other call than these three.
const QUEUES: (&str, usize) = ("sqs.rs", 3);

/// Whatever is awaited at once was not given its turn.
#[test]
fn no_call_goes_round_the_gate() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut n_calls = 0;
    for file in std::fs::read_dir(source).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if path.ends_with(QUEUES.0) {
            assert_eq!(text.matches(".send()").count(), QUEUES.1, "{}", path.display());
            continue;
        }
        assert!(!text.contains(".send().await"), "{}", path.display());
        n_calls += text.matches(".interceptor(watch).send()").count();
        assert_eq!(
            text.matches(".send()").count(),
            text.matches(".interceptor(watch).send()").count(),
            "{}",
            path.display()
        );
    }
    assert!(n_calls > 10, "{n_calls}");
}
