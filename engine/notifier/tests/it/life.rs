//! Lives of incidents as journal entries, for all tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use untoil_model::{
    Actor, Alarm, AlarmState, Body, Class, DeliveryId, Draft, Ending, Entry, FactValue, Hash,
    IncidentId, Limits, Mode, Period, Plan, Rate, Reason, RuleVersion, RunKind, RunOutcome, Sample,
    Seq, Standing, Step, StepOutcome, StepRef, Target, Verdict, Verify,
};

pub(crate) const START: &str = "2026-11-22T05:20:00Z";

/// Writes the entries of one incident, a few seconds apart.
pub(crate) struct Life {
    pub(crate) id: IncidentId,
    pub(crate) at: Timestamp,
    pub(crate) drafts: Vec<Draft>,
    alarm: Alarm,
    plan: Plan,
}

pub(crate) fn start() -> Timestamp {
    START.parse().unwrap()
}

pub(crate) fn delivery(n: &str) -> DeliveryId {
    DeliveryId { source: "sns".parse().unwrap(), message: n.into() }
}

fn engine() -> Actor {
    Actor::Engine("engine-1".into())
}

fn version() -> RuleVersion {
    "3f2a9c0d11e84b77".parse().unwrap()
}

fn alarm(name: &str) -> Alarm {
    Alarm {
        key: format!("cloudwatch:{name}").parse().unwrap(),
        source: "cloudwatch".parse().unwrap(),
        name: name.into(),
        state: AlarmState::Firing,
        changed_at: start(),
        severity: Some("SEV2".into()),
        reason: "Threshold Crossed: 1 datapoint [91.25] was > 85.0".into(),
        description: "web 서버 루트 디스크".into(),
        account: None,
        region: Some("ap-northeast-2".into()),
        namespace: Some("CWAgent".into()),
        metric: Some("disk_used_percent".into()),
        dimensions: BTreeMap::from([
            ("InstanceId".into(), "i-0a1b2c3d4e5f67890".into()),
            ("path".into(), "/".into()),
        ]),
        labels: BTreeMap::new(),
        value: Some(91.25),
        threshold: Some(85.0),
        link: None,
        origin: None,
    }
}

fn plan() -> Plan {
    let step = Step {
        action: "ssm.document".parse().unwrap(),
        target: "ec2/i-0a1b2c3d4e5f67890".parse().unwrap(),
        class: Class::B,
        params: BTreeMap::new(),
        says: "untoil-disk-reclaim on /, stop at 80 %".into(),
        after: Period::ZERO,
        settle: Period::mins(10),
        lease: None,
    };
    Plan {
        kind: RunKind::Remedy,
        rule: "disk-full".parse().unwrap(),
        version: version(),
        mode: Mode::Auto,
        target: step.target.clone(),
        parents: vec![],
        steps: vec![step],
        more: false,
        limits: Limits::default(),
        max_age: Period::mins(60),
        verify: Verify { clears_within: Period::mins(20), holds_for: Period::mins(5) },
        mention: Some("platform-oncall".into()),
    }
}

impl Life {
    /// Opened, nothing else.
    pub(crate) fn disk(name: &str) -> Self {
        let alarm = alarm(name);
        let id = IncidentId::derive(start(), &alarm.key, name);
        let at = start();
        let mut life = Self { id, at, drafts: Vec::new(), alarm, plan: plan() };
        let alarm = Arc::new(life.alarm.clone());
        life.add(1, Body::Opened { delivery: delivery(name), alarm, skewed_from: None });
        life
    }

    /// Opened, matched, read and planned in `mode`.
    pub(crate) fn planned(name: &str, mode: Mode) -> Self {
        let mut life = Self::disk(name);
        life.plan.mode = mode;
        let rule = life.plan.rule.clone();
        life.add(0, Body::Matched { rule, version: version(), passed: vec![] });
        let fact = FactValue {
            kind: "ssm.instance".into(),
            source: "ssm:DescribeInstanceInformation".into(),
            read_at: life.at,
            value: json!({ "ping": "Online", "platform": "Amazon Linux 2023", "agent": "3.3.987" }),
        };
        let facts = BTreeMap::from([("instance".to_owned(), fact)]);
        life.add(1, Body::FactsRead { facts: Arc::new(facts), missing: BTreeMap::new() });
        let plan = Arc::new(life.plan.clone());
        life.add(0, Body::Planned { run: life.id.run(1), part: 0, plan, printed: vec![] });
        life
    }

    pub(crate) fn add(&mut self, secs: i64, body: Body) -> &mut Self {
        self.by(secs, engine(), body)
    }

    pub(crate) fn by(&mut self, secs: i64, actor: Actor, body: Body) -> &mut Self {
        self.at = self.at.checked_add(SignedDuration::from_secs(secs)).unwrap();
        self.drafts.push(Draft::of(&self.id, self.at, actor, body));
        self
    }

