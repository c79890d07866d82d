//! The threads that scripts run on: few, with large stacks, watched, and replaceable.
//!
//! Nothing here reads a clock. A watcher wakes every [`TICK`] while a job runs and counts; at the
//! job's budget it raises the job's stop flag, which the engine looks at between operations; after
//! a grace it gives the thread up and starts another. On a busy machine ticks come late, so a
//! script never gets less than its time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;
use untoil_model::RuleName;

use crate::meter::MeteredAlloc;
use crate::turns::Turn;

/// How often the watcher counts. Small against a script's 200 ms.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Ticks between the stop flag and giving the thread up: longer than one native call ever takes.
const GRACE_TICKS: u32 = 40;
/// Dropping a long chain of values recurses; 16 MiB is enough in debug builds for the most
/// operations a script may do (measured: 8 MiB in release builds).
const STACK_BYTES: usize = 16 << 20;
/// A thread that has had nothing to do for so long gives back what the allocator keeps for it.
const REST_AFTER: Duration = Duration::from_secs(2);
/// Jobs that may wait. More means that alarms come faster than rules answer: refuse, visibly.
const QUEUE_MAX: usize = 256;
/// Threads given up before the pool refuses all work: each may hold memory for ever.
const GIVEN_UP_MAX: u32 = 4;

thread_local! {
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Whether the job on this thread has used up its time.
pub(crate) fn is_stopped() -> bool {
    STOP.with_borrow(|stop| stop.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)))
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    #[error("all threads are busy and {QUEUE_MAX} askings wait already")]
    Busy,
    #[error("it did not stop in time, and its thread was given up")]
    Stuck,
    #[error("the engine panicked")]
    Panicked,
    #[error("{GIVEN_UP_MAX} threads are stuck; restart the engine and report the rule")]
    Exhausted,
}

/// Where a job that was given up is told so.
type Fail = Box<dyn FnOnce(PoolError) + Send>;

struct Job {
    work: Box<dyn FnOnce() + Send>,
    fail: Fail,
    budget_ticks: u32,
    /// Whose it is; jobs of nobody's are never too many.
    of: Option<RuleName>,
    /// When its turn is: see [`State::put`].
    turn: u64,
}

struct Running {
    ticks: u32,
    budget_ticks: u32,
    stop: Arc<AtomicBool>,
    fail: Fail,
    of: Option<RuleName>,
}

struct Slot {
    thread: u64,
    running: Option<Running>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    slots: Vec<Slot>,
    threads_started: u64,
    given_up: u32,
    closed: bool,
    /// The turn of the last job that was begun.
    turn: u64,
    /// The turns of rules whose last one was no earlier than that.
    had: BTreeMap<RuleName, u64>,
    /// Whether the watcher waits until a job runs.
    unwatched: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    watch: Condvar,
    /// Signalled when the queue may have room again.
    room: Condvar,
}

impl State {
    /// Whether a job must wait. Where no thread is left none may: it would wait for ever.
    fn is_full(&self) -> bool {
        !self.slots.is_empty() && self.queue.len() >= QUEUE_MAX
    }

    /// Queues a job, and says whether it can run as soon as a thread is free.
    ///
    /// Rules take turns: the second job of one comes behind the first of every other that waits.
    fn put(&mut self, mut job: Job) -> bool {
        let same = |queued: &&Job| job.of.is_some() && queued.of == job.of;
        let before = self.queue.iter().filter(same).count();
        let had = job.of.as_ref().and_then(|of| self.had.get(of));
        let first = had.map_or(self.turn, |had| had.saturating_add(1).max(self.turn));
        job.turn = first.saturating_add(u64::try_from(before).unwrap_or(u64::MAX));
        let at = self.queue.partition_point(|queued| queued.turn <= job.turn);
        let may_run = self.may_run(&job);
        self.queue.insert(at, job);
        may_run
    }

    /// Whether its rule leaves a thread to the others while it runs; where there is one thread, it is
    /// shared in turn.
    fn may_run(&self, job: &Job) -> bool {
        let running = self.slots.iter().filter_map(|slot| slot.running.as_ref());
        let same = running.filter(|running| job.of.is_some() && running.of == job.of).count();
        same < (self.slots.len().saturating_sub(1)).max(1)
    }

