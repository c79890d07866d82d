//! What was lent is given back: all of it, once, and never on a guess.

use untoil_model::*;

use crate::table::LENT;
use crate::tale::What::*;
use crate::tale::Word::*;
use crate::tale::{Tale, Word};

const LEND: &[Word] = &[Matched, Plans(Lend(4, 8)), Allow];
const RETURN: &[Word] = &[Plans(Return), Allow];

fn after(words: &[&[Word]]) -> Incident {
    words.iter().fold(Tale::fires(), |tale, words| tale.then(words)).incident
}

fn lent(incident: &Incident) -> Option<(i64, i64)> {
    incident.lease.as_ref().map(|(lease, _)| (lease.before, lease.after))
}

#[test]
fn a_lease_is_out_from_the_moment_its_call_was_accepted_however_it_ends() {
    for (words, out) in [
        (&[][..], None),
        (&[Start(0)], None),
        (&[Start(0), Retry(0)], None),
        (&[Start(0), Refused(0)], None),
        (&[Start(0), Send(0)], Some((4, 8))),
        (&[Start(0), Send(0), Done(0)], Some((4, 8))),
        (&[Start(0), Done(0)], Some((4, 8))),
        (&[Start(0), Send(0), Unknown(0)], Some((4, 8))),
        (&[Start(0), Send(0), Unknown(0), Ends(RunOutcome::Inconclusive)], Some((4, 8))),
    ] {
        assert_eq!(lent(&after(&[LEND, words])), out, "{words:?}");
    }
}

#[test]
fn a_change_that_was_accepted_and_never_settled_is_given_back_when_it_clears() {
    let unsettled = &[Start(0), Send(0), Unknown(0), Ends(RunOutcome::Inconclusive), Escalate];
    assert_eq!(after(&[LEND, unsettled]).work(), Work::Nothing);
    assert_eq!(after(&[LEND, unsettled, &[Clears]]).work(), Work::GiveBack);
}

#[test]
fn a_late_heal_after_an_ineffective_run_gives_its_lease_back() {
    for outcome in [RunOutcome::Ineffective, RunOutcome::Harmful, RunOutcome::Inconclusive] {
        let ran = &[Start(0), Send(0), Done(0), Ends(outcome)];
        assert_eq!(after(&[LEND, ran]).work(), Work::Nothing);
        assert_eq!(after(&[LEND, ran, &[Clears]]).work(), Work::GiveBack, "{outcome:?}");
    }
}

#[test]
fn a_lease_that_helped_stays_out_until_the_alarm_is_clear() {
    let lent = Tale::fires().then(LENT).incident;
    assert_eq!((lent.phase(), lent.work()), ("lent", Work::GiveBack));
    assert_eq!(after(&[LENT, &[Lost]]).work(), Work::Nothing);
}

#[test]
fn leases_stack_and_the_first_value_found_is_the_one_to_go_back_to() {
    let more = &[Fires, Matched, Plans(Lend(8, 12)), Allow, Start(0), Send(0)];
    let twice = after(&[LENT, more]);
    assert_eq!(lent(&twice), Some((4, 12)));
    let thrice = &[Done(0), Ends(RunOutcome::Ineffective), FiresAnew];
    let last = &[Matched, Plans(Lend(12, 16)), Allow, Start(0), Send(0), Done(0)];
    let thrice = after(&[LENT, more, thrice, last]);
    assert_eq!(lent(&thrice), Some((4, 16)));
}

#[test]
fn a_return_that_is_done_ends_the_lease_and_then_the_incident() {
    let back = &[Start(0), Send(0), Done(0), Start(1), Send(1), Done(1)];
    let done = after(&[LENT, RETURN, back]);
    assert!(matches!(done.work(), Work::Watch { .. }));
    let ended = after(&[LENT, RETURN, back, &[Ends(RunOutcome::Effective)]]);
    assert_eq!(lent(&ended), None);
    assert_eq!(ended.work(), Work::Close { ending: Ending::Healed });
}

#[test]
fn a_return_that_is_denied_is_not_tried_again_and_the_incident_closes() {
    let denied = after(&[LENT, &[Plans(Return), Deny, Escalate]]);
    assert_eq!(denied.work(), Work::Close { ending: Ending::Healed });
    assert_eq!(lent(&denied), Some((4, 8)), "whoever closes it tells people of it");
}

#[test]
fn a_return_that_was_denied_is_owed_again_after_the_next_remedy() {
    let again = &[FiresAnew, Matched, Plans(Lend(8, 12)), Allow, Start(0), Send(0), Done(0)];
    let healed = &[Clears, Ends(RunOutcome::Effective)];
    let owed = after(&[LENT, &[Plans(Return), Deny], again, healed]);
    assert_eq!((owed.work(), lent(&owed)), (Work::GiveBack, Some((4, 12))));
}

#[test]
fn a_return_stopped_because_it_fires_again_has_the_rule_asked_anew() {
    let half = &[Start(0), Send(0), Done(0), FiresAnew, Refused(1)];
    let stopped = after(&[LENT, RETURN, half]);
    assert_eq!(stopped.work(), Work::Conclude);
    let anew = after(&[LENT, RETURN, half, &[Ends(RunOutcome::Inconclusive)]]);
    assert_eq!(anew.work(), Work::Match);
    assert_eq!(lent(&anew), Some((4, 6)), "4 was found first, 6 is what is out by now");
}

#[test]
fn a_lease_left_by_a_stopped_return_is_given_back_even_if_no_rule_is_asked_in_time() {
    let half = &[Start(0), Send(0), Done(0), FiresAnew, Refused(1)];
    let anew = &[Ends(RunOutcome::Inconclusive), Matched, Clears];
    let clear = after(&[LENT, RETURN, half, anew]);
    assert_eq!((clear.work(), lent(&clear)), (Work::GiveBack, Some((4, 6))));
}

#[test]
fn a_lease_left_by_a_stopped_return_is_given_back_when_it_clears_before_it_is_matched() {
    let half = &[Start(0), Send(0), Done(0), FiresAnew, Refused(1)];
    let clear = after(&[LENT, RETURN, half, &[Ends(RunOutcome::Inconclusive), Clears]]);
    assert_eq!((clear.phase(), clear.work()), ("new", Work::GiveBack));
}

#[test]
fn a_lease_that_fires_anew_and_clears_before_it_is_matched_is_given_back() {
    let clear = after(&[LENT, &[FiresAnew, Clears]]);
    assert_eq!((clear.phase(), clear.work()), ("new", Work::GiveBack));
}

#[test]
fn a_lease_is_given_back_though_no_rule_answers_any_more() {
    let clear = after(&[LENT, &[FiresAnew, Unmatched, Clears]]);
    assert_eq!((clear.phase(), clear.work()), ("unmatched", Work::GiveBack));
}

#[test]
fn a_lease_that_was_dropped_is_not_given_back() {
    let dropped = after(&[LENT, &[DropLease]]);
    assert_eq!((dropped.phase(), lent(&dropped)), ("open", None));
    assert_eq!(dropped.work(), Work::Close { ending: Ending::Healed });
}
