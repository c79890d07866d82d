//! The one gate that every call goes through: it waits for a turn, sends, and learns from the answer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use untoil_actions::{CallError, ReadError};
use untoil_clock::Clock;
use untoil_guard::Clearance;

use crate::answer::{is_too_fast, of_read, of_write};
use crate::bucket::{Bucket, Place, Turn};
use crate::call::{Call, Watch, in_time};
use crate::limits::{Limits, Priority};

/// How often a read is tried in all. Reads repeat freely; three tries ride out one bad second, and
/// the engine itself looks again later.
const READ_TRIES_MAX: u32 = 3;
/// First wait before a read is tried again; doubles, and is spread by up to as much again.
const READ_AGAIN: Duration = Duration::from_millis(200);
/// Waits are spread over so many parts.
const SPREAD: u32 = 16;

/// How long a call of this kind waits for its turn before it says that it was throttled.
const fn patience(priority: Priority) -> Duration {
    match priority {
        // Verification asks again a minute later.
        Priority::Verify => Duration::from_secs(10),
        // The guard has looked, and the intent is written: what waits longer should be looked at
        // again. The runner waits outside, and asks the guard anew.
        Priority::Act => Duration::from_secs(2),
        // A fact must be read within 10 s.
        Priority::Diagnose => Duration::from_secs(8),
        Priority::Report => Duration::from_secs(30),
    }
}

/// How one API is used; a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Its name in [`PUBLISHED`](crate::PUBLISHED), or the operation's.
    pub api: &'static str,
    /// The most calls per second.
    pub per_sec_max: f64,
    /// Calls per second as AWS takes them at the moment.
    pub per_sec: f64,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that had their turn.
    pub taken: u64,
    /// Calls that AWS answered as too many.
    pub throttled: u64,
    /// Calls that were not made because their turn did not come in time.
    pub turned_away: u64,
}

/// The buckets of one account in one Region.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// Longest time for a read with all its tries, without waiting for turns.
    read_max: Duration,
    /// As many as there are APIs in the source.
    buckets: Mutex<BTreeMap<&'static str, Arc<Mutex<Bucket>>>>,
}

/// A turn that was had.
#[derive(Debug)]
struct Taken {
    bucket: Arc<Mutex<Bucket>>,
    at: Duration,
    /// Which one it is, to spread repeats.
    n: u64,
}

/// No turn came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) api: &'static str,
    pub(crate) wait: Duration,
    pub(crate) waiting: usize,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api, wait, waiting } = self;
        write!(f, "too many calls of `{api}`: {waiting} wait, for about {} s", wait.as_secs() + 1)
    }
}

/// A place in a queue, given up when dropped.
struct Queued<'a> {
    bucket: &'a Mutex<Bucket>,
    place: Place,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        lock(self.bucket).leave(self.place);
    }
}

impl Gate {
    pub(crate) fn new(clock: Arc<dyn Clock>, limits: Limits, read_max: Duration) -> Self {
        Self { clock, limits, read_max, buckets: Mutex::default() }
    }

    /// How each API that was used so far is used now.
    pub(crate) fn flows(&self) -> Vec<Flow> {
        let buckets = lock(&self.buckets);
        let flows = buckets.iter().map(|(api, bucket)| {
            let bucket = lock(bucket);
            Flow {
                api,
                per_sec_max: bucket.most().per_sec,
                per_sec: bucket.per_sec(),
                waiting: bucket.waiting(),
                taken: bucket.counts.taken,
                throttled: bucket.counts.throttled,
                turned_away: bucket.counts.turned_away,
            }
        });
        flows.collect()
    }

