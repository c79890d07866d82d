//! The ways that went wrong once, or would hurt most if they did.

use untoil_model::*;

use crate::table::LENT;
use crate::tale::What::*;
use crate::tale::Word::*;
use crate::tale::{Tale, Word, minute};

/// A rule was asked, allowed, did its one step and did not help.
const FAILED: &[Word] = &[
    Matched,
    Plans(Write),
    Allow,
    Start(0),
    Send(0),
    Done(0),
    Ends(RunOutcome::Ineffective),
    Escalate,
];
/// One step of a plan that wants to be asked again is done.
const ACTED: &[Word] = &[Matched, Plans(WriteAndMore), Allow, Start(0), Send(0), Done(0)];
const LOOKED: &[Word] = &[Matched, Plans(Look), Allow, Start(0), Send(0), Done(0)];

fn after(words: &[&[Word]]) -> Incident {
    words.iter().fold(Tale::fires(), |tale, words| tale.then(words)).incident
}

#[test]
fn an_idle_incident_that_fires_again_after_it_cleared_is_asked_anew() {
    for (idle, words) in [("open", FAILED), ("unmatched", &[Unmatched]), ("lent", LENT)] {
        let tale = Tale::fires().then(words);
        assert_eq!(tale.incident.phase(), idle);
        let tale = tale.then(&[Clears, Fires]);
        assert_eq!(tale.incident.work(), Work::Match, "{idle}");
        assert_eq!(tale.incident.clear_since, None);
    }
}

#[test]
fn one_who_tells_changes_only_and_fires_twice_began_a_new_episode() {
    for source in ["cloudwatch", "alertmanager"] {
        for words in [FAILED, &[Unmatched], &[Matched, Plans(Write), Deny]] {
            let tale = Tale::of(source).then(words);
            assert_eq!(tale.incident.work(), Work::Nothing);
            let same = tale.clone().then(&[Fires]).incident;
            assert_eq!(same.work(), Work::Nothing, "the same transition is no news");
            assert_eq!(tale.then(&[FiresAnew]).incident.work(), Work::Match, "{source} {words:?}");
        }
    }
}

#[test]
fn one_who_repeats_itself_while_it_fires_is_not_asked_anew() {
    for source in ["newrelic", "generic"] {
        let tale = Tale::of(source).then(FAILED).then(&[FiresAnew, FiresAnew]);
        assert_eq!(tale.incident.work(), Work::Nothing, "{source}");
        assert_eq!(tale.incident.repeats, 2);
        let anew = tale.then(&[Clears, FiresAnew]).incident;
        assert_eq!(anew.work(), Work::Match, "{source} said that it had cleared");
    }
}

#[test]
fn a_new_episode_does_not_disturb_a_run_that_goes_on() {
    for words in [
        &[Matched, Plans(Write)][..],
        &[Matched, Plans(Write), Hold],
        &[Matched, Plans(Write), Allow],
        &[Matched, Plans(Write), Allow, Start(0)],
        ACTED,
        LOOKED,
    ] {
        let tale = Tale::fires().then(words);
        let before = tale.incident.work();
        assert_eq!(tale.then(&[FiresAnew]).incident.work(), before, "{words:?}");
    }
}

#[test]
fn words_that_are_old_or_doubled_are_counted_and_change_nothing() {
    for words in [&[][..], FAILED, LENT, ACTED, &[Clears]] {
        let tale = Tale::fires().then(words);
        let mut heard = tale.clone().then(&[Duplicate, OutOfOrder]).incident;
        assert_eq!(heard.repeats, tale.incident.repeats + 2);
        (heard.repeats, heard.seq) = (tale.incident.repeats, tale.incident.seq);
        assert_eq!(heard, tale.incident);
    }
}

