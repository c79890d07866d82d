//! Every place an incident can stand at × every kind of entry, as one golden.

use std::fmt::Write as _;

use expect_test::expect_file;
use untoil_model::RunOutcome;

use crate::tale::What::*;
use crate::tale::Word::*;
use crate::tale::{Tale, Word};

/// Each kind of entry that says something about an incident.
pub(crate) const WORDS: &[Word] = &[
    Fires,
    FiresAnew,
    Duplicate,
    OutOfOrder,
    Clears,
    SeenClear,
    Lost,
    Unmatched,
    Matched,
    Facts,
    Plans(Nothing),
    Plans(Look),
    Plans(Write),
    Plans(WriteAndMore),
    Plans(Two),
    Plans(Lend(4, 8)),
    Plans(Lend(8, 12)),
    Plans(Return),
    RuleFails,
    Allow,
    Hold,
    Asks,
    Deny,
    Approve,
    Reject,
    Start(0),
    Send(0),
    Retry(0),
    RetryLost(0),
    Done(0),
    Refused(0),
    Unknown(0),
    Start(1),
    Send(1),
    Done(1),
    Refused(1),
    Ends(RunOutcome::Effective),
    Ends(RunOutcome::Ineffective),
    Ends(RunOutcome::Harmful),
    Ends(RunOutcome::Inconclusive),
    DropLease,
    Escalate,
    Close,
];

/// A step's way to its end.
pub(crate) const DONE_0: &[Word] = &[Start(0), Send(0), Done(0)];
/// Asked, allowed and done, of a plan with one step.
const fn ran(what: crate::tale::What) -> [Word; 6] {
    [Matched, Plans(what), Allow, Start(0), Send(0), Done(0)]
}
/// Lent and effective.
pub(crate) const LENT: &[Word] = &[
    Matched,
    Plans(Lend(4, 8)),
    Allow,
    Start(0),
    Send(0),
    Done(0),
    Clears,
    Ends(RunOutcome::Effective),
];

fn told(parts: &[&[Word]]) -> Tale {
    parts.iter().fold(Tale::fires(), |tale, words| tale.then(words))
}

/// Where an incident can stand, each with how it got there.
fn places() -> Vec<(&'static str, Tale)> {
    let allowed: &[Word] = &[Matched, Plans(Two), Allow];
    let asking: &[Word] = &[Matched, Plans(Write), Asks];
    let returning: &[&[Word]] = &[LENT, &[Plans(Return), Allow]];
    vec![
        ("new", told(&[])),
        ("new, clear", told(&[&[Clears]])),
        ("new, lost", told(&[&[Lost]])),
        ("unmatched", told(&[&[Unmatched]])),
        ("unmatched, clear", told(&[&[Unmatched, Clears]])),
        ("matched", told(&[&[Matched]])),
        ("matched, clear", told(&[&[Matched, Clears]])),
        ("proposed", told(&[&[Matched, Plans(Write)]])),
        ("proposed, clear", told(&[&[Matched, Plans(Write), Clears]])),
        ("held by a cooldown", told(&[&[Matched, Plans(Write), Hold]])),
        ("held by a cooldown, clear", told(&[&[Matched, Plans(Write), Hold, Clears]])),
        ("held for an answer", told(&[asking])),
        ("held and approved", told(&[asking, &[Approve]])),
        ("held and rejected", told(&[asking, &[Reject]])),
        ("denied", told(&[&[Matched, Plans(Write), Deny]])),
        ("allowed", told(&[allowed])),
        ("allowed, clear", told(&[allowed, &[Clears]])),
        ("started", told(&[allowed, &[Start(0)]])),
        ("sent", told(&[allowed, &[Start(0), Send(0)]])),
        ("to be tried again", told(&[allowed, &[Start(0), Retry(0)]])),
        ("first of two done", told(&[allowed, DONE_0])),
        ("first of two refused", told(&[allowed, &[Start(0), Refused(0)]])),
        ("first of two unknown", told(&[allowed, &[Start(0), Unknown(0)]])),
        ("looked, to be asked again", told(&[&ran(Look)])),
        ("acted, to be asked again", told(&[&ran(WriteAndMore)])),
        ("acted, then `next` failed", told(&[&ran(WriteAndMore), &[RuleFails]])),
        ("acted, next part proposed", told(&[&ran(WriteAndMore), &[Plans(Two)]])),
        ("acted, next part denied", told(&[&ran(WriteAndMore), &[Plans(Write), Deny]])),
        ("watching", told(&[&ran(Write)])),
        ("watching, clear", told(&[&ran(Write), &[Clears]])),
        ("watching what was lent", told(&[&ran(Lend(4, 8))])),
        ("stopped", told(&[&ran(Write), &[Ends(RunOutcome::Ineffective)]])),
        ("stopped, clear", told(&[&ran(Write), &[Ends(RunOutcome::Ineffective), Clears]])),
        ("healed, clear", told(&[&ran(Write), &[Clears, Ends(RunOutcome::Effective)]])),
        ("stopped, lent", told(&[&ran(Lend(4, 8)), &[Ends(RunOutcome::Ineffective)]])),
        ("lent, clear", told(&[LENT])),
        ("lent, lost", told(&[LENT, &[Lost]])),
        ("return proposed", told(&[LENT, &[Plans(Return)]])),
        ("return denied", told(&[LENT, &[Plans(Return), Deny]])),
        ("return allowed", told(returning)),
        ("return half done", told(&[returning.concat().as_slice(), DONE_0])),
        (
            "return done",
            told(&[returning.concat().as_slice(), DONE_0, &[Start(1), Send(1), Done(1)]]),
        ),
        ("closed", told(&[&[Clears, Close]])),
    ]
}

/// Where each word leads from a place; words that lead to the same stand together, and those that
/// change nothing of this are left out.
fn leads(place: &str, from: &Tale) -> String {
    let here = from.stands();
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for word in WORDS {
        let there = from.clone().then(&[*word]).stands();
        if there == here {
            continue;
        }
        let word = format!("{word:?}");
        match groups.iter_mut().find(|(stands, _)| *stands == there) {
            Some((_, words)) => words.push(word),
            None => groups.push((there, vec![word])),
        }
    }
    let mut text = format!("## {place}\n{here}\n");
    for (there, words) in groups {
        writeln!(text, "    {there}\n        {}", words.join(" ")).unwrap();
    }
    text
}

#[test]
fn every_entry_at_every_place_leads_where_the_table_says() {
    let table: Vec<_> = places().iter().map(|(place, tale)| leads(place, tale)).collect();
    expect_file!["table.txt"].assert_eq(&table.join("\n"));
}

#[test]
fn the_table_has_every_phase() {
    let mut phases: Vec<_> = places().iter().map(|(_, tale)| tale.incident.phase()).collect();
    phases.sort_unstable();
    phases.dedup();
    let all =
        ["closed", "held", "lent", "new", "open", "planned", "running", "unmatched", "watching"];
    assert_eq!(phases, all);
}
