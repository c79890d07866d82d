//! What every store must do, as checks that a store's own tests call with fresh journals.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use untoil_journal::{Journal, MemoryJournal, conformance};
//! # async fn test() {
//! conformance::all(async || vec![Arc::new(MemoryJournal::new()) as Arc<dyn Journal>]).await;
//! # }
//! ```
//!
//! Durability is not among them: a store that keeps anything tests that by being killed.

mod ahead;
mod appending;
mod chain;
mod deliveries;
mod following;
mod incidents;
mod instances;
mod reading;
mod retention;

pub use instances::{Instance, instances};
pub use retention::{Keeper, retention};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use untoil_model::{
    Actor, Alarm, AlarmKey, AlarmState, Body, Delivery, DeliveryId, Draft, Ending, Entry,
    IncidentId, Seq, Stream,
};

use crate::Journal;

/// How long one check may take on a busy machine with a slow disk; beyond it, it hangs.
const CHECK_MAX: Duration = Duration::from_mins(2);

/// Handles on one fresh journal: one, or one per instance that shares it.
#[derive(Debug, Clone)]
struct Handles(Vec<Arc<dyn Journal>>);

impl Handles {
    /// The first one.
    fn one(&self) -> &Arc<dyn Journal> {
        self.at(0)
    }

    /// The one that the `n`th task uses: tasks are spread over all of them.
    fn at(&self, n: usize) -> &Arc<dyn Journal> {
        &self.0[n % self.0.len()]
    }
}

macro_rules! checks {
    ($($module:ident::$check:ident,)*) => {
        /// Runs every check, each on a fresh journal that `make` makes.
        ///
        /// `make` returns one handle or several on the same journal, as several instances would
        /// hold them; racing tasks are spread over them. To be run on a runtime of several threads
        /// with time unpaused.
        ///
        /// # Panics
        /// When the store does not do what it must; the message says what, and the place where.
        pub async fn all(make: impl AsyncFn() -> Vec<Arc<dyn Journal>>) {
            $(
                let handles = make().await;
                assert!(!handles.is_empty(), "`make` must return a journal");
                let check = Box::pin($module::$check(Handles(handles)));
                let ended = tokio::time::timeout(CHECK_MAX, check).await;
                assert!(ended.is_ok(), "`{}` hangs", stringify!($check));
            )*
        }
    };
}

checks! {
    deliveries::a_delivery_is_kept_byte_for_byte,
    deliveries::every_character_of_a_text_is_kept,
    deliveries::a_delivery_is_kept_once,
    deliveries::of_deliveries_that_race_one_is_stored,
    deliveries::the_same_message_of_two_sources_is_two_deliveries,
    deliveries::a_delivery_is_pending_until_it_is_decided,
    deliveries::a_delivery_is_decided_once,
    deliveries::of_those_who_decide_at_once_one_does,
    deliveries::what_is_to_be_decided_comes_whole_and_in_pages,
    appending::entries_come_back_as_they_were_written,
    appending::a_batch_is_written_in_order_and_whole,
    appending::a_batch_of_nothing_writes_nothing,
    appending::the_largest_batch_fits_and_a_larger_one_is_refused,
    appending::a_conflict_writes_nothing,
    appending::every_condition_counts,
    appending::a_condition_sees_its_own_stream_only,
    appending::of_conditional_writers_that_race_one_wins,
    appending::conflicts_do_not_disturb_their_neighbours,
    appending::cancelled_writers_leave_whole_batches,
    ahead::what_is_written_ahead_can_be_read_at_once,
    ahead::a_condition_sees_what_was_written_ahead,
    ahead::what_was_waited_for_is_behind_the_head,
    ahead::what_is_written_is_announced_in_order_and_never_behind_the_head,
    chain::an_empty_journal_is_whole,
    chain::places_have_no_gaps_however_many_write,
    chain::the_kept_texts_are_chained,
    reading::streams_hold_what_belongs_to_them,
    reading::odd_alarm_keys_are_streams_of_their_own,
    reading::pages_join_without_gap_or_repeat,
    reading::limits_are_kept,
    reading::the_ends_of_several_streams_come_in_their_order,
    following::a_reader_never_skips_a_late_commit,
    following::the_head_is_announced_after_the_commit,
    following::every_handle_hears_of_the_head,
    following::a_cursor_never_moves_back,
    following::memos_are_kept_by_reader_and_key,
    following::a_cursor_moves_together_with_its_memos,
    incidents::open_incidents_are_those_not_closed,
    incidents::incidents_are_paged_in_the_order_of_opening,
}