    /// Makes a call that changes something: one request or none. `send` makes the request, which is
    /// not sent before it is awaited here.
    ///
    /// # Errors
    /// [`CallError::Throttled`] when its turn did not come, [`CallError::NotSent`] when the
    /// clearance's time went by while it waited; otherwise as AWS answered.
    pub(crate) async fn write<T, E, F>(
        &self,
        call: &Call,
        may: &Clearance,
        send: impl FnOnce(Watch) -> F,
    ) -> Result<T, CallError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let taken = self.turn(call.operation, Priority::Act).await.map_err(|busy| {
            CallError::Throttled { why: busy.to_string(), retry_after: Some(busy.wait) }
        })?;
        in_time(may, self.clock.now())?;
        let answer = send(call.watch()).await;
        self.learn(&taken, answer.as_ref().err());
        answer.map_err(|error| of_write(call, &error))
    }

    /// Makes a call that reads, again where that may help.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] when its turn did not come; otherwise as AWS answered.
    pub(crate) async fn read<T, E, F>(
        &self,
        (call, priority): (&Call, Priority),
        what: &str,
        send: impl Fn(Watch) -> F,
    ) -> Result<T, ReadError>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut left = self.read_max;
        let mut tries = 0;
        loop {
            tries += 1;
            let taken = self
                .turn(call.operation, priority)
                .await
                .map_err(|busy| ReadError::Unavailable { why: format!("throttled: {busy}") })?;
            let answer = tokio::select! {
                answer = send(call.watch()) => answer,
                () = self.clock.sleep(left) => {
                    let why = format!("{what}: no answer within {:?}", self.read_max);
                    return Err(ReadError::Unavailable { why });
                }
            };
            self.learn(&taken, answer.as_ref().err());
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => of_read(call, what, &error),
            };
            let again = matches!(error, ReadError::Unavailable { .. }) && call.transmitted();
            let pause = spread(READ_AGAIN.saturating_mul(1 << tries), taken.n);
            let spent = self.clock.ticks().saturating_sub(taken.at).saturating_add(pause);
            left = left.saturating_sub(spent);
            if !again || tries >= READ_TRIES_MAX || left.is_zero() {
                return Err(error);
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Tells the bucket what the answer says of the rate. No answer says nothing.
    fn learn<E>(&self, taken: &Taken, error: Option<&SdkError<E, HttpResponse>>)
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let now = self.clock.ticks();
        match error {
            Some(error) if is_too_fast(error) => {
                lock(&taken.bucket).throttled(now, taken.at);
            }
            Some(_) => {}
            None => lock(&taken.bucket).answered(now),
        }
    }

    /// Waits for a turn, within the patience of its kind. Dropping it gives up the place.
    async fn turn(&self, operation: &'static str, priority: Priority) -> Result<Taken, Busy> {
        let (api, rate) = self.limits.of(operation);
        let began = self.clock.ticks();
        let bucket = lock(&self.buckets)
            .entry(api)
            .or_insert_with(|| Arc::new(Mutex::new(Bucket::new(rate, began))))
            .clone();
        let until = began.saturating_add(patience(priority));
        let joined = {
            let mut bucket = lock(&bucket);
            let waiting = bucket.waiting();
            let joined = bucket.join(began, (priority, patience(priority)));
            joined.map_err(|wait| Busy { api, wait, waiting })
        };
        let (place, bell) = joined?;
        let queued = Queued { bucket: &bucket, place };
        loop {
            let now = self.clock.ticks();
            let left = until.saturating_sub(now);
            let turn = lock(&bucket).turn(now, place);
            let wait = match turn {
                Turn::Now => {
                    drop(queued);
                    return Ok(Taken { bucket, at: now, n: place.1 });
                }
                Turn::In(wait) => wait.min(left),
                Turn::Later => left,
                Turn::Gone => Duration::ZERO,
            };
            if wait.is_zero() {
                let mut bucket = lock(&bucket);
                bucket.give_up(place);
                return Err(Busy { api, wait: patience(priority), waiting: bucket.waiting() });
            }
            tokio::select! {
                () = bell.notified() => {}
                () = self.clock.sleep(wait) => {}
            }
        }
    }
}

