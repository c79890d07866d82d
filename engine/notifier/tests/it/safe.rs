//! Properties: foreign text never notifies anybody, and no message is beyond Slack's limits.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use untoil_model::{Body, Entry, Mode, Reason, StepOutcome, Verdict};
use untoil_notifier::{Key, Language, Mention, Message, PartOf, Story, Text, Voice};

use crate::life::{Life, sealed};
use crate::threads::voice;

/// Anything, with a taste for what is dangerous.
fn foreign() -> impl Strategy<Value = String> {
    let bits = prop_oneof![
        Just("<!channel>".to_owned()),
        Just("<!here|x>".to_owned()),
        Just("<@U024BE7LH>".to_owned()),
        Just("<!subteam^S1|@ops>".to_owned()),
        Just("<#C1>".to_owned()),
        Just("@everyone".to_owned()),
        Just("@chan\u{200B}nel".to_owned()),
        Just("```".to_owned()),
        Just("`".to_owned()),
        Just("<".to_owned()),
        Just(">".to_owned()),
        Just("!".to_owned()),
        Just("&amp;&lt;".to_owned()),
        Just("\u{202E}\u{2066}\u{0}\u{1b}[31m".to_owned()),
        Just("*굵게*".to_owned()),
        Just("👨‍👩‍👧‍👦 한글 e\u{301}".to_owned()),
        Just("\r\n\t".to_owned()),
        "\\PC{0,20}",
        any::<String>(),
        (any::<char>(), 0usize..1_500).prop_map(|(c, n)| c.to_string().repeat(n)),
    ];
    prop::collection::vec(bits, 0..12).prop_map(|bits| bits.concat())
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Every text of a message as it would go out.
fn texts(message: &Message) -> Vec<String> {
    let mut texts = vec![message.fallback()];
    for block in message.blocks().as_array().unwrap() {
        let elements = block["elements"].as_array().cloned().unwrap_or_default();
        for object in elements.iter().chain(std::iter::once(&block["text"])) {
            if let Value::String(text) = &object["text"] {
                assert_eq!(
                    (&object["type"], &object["verbatim"]),
                    (&"mrkdwn".into(), &true.into())
                );
                texts.push(text.clone());
            }
        }
    }
    texts
}

fn assert_harmless(message: &Message) {
    for text in texts(message) {
        let loud = text.to_lowercase();
        for bad in ["<!", "<@", "<#", "@channel", "@here", "@everyone"] {
            assert!(!loud.contains(bad), "{bad} in {text:?}");
        }
        // No markup of any kind: whatever is left of `<`, `>` and `&` is an entity.
        assert!(!text.contains(['<', '>']), "{text:?}");
        for (at, _) in text.match_indices('&') {
            let entity =
                ["&amp;", "&lt;", "&gt;"].iter().any(|entity| text[at..].starts_with(entity));
            assert!(entity, "a cut or unescaped `&` in {text:?}");
        }
        assert!(text.matches("```").count() % 2 == 0, "an open fence in {text:?}");
        assert!(text.matches('`').count() % 2 == 0, "an open code span in {text:?}");
        let bidi = |c| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}');
        assert!(!text.chars().any(|c| bidi(c) || (c.is_control() && c != '\n')), "{text:?}");
    }
}

fn assert_within_limits(message: &Message) {
    let blocks = message.blocks();
    let blocks = blocks.as_array().unwrap();
    assert!(!blocks.is_empty() && blocks.len() <= 50, "{} blocks", blocks.len());
    let all = texts(message);
    assert!(units(&all[0]) <= 4_000, "a fallback of {}", units(&all[0]));
    assert!(!all[0].trim().is_empty());
    for text in &all[1..] {
        assert!((1..=3_000).contains(&units(text)), "a text object of {}", units(text));
    }
    let total: usize = all[1..].iter().map(|text| units(text)).sum();
    assert!(total <= 12_000, "{total} in all");
}

