//! The load: alarms that fire, are told twice, and clear; from a sender that forgets nothing.
//!
//! It keeps what was answered, and sends again what was not: that is all that SNS and its like promise.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::queue::Queue;
use crate::traps::{Point, Traps};

/// The secret of the `generic` source.
pub(crate) const SECRET: &str = "a-secret-of-the-trials";
/// Letters under way at a time.
const HANDS: usize = 6;
/// An answer that takes longer is not waited for: an instance may be paused.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Between two tries of one letter.
const AGAIN_AFTER: Duration = Duration::from_millis(40);
/// A letter that is not taken in that time is told as lost by the service.
const TAKEN_WITHIN: Duration = Duration::from_secs(90);
/// One accepted letter of so many is sent again at once, as a sender does who missed the answer.
const TOLD_TWICE_ONE_IN: usize = 3;

/// A rule may name 64 services; half of these are for each of two rules.
pub(crate) const SERVICES: usize = 64;

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A command on a host.
    Command,
    /// A new deployment, which must never be repeated.
    Redeploy,
    /// A count that is lent, and given back.
    Scale,
}

impl Kind {
    /// The kind of the `n`th alarm.
    pub(crate) fn of(n: usize) -> Self {
        match n % 4 {
            0 | 1 => Self::Command,
            2 => Self::Redeploy,
            _ => Self::Scale,
        }
    }

    /// What the `n`th alarm is about, as the stand-in knows it.
    pub(crate) fn target(n: usize) -> String {
        match Self::of(n) {
            Self::Command => format!("i-{n:017x}"),
            Self::Redeploy | Self::Scale => format!("service-{}", n % SERVICES),
        }
    }

    /// What rules match.
    pub(crate) fn metric(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Redeploy => "redeploy",
            Self::Scale => "scale",
        }
    }
}

/// One delivery.
#[derive(Debug, Clone)]
struct Letter {
    n: usize,
    fires: bool,
    due: Duration,
}

impl Letter {
    fn id(&self) -> String {
        format!("{}-{}", if self.fires { "fires" } else { "clears" }, self.n)
    }

    fn body(&self) -> String {
        let kind = Kind::of(self.n);
        let (name, value) = match kind {
            Kind::Command => ("InstanceId", Kind::target(self.n)),
            Kind::Redeploy | Kind::Scale => ("Service", Kind::target(self.n)),
        };
        let alarm: Value = json!({
            "key": format!("trial/{}", self.n), "name": format!("trial {}", self.n),
            "state": if self.fires { "firing" } else { "resolved" },
            "changed_at": Timestamp::now(), "namespace": "Trial", "metric": kind.metric(),
            "dimensions": { name: value }, "value": 91.0, "threshold": 85.0,
        });
        json!({ "alarms": [alarm] }).to_string()
    }
}

/// What is sent in a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// How many alarms fire, and clear.
    pub(crate) alarms: usize,
    /// Over which time they fire.
    pub(crate) over: Duration,
    /// How long after that each clears at the latest: mostly when it was answered.
    pub(crate) clears: Duration,
}

/// What the sender knows in the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// Deliveries that were answered with 202 or 200, or deleted from the queue, and when that was.
    pub(crate) kept: BTreeMap<String, Timestamp>,
    /// Tries that came to nothing: refused connections, no answer, 503; messages that were given again.
    pub(crate) missed: usize,
    /// What must not be.
    pub(crate) wrong: Vec<String>,
}

/// The sender.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    hands: JoinSet<Result<()>>,
    left: usize,
}

impl Sender {
    /// Begins to send to these ports, whichever answers.
    pub(crate) fn post(load: Load, seed: u64, ports: &[u16], traps: &Arc<Traps>) -> Result<Self> {
        let mut chance = Chance::of(seed ^ 0x5e_4d_e7);
        let shares = letters(load, &mut chance);
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let mut hands = JoinSet::new();
        let began = Instant::now();
        for mut letters in shares {
            letters.sort_by_key(|letter| letter.due);
            let mut hand = Hand {
                client: reqwest::Client::builder().timeout(ANSWER_MAX).build()?,
                chance: Chance::of(chance.next()),
                ports: ports.to_vec(),
                at: 0,
                traps: Arc::clone(traps),
                ledger: Arc::clone(&ledger),
            };
            hands.spawn(async move {
                // How late each alarm was taken: it clears that much later, too.
                let mut late = BTreeMap::<usize, Duration>::new();
                for letter in letters {
                    let due = letter.due + late.get(&letter.n).copied().unwrap_or_default();
                    tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
                    hand.deliver(&letter).await?;
                    late.insert(letter.n, began.elapsed().saturating_sub(letter.due));
                }
                Ok(())
            });
        }
        Ok(Self { ledger, hands, left: HANDS })
    }

