//! One line of the journal: self-contained, hash-chained, canonical.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::canonical::Page;
use crate::text::Sheet;
use crate::{
    Alarm, AlarmKey, DeliveryId, Ending, EngineMode, Facts, Hash, IncidentId, Mode, Plan, Reason,
    RuleName, RuleVersion, RunId, RunOutcome, Sample, Seq, Step, StepOutcome, StepRef, Target,
    Verdict,
};
use crate::{shared, text};

/// Who did what an entry tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// The engine itself, by its instance's name.
    Engine(String),
    /// A person, as authentication or the command line named them.
    Human(String),
    /// An authenticated sender.
    Sender(String),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(name) => write!(f, "engine {name}"),
            Self::Human(name) => write!(f, "{name}"),
            Self::Sender(name) => write!(f, "sender {name}"),
        }
    }
}

/// What a further word from an alarm's sender means for what is known of the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The same transition again, perhaps by another path.
    Duplicate,
    /// Older than what is known: recorded, ignored.
    OutOfOrder,
    /// It fires again, or still.
    Again,
    /// It cleared.
    Cleared,
    /// Its sender lost sight of it.
    Lost,
    /// It cleared, or was lost, while no incident was open.
    NothingOpen,
}

/// What happened. An unknown variant is an error: an old binary refuses a newer journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "fields are named for what they are; each variant says what happened"
)]
pub enum Body {
    /// The engine began to work.
    EngineStarted { version: String, mode: EngineMode, config: Hash },
    /// The engine stopped in order.
    EngineStopped {},
    /// A rule was loaded, or loaded anew; also each one when their folder can be read again.
    RuleLoaded { rule: RuleName, version: RuleVersion, mode: Mode },
    /// A rule cannot be loaded. `kept` is the version that goes on, if any. `rule` is `*` where the folder
    /// of all rules cannot be read, or nobody reads it any more; all that were loaded go on then.
    RuleBroken { rule: String, error: String, kept: Option<RuleVersion> },
    /// A rule's folder is gone.
    RuleRemoved { rule: RuleName },
    /// Nothing in `scope` may act: `all`, `rule/<name>` or `target/<target>`.
    Paused { scope: String, reason: String },
    /// It may again.
    Resumed { scope: String, reason: String },

    /// A delivery was stored; 202 is answered only after this.
    Received { delivery: DeliveryId, bytes: u64, sha256: Hash },
    /// A stored delivery says nothing that can be understood.
    Unreadable { delivery: DeliveryId, why: String },
    /// A stored delivery was read and needs nothing: a confirmed subscription, a test.
    Understood { delivery: DeliveryId, what: String },
    /// A stored delivery was read and told of this many alarms, each in an entry of its own.
    Decoded { delivery: DeliveryId, alarms: u32 },

    /// An alarm fires and nothing was open for it: an incident begins.
    Opened {
        delivery: DeliveryId,
        #[serde(with = "shared")]
        alarm: Arc<Alarm>,
        skewed_from: Option<Timestamp>,
    },
    /// A further word from an alarm's sender.
    Observed {
        delivery: DeliveryId,
        #[serde(with = "shared")]
        alarm: Arc<Alarm>,
        standing: Standing,
        skewed_from: Option<Timestamp>,
    },
    /// The alarm's state was read from its origin rather than received.
    Looked {
        #[serde(with = "shared")]
        alarm: Arc<Alarm>,
        standing: Standing,
    },

