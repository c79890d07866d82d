//! What the engine is ready for, part by part.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use untoil_clock::Clock;

/// Longest error that is told.
const ERROR_CHARS_MAX: usize = 300;

/// A part that can fail by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Takes deliveries.
    Intake,
    /// Messages are taken from queues.
    Queues,
    /// Keeps them, and everything else.
    Store,
    /// The rules are loaded.
    Rules,
    /// Deliveries are decided.
    Decisions,
    /// AWS answers, and allows what is asked of it.
    Aws,
    /// People are told.
    Slack,
}

impl Part {
    /// All, in the order of an alarm's way.
    pub const ALL: [Self; 7] = [
        Self::Intake,
        Self::Queues,
        Self::Store,
        Self::Rules,
        Self::Decisions,
        Self::Aws,
        Self::Slack,
    ];

    /// The word for it in answers, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Queues => "queues",
            Self::Store => "store",
            Self::Rules => "rules",
            Self::Decisions => "decisions",
            Self::Aws => "aws",
            Self::Slack => "slack",
        }
    }

    /// Whether no delivery may be taken without it. The others only delay what follows.
    #[must_use]
    pub fn is_needed(self) -> bool {
        match self {
            Self::Intake | Self::Store | Self::Rules => true,
            Self::Queues | Self::Decisions | Self::Aws | Self::Slack => false,
        }
    }

    /// What a person can do about it.
    fn way_out(self) -> &'static str {
        match self {
            Self::Intake => "senders come back by themselves; if it lasts, see `store`",
            Self::Queues => {
                "run `untoil doctor`; messages wait in the queue, and come when it can be read"
            }
            Self::Store => "free disk space, or bring the database back; it goes on by itself",
            Self::Rules => "run `untoil check`; the log names the rule",
            Self::Decisions => "see `store` and the log; if both are quiet, restart this instance",
            Self::Aws => "run `untoil doctor`; grant the permission that is named",
            Self::Slack => "see the table in docs/slack.md; nothing is lost, words come later",
        }
    }
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not there yet.
    Starting,
    /// It works.
    Ok,
    /// It works in part, or late.
    Degraded,
    /// It does not work.
    Failed,
    /// It is not configured.
    Off,
    /// It ends.
    Stopping,
}

impl State {
    /// The word for it in answers and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Off => "off",
            Self::Stopping => "stopping",
        }
    }

    /// Whether the part does all that it should.
    #[must_use]
    pub fn is_fine(self) -> bool {
        match self {
            Self::Ok | Self::Off => true,
            Self::Starting | Self::Degraded | Self::Failed | Self::Stopping => false,
        }
    }

    /// Whether a needed part in this state lets deliveries be taken.
    fn serves(self) -> bool {
        match self {
            Self::Ok | Self::Off | Self::Degraded => true,
            Self::Starting | Self::Failed | Self::Stopping => false,
        }
    }
}

/// How a part is, since when, and what was wrong last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// How it is.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// What went wrong last, also when it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// What a person can do, while it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<&'static str>,
    /// Since when it is degraded or failed, by turns.
    #[serde(skip)]
    wrong_since: Option<Timestamp>,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether a load balancer may send deliveries here.
    pub ready: bool,
    /// The parts.
    pub parts: BTreeMap<Part, Condition>,
}

/// What the engine is ready for, kept up to date by whoever knows. Cheap to clone.
///
/// All parts begin as [`State::Starting`]. Once it is [stopping](Readiness::stop) it stays so.
#[derive(Debug, Clone)]
pub struct Readiness {
    clock: Arc<dyn Clock>,
    report: Arc<watch::Sender<Report>>,
}

impl Readiness {
    /// Nothing is ready yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let since = clock.now();
        let starting = Condition {
            state: State::Starting,
            since,
            last_error: None,
            last_error_at: None,
            way_out: None,
            wrong_since: None,
        };
        let parts = Part::ALL.into_iter().map(|part| (part, starting.clone())).collect();
        let report = watch::Sender::new(Report { ready: false, parts });
        Self { clock, report: Arc::new(report) }
    }

    /// A part works.
    pub fn ok(&self, part: Part) {
        self.set(part, State::Ok, None);
    }

    /// A part is not configured.
    pub fn off(&self, part: Part) {
        self.set(part, State::Off, None);
    }

    /// A part works in part, or late.
    pub fn degraded(&self, part: Part, why: &str) {
        self.set(part, State::Degraded, Some(why));
    }

    /// A part does not work.
    pub fn failed(&self, part: Part, why: &str) {
        self.set(part, State::Failed, Some(why));
    }

    /// The whole ends: no more traffic. What is under way is finished.
    pub fn stop(&self) {
        self.set(Part::Intake, State::Stopping, None);
    }

    /// Whether deliveries may be taken.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.report.borrow().ready
    }

    /// How one part is.
    #[must_use]
    pub fn state(&self, part: Part) -> State {
        self.report.borrow().parts.get(&part).map_or(State::Off, |condition| condition.state)
    }

    /// How everything is.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// The same, with each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    fn set(&self, part: Part, state: State, why: Option<&str>) {
        // Every durable write comes by here; nearly always there is nothing to change.
        if why.is_none() && self.state(part) == state {
            return;
        }
        let now = self.clock.now();
        self.report.send_if_modified(|report| {
            let Some(condition) = report.parts.get_mut(&part) else { return false };
            if condition.state == State::Stopping || (condition.state == state && why.is_none()) {
                return false;
            }
            if condition.state != state {
                let wrong_since = match state {
                    State::Degraded | State::Failed => condition.wrong_since.or(Some(now)),
                    State::Starting | State::Ok | State::Off | State::Stopping => None,
                };
                match condition.wrong_since {
                    Some(since) if state == State::Ok => tell_mended(part, now, since),
                    Some(_) | None => tell(part, state, why),
                }
                condition.wrong_since = wrong_since;
                condition.state = state;
                condition.since = now;
            }
            if let Some(why) = why {
                condition.last_error = Some(why.chars().take(ERROR_CHARS_MAX).collect());
                condition.last_error_at = Some(now);
            }
            condition.way_out = match state {
                State::Degraded | State::Failed => Some(part.way_out()),
                State::Starting | State::Ok | State::Off | State::Stopping => None,
            };
            let mut parts = report.parts.iter();
            report.ready = parts.all(|(part, is)| !part.is_needed() || is.state.serves());
            true
        });
    }
}