#[test]
fn no_data_after_clear_is_neither_clear_nor_firing() {
    let lent = after(&[LENT, &[Lost]]);
    assert!(!lent.is_clear());
    assert_eq!(lent.clear_since, None, "the time it must hold begins anew");
    assert_eq!(lent.work(), Work::Nothing, "nothing is given back on no data");
    let stopped = after(&[FAILED, &[Clears, Lost]]);
    assert_eq!(stopped.work(), Work::Nothing, "nothing is closed on no data");
    assert_eq!(after(&[FAILED, &[Clears, Lost, Clears]]).phase(), "open");
    let held = after(&[&[Matched, Plans(Write), Hold, Clears, Lost]]);
    assert!(matches!(held.work(), Work::Wait { .. }));
}

#[test]
fn a_plan_held_is_judged_again_when_the_alarm_clears_or_its_people_answer() {
    let held = |more: &[Word]| after(&[&[Matched, Plans(Write), Asks], more]).work();
    let until = minute(33);
    assert_eq!(held(&[]), Work::Wait { until });
    assert_eq!(held(&[Approve]), Work::Judge);
    assert_eq!(held(&[Reject]), Work::Judge);
    assert_eq!(held(&[Clears]), Work::Judge);
    let cooling = after(&[&[Matched, Plans(Write), Hold, Approve]]);
    assert_eq!(cooling.work(), Work::Wait { until }, "nobody was asked");
}

#[test]
fn a_rule_that_fails_before_acting_ends_the_run_and_after_acting_is_watched() {
    let never_ran = after(&[&[Matched, RuleFails]]);
    assert_eq!((never_ran.phase(), never_ran.work()), ("open", Work::Nothing));
    assert_eq!(after(&[LOOKED, &[RuleFails]]).work(), Work::Conclude);
    let acted = after(&[ACTED, &[RuleFails]]);
    assert_eq!(acted.work(), Work::Watch { since: minute(6) }, "since its last step");
    assert_eq!(acted.run.unwrap().failed.as_deref(), Some("it divides by zero"));
}

#[test]
fn a_later_part_that_is_denied_leaves_what_was_done_to_be_watched() {
    let denied = after(&[ACTED, &[Plans(Write), Deny]]);
    assert_eq!(denied.work(), Work::Watch { since: minute(6) });
    assert!(denied.run.is_some(), "its target stays locked until it is concluded");
    assert_eq!(after(&[LOOKED, &[Plans(Write), Deny]]).work(), Work::Conclude);
    let first = after(&[&[Matched, Plans(Write), Deny]]);
    assert_eq!((first.work(), first.run), (Work::Nothing, None));
}

#[test]
fn a_step_that_did_not_end_well_ends_the_run() {
    for bad in [Refused(0), Unknown(0)] {
        let tale = Tale::fires().then(&[Matched, Plans(Two), Allow, Start(0), bad]);
        assert_eq!(tale.incident.work(), Work::Conclude, "{bad:?}");
    }
}

#[test]
fn a_try_that_was_lost_marks_its_step_for_the_rest_of_the_run() {
    let begun = &[Matched, Plans(Two), Allow, Start(0)];
    assert!(after(&[begun, &[Retry(0)]]).lost.is_empty());
    let lost = after(&[begun, &[RetryLost(0), Start(0), Retry(0)]]);
    assert_eq!(lost.lost, [0].into(), "a later try proves nothing of the lost one");
    assert_eq!((lost.work(), lost.tries[&0]), (Work::Call { step: 0 }, 2));
    let next = &[Start(0), Unknown(0), Ends(RunOutcome::Inconclusive)];
    let next = after(&[begun, &[RetryLost(0)], next, &[FiresAnew, Matched, Plans(Two)]]);
    assert!(next.lost.is_empty() && next.tries.is_empty(), "another run, other steps");
}

