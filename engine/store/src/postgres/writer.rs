//! The one task of an instance that writes: it commits whatever is waiting as one group.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use untoil_model::{Hash, Seq};

use super::chain::{self, Ending, Unsettled, unsettled};
use super::config::PostgresConfig;
use super::connect::{Purpose, Session, Target};
use super::fault::Fault;
use super::follower::Told;
use super::group::{self, Job, Judge};
use super::receives::{self, End};
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

/// For how many groups it counts that somebody else writes, after each one behind which somebody had.
const SHARED_FOR: u32 = 32;

/// For how many groups deliveries are looked up before they are written, after one that was kept before.
const CAREFUL_FOR: u32 = 16;

/// The writing task's state.
pub(crate) struct Writer {
    target: Target,
    session: Option<Open>,
    told: Told,
    me: Arc<Member>,
    known: Known,
}

/// What the last groups have taught.
#[derive(Debug, Default)]
struct Known {
    /// Where this instance has left the end of the chain.
    end: Option<End>,
    /// For how many more groups somebody else is taken to write.
    shared: u32,
    /// For how many more groups deliveries are taken to come twice.
    careful: u32,
}

impl Known {
    /// The end was found there, under the lock.
    fn found(&mut self, end: End) {
        match self.end {
            Some(left) if left == end => self.shared = self.shared.saturating_sub(1),
            Some(_) => self.shared = SHARED_FOR,
            // Whoever wrote last may not have it on the disk.
            None => self.shared = self.shared.max(1),
        }
        self.end = Some(end);
    }

