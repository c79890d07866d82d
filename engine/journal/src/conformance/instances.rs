//! Several instances: who holds what, and that nobody else writes about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use untoil_model::{Body, Draft, IncidentId, RunOutcome, Seq, Stream};

use super::{
    CHECK_MAX, closed, delivery, delivery_id, engine, incident, key, moment, note, opened,
    unmatched, whole,
};
use crate::{AppendError, Batch, Journal, JournalError, News, Put, Roster};

/// One of several instances that share a journal.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its journal.
    pub journal: Arc<dyn Journal>,
    /// Its share of the work.
    pub roster: Arc<dyn Roster>,
}

/// Runs every check of instances, each on a fresh journal that `make` makes.
///
/// `make` returns three instances that were not heard yet. A check waits until a lease has ended, so
/// it is short or time is virtual; others need it to last for some hundred statements.
///
/// # Panics
/// As [`super::all`].
pub async fn instances(make: impl AsyncFn() -> Vec<Instance>) {
    macro_rules! run {
        ($($check:ident,)*) => {$(
            let made = make().await;
            assert_eq!(made.len(), 3, "`make` must return three instances");
            for instance in &made {
                instance.roster.beat().await.expect("it is heard");
            }
            let ended = tokio::time::timeout(CHECK_MAX, Box::pin($check(made))).await;
            assert!(ended.is_ok(), "`{}` hangs", stringify!($check));
        )*};
    }
    run! {
        an_incident_is_held_by_who_opened_it,
        who_does_not_hold_an_incident_cannot_write_as_its_holder,
        what_is_left_is_adopted_at_once,
        who_is_not_heard_loses_what_it_held,
        of_those_who_adopt_at_once_each_incident_goes_to_one,
        a_delivery_is_decided_by_its_receiver_while_it_lives,
        a_post_has_one_holder_and_only_it_moves_the_cursor,
        who_had_a_post_moves_the_cursor_only_while_it_has_it,
        news_is_what_others_wrote_about_mine,
    }
}

async fn open(instance: &Instance, n: usize) {
    let alarm = key(&format!("generic:{n}"));
    instance.journal.append(Batch::of(vec![opened(n, &alarm)])).await.expect("it is appended");
}

async fn mine(instance: &Instance) -> Vec<IncidentId> {
    instance.roster.mine(None, 99).await.expect("it can be read")
}

async fn write_as_holder(instance: &Instance, n: usize) -> Result<(), AppendError> {
    let batch = Batch::of(vec![unmatched(n)]).holding(incident(n));
    instance.journal.append(batch).await.map(drop)
}

fn is_taken_over(result: &Result<(), AppendError>) -> bool {
    matches!(result, Err(AppendError::Journal(JournalError::TakenOver(_))))
}

