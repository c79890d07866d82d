//! Several instances share the work: one dies, leaves or is stopped for a while, and the others go on.

use std::sync::atomic::Ordering;

use untoil_journal::Journal as _;
use untoil_model::{Body, Stream};

use crate::crew::{Crew, LEASE_OVER_SECS};
use crate::gate::Late;

/// How long a story is told.
const STORY_SECS: u64 = 14 * 60;
/// When its alarm clears, and when a later one does.
const CLEARS_AT_SECS: u64 = 4 * 60;
/// More points than a story has.
const POINTS_MAX: u64 = 200;
const RECLAIMED: &str = "/ 90 % → 79 %";

/// What becomes of the first instance when its gate has closed.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is killed.
    Dies,
    /// It goes on after so many seconds.
    IsStoppedFor(u64),
}

/// The alarm of rule `name` fires and clears; the first of two instances meets its fate at a point.
/// Returns where that was; empty when the story has no such point.
async fn told(crew: &mut Crew, name: &str, (closes_at, fate): (u64, Fate)) -> String {
    let first = crew.join(closes_at).await;
    let second = crew.join(0).await;
    crew.says(first, name, "firing").await;
    let mut closed_for = 0;
    for secs in 0..STORY_SECS {
        if secs == CLEARS_AT_SECS {
            crew.says(second, name, "resolved").await;
        }
        crew.secs(1).await;
        if crew.members[first].gate.closed_at().is_empty() {
            continue;
        }
        closed_for += 1;
        match fate {
            Fate::Dies if closed_for == 1 => crew.kill(first).await,
            Fate::IsStoppedFor(secs) if closed_for == secs => crew.members[first].gate.open(),
            Fate::Dies | Fate::IsStoppedFor(_) => {}
        }
    }
    crew.members[first].gate.closed_at()
}

