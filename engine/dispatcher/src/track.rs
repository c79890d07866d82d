//! What is known of an alarm, and what a further word about it means. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use untoil_model::{Alarm, AlarmKey, AlarmState, Body, Entry, IncidentId, Seq, Standing, Stream};

/// How far ahead of us a sender's clock may be before its time is not believed.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(2);
/// A word of firing this long after the clearing was recorded is no late copy of an older one: the
/// sender says it now. Two Alertmanagers of a pair are seconds apart.
const LATE_COPY_MAX: SignedDuration = SignedDuration::from_mins(2);

/// What is known of an alarm: the newest entries of its stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Track {
    /// The last entry of its stream.
    pub(crate) seq: Seq,
    /// The incident that is open for it.
    pub(crate) open: Option<IncidentId>,
    /// The newest transition.
    pub(crate) newest: Option<Transition>,
}

/// A change of an alarm as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    /// When, as it is ordered by.
    pub(crate) at: Timestamp,
    /// To what.
    pub(crate) state: AlarmState,
    /// When it was recorded, by our clock.
    pub(crate) recorded_at: Timestamp,
    /// The time its sender claimed, where that was not taken.
    pub(crate) claimed: Option<Timestamp>,
}

/// How many of a stream's newest entries tell everything: the stream holds transitions and closings
/// only, and between two transitions there is at most one closing.
pub(crate) const TRACK_ENTRIES: usize = 3;

/// What a word about an alarm means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An incident begins.
    Opens,
    /// Something to record.
    Is(Standing),
}

impl Track {
    /// From the newest entries of the alarm's stream, newest first.
    pub(crate) fn of(latest: &[Entry]) -> Self {
        let mut track = Self::default();
        for entry in latest.iter().rev() {
            track.then(entry);
        }
        track
    }

    /// Moves on by an entry of the alarm's stream.
    fn then(&mut self, entry: &Entry) {
        self.seq = entry.seq;
        if let Body::Closed { .. } = entry.body {
            self.open = None;
        }
        let mut claimed = None;
        if let Body::Opened { skewed_from, .. } | Body::Observed { skewed_from, .. } = &entry.body {
            claimed = *skewed_from;
        }
        if let Body::Opened { alarm, .. }
        | Body::Observed { alarm, .. }
        | Body::Looked { alarm, .. } = &entry.body
        {
            let (at, state) = (alarm.changed_at, alarm.state);
            self.newest = Some(Transition { at, state, recorded_at: entry.at, claimed });
            self.open.clone_from(&entry.incident);
        }
    }

    /// Puts a word of Alertmanager at the time of its arrival where its own time would hide it;
    /// returns the time it claimed.
    ///
    /// After an alert was taken for resolved because Prometheus was cut off, Alertmanager sends it
    /// firing again with the `startsAt` it always had. What then clears it may end before we heard.
    pub(crate) fn redate(&self, alarm: &mut Alarm, received_at: Timestamp) -> Option<Timestamp> {
        let known = self.newest.filter(|_| alarm.source.as_str() == "alertmanager")?;
        let told_now = match (known.state, alarm.state) {
            (AlarmState::Resolved, AlarmState::Firing) => {
                alarm.changed_at <= known.at
                    && received_at.duration_since(known.recorded_at) > LATE_COPY_MAX
            }
            (AlarmState::Firing, AlarmState::Resolved) => {
                let claimed = known.claimed.unwrap_or(known.at);
                (claimed..known.at).contains(&alarm.changed_at) && received_at > known.at
            }
            _ => false,
        };
        told_now.then(|| std::mem::replace(&mut alarm.changed_at, received_at))
    }

    /// What this word means, given what is known.
    pub(crate) fn meaning(&self, alarm: &Alarm) -> Meaning {
        if let Some(Transition { at, state, .. }) = self.newest {
            if alarm.changed_at == at && alarm.state == state {
                return Meaning::Is(Standing::Duplicate);
            }
            // Of two states with one time the clearing one is believed: it makes the engine do less.
            let tie = alarm.changed_at == at && alarm.state != AlarmState::Resolved;
            if alarm.changed_at < at || tie {
                return Meaning::Is(Standing::OutOfOrder);
            }
        }
        match (alarm.state, self.open.is_some()) {
            (AlarmState::Firing, false) => Meaning::Opens,
            (AlarmState::Firing, true) => Meaning::Is(Standing::Again),
            (AlarmState::Resolved, true) => Meaning::Is(Standing::Cleared),
            (AlarmState::NoData, true) => Meaning::Is(Standing::Lost),
            (AlarmState::Resolved | AlarmState::NoData, false) => {
                Meaning::Is(Standing::NothingOpen)
            }
        }
    }
}

