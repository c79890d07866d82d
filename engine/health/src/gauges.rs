//! The pulse: what is looked at every few seconds rather than counted.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::{Journal, JournalError};
use untoil_model::{IncidentId, Seq, Stream};

use crate::flows::Counted;
use crate::stopwatch::between;
use crate::{AskFlows, Metrics, Part, Readiness, State};

/// Between two looks: a load balancer asks every 5 to 30 s.
const EVERY: Duration = Duration::from_secs(5);
/// A store that takes longer than this for one entry does not answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);
/// Deliveries that are counted; beyond it is known that there are many.
const PENDING_MAX: usize = 1_000;
/// Open incidents that are counted.
const OPEN_MAX: usize = 10_000;
/// Open incidents read at once.
const OPEN_PAGE: usize = 1_000;
/// Open incidents are counted in every such look only: they are many and change slowly.
const OPEN_EVERY: u32 = 6;
/// A delivery that waits longer than this waits for something else than its turn.
const LATE: Duration = Duration::from_secs(30);
/// So long without a decision, while deliveries wait: nothing is decided any more.
const STUCK: Duration = Duration::from_mins(2);
/// The name under which it is tried whether the store can be written.
const READER: &str = "readiness";
/// Where it stands: behind every entry there can be, so that archiving never waits for it.
const READ_ALL: Seq = Seq(u64::MAX);

/// What is known of the telling of people, for the pulse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    /// Whether people are told by Slack at all; without it the words are printed.
    pub is_off: bool,
    /// The last entry that people were told of.
    pub cursor: Seq,
    /// Whether words come late.
    pub is_degraded: bool,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Messages and edits that got through since the start.
    pub delivered: u64,
    /// Messages and edits that were passed over since the start.
    pub passed_over: u64,
}

/// Asks how the telling goes.
pub type AskTelling = Box<dyn Fn() -> Telling + Send + Sync>;

/// Looks at the store, the decisions and the telling of people, and keeps readiness and gauges.
pub struct Pulse {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    telling: AskTelling,
    /// What was counted of the telling so far.
    told: Telling,
    flows: Option<AskFlows>,
    /// What was counted of the flows so far.
    counted: Counted,
    looks: u32,
    /// The oldest delivery seen waiting, and for how long in ticks.
    oldest: Option<(untoil_model::DeliveryId, Duration)>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("looks", &self.looks).finish_non_exhaustive()
    }
}

impl Pulse {
    /// A pulse over a [watched](crate::Watched) journal.
    #[must_use]
    pub fn new(
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        metrics: Arc<Metrics>,
        readiness: Readiness,
        telling: AskTelling,
    ) -> Self {
        let (told, looks, oldest) = (Telling::default(), 0, None);
        let (flows, counted) = (None, Counted::new());
        Self { journal, clock, metrics, readiness, telling, told, flows, counted, looks, oldest }
    }

