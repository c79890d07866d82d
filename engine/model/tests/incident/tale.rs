//! Tells an incident in words: each word is one entry, a minute after the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use untoil_model::*;

/// One entry, told from where the incident stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Word {
    /// It fires still: the same transition as before, as `again`.
    Fires,
    /// It fires, and says that it began to only now.
    FiresAnew,
    Duplicate,
    OutOfOrder,
    Clears,
    /// It was seen to be clear at its origin.
    SeenClear,
    Lost,
    Unmatched,
    Matched,
    Facts,
    Plans(What),
    RuleFails,
    Allow,
    /// Held by a cooldown.
    Hold,
    /// Held until a person answers.
    Asks,
    Deny,
    Approve,
    Reject,
    Start(u32),
    Send(u32),
    Retry(u32),
    RetryLost(u32),
    Done(u32),
    Refused(u32),
    Unknown(u32),
    Ends(RunOutcome),
    DropLease,
    Escalate,
    Close,
}

/// What a rule proposes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum What {
    /// Nothing (more).
    Nothing,
    /// One step that reads, and to be asked again.
    Look,
    /// One step that writes.
    Write,
    /// One step that writes, and to be asked again.
    WriteAndMore,
    /// Two steps that write.
    Two,
    /// One step that lends: from so many to so many.
    Lend(i64, i64),
    /// The way back from 8 over 6 to 4.
    Return,
}

/// An incident with the entries that made it.
#[derive(Debug, Clone)]
pub(crate) struct Tale {
    pub(crate) incident: Incident,
    pub(crate) entries: Vec<Entry>,
}

/// The minute `n` of the tale.
pub(crate) fn minute(n: i64) -> Timestamp {
    let start: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_mins(n)
}

fn minutes(at: Timestamp) -> i64 {
    at.duration_since(minute(0)).as_mins()
}

fn alarm(source: &str, state: AlarmState, changed_at: Timestamp) -> Alarm {
    Alarm {
        key: format!("{source}:backlog").parse().unwrap(),
        source: source.parse().unwrap(),
        name: "backlog".into(),
        state,
        changed_at,
        severity: None,
        reason: String::new(),
        description: String::new(),
        account: None,
        region: None,
        namespace: None,
        metric: None,
        dimensions: BTreeMap::new(),
        labels: BTreeMap::new(),
        value: None,
        threshold: None,
        link: None,
        origin: None,
    }
}

fn target() -> Target {
    "ecs/workers/sync".parse().unwrap()
}

fn step(class: Class, lease: Option<(i64, i64)>) -> Step {
    let action: ActionKind = "ecs.scale".parse().unwrap();
    let lease = lease.map(|(before, after)| Lease {
        action: action.clone(),
        target: target(),
        before,
        after,
        step: 2,
        term: Period::hours(2),
    });
    Step {
        action,
        target: target(),
        class,
        params: BTreeMap::new(),
        says: String::new(),
        after: Period::ZERO,
        settle: Period::mins(5),
        lease,
    }
}

fn steps(what: What) -> Vec<Step> {
    match what {
        What::Nothing => vec![],
        What::Look => vec![step(Class::A, None)],
        What::Write | What::WriteAndMore => vec![step(Class::B, None)],
        What::Two => vec![step(Class::B, None), step(Class::B, None)],
        What::Lend(before, after) => vec![step(Class::B, Some((before, after)))],
        What::Return => vec![step(Class::B, Some((4, 6))), step(Class::B, Some((4, 4)))],
    }
}

fn plan(what: What) -> Plan {
    Plan {
        kind: if what == What::Return { RunKind::Return } else { RunKind::Remedy },
        rule: "backlog".parse().unwrap(),
        version: "1a2b3c4d5e6f7a8b".parse().unwrap(),
        mode: Mode::Auto,
        target: target(),
        parents: Vec::new(),
        steps: steps(what),
        more: matches!(what, What::Look | What::WriteAndMore),
        limits: Limits::default(),
        max_age: Period::mins(10),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: None,
    }
}

impl Tale {
    /// An alarm of CloudWatch, which tells changes only, begins to fire.
    pub(crate) fn fires() -> Self {
        Self::of("cloudwatch")
    }

