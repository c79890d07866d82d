//! Where deliveries become alarms, and alarms become incidents.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use untoil_intake::{Decoded, decode, says_unsubscribed};
use untoil_journal::{AppendError, Batch, JournalError};
use untoil_model::{
    Alarm, AlarmKey, Body, Delivery, Draft, IncidentId, Mode, Reason, Standing, Stream,
};

use crate::Tools;
use crate::track::{Meaning, TRACK_ENTRIES, Track, unskew};

/// Another writer may be faster at one alarm this often before it is called an overload.
const TRIES_MAX: u32 = 20;
/// Longest reason that is recorded for an unreadable delivery.
const WHY_MAX: usize = 500;

/// A delivery that was read.
struct ReadOut {
    delivery: Delivery,
    says: Result<Decoded, String>,
}

impl ReadOut {
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
    /// Opened here, and so this instance's own.
    pub(crate) opened: Vec<IncidentId>,
    /// Open before; another instance may hold them.
    pub(crate) heard: BTreeSet<IncidentId>,
}

impl Touched {
    fn add(&mut self, more: Self) {
        self.opened.extend(more.opened);
        self.heard.extend(more.heard);
    }
}

/// Decides deliveries, at once where they speak of different alarms and in order where they do not.
/// Adds the incidents that have news to `touched`, also when some delivery could not be decided.
pub(crate) async fn decide(
    tools: &Tools,
    page: Vec<Delivery>,
    touched: &mut Touched,
) -> Result<(), JournalError> {
    let mut left = Vec::with_capacity(page.len());
    for delivery in page {
        let says = decode(&delivery).map_err(|e| cut(&e.to_string()));
        left.push(ReadOut { delivery, says });
    }
    while !left.is_empty() {
        let mut busy: BTreeSet<AlarmKey> = BTreeSet::new();
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|read| {
            let free = read.keys().all(|key| !busy.contains(key));
            busy.extend(read.keys().cloned());
            free
        });
        let mut deciding: FuturesUnordered<_> =
            now.iter().map(|read| decide_one(tools, read)).collect();
        let mut failed = None;
        while let Some(decided) = deciding.next().await {
            match decided {
                Ok(more) => touched.add(more),
                Err(error) => failed = Some(error),
            }
        }
        drop(deciding);
        if let Some(error) = failed {
            return Err(error);
        }
        left = later;
    }
    Ok(())
}

async fn decide_one(tools: &Tools, read: &ReadOut) -> Result<Touched, JournalError> {
    for _ in 0..TRIES_MAX {
        let (batch, touched) = draft(tools, read).await?;
        match tools.journal.append(batch).await {
            Ok(_) => return Ok(touched),
            Err(AppendError::Conflict { .. }) => {}
            // Another instance was faster; it opened or touched what there was to open or touch.
            Err(AppendError::Decided(_)) => return Ok(Touched::default()),
            Err(AppendError::Journal(e)) => return Err(e),
        }
    }
    Err(JournalError::Overloaded)
}

/// All entries of one delivery: written together, so it is either decided or still pending.
async fn draft(tools: &Tools, read: &ReadOut) -> Result<(Batch, Touched), JournalError> {
    let now = tools.clock.now();
    let id = &read.delivery.id;
    let plain = |body| Draft::new(now, tools.actor.clone(), body);
    let mut batch = Batch::default().deciding(id.clone());
    let mut touched = Touched::default();
    match &read.says {
        Err(why) => {
            batch.drafts.push(plain(Body::Unreadable { delivery: id.clone(), why: why.clone() }));
        }
        Ok(Decoded::Note(what)) => {
            batch.drafts.push(plain(Body::Understood { delivery: id.clone(), what: cut(what) }));
            if says_unsubscribed(&read.delivery) {
                let (code, detail) = ("subscription_deleted".to_owned(), cut(what));
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
                if seen.insert(&alarm.key) {
                    hear(tools, read, alarm, (&mut batch, &mut touched)).await?;
                }
            }
        }
    }
    Ok((batch, touched))
}

async fn hear(
    tools: &Tools,
    read: &ReadOut,
    alarm: &Alarm,
    (batch, touched): (&mut Batch, &mut Touched),
) -> Result<(), JournalError> {
    let mut alarm = alarm.clone();
    let received_at = read.delivery.received_at;
    let skewed_from = unskew(&mut alarm, received_at);
    let stream = Stream::Alarm(alarm.key.clone());
    let track = Track::of(&tools.journal.latest(&stream, TRACK_ENTRIES).await?);
    let skewed_from = skewed_from.or_else(|| track.redate(&mut alarm, received_at));
    batch.expects.push(untoil_journal::Expect { stream, at: track.seq });
    let now = tools.clock.now();
    let delivery = read.delivery.id.clone();
    match track.meaning(&alarm) {
        Meaning::Opens => {
            let incident = IncidentId::derive(now, &alarm.key, &delivery.to_string());
            let of = |body| Draft::of(&incident, now, tools.actor.clone(), body);
            let answer = answer(tools, &alarm);
            let key = alarm.key.clone();
            let opened = Body::Opened { delivery, alarm: Box::new(alarm), skewed_from };
            batch.drafts.push(of(opened).about(&key));
            batch.drafts.push(of(answer));
            touched.opened.push(incident);
        }
        Meaning::Is(standing) => {
            // Words that change nothing stay out of the alarm's stream: it holds transitions only.
            let advances = !matches!(standing, Standing::Duplicate | Standing::OutOfOrder);
            let key = alarm.key.clone();
            let body = Body::Observed { delivery, alarm: Box::new(alarm), standing, skewed_from };
            let mut draft = Draft::new(now, tools.actor.clone(), body);
            if advances {
                draft = draft.about(&key);
            }
            draft.incident.clone_from(&track.open);
            batch.drafts.push(draft);
            touched.heard.extend(track.open.filter(|_| advances));
        }
    }
    Ok(())
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