    /// No rule answers it.
    Unmatched {},
    /// This rule answers it; `passed` are others that matched and come after it.
    Matched { rule: RuleName, version: RuleVersion, passed: Vec<RuleName> },
    /// Facts were read. `missing` are those that could not be, and why.
    FactsRead {
        #[serde(with = "shared")]
        facts: Arc<Facts>,
        missing: BTreeMap<String, String>,
    },
    /// The rule was asked and proposes this. `part` counts the askings of one run from 0.
    Planned {
        run: RunId,
        part: u32,
        #[serde(with = "shared")]
        plan: Arc<Plan>,
        printed: Vec<String>,
    },
    /// The rule was asked and failed.
    RuleFailed { rule: RuleName, error: String, printed: Vec<String> },
    /// The guard judged. On `allow` this entry is the reservation, and it is self-contained.
    Judged {
        run: RunId,
        part: u32,
        verdict: Verdict,
        rule: RuleName,
        target: Target,
        parents: Vec<Target>,
        writes: bool,
        authority: String,
        gates: BTreeMap<String, String>,
    },
    /// A person allowed the plan with this hash.
    Approved { plan: Hash, note: String },
    /// A person refused it.
    Rejected { plan: Hash, note: String },

    /// The intent: the next thing that happens is the call.
    Started {
        step: StepRef,
        attempt: u32,
        #[serde(with = "shared")]
        does: Arc<Step>,
        marker: String,
        not_after: Timestamp,
    },
    /// The call was accepted, and can be followed by `handle`.
    Sent { step: StepRef, attempt: u32, handle: String },
    /// A call will be tried again: it provably had no effect, or, if `lost`, nobody can tell and
    /// repeating it is harmless.
    Backoff { step: StepRef, attempt: u32, why: String, lost: bool },
    /// The step ended.
    Finished {
        step: StepRef,
        attempt: u32,
        #[serde(with = "shared")]
        does: Arc<Step>,
        outcome: StepOutcome,
    },
    /// The run ended.
    Concluded {
        run: RunId,
        rule: RuleName,
        target: Target,
        outcome: RunOutcome,
        why: Option<Reason>,
        samples: Vec<Sample>,
    },
    /// A lease will not be given back by the engine.
    LeaseDropped { target: Target, reason: Reason },

    /// A person is needed.
    Escalated { reason: Reason, mention: Option<String> },
    /// The incident is over.
    Closed { ending: Ending },

    /// The entries `first` to `last` are in `file` too, and may be missing here. `before` is the hash
    /// that the first is chained to, `hash` the last one's, `sha256` the file's, and `record` that of
    /// the `archived` entry before this one, so that those chain by themselves.
    Archived {
        first: Seq,
        last: Seq,
        before: Hash,
        hash: Hash,
        file: String,
        sha256: Hash,
        record: Hash,
    },
}

impl Body {
    /// The entry's kind as people and queries name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EngineStarted { .. } => "engine_started",
            Self::EngineStopped {} => "engine_stopped",
            Self::RuleLoaded { .. } => "rule_loaded",
            Self::RuleBroken { .. } => "rule_broken",
            Self::RuleRemoved { .. } => "rule_removed",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Received { .. } => "received",
            Self::Unreadable { .. } => "unreadable",
            Self::Understood { .. } => "understood",
            Self::Decoded { .. } => "decoded",
            Self::Opened { .. } => "opened",
            Self::Observed { .. } => "observed",
            Self::Looked { .. } => "looked",
            Self::Unmatched {} => "unmatched",
            Self::Matched { .. } => "matched",
            Self::FactsRead { .. } => "facts_read",
            Self::Planned { .. } => "planned",
            Self::RuleFailed { .. } => "rule_failed",
            Self::Judged { .. } => "judged",
            Self::Approved { .. } => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Started { .. } => "started",
            Self::Sent { .. } => "sent",
            Self::Backoff { .. } => "backoff",
            Self::Finished { .. } => "finished",
            Self::Concluded { .. } => "concluded",
            Self::LeaseDropped { .. } => "lease_dropped",
            Self::Escalated { .. } => "escalated",
            Self::Closed { .. } => "closed",
            Self::Archived { .. } => "archived",
        }
    }

    /// Whether the guard's ledger counts it. Judging is conditional on no such entry in between.
    #[must_use]
    pub fn is_ledger(&self) -> bool {
        matches!(
            self,
            Self::Judged { verdict: Verdict::Allow {}, .. }
                | Self::Paused { .. }
                | Self::Resumed { .. }
                | Self::Concluded { .. }
        )
    }
}

