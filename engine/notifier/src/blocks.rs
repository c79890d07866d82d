//! A message for people, and its Block Kit JSON within Slack's limits.
//!
//! Limits (docs.slack.dev, "Blocks", "chat.postMessage"): 50 blocks, 3,000 characters in a text
//! object. The sum of all text fails with `msg_blocks_too_long` at about 13,200 characters, which
//! is written nowhere (slackapi/bolt-js issue 2509).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use untoil_model::{IncidentId, Seq};

use crate::Text;
use crate::escape::{clean, cut, push_escaped, units};

/// Text of one object; Slack takes 3,000.
const OBJECT_UNITS_MAX: usize = 3_000;
/// Text of all blocks together, under the unwritten limit.
const TOTAL_UNITS_MAX: usize = 12_000;
/// Blocks of a message; Slack takes 50.
const BLOCKS_MAX: usize = 50;
/// The fallback text; Slack advises 4,000 and phones show far less.
const FALLBACK_UNITS_MAX: usize = 4_000;
/// The largest paragraph of the fallback: notifications are read at a glance.
const FALLBACK_PART_MAX: usize = 600;
/// What a message is about, in the fallback.
const SUBJECT_UNITS_MAX: usize = 200;
/// Below this a further block would be noise.
const ROOM_MIN: usize = 40;

/// What a message tells, so that it can be found again: entries `seq` to `upto` of an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The incident; none for a notice.
    pub incident: Option<IncidentId>,
    /// Whether it is the thread's parent or one of its replies.
    pub part: PartOf,
    /// The first entry it tells.
    pub seq: Seq,
    /// The last one.
    pub upto: Seq,
}

/// Which part of a thread a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartOf {
    /// The message that heads an incident's thread, edited in place.
    Parent,
    /// A reply in it.
    Reply,
    /// A message of no incident.
    Notice,
}

impl Key {
    /// Whether a message with this key is the one that `wanted` would make.
    #[must_use]
    pub fn is(&self, wanted: &Self) -> bool {
        let place = self.part == PartOf::Parent || self.seq == wanted.seq;
        place && self.part == wanted.part && self.incident == wanted.incident
    }
}

/// What is said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// How it is found again.
    pub key: Key,
    /// What it is about, for the fallback alone: a phone shows no thread.
    pub subject: String,
    /// The first line.
    pub headline: Text,
    /// Paragraphs.
    pub body: Vec<Text>,
    /// Small print: where and when it is recorded.
    pub small: Text,
}

impl Message {
    /// The fallback text: makes sense alone, for phones and screen readers.
    #[must_use]
    pub fn fallback(&self) -> String {
        let mut lines = Vec::new();
        let head = self.headline.plain();
        let subject = clean(&self.subject);
        if subject.is_empty() || head.contains(&subject) {
            lines.push(head);
        } else {
            lines.push(format!("{} · {head}", cut(&subject, SUBJECT_UNITS_MAX)));
        }
        lines.extend(self.body.iter().map(Text::plain));
        let mut out = String::new();
        for line in lines {
            let mut escaped = String::new();
            push_escaped(&mut escaped, &cut(&line.replace('`', ""), FALLBACK_PART_MAX));
            let room = FALLBACK_UNITS_MAX - units(&out);
            if units(&escaped) + 1 > room {
                break;
            }
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&escaped);
        }
        out
    }

    /// The Block Kit blocks.
    #[must_use]
    pub fn blocks(&self) -> Value {
        let small = self.small.mrkdwn(OBJECT_UNITS_MAX);
        let mut left = TOTAL_UNITS_MAX - units(&small).max(1);
        let mut blocks = Vec::new();
        let mut first = true;
        for text in std::iter::once(&self.headline).chain(&self.body) {
            if text.is_empty() {
                continue;
            }
            // One place is kept for the small print.
            if blocks.len() + 1 >= BLOCKS_MAX || (!first && left < ROOM_MIN) {
                break;
            }
            let text = text.mrkdwn(left.min(OBJECT_UNITS_MAX));
            if text.trim().is_empty() && !first {
                continue;
            }
            left = left.saturating_sub(units(&text).max(1));
            blocks.push(json!({ "type": "section", "text": mrkdwn(&text) }));
            first = false;
        }
        if !self.small.is_empty() {
            blocks.push(json!({ "type": "context", "elements": [mrkdwn(&small)] }));
        }
        Value::Array(blocks)
    }

    /// The metadata by which it is found again.
    #[must_use]
    pub fn metadata(&self) -> Value {
        json!({ "event_type": METADATA_TYPE, "event_payload": {
            "incident": self.key.incident.as_ref().map_or("", IncidentId::as_str),
            "part": self.key.part,
            "seq": self.key.seq,
            "upto": self.key.upto,
        }})
    }
}

/// The `event_type` of our messages' metadata.
pub(crate) const METADATA_TYPE: &str = "untoil_entry";

/// Reads [`Message::metadata`] back; `None` for anybody else's.
pub(crate) fn key_of(metadata: &Value) -> Option<Key> {
    if metadata.get("event_type")?.as_str()? != METADATA_TYPE {
        return None;
    }
    let payload = metadata.get("event_payload")?;
    let incident = match payload.get("incident")?.as_str()? {
        "" => None,
        id => Some(id.parse().ok()?),
    };
    Some(Key {
        incident,
        part: serde_json::from_value(payload.get("part")?.clone()).ok()?,
        seq: Seq(payload.get("seq")?.as_u64()?),
        upto: Seq(payload.get("upto")?.as_u64()?),
    })
}

/// `verbatim` keeps Slack from linking names and addresses by itself.
fn mrkdwn(text: &str) -> Value {
    // A text object must not be empty.
    let text = if text.trim().is_empty() { "…" } else { text };
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}