/// A moment, `n` seconds and some microseconds into a day.
fn moment(n: usize) -> Timestamp {
    let micros = 1_767_225_600_123_456 + i64::try_from(n).expect("tests are short") * 1_000_000;
    Timestamp::from_microsecond(micros).expect("it is a day in 2026")
}

fn engine() -> Actor {
    Actor::Engine("conformance".into())
}

/// An entry of no stream but all.
fn note(text: &str) -> Draft {
    let body = Body::Understood { delivery: delivery_id("sns", "note"), what: text.to_owned() };
    Draft::new(moment(0), engine(), body)
}

/// An entry of the ledger.
fn pause(reason: &str) -> Draft {
    let body = Body::Paused { scope: "all".into(), reason: reason.to_owned() };
    Draft::new(moment(0), Actor::Human("kim".into()), body)
}

fn key(text: &str) -> AlarmKey {
    text.parse().expect("it is an alarm key")
}

fn incident(n: usize) -> IncidentId {
    IncidentId::derive(moment(n), &key("cloudwatch:arn:conformance"), "sns/conformance")
}

/// An incident's first entry, and a word about its alarm.
fn opened(n: usize, alarm: &AlarmKey) -> Draft {
    let body = Body::Opened {
        delivery: delivery_id("sns", "opened"),
        alarm: Arc::new(firing(alarm)),
        skewed_from: None,
    };
    Draft::of(&incident(n), moment(n), engine(), body).about(alarm)
}

/// An entry of an incident.
fn unmatched(n: usize) -> Draft {
    Draft::of(&incident(n), moment(n), engine(), Body::Unmatched {})
}

/// An incident's last entry.
fn closed(n: usize) -> Draft {
    Draft::of(&incident(n), moment(n), engine(), Body::Closed { ending: Ending::Healed })
}

fn firing(key: &AlarmKey) -> Alarm {
    Alarm {
        key: key.clone(),
        source: "cloudwatch".parse().expect("it is a source"),
        name: "contact-sync 백로그".into(),
        state: AlarmState::Firing,
        changed_at: moment(1),
        severity: None,
        reason: "a line\nwith \"quotes\", \\, \u{2028}, NUL \u{0} and 😀".into(),
        description: String::new(),
        account: Some("123456789012".into()),
        region: Some("ap-northeast-2".into()),
        namespace: None,
        metric: None,
        dimensions: BTreeMap::from([("InstanceId".into(), "i-0a1b2c3d".into())]),
        labels: BTreeMap::new(),
        value: Some(0.1 + 0.2),
        threshold: Some(1e21),
        link: None,
        origin: None,
    }
}

fn delivery_id(source: &str, message: &str) -> DeliveryId {
    DeliveryId { source: source.parse().expect("it is a source"), message: message.to_owned() }
}

fn delivery(message: &str) -> Delivery {
    Delivery {
        id: delivery_id("sns", message),
        sender: "arn:aws:sns:ap-northeast-2:123456789012:alarms".into(),
        received_at: moment(2),
        headers: BTreeMap::from([("content-type".into(), "text/plain".into())]),
        body: format!("{{\"MessageId\":\"{message}\"}}").into_bytes(),
    }
}

/// Where a stream ends.
async fn end(journal: &Arc<dyn Journal>, stream: &Stream) -> Seq {
    let last = journal.latest(stream, 1).await.expect("the journal can be read");
    last.first().map_or(Seq::START, |entry| entry.seq)
}

/// A whole stream, read at once.
async fn whole(journal: &Arc<dyn Journal>, stream: &Stream) -> Vec<Entry> {
    journal.read(stream, Seq::START, usize::MAX).await.expect("the journal can be read")
}

/// The places of entries.
fn places(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq.0).collect()
}
