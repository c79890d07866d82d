//! The canonical text of an entry (RFC 8785), put together by hand.
//!
//! An entry's outer members are known, so they are written in their order here, and of the kind that is
//! written for every delivery (`received`) the inner ones as well. The test at the end holds each text
//! against the general canonicaliser's.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::canonical::{EXACT_MAX, append, canonical, quote};
use crate::entry::TEXT_VERSION;
use crate::{Actor, AlarmKey, Body, IncidentId, Seq};

/// Room for a `received` entry with ids of the usual length.
const USUAL_BYTES: usize = 448;

/// The text up to the entry's place.
pub(crate) fn head(
    (at, actor): (Timestamp, &Actor),
    (incident, alarm): (Option<&IncidentId>, Option<&AlarmKey>),
    body: &Body,
) -> String {
    let mut text = String::with_capacity(USUAL_BYTES);
    let (kind, name) = match actor {
        Actor::Engine(name) => ("engine", name),
        Actor::Human(name) => ("human", name),
        Actor::Sender(name) => ("sender", name),
    };
    text.push_str("{\"actor\":{\"");
    text.push_str(kind);
    text.push_str("\":");
    quote(&mut text, name);
    text.push('}');
    if let Some(alarm) = alarm {
        text.push_str(",\"alarm\":");
        quote(&mut text, alarm.as_str());
    }
    write!(text, ",\"at\":\"{at}\",\"body\":").expect("a String takes everything");
    if !received(&mut text, body) {
        append(&mut text, body);
    }
    if let Some(incident) = incident {
        text.push_str(",\"incident\":");
        quote(&mut text, incident.as_str());
    }
    text
}

/// The text with the entry's place.
pub(crate) fn whole(mut head: String, seq: Seq) -> String {
    if seq.0 > EXACT_MAX {
        write!(head, ",\"seq\":{}", canonical(&seq)).expect("a String takes everything");
    } else {
        write!(head, ",\"seq\":{seq}").expect("a String takes everything");
    }
    write!(head, ",\"v\":{TEXT_VERSION}}}").expect("a String takes everything");
    head
}

/// Writes a `received` body; says whether it was one.
fn received(text: &mut String, body: &Body) -> bool {
    let Body::Received { delivery, bytes, sha256 } = body else { return false };
    if *bytes > EXACT_MAX {
        return false;
    }
    write!(text, "{{\"received\":{{\"bytes\":{bytes},\"delivery\":{{\"message\":")
        .expect("a String takes everything");
    quote(text, &delivery.message);
    text.push_str(",\"source\":");
    quote(text, delivery.source.as_str());
    write!(text, "}},\"sha256\":\"{sha256}\"}}}}").expect("a String takes everything");
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
        assert_eq!(Entry::seal_text(&head, seq, Hash::GENESIS), (text, entry.hash));
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