    /// An alarm of `source` begins to fire at minute 0.
    pub(crate) fn of(source: &str) -> Self {
        let alarm = alarm(source, AlarmState::Firing, minute(0));
        let id = IncidentId::derive(minute(0), &alarm.key, "sns/1");
        let body = Body::Opened { delivery: delivery(), alarm: Arc::new(alarm), skewed_from: None };
        let draft = Draft::of(&id, minute(0), engine(), body);
        let entry = Entry::seal(draft, Seq(1), Hash::GENESIS).0;
        Self { incident: Incident::open(&entry).unwrap(), entries: vec![entry] }
    }

    /// The tale with these words added.
    pub(crate) fn then(mut self, words: &[Word]) -> Self {
        for word in words {
            self.tell(*word);
        }
        self
    }

    /// Adds a word; says its entry. Places are odd, so that other incidents' entries fit in between.
    pub(crate) fn tell(&mut self, word: Word) -> &Entry {
        let now = minute(i64::try_from(self.entries.len()).unwrap());
        let answers = matches!(word, Word::Approve | Word::Reject);
        let actor = if answers { Actor::Human("kim".into()) } else { engine() };
        let draft = Draft::of(&self.incident.id, now, actor, self.body(word, now));
        let seq = Seq(self.incident.seq.0 + 2);
        let entry = Entry::seal(draft, seq, self.entries.last().unwrap().hash).0;
        self.incident.apply(&entry);
        self.entries.push(entry);
        self.entries.last().unwrap()
    }

    fn body(&self, word: Word, now: Timestamp) -> Body {
        match word {
            Word::Fires => self.heard(Standing::Again, self.incident.alarm.changed_at),
            Word::FiresAnew => self.heard(Standing::Again, now),
            Word::Duplicate => self.heard(Standing::Duplicate, self.incident.alarm.changed_at),
            Word::OutOfOrder => self.heard(Standing::OutOfOrder, minute(-1)),
            Word::Clears => self.heard(Standing::Cleared, now),
            Word::SeenClear => {
                let alarm = Arc::new(self.alarm(AlarmState::Resolved, now));
                Body::Looked { alarm, standing: Standing::Cleared }
            }
            Word::Lost => self.heard(Standing::Lost, now),
            Word::Unmatched => Body::Unmatched {},
            Word::Matched => {
                let Plan { rule, version, .. } = plan(What::Nothing);
                Body::Matched { rule, version, passed: Vec::new() }
            }
            Word::Facts => Body::FactsRead { facts: Arc::default(), missing: BTreeMap::new() },
            Word::Plans(what) => {
                let part = self.incident.run.as_ref().map_or(0, |run| run.parts.len());
                let part = u32::try_from(part).unwrap();
                let (run, plan) = (self.incident.next_run(), Arc::new(plan(what)));
                Body::Planned { run, part, plan, printed: Vec::new() }
            }
            Word::RuleFails => {
                let (rule, error) = ("backlog".parse().unwrap(), "it divides by zero".into());
                Body::RuleFailed { rule, error, printed: Vec::new() }
            }
            Word::Allow | Word::Hold | Word::Asks | Word::Deny => self.judged(word, now),
            Word::Approve => Body::Approved { plan: self.newest(), note: String::new() },
            Word::Reject => Body::Rejected { plan: self.newest(), note: String::new() },
            Word::Start(n)
            | Word::Send(n)
            | Word::Retry(n)
            | Word::RetryLost(n)
            | Word::Done(n)
            | Word::Refused(n)
            | Word::Unknown(n) => self.stepped(word, n, now),
            Word::Ends(outcome) => Body::Concluded {
                run: self.incident.next_run(),
                rule: "backlog".parse().unwrap(),
                target: target(),
                outcome,
                why: None,
                samples: Vec::new(),
            },
            Word::DropLease => Body::LeaseDropped { target: target(), reason: why() },
            Word::Escalate => Body::Escalated { reason: why(), mention: None },
            Word::Close => Body::Closed { ending: Ending::Healed },
        }
    }

    fn alarm(&self, state: AlarmState, changed_at: Timestamp) -> Alarm {
        alarm(self.incident.alarm.source.as_str(), state, changed_at)
    }

    fn heard(&self, standing: Standing, changed_at: Timestamp) -> Body {
        let state = match standing {
            Standing::Again | Standing::Duplicate | Standing::OutOfOrder => AlarmState::Firing,
            Standing::Cleared | Standing::NothingOpen => AlarmState::Resolved,
            Standing::Lost => AlarmState::NoData,
        };
        let alarm = Arc::new(self.alarm(state, changed_at));
        Body::Observed { delivery: delivery(), alarm, standing, skewed_from: None }
    }

