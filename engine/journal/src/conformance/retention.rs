//! What is old goes to files and then out of the journal; what is needed stays; nothing is lost.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan as _};
use untoil_model::{
    AlarmState, Body, Delivery, Draft, Ending, Entry, IncidentId, Period, RuleName, RunOutcome,
    Seq, Standing, Stream, Target, Verdict,
};

use super::{CHECK_MAX, delivery_id, engine, firing, key, whole};
use crate::archive::Step;
use crate::{
    Archive, ArchiveError, Archiver, Batch, Did, Haste, Held, Journal, JournalError, KEEP_MIN,
    Prune, Put, Receipt, Retention, Verified, incident_memo, verify, verify_archive, verify_files,
};

/// A fresh journal that can let go of what is archived.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The same store.
    pub retention: Arc<dyn Retention>,
    /// An empty folder for archive files.
    pub folder: PathBuf,
}

/// Runs every check of retention, each on a fresh journal that `make` makes.
///
/// # Panics
/// As [`super::all`].
pub async fn retention(make: impl AsyncFn() -> Keeper) {
    macro_rules! run {
        ($($check:ident,)*) => {$(
            let made = make().await;
            let ended = tokio::time::timeout(CHECK_MAX, Box::pin($check(made))).await;
            assert!(ended.is_ok(), "`{}` hangs", stringify!($check));
        )*};
    }
    run! {
        what_is_old_goes_to_files_and_the_chain_goes_on,
        a_delivery_is_in_the_file_byte_for_byte,
        an_open_incident_stays_until_it_is_closed,
        what_the_ledger_needs_stays,
        the_last_word_about_an_alarm_that_did_not_clear_stays,
        who_is_not_done_yet_holds_it_up,
        who_is_out_of_service_does_not_hold_it_up,
        a_store_refuses_to_delete_what_is_needed,
        stopped_after_any_step_nothing_is_lost_and_the_next_run_goes_on,
        of_two_that_archive_at_once_one_does,
        a_flawed_file_is_named,
        a_flawed_record_is_named,
        a_small_file_waits_for_a_days_worth,
        who_checks_meanwhile_finds_no_damage,
    }
}

impl Keeper {
    fn archiver(&self) -> Archiver {
        let stores = (Arc::clone(&self.journal), Arc::clone(&self.retention));
        Archiver::new(stores, self.archive(), KEEP_MIN, engine()).expect("it is long enough")
    }

    fn archive(&self) -> Archive {
        Archive::at(self.folder.join("archive"))
    }

    async fn write(&self, draft: Draft) -> Entry {
        let written = self.journal.append(Batch::of(vec![draft])).await;
        written.expect("it is appended").remove(0)
    }

    /// Receives and decides a delivery on a day.
    async fn receive(&self, message: &str, day: i64, body: &[u8]) -> Seq {
        let received = self.journal.receive(sent(message, day, body)).await;
        let Ok(Receipt::Stored(seq)) = received else { panic!("{received:?}") };
        let id = delivery_id("sns", message);
        let body = Body::Decoded { delivery: id.clone(), alarms: 0 };
        let batch = Batch::of(vec![Draft::new(day_of(day), engine(), body)]).deciding(id);
        self.journal.append(batch).await.expect("it is decided");
        seq
    }

    /// Writes entries that are not old, so that what is before them can go.
    async fn go_on(&self, day: i64) {
        for n in 0..3 {
            self.receive(&format!("new/{day}/{n}"), day, b"new").await;
        }
    }

    async fn places(&self) -> BTreeSet<u64> {
        whole(&self.journal, &Stream::All).await.iter().map(|entry| entry.seq.0).collect()
    }

    /// Everything is as it was written, in the store, in the files, and both together.
    async fn assert_whole(&self) {
        let verified = verify(&*self.journal).await.expect("it can be read");
        assert!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
        let both = verify_archive(&*self.journal, &self.archive()).await.expect("it can be read");
        assert_eq!((both.flaws, both.strangers), (vec![], vec![]));
        let files = verify_files(&self.archive()).expect("it can be read");
        assert_eq!((files.flaws, files.end), (vec![], both.end));
    }
}

/// Archives and prunes until there is nothing more to do.
async fn run(archiver: &mut Archiver, now: Timestamp) -> Result<Option<Held>, ArchiveError> {
    for _ in 0..1_000 {
        if let Did::Nothing(held) = archiver.step(now, Haste::Now).await? {
            return Ok(held);
        }
    }
    panic!("it does not come to an end")
}