/// Lets `alive` live and adopt until it has something: `gone` is not heard meanwhile.
async fn adopted(alive: &Instance, gone: &Instance) -> Vec<IncidentId> {
    loop {
        alive.roster.beat().await.expect("it is heard");
        let adopted = alive.roster.adopt(99).await.expect("it can adopt");
        if !adopted.is_empty() {
            return adopted;
        }
        assert!(!mine(gone).await.is_empty(), "what nobody adopted is still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn an_incident_is_held_by_who_opened_it(made: Vec<Instance>) {
    open(&made[0], 1).await;
    open(&made[1], 2).await;
    open(&made[0], 3).await;
    assert_eq!(mine(&made[0]).await, [incident(1), incident(3)]);
    assert_eq!(mine(&made[1]).await, [incident(2)]);
    assert_eq!(mine(&made[2]).await, []);
    let asked = [incident(1), incident(2), incident(9)];
    assert_eq!(made[0].roster.held(&asked).await.expect("it can be read"), [incident(1)]);
    let page = made[0].roster.mine(Some(&incident(1)), 1).await.expect("it can be read");
    assert_eq!(page, [incident(3)]);
    for instance in &made {
        assert_eq!(instance.roster.adopt(9).await.expect("it can adopt"), [], "all are held");
    }
    made[0].journal.append(Batch::of(vec![closed(1)])).await.expect("it is appended");
    assert_eq!(mine(&made[0]).await, [incident(3)], "what is closed needs nobody");
}

async fn who_does_not_hold_an_incident_cannot_write_as_its_holder(made: Vec<Instance>) {
    open(&made[0], 1).await;
    write_as_holder(&made[0], 1).await.expect("it holds it");
    assert!(is_taken_over(&write_as_holder(&made[1], 1).await));
    assert!(is_taken_over(&write_as_holder(&made[0], 9).await), "nobody holds what is unknown");
    open(&made[1], 2).await;
    let of_both = Batch::of(vec![unmatched(1), unmatched(2)]);
    let of_both = of_both.holding(incident(1)).holding(incident(2));
    for made in &made[..2] {
        let refused = made.journal.append(of_both.clone()).await.map(drop);
        assert!(is_taken_over(&refused), "it must hold both: {refused:?}");
    }
    let word = Batch::of(vec![unmatched(1)]);
    made[1].journal.append(word).await.expect("whoever heard something may write it down");
    assert_eq!(whole(&made[0].journal, &Stream::All).await.len(), 4);
}

async fn what_is_left_is_adopted_at_once(made: Vec<Instance>) {
    open(&made[0], 1).await;
    open(&made[0], 2).await;
    assert!(made[0].roster.take("slack").await.expect("it can take a post"));
    assert!(!made[1].roster.take("slack").await.expect("it can ask"));
    for _ in 0..2 {
        made[0].roster.leave().await.expect("it leaves, also twice");
    }
    assert!(is_taken_over(&write_as_holder(&made[0], 1).await), "it gave it up");
    let first = made[1].roster.adopt(1).await.expect("it can adopt");
    let second = made[2].roster.adopt(9).await.expect("it can adopt");
    assert_eq!((first, second), (vec![incident(1)], vec![incident(2)]));
    assert!(made[2].roster.take("slack").await.expect("it can take a post"));
    write_as_holder(&made[1], 1).await.expect("it holds it");
    made[0].roster.beat().await.expect("it is heard");
    assert_eq!(mine(&made[0]).await, [], "coming back takes nothing back");
}

async fn who_is_not_heard_loses_what_it_held(made: Vec<Instance>) {
    open(&made[0], 1).await;
    open(&made[1], 2).await;
    let taken = adopted(&made[1], &made[0]).await;
    assert_eq!(taken, [incident(1)], "its own it keeps");
    assert!(is_taken_over(&write_as_holder(&made[0], 1).await), "late, it writes nothing");
    write_as_holder(&made[1], 1).await.expect("it holds it");
    made[0].roster.beat().await.expect("it is heard");
    assert_eq!(mine(&made[0]).await, []);
    assert!(is_taken_over(&write_as_holder(&made[0], 1).await));
}

async fn of_those_who_adopt_at_once_each_incident_goes_to_one(made: Vec<Instance>) {
    const INCIDENTS: usize = 40;
    for n in 0..INCIDENTS {
        open(&made[0], n).await;
    }
    made[0].roster.leave().await.expect("it leaves");
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let roster = Arc::clone(&made[1 + n % 2].roster);
        tasks.spawn(async move { roster.adopt(7).await.expect("it can adopt") });
    }
    let mut adopted: Vec<_> = tasks.join_all().await.concat();
    for instance in &made[1..] {
        adopted.extend(instance.roster.adopt(99).await.expect("it can adopt"));
    }
    adopted.sort();
    let expected: Vec<_> = (0..INCIDENTS).map(incident).collect();
    assert_eq!(adopted, expected, "each is adopted once");
}

async fn a_delivery_is_decided_by_its_receiver_while_it_lives(made: Vec<Instance>) {
    made[0].journal.receive(delivery("a")).await.expect("it is received");
    made[1].journal.receive(delivery("b")).await.expect("it is received");
    let waiting = async |instance: &Instance| {
        let page = instance.journal.to_decide(9).await.expect("it can be read");
        page.into_iter().map(|delivery| delivery.id.message).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&made[0]).await, ["a"]);
    assert_eq!(waiting(&made[1]).await, ["b"]);
    let pending = made[2].journal.pending(9).await.expect("it can be read");
    assert_eq!(pending.len(), 2, "everybody sees what is pending");
    made[0].roster.leave().await.expect("it leaves");
    // What a leaver left goes to whoever asks first, and may be offered to both.
    let (mut b, mut c) = (Vec::new(), Vec::new());
    while !b.contains(&"a".to_owned()) && !c.contains(&"a".to_owned()) {
        (b, c) = (waiting(&made[1]).await, waiting(&made[2]).await);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!c.contains(&"b".to_owned()), "its receiver lives");
    let decided = Batch::of(vec![note("decided")]).deciding(delivery_id("sns", "a"));
    made[2].journal.append(decided.clone()).await.expect("it is appended");
    let again = made[1].journal.append(decided).await;
    assert!(matches!(again, Err(AppendError::Decided(_))), "{again:?}");
}