    fn newest(&self) -> Hash {
        let part = self.incident.run.as_ref().and_then(|run| run.part());
        part.map_or(Hash::GENESIS, |part| part.plan.hash())
    }

    fn judged(&self, word: Word, now: Timestamp) -> Body {
        let until = now + SignedDuration::from_mins(30);
        let verdict = if word == Word::Allow {
            Verdict::Allow {}
        } else if word == Word::Hold {
            let last = self.incident.id.run(9);
            Verdict::Hold { reason: Reason::Cooldown { target: target(), until, last }, until }
        } else if word == Word::Asks {
            let plan = self.newest().short();
            Verdict::Hold { reason: Reason::ApprovalMissing { plan, until }, until }
        } else {
            Verdict::Deny { reason: why() }
        };
        let parts = self.incident.run.as_ref().map_or(1, |run| run.parts.len());
        Body::Judged {
            run: self.incident.next_run(),
            part: u32::try_from(parts.saturating_sub(1)).unwrap(),
            verdict,
            rule: "backlog".parse().unwrap(),
            target: target(),
            parents: Vec::new(),
            writes: true,
            authority: "auto".into(),
            gates: BTreeMap::new(),
        }
    }

    fn stepped(&self, word: Word, n: u32, now: Timestamp) -> Body {
        let run = self.incident.next_run();
        let tries = self.incident.tries.get(&n).copied().unwrap_or(0);
        let attempt = if matches!(word, Word::Start(_)) { tries + 1 } else { tries.max(1) };
        let marker = run.marker(n, attempt);
        let told = step(Class::B, None);
        let (step, does) = (StepRef { run, step: n }, Arc::new(told.clone()));
        let why = "as told".to_owned();
        let end = |outcome| Body::Finished { step: step.clone(), attempt, does, outcome };
        if word == Word::Start(n) {
            let does = Arc::new(told);
            Body::Started { step, attempt, does, marker, not_after: now }
        } else if word == Word::Send(n) {
            Body::Sent { step, attempt, handle: "h".into() }
        } else if word == Word::Retry(n) || word == Word::RetryLost(n) {
            Body::Backoff { step, attempt, why, lost: word == Word::RetryLost(n) }
        } else if word == Word::Done(n) {
            end(StepOutcome::Done { evidence: serde_json::Value::Null })
        } else if word == Word::Refused(n) {
            end(StepOutcome::Refused { code: "busy".into(), why })
        } else {
            end(StepOutcome::Unknown { why })
        }
    }

    /// Where it stands and what comes next, as one line.
    pub(crate) fn stands(&self) -> String {
        let incident = &self.incident;
        let lease = incident.lease.as_ref();
        let lease = lease.map_or(String::new(), |(lease, _)| {
            format!(" [lent {}→{}]", lease.before, lease.after)
        });
        format!("{}: {}{lease}", incident.phase(), work(&incident.work()))
    }
}

/// The work in words.
pub(crate) fn work(work: &Work) -> String {
    match work {
        Work::Match => "match".into(),
        Work::Ask => "ask".into(),
        Work::Judge => "judge".into(),
        Work::Wait { until } => format!("wait until minute {}", minutes(*until)),
        Work::Call { step } => format!("call {step}"),
        Work::Find { step } => format!("find {step}"),
        Work::Settle { step } => format!("settle {step}"),
        Work::Conclude => "conclude".into(),
        Work::Watch { since } => format!("watch since minute {}", minutes(*since)),
        Work::GiveBack => "give back".into(),
        Work::Close { ending: Ending::Healed } => "close, healed".into(),
        Work::Close { ending: Ending::HealedItself } => "close, healed itself".into(),
        Work::Close { ending: Ending::HealedByOthers } => "close, healed by others".into(),
        Work::Nothing => "nothing".into(),
    }
}

pub(crate) fn why() -> Reason {
    Reason::Other { code: "told".into(), detail: "as told".into() }
}

pub(crate) fn engine() -> Actor {
    Actor::Engine("test".into())
}

fn delivery() -> DeliveryId {
    DeliveryId { source: "sns".parse().unwrap(), message: "1".into() }
}
