//! What holds for any sequence of entries, the sensible and the impossible.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use untoil_model::*;

use crate::table::WORDS;
use crate::tale::What::{Lend, Look, Nothing, Return, Two, Write, WriteAndMore};
use crate::tale::Word::*;
use crate::tale::{Tale, Word, engine};

/// What may come next where the incident stands, and what may be heard at any time.
fn sensible(incident: &Incident) -> Vec<Word> {
    let mut words = match incident.work() {
        Work::Match => vec![Matched, Matched, Matched, Unmatched],
        Work::Ask if incident.run.is_some() => {
            vec![Plans(Nothing), Plans(Write), Plans(Lend(8, 12)), RuleFails]
        }
        Work::Ask => {
            vec![Plans(Lend(4, 8)), Plans(Look), Plans(WriteAndMore), Plans(Two), RuleFails]
        }
        Work::Judge => vec![Allow, Allow, Allow, Hold, Asks, Deny],
        Work::Wait { .. } => vec![Approve, Reject, Allow, Deny],
        Work::Call { step } => vec![Start(step), Start(step), Refused(step)],
        Work::Find { step } => vec![Send(step), Retry(step), RetryLost(step), Unknown(step)],
        Work::Settle { step } => vec![Done(step), Done(step), Unknown(step), Refused(step)],
        Work::Conclude => vec![Ends(RunOutcome::Inconclusive), Ends(RunOutcome::Ineffective)],
        Work::Watch { .. } if incident.is_clear() => vec![Ends(RunOutcome::Effective)],
        Work::Watch { .. } => {
            vec![Clears, Ends(RunOutcome::Ineffective), Ends(RunOutcome::Harmful)]
        }
        Work::GiveBack => vec![Plans(Return), Plans(Return), DropLease],
        Work::Close { .. } => vec![Close, FiresAnew],
        Work::Nothing => vec![Clears, FiresAnew, Escalate],
    };
    words.extend([FiresAnew, SeenClear, Lost]);
    words
}

/// Mostly what may come next, sometimes anything at all.
fn walk(dice: &[(u8, prop::sample::Index)]) -> Tale {
    let mut tale = Tale::fires();
    for (odds, pick) in dice {
        let word = match *odds {
            0..200 => *pick.get(&sensible(&tale.incident)),
            200.. => *pick.get(WORDS),
        };
        tale.tell(word);
    }
    tale
}

fn dice() -> impl Strategy<Value = Vec<(u8, prop::sample::Index)>> {
    prop::collection::vec(any::<(u8, prop::sample::Index)>(), 0..80)
}

fn done(progress: &Progress) -> bool {
    matches!(progress, Progress::Finished { outcome: StepOutcome::Done { .. }, .. })
}

/// What holds wherever an incident stands.
fn sound(incident: &Incident) -> Result<(), TestCaseError> {
    let next = incident.next_run();
    prop_assert!(incident.past.iter().all(|run| run.id != next), "{next} was used before");
    let steps = incident.run.as_ref().map_or(&[][..], |run| &run.steps);
    match incident.work() {
        Work::Call { step } => {
            let n = usize::try_from(step).unwrap();
            prop_assert!(steps[..n].iter().all(|(_, progress)| done(progress)));
            prop_assert_eq!(&steps[n].1, &Progress::Waiting);
        }
        Work::Find { step } => {
            let found = &steps[usize::try_from(step).unwrap()].1;
            let is = matches!(found, Progress::Started { .. });
            prop_assert!(is, "{found:?}");
        }
        Work::Settle { step } => {
            let found = &steps[usize::try_from(step).unwrap()].1;
            let is = matches!(found, Progress::Sent { .. });
            prop_assert!(is, "{found:?}");
        }
        Work::GiveBack => prop_assert!(incident.is_clear() && incident.lease.is_some()),
        Work::Close { .. } => prop_assert!(incident.is_clear()),
        Work::Watch { .. } | Work::Conclude | Work::Judge => prop_assert!(incident.run.is_some()),
        Work::Match | Work::Ask | Work::Wait { .. } | Work::Nothing => {}
    }
    prop_assert_eq!(incident.ending().is_some(), incident.is_closed());
    Ok(())
}

