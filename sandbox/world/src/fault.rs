//! Faults: what a call meets instead of a quick answer.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use untoil_actions::{CallError, Missing, ReadError};

/// What happens to one call of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The service refuses it with this code; nothing happens.
    Refuse(String),
    /// Too many calls; nothing happens.
    Throttle,
    /// No connection is made; nothing happens.
    NotSent,
    /// It never answers, and nothing happens.
    Hang,
    /// It answers after this time.
    Slow(Duration),
    /// It takes effect, and the answer is lost.
    LoseAnswer,
    /// The connection is reset; the world's seed decides whether it took effect.
    Reset,
}

/// What waits for the calls of each API, and the seeded dice.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Faults {
    waiting: BTreeMap<String, VecDeque<Fault>>,
    always: BTreeMap<String, Fault>,
    per_mille: u64,
    dice: u64,
    asked: BTreeMap<String, u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let (waiting, always) = (BTreeMap::new(), BTreeMap::new());
        Self { waiting, always, per_mille: 0, dice: seed, asked: BTreeMap::new() }
    }

    pub(crate) fn next(&mut self, api: &str, fault: Fault) {
        self.waiting.entry(api.to_owned()).or_default().push_back(fault);
    }

    pub(crate) fn always(&mut self, api: &str, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.always.insert(api.to_owned(), fault),
            None => self.always.remove(api),
        };
    }

    pub(crate) fn storm(&mut self, per_mille: u64) {
        self.per_mille = per_mille;
    }

    /// `SplitMix64`: small, seeded, and the same on every machine.
    pub(crate) fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// How often this API was called, whatever the calls met.
    pub(crate) fn asked(&self, api: &str) -> u64 {
        self.asked.get(api).copied().unwrap_or_default()
    }

    /// What the next call of this API meets.
    pub(crate) fn take(&mut self, api: &str) -> Option<Fault> {
        *self.asked.entry(api.to_owned()).or_default() += 1;
        if let Some(fault) = self.waiting.get_mut(api).and_then(VecDeque::pop_front) {
            return Some(fault);
        }
        if let Some(fault) = self.always.get(api) {
            return Some(fault.clone());
        }
        if self.per_mille == 0 || self.roll() % 1_000 >= self.per_mille {
            return None;
        }
        Some(match self.roll() % 5 {
            0 => Fault::Throttle,
            1 => Fault::NotSent,
            2 => Fault::LoseAnswer,
            3 => Fault::Slow(Duration::from_secs(self.roll() % 20)),
            _ => Fault::Reset,
        })
    }
}

/// The permission that a refusal is about, when it is about one.
fn missing(code: &str, api: &str) -> Option<Missing> {
    code.contains("AccessDenied").then(|| Missing { action: api.to_owned(), resource: "*".into() })
}

/// A refusal of the simulated service.
pub(crate) fn refused(api: &str, code: &str, why: &str) -> CallError {
    CallError::Refused { code: code.to_owned(), why: why.to_owned(), missing: missing(code, api) }
}

/// A refused read.
pub(crate) fn read_refused(api: &str, code: &str) -> ReadError {
    ReadError::Refused {
        code: code.to_owned(),
        why: format!("simulated refusal of `{api}`"),
        missing: missing(code, api),
    }
}
