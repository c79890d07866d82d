//! Goldens: whole threads as people read them, in both languages.

use std::io::Write;
use std::sync::{Arc, Mutex};

use expect_test::expect_file;
use jiff::tz::{Offset, TimeZone};
use untoil_model::{
    Actor, Body, Draft, Ending, Mode, Period, Reason, RunOutcome, StepOutcome, Verdict,
};
use untoil_notifier::{Chat as _, Language, Parent, Story, Terminal, Voice};

use crate::life::{Life, note, sealed, start};

#[derive(Clone, Default)]
pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A voice that does not depend on the machine's zone files.
pub(crate) fn voice(language: Language) -> Voice {
    let zone = match language {
        Language::Ko => TimeZone::fixed(Offset::constant(9)),
        Language::En => TimeZone::UTC,
    };
    Voice { zone, ..Voice::of(language) }
}

/// The thread on paper: the parent as it was first, every reply, every edit of the parent.
async fn thread(drafts: &[Draft], language: Language) -> String {
    let voice = voice(language);
    let entries = sealed(drafts);
    let paper = Paper::default();
    let terminal = Terminal::new(Box::new(paper.clone()));
    let mut story = Story::open(&entries[0]).unwrap();
    let mut shown = story.parent(&voice);
    let parent = terminal.post("C1", None, &shown).await.unwrap();
    for entry in &entries {
        let heard = story.hear(entry, &voice);
        if let Some(reply) = heard.reply {
            terminal.post("C1", Some(&parent), &reply).await.unwrap();
        }
        let now = story.parent(&voice);
        if heard.parent == Parent::Changed && now.fallback() != shown.fallback() {
            terminal.update(&parent, &now).await.unwrap();
            shown = now;
        }
    }
    paper.text()
}

/// Compares with `tests/threads/<name>.{ko,en}.txt`.
async fn check(name: &str, life: &Life) {
    for (code, language) in [("ko", Language::Ko), ("en", Language::En)] {
        let path = format!("{}/tests/threads/{name}.{code}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_file![path].assert_eq(&thread(&life.drafts, language).await);
    }
}

#[tokio::test]
async fn a_full_disk_that_is_healed() {
    check("healed", &Life::healed("web-03 disk")).await;
}

#[tokio::test]
async fn a_plan_that_a_limit_denies_again_and_again() {
    let mut life = Life::planned("web-03 disk", Mode::Auto);
    let reason = life.limit();
    life.judged(Verdict::Deny { reason: reason.clone() }).escalated(reason.clone());
    for _ in 0..5 {
        life.at = life.at.checked_add(jiff::SignedDuration::from_mins(3)).unwrap();
        life.judged(Verdict::Deny { reason: reason.clone() });
    }
    life.cleared(600).closed(0, Ending::HealedByOthers);
    check("limit", &life).await;
}

#[tokio::test]
async fn a_run_without_effect_calls_a_person() {
    let mut life = Life::planned("web-03 disk", Mode::Auto);
    let reason = Reason::Ineffective { waited: Period::mins(20) };
    life.judged(Verdict::Allow {})
        .reclaimed()
        .concluded(1_200, RunOutcome::Ineffective, Some(reason.clone()))
        .escalated(reason);
    check("ineffective", &life).await;
}

#[tokio::test]
async fn a_plan_that_waits_for_a_person_and_is_approved() {
    let mut life = Life::planned("web-03 disk", Mode::Approve);
    let until = life.at.checked_add(jiff::SignedDuration::from_mins(15)).unwrap();
    let plan = life.hash();
    let reason = Reason::ApprovalMissing { plan: plan.short(), until };
    life.judged(Verdict::Hold { reason, until })
        .by(
            95,
            Actor::Human("kim@example.com".into()),
            Body::Approved { plan, note: "확인했습니다".into() },
        )
        .judged(Verdict::Allow {})
        .reclaimed();
    check("approved", &life).await;
}

#[tokio::test]
async fn an_alarm_that_clears_before_anything_is_done() {
    let mut life = Life::planned("web-03 disk", Mode::Auto);
    life.cleared(2)
        .judged(Verdict::Deny { reason: Reason::ResolvedBeforeAct {} })
        .closed(0, Ending::HealedItself);
    check("resolved_first", &life).await;
}

#[tokio::test]
async fn a_call_of_which_nobody_can_tell_what_it_did() {
    let mut life = Life::planned("web-03 disk", Mode::Auto);
    let why = "SendCommand: connection reset; no command with this comment found";
    let reason = Reason::UnknownOutcome {
        action: "ssm.document".parse().unwrap(),
        target: life.target(),
        why: why.into(),
    };
    life.judged(Verdict::Allow {})
        .ran(StepOutcome::Unknown { why: why.into() })
        .concluded(1, RunOutcome::Inconclusive, Some(reason.clone()))
        .escalated(reason);
    check("unknown", &life).await;
}

#[tokio::test]
async fn an_alarm_without_a_rule() {
    let mut life = Life::disk("web-03 disk");
    life.add(1, Body::Unmatched {});
    check("unmatched", &life).await;
}

#[test]
fn repeats_edit_the_parent_at_most_every_ten_minutes() {
    let mut life = Life::disk("web-03 disk");
    for _ in 0..60 {
        life.again(30);
    }
    let voice = voice(Language::En);
    let entries = sealed(&life.drafts);
    let mut story = Story::open(&entries[0]).unwrap();
    let heard: Vec<_> = entries.iter().map(|entry| story.hear(entry, &voice)).collect();
    assert_eq!(heard.iter().filter(|heard| heard.reply.is_some()).count(), 1);
    // The opening, and 30 minutes of repeats.
    let edits = heard.iter().filter(|heard| heard.parent == Parent::Changed).count();
    assert_eq!(edits, 4);
    assert!(story.parent(&voice).fallback().contains("repeated 60 times"));
}

#[test]
fn a_story_that_is_told_again_has_the_same_words() {
    let life = Life::healed("web-03 disk");
    let entries = sealed(&life.drafts);
    let voice = voice(Language::Ko);
    let tell = || {
        let mut story = Story::open(&entries[0]).unwrap();
        entries.iter().map(|entry| story.hear(entry, &voice)).collect::<Vec<_>>()
    };
    assert_eq!(tell(), tell());
    let untold = note(start(), Body::EngineStopped {});
    assert!(Story::open(&sealed(&[untold])[0]).is_none());
}
