//! Every scenario once, with a fixed seed, and a few more by chance: the bounded part of the matrix.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::io::Write as _;
use std::time::Duration;

use untoil_crash::{
    Keep, SCENARIOS, Scenario, Store, Table, Trial, Upgrade, Verdict, WORKS, built, folder,
    play_all,
};

/// Trials at a time: most of a trial is waiting.
const JOBS: usize = 6;
/// The load of an upgrade.
const UPGRADE: Duration = Duration::from_secs(16);
/// Trials by chance, of the kinds that kill in turn.
const BY_CHANCE: u64 = 6;

fn trials() -> Vec<Trial> {
    let binary = built().unwrap();
    let within = folder().unwrap();
    let skips = std::env::var_os("UNTOIL_SKIP_STAND_INS").is_some();
    let make = |scenario: &Scenario, store, seed| Trial {
        scenario: *scenario,
        seed,
        store,
        binary: binary.clone(),
        old: None,
        keep: Keep::Wrong,
        within: within.clone(),
    };
    let has_server = |store: &&Store| !skips || **store == Store::Sqlite;
    let mut trials = Vec::new();
    for (n, scenario) in SCENARIOS.iter().enumerate() {
        // In turn: each on each of its stores is what the program plays.
        let ours: Vec<_> = scenario.stores.iter().filter(has_server).collect();
        let in_turn = ours.get(n % ours.len().max(1));
        trials.extend(in_turn.map(|store| make(scenario, **store, 1)));
    }
    let killed = Scenario::named("killed").unwrap();
    let by_chance = (0..BY_CHANCE).zip(killed.stores.iter().filter(has_server).cycle());
    trials.extend(by_chance.map(|(n, store)| make(killed, *store, 100 + n)));
    // There is no older program here: it takes its own place.
    let (store, instances) = if skips { (Store::Sqlite, 1) } else { (Store::Three, 3) };
    let upgrade = Scenario::upgrade(Upgrade { instances, lasts: UPGRADE });
    trials.push(Trial { old: Some(binary.clone()), ..make(&upgrade, store, 1) });
    // Those that take long go first, so that the others are played meanwhile.
    let settles = |trial: &Trial| trial.scenario.settles_within(trial.store);
    trials.sort_by_key(|trial| std::cmp::Reverse(settles(trial)));
    trials
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_nothing_done_twice_whatever_fails() {
    let (mut table, mut wrong, mut upgraded) = (Table::default(), Vec::new(), false);
    let trials = trials();
    let all = trials.len();
    play_all(trials.into_iter(), JOBS, |trial, verdict| {
        let order = SCENARIOS.iter().position(|one| one.name == trial.scenario.name);
        let name = format!("{} ({})", trial.scenario.name, trial.store.name());
        table.add(order.unwrap_or(SCENARIOS.len()), &name, verdict);
        if let Verdict::Played(counts) = verdict
            && !counts.wrong.is_empty()
        {
            wrong.push(format!("{}\n{}", trial.again(), counts.wrong.join("\n")));
        }
        if let (Some(_), Verdict::Played(counts)) = (&trial.old, verdict) {
            upgraded = true;
            // The same program can do what it has just done; a refusal would be no way back.
            if !counts.notes.iter().any(|note| note == WORKS) {
                wrong.push(format!("{}\n{:?}", trial.again(), counts.notes));
            }
        }
    })
    .await
    .unwrap();
    std::io::stderr().write_all(table.text().as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(upgraded, "no upgrade was played");
    // On a busy machine alarms clear before their turn comes; in most trials they do not.
    assert!(table.idle().len() * 4 < all, "{:?}", table.idle());
    assert!(table.played() * 2 > all, "only {} of {all} were played", table.played());
}
