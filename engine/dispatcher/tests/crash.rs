//! The process is killed with SIGKILL before and after every write of the journal and every call of
//! a run, and started again: no accepted alarm without a decision, no effect twice.
#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]
#![expect(clippy::disallowed_methods, reason = "the test starts itself again as the victim")]
#![expect(clippy::wildcard_enum_match_arm, reason = "each look is at a few of all kinds of entry")]

#[path = "crash/points.rs"]
mod points;
#[path = "crash/scenes.rs"]
mod scenes;
mod support;
#[path = "crash/victim.rs"]
mod victim;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use untoil_clock::VirtualClock;
use untoil_guard::Ledger;
use untoil_journal::{Journal, Verified, load, verify};
use untoil_model::{Body, Entry, Seq, StepOutcome, StepRef, Stream};
use untoil_store::SqliteJournal;
use untoil_world::{Call, Effect, World};

use points::{Outside, READY_TO_DIE, block_on};
use scenes::{SCENES, Scene};

const VICTIM_FOLDER: &str = "UNTOIL_TEST_CRASH_FOLDER";
const VICTIM_DIES_AT: &str = "UNTOIL_TEST_CRASH_DIES_AT";
/// More points than any scene has.
const POINTS_MAX: u64 = 500;

/// How a victim ended.
#[derive(Debug, PartialEq)]
enum End {
    /// It was killed here.
    Killed(String),
    /// It told the story to its end.
    Told,
}

fn run_victim(test: &str, folder: &Path, die_at: u64) -> End {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VICTIM_FOLDER, folder)
        .env(VICTIM_DIES_AT, die_at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(victim.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(at) = line.strip_prefix(READY_TO_DIE) {
            victim.kill().unwrap();
            victim.wait().unwrap();
            return End::Killed(at.trim().to_owned());
        }
        said.push(line);
    }
    let status = victim.wait().unwrap();
    assert!(status.success(), "the victim failed by itself:\n{}", said.join("\n"));
    End::Told
}

/// Kills a scene's process at every point, and looks each time at what the next process made of it.
/// With `again`, the next process is killed, too, at its `again(n)`th point, and the third is left.
fn kill_everywhere(test: &str, scene: &str, again: Option<fn(u64) -> u64>) {
    let scene = SCENES.iter().find(|known| known.name == scene).unwrap();
    if let Ok(folder) = std::env::var(VICTIM_FOLDER) {
        let die_at = std::env::var(VICTIM_DIES_AT).unwrap().parse().unwrap();
        return victim::be_the_victim(scene, Path::new(&folder), die_at);
    }
    let mut points = Vec::new();
    for die_at in 1..POINTS_MAX {
        let folder = TempDir::new().unwrap();
        let first = run_victim(test, folder.path(), die_at);
        let End::Killed(at) = first else {
            let all = What::is_left(folder.path());
            all.check(scene, "nobody was killed");
            assert_eq!(all.effects(), scene.effects, "the story itself has changed");
            break;
        };
        let mut at = format!("killed at point {die_at}, {at}");
        if let Some(again) = again
            && let End::Killed(then) = run_victim(test, folder.path(), again(die_at))
        {
            at = format!("{at}; then {then}");
        }
        assert_eq!(run_victim(test, folder.path(), 0), End::Told);
        What::is_left(folder.path()).check(scene, &at);
        points.push(at);
    }
    // Every scene has an alarm, a plan, a judgement and at least one call.
    assert!(points.len() > 16, "{points:#?}");
    for needed in ["received", "opened", "judged", "started", "before the call", "sent"] {
        assert!(points.iter().any(|at| at.contains(needed)), "no kill at {needed}: {points:#?}");
    }
}

/// What can be seen from outside once everything is over.
struct What {
    entries: Vec<Entry>,
    journal: SqliteJournal,
    outside: Outside,
    effects: Vec<Effect>,
    calls: Vec<Call>,
}

fn of_step(marker: &str) -> &str {
    marker.rsplit_once(':').unwrap().0
}