fn said(entries: &[Entry], voice: &Voice) -> Vec<Message> {
    let mut story = Story::open(&entries[0]).unwrap();
    let mut messages = Vec::new();
    for entry in entries {
        messages.extend(story.hear(entry, voice).reply);
        messages.push(story.parent(voice));
    }
    let replies: Vec<_> =
        messages.iter().filter(|m| m.key.part == PartOf::Reply).cloned().collect();
    messages.extend(story.digest(&replies, voice));
    messages
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these carry foreign text that the test changes"
)]
/// A life in which every foreign text is this one.
fn poisoned(text: &str) -> Vec<Entry> {
    let mut life = Life::planned("disk", Mode::Auto);
    for draft in &mut life.drafts {
        match &mut draft.body {
            Body::Opened { alarm, .. } => {
                let alarm = Arc::make_mut(alarm);
                alarm.name = text.into();
                alarm.reason = text.into();
                alarm.description = text.into();
                alarm.severity = Some(text.into());
                alarm.labels.insert("owner".into(), text.into());
                alarm.region = Some(text.into());
                alarm.metric = Some(text.into());
                alarm.dimensions = (0..20).map(|n| (format!("{n}{text}"), text.into())).collect();
            }
            Body::FactsRead { facts, missing } => {
                let facts = Arc::make_mut(facts);
                let fact = facts.values().next().unwrap().clone();
                for n in 0..20 {
                    let value = serde_json::json!({ text: text, "n": [text] });
                    let fact =
                        untoil_model::FactValue { value, source: text.into(), ..fact.clone() };
                    facts.insert(format!("{n}{text}"), fact);
                    missing.insert(format!("{n}{text}"), text.into());
                }
            }
            Body::Planned { plan, .. } => {
                let step = untoil_model::Step { says: text.into(), ..plan.steps[0].clone() };
                Arc::make_mut(plan).steps = vec![step; 30];
            }
            _ => {}
        }
    }
    let reason = Reason::PrecheckFailed { check: text.into(), detail: text.into() };
    life.judged(Verdict::Deny { reason: reason.clone() }).escalated(reason);
    life.judged(Verdict::Allow {});
    let evidence = serde_json::json!({ text: text, "output": format!("{text}\n{text}"), "more": format!("\n{text}\nx") });
    life.ran(StepOutcome::Done { evidence });
    life.ran(StepOutcome::Refused { code: text.into(), why: text.into() });
    life.by(
        1,
        untoil_model::Actor::Human(text.into()),
        Body::Approved { plan: life.hash(), note: text.into() },
    );
    life.add(
        1,
        Body::RuleFailed { rule: "r".parse().unwrap(), error: text.into(), printed: vec![] },
    );
    sealed(&life.drafts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn foreign_text_anywhere_notifies_nobody_and_stays_within_limits(text in foreign()) {
        for language in [Language::Ko, Language::En] {
            for message in said(&poisoned(&text), &voice(language)) {
                assert_harmless(&message);
                assert_within_limits(&message);
            }
        }
    }

    #[test]
    fn any_number_of_paragraphs_stays_within_limits(parts in prop::collection::vec(foreign(), 0..80), small in foreign()) {
        let key = Key { incident: None, part: PartOf::Notice, seq: untoil_model::Seq(1), upto: untoil_model::Seq(1) };
        let body = parts.iter().map(|part| Text::new().bold(part).words(part).code(part).fence(part)).collect();
        let message = Message { key, subject: small.clone(), headline: Text::new().bold("x"), body, small: Text::new().words(&small) };
        assert_harmless(&message);
        assert_within_limits(&message);
    }
}

#[test]
fn a_rules_mention_reaches_the_person_that_the_configuration_names() {
    let mut life = Life::disk("disk");
    life.escalated(Reason::Harmful { detail: "5xx 2 % → 9 %".into() });
    let entries = sealed(&life.drafts);
    let mut voice = voice(Language::En);
    let silent: String = said(&entries, &voice).iter().flat_map(texts).collect();
    assert!(silent.contains("platform-oncall") && !silent.contains("<!subteam"));
    voice.mentions.insert("platform-oncall".into(), Mention::parse("S0614TZR7").unwrap());
    let loud: String = said(&entries, &voice).iter().flat_map(texts).collect();
    // Once in the reply and once in the summary, never in the fallback or the parent.
    assert_eq!(loud.matches("<!subteam^S0614TZR7>").count(), 2);
}