    fn ending(&self) -> Ending {
        if self.shared > 0 { Ending::Behind } else { Ending::Synced }
    }
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
        told: Told,
    ) -> Result<Self, Fault> {
        let session = target.writing().await?;
        let registering = Member::register(&session.client, config);
        let me = Arc::new(target.within(registering).await?);
        let statements = target.within(Statements::prepare(&session.client)).await?;
        Ok(Self {
            target,
            session: Some(Open { session, statements }),
            told,
            me,
            known: Known::default(),
        })
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
                size = self.settle_some(&mut jobs, size, &mut queue).await;
            }
        }
    }

    /// Settles at least one of the first `size` jobs, or says how many to take instead.
    async fn settle_some(
        &mut self,
        jobs: &mut Vec<Job>,
        size: usize,
        queue: &mut mpsc::Receiver<Job>,
    ) -> usize {
        let mut tries = 1;
        loop {
            let fault = match self.group(jobs, size, queue).await {
                Ok(done) => {
                    jobs.drain(..done).for_each(|job| job.settle(Ok(())));
                    return size;
                }
                Err(Failed::Unwritten(fault)) => fault,
                // Without an entry there is nothing to look for, and what was read of others may not be
                // on the disk.
                Err(Failed::Unknown(fault, done, None)) => {
                    self.fail(jobs.drain(..done), &fault);
                    return size;
                }
                Err(Failed::Unknown(fault, done, Some(end))) => match self.look(end).await {
                    Some(true) => {
                        self.known.end = Some(end);
                        self.tell(end.0);
                        jobs.drain(..done).for_each(|job| job.settle(Ok(())));
                        return size;
                    }
                    Some(false) => fault,
                    None => {
                        self.fail(jobs.drain(..done), &fault);
                        return size;
                    }
                },
            };
            self.known.end = None;
            jobs.iter_mut().for_each(Job::take_back);
            if matches!(fault, Fault::OfOne(_)) && size > 1 {
                return 1;
            }
            if !fault.may_pass() || tries >= TRIES_MAX {
                self.fail(jobs.drain(..size), &fault);
                return size;
            }
            tracing::warn!(error = %fault, tries, "the journal tries a group again");
            tries += 1;
        }
    }

    /// Tells a group that it is not known to be written.
    fn fail(&self, jobs: impl Iterator<Item = Job>, fault: &Fault) {
        tracing::error!(error = %fault, "the journal could not write");
        let error = fault.told(&self.target.schema);
        jobs.for_each(|job| job.settle(Err(error.clone())));
    }

    /// One transaction: as many of the first `size` jobs as fit, and of those that have come meanwhile.
    async fn group(
        &mut self,
        jobs: &mut Vec<Job>,
        size: usize,
        queue: &mut mpsc::Receiver<Job>,
    ) -> Result<usize, Failed> {
        self.open().await?;
        if self.known.careful == 0 && jobs[..size].iter().all(Job::is_receive) {
            let kept = match self.known.end {
                Some(end) if self.known.shared == 0 => {
                    self.keep_alone(end, &mut jobs[..size]).await?
                }
                Some(_) | None => Box::pin(self.keep_locked(jobs, size, queue)).await?,
            };
            if let Some(done) = kept {
                return Ok(done);
            }
            jobs.iter_mut().for_each(Job::take_back);
        }
        self.judge_all(&mut jobs[..size]).await
    }

    /// Keeps deliveries behind the end as it is known: one round trip. `None` when nothing was written,
    /// because it is elsewhere, or something was kept before.
    async fn keep_alone(&mut self, end: End, jobs: &mut [Job]) -> Result<Option<usize>, Failed> {
        let Some(open) = &self.session else { return Err(gone().into()) };
        let judge = judged_unread(end, jobs);
        let with = (&open.session.client, open.statements.get(receives::KEEP_RECEIVED));
        let kept = Box::pin(receives::keep(with, &self.me, end, &judge, jobs));
        let result = match self.target.clone().within(kept).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.known.shared = SHARED_FOR;
                return Ok(None);
            }
            Err(fault) => Err(unsettled(fault)),
        };
        let concluded = self.conclude(result, (jobs.len(), &judge)).await;
        self.or_careful(concluded).await
    }

    /// The same under the lock, where others write: whatever has come while it was waited for goes along.
    async fn keep_locked(
        &mut self,
        jobs: &mut Vec<Job>,
        size: usize,
        queue: &mut mpsc::Receiver<Job>,
    ) -> Result<Option<usize>, Failed> {
        let target = self.target.clone();
        let Some(open) = &self.session else { return Err(gone().into()) };
        let locked = chain::lock(&open.session.client, Ending::Behind);
        let end = match target.within(locked).await {
            Ok(end) => end,
            Err(fault) => {
                self.roll_back(&fault).await;
                return Err(fault.into());
            }
        };
        self.known.found(end);
        let done = if size == jobs.len() { top_up(jobs, queue) } else { size };
        let judge = judged_unread(end, &mut jobs[..done]);
        let kept = Box::pin(kept(open, &self.me, end, &judge, &jobs[..done]));
        let kept = async { Ok(kept.await) };
        let result =
            target.within(kept).await.unwrap_or_else(|silent| Err(Unsettled::Lost(silent)));
        let concluded = self.conclude(result, (done, &judge)).await;
        self.or_careful(concluded).await
    }

    /// Deliveries of which one was refused may have been kept before: they are judged on what is kept.
    async fn or_careful(
        &mut self,
        concluded: Result<usize, Failed>,
    ) -> Result<Option<usize>, Failed> {
        match concluded {
            Ok(done) => Ok(Some(done)),
            Err(Failed::Unwritten(Fault::OfOne(_))) => {
                self.known.careful = CAREFUL_FOR;
                self.open().await?;
                Ok(None)
            }
            Err(failed @ (Failed::Unwritten(_) | Failed::Unknown(..))) => Err(failed),
        }
    }

    /// Judges and writes any requests, on what the transaction has read.
    async fn judge_all(&mut self, jobs: &mut [Job]) -> Result<usize, Failed> {
        let target = self.target.clone();
        let Some(open) = &self.session else { return Err(gone().into()) };
        let began = self.known.ending();
        let judged = target.within(judged(open, &self.me, jobs, began)).await;
        let (done, from, judge) = match judged {
            Ok(judged) => judged,
            Err(fault) => {
                self.roll_back(&fault).await;
                return Err(fault.into());
            }
        };
        self.known.found(from);
        let endings = (began, self.known.ending());
        let written = Box::pin(written(open, &self.me, &judge, &jobs[..done], endings));
        let written = async { Ok(written.await) };
        let result =
            target.within(written).await.unwrap_or_else(|silent| Err(Unsettled::Lost(silent)));
        let concluded = self.conclude(result, (done, &judge)).await?;
        let seen = jobs[..done].iter().any(Job::is_seen);
        let careful = self.known.careful.saturating_sub(1);
        self.known.careful = if seen { CAREFUL_FOR } else { careful };
        Ok(concluded)
    }

    /// Takes note of what became of a group of `done` requests.
    async fn conclude(
        &mut self,
        result: Result<(), Unsettled>,
        (done, judge): (usize, &Judge),
    ) -> Result<usize, Failed> {
        match result {
            Ok(()) => {
                self.known.end = Some(judge.end);
                self.told.waiting.fetch_add(judge.waiting(), Ordering::Relaxed);
                self.tell(judge.end.0);
                Ok(done)
            }
            Err(Unsettled::Refused(fault)) => {
                self.roll_back(&fault).await;
                Err(fault.into())
            }
            Err(Unsettled::Lost(fault)) => {
                self.session = None;
                let end = judge.entries.last().map(|entry| (judge.end.0, entry.hash));
                Err(Failed::Unknown(fault, done, end))
            }
        }
    }

    fn tell(&self, end: Seq) {
        self.told.raise(end);
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
        self.target.within(chain::has(&session.client, &self.me, end)).await
    }
}

