//! The story of one incident: what its thread says, made from its entries alone.
//!
//! [`Story::hear`] moves on by one entry and says what that adds to the thread: at most one reply,
//! and whether the parent reads differently now. It is pure, so a story that was forgotten is told
//! again by hearing the same entries, and the words come out the same.

use jiff::{SignedDuration, Timestamp};
use untoil_model::{
    Actor, Alarm, Body, Entry, Hash, Incident, IncidentId, Reason, Standing, StepOutcome, Target,
    Verdict, Work,
};

use crate::told::{self, Told};
use crate::voice::say;
use crate::{Key, Message, PartOf, Text, Voice, words};

/// Repeats of what was said edit the parent at most this often (domain of the collapse: one thread).
const REPEAT_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// Acts that the closing summary lists.
const DONE_MAX: usize = 10;
/// Dimensions that stand for the target until a plan names it.
const DIMENSIONS_SHOWN: usize = 3;
/// The labels that hold the team's own words for an alarm (`enrich` in `policy.yaml`).
const TEAM_LABELS: [&str; 3] = ["service", "environment", "owner"];

/// The team's own words for what an alarm is about and whose it is.
pub fn team_words(alarm: &Alarm) -> impl Iterator<Item = &str> {
    TEAM_LABELS.iter().filter_map(|label| alarm.labels.get(*label)).map(String::as_str)
}

/// What an entry adds to the thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// A reply to append.
    pub reply: Option<Message>,
    /// Whether the parent has to be edited.
    pub parent: Parent,
}

/// Whether the parent reads as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// As before, or different by a count that can wait.
    Same,
    /// It says something new.
    Changed,
}

/// One incident as its thread tells it.
#[derive(Debug, Clone)]
pub struct Story {
    pub(crate) incident: Incident,
    pub(crate) target: Option<Target>,
    /// The last denial's code and how often it was given in a row.
    denial: Option<(String, u32)>,
    repeat_shown: Option<Timestamp>,
    clears: u32,
    losses: u32,
    /// The reason that the thread said last, so that a call for a person need not repeat it.
    pub(crate) said: Option<Reason>,
    /// The reason a person is needed for, until the engine takes over again.
    calling: Option<Reason>,
    /// What took effect, for the closing summary.
    pub(crate) done: Vec<String>,
    facts_told: Option<Hash>,
    pub(crate) step_began: Option<Timestamp>,
    heard_at: Timestamp,
}

impl Story {
    /// The story that an `opened` entry begins; `None` for any other entry. Hear that entry first.
    #[must_use]
    pub fn open(entry: &Entry) -> Option<Self> {
        let incident = Incident::open(entry)?;
        Some(Self {
            incident,
            target: None,
            denial: None,
            repeat_shown: None,
            clears: 0,
            losses: 0,
            said: None,
            calling: None,
            done: Vec::new(),
            facts_told: None,
            step_began: None,
            heard_at: entry.at,
        })
    }

    /// The incident so far.
    #[must_use]
    pub fn incident(&self) -> &Incident {
        &self.incident
    }

