//! Where deliveries become alarms, and alarms become incidents.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use untoil_intake::{Decoded, Decoders};
use untoil_journal::{AppendError, Batch, Expect, JournalError};
use untoil_model::{
    Alarm, AlarmKey, Body, Delivery, Draft, Entry, Incident, IncidentId, Mode, Reason, Standing,
    Stream,
};

use crate::Tools;
use crate::track::{Known, Meaning, TRACK_ENTRIES, Track, unskew};

/// Another writer may be faster at one alarm this often before it is called an overload.
const TRIES_MAX: u32 = 20;
/// Longest reason that is recorded for an unreadable delivery.
const WHY_MAX: usize = 500;

/// How many alarms' streams are looked up at once: bounds the entries that are held for it.
const LOOKUPS_MAX: usize = 256;

/// A delivery that was read.
struct ReadOut {
    delivery: Delivery,
    says: Result<Decoded, String>,
    /// How often it was drafted in vain.
    tries: u32,
}

impl ReadOut {
    fn new(decoders: &Decoders, delivery: Delivery, tries: u32) -> Self {
        let says = decoders.decode(&delivery).map_err(|e| cut(&e.to_string()));
        Self { delivery, says, tries }
    }

    fn keys(&self) -> impl Iterator<Item = &AlarmKey> {
        let alarms = match &self.says {
            Ok(Decoded::Alarms(alarms)) => alarms.as_slice(),
            Ok(Decoded::Note(_)) | Err(_) => &[],
        };
        alarms.iter().map(|alarm| &alarm.key)
    }
}

/// The incidents that deliveries have news of.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Opened here, and so this instance's own; as they were written.
    pub(crate) opened: Vec<Incident>,
    /// Open before; another instance may hold them.
    pub(crate) heard: BTreeSet<IncidentId>,
}

impl Touched {
    /// Folds the incidents that these entries of one delivery open. The entries of each stand together.
    fn open(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Some(incident) = Incident::fold([entry]) {
                self.opened.push(incident);
            } else if let Some(last) = self.opened.last_mut() {
                last.apply(entry);
            }
        }
    }
}

/// What is to be written of one delivery.
struct Drafted {
    delivery: Delivery,
    tries: u32,
    batch: Batch,
    /// Incidents, open before, that it has news of.
    heard: BTreeSet<IncidentId>,
}

