//! What holds for any sequence of requests, ends and clocks.

use std::collections::BTreeMap;

use crate::scene::*;
use proptest::prelude::*;
use untoil_guard::*;
use untoil_journal::Journal as _;
use untoil_model::*;

/// One request: whose, on what, how it goes on.
#[derive(Debug, Clone)]
struct Wish {
    /// Seconds after the one before; below zero where the clock is set back.
    later: i64,
    rule: u8,
    target: u8,
    parent: Option<u8>,
    class: Class,
    /// After how many further requests the run ends, and how.
    ends_after: usize,
    outcome: RunOutcome,
}

fn wish() -> impl Strategy<Value = Wish> {
    let outcome = prop_oneof![
        3 => Just(RunOutcome::Effective),
        1 => Just(RunOutcome::Ineffective),
        1 => Just(RunOutcome::Harmful),
    ];
    let class = prop_oneof![4 => Just(Class::B), 1 => Just(Class::C), 1 => Just(Class::A)];
    let later = prop_oneof![8 => 0..400_i64, 1 => -300..0_i64];
    let parent = prop_oneof![3 => Just(None), 1 => (0..2_u8).prop_map(Some)];
    (later, 0..2_u8, 0..4_u8, parent, class, 0..4_usize, outcome).prop_map(
        |(later, rule, target, parent, class, ends_after, outcome)| Wish {
            later,
            rule,
            target,
            parent,
            class,
            ends_after,
            outcome,
        },
    )
}

fn proposal(wish: &Wish, limits: Limits) -> Plan {
    // Targets 2 and 3 are the groups that targets 0 and 1 may belong to.
    let group = |n: u8| target(&format!("asg/group-{n}"));
    let on = match wish.target {
        n @ 0..2 => host(u32::from(n)),
        n => group(n - 2),
    };
    let mut plan = plan(&on);
    plan.rule = format!("rule-{}", wish.rule).parse().unwrap();
    plan.steps[0].class = wish.class;
    plan.parents = wish.parent.filter(|_| wish.target < 2).map(group).into_iter().collect();
    plan.limits = limits;
    plan
}

/// One writing run that was allowed, as the test keeps it: apart from the guard's own ledger.
#[derive(Debug)]
struct Kept {
    rule: String,
    target: Target,
    holds: Vec<Target>,
    at: jiff::Timestamp,
}

/// In every window that ends at one of them, there are at most `n`.
fn within(times: &[jiff::Timestamp], limit: Rate) -> bool {
    times.iter().all(|end| {
        let passed = |at: &jiff::Timestamp| end.duration_since(*at).as_secs();
        let per = i64::try_from(limit.per.as_secs()).unwrap();
        times.iter().filter(|at| (0..per).contains(&passed(at))).count()
            <= usize::try_from(limit.n).unwrap()
    })
}

async fn play(wishes: Vec<Wish>, limits: Limits, global: Rate) -> Result<(), TestCaseError> {
    let mut scene = Scene::default();
    scene.policy.global = vec![global];
    scene.policy.rest = Period::secs(30);
    let guard = scene.guard();
    let mut now = 0;
    let mut all: Vec<Kept> = Vec::new();
    let mut live: BTreeMap<usize, (Incident, Option<usize>, usize, RunOutcome)> = BTreeMap::new();
    for (n, wish) in wishes.into_iter().enumerate() {
        now += wish.later;
        let over: Vec<usize> =
            live.iter().filter(|(_, (_, _, end, _))| *end <= n).map(|(n, _)| *n).collect();
        for over in over {
            let (mut incident, _, _, outcome) = live.remove(&over).unwrap();
            scene.conclude(&mut incident, outcome, at(now)).await;
        }
        let plan = proposal(&wish, limits);
        let mut incident = scene.planned(&format!("a-{n}"), plan.clone(), at(now)).await;
        let judged = guard.judge(&mut incident, at(now)).await.unwrap();
        if !matches!(judged.judgement, Judgement::Allow(_)) {
            continue;
        }
        let mut kept = None;
        if plan.writes() {
            let mut holds = plan.parents.clone();
            holds.push(plan.target.clone());
            for (_, other, ..) in live.values() {
                let others = other.map(|other: usize| &all[other].holds);
                let clash = others.is_some_and(|held| held.iter().any(|t| holds.contains(t)));
                prop_assert!(!clash, "two live runs hold one of {holds:?}");
            }
            kept = Some(all.len());
            let (rule, target) = (plan.rule.to_string(), plan.target.clone());
            all.push(Kept { rule, target, holds, at: at(now) });
        }
        live.insert(n, (incident, kept, n + 1 + wish.ends_after, wish.outcome));
    }
    let times = |pick: &dyn Fn(&Kept) -> bool| -> Vec<_> {
        all.iter().filter(|kept| pick(kept)).map(|kept| kept.at).collect()
    };
    prop_assert!(within(&times(&|_| true), global), "global: {all:?}");
    for kept in &all {
        let rule = times(&|other| other.rule == kept.rule);
        prop_assert!(within(&rule, limits.rule), "rule: {all:?}");
        let both = times(&|other| other.rule == kept.rule && other.target == kept.target);
        prop_assert!(within(&both, limits.target), "target: {all:?}");
    }
    same_after_a_restart(&scene, now).await
}

/// A ledger read in one go is the one that grew with the judgements.
async fn same_after_a_restart(scene: &Scene, now: i64) -> Result<(), TestCaseError> {
    let entries = scene.journal.read(&Stream::Ledger, Seq::START, 10_000).await.unwrap();
    let mut once = Ledger::default();
    let mut twice = Ledger::default();
    for entry in &entries {
        once.apply(entry);
        twice.apply(entry);
        twice.apply(entry);
        twice.prune(at(now));
    }
    once.prune(at(now));
    prop_assert_eq!(once, twice);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_holds_more_than_its_limit_and_no_two_live_runs_overlap(
        wishes in proptest::collection::vec(wish(), 1..60),
        target in 1..4_u32,
        rule in 1..6_u32,
        global in 1..8_u32,
        per in 60..4_000_u64,
    ) {
        let per = Period::secs(per);
        let limits = Limits {
            target: Rate { n: target, per },
            rule: Rate { n: rule, per: Period::secs(per.as_secs() / 2 + 1) },
            cooldown: Period::secs(20),
        };
        let global = Rate { n: global, per: Period::secs(per.as_secs() / 3 + 1) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(play(wishes, limits, global))?;
    }
}

#[tokio::test]
async fn the_ledger_forgets_what_no_limit_can_look_back_on() {
    let scene = Scene::default();
    let mut ids = Vec::new();
    for (n, day) in [(1, 0), (2, 20), (3, 40)] {
        let from = day * 24 * HOUR;
        ids.push(
            scene
                .ran(&format!("a-{n}"), plan(&host(n)), (from, from + 60), RunOutcome::Effective)
                .await,
        );
    }
    let mut live = scene.planned("live", plan(&host(9)), at(0)).await;
    ids.push(allowed(scene.guard().judge(&mut live, at(0)).await.unwrap()).run().clone());
    let mut ledger = Ledger::default();
    for entry in scene.journal.read(&Stream::Ledger, Seq::START, 1_000).await.unwrap() {
        ledger.apply(&entry);
    }
    assert_eq!(ledger.runs.len(), 4);
    ledger.prune(at(31 * 24 * HOUR + 61));
    let mut kept: Vec<_> = ledger.runs.keys().cloned().collect();
    let mut expected = ids[1..].to_vec();
    kept.sort();
    expected.sort();
    assert_eq!(kept, expected, "the first is gone; one that goes on never is");
}