async fn a_post_has_one_holder_and_only_it_moves_the_cursor(made: Vec<Instance>) {
    let mut tasks = JoinSet::new();
    for instance in made.clone() {
        tasks.spawn(async move { instance.roster.take("slack").await.expect("it can ask") });
    }
    let holders = tasks.join_all().await.into_iter().filter(|took| *took).count();
    assert_eq!(holders, 1);
    for instance in &made {
        let is_holder = instance.roster.take("slack").await.expect("it can ask");
        let moved = instance.journal.advance("slack", Seq(3), Vec::new()).await;
        assert_eq!(moved.is_ok(), is_holder, "{moved:?}");
        assert!(is_holder || matches!(moved, Err(JournalError::TakenOver(_))), "{moved:?}");
        instance.journal.advance("mail", Seq(1), Vec::new()).await.expect("nobody has that post");
    }
    assert_eq!(made[0].journal.cursor("slack").await.expect("it can be read"), Seq(3));
}

async fn who_had_a_post_moves_the_cursor_only_while_it_has_it(made: Vec<Instance>) {
    let noting = |value: &str| vec![Put { key: "thread".into(), value: Some(value.into()) }];
    let [first, second, third] = &made[..] else { panic!("there are three") };
    assert!(first.roster.take("slack").await.expect("it can take a post"));
    first.journal.advance("slack", Seq(1), noting("first")).await.expect("it has the post");
    first.roster.leave().await.expect("it leaves");
    assert!(second.roster.take("slack").await.expect("it can take a post"));
    second.journal.advance("slack", Seq(2), noting("second")).await.expect("it has the post");
    second.roster.leave().await.expect("it leaves");
    // Nobody has it now; and yet what those know who had it may be older than what was noted.
    for late in [first, second] {
        let moved = late.journal.advance("slack", Seq(3), noting("late")).await;
        assert!(matches!(moved, Err(JournalError::TakenOver(_))), "{moved:?}");
    }
    let memo = third.journal.memo("slack", "thread").await.expect("it can be read");
    assert_eq!(memo.as_deref(), Some("second"));
    third.journal.advance("slack", Seq(4), Vec::new()).await.expect("nobody living has that post");
    first.roster.beat().await.expect("it is heard");
    assert!(first.roster.take("slack").await.expect("it can take a post"));
    first.journal.advance("slack", Seq(5), noting("again")).await.expect("it has the post again");
    assert_eq!(first.journal.cursor("slack").await.expect("it can be read"), Seq(5));
}

async fn news_is_what_others_wrote_about_mine(made: Vec<Instance>) {
    open(&made[0], 1).await; // 1
    open(&made[1], 2).await; // 2
    made[0].journal.append(Batch::of(vec![unmatched(1)])).await.expect("appended"); // 3
    made[1].journal.append(Batch::of(vec![unmatched(1)])).await.expect("appended"); // 4
    made[2].journal.append(Batch::of(vec![note("x"), unmatched(1)])).await.expect("appended"); // 5, 6
    let concluded = Body::Concluded {
        run: incident(2).run(1),
        rule: "disk-full".parse().expect("it is a rule's name"),
        target: "ecs/workers/contact-sync".parse().expect("it is a target"),
        outcome: RunOutcome::Effective,
        why: None,
        samples: Vec::new(),
    };
    let concluded = Draft::of(&incident(2), moment(9), engine(), concluded);
    made[1].journal.append(Batch::of(vec![concluded])).await.expect("appended"); // 7
    let news = async |n: usize, after, limit| {
        made[n].roster.news(Seq(after), limit).await.expect("it can be read")
    };
    let of = |upto, incidents: &[usize], target_free| News {
        upto: Seq(upto),
        incidents: incidents.iter().copied().map(incident).collect(),
        target_free,
    };
    assert_eq!(news(0, 0, 99).await, of(7, &[1], true));
    assert_eq!(news(1, 0, 99).await, of(7, &[], false), "its own words are no news");
    assert_eq!(news(2, 0, 99).await, of(7, &[], true));
    assert_eq!(news(0, 0, 3).await, of(3, &[], false));
    assert_eq!(news(0, 3, 1).await, of(4, &[1], false));
    assert_eq!(news(0, 7, 99).await, of(7, &[], false));
}
