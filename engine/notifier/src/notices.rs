//! What is told outside of any incident: rules, deliveries, pauses, the engine's mode.
//!
//! A rule that is broken in the same way, or a sender that sends what nobody can read again and
//! again, is told once; the second edits its message with the count.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use untoil_model::{Actor, Body, Entry, Source};

use crate::escape::cut;
use crate::voice::say;
use crate::{Key, Message, PartOf, Posted, Text, Voice, words};

/// Unreadable deliveries of one source within this time share a message.
const SHARED_FOR: SignedDuration = SignedDuration::from_mins(60);
/// What all rules are called where their folder cannot be read.
const FOLDER: &str = "*";
/// Rules remembered as broken; more than a library has.
const BROKEN_MAX: usize = 1_000;
/// Of an error's text.
const ERROR_UNITS_MAX: usize = 1_500;

/// What has been told, as it is noted beside the cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoticeBook {
    /// Broken rules with the error that was told.
    broken: BTreeMap<String, String>,
    /// The engine's mode, version and configuration as told.
    engine: Option<String>,
    unreadable: BTreeMap<Source, Shared>,
}

/// A message that several deliveries share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    since: Timestamp,
    n: u64,
    first: untoil_model::Seq,
    latest: String,
    posted: Option<Posted>,
    /// The channel that was configured then.
    under: Option<String>,
    /// Of the entry that was posted or counted last.
    #[serde(default)]
    last: untoil_model::Seq,
}

/// What to do about an entry of no incident.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Nothing.
    Silent,
    /// Say it.
    Post(Message),
    /// The shared message of this source has to be edited.
    Edit(Source),
}