/// Decides deliveries, at once where they do not depend on each other and in order where they do.
/// Adds the incidents that have news to `touched`, also when some delivery could not be decided.
///
/// Written ahead of the disk: nothing outside is done because of a decision before an intent that is
/// durable, and that comes to the disk behind it.
///
/// What is `known` of an alarm may be old: it is a condition of what is written, so that a word is
/// looked at anew when somebody else has written meanwhile.
pub(crate) async fn decide(
    tools: &Tools,
    known: &mut Known,
    page: Vec<Delivery>,
    touched: &mut Touched,
) -> Result<(), JournalError> {
    let read = |one| ReadOut::new(&tools.decoders, one, 0);
    let mut left: Vec<ReadOut> = page.into_iter().map(read).collect();
    while !left.is_empty() {
        learn(tools, known, &left).await?;
        let (round, later) = round(tools, known, left);
        let written = join_all(round.into_iter().map(async |drafted| {
            let Drafted { delivery, tries, batch, heard } = drafted;
            let streams: Vec<Stream> = batch.expects.iter().map(|e| e.stream.clone()).collect();
            (delivery, tries, streams, heard, tools.journal.append_ahead(batch).await)
        }));
        let (mut again, mut failed) = (Vec::new(), None);
        for (delivery, tries, streams, heard, outcome) in written.await {
            match outcome {
                Ok(entries) => {
                    known.hear(&entries);
                    touched.open(&entries);
                    touched.heard.extend(heard);
                    continue;
                }
                Err(AppendError::Conflict { .. }) if tries < TRIES_MAX => {
                    again.push(ReadOut::new(&tools.decoders, delivery, tries + 1));
                }
                Err(AppendError::Conflict { .. }) => failed = Some(JournalError::Overloaded),
                // Another instance was faster; it opened or touched what there was to open or touch.
                Err(AppendError::Decided(_)) => {}
                Err(AppendError::Journal(e)) => failed = Some(e),
            }
            known.forget(&streams);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        again.extend(later);
        left = again;
    }
    known.trim();
    Ok(())
}

/// Takes alarms of which nothing is known for new ones, and looks up those that turned out not to be:
/// mostly nothing was ever heard of them, and what is written says so as its condition.
async fn learn(tools: &Tools, known: &mut Known, left: &[ReadOut]) -> Result<(), JournalError> {
    let unknown = |known: &Known, again: bool| -> BTreeSet<AlarmKey> {
        let read = left.iter().filter(|read| (read.tries > 0) == again);
        read.flat_map(ReadOut::keys).filter(|key| known.of(key).is_none()).cloned().collect()
    };
    let heard: Vec<AlarmKey> = unknown(known, true).into_iter().collect();
    for keys in heard.chunks(LOOKUPS_MAX) {
        let streams: Vec<Stream> = keys.iter().cloned().map(Stream::Alarm).collect();
        let latest = tools.journal.latest_each(&streams, TRACK_ENTRIES).await?;
        for (key, latest) in keys.iter().zip(latest) {
            known.learn(key.clone(), Track::of(&latest));
        }
    }
    for key in unknown(known, false) {
        known.learn(key, Track::default());
    }
    Ok(())
}

/// Drafts every delivery whose alarms no earlier one of the round changes; the others come later.
fn round(tools: &Tools, known: &Known, left: Vec<ReadOut>) -> (Vec<Drafted>, Vec<ReadOut>) {
    let (mut round, mut later) = (Vec::new(), Vec::new());
    let mut busy: BTreeSet<AlarmKey> = BTreeSet::new();
    for read in left {
        if read.keys().any(|key| busy.contains(key)) {
            busy.extend(read.keys().cloned());
            later.push(read);
            continue;
        }
        let drafted = draft(tools, known, read);
        busy.extend(drafted.batch.drafts.iter().filter_map(|draft| draft.alarm.clone()));
        round.push(drafted);
    }
    (round, later)
}

/// All entries of one delivery: written together, so it is either decided or still pending.
fn draft(tools: &Tools, known: &Known, read: ReadOut) -> Drafted {
    let ReadOut { delivery, says, tries } = read;
    let now = tools.clock.now();
    let id = &delivery.id;
    let plain = |body| Draft::new(now, tools.actor.clone(), body);
    let mut batch = Batch::default().deciding(id.clone());
    let mut heard = BTreeSet::new();
    match says {
        Err(why) => {
            batch.drafts.push(plain(Body::Unreadable { delivery: id.clone(), why }));
        }
        Ok(Decoded::Note(what)) => {
            batch.drafts.push(plain(Body::Understood { delivery: id.clone(), what: cut(&what) }));
            if tools.decoders.says_unsubscribed(&delivery) {
                let (code, detail) = ("subscription_deleted".to_owned(), cut(&what));
                let reason = Reason::Other { code, detail };
                batch.drafts.push(plain(Body::Escalated { reason, mention: None }));
            }
        }
        Ok(Decoded::Alarms(alarms)) => {
            let n = u32::try_from(alarms.len()).unwrap_or(u32::MAX);
            batch.drafts.push(plain(Body::Decoded { delivery: id.clone(), alarms: n }));
            let mut seen = BTreeSet::new();
            for alarm in alarms {
                // One delivery may name an alarm twice; the first word counts, as it would alone.
                if seen.insert(alarm.key.clone()) {
                    let track = known.of(&alarm.key).cloned().unwrap_or_default();
                    hear(tools, &delivery, (alarm, track), (&mut batch, &mut heard));
                }
            }
        }
    }
    Drafted { delivery, tries, batch, heard }
}

fn hear(
    tools: &Tools,
    delivery: &Delivery,
    (mut alarm, track): (Alarm, Track),
    (batch, heard): (&mut Batch, &mut BTreeSet<IncidentId>),
) {
    let received_at = delivery.received_at;
    let skewed_from =
        unskew(&mut alarm, received_at).or_else(|| track.redate(&mut alarm, received_at));
    let key = alarm.key.clone();
    batch.expects.push(Expect { stream: Stream::Alarm(key.clone()), at: track.seq });
    let now = tools.clock.now();
    let delivery = delivery.id.clone();
    match track.meaning(&alarm) {
        Meaning::Opens => {
            let incident = IncidentId::derive(now, &key, &delivery.to_string());
            let of = |body| Draft::of(&incident, now, tools.actor.clone(), body);
            let answer = answer(tools, &alarm);
            let opened = Body::Opened { delivery, alarm: Arc::new(alarm), skewed_from };
            batch.drafts.push(of(opened).about(&key));
            batch.drafts.push(of(answer));
        }
        Meaning::Is(standing) => {
            // Words that change nothing stay out of the alarm's stream: it holds transitions only.
            let advances = !matches!(standing, Standing::Duplicate | Standing::OutOfOrder);
            let body = Body::Observed { delivery, alarm: Arc::new(alarm), standing, skewed_from };
            let mut draft = Draft::new(now, tools.actor.clone(), body);
            if advances {
                draft = draft.about(&key);
            }
            draft.incident.clone_from(&track.open);
            batch.drafts.push(draft);
            heard.extend(track.open.filter(|_| advances));
        }
    }
}

/// Which rule answers an alarm. Rules that are off are not asked.
pub(crate) fn answer(tools: &Tools, alarm: &Alarm) -> Body {
    let mut candidates = tools.rules.candidates(alarm);
    candidates.retain(|candidate| candidate.mode != Mode::Off);
    let mut candidates = candidates.into_iter();
    match candidates.next() {
        None => Body::Unmatched {},
        Some(first) => Body::Matched {
            rule: first.name,
            version: first.version,
            passed: candidates.map(|candidate| candidate.name).collect(),
        },
    }
}

fn cut(text: &str) -> String {
    text.chars().take(WHY_MAX).collect()
}