/// What one entry may and may not change.
fn moved(before: &Incident, entry: &Entry, after: &Incident) -> Result<(), TestCaseError> {
    prop_assert_eq!(after.seq, entry.seq);
    if before.is_closed() {
        let mut same = after.clone();
        same.seq = before.seq;
        prop_assert_eq!(&same, before);
        prop_assert_eq!(after.work(), Work::Nothing);
        return Ok(());
    }
    if let (Some((old, _)), Some((new, _))) = (&before.lease, &after.lease) {
        prop_assert_eq!(old.before, new.before, "what was found first is what is given back");
    }
    if let Body::Concluded { outcome, .. } = &entry.body
        && before.run.as_ref().is_some_and(|run| run.kind == RunKind::Return)
        && *outcome == RunOutcome::Effective
    {
        prop_assert_eq!(&after.lease, &None);
    }
    let ended = matches!(entry.body, Body::Concluded { .. } | Body::LeaseDropped { .. });
    prop_assert!(before.lease.is_none() || after.lease.is_some() || ended, "a lease was forgotten");
    prop_assert!(after.past.len() >= before.past.len(), "a run was forgotten");
    let kept = after.past.len() > before.past.len() || after.run.is_some();
    prop_assert!(before.run.is_none() || kept, "a run was forgotten");
    if let (Some(old), Some(new)) = (&before.run, &after.run)
        && old.id == new.id
    {
        for ((step, old), (_, new)) in old.steps.iter().zip(&new.steps) {
            let ended = matches!(old, Progress::Finished { .. });
            prop_assert!(!ended || old == new, "`{}` had ended", step.action);
        }
    }
    Ok(())
}

/// An entry of another incident, or of none, at a place in between.
fn foreign(entry: &Entry, incident: Option<IncidentId>) -> Entry {
    let (at, body) = (entry.at, entry.body.clone());
    let draft = Draft { at, actor: engine(), incident, alarm: None, body };
    Entry::seal(draft, entry.seq.next(), entry.hash).0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_stays_sound(dice in dice()) {
        let tale = walk(&dice);
        let mut incident = Incident::open(&tale.entries[0]).unwrap();
        for entry in &tale.entries[1..] {
            let before = incident.clone();
            incident.apply(entry);
            sound(&incident)?;
            moved(&before, entry, &incident)?;
        }
    }

    #[test]
    fn folding_in_two_goes_is_folding_in_one(dice in dice(), cut: prop::sample::Index) {
        let Tale { incident, entries } = walk(&dice);
        let cut = cut.index(entries.len()).max(1);
        let mut halves = Incident::fold(&entries[..cut]).unwrap();
        entries[cut..].iter().for_each(|entry| halves.apply(entry));
        prop_assert_eq!(&halves, &incident);
        prop_assert_eq!(&Incident::fold(&entries).unwrap(), &incident);
    }

    #[test]
    fn what_was_kept_as_text_folds_to_the_same(dice in dice()) {
        let Tale { incident, entries } = walk(&dice);
        let read = |entry: &Entry| Entry::open(entry.seq, &entry.text(), entry.prev, entry.hash);
        let read: Vec<_> = entries.iter().map(|entry| read(entry).unwrap()).collect();
        prop_assert_eq!(&Incident::fold(&read).unwrap(), &incident);
    }

    #[test]
    fn entries_heard_twice_or_of_others_change_nothing(dice in dice()) {
        let Tale { incident, entries } = walk(&dice);
        let mut noisy = Incident::open(&entries[0]).unwrap();
        let other = IncidentId::derive(entries[0].at, &incident.alarm.key, "sns/2");
        for (n, entry) in entries.iter().enumerate() {
            noisy.apply(entry);
            let once = noisy.clone();
            entries[..=n].iter().for_each(|entry| noisy.apply(entry));
            noisy.apply(&foreign(entry, Some(other.clone())));
            noisy.apply(&foreign(entry, None));
            prop_assert_eq!(&noisy, &once);
        }
        prop_assert_eq!(&noisy, &incident);
    }

    #[test]
    fn run_ids_are_used_once(dice in dice()) {
        let Tale { incident, .. } = walk(&dice);
        let mut ids: Vec<_> = incident.past.iter().map(|run| &run.id).collect();
        ids.extend(incident.run.as_ref().map(|run| &run.id));
        let different: BTreeSet<_> = ids.iter().collect();
        prop_assert_eq!(different.len(), ids.len());
    }
}

#[test]
fn the_walks_reach_every_phase_and_every_work() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    let mut works = BTreeSet::new();
    for _ in 0..300 {
        let tale = walk(&dice().new_tree(&mut runner).unwrap().current());
        let mut incident = Incident::open(&tale.entries[0]).unwrap();
        for entry in &tale.entries {
            incident.apply(entry);
            reached.insert(incident.phase());
            let work = format!("{:?}", incident.work());
            works.insert(work.split(' ').next().unwrap().to_owned());
        }
    }
    let all =
        ["closed", "held", "lent", "new", "open", "planned", "running", "unmatched", "watching"];
    assert_eq!(reached, all.into());
    let all = [
        "Ask", "Call", "Close", "Conclude", "Find", "GiveBack", "Judge", "Match", "Nothing",
        "Settle", "Wait", "Watch",
    ];
    assert_eq!(works, all.map(str::to_owned).into());
}