    pub(crate) fn hash(&self) -> Hash {
        self.plan.hash()
    }

    pub(crate) fn judged(&mut self, verdict: Verdict) -> &mut Self {
        let body = Body::Judged {
            run: self.id.run(1),
            part: 0,
            verdict,
            rule: self.plan.rule.clone(),
            target: self.plan.target.clone(),
            parents: vec![],
            writes: true,
            authority: "reviewed rule, mode auto".into(),
            gates: BTreeMap::new(),
        };
        self.add(0, body)
    }

    pub(crate) fn ran(&mut self, outcome: StepOutcome) -> &mut Self {
        let step = StepRef { run: self.id.run(1), step: 0 };
        let does = Arc::new(self.plan.steps[0].clone());
        let not_after = self.at.checked_add(SignedDuration::from_mins(10)).unwrap();
        let marker = step.run.marker(0, 1);
        let started =
            Body::Started { step: step.clone(), attempt: 1, does: does.clone(), marker, not_after };
        self.add(1, started);
        self.add(1, Body::Sent { step: step.clone(), attempt: 1, handle: "cmd-1".into() });
        self.add(41, Body::Finished { step, attempt: 1, does, outcome })
    }

    pub(crate) fn reclaimed(&mut self) -> &mut Self {
        let output = "journal: 1.2 GiB freed\nrotated logs: 3.0 GiB freed";
        let evidence = json!({ "before_percent": 91, "after_percent": 78.25, "freed_mib": 4312, "output": output });
        self.ran(StepOutcome::Done { evidence })
    }

    pub(crate) fn cleared(&mut self, secs: i64) -> &mut Self {
        self.at = self.at.checked_add(SignedDuration::from_secs(secs)).unwrap();
        let alarm = Alarm {
            state: AlarmState::Resolved,
            value: Some(78.25),
            changed_at: self.at,
            reason: String::new(),
            ..self.alarm.clone()
        };
        let body = Body::Observed {
            delivery: delivery("ok"),
            alarm: Arc::new(alarm),
            standing: Standing::Cleared,
            skewed_from: None,
        };
        self.add(0, body)
    }

    pub(crate) fn again(&mut self, secs: i64) -> &mut Self {
        let alarm = Arc::new(self.alarm.clone());
        let body = Body::Observed {
            delivery: delivery("again"),
            alarm,
            standing: Standing::Duplicate,
            skewed_from: None,
        };
        self.add(secs, body)
    }

    pub(crate) fn concluded(
        &mut self,
        secs: i64,
        outcome: RunOutcome,
        why: Option<Reason>,
    ) -> &mut Self {
        self.at = self.at.checked_add(SignedDuration::from_secs(secs)).unwrap();
        let saw = if outcome == RunOutcome::Effective { "resolved" } else { "firing" };
        let samples = vec![Sample { at: self.at, what: "alarm".into(), saw: saw.into() }];
        let (rule, target) = (self.plan.rule.clone(), self.plan.target.clone());
        self.add(0, Body::Concluded { run: self.id.run(1), rule, target, outcome, why, samples })
    }

    pub(crate) fn escalated(&mut self, reason: Reason) -> &mut Self {
        self.add(0, Body::Escalated { reason, mention: self.plan.mention.clone() })
    }

    pub(crate) fn closed(&mut self, secs: i64, ending: Ending) -> &mut Self {
        self.add(secs, Body::Closed { ending })
    }

    /// The whole of a disk that is healed.
    pub(crate) fn healed(name: &str) -> Self {
        let mut life = Self::planned(name, Mode::Auto);
        life.judged(Verdict::Allow {})
            .reclaimed()
            .cleared(75)
            .concluded(300, RunOutcome::Effective, None)
            .closed(0, Ending::Healed);
        life
    }

    pub(crate) fn limit(&self) -> Reason {
        Reason::LimitTarget {
            target: self.plan.target.clone(),
            limit: Rate { n: 3, per: Period::hours(24) },
            used: 3,
            runs: vec![self.id.run(1), self.id.run(2)],
            next_at: self.at.checked_add(SignedDuration::from_hours(2)).unwrap(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.plan.target.clone()
    }
}

/// Drafts in their places.
pub(crate) fn sealed(drafts: &[Draft]) -> Vec<Entry> {
    let mut prev = Hash::GENESIS;
    let mut seq = Seq::START;
    let mut entries = Vec::new();
    for draft in drafts {
        seq = seq.next();
        let (entry, _) = Entry::seal(draft.clone(), seq, prev);
        prev = entry.hash;
        entries.push(entry);
    }
    entries
}

pub(crate) fn note(at: Timestamp, body: Body) -> Draft {
    Draft::new(at, engine(), body)
}