fn day_of(day: i64) -> Timestamp {
    super::moment(0).saturating_add((24 * day).hours()).expect("hours have a fixed length")
}

fn sent(message: &str, day: i64, body: &[u8]) -> Delivery {
    Delivery { received_at: day_of(day), body: body.to_vec(), ..super::delivery(message) }
}

fn id(n: i64) -> IncidentId {
    IncidentId::derive(day_of(n), &key("generic:kept"), &n.to_string())
}

fn of(incident: i64, day: i64, body: Body) -> Draft {
    Draft::of(&id(incident), day_of(day), engine(), body)
}

fn opened(incident: i64, day: i64, alarm: &str) -> Draft {
    let alarm = Arc::new(firing(&key(alarm)));
    let key = alarm.key.clone();
    let body = Body::Opened { delivery: delivery_id("sns", "o"), alarm, skewed_from: None };
    of(incident, day, body).about(&key)
}

fn word(day: i64, alarm: &str, state: AlarmState) -> Draft {
    let alarm = Arc::new(untoil_model::Alarm { state, ..firing(&key(alarm)) });
    let key = alarm.key.clone();
    let (delivery, standing) = (delivery_id("sns", "w"), Standing::NothingOpen);
    let body = Body::Observed { delivery, alarm, standing, skewed_from: None };
    Draft::new(day_of(day), engine(), body).about(&key)
}

fn closed(incident: i64, day: i64) -> Draft {
    of(incident, day, Body::Closed { ending: Ending::Healed })
}

fn paused(day: i64, scope: &str) -> Draft {
    let body = Body::Paused { scope: scope.into(), reason: "r".into() };
    Draft::new(day_of(day), engine(), body)
}

fn resumed(day: i64, scope: &str) -> Draft {
    let body = Body::Resumed { scope: scope.into(), reason: "r".into() };
    Draft::new(day_of(day), engine(), body)
}

fn names() -> (RuleName, Target) {
    let rule = "disk-full".parse().expect("it is a rule's name");
    (rule, "ec2/i-0a1b2c3d4e5f60718".parse().expect("it is a target"))
}

fn allowed(incident: i64, day: i64) -> Draft {
    let (rule, target) = names();
    let body = Body::Judged {
        run: id(incident).run(0),
        part: 0,
        verdict: Verdict::Allow {},
        rule,
        target,
        parents: vec![],
        writes: true,
        authority: "auto".into(),
        gates: [].into(),
    };
    of(incident, day, body)
}

fn concluded(incident: i64, day: i64) -> Draft {
    let (rule, target) = names();
    let (outcome, why, samples) = (RunOutcome::Effective, None, vec![]);
    let run = id(incident).run(0);
    of(incident, day, Body::Concluded { run, rule, target, outcome, why, samples })
}

async fn what_is_old_goes_to_files_and_the_chain_goes_on(keeper: Keeper) {
    for day in 0..60 {
        keeper.receive(&format!("old/{day}"), day, b"old").await;
    }
    let before = whole(&keeper.journal, &Stream::All).await;
    let held = run(&mut keeper.archiver(), day_of(70)).await.expect("it goes on");
    assert_eq!(held, None);
    // Up to day 35, two entries a day; the record is what comes last.
    let after = whole(&keeper.journal, &Stream::All).await;
    assert_eq!(after[..after.len() - 1], before[72..]);
    assert_eq!(after.last().expect("there is one").seq, Seq(121));
    keeper.assert_whole().await;
    // Once more, with nothing to do, and again with more.
    run(&mut keeper.archiver(), day_of(70)).await.expect("it goes on");
    assert_eq!(whole(&keeper.journal, &Stream::All).await, after);
    run(&mut keeper.archiver(), day_of(80)).await.expect("it goes on");
    keeper.assert_whole().await;
    keeper.go_on(80).await;
    assert_eq!(*keeper.places().await.first().expect("there is one"), 93);
    let read: Vec<Seq> =
        keeper.archive().files().expect("readable").iter().fold(Vec::new(), |mut seen, file| {
            let entries = keeper.archive().read(file).expect("it is whole");
            seen.extend(entries.iter().map(|entry| entry.raw.seq));
            seen
        });
    assert_eq!(read, (1..=92).map(Seq).collect::<Vec<_>>());
    keeper.assert_whole().await;
}

