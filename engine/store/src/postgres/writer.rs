//! The one task of an instance that writes: it commits whatever is waiting as one group.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use untoil_model::{Hash, Seq};

use super::config::PostgresConfig;
use super::connect::{Purpose, Session, Target};
use super::fault::Fault;
use super::group::{Job, Judge};
use super::rows::{self, Statements};
use super::sharing::Member;

/// How many writes one commit carries: beyond it, throughput no longer grows and latency does.
const GROUP_MAX: usize = 256;

/// After how many entries a group is committed early: bounds the transaction's memory, and how long
/// other instances wait for the `head` row.
const GROUP_ENTRIES_MAX: usize = 10_000;

/// How often one group is tried: deadlocks and lost connections come in ones, not in rows.
const TRIES_MAX: u32 = 5;

/// For how long a commit whose answer was lost is looked for, and how long between two looks: a few
/// seconds, in which a restarted server is back. Nothing else is written meanwhile.
const LOOKS_MAX: Duration = Duration::from_secs(6);
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// The writing task's state.
pub(crate) struct Writer {
    target: Target,
    session: Option<Open>,
    head: watch::Sender<Seq>,
    /// About how many deliveries wait; see [`follower`](super::follower).
    waiting: Arc<AtomicI64>,
    me: Arc<Member>,
}

/// A session with its prepared statements.
struct Open {
    session: Session,
    statements: Statements,
}

/// A group that was not committed, as far as it is known.
enum Failed {
    /// Nothing of it was written.
    Unwritten(Fault),
    /// The answer to the commit of so many requests was lost.
    Unknown(Fault, usize, Option<(Seq, Hash)>),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Unwritten(fault)
    }
}

impl Writer {
    /// Connects as a new instance, so that what is wrong is said at the start.
    pub(crate) async fn start(
        target: Target,
        config: &PostgresConfig,
        (head, waiting): (watch::Sender<Seq>, Arc<AtomicI64>),
    ) -> Result<Self, Fault> {
        let session = target.writing().await?;
        let registering = Member::register(&session.client, config);
        let me = Arc::new(target.within(registering).await?);
        let statements = target.within(Statements::prepare(&session.client)).await?;
        Ok(Self { target, session: Some(Open { session, statements }), head, waiting, me })
    }

    /// Who this instance is.
    pub(crate) fn me(&self) -> Arc<Member> {
        Arc::clone(&self.me)
    }