/// What is said where a session must be and is not.
fn gone() -> Fault {
    Fault::Lost("it is gone".into())
}

/// Takes along deliveries that have come meanwhile; says how many of `jobs` are now a group.
fn top_up(jobs: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>) -> usize {
    while jobs.len() < GROUP_MAX {
        let Ok(job) = queue.try_recv() else { break };
        let fits = job.is_receive();
        jobs.push(job);
        if !fits {
            // It comes first in the next group.
            return jobs.len() - 1;
        }
    }
    jobs.len()
}

/// Judges deliveries as if none of them were kept before: the index says when one was.
fn judged_unread(end: End, jobs: &mut [Job]) -> Judge {
    let mut judge = Judge::new(end, group::Known::default());
    for job in jobs {
        judge.judge(job);
    }
    judge
}

/// Begins a group's transaction, and judges as many of `jobs` as fit. Says where the end was.
async fn judged(
    open: &Open,
    me: &Member,
    jobs: &mut [Job],
    ending: Ending,
) -> Result<(usize, End, Judge), Fault> {
    let with = (&open.session.client, &open.statements);
    let mut judge = Box::pin(rows::begin(with, me, jobs, ending)).await?;
    let from = judge.end;
    let mut done = 0;
    for job in jobs.iter_mut() {
        judge.judge(job);
        done += 1;
        if judge.entries.len() >= GROUP_ENTRIES_MAX {
            break;
        }
    }
    Ok((done, from, judge))
}

/// Writes deliveries behind the end that is locked, and commits them: one round trip.
async fn kept(
    open: &Open,
    me: &Member,
    from: End,
    judge: &Judge,
    jobs: &[Job],
) -> Result<(), Unsettled> {
    let client = &open.session.client;
    let with = (client, open.statements.get(receives::KEEP_RECEIVED));
    let keep = Box::pin(receives::keep(with, me, from, judge, jobs));
    let write = async {
        if keep.await? {
            Ok(())
        } else {
            Err(Fault::Refused("the end moved under the lock".into()))
        }
    };
    chain::committed(client, me, (judge.end.0, Ending::Behind), write).await
}

/// Writes what was judged and commits it: one round trip, for everybody else waits meanwhile.
async fn written(
    open: &Open,
    me: &Member,
    judge: &Judge,
    jobs: &[Job],
    (began, ending): (Ending, Ending),
) -> Result<(), Unsettled> {
    let before = match (began, ending) {
        // A commit that waits for a standby must not be cut short: the server would then say
        // that it is done. We stop waiting by ourselves, and look.
        (Ending::Synced, Ending::Synced) => Some("SET LOCAL statement_timeout = 0"),
        (Ending::Synced, Ending::Behind) => Some(chain::BEHIND),
        (Ending::Behind, Ending::Synced | Ending::Behind) => None,
    };
    // Once it is behind, it stays so.
    let ending = if began == Ending::Behind { began } else { ending };
    let with = (&open.session.client, &open.statements);
    let write = Box::pin(rows::write(with, me, judge, jobs, before));
    chain::committed(with.0, me, (judge.end.0, ending), write).await
}
