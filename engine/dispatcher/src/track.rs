//! What is known of an alarm, and what a further word about it means. Pure.

use jiff::{SignedDuration, Timestamp};
use untoil_model::{Alarm, AlarmState, Body, Entry, IncidentId, Seq, Standing};

/// How far ahead of us a sender's clock may be before its time is not believed.
const SKEW_MAX: SignedDuration = SignedDuration::from_mins(2);

/// What is known of an alarm: the newest entries of its stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Track {
    /// The last entry of its stream.
    pub(crate) seq: Seq,
    /// The incident that is open for it.
    pub(crate) open: Option<IncidentId>,
    /// The newest transition: when, and to what.
    pub(crate) newest: Option<(Timestamp, AlarmState)>,
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
        let mut track =
            Self { seq: latest.first().map_or(Seq::START, |e| e.seq), ..Self::default() };
        let mut closed = false;
        for entry in latest {
            if let Body::Closed { .. } = entry.body {
                closed = true;
            }
            if let Body::Opened { alarm, .. }
            | Body::Observed { alarm, .. }
            | Body::Looked { alarm, .. } = &entry.body
            {
                track.newest = Some((alarm.changed_at, alarm.state));
                track.open = entry.incident.clone().filter(|_| !closed);
                break;
            }
        }
        track
    }

    /// What this word means, given what is known.
    pub(crate) fn meaning(&self, alarm: &Alarm) -> Meaning {
        if let Some((at, state)) = self.newest {
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

/// Puts an alarm from the future at the time of its arrival; returns the time it claimed.
pub(crate) fn unskew(alarm: &mut Alarm, received_at: Timestamp) -> Option<Timestamp> {
    let ahead = alarm.changed_at.duration_since(received_at);
    (ahead > SKEW_MAX).then(|| std::mem::replace(&mut alarm.changed_at, received_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

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

    #[test]
    fn every_word_has_its_meaning() {
        use AlarmState::{Firing, NoData, Resolved};
        use Standing::{Again, Cleared, Duplicate, Lost, NothingOpen, OutOfOrder};
        let known = |state, open: bool| Track {
            seq: Seq(1),
            open: open
                .then(|| IncidentId::derive(Timestamp::UNIX_EPOCH, &"k".parse().unwrap(), "d")),
            newest: Some((MID.parse().unwrap(), state)),
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
    fn a_time_far_ahead_is_not_believed() {
        let received: Timestamp = EARLY.parse().unwrap();
        let mut near = alarm(MID, AlarmState::Firing);
        assert_eq!(unskew(&mut near, received), None);
        let mut far = alarm("2026-01-01T00:02:01Z", AlarmState::Firing);
        assert_eq!(unskew(&mut far, received), Some("2026-01-01T00:02:01Z".parse().unwrap()));
        assert_eq!(far.changed_at, received);
    }
}