async fn a_delivery_is_in_the_file_byte_for_byte(keeper: Keeper) {
    let bodies = [&b"\xff\x00\n binary"[..], "한글\n\"quoted\"\u{0}".as_bytes(), b""];
    for (n, body) in bodies.iter().enumerate() {
        keeper.receive(&n.to_string(), 0, body).await;
    }
    keeper.go_on(90).await;
    run(&mut keeper.archiver(), day_of(90)).await.expect("it goes on");
    let file = keeper.archive().files().expect("readable").remove(0);
    let entries = keeper.archive().read(&file).expect("it is whole");
    let kept: Vec<_> = entries.into_iter().filter_map(|entry| entry.delivery).collect();
    let expected: Vec<_> =
        bodies.iter().enumerate().map(|(n, body)| sent(&n.to_string(), 0, body)).collect();
    assert_eq!(kept, expected);
    for delivery in kept {
        let gone = keeper.journal.delivery(&delivery.id).await.expect("it can be read");
        assert_eq!(gone, None);
    }
    keeper.assert_whole().await;
}

async fn an_open_incident_stays_until_it_is_closed(keeper: Keeper) {
    for incident in [1, 2] {
        keeper.write(opened(incident, 0, &format!("generic:{incident}"))).await;
        keeper.write(of(incident, 1, Body::Unmatched {})).await;
    }
    let memos = [1, 2].map(|n| Put { key: incident_memo(&id(n)), value: Some("t".into()) });
    keeper.write(closed(2, 2)).await;
    keeper.write(word(3, "generic:2", AlarmState::Resolved)).await;
    keeper.go_on(500).await;
    let end = *keeper.journal.head().borrow();
    keeper.journal.advance("slack", end, memos.into()).await.expect("it is kept");
    let now = day_of(500);
    run(&mut keeper.archiver(), now).await.expect("it goes on");
    let places = keeper.places().await;
    assert!(places.contains(&1) && places.contains(&2), "{places:?}");
    assert!((3..=6).all(|seq| !places.contains(&seq)), "{places:?}");
    let folded = crate::load(&*keeper.journal, &id(1)).await.expect("it can be read");
    assert!(folded.is_some_and(|incident| !incident.is_closed()));
    let known = keeper.journal.incidents(None, 9).await.expect("it can be read");
    assert_eq!(known, [id(1)]);
    let memo = async |n| keeper.journal.memo("slack", &incident_memo(&id(n))).await;
    assert_eq!(memo(1).await.expect("it can be read"), Some("t".into()));
    assert_eq!(memo(2).await.expect("it can be read"), None);

    keeper.write(closed(1, 501)).await;
    keeper.write(word(501, "generic:1", AlarmState::Resolved)).await;
    run(&mut keeper.archiver(), day_of(502)).await.expect("it goes on");
    assert!(keeper.places().await.contains(&1), "its end is in no file yet");
    keeper.go_on(600).await;
    let end = *keeper.journal.head().borrow();
    keeper.journal.advance("slack", end, vec![]).await.expect("it is kept");
    run(&mut keeper.archiver(), day_of(600)).await.expect("it goes on");
    let places = keeper.places().await;
    assert!(!places.contains(&1) && !places.contains(&2), "{places:?}");
    assert_eq!(keeper.journal.incidents(None, 9).await.expect("it can be read"), []);
    keeper.assert_whole().await;
}

async fn what_the_ledger_needs_stays(keeper: Keeper) {
    let old = [
        paused(0, "rule/a"),
        paused(1, "rule/b"),
        resumed(2, "rule/b"),
        opened(1, 3, "generic:1"),
        allowed(1, 3),
        concluded(1, 4),
        closed(1, 4),
        word(4, "generic:1", AlarmState::Resolved),
        opened(2, 5, "generic:2"),
        allowed(2, 5),
        paused(6, "rule/c"),
        resumed(6, "rule/c"),
        paused(7, "rule/c"),
        resumed(8, "all"),
    ];
    for draft in old {
        keeper.write(draft).await;
    }
    keeper.go_on(200).await;
    run(&mut keeper.archiver(), day_of(200)).await.expect("it goes on");
    let places = keeper.places().await;
    let kept: Vec<u64> = places.into_iter().filter(|seq| *seq <= 14).collect();
    // The pauses that hold, the incident that is open with its run, and the ledger's newest entry.
    assert_eq!(kept, [1, 9, 10, 13, 14]);
    let ledger = whole(&keeper.journal, &Stream::Ledger).await;
    assert_eq!(ledger.last().map(|entry| entry.seq), Some(Seq(14)));
    // Whoever has read the ledger before can still write on condition that it stands still.
    let batch = Batch::of(vec![paused(200, "all")]).expect(Stream::Ledger, Seq(14));
    keeper.journal.append(batch).await.expect("the ledger did not move");
    keeper.assert_whole().await;
}

