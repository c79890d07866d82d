//! The canonical text of an entry (RFC 8785), put together by hand.
//!
//! An entry's outer members are known, so they are written in their order here, and of the kind that is
//! written for every delivery (`received`) the inner ones as well. The test at the end holds each text
//! against the general canonicaliser's.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::canonical::{EXACT_MAX, Page, canonical};
use crate::entry::TEXT_VERSION;
use crate::{Actor, AlarmKey, Body, IncidentId, Seq};

/// Room for a `received` entry with ids of the usual length.
const USUAL_BYTES: usize = 448;

/// What entries are sealed on. Whoever seals many keeps one, and its room is used again.
#[derive(Debug, Default)]
pub struct Sheet(pub(crate) Page);

impl Sheet {
    /// The text of the entry that was sealed on it last.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

/// Writes the text up to the entry's place.
pub(crate) fn head(
    page: &mut Page,
    (at, actor): (Timestamp, &Actor),
    (incident, alarm): (Option<&IncidentId>, Option<&AlarmKey>),
    body: &Body,
) {
    page.text.clear();
    page.text.reserve(USUAL_BYTES);
    let (kind, name) = match actor {
        Actor::Engine(name) => ("{\"actor\":{\"engine\":", name),
        Actor::Human(name) => ("{\"actor\":{\"human\":", name),
        Actor::Sender(name) => ("{\"actor\":{\"sender\":", name),
    };
    page.text.push_str(kind);
    page.quote(name);
    page.text.push('}');
    if let Some(alarm) = alarm {
        page.text.push_str(",\"alarm\":");
        page.quote(alarm.as_str());
    }
    write!(page.text, ",\"at\":\"{at}\",\"body\":").expect("a String takes everything");
    if !received(page, body) {
        page.append(body);
    }
    if let Some(incident) = incident {
        page.text.push_str(",\"incident\":");
        page.quote(incident.as_str());
    }
}

/// Writes the entry's place behind its head.
pub(crate) fn place(text: &mut String, seq: Seq) {
    if seq.0 > EXACT_MAX {
        write!(text, ",\"seq\":{}", canonical(&seq)).expect("a String takes everything");
    } else {
        write!(text, ",\"seq\":{seq}").expect("a String takes everything");
    }
    write!(text, ",\"v\":{TEXT_VERSION}}}").expect("a String takes everything");
}

/// Writes a `received` body; says whether it was one.
fn received(page: &mut Page, body: &Body) -> bool {
    let Body::Received { delivery, bytes, sha256 } = body else { return false };
    if *bytes > EXACT_MAX {
        return false;
    }
    write!(page.text, "{{\"received\":{{\"bytes\":{bytes},\"delivery\":{{\"message\":")
        .expect("a String takes everything");
    page.quote(&delivery.message);
    page.text.push_str(",\"source\":");
    page.quote(delivery.source.as_str());
    write!(page.text, "}},\"sha256\":\"{sha256}\"}}}}").expect("a String takes everything");
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{DeliveryId, Draft, Entry, Hash, Reason};

    /// The text as the canonicaliser alone writes it.
    fn by_canonicaliser(entry: &Entry) -> String {
        let mut whole = json!({
            "v": TEXT_VERSION, "seq": entry.seq, "at": entry.at, "actor": entry.actor,
            "body": entry.body,
        });
        if let Some(incident) = &entry.incident {
            whole["incident"] = Value::from(incident.as_str());
        }
        if let Some(alarm) = &entry.alarm {
            whole["alarm"] = Value::from(alarm.as_str());
        }
        serde_json_canonicalizer::to_string(&whole).unwrap()
    }

    fn check(draft: Draft, seq: Seq) {
        let head = draft.head();
        let (entry, text) = Entry::seal(draft, seq, Hash::GENESIS);
        assert_eq!(text, by_canonicaliser(&entry));
        let mut sheet = used();
        assert_eq!(Entry::seal_on(&mut sheet, unsealed(&entry), seq, Hash::GENESIS), entry);
        assert_eq!(sheet.text(), text);
        assert_eq!(Entry::seal_head_on(&mut sheet, &head, seq, Hash::GENESIS), entry.hash);
        assert_eq!(sheet.text(), text);
        assert_eq!(Entry::seal_text(&head, seq, Hash::GENESIS), (text, entry.hash));
    }

    /// A sheet on which another entry was written.
    fn used() -> Sheet {
        let mut sheet = Sheet::default();
        let body = Body::Paused { scope: "all".into(), reason: "x".repeat(9) };
        let draft = Draft::new(Timestamp::UNIX_EPOCH, Actor::Human("kim".into()), body);
        Entry::seal_on(&mut sheet, draft, Seq(1), Hash::GENESIS);
        sheet
    }

    fn unsealed(entry: &Entry) -> Draft {
        let Entry { at, actor, incident, alarm, body, .. } = entry.clone();
        Draft { at, actor, incident, alarm, body }
    }

    fn bodies() -> impl Strategy<Value = Body> {
        let delivery = |message| DeliveryId { source: "sns".parse().unwrap(), message };
        let received = (any::<String>(), any::<u64>(), any::<[u8; 32]>());
        prop_oneof![
            received.prop_map(move |(message, bytes, hash)| Body::Received {
                delivery: delivery(message),
                bytes,
                sha256: Hash::from_bytes(hash),
            }),
            any::<(String, String)>().prop_map(|(scope, reason)| Body::Paused { scope, reason }),
            any::<String>()
                .prop_map(move |why| Body::Unreadable { delivery: delivery("1".into()), why }),
            any::<(String, String)>().prop_map(|(fact, why)| Body::Escalated {
                reason: Reason::FactUnavailable { fact, why },
                mention: None,
            }),
            Just(Body::Unmatched {}),
        ]
    }

    proptest! {
        #[test]
        fn every_text_is_what_the_canonicaliser_writes(
            (who, name) in (0..3, any::<String>()),
            (micros, seq) in (-377_705_023_201_000_000_i64..=253_402_207_200_999_999, any::<u64>()),
            alarm in proptest::option::of("[^\\x00-\\x1f\\x7f-\\x9f]{1,60}"),
            incident in proptest::option::of("[0-9A-Z]{26}"),
            body in bodies(),
        ) {
            let actor = match who {
                0 => Actor::Engine(name),
                1 => Actor::Human(name),
                _ => Actor::Sender(name),
            };
            let at = Timestamp::from_microsecond(micros).unwrap();
            let mut draft = Draft::new(at, actor, body);
            draft.alarm = alarm.and_then(|key| key.parse().ok());
            draft.incident = incident.map(|id| id.parse().unwrap());
            check(draft, Seq(seq));
        }
    }

    #[test]
    fn numbers_around_the_largest_exact_one_and_awkward_texts_are_canonical() {
        for n in [0, 1, EXACT_MAX - 1, EXACT_MAX, EXACT_MAX + 1, u64::MAX] {
            for message in
                ["", "\"", "\\", "\u{8}\u{c}\n\r\t", "\u{0}\u{1f}\u{7f}\u{85}", "디\u{2028}😀/"]
            {
                let delivery =
                    DeliveryId { source: "sns".parse().unwrap(), message: message.into() };
                let body = Body::Received { delivery, bytes: n, sha256: Hash::GENESIS };
                let actor = Actor::Sender(message.into());
                check(Draft::new(Timestamp::UNIX_EPOCH, actor, body), Seq(n));
            }
        }
    }
}