/// The first of two instances meets its fate at every point of a story, and nobody can tell from what
/// is left.
async fn everywhere(name: &str, fate: Fate, effects: &[&str]) {
    let mut points = Vec::new();
    for closes_at in 1..POINTS_MAX {
        let mut crew = Crew::empty();
        let at = told(&mut crew, name, (closes_at, fate)).await;
        let what = format!("{fate:?} at point {closes_at}, {at}");
        assert_eq!(crew.wrongs().await, [""; 0], "{what}:\n{}", crew.tale().await);
        assert_eq!(crew.effects(), effects, "{what}:\n{}", crew.tale().await);
        if at.is_empty() {
            break;
        }
        points.push(at);
    }
    let needed = ["before decoded, opened", "judged, started", "before the call", "sent", "closed"];
    for needed in needed {
        assert!(points.iter().any(|at| at.contains(needed)), "not {needed}: {points:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_opens_an_incident_works_on_it_and_the_others_do_not() {
    let mut crew = Crew::of(3).await;
    crew.says(1, "disk", "firing").await;
    assert_eq!(crew.holder().await, Some(1));
    crew.mins(1).await;
    crew.says(2, "disk", "resolved").await;
    crew.mins(6).await;
    assert_eq!(crew.wrongs().await, [""; 0], "{}", crew.tale().await);
    assert_eq!(crew.effects(), [RECLAIMED]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_killed_anywhere_leaves_its_work_to_another() {
    everywhere("disk", Fate::Dies, &[RECLAIMED]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_given_back_once_when_an_instance_is_killed_anywhere() {
    everywhere("scale", Fate::Dies, &["desired 4 → 8", "desired 8 → 4"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_stopped_for_less_than_a_lease_goes_on() {
    everywhere("disk", Fate::IsStoppedFor(10), &[RECLAIMED]).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_stopped_for_longer_than_its_lease_does_nothing_late() {
    everywhere("disk", Fate::IsStoppedFor(LEASE_OVER_SECS), &[RECLAIMED]).await;
    everywhere("disk", Fate::IsStoppedFor(60), &[RECLAIMED]).await;
    everywhere("scale", Fate::IsStoppedFor(60), &["desired 4 → 8", "desired 8 → 4"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_leaves_is_not_waited_for() {
    let mut crew = Crew::of(2).await;
    crew.says(0, "ask", "firing").await;
    assert_eq!(crew.holder().await, Some(0));
    crew.stop(0).await;
    crew.secs(4).await;
    assert_eq!(crew.holder().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_whose_receiver_dies_is_decided_by_another() {
    let mut crew = Crew::of(2).await;
    crew.members[0].gate.close();
    crew.says(0, "disk", "firing").await;
    crew.kill(0).await;
    crew.secs(LEASE_OVER_SECS).await;
    assert_eq!(crew.holder().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_plan_may_be_approved_at_another_instance_than_the_one_that_holds_it() {
    let mut crew = Crew::of(2).await;
    crew.says(0, "ask", "firing").await;
    crew.secs(5).await;
    let (id, now) = (crew.newest().await, crew.now());
    let other = &crew.members[1];
    other.guard.approve(&id, "kim", "", now).await.unwrap();
    other.bell.ring(id);
    crew.secs(1).await;
    assert_eq!(crew.holder().await, Some(0));
    assert_eq!(crew.world.calls().len(), 1, "{}", crew.tale().await);
    crew.mins(1).await;
    crew.says(1, "ask", "resolved").await;
    crew.mins(6).await;
    assert_eq!(crew.wrongs().await, [""; 0], "{}", crew.tale().await);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_was_stopped_between_intent_and_call_does_not_call() {
    // The step's intent is written with its judgement, or by itself when it had to wait.
    for (name, intent) in
        [("disk", "after facts_read, planned, judged, started"), ("later", "after started")]
    {
        for secs in [LEASE_OVER_SECS, 60, 110] {
            stopped_after(intent, (name, secs)).await;
        }
    }
}

/// The first of two instances is stopped right after its intent is written: it does not call.
async fn stopped_after(intent: &str, (name, secs): (&str, u64)) {
    for closes_at in 1..POINTS_MAX {
        let mut crew = Crew::empty();
        let at = told(&mut crew, name, (closes_at, Fate::IsStoppedFor(secs))).await;
        if at == intent {
            assert_eq!(crew.members[0].gate.calls(), 0, "{secs} s:\n{}", crew.tale().await);
            assert_eq!(crew.effects(), [RECLAIMED]);
            return;
        }
    }
    panic!("`{name}` never came to {intent}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_target_is_rung_when_another_instance_gives_it_free() {
    let mut crew = Crew::of(2).await;
    crew.says(0, "disk", "firing").await;
    crew.secs(24).await;
    crew.says(0, "disk", "resolved").await;
    crew.secs(6).await;
    crew.says(1, "disk of another alarm", "firing").await;
    crew.mins(5).await;
    crew.secs(1).await;
    let entries = crew.entries().await;
    let free = entries.iter().find(|entry| matches!(entry.body, Body::Concluded { .. })).unwrap();
    let next = entries
        .iter()
        .find(|entry| entry.seq > free.seq && matches!(entry.body, Body::Judged { .. }));
    let waited = next.map(|next| next.at.duration_since(free.at).as_secs());
    assert_eq!(waited, Some(0), "{}", crew.tale().await);
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_program_wrote_is_left_alone_and_all_else_goes_on() {
    let mut crew = Crew::of(2).await;
    crew.says(0, "ask", "firing").await;
    crew.secs(5).await;
    let asked = crew.newest().await;
    let newer = [Stream::Incident(asked.clone()), Stream::Alarm("generic:ask".parse().unwrap())];
    crew.members[1].journal.newer.lock().unwrap().extend(newer);
    crew.members[1].bell.ring(asked);
    crew.says(1, "ask", "resolved").await;
    crew.says(1, "disk", "firing").await;
    crew.mins(1).await;
    assert_eq!(crew.effects(), [RECLAIMED], "{}", crew.tale().await);
    assert_eq!(crew.journal.pending(9).await.unwrap().len(), 1, "{}", crew.tale().await);
    // The newer instance can read it.
    crew.stop(1).await;
    crew.secs(10).await;
    assert_eq!(crew.journal.pending(9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn many_deliveries_that_only_a_newer_program_can_decide_hide_nothing_behind_them() {
    /// More than are looked at together, twice.
    const HIDDEN: usize = 600;
    let mut crew = Crew::of(1).await;
    crew.says(0, "ask", "firing").await;
    crew.secs(5).await;
    let newer = Stream::Alarm("generic:ask".parse().unwrap());
    crew.members[0].journal.newer.lock().unwrap().push(newer);
    // Nothing is decided meanwhile, so that they lie before the others.
    crew.kill(0).await;
    for _ in 0..HIDDEN {
        crew.says(0, "ask", "firing").await;
    }
    crew.says(0, "disk", "firing").await;
    let second = crew.join(0).await;
    let newer = crew.members[0].journal.newer.lock().unwrap().clone();
    crew.members[second].journal.newer.lock().unwrap().extend(newer);
    crew.mins(2).await;
    assert_eq!(crew.effects(), [RECLAIMED], "{}", crew.tale().await);
    assert_eq!(crew.journal.pending(1_000).await.unwrap().len(), HIDDEN);
    // What comes later is not hidden either, and those are tried again some time.
    crew.says(second, "of no rule", "firing").await;
    crew.secs(5).await;
    assert_eq!(crew.journal.pending(1_000).await.unwrap().len(), HIDDEN);
    crew.members[second].journal.newer.lock().unwrap().clear();
    crew.mins(11).await;
    crew.says(second, "of no rule", "resolved").await;
    crew.mins(1).await;
    assert_eq!(crew.journal.pending(1_000).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_word_that_comes_as_its_worker_turns_to_go_is_heard() {
    for millis in 0..40 {
        let mut crew = Crew::of(1).await;
        crew.members[0].journal.answers_late.store(10, Ordering::SeqCst);
        crew.says(0, "of no rule", "firing").await;
        crew.millis(millis).await;
        crew.says(0, "of no rule", "resolved").await;
        crew.mins(10).await;
        assert_eq!(crew.wrongs().await, [""; 0], "{millis} ms:\n{}", crew.tale().await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_incident_whose_opening_happens_after_nobody_could_say_is_worked_on() {
    let mut crew = Crew::of(2).await;
    *crew.members[0].journal.late.lock().unwrap() = Late::Next;
    crew.says(0, "disk", "firing").await;
    crew.mins(1).await;
    assert_eq!(crew.effects(), [RECLAIMED], "{}", crew.tale().await);
}