/// How many alarms are kept in mind: some 400 bytes each, and a team has hundreds.
const KNOWN_MAX: usize = 4_096;

/// What is known of alarms, so that it need not be read again for each word. It may be old: whoever
/// writes says which entry it rests on, and learns anew when there is a later one.
#[derive(Debug, Default)]
pub(crate) struct Known {
    tracks: BTreeMap<AlarmKey, Track>,
}

impl Known {
    /// What is known of an alarm.
    pub(crate) fn of(&self, key: &AlarmKey) -> Option<&Track> {
        self.tracks.get(key)
    }

    /// Keeps what was read of an alarm, or is taken for granted.
    pub(crate) fn learn(&mut self, key: AlarmKey, track: Track) {
        self.tracks.insert(key, track);
    }

    /// Moves on by entries that were written on condition of what is known.
    pub(crate) fn hear(&mut self, entries: &[Entry]) {
        for entry in entries {
            let track = entry.alarm.as_ref().and_then(|key| self.tracks.get_mut(key));
            if let Some(track) = track {
                track.then(entry);
            }
        }
    }

    /// Forgets the alarms of these streams: others have written.
    pub(crate) fn forget(&mut self, streams: &[Stream]) {
        for stream in streams {
            if let Stream::Alarm(key) = stream {
                self.tracks.remove(key);
            }
        }
    }

    /// Lays what is known close together. It was learned while a storm filled the memory around it, of
    /// which each piece keeps a whole page.
    pub(crate) fn lie_close(&mut self) {
        // While the old are still there: what is freed is given to the next who asks, as scattered as it was.
        let copies = self.tracks.iter().map(|(key, track)| (key.apart(), track.clone()));
        self.tracks = copies.collect();
    }

    /// Forgets everything when it is too much; it is then read again as it is needed.
    pub(crate) fn trim(&mut self) {
        if self.tracks.len() > KNOWN_MAX {
            self.tracks.clear();
        }
    }
}