    /// Writes until the queue is closed and empty.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(GROUP_MAX);
        while queue.recv_many(&mut jobs, GROUP_MAX).await > 0 {
            // A request whose data is refused is found by trying its group one by one.
            let mut size = jobs.len();
            // They are settled before anything is judged; so none is left over when a group is full.
            jobs.sort_by_key(|job| !job.is_about_sharing());
            while !jobs.is_empty() {
                size = size.min(jobs.len());
                size = self.settle_some(&mut jobs, size).await;
            }
        }
    }

    /// Settles at least one of the first `size` jobs, or says how many to take instead.
    async fn settle_some(&mut self, jobs: &mut Vec<Job>, size: usize) -> usize {
        let mut tries = 1;
        loop {
            let fault = match self.group(&mut jobs[..size]).await {
                Ok(done) => {
                    jobs.drain(..done).for_each(|job| job.settle(Ok(())));
                    return size;
                }
                Err(Failed::Unwritten(fault)) => fault,
                // Without an entry there is nothing to look for; what was only read stays true.
                Err(Failed::Unknown(fault, done, None)) => {
                    self.fail(jobs.drain(..done), &fault, Job::is_step);
                    return size;
                }
                Err(Failed::Unknown(fault, done, Some(end))) => match self.look(end).await {
                    Some(true) => {
                        self.tell(end.0);
                        jobs.drain(..done).for_each(|job| job.settle(Ok(())));
                        return size;
                    }
                    Some(false) => fault,
                    None => {
                        self.fail(jobs.drain(..done), &fault, |_| true);
                        return size;
                    }
                },
            };
            jobs[..size].iter_mut().for_each(Job::take_back);
            if matches!(fault, Fault::OfOne(_)) && size > 1 {
                return 1;
            }
            if !fault.may_pass() || tries >= TRIES_MAX {
                self.fail(jobs.drain(..size), &fault, |_| true);
                return size;
            }
            tracing::warn!(error = %fault, tries, "the journal tries a group again");
            tries += 1;
        }
    }

    /// Tells those of a group that failed so, and the others that they are done.
    fn fail(&self, jobs: impl Iterator<Item = Job>, fault: &Fault, failed: impl Fn(&Job) -> bool) {
        tracing::error!(error = %fault, "the journal could not write");
        let error = fault.told(&self.target.schema);
        for job in jobs {
            let result = if failed(&job) { Err(error.clone()) } else { Ok(()) };
            job.settle(result);
        }
    }

    /// One transaction: as many of `jobs` as fit.
    async fn group(&mut self, jobs: &mut [Job]) -> Result<usize, Failed> {
        let target = self.target.clone();
        self.open().await?;
        let Some(open) = &self.session else { return Err(Fault::Lost("it is gone".into()).into()) };
        let judged = target.within(judged(open, &self.me, jobs)).await;
        let (done, judge) = match judged {
            Ok(judged) => judged,
            Err(fault) => {
                self.roll_back(&fault).await;
                return Err(fault.into());
            }
        };
        let end = judge.entries.last().map(|entry| (judge.end.0, entry.hash));
        let written = async { Ok(written(open, &self.me, &judge, &jobs[..done]).await) };
        match target.within(written).await.unwrap_or_else(|silent| Err(Unsettled::Lost(silent))) {
            Ok(()) => {}
            Err(Unsettled::Refused(fault)) => {
                self.roll_back(&fault).await;
                return Err(fault.into());
            }
            Err(Unsettled::Lost(fault)) => {
                self.session = None;
                return Err(Failed::Unknown(fault, done, end));
            }
        }
        self.waiting.fetch_add(judge.waiting(), Ordering::Relaxed);
        self.tell(judge.end.0);
        Ok(done)
    }

    fn tell(&self, end: Seq) {
        super::follower::raise(&self.head, end);
    }

    async fn roll_back(&mut self, fault: &Fault) {
        let Some(open) = self.session.take() else { return };
        if !fault.leaves_session() {
            return;
        }
        let client = &open.session.client;
        let rollback = async { Ok(client.batch_execute("ROLLBACK").await?) };
        if self.target.within(rollback).await.is_ok() {
            self.session = Some(open);
        }
    }

    /// Sees to it that there is a session.
    async fn open(&mut self) -> Result<(), Fault> {
        if self.session.as_ref().is_some_and(|open| !open.session.client.is_closed()) {
            return Ok(());
        }
        self.session = None;
        let session = self.target.writing().await?;
        let statements = self.target.within(Statements::prepare(&session.client)).await?;
        self.session = Some(Open { session, statements });
        Ok(())
    }

    /// Whether a group whose commit was not answered is in the chain; `None` when nobody can say.
    ///
    /// The old transaction holds the `head` row until it has ended, whatever became of its
    /// connection; who gets the row's lock knows that it has.
    async fn look(&self, end: (Seq, Hash)) -> Option<bool> {
        let looks = async {
            loop {
                match self.look_once(end).await {
                    Ok(found) => return found,
                    Err(fault) => {
                        tracing::debug!(error = %fault, "cannot look for a commit yet");
                        tokio::time::sleep(LOOK_PAUSE).await;
                    }
                }
            }
        };
        let found = timeout(LOOKS_MAX, looks).await.ok();
        tracing::warn!(seq = end.0.0, found, "a commit's answer was lost; looked for it");
        found
    }

    async fn look_once(&self, end: (Seq, Hash)) -> Result<bool, Fault> {
        let session = self.target.session(Purpose::Write).await?;
        self.target.within(rows::has(&session.client, end)).await
    }
}

/// Begins a group's transaction, and judges as many of `jobs` as fit.
async fn judged(open: &Open, me: &Member, jobs: &mut [Job]) -> Result<(usize, Judge), Fault> {
    let client = &open.session.client;
    let mut judge = Box::pin(rows::begin(client, &open.statements, me, jobs)).await?;
    let mut done = 0;
    for job in jobs.iter_mut() {
        judge.judge(job);
        done += 1;
        if judge.entries.len() >= GROUP_ENTRIES_MAX {
            break;
        }
    }
    Ok((done, judge))
}

/// How writing and committing ended otherwise than well.
enum Unsettled {
    /// The server says that nothing of it was written.
    Refused(Fault),
    /// Nobody knows.
    Lost(Fault),
}

/// Writes what was judged and commits it: one round trip, for everybody else waits meanwhile.
///
/// The commit is sent behind what is written without waiting for it. Where a statement fails the
/// server makes a rollback of the commit, so what it has refused was not written; but a connection
/// that is lost in the middle of writing may have committed.
async fn written(open: &Open, me: &Member, judge: &Judge, jobs: &[Job]) -> Result<(), Unsettled> {
    let client = &open.session.client;
    let write = async {
        let write = Box::pin(rows::write(client, &open.statements, me, judge, jobs));
        write.await.map_err(|fault| match fault {
            Fault::Again(_) | Fault::OfOne(_) | Fault::Refused(_) => Unsettled::Refused(fault),
            Fault::Unreachable(_) | Fault::Lost(_) | Fault::Broken(_) => Unsettled::Lost(fault),
        })
    };
    let commit = async {
        client.batch_execute("COMMIT").await.map_err(|error| match Fault::from(error) {
            // The server says that it rolled back.
            fault @ Fault::Again(_) => Unsettled::Refused(fault),
            fault @ (Fault::Unreachable(_)
            | Fault::Lost(_)
            | Fault::OfOne(_)
            | Fault::Refused(_)
            | Fault::Broken(_)) => Unsettled::Lost(fault),
        })
    };
    // `biased`: they are sent, and answered, in this order.
    tokio::try_join!(biased; write, commit)?;
    Ok(())
}