    /// The next job that can run now.
    fn next(&mut self) -> Option<Job> {
        let at = self.queue.iter().position(|job| self.may_run(job))?;
        let job = self.queue.remove(at)?;
        if job.turn > self.turn {
            self.turn = job.turn;
            self.had.retain(|_, had| *had >= job.turn);
        }
        if let Some(of) = &job.of {
            self.had.insert(of.clone(), job.turn);
        }
        Some(job)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock, so a poisoned state is a complete one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fixed number of watched threads and a bounded queue.
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Pool")
            .field("threads", &state.slots.len())
            .field("queue", &state.queue.len())
            .field("given_up", &state.given_up)
            .finish()
    }
}

impl Pool {
    /// Starts `threads` threads and their watcher.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let pool = Self { shared: Arc::new(Shared::default()) };
        for _ in 0..threads.max(1) {
            start_thread(&pool.shared, &mut pool.shared.lock())?;
        }
        let shared = Arc::clone(&pool.shared);
        std::thread::Builder::new().name("rule-watcher".into()).spawn(move || watch(&shared))?;
        Ok(pool)
    }

    /// Whether every thread was given up: nothing can be run any more.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.shared.lock().slots.is_empty()
    }

    /// Threads given up since the start.
    pub(crate) fn given_up(&self) -> u32 {
        self.shared.lock().given_up
    }

    /// Runs a rule's `job` on one of the threads and waits for it: at most its budget, a grace, and the
    /// jobs before it. Blocks the calling thread.
    pub(crate) fn run<T, F>(&self, of: &RuleName, budget: Duration, job: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (send, answer) = mpsc::sync_channel(1);
        let told = move |outcome| drop(send.try_send(outcome));
        self.offer(Job::of(Some(of.clone()), (budget, job), told))?;
        answer.recv().unwrap_or(Err(PoolError::Panicked))
    }

    /// Runs nobody's `job` as [`Pool::run`] does, but waits for room in the queue: for what must not depend on how busy the threads
    /// are. It does not wait for ever, since every job ends or is given up.
    pub(crate) fn run_patiently<T, F>(&self, budget: Duration, job: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (send, answer) = mpsc::sync_channel(1);
        let told = move |outcome| drop(send.try_send(outcome));
        let job = Job::of(None, (budget, job), told);
        let state = self.shared.room.wait_while(self.shared.lock(), |state| state.is_full());
        self.put(state.unwrap_or_else(PoisonError::into_inner), job)?;
        answer.recv().unwrap_or(Err(PoolError::Panicked))
    }

    /// The same without blocking. Dropping the future leaves the job to end by itself; its turn is given
    /// back when it has ended or is given up, and not before.
    pub(crate) async fn run_in_turn<T, F>(
        &self,
        (of, turn): (&RuleName, Turn),
        budget: Duration,
        job: F,
    ) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (send, answer) = oneshot::channel();
        let told = move |outcome| {
            drop(turn);
            // Nobody may listen any more.
            drop(send.send(outcome));
        };
        self.offer(Job::of(Some(of.clone()), (budget, job), told))?;
        answer.await.unwrap_or(Err(PoolError::Panicked))
    }

    fn offer(&self, job: Job) -> Result<(), PoolError> {
        let state = self.shared.lock();
        if state.is_full() {
            return Err(PoolError::Busy);
        }
        self.put(state, job)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, job: Job) -> Result<(), PoolError> {
        if state.slots.is_empty() {
            return Err(PoolError::Exhausted);
        }
        let may_run = state.put(job);
        drop(state);
        // Otherwise whoever runs one of its rule takes it next.
        if may_run {
            self.shared.work.notify_one();
        }
        Ok(())
    }
}

impl Job {
    /// `told` hears how it ended, or that it was given up.
    fn of<T, F>(
        of: Option<RuleName>,
        (budget, job): (Duration, F),
        told: impl FnOnce(Result<T, PoolError>) + Send + 'static,
    ) -> Self
    where
        T: 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        // Whichever of the two comes first: it hears once.
        let told = Arc::new(Mutex::new(Some(told)));
        let tells = Arc::clone(&told);
        let work = Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(job)).map_err(|_| PoolError::Panicked);
            tell(&tells, outcome);
        });
        let fail = Box::new(move |error| tell(&told, Err(error)));
        let budget_ticks = u32::try_from(budget.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX);
        Self { work, fail, budget_ticks: budget_ticks.max(1), of, turn: 0 }
    }
}