async fn the_last_word_about_an_alarm_that_did_not_clear_stays(keeper: Keeper) {
    let old = [
        opened(1, 0, "generic:firing"),
        closed(1, 0),
        opened(2, 0, "generic:cleared"),
        closed(2, 0).about(&key("generic:cleared")),
        word(1, "generic:cleared", AlarmState::Resolved),
        word(1, "generic:lost", AlarmState::NoData),
    ];
    for draft in old {
        keeper.write(draft).await;
    }
    keeper.go_on(399).await;
    run(&mut keeper.archiver(), day_of(399)).await.expect("it goes on");
    let kept: Vec<u64> = keeper.places().await.into_iter().filter(|seq| *seq <= 6).collect();
    assert_eq!(kept, [1, 6]);
    // After more than a year nobody asks any more.
    run(&mut keeper.archiver(), day_of(402)).await.expect("it goes on");
    let kept: Vec<u64> = keeper.places().await.into_iter().filter(|seq| *seq <= 6).collect();
    assert_eq!(kept, [0; 0]);
    keeper.assert_whole().await;
}

async fn who_is_not_done_yet_holds_it_up(keeper: Keeper) {
    for n in 0..10 {
        keeper.receive(&format!("old/{n}"), 0, b"old").await;
    }
    let waits = keeper.journal.receive(sent("waits", 0, b"w")).await.expect("it is received");
    assert_eq!(waits, Receipt::Stored(Seq(21)));
    keeper.journal.advance("slack", Seq(8), vec![]).await.expect("it is kept");
    keeper.go_on(100).await;
    let now = day_of(100);
    let held = run(&mut keeper.archiver(), now).await.expect("it goes on");
    assert_eq!(held, Some(Held::Reader("slack".into(), Seq(8))));
    assert_eq!(keeper.places().await.first(), Some(&9));
    keeper.journal.advance("slack", Seq(25), vec![]).await.expect("it is kept");
    let held = run(&mut keeper.archiver(), now).await.expect("it goes on");
    assert_eq!(held, Some(Held::Pending(Seq(21))));
    assert_eq!(keeper.places().await.first(), Some(&21));
    assert!(
        keeper.journal.delivery(&delivery_id("sns", "waits")).await.expect("readable").is_some()
    );
    assert_eq!(keeper.journal.pending(9).await.expect("it can be read").len(), 1);
    keeper.assert_whole().await;
}

async fn who_is_out_of_service_does_not_hold_it_up(keeper: Keeper) {
    for n in 0..10 {
        keeper.receive(&format!("old/{n}"), 0, b"old").await;
    }
    keeper.go_on(100).await;
    keeper.journal.advance("terminal", Seq(8), vec![]).await.expect("it is kept");
    keeper.journal.advance("slack", Seq(12), vec![]).await.expect("it is kept");
    let mut archiver = keeper.archiver().not_waiting_for(vec!["terminal".into()]);
    let held = run(&mut archiver, day_of(100)).await.expect("it goes on");
    assert_eq!(held, Some(Held::Reader("slack".into(), Seq(12))));
    assert_eq!(keeper.places().await.first(), Some(&13));
    keeper.journal.advance("slack", Seq(26), vec![]).await.expect("it is kept");
    let held = run(&mut archiver, day_of(100)).await.expect("it goes on");
    assert_eq!(held, None);
    assert_eq!(keeper.places().await.first(), Some(&21));
    // What is younger it still finds, should it come back.
    assert_eq!(keeper.journal.cursor("terminal").await.expect("readable"), Seq(20));
    keeper.assert_whole().await;
}