/// The part of the journal that a reader or a condition is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Every entry.
    All,
    /// One incident's.
    Incident(IncidentId),
    /// One alarm's: what its sender said, over all its incidents.
    Alarm(AlarmKey),
    /// What the guard counts.
    Ledger,
    /// What was archived.
    Archive,
}

/// An entry before the journal has given it its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// The alarm it is a word about.
    pub alarm: Option<AlarmKey>,
    /// What happened.
    pub body: Body,
}

impl Draft {
    /// An entry of no incident.
    #[must_use]
    pub fn new(at: Timestamp, actor: Actor, body: Body) -> Self {
        Self { at, actor, incident: None, alarm: None, body }
    }

    /// An entry of an incident.
    #[must_use]
    pub fn of(incident: &IncidentId, at: Timestamp, actor: Actor, body: Body) -> Self {
        Self { at, actor, incident: Some(incident.clone()), alarm: None, body }
    }

    /// All of the canonical text that does not depend on the entry's place.
    #[must_use]
    pub fn head(&self) -> String {
        let streams = (self.incident.as_ref(), self.alarm.as_ref());
        let mut page = Page::default();
        text::head(&mut page, (self.at, &self.actor), streams, &self.body);
        page.text
    }

    /// The same entry as a word about an alarm.
    #[must_use]
    pub fn about(self, alarm: &AlarmKey) -> Self {
        Self { alarm: Some(alarm.clone()), ..self }
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its place.
    pub seq: Seq,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The incident it belongs to.
    pub incident: Option<IncidentId>,
    /// The alarm it is a word about.
    pub alarm: Option<AlarmKey>,
    /// What happened.
    pub body: Body,
    /// The hash of the entry before.
    pub prev: Hash,
    /// SHA-256 of `prev` and then [`Entry::text`].
    pub hash: Hash,
}

/// The hashed form, in canonical JSON. Stores keep this text as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    v: u8,
    seq: Seq,
    at: Timestamp,
    actor: Actor,
    #[serde(default)]
    incident: Option<IncidentId>,
    #[serde(default)]
    alarm: Option<AlarmKey>,
    body: Body,
}

/// What every version of the form has.
#[derive(Deserialize)]
struct Envelope {
    v: u8,
    seq: Seq,
}

/// The version of the text's form. Readers refuse any other.
pub(crate) const TEXT_VERSION: u8 = 1;

/// How an entry fails the check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its text is not an entry.
    #[error("entry {seq} cannot be read: {why}")]
    Unreadable {
        /// The place it was found at.
        seq: Seq,
        /// What the reader said.
        why: String,
    },
    /// It is whole, and of a form that this program does not know. Nothing is damaged: while versions
    /// change, the others go on with it.
    #[error("entry {seq} was written by a newer untoil, update this one to read it ({why})")]
    Newer {
        /// Its place.
        seq: Seq,
        /// What the reader said.
        why: String,
    },
    /// It is not the one that follows.
    #[error("entry {found} stands where entry {expected} should be")]
    Gap {
        /// The place that should follow.
        expected: Seq,
        /// The place found.
        found: Seq,
    },
    /// It does not follow the entry before it.
    #[error("entry {seq} is not chained to the entry before it")]
    Unchained {
        /// Its place.
        seq: Seq,
    },
    /// Its text is not what was hashed.
    #[error("entry {seq} was changed after it was written: its hash does not match its text")]
    Changed {
        /// Its place.
        seq: Seq,
    },
}

impl Entry {
    /// Gives a draft its place after the entry with `prev`; returns it with its canonical text.
    #[must_use]
    pub fn seal(draft: Draft, seq: Seq, prev: Hash) -> (Self, String) {
        let mut sheet = Sheet::default();
        let entry = Self::seal_on(&mut sheet, draft, seq, prev);
        (entry, sheet.0.text)
    }