/// Tells who asked, if that was not done yet.
fn tell<T>(told: &Mutex<Option<impl FnOnce(T)>>, outcome: T) {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(told) = told {
        told(outcome);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        self.shared.room.notify_all();
    }
}

fn start_thread(shared: &Arc<Shared>, state: &mut State) -> std::io::Result<()> {
    state.threads_started += 1;
    let thread = state.threads_started;
    let inner = Arc::clone(shared);
    std::thread::Builder::new()
        .name(format!("rule-{thread}"))
        .stack_size(STACK_BYTES)
        .spawn(move || serve(&inner, thread))?;
    state.slots.push(Slot { thread, running: None });
    Ok(())
}

/// What a thread does until the pool is closed or the thread is given up.
fn serve(shared: &Shared, thread: u64) {
    loop {
        let (work, stop, unwatched) = {
            let (mut state, mut rested) = (shared.lock(), false);
            let job = loop {
                if state.closed {
                    return;
                }
                if let Some(job) = state.next() {
                    break job;
                }
                (state, rested) = wait(shared, state, rested);
            };
            let stop = Arc::new(AtomicBool::new(false));
            let Some(slot) = state.slots.iter_mut().find(|slot| slot.thread == thread) else {
                return;
            };
            slot.running = Some(Running {
                ticks: 0,
                budget_ticks: job.budget_ticks,
                stop: Arc::clone(&stop),
                fail: job.fail,
                of: job.of,
            });
            (job.work, stop, std::mem::take(&mut state.unwatched))
        };
        if unwatched {
            shared.watch.notify_one();
        }
        shared.room.notify_one();
        STOP.set(Some(stop));
        work();
        STOP.set(None);
        let mut state = shared.lock();
        match state.slots.iter_mut().find(|slot| slot.thread == thread) {
            Some(slot) => slot.running = None,
            None => return, // given up while it worked; another thread has its place
        }
    }
}

/// Waits until there may be a job; whether the thread has come to rest by then.
fn wait<'a>(
    shared: &'a Shared,
    state: MutexGuard<'a, State>,
    rested: bool,
) -> (MutexGuard<'a, State>, bool) {
    if rested {
        return (shared.work.wait(state).unwrap_or_else(PoisonError::into_inner), true);
    }
    let waited = shared.work.wait_timeout(state, REST_AFTER);
    let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    if !waited.timed_out() {
        return (state, false);
    }
    drop(state);
    MeteredAlloc::thread_rests();
    // Who came meanwhile is found by the next look.
    (shared.lock(), true)
}