async fn a_store_refuses_to_delete_what_is_needed(keeper: Keeper) {
    keeper.write(opened(1, 0, "generic:1")).await;
    keeper.receive("old", 0, b"old").await;
    keeper.go_on(100).await;
    let prune = async |seq| {
        let prune = Prune { entries: vec![Seq(seq)], incidents: vec![id(1)] };
        keeper.retention.prune(prune).await
    };
    let refused = |answer: &Result<u64, JournalError>| {
        assert!(matches!(answer, Err(JournalError::Unavailable(_))), "{answer:?}");
    };
    refused(&prune(2).await);
    let mut archiver = keeper.archiver();
    let did = archiver.step(day_of(100), Haste::Now).await.expect("it goes on");
    assert!(matches!(did, Did::Archived(_)), "{did:?}");
    let record = *keeper.places().await.last().expect("there is one");
    let before = keeper.places().await;
    for seq in [1, 4, record] {
        refused(&prune(seq).await);
    }
    let mixed = Prune { entries: vec![Seq(2), Seq(4)], incidents: vec![] };
    refused(&keeper.retention.prune(mixed).await);
    assert_eq!(keeper.places().await, before, "all or nothing");
    assert_eq!(prune(2).await.expect("it is archived"), 1);
    assert_eq!(prune(2).await.expect("it is gone"), 0);
    assert_eq!(keeper.journal.incidents(None, 9).await.expect("readable"), [id(1)]);
    keeper.assert_whole().await;
}

async fn stopped_after_any_step_nothing_is_lost_and_the_next_run_goes_on(keeper: Keeper) {
    let steps =
        [Step::Written, Step::Synced, Step::Checked, Step::Named, Step::Recorded, Step::Pruned];
    for (n, step) in (0..).zip(steps) {
        let day = n * 100;
        // More than one page, where a page is what it is stopped after.
        let deliveries = if step == Step::Pruned { 300 } else { 20 };
        for m in 0..deliveries {
            keeper.receive(&format!("old/{day}/{m}"), day, b"old").await;
        }
        keeper.go_on(day + 1).await;
        let before = keeper.places().await;
        let now = day_of(day + 40);
        let stopped = run(&mut keeper.archiver().halting_after(step), now).await;
        let Err(stopped) = stopped else { panic!("{step:?}: {stopped:?}") };
        assert!(stopped.to_string().contains("stopped after"), "{stopped}");
        if step < Step::Pruned {
            let after = keeper.places().await;
            assert!(before.is_subset(&after), "{step:?}: nothing is deleted yet");
        }
        let verified = verify(&*keeper.journal).await.expect("it can be read");
        assert!(matches!(verified, Verified::Whole { .. }), "{step:?}: {verified:?}");
        // The next run may have more to do than the one that was stopped.
        keeper.receive(&format!("later/{day}"), day + 1, b"later").await;
        run(&mut keeper.archiver(), now).await.expect("it goes on");
        keeper.assert_whole().await;
        let left = keeper.places().await;
        let gone = before.iter().filter(|seq| !left.contains(seq)).count();
        assert!(gone >= deliveries * 2, "{step:?}: {gone} of {}", before.len());
    }
}

async fn of_two_that_archive_at_once_one_does(keeper: Keeper) {
    for n in 0..50 {
        keeper.receive(&format!("old/{n}"), 0, b"old").await;
    }
    keeper.go_on(100).await;
    let (mut one, mut other) = (keeper.archiver(), keeper.archiver());
    let (one, other) = tokio::join!(run(&mut one, day_of(100)), run(&mut other, day_of(100)));
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    run(&mut keeper.archiver(), day_of(100)).await.expect("it goes on");
    let records = whole(&keeper.journal, &Stream::Archive).await;
    assert_eq!(records.len(), 1, "{records:?}");
    keeper.assert_whole().await;
}

/// Two files, both recorded and pruned.
async fn two_files(keeper: &Keeper) -> [PathBuf; 2] {
    keeper.write(opened(1, 0, "generic:1")).await;
    for day in [0, 50] {
        for n in 0..30 {
            keeper.receive(&format!("{day}/{n}"), day, b"old").await;
        }
        keeper.go_on(day + 20).await;
        run(&mut keeper.archiver(), day_of(day + 45)).await.expect("it goes on");
    }
    let files = keeper.archive().files().expect("it can be read");
    assert_eq!(files.len(), 2, "{files:?}");
    [0, 1].map(|n| keeper.archive().folder().join(&files[n]))
}