#[test]
fn a_retry_is_no_act_and_an_intent_may_be_one() {
    let acted =
        |words: &[Word]| after(&[&[Matched, Plans(Write), Allow], words]).run.unwrap().has_acted();
    assert!(!acted(&[]));
    assert!(acted(&[Start(0)]));
    assert!(!acted(&[Start(0), Retry(0)]));
    assert!(acted(&[Start(0), Unknown(0)]));
    assert!(!acted(&[Start(0), Refused(0)]));
}

#[test]
fn a_step_that_has_ended_stays_ended() {
    let ended = &[Matched, Plans(Two), Allow, Start(0), Send(0), Done(0)];
    for late in [Retry(0), Send(0), Unknown(0), Refused(0), Done(0)] {
        assert_eq!(after(&[ended, &[late]]).work(), Work::Call { step: 1 }, "{late:?}");
    }
    let next = &[Plans(Write), Done(0)];
    assert_eq!(after(&[ACTED, next]).work(), Work::Judge, "the next part is judged all the same");
}

#[test]
fn an_approval_is_good_for_one_plan_once() {
    let approved = &[Matched, Plans(WriteAndMore), Asks, Approve, Allow];
    let acted = &[Start(0), Send(0), Done(0), Plans(WriteAndMore)];
    let again = after(&[approved, acted]);
    assert_eq!((again.approved, again.rejected, again.answered_at), (None, None, None));
    assert!(matches!(after(&[approved, acted, &[Asks]]).work(), Work::Wait { .. }));
    let other = after(&[&[Matched, Plans(Write), Asks, Reject, Deny, FiresAnew], approved]);
    assert_eq!(other.rejected, None, "another run");
    let replanned = after(&[&[Matched, Plans(Write), Asks, Approve, Plans(Two)]]);
    let (hash, by) = replanned.approved.clone().unwrap();
    assert_eq!(by, "kim");
    assert_ne!(Some(hash), replanned.run.unwrap().part().map(|part| part.plan.hash()));
}

#[test]
fn a_rule_with_nothing_to_do_is_concluded_and_one_that_acted_is_watched() {
    let idle = after(&[&[Matched, Plans(Nothing)]]);
    assert_eq!(idle.work(), Work::Watch { since: minute(2) });
    assert!(!idle.run.unwrap().has_acted());
    assert_eq!(after(&[ACTED, &[Plans(Nothing)]]).work(), Work::Watch { since: minute(6) });
}

#[test]
fn an_ending_says_who_healed_it() {
    let end = |words: &[&[Word]]| after(words).work();
    let close = |ending| Work::Close { ending };
    assert_eq!(end(&[&[Clears]]), close(Ending::HealedItself));
    assert_eq!(end(&[&[Unmatched, Clears]]), close(Ending::HealedItself));
    assert_eq!(end(&[FAILED, &[Clears]]), close(Ending::HealedByOthers));
    let healed = &[Clears, Ends(RunOutcome::Effective)];
    let ran = &[Matched, Plans(Write), Allow, Start(0), Send(0), Done(0)];
    assert_eq!(end(&[ran, healed]), close(Ending::Healed));
    let only_looked = &[Plans(Nothing), Clears, Ends(RunOutcome::Effective)];
    assert_eq!(end(&[LOOKED, only_looked]), close(Ending::HealedItself), "it changed nothing");
}

#[test]
fn a_closed_incident_never_opens_again() {
    let mut tale = Tale::fires().then(&[Clears, Close]);
    let mut closed = tale.incident.clone();
    for word in crate::table::WORDS {
        tale.tell(*word);
        assert_eq!(tale.incident.work(), Work::Nothing, "{word:?}");
        closed.seq = tale.incident.seq;
        assert_eq!(tale.incident, closed);
    }
}

#[test]
fn only_an_opening_opens() {
    let tale = Tale::fires().then(&[Matched]);
    assert_eq!(Incident::open(&tale.entries[1]), None);
    assert_eq!(Incident::fold(&tale.entries[1..]), None);
    assert_eq!(Incident::fold([]), None);
}