/// A pause, longer for some than for others, so that they do not all come back at once.
fn spread(pause: Duration, n: u64) -> Duration {
    let part = u32::try_from(n % u64::from(SPREAD)).expect("a remainder is small");
    pause.saturating_add(pause.saturating_mul(part) / SPREAD)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use untoil_clock::VirtualClock;

    use super::*;
    use crate::limits::Rate;

    const UPDATE: &str = "ecs:UpdateService";
    const READ: &str = "ecs:DescribeServices";

    fn gate(limits: Limits) -> Arc<Gate> {
        let clock = Arc::new(VirtualClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
        Arc::new(Gate::new(clock, limits, Duration::from_secs(12)))
    }

    fn slow() -> Limits {
        Limits::every(Rate { per_sec: 1.0, burst: 1.0 })
    }

    /// A stand-in for AWS that counts, and throttles what comes faster. Others leave ten calls a
    /// second; after ten minutes they are gone.
    #[derive(Default)]
    struct Counting {
        state: Mutex<(f64, Duration)>,
    }

    impl Counting {
        fn takes(&self, now: Duration) -> bool {
            let per_sec = if now < Duration::from_mins(10) { 10.0 } else { 1_000.0 };
            let mut state = lock(&self.state);
            let passed = now.saturating_sub(state.1).as_secs_f64();
            *state = ((state.0 + passed * per_sec).min(per_sec), now);
            let takes = state.0 >= 1.0;
            state.0 -= if takes { 1.0 } else { 0.0 };
            takes
        }
    }

    /// One call of a counting service; answers whether it was taken.
    async fn call(gate: &Gate, service: &Counting) -> Option<bool> {
        let taken = gate.turn(READ, Priority::Diagnose).await.ok()?;
        gate.clock.sleep(Duration::from_millis(20)).await;
        let now = gate.clock.ticks();
        let takes = service.takes(now);
        let mut bucket = lock(&taken.bucket);
        if takes {
            bucket.answered(now);
        } else {
            bucket.throttled(now, taken.at);
        }
        Some(takes)
    }

    /// When each call was answered, and whether it was taken.
    type Answers = Arc<Mutex<Vec<(Duration, bool)>>>;

    async fn keep_calling(gate: Arc<Gate>, service: Arc<Counting>, answers: Answers) {
        while gate.clock.ticks() < Duration::from_mins(20) {
            if let Some(takes) = call(&gate, &service).await {
                lock(&answers).push((gate.clock.ticks(), takes));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_call_at_once_the_published_rate_holds() {
        let gate = gate(Limits::published());
        let mut callers = JoinSet::new();
        for _ in 0..500 {
            let gate = Arc::clone(&gate);
            callers.spawn(async move {
                let taken = gate.turn(UPDATE, Priority::Verify).await;
                (taken.is_ok(), gate.clock.ticks())
            });
        }
        let ends = callers.join_all().await;
        let mut sent: Vec<Duration> = Vec::new();
        for (was_sent, at) in ends {
            assert!(at <= patience(Priority::Verify), "nobody waits longer than its patience");
            if was_sent {
                sent.push(at);
            }
        }
        sent.sort();
        // 50 at once, and 5 in each of the ten seconds of patience; the very last is a hair too late.
        assert_eq!(sent.len(), 99);
        for (i, at) in sent.iter().enumerate() {
            let most = 50.0 + at.as_secs_f64() * 5.0 + 0.01;
            assert!(f64::from(u32::try_from(i + 1).unwrap()) <= most, "{i} at {at:?}");
        }
        let flow = gate.flows().remove(0);
        assert_eq!((flow.api, flow.taken, flow.turned_away), ("ecs service modify", 99, 401));
        assert_eq!(flow.waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_reports_does_not_hold_up_a_verification() {
        let gate = gate(slow());
        let mut reports = JoinSet::new();
        for _ in 0..300 {
            let gate = Arc::clone(&gate);
            reports.spawn(async move { gate.turn(READ, Priority::Report).await.is_ok() });
        }
        gate.clock.sleep(Duration::from_millis(500)).await;
        let began = gate.clock.ticks();
        gate.turn(READ, Priority::Verify).await.unwrap();
        let waited = gate.clock.ticks().saturating_sub(began);
        assert!(waited <= Duration::from_secs(1), "{waited:?}");
        let n_made = reports.join_all().await.into_iter().filter(|was_made| *was_made).count();
        assert_eq!(n_made, 30, "one at once, and one a second until their patience ends, but one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_gives_its_place_to_the_next() {
        let gate = gate(slow());
        gate.turn(READ, Priority::Act).await.unwrap();
        {
            let first = gate.turn(READ, Priority::Verify);
            tokio::pin!(first);
            let pause = gate.clock.sleep(Duration::from_millis(100));
            tokio::select! { _ = &mut first => panic!("there is no token yet"), () = pause => {} }
            assert_eq!(gate.flows()[0].waiting, 1);
        }
        assert_eq!(gate.flows()[0].waiting, 0);
        gate.turn(READ, Priority::Act).await.unwrap();
        assert_eq!(gate.clock.ticks().as_millis(), 1_000);
    }

    /// Somebody else uses half of what is published. The engine finds that out, is hardly throttled
    /// any more, and has the whole again when they are gone.
    #[tokio::test(start_paused = true)]
    async fn what_others_leave_is_learned_and_taken_back_when_they_are_gone() {
        let gate = gate(Limits::published());
        let service = Arc::new(Counting::default());
        let mut callers = JoinSet::new();
        let answers = Answers::default();
        for _ in 0..30 {
            let (gate, service, answers) =
                (Arc::clone(&gate), Arc::clone(&service), Arc::clone(&answers));
            callers.spawn(keep_calling(gate, service, answers));
        }
        callers.join_all().await;
        let within = |from: u64, until: u64, taken: bool| {
            let span = Duration::from_mins(from)..Duration::from_mins(until);
            let answers = lock(&answers);
            answers.iter().filter(|(at, takes)| span.contains(at) && *takes == taken).count()
        };
        let (taken, throttled) = (within(5, 10, true), within(5, 10, false));
        assert!((2_200..=3_010).contains(&taken), "{taken} of 3,000 that the service takes");
        assert!(throttled * 10 < taken, "{throttled} throttled beside {taken}");
        let whole = within(15, 20, true);
        assert!((5_900..=6_100).contains(&whole), "{whole} in five minutes at 20 a second");
    }
}
