//! The line to AWS: a call leaves, takes effect at some time, and is answered, or not.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use untoil_actions::{CallError, ReadError};
use untoil_clock::{Clock, VirtualClock};
use untoil_journal::Tenure;
use untoil_model::Seq;

use crate::clock::LocalClock;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::mutation::Mutation;
use crate::switch::Switch;
use crate::weather::Weather;

/// A call whose answer was lost lands within this many seconds: a little less than the minute that
/// [`untoil_actions::Order::LANDS_WITHIN`] says.
const LANDS_SECS: (u64, u64) = (0, 50);
/// How late an answer may be, in seconds: a port gives up after a minute.
const ANSWER_SECS: (u64, u64) = (1, 70);
/// How long a slow read takes, in milliseconds: longer than a fact is waited for.
const READ_MILLIS: (u64, u64) = (10, 15_000);

/// A call that left an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Departure {
    /// What it carries.
    pub(crate) marker: String,
    /// How far the journal was on the disk when it left.
    pub(crate) head: Seq,
    /// When it left, in ticks.
    pub(crate) at: Duration,
    /// How long it was on its way out of the instance: more than nothing when that was stopped.
    pub(crate) waited: Duration,
    /// Who made it.
    pub(crate) by: String,
    /// Whether its instance's tenure lasted when it was made. The instance may have been stopped
    /// between that and the departure, which nobody can rule out.
    pub(crate) in_tenure: bool,
}

/// All calls that are on their way. They go on when the instance that made them is killed.
#[derive(Debug, Default)]
pub(crate) struct Network {
    flights: Mutex<JoinSet<()>>,
    departures: Mutex<Vec<Departure>>,
}

impl Network {
    /// The calls that left, in order.
    pub(crate) fn departures(&self) -> Vec<Departure> {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fly(&self, flight: impl Future<Output = ()> + Send + 'static) {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        while flights.try_join_next().is_some() {}
        flights.spawn(flight);
    }
}

/// One instance's end of the line.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) switch: Arc<Switch>,
    pub(crate) weather: Arc<Weather>,
    pub(crate) dice: Dice,
    pub(crate) clock: Arc<VirtualClock>,
    /// The instance's own time of day.
    pub(crate) local: Arc<LocalClock>,
    pub(crate) network: Arc<Network>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) tenure: Tenure,
    pub(crate) mutation: Option<Mutation>,
}

/// A call that can be made from anywhere.
pub(crate) type Flight<T> = Pin<Box<dyn Future<Output = Result<T, CallError>> + Send>>;

impl Line {
    /// Reads something.
    pub(crate) async fn read<T>(
        &self,
        what: &str,
        read: impl Future<Output = Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        self.switch.point(what).await;
        let odds = self.weather.now().aws;
        if self.dice.chance(odds.slow) {
            self.clock.sleep(self.dice.millis(READ_MILLIS.0, READ_MILLIS.1)).await;
        }
        if self.dice.chance(odds.fails) {
            return Err(ReadError::Unavailable { why: "simulated: no answer".into() });
        }
        let answer = read.await;
        self.switch.pass().await;
        answer
    }

    /// Makes a call that changes something.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        (what, marker, not_after): (&str, String, Timestamp),
        call: Flight<T>,
    ) -> Result<T, CallError> {
        let made_at = self.clock.ticks();
        let in_tenure = self.tenure.lasts(&*self.clock);
        self.switch.point(what).await;
        // As the ports to AWS do it, at the last moment.
        if self.local.now() > not_after {
            self.switch.note(|| format!("comes too late to call {what} with {marker}"));
            return Err(CallError::NotSent { why: "simulated: the clearance ended".into() });
        }
        self.switch.point(what).await;
        let head = self.disk.kept();
        self.switch.note(|| format!("calls {what} with {marker}"));
        let departure = Departure {
            marker,
            head,
            at: self.clock.ticks(),
            waited: self.clock.ticks().saturating_sub(made_at),
            by: self.switch.name().to_owned(),
            in_tenure,
        };
        let departures = &self.network.departures;
        departures.lock().unwrap_or_else(PoisonError::into_inner).push(departure);
        let odds = self.weather.now().aws;
        if self.dice.chance(odds.fails) {
            return Err(CallError::NotSent { why: "simulated: no connection".into() });
        }
        let (lands, answers) = if self.dice.chance(odds.slow) {
            (
                self.dice.secs(LANDS_SECS.0, LANDS_SECS.1),
                self.dice.secs(ANSWER_SECS.0, ANSWER_SECS.1),
            )
        } else {
            (self.dice.millis(0, 400), self.dice.millis(0, 400))
        };
        let (tell, told) = oneshot::channel();
        let clock = Arc::clone(&self.clock);
        self.network.fly(async move {
            clock.sleep(lands).await;
            let answer = call.await;
            clock.sleep(answers).await;
            // Who asked may be gone.
            drop(tell.send(answer));
        });
        if self.dice.chance(odds.loses) {
            self.clock.sleep(self.dice.secs(0, 5)).await;
            self.switch.pass().await;
            return Err(CallError::Unknown { why: "simulated: the connection broke".into() });
        }
        let answer = told.await;
        self.switch.point(what).await;
        answer.unwrap_or_else(|_| Err(CallError::Unknown { why: "simulated: no answer".into() }))
    }
}
