//! The dead-man signal: a delivery of the engine's own goes the whole way in, and only when it was
//! decided in time is somebody outside told that all is well. Silence is the alarm.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use untoil_clock::Clock;
use untoil_journal::Journal;
use untoil_model::{DeliveryId, Entry, Seq};

use crate::metrics::decided;
use crate::{Metrics, Observer};

/// The source of the engine's own deliveries.
pub const HEARTBEAT: &str = "heartbeat";
/// Longest wait for an answer, of ourselves or of whoever is told.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Decisions that are remembered until they are asked for. One is under way at a time; one that
/// was given up may still be decided.
const DECIDED_MAX: usize = 8;
/// Between two looks at whether another instance has decided it, which this one does not hear. Our own
/// decision is mostly heard before the first; `within` is a second at least.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Deliveries that are looked through for ours. Where more wait, one look cannot tell, and the next may.
const PENDING_MAX: usize = 1_000;

/// How the dead-man signal is given.
pub struct DeadManConfig {
    /// Between two deliveries.
    pub every: Duration,
    /// A decision later than this is no sign of life.
    pub within: Duration,
    /// The bearer secret of the source [`HEARTBEAT`].
    pub secret: String,
    /// This instance's name.
    pub instance: String,
    /// Who is told that all is well, by an HTTP `GET`; mostly a secret address.
    pub tell: Option<String>,
}

impl std::fmt::Debug for DeadManConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut config = f.debug_struct("DeadManConfig");
        config.field("every", &self.every).field("within", &self.within).finish_non_exhaustive()
    }
}

/// Gives the signal, and sees in the journal when its deliveries are decided, by whichever instance.
#[derive(Debug)]
pub struct DeadMan {
    decided: Mutex<VecDeque<DeliveryId>>,
    news: Notify,
    metrics: Arc<Metrics>,
    client: reqwest::Client,
    config: DeadManConfig,
}

/// Why there is no sign of life.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("our own intake did not take it: {0}")]
    Refused(String),
    #[error("it was not decided within {0} s")]
    Late(u64),
    #[error("who is to be told did not take it: {0}")]
    Untold(String),
}

impl Silence {
    fn word(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Late(_) => "late",
            Self::Untold(_) => "untold",
        }
    }
}

#[derive(Deserialize)]
struct Accepted {
    delivery: String,
}

impl DeadMan {
    /// One that has not begun.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: DeadManConfig, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .retry(reqwest::retry::never())
            .user_agent("untoil")
            .build()?;
        let (decided, news) = (Mutex::default(), Notify::new());
        Ok(Self { decided, news, metrics, client, config })
    }

    /// Gives the signal until `stop`. `own` is where our intake takes it:
    /// `http://127.0.0.1:8460/v1/events/heartbeat`.
    pub async fn run(
        self: Arc<Self>,
        own: String,
        (journal, clock): (Arc<dyn Journal>, Arc<dyn Clock>),
        stop: CancellationToken,
    ) {
        loop {
            let next = clock.ticks() + self.config.every;
            tokio::select! {
                () = self.beat(&own, (&*journal, &*clock)) => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = clock.sleep(next.saturating_sub(clock.ticks())) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One signal, or one silence.
    pub async fn beat(&self, own: &str, base: (&dyn Journal, &dyn Clock)) {
        let result = match self.go(own, base).await {
            Ok(took) => {
                self.metrics.health.beat_time.took([], took);
                "decided"
            }
            Err(silence) => {
                tracing::error!("no sign of life was given: {silence}");
                silence.word()
            }
        };
        self.metrics.health.beats.add([result]);
    }

    async fn go(
        &self,
        own: &str,
        (journal, clock): (&dyn Journal, &dyn Clock),
    ) -> Result<Duration, Silence> {
        let began = clock.ticks();
        let within = self.config.within;
        let id = tokio::select! {
            id = self.send(own, clock.now()) => id.map_err(Silence::Refused)?,
            () = clock.sleep(within) => return Err(Silence::Late(within.as_secs())),
        };
        let left = within.saturating_sub(clock.ticks().saturating_sub(began));
        tokio::select! {
            () = self.until_heard(&id) => {}
            () = until_gone(&id, journal, clock) => {}
            () = clock.sleep(left) => return Err(Silence::Late(within.as_secs())),
        }
        let took = clock.ticks().saturating_sub(began);
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are below 2^53")]
        let now = clock.now().as_second() as f64;
        self.metrics.health.beat_last.set(now);
        self.tell().await.map_err(Silence::Untold)?;
        Ok(took)
    }

    /// An alarm that is well, of a name that no rule can match; it opens nothing and says nothing.
    async fn send(&self, own: &str, now: Timestamp) -> Result<String, String> {
        let name = format!("untoil/{}", self.config.instance);
        let alarm = json!({ "key": name, "name": name, "state": "resolved", "changed_at": now });
        let body = json!({ "alarms": [alarm] });
        let request = self
            .client
            .post(own)
            .bearer_auth(&self.config.secret)
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.map_err(|e| e.without_url().to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let text = answer.text().await.map_err(|e| e.without_url().to_string())?;
        let accepted: Accepted = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        Ok(accepted.delivery)
    }

    /// Waits until this instance has decided it.
    async fn until_heard(&self, id: &str) {
        loop {
            let news = self.news.notified();
            {
                let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
                if decided.iter().any(|it| it.to_string() == id) {
                    decided.clear();
                    return;
                }
            }
            news.await;
        }
    }

    async fn tell(&self) -> Result<(), String> {
        let Some(tell) = &self.config.tell else { return Ok(()) };
        match self.client.get(tell).send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => Err(error.without_url().to_string()),
        }
    }
}

/// Waits until it does not wait for a decision any more: another instance has decided it.
async fn until_gone(id: &str, journal: &dyn Journal, clock: &dyn Clock) {
    loop {
        clock.sleep(LOOK_EVERY).await;
        // A journal that cannot be read says nothing; it may before the time is over.
        let Ok(pending) = journal.pending(PENDING_MAX).await else { continue };
        if pending.len() < PENDING_MAX && !pending.iter().any(|it| it.to_string() == id) {
            return;
        }
    }
}

impl Observer for DeadMan {
    fn received(&self, _: &DeliveryId, _: Timestamp, _: Seq) {}

    fn wrote(&self, entries: &[Entry]) {
        for entry in entries {
            let Some((delivery, "alarms")) = decided(&entry.body) else { continue };
            if delivery.source.as_str() != HEARTBEAT {
                continue;
            }
            let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
            if decided.len() >= DECIDED_MAX {
                decided.pop_front();
            }
            decided.push_back(delivery.clone());
            drop(decided);
            self.news.notify_one();
        }
    }
}