    /// The same, which also asks how AWS's APIs are used.
    #[must_use]
    pub fn asking(self, flows: AskFlows) -> Self {
        Self { flows: Some(flows), ..self }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.look() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One look at everything.
    pub async fn look(&mut self) {
        self.look_at_store().await;
        self.look_at_telling();
        self.look_at_process();
        if let Some(flows) = &self.flows {
            self.metrics.gauges.flows.show(&flows(), &mut self.counted);
        }
        for (part, condition) in self.readiness.report().parts {
            let level = if condition.state.is_fine() { 1.0 } else { 0.0 };
            self.metrics.gauges.parts.set(part.as_str(), level);
        }
        self.looks = self.looks.wrapping_add(1);
    }

    async fn look_at_store(&mut self) {
        let looked = async {
            let head = self.journal.latest(&Stream::All, 1).await?;
            let head = head.first().map_or(Seq::START, |entry| entry.seq);
            self.metrics.gauges.head.set(number(head.0));
            if !self.readiness.state(Part::Store).is_fine() {
                // Reading proves nothing of writing, and while this instance takes no deliveries
                // nobody else may write. A cursor is a durable write that adds no entry.
                self.journal.advance(READER, READ_ALL, Vec::new()).await?;
            }
            Ok(())
        };
        match within(&*self.clock, looked).await {
            Ok(()) => self.look_at_decisions().await,
            Err(error) => self.readiness.failed(Part::Store, &error.to_string()),
        }
    }

    async fn look_at_decisions(&mut self) {
        let looked = async {
            let pending = self.journal.pending(PENDING_MAX).await?.len();
            let oldest = self.journal.to_decide(1).await?.pop();
            Ok((pending, oldest.map(|delivery| (delivery.id, delivery.received_at))))
        };
        let (pending, oldest) = match within(&*self.clock, looked).await {
            Ok(seen) => seen,
            Err(error) => return self.readiness.failed(Part::Store, &error.to_string()),
        };
        let gauges = &self.metrics.gauges;
        gauges.pending.set(number(u64::try_from(pending).unwrap_or(u64::MAX)));
        let Some((id, received_at)) = oldest else {
            gauges.pending_oldest.set(0.0);
            self.oldest = None;
            if self.readiness.state(Part::Decisions) != State::Starting {
                self.readiness.ok(Part::Decisions);
            }
            return self.count_open().await;
        };
        let age = between(received_at, self.clock.now());
        gauges.pending_oldest.set(age.as_secs_f64());
        let now = self.clock.ticks();
        let since = match &self.oldest {
            Some((same, since)) if *same == id => *since,
            Some(_) | None => now,
        };
        self.oldest = Some((id, since));
        self.judge_decisions(age, now.saturating_sub(since));
        self.count_open().await;
    }

    /// `age` of the oldest delivery, and for how long it has been the oldest.
    fn judge_decisions(&self, age: Duration, stuck: Duration) {
        let (age, stuck_secs) = (age.as_secs(), stuck.as_secs());
        if stuck >= STUCK {
            let why = format!("nothing was decided for {stuck_secs} s while deliveries wait");
            self.readiness.failed(Part::Decisions, &why);
        } else if age >= LATE.as_secs() {
            let why = format!("the oldest delivery has waited {age} s for its decision");
            self.readiness.degraded(Part::Decisions, &why);
        } else if self.readiness.state(Part::Decisions) != State::Starting {
            self.readiness.ok(Part::Decisions);
        }
    }

    async fn count_open(&self) {
        if !self.looks.is_multiple_of(OPEN_EVERY) {
            return;
        }
        let counted = async {
            let (mut n, mut after): (usize, Option<IncidentId>) = (0, None);
            while n < OPEN_MAX {
                let page = self.journal.open_incidents(after.as_ref(), OPEN_PAGE).await?;
                n += page.len();
                after = page.into_iter().last();
                if after.is_none() || n % OPEN_PAGE != 0 {
                    break;
                }
            }
            Ok(n)
        };
        if let Ok(n) = within(&*self.clock, counted).await {
            let n = u64::try_from(n).unwrap_or(u64::MAX);
            self.metrics.gauges.incidents_open.set(number(n));
        }
    }

    fn look_at_telling(&mut self) {
        let now = (self.telling)();
        let gauges = &self.metrics.gauges;
        let head = self.journal.head().borrow().0;
        gauges.notifier_lag.set(number(head.saturating_sub(now.cursor.0)));
        let more = [
            ("delivered", now.delivered.saturating_sub(self.told.delivered)),
            ("passed_over", now.passed_over.saturating_sub(self.told.passed_over)),
        ];
        for (result, n) in more {
            gauges.notifier_messages.add_n([result], n);
        }
        if now.is_off {
            self.readiness.off(Part::Slack);
        } else if now.is_degraded {
            let why = now.last_error.as_deref().unwrap_or("words come late");
            self.readiness.degraded(Part::Slack, why);
        } else {
            self.readiness.ok(Part::Slack);
        }
        self.told = now;
    }

    /// What Linux says of this process; elsewhere there is nothing to read.
    fn look_at_process(&self) {
        let gauges = &self.metrics.gauges;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok());
        if let Some(kib) = kib {
            gauges.memory.set(number(kib.saturating_mul(1024)));
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            gauges.files.set(number(u64::try_from(files.count()).unwrap_or(u64::MAX)));
        }
    }
}

/// Bounds a look at the store.
async fn within<T>(
    clock: &dyn Clock,
    looked: impl Future<Output = Result<T, JournalError>>,
) -> Result<T, JournalError> {
    tokio::select! {
        looked = looked => looked,
        () = clock.sleep(STORE_TIMEOUT) => {
            let secs = STORE_TIMEOUT.as_secs();
            Err(JournalError::Unavailable(format!("no answer within {secs} s")))
        }
    }
}

/// Exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point in the format itself")]
fn number(n: u64) -> f64 {
    n as f64
}