    /// The same, with the text on a sheet, in place of what was on it.
    pub fn seal_on(sheet: &mut Sheet, draft: Draft, seq: Seq, prev: Hash) -> Self {
        let Draft { at, actor, incident, alarm, body } = draft;
        let Sheet(page) = sheet;
        text::head(page, (at, &actor), (incident.as_ref(), alarm.as_ref()), &body);
        text::place(&mut page.text, seq);
        let hash = prev.chain(&page.text);
        Self { seq, at, actor, incident, alarm, body, prev, hash }
    }

    /// The canonical text and the hash of the entry that [`Draft::head`] is of, at a place.
    ///
    /// The same as [`Entry::seal`], for stores that need no more of the entry.
    #[must_use]
    pub fn seal_text(head: &str, seq: Seq, prev: Hash) -> (String, Hash) {
        let mut sheet = Sheet::default();
        let hash = Self::seal_head_on(&mut sheet, head, seq, prev);
        (sheet.0.text, hash)
    }

    /// The same, with the text on a sheet, in place of what was on it.
    pub fn seal_head_on(sheet: &mut Sheet, head: &str, seq: Seq, prev: Hash) -> Hash {
        let Sheet(page) = sheet;
        page.text.clear();
        page.text.push_str(head);
        text::place(&mut page.text, seq);
        prev.chain(&page.text)
    }

    /// The canonical JSON (RFC 8785) that is hashed and kept.
    #[must_use]
    pub fn text(&self) -> String {
        let streams = (self.incident.as_ref(), self.alarm.as_ref());
        let mut page = Page::default();
        text::head(&mut page, (self.at, &self.actor), streams, &self.body);
        text::place(&mut page.text, self.seq);
        page.text
    }

    /// Reads a kept entry back. It does not check the chain: [`Entry::check`] does.
    ///
    /// # Errors
    /// [`Broken::Newer`] when the text is what was sealed here and this program does not know what it
    /// says; [`Broken::Unreadable`] when it is not an entry.
    pub fn open(seq: Seq, text: &str, prev: Hash, hash: Hash) -> Result<Self, Broken> {
        let unreadable = |why: String| match serde_json::from_str(text) {
            Ok(Envelope { v, seq: inner })
                if v >= TEXT_VERSION && inner == seq && prev.chain(text) == hash =>
            {
                Broken::Newer { seq, why }
            }
            Ok(_) | Err(_) => Broken::Unreadable { seq, why },
        };
        let parsed: Text = serde_json::from_str(text).map_err(|e| unreadable(e.to_string()))?;
        if parsed.v != TEXT_VERSION {
            return Err(unreadable(format!("its form is version {}, this is version 1", parsed.v)));
        }
        let Text { v: _, seq: inner, at, actor, incident, alarm, body } = parsed;
        if inner != seq {
            return Err(Broken::Gap { expected: seq, found: inner });
        }
        Ok(Self { seq, at, actor, incident, alarm, body, prev, hash })
    }

    /// Checks a kept entry against the one before it, on the text as it was kept.
    ///
    /// # Errors
    /// What is wrong with it, naming the entry.
    pub fn check(
        place: (Seq, Hash),
        seq: Seq,
        text: &str,
        kept: (Hash, Hash),
    ) -> Result<Self, Broken> {
        let (last, head) = place;
        let (prev, hash) = kept;
        if seq != last.next() {
            return Err(Broken::Gap { expected: last.next(), found: seq });
        }
        if prev != head {
            return Err(Broken::Unchained { seq });
        }
        if prev.chain(text) != hash {
            return Err(Broken::Changed { seq });
        }
        Self::open(seq, text, prev, hash)
    }