/// Counts ticks of running jobs; stops and gives up.
fn watch(shared: &Arc<Shared>) {
    let mut state = shared.lock();
    while !state.closed {
        if state.slots.iter().all(|slot| slot.running.is_none()) {
            state.unwatched = true;
            state = shared.watch.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        state = shared
            .watch
            .wait_timeout_while(state, TICK, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        count_tick(shared, &mut state);
    }
}

fn count_tick(shared: &Arc<Shared>, state: &mut State) {
    let mut stuck = Vec::new();
    for (at, slot) in state.slots.iter_mut().enumerate() {
        let Some(running) = &mut slot.running else { continue };
        running.ticks += 1;
        if running.ticks >= running.budget_ticks {
            running.stop.store(true, Ordering::Relaxed);
        }
        if running.ticks >= running.budget_ticks.saturating_add(GRACE_TICKS) {
            stuck.push(at);
        }
    }
    for at in stuck.into_iter().rev() {
        let slot = state.slots.remove(at);
        state.given_up += 1;
        if let Some(running) = slot.running {
            (running.fail)(PoolError::Stuck);
        }
        if state.given_up < GIVEN_UP_MAX {
            // A thread that cannot be started leaves one fewer; `run` refuses when none is left.
            drop(start_thread(shared, state));
        }
    }
    if state.slots.is_empty() {
        for job in state.queue.drain(..) {
            (job.fail)(PoolError::Exhausted);
        }
        shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(20);

    fn rule(name: &str) -> RuleName {
        name.parse().unwrap()
    }

    /// A pool's state with so many threads, none of which takes anything by itself.
    fn state(threads: u64) -> State {
        let slots = (0..threads).map(|thread| Slot { thread, running: None }).collect();
        State { slots, ..State::default() }
    }

    fn put(state: &mut State, name: &str) -> bool {
        let job = Job::of(Some(rule(name)), (BUDGET, || ()), drop);
        state.put(job)
    }

    /// Has a thread begin the next job, and says whose it is.
    fn begin(state: &mut State) -> Option<String> {
        let job = state.next()?;
        let free = state.slots.iter_mut().find(|slot| slot.running.is_none()).unwrap();
        let stop = Arc::default();
        let of = job.of.clone();
        let fail = job.fail;
        free.running = Some(Running { ticks: 0, budget_ticks: job.budget_ticks, stop, fail, of });
        job.of.map(|of| of.to_string())
    }

    #[test]
    fn a_slow_rule_leaves_a_thread_to_the_others() {
        for threads in 2..6 {
            let mut state = state(threads);
            let running: Vec<_> = (0..8)
                .filter_map(|_| {
                    put(&mut state, "slow");
                    begin(&mut state)
                })
                .collect();
            assert_eq!(running.len() as u64, threads - 1);
            assert!(!put(&mut state, "slow"), "nobody need wake for it");
            assert!(put(&mut state, "other"));
            assert_eq!(begin(&mut state).as_deref(), Some("other"), "{threads} threads");
            state.slots[0].running = None;
            assert_eq!(begin(&mut state).as_deref(), Some("slow"), "a thread of its own is free");
        }
    }

    #[test]
    fn one_thread_is_shared_in_turn_whoever_asks_more() {
        let mut state = state(1);
        for name in ["a", "a", "a", "b", "b", "c"] {
            assert!(put(&mut state, name));
        }
        let mut order = String::new();
        while let Some(name) = begin(&mut state) {
            state.slots[0].running = None;
            order.push_str(&name);
            if order == "abc" {
                // It was asked before, and does not come before those that wait.
                put(&mut state, "c");
            }
        }
        assert_eq!(order, "abcabca");
    }

    #[test]
    fn a_panicking_job_is_an_error_and_the_thread_goes_on() {
        let pool = Pool::start(1).unwrap();
        let outcome: Result<(), _> =
            pool.run(&rule("r"), BUDGET, || std::panic::resume_unwind(Box::new("on purpose")));
        assert_eq!(outcome, Err(PoolError::Panicked));
        assert_eq!(pool.run(&rule("r"), BUDGET, || 7), Ok(7));
        assert_eq!(pool.given_up(), 0);
    }

    #[test]
    fn a_job_that_looks_at_the_flag_is_stopped_at_its_budget() {
        let pool = Pool::start(1).unwrap();
        let outcome = pool.run(&rule("r"), BUDGET, || {
            while !is_stopped() {
                std::hint::spin_loop();
            }
            "stopped"
        });
        assert_eq!(outcome, Ok("stopped"));
        assert_eq!(pool.given_up(), 0);
    }

    #[test]
    fn a_stuck_thread_is_replaced_a_bounded_number_of_times() {
        let pool = Pool::start(1).unwrap();
        for n in 1..=GIVEN_UP_MAX {
            let outcome: Result<(), _> = pool.run(&rule("r"), BUDGET, || {
                // Stands in for a native call that never returns.
                loop {
                    std::thread::park();
                }
            });
            assert_eq!(outcome, Err(PoolError::Stuck));
            assert_eq!(pool.given_up(), n);
            let next = pool.run(&rule("r"), BUDGET, || 1);
            assert_eq!(next, if n < GIVEN_UP_MAX { Ok(1) } else { Err(PoolError::Exhausted) });
        }
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = Arc::new(Pool::start(1).unwrap());
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        let busy = Arc::clone(&pool);
        let first = std::thread::spawn(move || {
            busy.run(&rule("r"), Duration::from_mins(1), move || {
                begun.send(()).unwrap();
                may_go.recv().unwrap();
            })
        });
        has_begun.recv().unwrap();
        for _ in 0..QUEUE_MAX {
            let job = Job::of(None, (BUDGET, || ()), drop);
            pool.shared.lock().put(job);
        }
        assert_eq!(pool.run(&rule("r"), BUDGET, || ()), Err(PoolError::Busy));
        let (patient, waits) = (Arc::clone(&pool), mpsc::channel());
        let waiting = std::thread::spawn(move || {
            waits.0.send(()).unwrap();
            patient.run_patiently(BUDGET, || 7)
        });
        waits.1.recv().unwrap();
        assert!(!waiting.is_finished(), "there is no room yet");
        go.send(()).unwrap();
        assert_eq!(waiting.join().unwrap(), Ok(7));
        assert_eq!(first.join().unwrap(), Ok(()));
    }
}