impl What {
    fn is_left(folder: &Path) -> Self {
        let journal = SqliteJournal::open(folder.join(victim::JOURNAL)).unwrap();
        let outside: Outside =
            serde_json::from_slice(&std::fs::read(folder.join(victim::OUTSIDE)).unwrap()).unwrap();
        let clock = Arc::new(VirtualClock::starting_at(outside.now));
        let world = World::restore(clock, &outside.world).unwrap();
        let entries = block_on(journal.read(&Stream::All, Seq::START, usize::MAX)).unwrap();
        let end = outside.end.unwrap();
        let entries = entries.into_iter().filter(|entry| entry.seq <= end).collect();
        Self { entries, journal, outside, effects: world.effects(), calls: world.calls() }
    }

    fn effects(&self) -> Vec<&str> {
        self.effects.iter().map(|effect| effect.what.as_str()).collect()
    }

    fn story(&self) -> String {
        let told = self.entries.iter().map(|entry| {
            let detail = match &entry.body {
                Body::Judged { verdict, .. } => format!("{verdict:?}"),
                Body::Started { marker, .. } => marker.clone(),
                Body::Finished { outcome, .. } => format!("{outcome:?}"),
                Body::Concluded { outcome, .. } => format!("{outcome:?}"),
                Body::Escalated { reason, .. } => reason.to_string(),
                Body::Closed { ending } => format!("{ending:?}"),
                _ => String::new(),
            };
            format!("{} {} {} {detail}", entry.seq, entry.at, entry.body.kind())
        });
        told.collect::<Vec<_>>().join("\n")
    }

    fn check(&self, scene: &Scene, at: &str) {
        let found: Vec<String> = [
            self.undecided(),
            self.repeated(),
            self.unintended(),
            self.unended(),
            self.unsettled(scene),
        ]
        .concat();
        assert!(found.is_empty(), "{at}: {found:#?}\n{}\n{:#?}", self.story(), self.calls);
    }

    /// Accepted is decided.
    fn undecided(&self) -> Vec<String> {
        let mut found = Vec::new();
        let verified = block_on(verify(&self.journal)).unwrap();
        if !matches!(verified, Verified::Whole { .. }) {
            found.push(format!("the chain is broken: {verified:?}"));
        }
        let pending = block_on(self.journal.pending(usize::MAX)).unwrap();
        if !pending.is_empty() {
            found.push(format!("{pending:?} are pending"));
        }
        let mut received = BTreeSet::new();
        let mut decided = BTreeMap::<&str, u32>::new();
        for entry in &self.entries {
            if let Body::Received { delivery, .. } = &entry.body
                && !received.insert(delivery.message.as_str())
            {
                found.push(format!("{delivery} was received twice"));
            }
            if let Body::Opened { delivery, .. } | Body::Observed { delivery, .. } = &entry.body {
                *decided.entry(&delivery.message).or_default() += 1;
            }
        }
        for id in &self.outside.accepted {
            match decided.get(id.as_str()) {
                Some(1) if received.contains(id.as_str()) => {}
                n => found.push(format!("`{id}` was accepted and has {n:?} decisions")),
            }
        }
        if self.outside.accepted.is_empty() {
            found.push("no alarm was accepted".into());
        }
        found
    }

    /// No effect twice, and no call twice with one marker.
    fn repeated(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut of_steps = BTreeMap::<&str, Vec<&str>>::new();
        for effect in &self.effects {
            of_steps.entry(of_step(&effect.marker)).or_default().push(&effect.what);
        }
        for (step, effects) in of_steps.into_iter().filter(|(_, effects)| effects.len() > 1) {
            found.push(format!("`{step}` took effect {} times: {effects:?}", effects.len()));
        }
        let whats = self.effects();
        let distinct: BTreeSet<_> = whats.iter().collect();
        if distinct.len() != whats.len() {
            found.push(format!("an effect came twice: {whats:?}"));
        }
        let mut called = BTreeSet::new();
        for call in &self.calls {
            if !called.insert(&call.marker) {
                found.push(format!("`{}` was called twice", call.marker));
            }
        }
        found
    }

    /// No call without its intent, and one intent for each marker.
    fn unintended(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut intents = BTreeSet::new();
        for entry in &self.entries {
            if let Body::Started { marker, .. } = &entry.body
                && !intents.insert(marker.as_str())
            {
                found.push(format!("`{marker}` was started twice"));
            }
        }
        for call in self.calls.iter().filter(|call| !intents.contains(call.marker.as_str())) {
            found.push(format!("`{}` was called without an intent", call.marker));
        }
        found
    }