/// Says a change once, for the log.
fn tell(part: Part, is: State, why: Option<&str>) {
    let (part, state, why) = (part.as_str(), is.as_str(), why.unwrap_or_default());
    match is {
        State::Failed => tracing::error!(part, state, "`{part}` fails: {why}"),
        State::Degraded => tracing::warn!(part, state, "`{part}` is degraded: {why}"),
        State::Ok | State::Starting | State::Off | State::Stopping => {
            tracing::info!(part, state, "`{part}` is {state}");
        }
    }
}

fn tell_mended(part: Part, now: Timestamp, since: Timestamp) {
    let (part, state, secs) =
        (part.as_str(), State::Ok.as_str(), now.duration_since(since).as_secs());
    tracing::warn!(part, state, "`{part}` works again, after {secs} s");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use untoil_clock::VirtualClock;

    use super::*;

    fn started() -> (Arc<VirtualClock>, Readiness) {
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::UNIX_EPOCH));
        let readiness = Readiness::new(Arc::clone(&clock) as _);
        assert!(!readiness.is_ready());
        for part in Part::ALL {
            readiness.ok(part);
        }
        assert!(readiness.is_ready());
        (clock, readiness)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_intake_needs_takes_it_out_of_the_load_balancer() {
        type Change = fn(&Readiness, Part);
        let changes: [(&str, Change); 3] = [
            ("failed", |readiness, part| readiness.failed(part, "why")),
            ("degraded", |readiness, part| readiness.degraded(part, "why")),
            ("off", Readiness::off),
        ];
        let rows = Part::ALL.into_iter().flat_map(|part| {
            changes.map(|(name, change)| {
                let (_, readiness) = started();
                change(&readiness, part);
                let status = [503, 200][usize::from(readiness.is_ready())];
                format!("{} {name}: {status}\n", part.as_str())
            })
        });
        let table: String = rows.collect();
        expect_test::expect![[r"
            intake failed: 503
            intake degraded: 200
            intake off: 200
            queues failed: 200
            queues degraded: 200
            queues off: 200
            store failed: 503
            store degraded: 200
            store off: 200
            rules failed: 503
            rules degraded: 200
            rules off: 200
            decisions failed: 200
            decisions degraded: 200
            decisions off: 200
            aws failed: 200
            aws degraded: 200
            aws off: 200
            slack failed: 200
            slack degraded: 200
            slack off: 200
        "]]
        .assert_eq(&table);
    }

    #[tokio::test(start_paused = true)]
    async fn each_part_says_since_when_what_and_the_way_out() {
        let (clock, readiness) = started();
        clock.sleep(Duration::from_secs(10)).await;
        readiness.failed(Part::Store, "the disk is full");
        clock.sleep(Duration::from_secs(10)).await;
        readiness.failed(Part::Store, "the disk is still full");
        let failed = readiness.report().parts[&Part::Store].clone();
        assert_eq!(failed.since.as_second(), 10);
        assert_eq!(failed.last_error.as_deref(), Some("the disk is still full"));
        assert_eq!(failed.last_error_at.map(Timestamp::as_second), Some(20));
        assert!(failed.way_out.is_some());
        clock.sleep(Duration::from_secs(10)).await;
        readiness.ok(Part::Store);
        let mended = readiness.report().parts[&Part::Store].clone();
        assert_eq!((mended.state, mended.since.as_second()), (State::Ok, 30));
        assert_eq!(mended.last_error.as_deref(), Some("the disk is still full"));
        assert_eq!(mended.way_out, None);
        assert!(readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn what_stops_is_not_ready_again() {
        let (_, readiness) = started();
        let watch = readiness.watch();
        readiness.stop();
        assert!(!readiness.is_ready());
        readiness.ok(Part::Intake);
        assert!(!readiness.is_ready() && !watch.borrow().ready);
        assert_eq!(readiness.state(Part::Intake), State::Stopping);
    }
}