async fn a_flawed_file_is_named(keeper: Keeper) {
    let files = two_files(&keeper).await;
    keeper.assert_whole().await;
    let bytes = files.clone().map(|file| std::fs::read(file).expect("it can be read"));
    let names = keeper.archive().files().expect("it can be read");
    for (n, name) in names.iter().enumerate() {
        let mut edited = bytes[n].clone();
        let middle = edited.len() / 2;
        edited[middle] ^= 1;
        let long = [&bytes[n][..], b"x"].concat();
        let cut = bytes[n][..middle].to_vec();
        let other = bytes[1 - n].clone();
        let flawed = [None, Some(edited), Some(long), Some(cut), Some(other), Some(vec![])];
        for flawed in flawed {
            match &flawed {
                Some(bytes) => std::fs::write(&files[n], bytes).expect("it is written"),
                None => std::fs::remove_file(&files[n]).expect("it is there"),
            }
            let both = verify_archive(&*keeper.journal, &keeper.archive()).await;
            let flaws = both.expect("it can be read").flaws;
            assert!(flaws.len() == 1 && flaws[0].file == *name, "{flaws:?}");
            let alone = verify_files(&keeper.archive()).expect("it can be read");
            // That the last file is missing cannot be told from the files alone.
            assert!(!alone.flaws.is_empty() || (n == 1 && flawed.is_none()), "{alone:?}");
            let store = verify(&*keeper.journal).await.expect("it can be read");
            assert!(matches!(store, Verified::Whole { .. }), "{store:?}");
        }
        std::fs::write(&files[n], &bytes[n]).expect("it is written");
    }
    keeper.assert_whole().await;
    // Before it deletes anything, an archiver looks at the newest file.
    std::fs::remove_file(&files[1]).expect("it is there");
    let refused = run(&mut keeper.archiver(), day_of(200)).await;
    let Err(ArchiveError::Flawed(flaw)) = refused else { panic!("{refused:?}") };
    assert!(flaw.to_string().contains("is missing; it holds entries"), "{flaw}");
}

async fn a_flawed_record_is_named(keeper: Keeper) {
    two_files(&keeper).await;
    // Somebody writes an entry that tells of a file that is none.
    let newest = keeper.journal.latest(&Stream::Archive, 1).await.expect("it can be read");
    let mut body = newest[0].body.clone();
    if let Body::Archived { first, last, .. } = &mut body {
        (*first, *last) = (last.next(), last.next());
    }
    let written = keeper.write(Draft::new(day_of(100), engine(), body)).await;
    let verified = verify(&*keeper.journal).await.expect("it can be read");
    let broken = untoil_model::Broken::Unchained { seq: written.seq };
    assert_eq!(verified, Verified::Broken(broken));
}

async fn a_small_file_waits_for_a_days_worth(keeper: Keeper) {
    for n in 0..3 {
        keeper.receive(&n.to_string(), 0, b"old").await;
    }
    keeper.go_on(35).await;
    let mut archiver = keeper.archiver();
    let nothing = archiver.step(day_of(35), Haste::Patient).await.expect("it goes on");
    assert_eq!(nothing, Did::Nothing(None));
    let did = archiver.step(day_of(36), Haste::Patient).await.expect("it goes on");
    assert!(matches!(did, Did::Archived(_)), "{did:?}");
    let short = Period::hours(24);
    let stores = (Arc::clone(&keeper.journal), Arc::clone(&keeper.retention));
    let refused = Archiver::new(stores, keeper.archive(), short, engine());
    assert!(matches!(refused, Err(ArchiveError::TooShort(KEEP_MIN))), "{refused:?}");
}

async fn who_checks_meanwhile_finds_no_damage(keeper: Keeper) {
    let old = vec![word(0, "generic:1", AlarmState::Resolved); 2_500];
    keeper.journal.append(Batch::of(old)).await.expect("it is appended");
    keeper.go_on(100).await;
    let mut archiver = keeper.archiver();
    let archiving = run(&mut archiver, day_of(100));
    let checking = async {
        loop {
            let verified = verify(&*keeper.journal).await.expect("it can be read");
            assert!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
            tokio::task::yield_now().await;
            let first = keeper.journal.raw(Seq::START, 1).await.expect("it can be read");
            if first[0].seq > Seq(2_500) {
                return;
            }
        }
    };
    let (archived, ()) = tokio::join!(archiving, checking);
    archived.expect("it goes on");
    keeper.assert_whole().await;
}