    /// Every step that was begun has its end, and every run.
    fn unended(&self) -> Vec<String> {
        let mut open = BTreeSet::<&StepRef>::new();
        let mut ledger = Ledger::default();
        let mut found = Vec::new();
        for entry in &self.entries {
            ledger.apply(entry);
            match &entry.body {
                Body::Started { step, .. } => drop(open.insert(step)),
                Body::Finished { step, .. } if !open.remove(step) => {
                    found.push(format!("{step} was finished and not under way"));
                }
                _ => {}
            }
        }
        found.extend(open.iter().map(|step| format!("{step} was started and never finished")));
        for (run, reservation) in &ledger.runs {
            if reservation.ended.is_none() {
                found.push(format!("run {run} still holds {}", reservation.target));
            }
        }
        found
    }

    /// The story has its end, and nothing holds the target after it.
    fn unsettled(&self, scene: &Scene) -> Vec<String> {
        let mut found = Vec::new();
        let escalated =
            self.entries.iter().any(|entry| matches!(entry.body, Body::Escalated { .. }));
        let unknown = self.entries.iter().any(|entry| {
            matches!(&entry.body, Body::Finished { outcome: StepOutcome::Unknown { .. }, .. })
        });
        let effects = self.effects();
        if effects != scene.effects && !(scene.may_call_a_person && unknown && escalated) {
            found.push(format!("the effects are {effects:?}, not {:?}", scene.effects));
        }
        if unknown && !escalated {
            found.push("nobody was called for an unknown outcome".into());
        }
        if escalated && !scene.may_call_a_person {
            found.push("a person was called for nothing".into());
        }
        for id in block_on(self.journal.incidents(None, usize::MAX)).unwrap() {
            let incident = block_on(load(&self.journal, &id)).unwrap().unwrap();
            if incident.alarm.name != "another one" && !incident.is_closed() {
                found.push(format!("incident {id} is still {}", incident.phase()));
            }
        }
        match self.outside.probe.as_deref() {
            None | Some("allow") => {}
            Some(said) => found.push(format!("the next alarm on the target: {said}")),
        }
        found
    }
}

#[test]
fn a_run_of_one_step_survives_being_killed_anywhere() {
    kill_everywhere("a_run_of_one_step_survives_being_killed_anywhere", "disk", None);
}

#[test]
fn a_run_that_begins_after_its_judgement_survives_being_killed_anywhere() {
    kill_everywhere(
        "a_run_that_begins_after_its_judgement_survives_being_killed_anywhere",
        "disk, in a while",
        None,
    );
}

#[test]
fn a_throttled_run_survives_being_killed_anywhere() {
    kill_everywhere("a_throttled_run_survives_being_killed_anywhere", "disk, throttled", None);
}

#[test]
fn a_run_whose_answer_was_lost_survives_being_killed_anywhere() {
    kill_everywhere(
        "a_run_whose_answer_was_lost_survives_being_killed_anywhere",
        "disk, answer lost",
        None,
    );
}

#[test]
fn a_lease_and_its_return_survive_being_killed_anywhere() {
    kill_everywhere("a_lease_and_its_return_survive_being_killed_anywhere", "backlog", None);
}

#[test]
fn a_run_of_two_parts_survives_being_killed_anywhere() {
    kill_everywhere("a_run_of_two_parts_survives_being_killed_anywhere", "cpu", None);
}

#[test]
fn an_action_that_must_not_be_repeated_is_not_when_killed_anywhere() {
    kill_everywhere(
        "an_action_that_must_not_be_repeated_is_not_when_killed_anywhere",
        "redeploy",
        None,
    );
}

#[test]
fn a_call_that_cannot_be_found_again_is_left_to_a_person_when_killed_anywhere() {
    kill_everywhere(
        "a_call_that_cannot_be_found_again_is_left_to_a_person_when_killed_anywhere",
        "tell",
        None,
    );
}

#[test]
fn a_recovery_survives_being_killed_itself() {
    // Each time at another of its first points: what it does first is to look, and to go on.
    kill_everywhere("a_recovery_survives_being_killed_itself", "disk", Some(|n| 1 + n % 7));
}

#[test]
fn a_recovery_of_what_must_not_be_repeated_survives_being_killed_itself() {
    kill_everywhere(
        "a_recovery_of_what_must_not_be_repeated_survives_being_killed_itself",
        "redeploy",
        Some(|n| 1 + n % 5),
    );
}
