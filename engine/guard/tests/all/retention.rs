//! What archiving deletes changes nothing of what the guard knows.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use proptest::prelude::*;
use untoil_guard::Ledger;
use untoil_journal::{Archive, Archiver, Batch, Did, Haste, Journal, KEEP_MIN, MemoryJournal};
use untoil_model::*;

/// Something that the ledger counts, or what is around it.
#[derive(Debug, Clone)]
enum Event {
    /// An incident begins and its run is allowed, on one of three targets.
    Allowed(u8),
    /// One of the runs that go on ends; its incident may stay open.
    Concluded(usize, bool),
    Paused(u8),
    Resumed(u8),
}

fn event() -> impl Strategy<Value = (i64, Event)> {
    let event = prop_oneof![
        4 => (0..3_u8).prop_map(Event::Allowed),
        4 => (0..80_usize, any::<bool>())
            .prop_map(|(which, closes)| Event::Concluded(which, closes)),
        1 => (0..3_u8).prop_map(Event::Paused),
        1 => (0..3_u8).prop_map(Event::Resumed),
    ];
    (0..96_i64, event)
}

/// The entries of a sequence of events, each so many hours after the one before.
fn drafts(events: &[(i64, Event)]) -> (Vec<Draft>, Timestamp) {
    let engine = Actor::Engine("test".into());
    let key: AlarmKey = "generic:a".parse().unwrap();
    let (rule, mut at) = ("disk-full".parse::<RuleName>().unwrap(), Timestamp::UNIX_EPOCH);
    let mut going: Vec<(IncidentId, Target)> = Vec::new();
    let mut drafts = Vec::new();
    for (n, (hours, event)) in events.iter().enumerate() {
        at = at.checked_add(hours.hours()).unwrap();
        let plain = |body| Draft::new(at, engine.clone(), body);
        let reason = n.to_string();
        match event {
            Event::Allowed(target) => {
                let id = IncidentId::derive(at, &key, &reason);
                let target: Target = format!("ecs/workers/service-{target}").parse().unwrap();
                going.push((id.clone(), target.clone()));
                let judged = Body::Judged {
                    run: id.run(0),
                    part: 0,
                    verdict: Verdict::Allow {},
                    rule: rule.clone(),
                    target,
                    parents: vec![],
                    writes: true,
                    authority: "auto".into(),
                    gates: [].into(),
                };
                let open = crate::scene::alarm("a", AlarmState::Firing, at);
                let delivery = DeliveryId { source: "generic".parse().unwrap(), message: reason };
                let opened = Body::Opened { delivery, alarm: Arc::new(open), skewed_from: None };
                drafts.push(Draft::of(&id, at, engine.clone(), opened));
                drafts.push(Draft::of(&id, at, engine.clone(), judged));
            }
            Event::Concluded(which, closes) => {
                if going.is_empty() {
                    continue;
                }
                let (id, target) = going.remove(which % going.len());
                let (outcome, why, samples) = (RunOutcome::Effective, None, vec![]);
                let (run, rule) = (id.run(0), rule.clone());
                let concluded = Body::Concluded { run, rule, target, outcome, why, samples };
                drafts.push(Draft::of(&id, at, engine.clone(), concluded));
                if *closes {
                    let closed = Body::Closed { ending: Ending::Healed };
                    drafts.push(Draft::of(&id, at, engine.clone(), closed));
                }
            }
            Event::Paused(scope) => {
                drafts.push(plain(Body::Paused { scope: format!("rule/r{scope}"), reason }));
            }
            Event::Resumed(scope) => {
                drafts.push(plain(Body::Resumed { scope: format!("rule/r{scope}"), reason }));
            }
        }
    }
    (drafts, at)
}

/// What the guard knows at a time, folded from all that the journal has.
async fn ledger(journal: &dyn Journal, now: Timestamp) -> (Ledger, usize) {
    let mut ledger = Ledger::default();
    let entries = journal.read(&Stream::Ledger, Seq::START, usize::MAX).await.unwrap();
    for entry in &entries {
        ledger.apply(entry);
    }
    ledger.prune(now);
    (ledger, entries.len())
}

async fn check(events: &[(i64, Event)]) -> usize {
    let folder = tempfile::TempDir::new().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let (drafts, end) = drafts(events);
    let mut rest = drafts.as_slice();
    let mut deleted = 0;
    // Archived again and again while time goes on: what was needed then may go later.
    for part in 0..5 {
        let n = if part == 4 { rest.len() } else { drafts.len() / 5 };
        let (now_come, later) = rest.split_at(n);
        rest = later;
        if !now_come.is_empty() {
            journal.append(Batch::of(now_come.to_vec())).await.unwrap();
        }
        let now = later.first().map_or(end, |draft| draft.at);
        let (before, entries) = ledger(&*journal, now).await;
        let mut archiver = Archiver::new(
            (journal.clone(), journal.clone()),
            Archive::at(folder.path()),
            KEEP_MIN,
            Actor::Engine("test".into()),
        )
        .unwrap();
        while archiver.step(now, Haste::Now).await.unwrap() != Did::Nothing(None) {}
        let (after, left) = ledger(&*journal, now).await;
        assert_eq!(before, after);
        deleted += entries - left;
    }
    deleted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_of_what_is_left_is_the_ledger_of_everything(
        events in prop::collection::vec(event(), 0..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(check(&events));
    }
}

#[tokio::test]
async fn what_no_limit_looks_back_to_is_deleted() {
    let run = [(1, Event::Allowed(0)), (1, Event::Concluded(0, true))];
    let runs = (0..40).flat_map(|_| run.clone());
    let events: Vec<_> = runs.chain([(9_000, Event::Paused(0))]).collect();
    assert!(check(&events).await >= 70);
}