    /// Moves on by one of its incident's entries.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm per kind of entry; cut in two it would not be exhaustive"
    )]
    pub fn hear(&mut self, entry: &Entry, voice: &Voice) -> Heard {
        self.incident.apply(entry);
        self.heard_at = entry.at;
        let mut parent = Parent::Changed;
        let told = match &entry.body {
            Body::Opened { alarm, skewed_from, .. } => {
                Some(told::evidence(voice, alarm, *skewed_from))
            }
            Body::Observed { alarm, standing, .. } | Body::Looked { alarm, standing } => {
                let told = self.sender_spoke(voice, alarm, *standing);
                if told.is_none() && !matches!(standing, Standing::Cleared | Standing::Lost) {
                    parent = self.repeat(entry.at);
                }
                told
            }
            Body::Unmatched {} => Some(told::unmatched(voice)),
            Body::Matched { .. } => None,
            Body::FactsRead { facts, missing } => {
                let hash = Hash::of_json(&(
                    facts.iter().map(|(k, f)| (k, &f.value)).collect::<Vec<_>>(),
                    missing,
                ));
                let fresh = self.facts_told.replace(hash) != Some(hash);
                let some = !facts.is_empty() || !missing.is_empty();
                (fresh && some).then(|| told::facts(voice, facts, missing))
            }
            Body::Planned { part, plan, .. } => {
                self.target = Some(plan.target.clone());
                Some(told::plan(voice, plan, *part))
            }
            Body::RuleFailed { rule, error, .. } => {
                self.said = Some(Reason::RuleFailed { rule: rule.clone(), error: error.clone() });
                Some(told::rule_failed(voice, rule, error))
            }
            Body::Judged { .. } => {
                let (told, edited) = self.judged(entry, voice);
                parent = edited;
                told
            }
            Body::Approved { plan, note } => {
                Some(told::answered(voice, &entry.actor, *plan, note, "👍"))
            }
            Body::Rejected { plan, note } => {
                Some(told::answered(voice, &entry.actor, *plan, note, "👎"))
            }
            Body::Started { .. } => {
                self.step_began = Some(entry.at);
                None
            }
            Body::Sent { .. } | Body::Backoff { .. } => None,
            Body::Finished { does, outcome, .. } => {
                if let (StepOutcome::Done { .. }, true) = (outcome, does.class.writes()) {
                    self.remember(&told::step_line(does));
                }
                let took = self.step_began.take().map(|began| voice.between(began, entry.at));
                Some(told::result(voice, does, outcome, took))
            }
            Body::Concluded { outcome, why, samples, .. } => {
                self.said.clone_from(why);
                if *outcome == untoil_model::RunOutcome::Effective {
                    self.calling = None;
                }
                Some(told::verification(voice, *outcome, why.as_ref(), samples))
            }
            Body::LeaseDropped { target, reason } => {
                self.said = Some(reason.clone());
                Some(told::lease_dropped(voice, target, reason))
            }
            Body::Escalated { reason, mention } => {
                let known = self.said.as_ref() == Some(reason);
                self.calling = Some(reason.clone());
                self.said = Some(reason.clone());
                let said = if known { told::Said::Already } else { told::Said::NotYet };
                Some(told::escalation(voice, reason, mention.as_deref(), said))
            }
            Body::Closed { ending } => Some(told::summary(voice, self, *ending, entry.at)),
            Body::EngineStarted { .. }
            | Body::EngineStopped {}
            | Body::RuleLoaded { .. }
            | Body::RuleBroken { .. }
            | Body::RuleRemoved { .. }
            | Body::Archived { .. }
            | Body::Paused { .. }
            | Body::Resumed { .. }
            | Body::Received { .. }
            | Body::Unreadable { .. }
            | Body::Understood { .. }
            | Body::Decoded { .. } => {
                parent = Parent::Same;
                None
            }
        };
        Heard { reply: told.map(|told| self.reply(entry, voice, told)), parent }
    }

    fn reply(&self, entry: &Entry, voice: &Voice, told: Told) -> Message {
        let stamp = voice.stamp(entry.at);
        let seq = entry.seq;
        let mut small = Text::new().words(say!(
            voice.language,
            "기록 #{seq} · {stamp}",
            "entry #{seq} · {stamp}"
        ));
        if let Actor::Human(name) = &entry.actor {
            small = small.words(" · ").words(words::quote(name));
        }
        Message {
            key: Key {
                incident: Some(self.incident.id.clone()),
                part: PartOf::Reply,
                seq,
                upto: seq,
            },
            subject: self.subject(),
            headline: told.headline,
            body: told.body,
            small,
        }
    }

    /// Several replies in one: what is posted after an outage rather than the backlog.
    #[must_use]
    pub fn digest(&self, replies: &[Message], voice: &Voice) -> Option<Message> {
        /// Lines of it; the rest is counted.
        const LINES_MAX: usize = 15;
        let (first, last) = (replies.first()?, replies.last()?);
        let n = replies.len();
        let headline =
            say!(voice.language, "📨 늦게 전하는 요약: {n}건", "📨 Late summary: {n} events");
        let mut lines = Text::new();
        let skipped = n.saturating_sub(LINES_MAX);
        if skipped > 0 {
            lines = lines
                .words(say!(
                    voice.language,
                    "앞선 {skipped}건 생략",
                    "{skipped} earlier ones left out"
                ))
                .line();
        }
        for (at, reply) in replies.iter().skip(skipped).enumerate() {
            if at > 0 {
                lines = lines.line();
            }
            let seq = reply.key.seq;
            lines = lines.words(format!("#{seq} ")).then(reply.headline.clone());
        }
        let mut body = vec![lines];
        body.extend(last.body.iter().cloned());
        // A call for a person must not drown in a summary.
        let calls = replies.iter().rev().filter(|reply| reply.key != last.key);
        body.extend(calls.flat_map(|reply| &reply.body).find(|text| text.has_mention()).cloned());
        Some(Message {
            key: Key { upto: last.key.upto, ..first.key.clone() },
            subject: self.subject(),
            headline: Text::new().bold(headline),
            body,
            small: last.small.clone(),
        })
    }

    fn sender_spoke(&mut self, voice: &Voice, alarm: &Alarm, standing: Standing) -> Option<Told> {
        match standing {
            Standing::Cleared => {
                self.clears = self.clears.saturating_add(1);
                (self.clears == 1).then(|| told::cleared(voice, alarm))
            }
            Standing::Lost => {
                self.losses = self.losses.saturating_add(1);
                (self.losses == 1).then(|| told::lost(voice, alarm))
            }
            Standing::Again
            | Standing::Duplicate
            | Standing::OutOfOrder
            | Standing::NothingOpen => None,
        }
    }

    fn judged(&mut self, entry: &Entry, voice: &Voice) -> (Option<Told>, Parent) {
        let Body::Judged { verdict, rule, target, authority, writes, .. } = &entry.body else {
            return (None, Parent::Same);
        };
        self.target = Some(target.clone());
        match verdict {
            Verdict::Allow {} => {
                self.denial = None;
                self.calling = None;
                let version = self.incident.rule.as_ref().map(|(_, version)| version.as_str());
                let told = told::allowed(voice, rule, version.unwrap_or_default(), authority);
                // A plan that only reads needs no word of permission.
                (writes.then_some(told), Parent::Changed)
            }
            Verdict::Hold { reason, until } => {
                if self.said.as_ref() == Some(reason) {
                    return (None, self.repeat(entry.at));
                }
                self.said = Some(reason.clone());
                let held = told::Held { reason, until: *until };
                (Some(told::held(voice, &held, &self.incident.id)), Parent::Changed)
            }
            Verdict::Deny { reason } => {
                self.said = Some(reason.clone());
                match &mut self.denial {
                    Some((code, n)) if code == reason.code() => {
                        *n = n.saturating_add(1);
                        (None, self.repeat(entry.at))
                    }
                    denial => {
                        *denial = Some((reason.code().to_owned(), 1));
                        (Some(told::denied(voice, reason)), Parent::Changed)
                    }
                }
            }
        }
    }

    fn repeat(&mut self, at: Timestamp) -> Parent {
        let due = self.repeat_shown.is_none_or(|shown| at.duration_since(shown) >= REPEAT_EVERY);
        if due {
            self.repeat_shown = Some(at);
            return Parent::Changed;
        }
        Parent::Same
    }

    fn remember(&mut self, line: &str) {
        if self.done.len() < DONE_MAX {
            self.done.push(line.to_owned());
        }
    }

    /// What it is about, in a few words.
    fn subject(&self) -> String {
        words::quote(&self.incident.alarm.name)
    }

    /// What is, or would be, acted on; the alarm's dimensions until a plan names it.
    fn place(&self) -> String {
        if let Some(target) = &self.target {
            return target.to_string();
        }
        let dimensions = self.incident.first.dimensions.iter().take(DIMENSIONS_SHOWN);
        let parts = dimensions.map(|(name, value)| format!("{name}={}", words::quote(value)));
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The message that heads the thread, as it should read now.
    #[must_use]
    pub fn parent(&self, voice: &Voice) -> Message {
        let incident = &self.incident;
        let status = self.status(voice);
        let mut headline = Text::new().words(format!("{} ", status.colour)).bold(status.word);
        if let Some(severity) = &incident.alarm.severity {
            headline = headline.words(" · ").words(words::quote(severity));
        }
        headline = headline.words(" · ").bold(self.subject());
        let place = self.place();
        if !place.is_empty() {
            headline = headline.words(" · ").words(place);
        }
        for word in team_words(&incident.alarm) {
            headline = headline.words(" · ").words(words::quote(word));
        }
        let mut body = vec![Text::new().words(status.line)];
        let next = voice.language.pick("다음: ", "Next: ");
        body.push(Text::new().words(next).then(status.next));
        if let Some(counts) = self.counts(voice) {
            body.push(Text::new().words(counts));
        }
        let began = voice.stamp(incident.opened_at);
        let mut small = Text::new().words(say!(
            voice.language,
            "시작 {began} · 사건 ",
            "since {began} · incident "
        ));
        small = small.code(incident.id.as_str());
        if let Some((rule, version)) = &incident.rule {
            small = small.words(voice.language.pick(" · 규칙 ", " · rule ")).code(rule.as_str());
            small = small.words(format!(" {version}"));
        }
        let key = Key {
            incident: Some(incident.id.clone()),
            part: PartOf::Parent,
            seq: incident.seq,
            upto: incident.seq,
        };
        Message { key, subject: self.subject(), headline, body, small }
    }

    fn counts(&self, voice: &Voice) -> Option<String> {
        let mut parts = Vec::new();
        let n = self.incident.repeats.saturating_sub(self.clears.min(1) + self.losses.min(1));
        if n > 0 {
            parts.push(say!(
                voice.language,
                "알람 재수신 {n}회",
                "the alarm was repeated {n} times"
            ));
        }
        if let Some((_, n @ 2..)) = self.denial {
            parts.push(say!(
                voice.language,
                "같은 이유로 {n}번 거부",
                "denied {n} times for the same reason"
            ));
        }
        (!parts.is_empty()).then(|| parts.join(" · "))
    }

    fn status(&self, voice: &Voice) -> Status {
        let l = voice.language;
        let id = &self.incident.id;
        let why = || Text::new().code(format!("untoil why {id}"));
        if let Some(ending) = self.incident.ending() {
            let took = voice.between(self.incident.opened_at, self.heard_at);
            let how = words::ending(voice, ending);
            let line = say!(l, "{how} · 소요 {took}", "{how} after {took}");
            return Status { colour: "🟢", word: l.pick("종료", "Closed"), line, next: why() };
        }
        if let Some(reason) = &self.calling {
            let line = words::reason(voice, reason);
            let next = Text::new().words(words::advice(voice, reason)).words(" · ").then(why());
            return Status {
                colour: "🔴",
                word: l.pick("사람 필요", "Needs a person"),
                line,
                next,
            };
        }
        self.status_in_work(voice)
    }

    #[expect(clippy::too_many_lines, reason = "one arm per phase, read side by side")]
    fn status_in_work(&self, voice: &Voice) -> Status {
        let l = voice.language;
        let incident = &self.incident;
        let say = |text: &str| Text::new().words(text);
        let (colour, word, line, next) = match incident.phase() {
            "unmatched" => (
                "🔴",
                l.pick("규칙 없음", "No rule"),
                l.pick("이 알람에 맞는 규칙 없음", "no rule answers this alarm").to_owned(),
                say(l.pick("직접 확인 필요 · 규칙 작성 ", "please look · write one with "))
                    .code("docs/rules.md"),
            ),
            "planned" => (
                "🟡",
                l.pick("검토 중", "Planning"),
                self.doing(),
                say(l.pick("가드 판단", "the guard's judgement")),
            ),
            "held" => {
                let line =
                    incident.held().map(|reason| words::reason(voice, reason)).unwrap_or_default();
                let approval = matches!(incident.held(), Some(Reason::ApprovalMissing { .. }));
                let word = if approval {
                    l.pick("승인 대기", "Waiting for approval")
                } else {
                    l.pick("대기", "Waiting")
                };
                ("🟡", word, line, self.next_of_held(voice))
            }
            "running" => (
                "🟡",
                l.pick("조치 중", "Acting"),
                self.doing(),
                say(l.pick("결과 확인", "its result")),
            ),
            "watching" => {
                let part = incident.run.as_ref().and_then(untoil_model::Run::part);
                let verify =
                    part.map(|part| words::verify(voice, part.plan.verify)).unwrap_or_default();
                let line = if incident.is_clear() {
                    l.pick(
                        "알람 해제됨, 유지 확인 중",
                        "the alarm is clear; watching whether it stays so",
                    )
                } else {
                    l.pick(
                        "조치 완료, 알람 해제 확인 중",
                        "done; watching whether the alarm clears",
                    )
                };
                ("🟡", l.pick("확인 중", "Verifying"), line.to_owned(), say(&verify))
            }
            "lent" => {
                let line = incident.lease.as_ref().map(|(lease, _)| {
                    let (target, before, after) = (&lease.target, lease.before, lease.after);
                    say!(
                        l,
                        "임시 변경 유지 중: {target} {before} → {after}",
                        "a temporary change is out: {target} {before} → {after}"
                    )
                });
                (
                    "🟡",
                    l.pick("임시 변경 중", "On loan"),
                    line.unwrap_or_default(),
                    say(l.pick("알람 해제 후 되돌림", "it is given back once the alarm is clear")),
                )
            }
            "open" if incident.is_clear() => (
                "🟢",
                l.pick("해제됨", "Cleared"),
                l.pick("알람 해제 확인", "the alarm is clear").to_owned(),
                say(l.pick("종료", "close")),
            ),
            "open" => {
                let line = incident.denied.as_ref().map(|reason| words::reason(voice, reason));
                let none = || l.pick("더 할 조치 없음", "nothing more to do").to_owned();
                (
                    "🟡",
                    l.pick("조치 없음", "Not acting"),
                    line.unwrap_or_else(none),
                    say(l.pick("알람 해제 대기", "wait for the alarm to clear")),
                )
            }
            _ => (
                "🔴",
                words::state(voice, incident.alarm.state),
                told::first_sight(voice, &incident.alarm),
                say(l.pick("규칙 확인", "look for a rule, read facts")),
            ),
        };
        Status { colour, word, line, next }
    }

    /// The step that is next or under way.
    fn doing(&self) -> String {
        let Some(run) = &self.incident.run else { return String::new() };
        let open = run.steps.iter().enumerate().find(|(_, (_, progress))| {
            !matches!(progress, untoil_model::Progress::Finished { .. })
        });
        match open {
            Some((n, (step, _))) => {
                format!("{}/{} · {}", n + 1, run.steps.len(), told::step_says(step))
            }
            None => {
                let steps = run.part().map(|part| part.plan.steps.as_slice()).unwrap_or_default();
                steps.iter().map(told::step_says).collect::<Vec<_>>().join(" → ")
            }
        }
    }

    fn next_of_held(&self, voice: &Voice) -> Text {
        if let Some(Reason::ApprovalMissing { plan, .. }) = self.incident.held() {
            return told::how_to_answer(voice, &self.incident.id, plan);
        }
        if let Work::Wait { until } = self.incident.work() {
            let until = voice.time(until);
            return Text::new().words(say!(
                voice.language,
                "{until} 다시 판단",
                "judged again at {until}"
            ));
        }
        Text::new().words(voice.language.pick("다시 판단", "judged again"))
    }

    /// The incident's id.
    #[must_use]
    pub fn id(&self) -> &IncidentId {
        &self.incident.id
    }
}

struct Status {
    colour: &'static str,
    word: &'static str,
    line: String,
    next: Text,
}