impl NoticeBook {
    /// What an entry of no incident means for people. Changes the book as if it had been told.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm per kind of entry; cut in two it would not be exhaustive"
    )]
    pub(crate) fn hear(&mut self, entry: &Entry, voice: &Voice) -> Notice {
        let l = voice.language;
        let (headline, body) = match &entry.body {
            Body::RuleBroken { rule, error, kept } => {
                let known = self.broken.insert(rule.clone(), cut(error, ERROR_UNITS_MAX));
                if known.is_some_and(|known| known == cut(error, ERROR_UNITS_MAX)) {
                    return Notice::Silent;
                }
                if self.broken.len() > BROKEN_MAX {
                    self.broken.pop_first();
                }
                let goes_on = match kept {
                    None if rule == FOLDER => l
                        .pick("이미 읽은 규칙은 그대로 동작", "what was loaded before goes on")
                        .to_owned(),
                    Some(version) => say!(
                        l,
                        "마지막 정상 버전 {version} 계속 사용",
                        "its last good version {version} goes on"
                    ),
                    None => l
                        .pick(
                            "정상 버전 없음: 이 규칙은 동작하지 않음",
                            "there is no good version: this rule does not work",
                        )
                        .to_owned(),
                };
                let name = Text::new().code(words::quote(rule)).words(" · ").words(goes_on);
                let fix = Text::new().words(l.pick("확인: ", "Look: ")).code("untoil check");
                (
                    l.pick("🧩 규칙을 읽을 수 없음", "🧩 A rule cannot be loaded").to_owned(),
                    vec![name, Text::new().fence(cut(error, ERROR_UNITS_MAX)), fix],
                )
            }
            Body::RuleLoaded { rule, version, mode } => {
                // It was read, so the folder can be.
                let folder = self.broken.remove(FOLDER).is_some();
                let own = self.broken.remove(rule.as_str()).is_some();
                if !own && !folder {
                    return Notice::Silent;
                }
                let mode = words::mode(voice, *mode);
                let text =
                    say!(l, "버전 {version} · 모드 {mode}", "version {version} · mode {mode}");
                let headline = if own {
                    l.pick("🧩 규칙 복구됨", "🧩 The rule is loaded again")
                } else {
                    l.pick("🧩 규칙을 다시 읽음", "🧩 The rules can be read again")
                };
                (
                    headline.to_owned(),
                    vec![Text::new().code(rule.as_str()).words(" · ").words(text)],
                )
            }
            Body::RuleRemoved { rule } => {
                self.broken.remove(FOLDER);
                self.broken.remove(rule.as_str());
                (
                    l.pick("🧩 규칙 삭제됨", "🧩 A rule is gone").to_owned(),
                    vec![Text::new().code(rule.as_str())],
                )
            }
            Body::Paused { scope, reason } => {
                let text = Text::new()
                    .words(l.pick("범위 ", "scope "))
                    .code(words::quote(scope))
                    .words(format!(" · “{}”", words::quote(reason)));
                let how =
                    Text::new().words(l.pick("재개: ", "To go on: ")).code(words::resume(scope));
                (
                    l.pick(
                        "⏸️ 일시 정지: 자동 조치 없음",
                        "⏸️ Paused: nothing is done automatically",
                    )
                    .to_owned(),
                    vec![text, how],
                )
            }
            Body::Resumed { scope, reason } => {
                let text = Text::new()
                    .words(l.pick("범위 ", "scope "))
                    .code(words::quote(scope))
                    .words(format!(" · “{}”", words::quote(reason)));
                (l.pick("▶️ 재개됨", "▶️ Resumed").to_owned(), vec![text])
            }
            Body::EngineStarted { version, mode, config } => {
                let told = format!("{version} {} {}", mode.as_str(), config.short());
                if self.engine.replace(told.clone()) == Some(told) {
                    return Notice::Silent;
                }
                let mode = words::engine_mode(voice, *mode);
                let version = words::quote(version);
                (
                    say!(l, "⚙️ 엔진 모드: {mode}", "⚙️ Engine mode: {mode}"),
                    vec![
                        Text::new()
                            .words(say!(
                                l,
                                "버전 {version} · 설정 ",
                                "version {version} · configuration "
                            ))
                            .code(config.short()),
                    ],
                )
            }
            Body::Unreadable { delivery, why } => {
                return self.unreadable(entry, &delivery.source, why, voice);
            }
            Body::Escalated { reason, .. } => (
                l.pick("🚨 사람이 필요합니다", "🚨 A person is needed").to_owned(),
                vec![
                    Text::new().words(words::reason(voice, reason)),
                    Text::new().words(words::advice(voice, reason)),
                ],
            ),
            Body::EngineStopped {}
            | Body::Received { .. }
            | Body::Understood { .. }
            | Body::Decoded { .. }
            | Body::Opened { .. }
            | Body::Observed { .. }
            | Body::Looked { .. }
            | Body::Unmatched {}
            | Body::Matched { .. }
            | Body::FactsRead { .. }
            | Body::Planned { .. }
            | Body::RuleFailed { .. }
            | Body::Judged { .. }
            | Body::Approved { .. }
            | Body::Rejected { .. }
            | Body::Started { .. }
            | Body::Sent { .. }
            | Body::Backoff { .. }
            | Body::Finished { .. }
            | Body::Concluded { .. }
            | Body::LeaseDropped { .. }
            | Body::Archived { .. }
            | Body::Closed { .. } => return Notice::Silent,
        };
        Notice::Post(message(entry, voice, headline, body))
    }

    fn unreadable(&mut self, entry: &Entry, source: &Source, why: &str, voice: &Voice) -> Notice {
        if let Some(shared) = self.unreadable.get_mut(source) {
            let fresh = entry.at.duration_since(shared.since) < SHARED_FOR;
            if fresh && shared.posted.is_some() {
                shared.n = shared.n.saturating_add(1);
                shared.latest = words::quote(why);
                shared.last = entry.seq;
                return Notice::Edit(source.clone());
            }
        }
        let shared = Shared {
            since: entry.at,
            n: 1,
            first: entry.seq,
            latest: words::quote(why),
            posted: None,
            under: None,
            last: entry.seq,
        };
        self.unreadable.insert(source.clone(), shared);
        match self.shared(source, voice) {
            Some((_, message)) => Notice::Post(message),
            None => Notice::Silent,
        }
    }

    /// Forgets messages in a channel that is no longer the configured one; the next is posted anew.
    pub(crate) fn move_to(&mut self, channel: &str) {
        self.unreadable.retain(|_, shared| {
            let under = shared.under.as_deref();
            !shared.posted.as_ref().is_some_and(|posted| posted.is_elsewhere(under, channel))
        });
    }

    /// Notes where the notice that was just posted is, if it may have to be edited.
    pub(crate) fn posted(&mut self, entry: &Entry, posted: &Posted, channel: &str) {
        if let Body::Unreadable { delivery, .. } = &entry.body
            && let Some(shared) = self.unreadable.get_mut(&delivery.source)
        {
            shared.posted = Some(posted.clone());
            shared.under = Some(channel.to_owned());
        }
    }

    /// The shared message of a source as it should read now, and where it is.
    pub(crate) fn shared(
        &self,
        source: &Source,
        voice: &Voice,
    ) -> Option<(Option<Posted>, Message)> {
        let l = voice.language;
        let shared = self.unreadable.get(source)?;
        let (n, why) = (shared.n, &shared.latest);
        let mut head =
            say!(l, "📭 읽을 수 없는 수신: {source}", "📭 A delivery cannot be read: {source}");
        if n > 1 {
            head.push_str(&say!(l, " · {n}건", " · {n} of them"));
        }
        let body = vec![
            Text::new().words(why),
            Text::new()
                .words(l.pick(
                    "원본 보관됨. 아무 조치 없음. 보기: ",
                    "The original is kept, nothing is done. Look: ",
                ))
                .code(format!("untoil audit show {}", shared.last.max(shared.first))),
        ];
        let seq = shared.first;
        let stamp = voice.stamp(shared.since);
        let small = Text::new().words(say!(l, "기록 #{seq} · {stamp}", "entry #{seq} · {stamp}"));
        let key = Key { incident: None, part: PartOf::Notice, seq, upto: seq };
        let headline = Text::new().bold(head);
        Some((
            shared.posted.clone(),
            Message { key, subject: String::new(), headline, body, small },
        ))
    }
}

fn message(entry: &Entry, voice: &Voice, headline: String, body: Vec<Text>) -> Message {
    let (seq, stamp) = (entry.seq, voice.stamp(entry.at));
    let mut small =
        Text::new().words(say!(voice.language, "기록 #{seq} · {stamp}", "entry #{seq} · {stamp}"));
    if let Actor::Human(name) = &entry.actor {
        small = small.words(" · ").words(words::quote(name));
    }
    let key = Key { incident: None, part: PartOf::Notice, seq, upto: seq };
    Message { key, subject: String::new(), headline: Text::new().bold(headline), body, small }
}