    /// Begins to put letters into a queue; what is deleted from it was taken.
    pub(crate) fn queue(load: Load, seed: u64, queue: Arc<Queue>) -> Self {
        let mut letters = letters(load, &mut Chance::of(seed ^ 0x5e_4d_e7)).concat();
        letters.sort_by_key(|letter| letter.due);
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (kept, mut hands) = (Arc::clone(&ledger), JoinSet::new());
        let began = Instant::now();
        hands.spawn(async move {
            for letter in letters {
                tokio::time::sleep(letter.due.saturating_sub(began.elapsed())).await;
                queue.put(&letter.id(), &letter.body());
            }
            let put = Instant::now();
            while !queue.is_empty() {
                if put.elapsed() > TAKEN_WITHIN {
                    bail!("the queue is not empty after {} s", TAKEN_WITHIN.as_secs());
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.kept.extend(queue.deleted());
            kept.missed += queue.repeats();
            Ok(())
        });
        Self { ledger, hands, left: 1 }
    }

    /// Whether everything was taken. To be asked again and again.
    pub(crate) fn is_done(&mut self) -> Result<bool> {
        while let Some(ended) = self.hands.try_join_next() {
            self.left -= 1;
            ended??;
        }
        Ok(self.left == 0)
    }
}

/// What is sent, in as many shares as there are hands.
fn letters(load: Load, chance: &mut Chance) -> Vec<Vec<Letter>> {
    let mut shares: Vec<Vec<Letter>> = vec![Vec::new(); HANDS];
    for n in 0..load.alarms {
        let due = chance.between(Duration::ZERO, load.over);
        let clears = due + chance.between(load.clears / 4, load.clears);
        shares[n % HANDS]
            .extend([Letter { n, fires: true, due }, Letter { n, fires: false, due: clears }]);
    }
    shares
}

struct Hand {
    client: reqwest::Client,
    chance: Chance,
    ports: Vec<u16>,
    /// The instance that was asked last.
    at: usize,
    traps: Arc<Traps>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Hand {
    /// Sends a letter until it is taken.
    async fn deliver(&mut self, letter: &Letter) -> Result<()> {
        let (id, body, began) = (letter.id(), letter.body(), Instant::now());
        loop {
            let status = self.post(&id, &body).await;
            match status {
                Some(202 | 200) => break,
                None | Some(429 | 503) => self.ledger().missed += 1,
                Some(other) => self.wrong(format!("`{id}` was answered {other}")),
            }
            if began.elapsed() > TAKEN_WITHIN {
                bail!("`{id}` was not taken within {} s", TAKEN_WITHIN.as_secs());
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        self.ledger().kept.insert(id.clone(), Timestamp::now());
        self.traps.reached(Point::Accepted, self.at).await;
        if self.chance.once_in(TOLD_TWICE_ONE_IN) {
            match self.post(&id, &body).await {
                Some(200 | 429 | 503) | None => {}
                Some(other) => self.wrong(format!("`{id}`, taken before, was answered {other}")),
            }
        }
        Ok(())
    }

    async fn post(&mut self, id: &str, body: &str) -> Option<u16> {
        self.at = self.chance.below(self.ports.len());
        let port = self.ports[self.at];
        let sent = self
            .client
            .post(format!("http://127.0.0.1:{port}/v1/events/generic"))
            .bearer_auth(SECRET)
            .header("idempotency-key", id)
            .body(body.to_owned())
            .send();
        let (answer, _) = tokio::join!(sent, self.traps.reached(Point::Posted, self.at));
        answer.ok().map(|answer| answer.status().as_u16())
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: String) {
        self.ledger().wrong.push(what);
    }
}