/// Puts an alarm from the future at the time of its arrival; returns the time it claimed.
pub(crate) fn unskew(alarm: &mut Alarm, received_at: Timestamp) -> Option<Timestamp> {
    let ahead = alarm.changed_at.duration_since(received_at);
    (ahead > SKEW_MAX).then(|| std::mem::replace(&mut alarm.changed_at, received_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(at: &str, state: AlarmState) -> Alarm {
        Alarm {
            key: "k".parse().unwrap(),
            source: "cloudwatch".parse().unwrap(),
            name: "n".into(),
            state,
            changed_at: at.parse().unwrap(),
            severity: None,
            reason: String::new(),
            description: String::new(),
            account: None,
            region: None,
            namespace: None,
            metric: None,
            dimensions: BTreeMap::new(),
            labels: BTreeMap::new(),
            value: None,
            threshold: None,
            link: None,
            origin: None,
        }
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const MID: &str = "2026-01-01T00:01:00Z";
    const LATE: &str = "2026-01-01T00:02:00Z";
    /// Two minutes after `MID`, when the copies of a pair end, and the second after.
    const SOON: &str = "2026-01-01T00:03:00Z";
    const AFTER: &str = "2026-01-01T00:03:01Z";

    #[test]
    fn every_word_has_its_meaning() {
        use AlarmState::{Firing, NoData, Resolved};
        use Standing::{Again, Cleared, Duplicate, Lost, NothingOpen, OutOfOrder};
        let known = |state, open: bool| Track {
            seq: Seq(1),
            open: open
                .then(|| IncidentId::derive(Timestamp::UNIX_EPOCH, &"k".parse().unwrap(), "d")),
            newest: Some(Transition {
                at: MID.parse().unwrap(),
                state,
                recorded_at: MID.parse().unwrap(),
                claimed: None,
            }),
        };
        let table = [
            (Track::default(), EARLY, Firing, Meaning::Opens),
            (Track::default(), EARLY, Resolved, Meaning::Is(NothingOpen)),
            (Track::default(), EARLY, NoData, Meaning::Is(NothingOpen)),
            (known(Firing, true), MID, Firing, Meaning::Is(Duplicate)),
            (known(Firing, true), LATE, Firing, Meaning::Is(Again)),
            (known(Firing, true), LATE, Resolved, Meaning::Is(Cleared)),
            (known(Firing, true), LATE, NoData, Meaning::Is(Lost)),
            (known(Firing, true), EARLY, Resolved, Meaning::Is(OutOfOrder)),
            (known(Firing, true), MID, Resolved, Meaning::Is(Cleared)),
            (known(Resolved, true), MID, Firing, Meaning::Is(OutOfOrder)),
            (known(Resolved, false), LATE, Firing, Meaning::Opens),
            (known(Resolved, false), EARLY, Firing, Meaning::Is(OutOfOrder)),
            (known(Resolved, false), MID, Resolved, Meaning::Is(Duplicate)),
        ];
        for (n, (track, at, state, meaning)) in table.into_iter().enumerate() {
            assert_eq!(track.meaning(&alarm(at, state)), meaning, "row {n}");
        }
    }

    #[test]
    fn an_old_time_of_alertmanager_is_put_at_its_arrival_only_when_it_is_said_now() {
        use AlarmState::{Firing, Resolved};
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let table = [
            ("alertmanager", (Resolved, None), (EARLY, Firing), AFTER, true),
            ("alertmanager", (Resolved, None), (MID, Firing), AFTER, true),
            ("alertmanager", (Resolved, None), (EARLY, Firing), SOON, false),
            ("alertmanager", (Resolved, None), (LATE, Firing), AFTER, false),
            ("alertmanager", (Resolved, None), (EARLY, Resolved), AFTER, false),
            ("alertmanager", (Firing, None), (EARLY, Firing), AFTER, false),
            ("cloudwatch", (Resolved, None), (EARLY, Firing), AFTER, false),
            ("alertmanager", (Firing, None), (EARLY, Resolved), AFTER, false),
            ("alertmanager", (Firing, Some(EARLY)), (EARLY, Resolved), AFTER, true),
            ("alertmanager", (Firing, Some(EARLY)), (LATE, Resolved), AFTER, false),
            ("cloudwatch", (Firing, Some(EARLY)), (EARLY, Resolved), AFTER, false),
        ];
        for (n, (source, (state, claimed), (changed_at, says), received, redated)) in
            table.into_iter().enumerate()
        {
            let recorded_at = at(MID);
            let claimed = claimed.map(at);
            let newest = Some(Transition { at: at(MID), state, recorded_at, claimed });
            let track = Track { newest, ..Track::default() };
            let mut word = alarm(changed_at, says);
            word.source = source.parse().unwrap();
            let was = track.redate(&mut word, at(received));
            assert_eq!(was, redated.then(|| at(changed_at)), "row {n}");
            let now = if redated { received } else { changed_at };
            assert_eq!(word.changed_at, at(now), "row {n}");
        }
    }

    #[test]
    fn a_time_far_ahead_is_not_believed() {
        let received: Timestamp = EARLY.parse().unwrap();
        let mut near = alarm(MID, AlarmState::Firing);
        assert_eq!(unskew(&mut near, received), None);
        let mut far = alarm("2026-01-01T00:02:01Z", AlarmState::Firing);
        assert_eq!(unskew(&mut far, received), Some("2026-01-01T00:02:01Z".parse().unwrap()));
        assert_eq!(far.changed_at, received);
    }

    #[test]
    fn a_storm_of_different_alarms_is_kept_in_mind_up_to_a_bound() {
        let mut known = Known::default();
        for page in 0..400 {
            for n in 0..256 {
                known.learn(format!("alarm-{page}-{n}").parse().unwrap(), Track::default());
            }
            let all = known.tracks.clone();
            known.lie_close();
            assert_eq!(known.tracks, all);
            known.trim();
            assert!(known.tracks.len() <= KNOWN_MAX, "{}", known.tracks.len());
        }
    }
}