    /// Whether a stream has it.
    #[must_use]
    pub fn is_in(&self, stream: &Stream) -> bool {
        match stream {
            Stream::All => true,
            Stream::Incident(id) => self.incident.as_ref() == Some(id),
            Stream::Alarm(key) => self.alarm.as_ref() == Some(key),
            Stream::Ledger => self.body.is_ledger(),
            Stream::Archive => matches!(self.body, Body::Archived { .. }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(reason: &str) -> Draft {
        let body = Body::Paused { scope: "all".into(), reason: reason.into() };
        Draft::new("2026-01-01T00:00:00Z".parse().unwrap(), Actor::Human("kim".into()), body)
    }

    #[test]
    fn an_entrys_text_is_canonical_and_reads_back() {
        let (entry, text) = Entry::seal(draft("배포 중"), Seq(1), Hash::GENESIS);
        expect_test::expect![[r#"{"actor":{"human":"kim"},"at":"2026-01-01T00:00:00Z","body":{"paused":{"reason":"배포 중","scope":"all"}},"seq":1,"v":1}"#]]
        .assert_eq(&text);
        let kept = (entry.prev, entry.hash);
        assert_eq!(Entry::check((Seq::START, Hash::GENESIS), Seq(1), &text, kept), Ok(entry));
    }

    #[test]
    fn every_kind_of_tampering_is_named() {
        let (one, text_one) = Entry::seal(draft("a"), Seq(1), Hash::GENESIS);
        let (two, text_two) = Entry::seal(draft("b"), Seq(2), one.hash);
        let after_one = (Seq(1), one.hash);
        let kept = (two.prev, two.hash);
        assert!(Entry::check(after_one, Seq(2), &text_two, kept).is_ok());
        let changed = text_two.replace("\"b\"", "\"c\"");
        assert_eq!(
            Entry::check(after_one, Seq(2), &changed, kept),
            Err(Broken::Changed { seq: Seq(2) })
        );
        assert_eq!(
            Entry::check(after_one, Seq(3), &text_two, kept),
            Err(Broken::Gap { expected: Seq(2), found: Seq(3) })
        );
        let forged = (Hash::GENESIS, Hash::GENESIS.chain(&text_one));
        assert_eq!(
            Entry::check(after_one, Seq(2), &text_one, forged),
            Err(Broken::Unchained { seq: Seq(2) })
        );
        let rehashed = (one.hash, one.hash.chain("{}"));
        assert!(matches!(
            Entry::check(after_one, Seq(2), "{}", rehashed),
            Err(Broken::Unreadable { .. })
        ));
    }

    #[test]
    fn what_a_newer_program_sealed_is_told_apart_from_damage() {
        let (_, text) = Entry::seal(draft("a"), Seq(1), Hash::GENESIS);
        let table = [
            (text.replace("\"paused\"", "\"postponed\""), "newer"),
            (text.replace("\"reason\":\"a\"", "\"reason\":\"a\",\"since\":1"), "newer"),
            (text.replace("\"v\":1", "\"v\":2"), "newer"),
            (text.replace("\"seq\":1", "\"seq\":7"), "stands where entry 1"),
            ("{\"v\":1}".to_owned(), "cannot be read"),
            ("not JSON".to_owned(), "cannot be read"),
        ];
        for (text, expected) in table {
            let hash = Hash::GENESIS.chain(&text);
            let said = Entry::open(Seq(1), &text, Hash::GENESIS, hash).unwrap_err().to_string();
            assert!(said.contains(expected), "{text}: {said}");
            // Not what was sealed.
            let said = Entry::open(Seq(1), &text, hash, hash).unwrap_err().to_string();
            assert!(!said.contains("newer"), "{text}: {said}");
        }
    }

    #[test]
    fn a_hash_is_64_digits_and_nothing_else() {
        let hash = Hash::of(b"x");
        assert_eq!(hash.to_string().parse::<Hash>(), Ok(hash));
        assert!("zz".parse::<Hash>().is_err());
        assert!("é".repeat(32).parse::<Hash>().is_err());
    }
}
